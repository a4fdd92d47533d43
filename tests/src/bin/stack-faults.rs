//! Kills, stops, restarts and freezes the containers of a running stack at random, under load, and compares afterwards what
//! clients were told with what the ledger holds. `scripts/stack-test` brings the stack up and calls it.
//!
//! From the environment: `ASSENT_STACK_PROJECT`, the compose project; `ASSENT_STACK_CLIENTS`, the folder with the clients'
//! certificates; `ASSENT_FAULTS`, `ASSENT_ACKNOWLEDGED`, `ASSENT_SEED`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use assent_client::{Client, ClientConfig, Credentials, Submitted};
use assent_core::TransactionId;
use assent_proto::v1::{self as proto, Tier};
use assent_tests::{Random, gateway, grant_to, id_of, journal::Journal, key, open_account, program, request};
use tokio_stream::StreamExt;

/// Load comes from so many gateways, each with an account of its own.
const GATEWAYS: u64 = 4;
/// The services, the sequencer as often as the others together.
const SERVICES: [&str; 6] = ["sequencer", "sequencer", "sequencer", "prover", "validator", "mockchain"];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect(name))
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "docker {args:?}: {out}{err}");
    out.trim().to_owned()
}

/// A container of the stack.
struct Container(String);

impl Container {
    fn of(project: &str, service: &str) -> Self {
        let project = format!("label=com.docker.compose.project={project}");
        let service = format!("label=com.docker.compose.service={service}");
        let id = docker(&["ps", "--all", "--quiet", "--filter", &project, "--filter", &service]);
        assert_eq!(id.lines().count(), 1, "{service}: {id:?}");
        Self(id)
    }

    fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "--format", format, &self.0])
    }

    fn is_running(&self) -> bool {
        self.inspect("{{.State.Running}}") == "true"
    }

    /// Waits for a state, which restart policies and health checks bring about by themselves.
    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{what}: {}\n{}",
                self.inspect("{{.Name}} {{json .State}}"),
                docker(&["logs", "--tail", "40", &self.0])
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// What is done to a container.
const FAULTS: [&str; 5] = ["kill", "crash", "stop", "restart", "freeze"];

fn fault(kind: &str, container: &Container, random: &mut Random) {
    let id = container.0.as_str();
    let pause = |random: &mut Random| std::thread::sleep(Duration::from_millis(random.below(1_500)));
    match kind {
        // By the operator, who also starts it again.
        "kill" => {
            docker(&["kill", "--signal", "KILL", id]);
            pause(random);
            docker(&["start", id]);
        }
        // By the machine: the restart policy brings it back.
        "crash" => {
            let before = container.inspect("{{.RestartCount}}");
            let pid = container.inspect("{{.State.Pid}}");
            let killed = Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
            assert!(killed.success());
            container.until("is restarted", |container| {
                container.inspect("{{.RestartCount}}") != before && container.is_running()
            });
        }
        "stop" => {
            docker(&["stop", "--time", "20", id]);
            assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "stopped, but not cleanly");
            pause(random);
            docker(&["start", id]);
        }
        "restart" => {
            docker(&["restart", "--time", "20", id]);
        }
        "freeze" => {
            // Engines on the first version of control groups cannot always freeze what is being started.
            let paused = Command::new("docker").args(["pause", id]).output().expect("docker");
            pause(random);
            if paused.status.success() {
                docker(&["unpause", id]);
            } else {
                println!("   not frozen: {}", String::from_utf8_lossy(&paused.stderr).trim());
                docker(&["restart", "--time", "20", id]);
            }
        }
        other => unreachable!("{other}"),
    }
}

