//! What a flood from one account costs the others: their latency while it is quiet and while it is not, in one run on one
//! machine. The flood comes from a process of its own at the lowest priority, as it would come from another machine: what is
//! measured is the node, not how the clients share its processors.
//!
//! `cargo bench --release -p assent-tests --bench flood` (`ASSENT_BENCH_SECONDS`, 10 for each part).

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use assent_client::{Client, ClientConfig, ClientError, Submitted};
use assent_proto::v1::{self as proto, sequencer_service_client::SequencerServiceClient};
use assent_tests::{Ledger, channel, key, open_account, request};

/// Accounts that submit at a steady pace, each with one transaction under way at a time.
const OTHERS: u64 = 20;
/// Pause of each of them between two transactions.
const PACE: Duration = Duration::from_millis(50);
/// Calls that the flood keeps under way.
const FLOOD: usize = 256;

/// The latency that a share of the calls did not exceed.
fn quantile(latencies: &mut [Duration], share: f64) -> Duration {
    latencies.sort_unstable();
    latencies[((latencies.len() - 1) as f64 * share) as usize]
}

/// The others, for some time. Gives their latencies.
async fn others(config: &ClientConfig, seconds: u64) -> Vec<Duration> {
    let until = Instant::now() + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..OTHERS)
        .map(|n| {
            let config = config.clone();
            tokio::spawn(async move {
                let client = Client::connect(config).await.unwrap();
                let mut latencies = Vec::new();
                tokio::time::sleep(PACE.mul_f64(n as f64 / OTHERS as f64)).await;
                while Instant::now() < until {
                    let transaction =
                        client.sign(&key(n), request(key(n + 1).public().account_id())).unwrap();
                    let begun = Instant::now();
                    match client.submit(&transaction).await.unwrap() {
                        Submitted::Sequenced(_) => latencies.push(begun.elapsed()),
                        Submitted::Refused(refusal) => panic!("{refusal:?}"),
                    }
                    tokio::time::sleep(PACE.saturating_sub(begun.elapsed())).await;
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    all
}

/// How a flood is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    /// Many calls at once, each answered before the next.
    Unary,
    /// A stream, as fast as it takes.
    Stream,
    /// Thousand at a time.
    Many,
    /// Many calls at once whose signatures are bad, the same again and again: they cost the flood nothing.
    Forged,
}

/// One account floods until told to stop. Gives transactions sequenced, and calls turned away.
async fn flood(config: ClientConfig, kind: Flood, stop: Arc<AtomicBool>) -> (u64, u64) {
    let client = Client::connect(config.clone()).await.unwrap();
    let me = key(777);
    let (sequenced, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let signed = |count: usize| -> Vec<proto::SignedTransaction> {
        (0..count).map(|_| client.sign(&me, request(key(1).public().account_id())).unwrap()).collect()
    };
    match kind {
        Flood::Unary | Flood::Forged => {
            let tasks: Vec<_> = (0..FLOOD)
                .map(|_| {
                    let mut raw = SequencerServiceClient::new(channel(&config));
                    let (client, me, stop) = (client.clone(), me.clone(), stop.clone());
                    let (sequenced, refused) = (sequenced.clone(), refused.clone());
                    tokio::spawn(async move {
                        let sign = || client.sign(&me, request(key(1).public().account_id())).unwrap();
                        let mut forged = sign();
                        // Of the number s, so that the whole equation has to be computed.
                        forged.authorizations[0].signature[32] ^= 1;
                        while !stop.load(Ordering::Relaxed) {
                            let transaction = if kind == Flood::Forged { forged.clone() } else { sign() };
                            let request = proto::SubmitRequest { transaction: Some(transaction) };
                            let counter =
                                if raw.submit(request).await.is_ok() { &sequenced } else { &refused };
                            counter.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
        Flood::Many => {
            let mut raw = SequencerServiceClient::new(channel(&config));
            while !stop.load(Ordering::Relaxed) {
                let request = proto::SubmitManyRequest { transactions: signed(1_000) };
                match raw.submit_many(request).await {
                    Ok(answer) => {
                        for result in answer.into_inner().results {
                            let ok =
                                matches!(result.result, Some(proto::submit_result::Result::Sequenced(_)));
                            (if ok { &sequenced } else { &refused }).fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Err(_) => {
                        refused.fetch_add(1_000, Ordering::Relaxed);
                    }
                }
            }
        }
        Flood::Stream => {
            let (sender, mut results) = client.stream();
            let (signing, me, stop) = (client.clone(), me.clone(), stop.clone());
            let sending = tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let act = request(key(1).public().account_id());
                    if sender.send(signing.sign(&me, act).unwrap()).await.is_err() {
                        return;
                    }
                }
            });
            while let Some(item) = results.next().await {
                let counter = if item.result.is_ok() { &sequenced } else { &refused };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            sending.await.unwrap();
        }
    }
    (sequenced.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
}

/// Memory of a process, in MiB: at its highest.
fn peak_mib(process: u32) -> u64 {
    let status =
        std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// The other process: floods for some seconds and prints what became of it.
fn flood_process(url: &str, token: &str, kind: &str, seconds: u64) {
    let mut config = ClientConfig::new(url);
    config.credentials = assent_tests::token(Path::new(token));
    let kind = KINDS.into_iter().find(|known| format!("{known:?}") == kind).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (sequenced, refused) = runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let flooding = tokio::spawn(flood(config, kind, stop.clone()));
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stop.store(true, Ordering::Relaxed);
        flooding.await.unwrap()
    });
    println!("{} a second sequenced and {} turned away", sequenced / seconds, refused / seconds);
}

const KINDS: [Flood; 4] = [Flood::Unary, Flood::Stream, Flood::Many, Flood::Forged];

fn main() -> Result<(), ClientError> {
    let args: Vec<String> = std::env::args().collect();
    if let [_, role, url, token, kind, seconds] = args.as_slice()
        && role == "flood"
    {
        flood_process(url, token, kind, seconds.parse().unwrap());
        return Ok(());
    }
    let seconds = std::env::var("ASSENT_BENCH_SECONDS").ok().map_or(10, |text| text.parse().unwrap());
    let ledger = Ledger::start(1_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        for n in (0..=OTHERS).chain([777]) {
            client.submit(&client.sign(&key(n), open_account())?).await?;
        }
        others(&ledger.config(), 2).await;
        let mut quiet = others(&ledger.config(), seconds).await;
        let before = quantile(&mut quiet, 0.99);
        println!(
            "quiet: {} a second of {OTHERS} accounts, p50 {:?}, p99 {before:?}, {} MiB",
            quiet.len() as u64 / seconds,
            quantile(&mut quiet, 0.5),
            peak_mib(ledger.process())
        );
        for kind in KINDS {
            let token = ledger.dir().join("keys/operator.token");
            let child = std::process::Command::new("nice")
                .args(["-n", "19"])
                .arg(std::env::current_exe().unwrap())
                .args(["flood", &ledger.url()])
                .arg(token)
                .args([format!("{kind:?}"), (seconds + 3).to_string()])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
            let mut during = others(&ledger.config(), seconds).await;
            let output = child.wait_with_output().unwrap();
            let p99 = quantile(&mut during, 0.99);
            println!(
                "flood ({kind:?}): {} a second of the others, p50 {:?}, p99 {p99:?}, {:.1} times the quiet value; the flood had {}; \
                 {} MiB",
                during.len() as u64 / seconds,
                quantile(&mut during, 0.5),
                p99.as_secs_f64() / before.as_secs_f64(),
                String::from_utf8_lossy(&output.stdout).trim(),
                peak_mib(ledger.process())
            );
        }
        Ok(())
    })
}
