//! What clients were told, kept outside of everything that is killed, and compared with the ledger afterwards.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use assent_client::{Client, ClientConfig, Sequenced};
use assent_core::{TransactionId, batch::BatchHeader, codec::sha256, outcome::Entry};
use assent_proto::v1::{self as proto, sequencer_service_client::SequencerServiceClient};
use prost::Message;

/// A promise: the sequence, and a hash of everything that was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Promise {
    sequence: u64,
    receipt: [u8; 32],
}

impl Promise {
    fn of(sequenced: &Sequenced) -> Self {
        let message = proto::SequencedTransaction { already_sequenced: false, ..sequenced.message.clone() };
        Self { sequence: sequenced.receipt.entry.sequence, receipt: sha256(&message.encode_to_vec()) }
    }
}

/// Every acknowledgement.
#[derive(Debug, Default)]
pub struct Journal(Mutex<BTreeMap<TransactionId, Promise>>);

impl Journal {
    /// Keeps an acknowledgement. A second one for the same transaction has to be the same.
    pub fn note(&self, id: TransactionId, sequenced: &Sequenced) {
        let promise = Promise::of(sequenced);
        let earlier = self.0.lock().unwrap().insert(id, promise);
        assert!(earlier.is_none_or(|earlier| earlier == promise), "two receipts for {id}");
    }

    /// Transactions.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Whether nothing was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares with the ledger: every transaction is in its sealed batch, once, at its place, and its receipt is the one that
    /// was given. Receipts of about two thousand of them are asked for again.
    pub async fn check(&self, config: &ClientConfig) {
        let journal = self.0.lock().unwrap().clone();
        let client = Client::connect(config.clone()).await.unwrap();
        let step = (journal.len() / 2_000).max(1);
        for (id, promise) in journal.iter().step_by(step) {
            let (sequenced, transaction, _) = client.transaction(*id).await.unwrap();
            assert_eq!(Promise::of(&sequenced), *promise, "moved: {id}");
            assert_eq!(crate::id_of(&transaction), *id);
        }
        let found = sealed(config, journal.values().map(|promise| promise.sequence).max().unwrap()).await;
        for (id, promise) in &journal {
            assert_eq!(found.get(&promise.sequence), Some(id), "missing or moved: {id}");
        }
        let mut ids: Vec<_> = found.values().collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), found.len(), "a transaction is in the log twice");
    }
}

/// What the sealed batches hold, up to a sequence. The stream begins at any number.
async fn sealed(config: &ClientConfig, last: u64) -> BTreeMap<u64, TransactionId> {
    let mut client = SequencerServiceClient::new(crate::channel(config)).max_decoding_message_size(96 << 20);
    let mut found = BTreeMap::new();
    let mut next = 0;
    while found.len() as u64 <= last {
        let request = proto::StreamBatchesRequest { from_batch: next };
        let mut stream = client.stream_batches(request).await.unwrap().into_inner();
        // Only a few from each stream, then another one from there.
        for _ in 0..50 {
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
    found
}
