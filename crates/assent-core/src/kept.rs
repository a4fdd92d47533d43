//! What execution keeps in memory of what is older than the open batch. How much that is changes no result.

use std::{any::Any, sync::Arc};

use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter, Weighter, unsync};

use crate::{
    TransactionId,
    records::{Record, SeenTransaction, StateKey},
};

/// A record as execution uses it: decoded, and shared with whatever else keeps it.
pub(crate) trait Decoded: Any + Send + Sync + std::fmt::Debug {
    fn encoded(&self) -> Vec<u8>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<R: Record + Send + Sync + std::fmt::Debug + 'static> Decoded for R {
    fn encoded(&self) -> Vec<u8> {
        self.encode()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// A decoded record as what it is. A key has records of one type only, so what is kept under it is of the type that is asked for.
pub(crate) fn as_type<R: Record + Send + Sync + 'static>(record: &Arc<dyn Decoded>) -> Option<Arc<R>> {
    record.clone().into_any().downcast().ok()
}

/// Bytes that decoded records may take unless it is said otherwise.
pub(crate) const DEFAULT_BYTES: u64 = 256 * 1024 * 1024;

/// A record, and the bytes that it takes encoded.
type KeptRecord = (Arc<dyn Decoded>, usize);

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<StateKey, KeptRecord> for Weigh {
    fn weight(&self, _: &StateKey, (_, encoded): &KeptRecord) -> u64 {
        (KEPT_OVERHEAD + encoded + encoded / 2) as u64
    }
}

/// Bytes of a record beside those of its content, which decoded and in small pieces are half as many again as encoded: key,
/// pointers, counts, what the allocator adds.
const KEPT_OVERHEAD: usize = 192;
/// Share of the bytes for transactions that later ones may cite: one in so many.
const SEEN_SHARE: u64 = 8;
/// Bytes that such a transaction takes: its key, and a request's scope.
const SEEN_BYTES: u64 = 512;
/// Share of the transactions that may stay because they were cited before. A request is cited within minutes, often once: what
/// matters is how many of the newest there are, where a cache's usual policy keeps those that were asked for twice.
const SEEN_AGAIN: f64 = 0.1;

/// Decoded records as of the last group that was ended, and transactions, as far as they fit. Nobody else changes state, so what
/// is here is newer than, or the same as, what the store has.
#[derive(Debug)]
pub(crate) struct Kept {
    records: unsync::Cache<StateKey, KeptRecord, Weigh>,
    seen: unsync::Cache<TransactionId, Arc<SeenTransaction>>,
}

impl Kept {
    /// What fits into so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let seen = bytes / SEEN_SHARE;
        let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let transactions = (seen / SEEN_BYTES).max(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(count(transactions))
            .weight_capacity(transactions)
            .hot_allocation(SEEN_AGAIN)
            .ghost_allocation(0.0)
            .build();
        Self {
            // A rough count of records, for the first size of the cache's tables.
            records: unsync::Cache::with_weighter(count(bytes / 1024), bytes - seen, Weigh),
            seen: match options {
                Ok(options) => unsync::Cache::with_options(
                    options,
                    UnitWeighter,
                    DefaultHashBuilder::default(),
                    unsync::DefaultLifecycle::default(),
                ),
                // Only what is missing can be wrong, and nothing is.
                Err(_) => unsync::Cache::new(count(transactions)),
            },
        }
    }

    /// A record.
    pub(crate) fn record<R: Record + Send + Sync + 'static>(&self, key: &StateKey) -> Option<Arc<R>> {
        self.records.get(key).and_then(|(record, _)| as_type(record))
    }

    /// Keeps a record that takes so many bytes encoded.
    pub(crate) fn keep(&mut self, key: StateKey, record: Arc<dyn Decoded>, encoded: usize) {
        self.records.insert(key, (record, encoded));
    }

    /// A transaction.
    pub(crate) fn transaction(&self, id: &TransactionId) -> Option<Arc<SeenTransaction>> {
        self.seen.get(id).cloned()
    }

    /// Keeps a transaction.
    pub(crate) fn keep_transaction(&mut self, id: TransactionId, seen: Arc<SeenTransaction>) {
        self.seen.insert(id, seen);
    }

    /// Forgets a transaction that came to nothing.
    pub(crate) fn forget_transaction(&mut self, id: &TransactionId) {
        self.seen.remove(id);
    }
}
