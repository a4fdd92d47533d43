//! SIGKILL under load: nothing acknowledged is lost, doubled or moved.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use assent_client::{Client, ClientConfig, Submitted};
use assent_core::{TransactionId, batch::BatchHeader, outcome::Entry};
use assent_proto::v1::{self as proto, sequencer_service_client::SequencerServiceClient};
use assent_tests::{Ledger, grant_to, id_of, key, open_account, request};
use prost::Message;

/// Kills, from `ASSENT_KILLS`; few by default, so that the suite stays quick.
fn kills() -> u64 {
    std::env::var("ASSENT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

type Journal = Arc<Mutex<BTreeMap<TransactionId, Vec<u8>>>>;

/// What a client keeps of an acknowledgement: the signed receipt with its path, and the outcome.
fn kept(sequenced: &proto::SequencedTransaction) -> Vec<u8> {
    proto::SequencedTransaction { already_sequenced: false, ..sequenced.clone() }.encode_to_vec()
}

/// Submits until told to stop. Every transaction is submitted until it is answered, over all crashes; now and then an old
/// one once more.
async fn work(url: String, worker: u64, stop: Arc<AtomicBool>, journal: Journal, submitted: Arc<AtomicU64>) {
    let mut config = ClientConfig::new(&url);
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
                let receipt = kept(&sequenced.message);
                let earlier = journal.lock().unwrap().insert(id_of(&transaction), receipt.clone());
                assert!(earlier.is_none_or(|earlier| earlier == receipt), "two receipts for one transaction");
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
        (Arc::new(AtomicBool::new(false)), Journal::default(), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..16)
        .map(|worker| {
            runtime.spawn(work(ledger.url(), worker, stop.clone(), journal.clone(), submitted.clone()))
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
    runtime.block_on(check(&ledger, &journal.lock().unwrap()));
    eprintln!(
        "{} kills, {} acknowledgements of {} transactions: missing 0, doubled 0, moved 0",
        kills() + 1,
        submitted.load(Ordering::Relaxed),
        journal.lock().unwrap().len()
    );
}

async fn check(ledger: &Ledger, journal: &BTreeMap<TransactionId, Vec<u8>>) {
    let client = ledger.client().await;
    let mut sequences = BTreeMap::new();
    for (id, receipt) in journal {
        let (sequenced, transaction, _) = client.transaction(*id).await.unwrap();
        assert_eq!(&kept(&sequenced.message), receipt, "moved: {id}");
        assert_eq!(id_of(&transaction), *id);
        let sequence = sequenced.receipt.entry.sequence;
        assert!(sequences.insert(sequence, *id).is_none(), "two transactions at {sequence}");
    }
    // The sealed batches hold each of them once, at its place, and nothing twice. The stream begins at any number.
    let mut raw =
        SequencerServiceClient::connect(ledger.url()).await.unwrap().max_decoding_message_size(64 << 20);
    let last = sequences.keys().max().copied().unwrap();
    let mut found = BTreeMap::new();
    let mut next = 0;
    while found.len() as u64 <= last {
        let mut stream =
            raw.stream_batches(proto::StreamBatchesRequest { from_batch: next }).await.unwrap().into_inner();
        // Only a few from each stream, then another one from there.
        for _ in 0..5 {
            let Ok(Ok(message)) = tokio::time::timeout(Duration::from_secs(20), stream.message()).await
            else {
                break;
            };
            let batch = message.unwrap().batch.unwrap();
            let header = BatchHeader::decode(&batch.header).unwrap();
            assert_eq!(header.number, next);
            next += 1;
            for entry in &batch.entries {
                let entry = Entry::decode(entry).unwrap();
                assert_eq!(entry.sequence, found.len() as u64, "entries are consecutive");
                assert!(found.insert(entry.sequence, entry.transaction_id).is_none());
            }
            if found.len() as u64 > last {
                break;
            }
        }
    }
    for (sequence, id) in &sequences {
        assert_eq!(found.get(sequence), Some(id));
    }
    let mut ids: Vec<_> = found.values().collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), found.len(), "a transaction is in the log twice");
    let past = raw.stream_batches(proto::StreamBatchesRequest { from_batch: u64::MAX }).await.unwrap_err();
    assert_eq!(assent_proto::errors::reason_of(&past).as_deref(), Some("BATCH_OUT_OF_RANGE"));
}