fn credentials(folder: &Path, name: &str) -> Credentials {
    let read = |file: &str| {
        let path = folder.join(name).join(file);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    Credentials {
        ca: Some(read("ca.pem")),
        identity: Some((read("cert.pem"), read("key.pem"))),
        ..Credentials::default()
    }
}

fn config(folder: &Path, name: &str, prover: u16) -> ClientConfig {
    let mut config = ClientConfig::new("https://127.0.0.1:7420");
    config.prover = format!("https://127.0.0.1:{prover}");
    config.credentials = credentials(folder, name);
    config.deadline = Duration::from_secs(180);
    let chain = std::fs::read_to_string(folder.join("chain-id")).expect("chain-id");
    config.chain = Some(chain.trim().parse().expect("chain-id"));
    config
}

/// Submits a consent and a request from outside, as a gateway, waits until they are confirmed, and verifies them offline, as
/// an auditor.
async fn main_job(clients: &Path, work: &Path, accounts: u64) {
    let gateway = Client::connect(config(clients, "gateway", 7422)).await.expect("the gateway connects");
    let auditor = Client::connect(config(clients, "auditor", 7422)).await.expect("the auditor connects");
    let (patient, clinic) = (key(accounts), key(accounts + 1));
    let mut ids: Vec<TransactionId> = Vec::new();
    for (by, act) in [
        (&patient, open_account()),
        (&clinic, open_account()),
        (&patient, grant_to(clinic.public().account_id())),
        (&clinic, request(patient.public().account_id())),
    ] {
        let transaction = gateway.sign(by, act).expect("signs");
        match gateway.submit(&transaction).await.expect("submits") {
            Submitted::Sequenced(_) => ids.push(id_of(&transaction)),
            Submitted::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
    }
    for id in &ids {
        let mut tiers = Box::pin(auditor.follow(*id).await.expect("follows"));
        let confirmed = async {
            while let Some(status) = tiers.next().await {
                if status.expect("a tier").tier == Tier::Confirmed as i32 {
                    return;
                }
            }
            panic!("the tiers of {id} ended before CONFIRMED");
        };
        tokio::time::timeout(Duration::from_secs(300), confirmed)
            .await
            .expect("CONFIRMED within five minutes");
        let file = work.join(format!("{id}.assent"));
        std::fs::write(&file, auditor.bundle(*id, true).await.expect("a bundle")).expect("written");
        let chain = auditor.chain_id().to_string();
        let verified = Command::new(program("assent-verify"))
            .args([file.as_os_str(), "--chain".as_ref(), chain.as_ref()])
            .output()
            .expect("assent-verify");
        let text = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success() && text.starts_with("VERIFIED"), "{text}");
    }
    // A gateway may submit and nothing else.
    assert!(gateway.transaction(ids[0]).await.is_err() && gateway.bundle(ids[0], false).await.is_err());
    println!("submitted from outside, CONFIRMED, verified offline: {} transactions", ids.len());
}

/// Prover and validator have executed everything and halted at nothing; the validator's checkpoint is the prover's.
async fn followers_agree(clients: &Path) {
    let ledger = Client::connect(config(clients, "operator", 7422)).await.expect("connects");
    let sealed = ledger.ledger().await.expect("the ledger").sealed_batches;
    for (name, port) in [("prover", 7422), ("validator", 7423)] {
        let client = Client::connect(config(clients, "operator", port)).await.expect("connects");
        let start = Instant::now();
        loop {
            let status: proto::GetProverStatusResponse = client.prover_status().await.expect("a status");
            assert_eq!(status.halted, "", "{name}");
            if status.batches >= sealed && status.checkpoint_size >= sealed && status.anchors > 0 {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(300), "{name} does not catch up: {status:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn main() {
    let project = std::env::var("ASSENT_STACK_PROJECT").expect("ASSENT_STACK_PROJECT");
    let clients = PathBuf::from(std::env::var_os("ASSENT_STACK_CLIENTS").expect("ASSENT_STACK_CLIENTS"));
    let (faults, wanted) = (number("ASSENT_FAULTS", 200), number("ASSENT_ACKNOWLEDGED", 100_000));
    let seed = number("ASSENT_SEED", 20_261_125);
    let work = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let names = ["mockchain", "sequencer", "prover", "validator"];
    let containers: BTreeMap<&str, Container> =
        names.into_iter().map(|service| (service, Container::of(&project, service))).collect();

    // Accounts of this run alone: a stack may be put to the test more than once.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let accounts = since.as_secs() * 1_000;
    runtime.block_on(main_job(&clients, work.path(), accounts + 900));

    let (stop, journal) = (Arc::new(AtomicBool::new(false)), Arc::new(Journal::default()));
    let gateways: Vec<_> = (0..GATEWAYS)
        .map(|n| {
            let config = config(&clients, "gateway", 7422);
            runtime.spawn(gateway::stream(config, accounts + n, stop.clone(), journal.clone()))
        })
        .collect();
    let mut random = Random::new(seed);
    let (start, mut told) = (Instant::now(), Instant::now());
    let (mut done, mut counts) = (0, BTreeMap::<String, u64>::new());
    while done < faults || (journal.len() as u64) < wanted {
        assert!(
            start.elapsed() < Duration::from_secs(3_000),
            "{done} faults, {} acknowledged after {} s",
            journal.len(),
            start.elapsed().as_secs()
        );
        std::thread::sleep(Duration::from_millis(100 + random.below(700)));
        if done < faults {
            let service = SERVICES[usize::try_from(random.below(6)).expect("small")];
            let kind = FAULTS[usize::try_from(random.below(5)).expect("small")];
            fault(kind, &containers[service], &mut random);
            *counts.entry(format!("{service} {kind}")).or_default() += 1;
            done += 1;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("{done} of {faults} faults, {} acknowledged", journal.len());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged: u64 =
        gateways.into_iter().map(|gateway| runtime.block_on(gateway).expect("a gateway")).sum();
    for (service, container) in &containers {
        container.until("is healthy", |container| container.inspect("{{.State.Health.Status}}") == "healthy");
        println!("{service} is healthy");
    }
    runtime.block_on(journal.check(&config(&clients, "operator", 7422)));
    runtime.block_on(followers_agree(&clients));
    runtime.block_on(main_job(&clients, work.path(), accounts + 910));
    println!("{counts:#?}");
    println!(
        "seed {seed}: {done} faults, {acknowledged} acknowledgements of {} transactions in {} s: missing 0, doubled 0, moved 0",
        journal.len(),
        start.elapsed().as_secs()
    );
}
