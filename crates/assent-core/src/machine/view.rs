//! State as a transaction sees it.

use std::sync::Arc;

use assent_merkle::{CompactRange, leaf_hash};
use bytes::BytesMut;

use super::{OpenBatch, OpenGroup, StateError, StateRead};
use crate::{
    Hash, TransactionId,
    codec::{Encoder, Layout},
    kept::{Decoded, Kept},
    outcome::OutcomeWriter,
    records::{LogAppend, LogLeaf, SeenTransaction, StateKey},
};

/// State as the next transaction of a group sees it: the group's writes over the batch's over the store's.
pub(crate) struct View<'a, S> {
    pub(super) store: &'a S,
    pub(super) open: &'a mut OpenBatch,
    pub(super) group: &'a mut OpenGroup,
    pub(super) cache: &'a mut Kept,
    pub(super) keeps_appends: bool,
    pub(super) values: &'a mut BytesMut,
    pub(crate) outcomes: &'a mut OutcomeWriter,
}

impl<S: StateRead> View<'_, S> {
    pub(crate) fn time_ms(&self) -> u64 {
        self.group.start.time_ms
    }

    /// The salt of a detail, known to nobody who does not have the group's seed.
    pub(crate) fn detail_salt(&self, id: &TransactionId, index: u16) -> Hash {
        Encoder::new(Layout::Salt).fixed(&self.group.start.seed).u8(2).fixed(&id.0).u16(index).sha256()
    }

    pub(crate) fn read<R: Decoded>(&mut self, key: StateKey) -> Result<Option<Arc<R>>, StateError> {
        if let Some(found) = self.cache.record(&key) {
            return Ok(Some(found));
        }
        let value = match self.open.state.get(&key) {
            Some(value) => Some(value.clone()),
            None => self.store.value(key)?,
        };
        let Some(value) = value else { return Ok(None) };
        let record = R::decode(&value.record).map_err(|source| StateError::Corrupt {
            // Without the key itself: it holds an account id, which no log may hold.
            key: format!("of kind {}", key.to_bytes()[0]),
            source,
        })?;
        let record = Arc::new(record);
        self.cache.keep(key, record.clone(), value.record.len());
        Ok(Some(record))
    }

    pub(crate) fn write<R: Decoded>(&mut self, key: StateKey, record: R) {
        record.encoder().read(|encoded| self.values.extend_from_slice(encoded));
        self.cache.write(key, record, self.values.split().freeze());
    }

    /// Appends a leaf to a log whose record the caller then writes.
    pub(crate) fn append<L: LogLeaf>(&mut self, log: StateKey, range: &mut CompactRange, leaf: &L) {
        if !self.keeps_appends {
            range.append_with(leaf.hash(), |_| {});
            return;
        }
        let (index, leaf) = (range.size(), leaf.encode());
        let completed = range.append(leaf_hash(&leaf));
        self.group.appends.push(LogAppend { log, index, leaf, completed });
    }

    pub(crate) fn seen(&mut self, id: &TransactionId) -> Result<Option<Arc<SeenTransaction>>, StateError> {
        if let Some(seen) = self.open.seen.get(id) {
            return Ok(Some(seen.clone()));
        }
        if self.group.new.contains(id) {
            return Ok(None);
        }
        if let Some(seen) = self.cache.transaction(id) {
            return Ok(Some(seen));
        }
        let seen = self.store.seen(id)?;
        if let Some(seen) = &seen {
            self.cache.keep_transaction(*id, seen.clone());
        }
        Ok(seen)
    }

    pub(crate) fn remember(&mut self, id: TransactionId, seen: SeenTransaction) {
        let seen = Arc::new(seen);
        // Only requests are cited; whether another one was sequenced is asked of the store.
        if seen.scope.is_some() {
            self.cache.keep_transaction(id, seen.clone());
        }
        self.open.seen.insert(id, seen);
    }
}
