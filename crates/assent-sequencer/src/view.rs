//! What is durable, for everyone but the executor: the store, and over it the open batch's committed groups.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use assent_core::{
    ChainId, Hash, TransactionId,
    batch::BatchHeader,
    log::LoggedTransaction,
    machine::{Cursor, GroupOutput, StateError, StateRead},
    manifest::GenesisManifest,
    records::{StateKey, StateValue},
};
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
}

impl View {
    pub(crate) fn new(
        manifest: Arc<GenesisManifest>,
        store: Arc<LedgerStore>,
        cursor: Cursor,
        retention: Retention,
    ) -> Result<Self, StoreError> {
        Ok(Self {
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
        self.sealed.send_replace(cursor.next_batch);
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
