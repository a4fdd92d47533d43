//! What is durable, for everyone but the executor: the store, and over it the open batch's committed groups.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use assent_core::{
    ChainId, Hash, TransactionId,
    batch::BatchHeader,
    log::LoggedTransaction,
    machine::{Cursor, GroupOutput, StateError, StateRead},
    manifest::GenesisManifest,
    records::{StateKey, StateValue},
};
use assent_metrics::{Pace, Sequencer as Metrics};
use assent_proto::v1::BatchSummary;
use assent_store::{LedgerStore, StoreError};
use tokio::sync::watch;

use crate::{
    answer::{Answer, Group},
    proven::{Proven, Retention},
};

/// The open batch: groups that are on disk but not stored as a batch yet.
struct Open {
    transactions: BTreeMap<TransactionId, (Answer, LoggedTransaction)>,
    state: BTreeMap<StateKey, StateValue>,
    cursor: Cursor,
}

/// Durable positions only. The lock is held for map look-ups and for publishing, never over a disk access.
pub(crate) struct View {
    pub(crate) manifest: Arc<GenesisManifest>,
    pub(crate) store: Arc<LedgerStore>,
    chain_id: ChainId,
    key_id: Hash,
    open: RwLock<Open>,
    sealed: watch::Sender<u64>,
    pub(crate) proven: Proven,
    pub(crate) pace: Pace,
    /// The newest sealed batches, newest first.
    recent: Mutex<VecDeque<BatchSummary>>,
    epoch: u64,
    metrics: Arc<Metrics>,
}

/// Sealed batches that a status shows.
const RECENT_BATCHES: usize = 10;

fn summary(header: &BatchHeader) -> BatchSummary {
    BatchSummary {
        number: header.number,
        first_sequence: header.first_sequence,
        entries: header.entry_count,
        time_ms: header.time_ms,
    }
}

impl View {
    pub(crate) fn new(
        manifest: Arc<GenesisManifest>,
        store: Arc<LedgerStore>,
        cursor: Cursor,
        retention: Retention,
        epoch: u64,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let mut recent = VecDeque::new();
        for number in cursor.next_batch.saturating_sub(RECENT_BATCHES as u64)..cursor.next_batch {
            let header = store.batch(number)?.and_then(|batch| BatchHeader::decode(&batch.header).ok());
            recent.extend(header.as_ref().map(summary));
        }
        recent.make_contiguous().reverse();
        metrics.entries.set(signed(cursor.next_sequence));
        metrics.sealed_batches.set(signed(cursor.next_batch));
        Ok(Self {
            pace: Pace::new(cursor.next_sequence),
            recent: Mutex::new(recent),
            epoch,
            metrics,
            proven: Proven::open(&store, retention, cursor.next_batch)?,
            chain_id: manifest.chain_id(),
            key_id: manifest.sequencer_key.key_id(),
            sealed: watch::Sender::new(cursor.next_batch),
            open: RwLock::new(Open { transactions: BTreeMap::new(), state: BTreeMap::new(), cursor }),
            manifest,
            store,
        })
    }

    fn open(&self) -> std::sync::RwLockReadGuard<'_, Open> {
        // Publishing only moves values into maps; a reader that panicked changed nothing.
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a committed group visible.
    pub(crate) fn publish(&self, output: &GroupOutput, group: &Arc<Group>, cursor: &Cursor) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        for (index, (row, logged)) in group.entries.iter().zip(&output.record.transactions).enumerate() {
            let answer = Answer { group: group.clone(), index, already_sequenced: true };
            open.transactions.insert(row.entry.transaction_id, (answer, logged.clone()));
        }
        open.state.extend(output.state.iter().map(|(key, value)| (*key, value.clone())));
        open.cursor = cursor.clone();
        self.pace.note(cursor.next_sequence);
        self.metrics.entries.set(signed(cursor.next_sequence));
        self.metrics.open_entries.set(signed(open.transactions.len() as u64));
    }

    /// The batch is in the store now: the open maps start again.
    pub(crate) fn sealed(&self, header: &BatchHeader, cursor: &Cursor) {
        {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            open.transactions.clear();
            open.state.clear();
            open.cursor = cursor.clone();
        }
        self.proven.sealed(header);
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push_front(summary(header));
            recent.truncate(RECENT_BATCHES);
        }
        self.metrics.open_entries.set(0);
        self.metrics.sealed_batches.set(signed(cursor.next_batch));
        self.tell_proven();
        self.sealed.send_replace(cursor.next_batch);
    }

    /// The newest sealed batches, newest first.
    pub(crate) fn recent_batches(&self) -> Vec<BatchSummary> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// How often the sequencer was started on this log.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Shows in the metrics how far the prover has come.
    pub(crate) fn tell_proven(&self) {
        let (batches, since_ms) = self.proven.get();
        self.metrics.proven_batches.set(signed(batches));
        self.metrics.unproven_since.set(signed(since_ms / 1000));
    }

    pub(crate) fn sealed_batches(&self) -> watch::Receiver<u64> {
        self.sealed.subscribe()
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.open().cursor.clone()
    }

    /// Whether a transaction was sequenced: cheap, for the executor.
    pub(crate) fn contains(&self, id: &TransactionId) -> Result<bool, StoreError> {
        Ok(self.open().transactions.contains_key(id) || self.store.transaction(id)?.is_some())
    }

    /// The answer to a transaction that was sequenced, and the transaction itself where it is asked for.
    pub(crate) fn find(&self, id: &TransactionId) -> Result<Option<Answer>, StoreError> {
        if let Some((answer, _)) = self.open().transactions.get(id) {
            return Ok(Some(answer.clone()));
        }
        let Some(seen) = self.store.transaction(id)? else { return Ok(None) };
        let Some(row) = self.store.entry(seen.at.sequence)? else { return Ok(None) };
        let first = row.entry.sequence - u64::from(row.index);
        let entries = self.store.entries_while(first, |other| other.position == row.position)?;
        let signature = self.store.group_signature(row.position)?;
        let group = Group::of_stored(&self.manifest, self.chain_id, self.key_id, entries, signature);
        Ok(group.map(|group| Answer {
            group: Arc::new(group),
            index: row.index as usize,
            already_sequenced: true,
        }))
    }

    /// The transaction as it was received.
    pub(crate) fn logged(
        &self,
        id: &TransactionId,
        answer: &Answer,
    ) -> Result<Option<LoggedTransaction>, StoreError> {
        if let Some((_, logged)) = self.open().transactions.get(id) {
            return Ok(Some(logged.clone()));
        }
        let Some(row) = answer.group.entries.get(answer.index) else { return Ok(None) };
        let record = self.store.record(row.position)?;
        Ok(record.transactions.into_iter().nth(answer.index))
    }

    /// A state record as of the newest durable position.
    pub(crate) fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError> {
        if let Some(value) = self.open().state.get(&key) {
            return Ok(Some(value.clone()));
        }
        self.store.value(key)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
