//! SIGKILL under load: nothing acknowledged is lost, doubled or moved.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use assent_client::{Client, ClientConfig, Submitted};
use assent_proto::v1 as proto;
use assent_tests::{Ledger, grant_to, id_of, journal::Journal, key, open_account, request};

/// Kills, from `ASSENT_KILLS`; few by default, so that the suite stays quick.
fn kills() -> u64 {
    std::env::var("ASSENT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

/// Submits until told to stop. Every transaction is submitted until it is answered, over all crashes; now and then an old
/// one once more.
async fn work(
    mut config: ClientConfig,
    worker: u64,
    stop: Arc<AtomicBool>,
    journal: Arc<Journal>,
    submitted: Arc<AtomicU64>,
) {
    config.deadline = Duration::from_secs(120);
    let client = Client::connect(config).await.unwrap();
    let me = key(worker);
    let mut last = None;
    for round in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let act = match round {
            0 => open_account(),
            n if n % 7 == 1 && n < 100 => grant_to(key(worker + 1).public().account_id()),
            _ => request(key(worker.saturating_sub(1)).public().account_id()),
        };
        let transaction = match &last {
            Some(old) if round % 10 == 9 => proto::SignedTransaction::clone(old),
            _ => client.sign(&me, act).unwrap(),
        };
        match client.submit(&transaction).await.unwrap() {
            Submitted::Sequenced(sequenced) => {
                submitted.fetch_add(1, Ordering::Relaxed);
                journal.note(id_of(&transaction), &sequenced);
            }
            Submitted::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
        last = Some(transaction);
    }
}

#[test]
fn killing_the_node_at_any_instant_loses_doubles_and_moves_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut ledger = Ledger::start(300, 2);
    let (stop, journal, submitted) =
        (Arc::new(AtomicBool::new(false)), Arc::new(Journal::default()), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..16)
        .map(|worker| {
            runtime.spawn(work(ledger.config(), worker, stop.clone(), journal.clone(), submitted.clone()))
        })
        .collect();
    // From a fixed seed, so that a failure can be looked for again.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..kills() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(50 + random % 500));
        ledger.kill();
        ledger.run();
    }
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        runtime.block_on(worker).unwrap();
    }
    ledger.kill();
    ledger.run();
    runtime.block_on(journal.check(&ledger.config()));
    eprintln!(
        "{} kills, {} acknowledgements of {} transactions: missing 0, doubled 0, moved 0",
        kills() + 1,
        submitted.load(Ordering::Relaxed),
        journal.len()
    );
}
