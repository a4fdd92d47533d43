//! State as of the newest closed batch, where storing batches lags behind.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use assent_core::{
    TransactionId,
    machine::{ClosedBatch, StateError, StateRead},
    records::{SeenTransaction, StateKey, StateValue},
};

use crate::LedgerStore;

/// What closed batches wrote that are not stored yet, over what is stored.
pub struct Overlay {
    store: Arc<LedgerStore>,
    batches: RwLock<VecDeque<Arc<ClosedBatch>>>,
}

impl Overlay {
    /// Nothing over the store.
    #[must_use]
    pub fn new(store: Arc<LedgerStore>) -> Self {
        Self { store, batches: RwLock::default() }
    }

    /// Lays the next batch over the others.
    pub fn push(&self, batch: Arc<ClosedBatch>) {
        self.batches.write().unwrap_or_else(PoisonError::into_inner).push_back(batch);
    }

    /// The oldest batch is stored now.
    pub fn stored(&self) {
        self.batches.write().unwrap_or_else(PoisonError::into_inner).pop_front();
    }

    fn find<T>(&self, look: impl Fn(&ClosedBatch) -> Option<T>) -> Option<T> {
        let batches = self.batches.read().unwrap_or_else(PoisonError::into_inner);
        batches.iter().rev().find_map(|batch| look(batch))
    }
}

impl StateRead for Overlay {
    fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError> {
        match self.find(|batch| batch.state.get(&key).cloned()) {
            Some(value) => Ok(Some(value)),
            None => self.store.value(key),
        }
    }

    fn seen(&self, id: &TransactionId) -> Result<Option<Arc<SeenTransaction>>, StateError> {
        match self.find(|batch| batch.seen.get(id).cloned()) {
            Some(seen) => Ok(Some(seen)),
            None => self.store.seen(id),
        }
    }

    fn known(&self, ids: &[TransactionId]) -> Result<Vec<bool>, StateError> {
        let above: Vec<bool> = {
            let batches = self.batches.read().unwrap_or_else(PoisonError::into_inner);
            ids.iter().map(|id| batches.iter().any(|batch| batch.seen.contains_key(id))).collect()
        };
        // A batch leaves the overlay after it is stored, so what is not above by now is found below.
        let below = self.store.known(ids)?;
        Ok(above.into_iter().zip(below).map(|(above, below)| above || below).collect())
    }
}
