//! What operators see: metrics, alerts, logs, status. And what nobody sees in them.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use assent_client::Submitted;
use assent_core::{AccountId, TransactionId, signature::KeyPair, transaction::sign_body};
use assent_metrics::Metrics;
use assent_proto::v1::{self as proto, transaction_body::Act};
use assent_tests::{Ledger, Ran, assent, free_port, grant_to, id_of, key, open_account, request, revoke};
use serde_json::Value;

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A node that serves metrics, and their port.
fn with_metrics(environment: &[(&str, &str)]) -> (Ledger, u16) {
    let mut ledger = Ledger::init(200, 1);
    let port = free_port();
    ledger.environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    ledger.run_with(&[&format!("--metrics-listen=127.0.0.1:{port}")]);
    // A method is counted from its first call on.
    let _ = ledger.cli(&["status"]).exits(0);
    (ledger, port)
}

fn scrape(ledger: &Ledger, port: u16) -> String {
    let token = std::fs::read_to_string(ledger.dir().join("keys/operator.token")).unwrap();
    let header = format!("Authorization: Bearer {}", token.trim());
    let url = format!("http://127.0.0.1:{port}/metrics");
    let ran: Ran = Command::new("curl").args(["-s", "--fail", "-H", &header, &url]).output().unwrap().into();
    ran.exits(0).out
}

/// The names in a text of metrics, with their types.
fn described(text: &str) -> BTreeSet<(String, String)> {
    let line = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        Some((format!("{name}{suffix}"), kind.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn the_documents_list_of_metrics_is_what_a_node_shows() {
    let (ledger, port) = with_metrics(&[]);
    let shown = described(&scrape(&ledger, port));
    let text = std::fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let section = &text[text.find("### Metrics\n").unwrap()..text.find("### Alerts\n").unwrap()];
    let listed: BTreeSet<(String, String)> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.trim_end_matches('`').to_owned(), cells.next()?.to_owned()))
        })
        .collect();
    assert!(listed.len() > 40);
    let missing: Vec<_> = shown.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&shown).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in the document: {missing:?}; not in the code: {gone:?}"
    );
    // A role shows its own.
    assert!(described(&Metrics::new(true, false).encode().unwrap()).len() < shown.len());
}

/// Prometheus' own tool, where there is one (`make test` gets it on Debian).
fn promtool() -> Option<PathBuf> {
    let cached =
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/assent-tools/usr/bin/promtool"));
    let given = std::env::var_os("PROMTOOL").map(PathBuf::from);
    let found = given.into_iter().chain(cached).chain([PathBuf::from("promtool")]);
    found.into_iter().find(|path| Command::new(path).arg("--version").output().is_ok())
}

