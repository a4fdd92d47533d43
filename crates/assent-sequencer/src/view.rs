//! What is durable, for everyone but the executor: the store, and over it the committed groups of batches that are not stored
//! yet.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use assent_core::{
    ChainId, Hash, Map, TransactionId,
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

/// A batch that is not stored yet: its groups are on disk, as log records.
#[derive(Default)]
struct Batch {
    /// The sequence of each transaction.
    transactions: Map<TransactionId, u64>,
    /// In order, each with the sequence of its first entry.
    groups: Vec<(u64, Arc<Group>)>,
}

impl Batch {
    /// A transaction's group, and its place in it.
    fn find(&self, id: &TransactionId) -> Option<(Arc<Group>, usize)> {
        let sequence = *self.transactions.get(id)?;
        let after = self.groups.partition_point(|(first, _)| *first <= sequence);
        let (first, group) = self.groups.get(after.checked_sub(1)?)?;
        Some((group.clone(), usize::try_from(sequence - first).ok()?))
    }

    /// A state record as the newest group that wrote it left it.
    fn value(&self, key: &StateKey) -> Option<StateValue> {
        self.groups.iter().rev().find_map(|(_, group)| group.output()?.state.get(key).cloned())
    }
}

/// The batches that are not stored yet, the open one last, and where the ledger stands: sealed means stored here.
struct Open {
    batches: VecDeque<Batch>,
    cursor: Cursor,
}

impl Open {
    fn find<T>(&self, look: impl Fn(&Batch) -> Option<T>) -> Option<T> {
        self.batches.iter().rev().find_map(look)
    }

    fn entries(&self) -> usize {
        self.batches.back().map_or(0, |batch| batch.transactions.len())
    }
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
            open: RwLock::new(Open { batches: VecDeque::from([Batch::default()]), cursor }),
            manifest,
            store,
        })
    }

    fn open(&self) -> std::sync::RwLockReadGuard<'_, Open> {
        // Publishing only moves values into maps; a reader that panicked changed nothing.
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a committed group visible; `cursor` is where the ledger stands after it.
    pub(crate) fn publish(&self, output: &GroupOutput, group: &Arc<Group>, cursor: &Cursor) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let stored = open.cursor.next_batch;
        if let Some(batch) = open.batches.back_mut() {
            let ids = output.executed.iter().map(|executed| &executed.entry);
            batch.transactions.extend(ids.map(|entry| (entry.transaction_id, entry.sequence)));
            let first = cursor.next_sequence - output.executed.len() as u64;
            batch.groups.push((first, group.clone()));
        }
        let entries = open.entries();
        if output.closed.is_some() {
            open.batches.push_back(Batch::default());
        }
        open.cursor = Cursor { next_batch: stored, ..cursor.clone() };
        self.pace.note(cursor.next_sequence);
        self.metrics.entries.set(signed(cursor.next_sequence));
        self.metrics.open_entries.set(signed(entries as u64));
    }

    /// The oldest batch that was not stored is in the store now.
    pub(crate) fn sealed(&self, header: &BatchHeader, cursor: &Cursor) {
        let stored;
        {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            stored = open.batches.pop_front();
            open.cursor.next_batch = cursor.next_batch;
        }
        // Thousands of rows are let go of without the lock.
        drop(stored);
        self.proven.sealed(header);
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.push_front(summary(header));
            recent.truncate(RECENT_BATCHES);
        }
        self.metrics.open_entries.set(signed(self.open().entries() as u64));
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

    /// The answer to a transaction that was sequenced.
    pub(crate) fn find(&self, id: &TransactionId) -> Result<Option<Answer>, StoreError> {
        let open = self.open().find(|batch| batch.find(id));
        if let Some((group, index)) = open {
            return Ok(Some(Answer { group, index, already_sequenced: true }));
        }
        let Some(sequence) = self.store.sequence_of(id)? else { return Ok(None) };
        let Some(row) = self.store.entry(sequence)? else { return Ok(None) };
        let first = row.entry.sequence - u64::from(row.index);
        let entries = self.store.entries_while(first, |other| other.position == row.position)?;
        let signature = self.store.group_signature(row.position)?;
        let group = Group::of_stored(&self.manifest, self.chain_id, self.key_id, &entries, signature);
        Ok(group.map(|group| Answer {
            group: Arc::new(group),
            index: row.index as usize,
            already_sequenced: true,
        }))
    }

    /// The transaction as it was received.
    pub(crate) fn logged(&self, answer: &Answer) -> Result<Option<LoggedTransaction>, StoreError> {
        if let Some(output) = answer.group.output() {
            return Ok(output.record.transactions.get(answer.index).cloned());
        }
        let record = self.store.record(answer.group.position)?;
        Ok(record.transactions.into_iter().nth(answer.index))
    }

    /// A state record as of the newest durable position.
    pub(crate) fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError> {
        match self.open().find(|batch| batch.value(&key)) {
            Some(value) => Ok(Some(value)),
            None => self.store.value(key),
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