#[test]
fn alerts_fire_when_they_have_to_and_only_ask_for_metrics_that_there_are() {
    let (ledger, port) = with_metrics(&[]);
    let text = scrape(&ledger, port);
    let names: BTreeSet<String> = described(&text).into_iter().map(|(name, _)| name).collect();
    let folder = repository().join("deploy");
    let alerts = std::fs::read_to_string(folder.join("prometheus/alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(folder.join("prometheus/alerts_test.yml")).unwrap();
    let document = std::fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let dashboard = std::fs::read_to_string(folder.join("grafana/dashboards/assent.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut count = 0;
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
        assert!(document.contains(&format!("| `{alert}` |")), "{alert} is not in docs/operations.md");
        count += 1;
    }
    assert!(count > 10);
    // Every metric that an alert or the dashboard asks for is one that a node shows.
    let mut asked: Vec<String> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    for expression in &asked {
        for word in expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            if word.starts_with("assent_") || word.starts_with("process_") {
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
                assert!(
                    names.contains(word) || base.is_some_and(|base| names.contains(base)),
                    "{word} in {expression}"
                );
            }
        }
    }
    let Some(promtool) = promtool() else {
        eprintln!("SKIPPED in part: there is no promtool");
        return;
    };
    let run = |args: &[&str]| -> Ran {
        let command = Command::new(&promtool).args(args).current_dir(folder.join("prometheus")).output();
        command.unwrap().into()
    };
    let _ = run(&["check", "rules", "alerts.yml"]).exits(0);
    let _ = run(&["test", "rules", "alerts_test.yml"]).exits(0);
    let _ = run(&["check", "config", "--syntax-only", "prometheus.yml"]).exits(0);
    // Every expression of the dashboard is one.
    let rules: Vec<String> = asked
        .iter()
        .enumerate()
        .map(|(n, expression)| {
            format!("      - record: panel:{n}\n        expr: {}\n", Value::from(expression.as_str()))
        })
        .collect();
    let file = ledger.path("dashboard.yml");
    std::fs::write(&file, format!("groups:\n  - name: dashboard\n    rules:\n{}", rules.concat())).unwrap();
    let _ = run(&["check", "rules", &file]).exits(0);
    // And the text is what Prometheus reads.
    let mut check = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // OpenMetrics' own lines are not of the older format that this command reads.
    let plain: String = text
        .lines()
        .filter(|line| *line != "# EOF" && !line.contains("assent_build"))
        .map(|line| match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some((keyword, rest)) => {
                let (name, rest) = rest.split_once(' ').unwrap();
                let counter = text.contains(&format!("# TYPE {name} counter\n"));
                format!("# {keyword} {name}{} {rest}\n", if counter { "_total" } else { "" })
            }
            None => format!("{line}\n"),
        })
        .collect();
    std::io::Write::write_all(check.stdin.as_mut().unwrap(), plain.as_bytes()).unwrap();
    let checked: Ran = check.wait_with_output().unwrap().into();
    let problems: Vec<&str> = checked.err.lines().filter(|line| !line.is_empty()).collect();
    assert!(problems.is_empty(), "{problems:?}");
}

fn until(ledger: &Ledger, what: &str, holds: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let log = ledger.log();
        if holds(&log) {
            return log;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what} is not in\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_transaction_is_followed_by_its_id_through_all_tiers_and_no_other_is() {
    let mut ledger = Ledger::init(200, 2);
    ledger.run();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(ledger.client());
    let (followed, other) =
        (client.sign(&key(1), open_account()).unwrap(), client.sign(&key(2), open_account()).unwrap());
    ledger.kill();
    let before = ledger.log().len();
    let filter = format!("info,[transaction{{id={}}}]=debug", id_of(&followed));
    ledger.environment = vec![("ASSENT_LOG".into(), filter), ("ASSENT_LOG_FORMAT".into(), "json".into())];
    ledger.run();
    let client = runtime.block_on(ledger.client());
    for transaction in [&followed, &other] {
        runtime.block_on(client.submit(transaction)).unwrap();
    }
    let log = until(&ledger, "CONFIRMED", |log| log.contains("\"CONFIRMED\""));
    let lines: Vec<Value> =
        log[before..].lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    let of = |id: TransactionId| -> Vec<String> {
        let id = id.to_string();
        let of_it = lines.iter().filter(|line| line["span"]["id"] == id.as_str());
        of_it.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    };
    let way = of(id_of(&followed));
    assert_eq!(way, ["arrived", "SEQUENCED", "SEALED", "CHECKPOINTED", "ANCHORED", "CONFIRMED"]);
    assert!(of(id_of(&other)).is_empty());
    assert!(!log[before..].contains(&id_of(&other).to_string()));
}

/// Values that a log must not have.
struct Marked(Vec<(String, String)>);

impl Marked {
    fn account(&mut self, what: &str, account: AccountId) {
        self.0.push((format!("{what}'s DID"), account.to_string()));
        self.bytes(what, &account.0);
    }

    fn bytes(&mut self, what: &str, bytes: &[u8]) {
        self.0.push((format!("{what} in hexadecimal"), hex::encode(bytes)));
        // As Rust prints a list of numbers.
        let numbers = format!("{bytes:?}");
        self.0.push((format!("{what} as numbers"), numbers[1..numbers.len() - 1].chars().take(60).collect()));
    }

    fn text(&mut self, what: &str, text: &str) {
        self.0.push((what.to_owned(), text.to_owned()));
    }

    fn search(&self, log: &str) {
        for (what, value) in &self.0 {
            if let Some(at) = log.find(value.as_str()) {
                let start = log[..at].rfind('\n').map_or(0, |newline| newline + 1);
                let end = log[at..].find('\n').map_or(log.len(), |newline| at + newline);
                panic!("the log has {what}: {}", &log[start..end]);
            }
        }
    }
}

#[test]
fn no_log_at_any_level_holds_an_account_a_code_a_body_or_a_detail() {
    let everything = "trace,h2=trace,hyper=info";
    for (level, format) in [("trace", "text"), ("debug", "json"), (everything, "json")] {
        // With h2 named, whoever reads the log has asked for what passes through it: no tokens are looked for then.
        let mut ledger = Ledger::init(200, 1);
        ledger.environment =
            vec![("ASSENT_LOG".into(), level.into()), ("ASSENT_LOG_FORMAT".into(), format.into())];
        ledger.run();
        let (patient, clinic) = (key(0x7731_5a5a_1234), key(0x7731_5a5a_5678));
        let mut marked = Marked(Vec::new());
        marked.account("the patient", patient.public().account_id());
        marked.account("the clinic", clinic.public().account_id());
        marked.text("a code", "MarkedClass7731");
        marked.text("a code system", "urn:marked:system:7731");
        marked.text("a label", "ETHUD");
        marked.text("a reason", "NO_CONSENT");
        marked.text("a reason", "PERMITTED_BY_PROVISION");
        if level != everything {
            let token = std::fs::read_to_string(ledger.dir().join("keys/operator.token")).unwrap();
            marked.text("a token", token.trim());
        }
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(work(&ledger, &patient, &clinic, &mut marked));
        until(&ledger, "an anchor", |log| log.contains("anchor in a base block"));
        let status = ledger.terminate();
        assert_eq!(status, Some(0));
        let log = ledger.log();
        assert!(log.len() > 2_000, "{log}");
        marked.search(&log);
    }
}

/// Everything that clients do, and much that they should not.
async fn work(ledger: &Ledger, patient: &KeyPair, clinic: &KeyPair, marked: &mut Marked) {
    let client = ledger.client().await;
    let [patient_id, clinic_id] = [patient, clinic].map(|key| key.public().account_id());
    let coding = proto::Coding { system: "urn:marked:system:7731".into(), code: "MarkedClass7731".into() };
    let mut submitted = Vec::new();
    let Act::GrantConsent(mut grant) = grant_to(clinic_id) else { panic!("a grant") };
    let secret = [0x5a; 32];
    marked.bytes("a revocation code", &secret);
    grant.revocation_code_hash = assent_core::transaction::revocation_code_hash(&secret).to_vec();
    grant.terms.as_mut().unwrap().provisions[0].classes.push(coding.clone());
    let Act::RequestAccess(mut ask) = request(patient_id) else { panic!("a request") };
    ask.scope.as_mut().unwrap().classes = vec![coding.clone()];
    let mut unknown = ask.clone();
    unknown.scope.as_mut().unwrap().labels = vec![proto::Coding {
        system: "http://terminology.hl7.org/CodeSystem/v3-ActCode".into(),
        code: "ETHUD".into(),
    }];
    let mut wrong = ask.clone();
    wrong.scope.as_mut().unwrap().purpose = "MarkedClass7731".into();
    let stranger = key(0x7731_5a5a_9abc);
    marked.account("the stranger", stranger.public().account_id());
    for (by, act) in [
        (patient, open_account()),
        (clinic, open_account()),
        (patient, open_account()),
        (patient, Act::GrantConsent(grant)),
        (clinic, Act::RequestAccess(ask.clone())),
        (clinic, Act::RequestAccess(unknown)),
        (clinic, Act::RequestAccess(wrong)),
        (clinic, request(stranger.public().account_id())),
        (&stranger, Act::RequestAccess(ask.clone())),
    ] {
        let transaction = client.sign(by, act).unwrap();
        marked.bytes("a body", &transaction.body);
        submitted.push(id_of(&transaction));
        let _ = client.submit(&transaction).await;
    }
    // A bad signature, a body that is none, a revocation by code, and by signature of what is revoked already.
    let mut forged = client.sign(patient, open_account()).unwrap();
    forged.authorizations[0].signature[3] ^= 1;
    assert!(client.submit(&forged).await.is_err());
    let mut rubbish = forged.clone();
    rubbish.body = (&b"MarkedClass7731"[..]).into();
    assert!(client.submit(&rubbish).await.is_err());
    let by_code = client.revocation_by_code(&secret).unwrap();
    assert!(matches!(client.submit(&by_code).await.unwrap(), Submitted::Sequenced(_)));
    let again = client.sign(patient, revoke(submitted[3])).unwrap();
    let _ = client.submit(&again).await.unwrap();
    let denied = client.sign(clinic, Act::RequestAccess(ask)).unwrap();
    let _ = client.submit(&denied).await.unwrap();
    // Proofs and look-ups, right and wrong, by role and by key.
    let mut tiers = Box::pin(client.follow(id_of(&denied)).await.unwrap());
    use tokio_stream::StreamExt;
    while tiers.next().await.unwrap().unwrap().tier < proto::Tier::Confirmed as i32 {}
    for id in submitted.iter().copied().chain([id_of(&denied), id_of(&by_code)]) {
        let _ = client.transaction(id).await;
        let _ = client.bundle(id, true).await;
        let _ = client.decision_proof(id, Some(patient_id), 0).await;
        let _ = client.consent_proof(id, None, 0).await;
        let _ = client.consent(id).await;
    }
    client.history_proof(patient_id, false, (0, None), 0, |_| {}).await.unwrap();
    client.history_proof(clinic_id, true, (0, None), 0, |_| {}).await.unwrap();
    let _ = client.account(stranger.public().account_id()).await;
    let mut config = ledger.config();
    config.chain = Some(client.chain_id());
    config.credentials = assent_client::Credentials { account: Some(clinic.clone()), ..Default::default() };
    let own = assent_client::Client::connect(config).await.unwrap();
    let _ = own.consent(submitted[3]).await;
    let _ = own.account(patient_id).await;
    let body = proto::TransactionBody { chain_id: vec![1; 32], ..Default::default() };
    let _ = client.submit(&sign_body(&body, Some(patient))).await;
}

#[test]
fn status_says_how_everything_does_and_health_asks_in_one_word() {
    let mut ledger = Ledger::start(200, 1);
    let (_, _) = ledger.party("me", "patient");
    let dir = ledger.dir();
    let dir = dir.to_str().unwrap();
    let start = Instant::now();
    let status = loop {
        let status = ledger.cli(&["status", "--json"]).exits(0).json();
        if status["provers"][0]["confirmed_batches"].as_u64() >= Some(1) {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{status}");
    };
    assert_eq!(status["healthy"], true);
    assert_eq!(status["sequencer"]["entries"], 1);
    assert_eq!(status["sequencer"]["recent_batches"][0]["entries"], 1);
    assert_eq!(status["provers"][0]["following"], true);
    assert_eq!(status["provers"][0]["recent_anchors"].as_array().unwrap().len(), 1);
    let shown = ledger.cli(&["status"]).exits(0);
    for text in [
        "sequencer  http",
        "prover     http",
        "1 sealed, 1 proven",
        "1 confirmed",
        "anchor       over 1 batches",
    ] {
        assert!(shown.out.contains(text), "{text:?} is not in {}", shown.out);
    }
    let port = ledger.port;
    let health = |part: &str, port: u16| {
        let mut command = Command::new(assent_tests::program("assent"));
        command.args(["health", part, dir, "--timeout", "3"]);
        command.env("ASSENT_SEQUENCER_LISTEN", format!("127.0.0.1:{port}"));
        Ran::from(command.output().unwrap())
    };
    assert_eq!(health("node", port).exits(0).out, "SERVING\n");
    let _ = health("mockchain", port).exits(0);
    let _ = health("node", free_port()).exits(1);
    assert_eq!(ledger.terminate(), Some(0));
    let _ = health("node", port).exits(1);
    let down = ledger.cli(&["status", "--timeout", "1"]).exits(1);
    assert!(down.out.contains("NO ANSWER"), "{down:?}");
    let _ = assent(&["health", "moon", dir]).exits(2);
}
