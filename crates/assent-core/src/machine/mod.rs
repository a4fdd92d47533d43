//! The state machine: from log records to entries, receipts, headers and state.
//!
//! The machine holds what the open batch has changed; everything older is read from a store behind [`StateRead`]. When a
//! batch is sealed its changes come out whole, for the store to write at once. After a restart the store's [`Cursor`] says
//! from which log position on records have to be applied again: recovery is the same code as normal operation.

mod output;
mod view;

use std::sync::Arc;

use assent_merkle::leaf_hash;
use bytes::BytesMut;
use thiserror::Error;

use crate::{
    ChainId, Hash, Map, Set, TransactionId, ahead,
    batch::{BaseBlock, RefusalReason},
    codec::{DecodeError, Encoder, Layout},
    execute,
    kept::{self, Kept},
    limits,
    log::{LogRecord, LoggedTransaction},
    manifest::GenesisManifest,
    outcome::{Executed, OutcomeWriter, SHARED_BYTES},
    records::{LogAppend, SeenTransaction, StateKey, StateValue},
    ruleset::{Ruleset, RulesetError},
    seal::{OpenBatchSize, SealPolicy},
    transaction::{Transaction, TransactionError},
};

pub(crate) use view::View;

pub use crate::ahead::LOOK_AHEAD;

pub use output::{ClosedBatch, Cursor, GroupOutput, SealedBatch};

/// Reading state failed. Nothing can be decided then.
#[derive(Debug, Error)]
pub enum StateError {
    /// The storage failed.
    #[error("reading state failed")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A transaction was executed outside of a group.
    #[error("no group was begun")]
    NoGroup,
    /// A record is not what it should be.
    #[error("state record {key} is corrupt")]
    Corrupt {
        /// The key in hexadecimal.
        key: String,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
}

/// State as of the last sealed batch.
pub trait StateRead {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StateError::Storage`].
    fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError>;

    /// What is remembered of a transaction.
    ///
    /// # Errors
    /// [`StateError::Storage`].
    fn seen(&self, id: &TransactionId) -> Result<Option<Arc<SeenTransaction>>, StateError>;

    /// Whether something is remembered of each of several transactions, in their order.
    ///
    /// # Errors
    /// [`StateError::Storage`].
    fn known(&self, ids: &[TransactionId]) -> Result<Vec<bool>, StateError> {
        ids.iter().map(|id| Ok(self.seen(id)?.is_some())).collect()
    }
}

/// A log record that cannot follow, or does not obey the rules. From another's log this is evidence against its sequencer.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Fault {
    #[error("log position {found} found, {expected} expected")]
    Position { expected: u64, found: u64 },
    #[error("epoch {found} is below {newest}")]
    Epoch { newest: u64, found: u64 },
    #[error("time {found} ms is before that of the previous group, {previous} ms")]
    TimeFell { previous: u64, found: u64 },
    #[error(
        "time steps by {step} ms, more than {limit} ms, and neither the base chain nor the operator confirms it"
    )]
    TimeStep { step: u64, limit: u64 },
    #[error("time {found} ms is after the year 9999")]
    TimeTooLarge { found: u64 },
    #[error("base height {found} is below {newest}, which was cited before")]
    BaseHeightFell { newest: u32, found: u32 },
    #[error("the cited base block's median time {median_s} s is after the group's time {time_ms} ms")]
    BaseBlockTooNew { median_s: u32, time_ms: u64 },
    #[error("transaction {index} of the record is refused: {reason}")]
    Refused { index: usize, reason: RefusalReason },
    #[error("transaction {index} of the record is malformed: {source}")]
    Malformed {
        index: usize,
        #[source]
        source: TransactionError,
    },
    #[error("the batch is larger than the manifest allows")]
    BatchTooLarge,
    #[error("the record neither has transactions nor seals any")]
    Empty,
    #[error(transparent)]
    State(#[from] StateError),
}

/// What a group begins with: a log record without its transactions.
#[derive(Clone, Debug)]
pub struct GroupStart {
    /// Term of the sequencer.
    pub epoch: u64,
    /// In milliseconds since 1970.
    pub time_ms: u64,
    /// Whether the operator confirmed a step of time above the limit.
    pub time_confirmed: bool,
    /// Secret random bytes.
    pub seed: Hash,
    /// Newest base block to cite.
    pub base: BaseBlock,
}

/// The open batch's changes.
#[derive(Debug, Default)]
struct OpenBatch {
    size: OpenBatchSize,
    leaf_hashes: Vec<Hash>,
    record_hashes: Vec<Hash>,
    appends: Vec<LogAppend>,
    state: Map<StateKey, StateValue>,
    /// Those of the open group included.
    seen: Map<TransactionId, Arc<SeenTransaction>>,
}

impl OpenBatch {
    /// An empty one with room for as much as another has.
    fn as_large_as(other: &Self) -> Self {
        Self {
            leaf_hashes: Vec::with_capacity(other.leaf_hashes.len()),
            record_hashes: Vec::with_capacity(other.record_hashes.len()),
            state: Map::with_capacity_and_hasher(other.state.len(), Default::default()),
            seen: Map::with_capacity_and_hasher(other.seen.len(), Default::default()),
            ..Self::default()
        }
    }
}

/// The group that is being executed.
#[derive(Debug)]
struct OpenGroup {
    start: GroupStart,
    transactions: Vec<LoggedTransaction>,
    executed: Vec<Executed>,
    appends: Vec<LogAppend>,
    bytes: u32,
    /// Transactions that were not known when the group began.
    new: Set<TransactionId>,
}

/// The state machine of one ledger.
#[derive(Debug)]
pub struct Machine {
    manifest: Arc<GenesisManifest>,
    chain_id: ChainId,
    key_id: Hash,
    ruleset: Ruleset,
    cursor: Cursor,
    open: OpenBatch,
    group: Option<OpenGroup>,
    /// Records as the next transaction sees them, as far as they fit.
    cache: Kept,
    /// Whether a sealed batch lists what was appended to the logs of subjects and recipients.
    keeps_appends: bool,
    outcomes: OutcomeWriter,
    /// Where the next state values are written: they share it.
    values: BytesMut,
    /// Transactions of the last group: room for as many is made for the next one.
    group_transactions: usize,
}

impl Machine {
    /// A machine that goes on from a cursor.
    ///
    /// # Errors
    /// [`RulesetError`] where this program does not have the manifest's ruleset.
    pub fn new(manifest: Arc<GenesisManifest>, cursor: Cursor) -> Result<Self, RulesetError> {
        Ok(Self {
            chain_id: manifest.chain_id(),
            key_id: manifest.sequencer_key.key_id(),
            ruleset: manifest.ruleset()?,
            manifest,
            cursor,
            open: OpenBatch::default(),
            group: None,
            cache: Kept::new(kept::DEFAULT_BYTES),
            keeps_appends: true,
            outcomes: OutcomeWriter::new(true),
            values: BytesMut::with_capacity(SHARED_BYTES),
            group_transactions: 0,
        })
    }

    /// The same with room for so many bytes of decoded records. How many are kept changes no result.
    #[must_use]
    pub fn with_cache(self, bytes: u64) -> Self {
        Self { cache: Kept::new(bytes), ..self }
    }

    /// The same, whose sealed batches do not list what was appended to the logs of subjects and recipients: for who does not
    /// store those logs.
    #[must_use]
    pub fn without_appends(self) -> Self {
        Self { keeps_appends: false, ..self }
    }

    /// The same, whose outcomes come without their details: for who shows them to nobody.
    #[must_use]
    pub fn without_details(self) -> Self {
        Self { outcomes: OutcomeWriter::new(false), ..self }
    }

    /// The ledger.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &GenesisManifest {
        &self.manifest
    }

    /// Where the ledger stands, the open batch included.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// How large the open batch is, the open group included.
    #[must_use]
    pub fn open_size(&self) -> OpenBatchSize {
        let mut size = self.open.size;
        if let Some(group) = &self.group {
            if size.entries == 0 {
                size.first_time_ms = group.start.time_ms;
            }
            size.entries += u32::try_from(group.executed.len()).unwrap_or(u32::MAX);
            size.bytes += group.bytes;
        }
        size
    }

    /// Whether a step of time is allowed: within the limit, or confirmed by the base chain's clock or the operator.
    ///
    /// # Errors
    /// [`Fault::TimeFell`], [`Fault::TimeTooLarge`], [`Fault::TimeStep`].
    pub fn check_time(&self, start: &GroupStart) -> Result<(), Fault> {
        let (previous, limit) = (self.cursor.time_ms, self.manifest.limits.max_time_step_ms);
        if start.time_ms < previous {
            return Err(Fault::TimeFell { previous, found: start.time_ms });
        }
        if start.time_ms > limits::MAX_TIME_MS {
            return Err(Fault::TimeTooLarge { found: start.time_ms });
        }
        let step = start.time_ms - previous;
        let base_agrees = u64::from(start.base.median_time_s) * 1000 + limit >= start.time_ms;
        if step > limit && !base_agrees && !start.time_confirmed {
            return Err(Fault::TimeStep { step, limit });
        }
        Ok(())
    }

    /// Begins a group.
    ///
    /// # Errors
    /// A [`Fault`] where it cannot follow the one before; nothing is changed then.
    pub fn begin_group(&mut self, start: GroupStart) -> Result<(), Fault> {
        self.check_time(&start)?;
        let cursor = &self.cursor;
        if start.epoch < cursor.epoch {
            return Err(Fault::Epoch { newest: cursor.epoch, found: start.epoch });
        }
        if start.base.height < cursor.base.height {
            return Err(Fault::BaseHeightFell { newest: cursor.base.height, found: start.base.height });
        }
        if u64::from(start.base.median_time_s) * 1000 > start.time_ms {
            return Err(Fault::BaseBlockTooNew {
                median_s: start.base.median_time_s,
                time_ms: start.time_ms,
            });
        }
        self.abandon_group();
        let transactions = self.group_transactions;
        self.group = Some(OpenGroup {
            start,
            transactions: Vec::with_capacity(transactions),
            executed: Vec::with_capacity(transactions),
            appends: Vec::new(),
            bytes: 0,
            new: Set::with_capacity_and_hasher(transactions, Default::default()),
        });
        Ok(())
    }

    /// Finds out which of these transactions are known to the store, all at once, which costs less than one at a time. Those
    /// that the group executes and that were not looked up so are looked up one by one.
    ///
    /// # Errors
    /// [`StateError`] where state cannot be read.
    pub fn look_up<S: StateRead>(&mut self, store: &S, ids: &[TransactionId]) -> Result<(), StateError> {
        let Some(group) = self.group.as_mut() else {
            return Err(StateError::NoGroup);
        };
        let known = store.known(ids)?;
        group.new.extend(ids.iter().zip(known).filter(|(_, known)| !known).map(|(id, _)| *id));
        Ok(())
    }

    /// Looks at what the next transactions will read, as far as it is in memory, so that executing them waits less for it. At
    /// most [`LOOK_AHEAD`] are looked at. Nothing is changed, and no result is.
    pub fn look_ahead<'a>(&self, transactions: impl Iterator<Item = &'a Transaction>) {
        ahead::look(&self.cache, transactions);
    }

    /// Leaves nothing of a group that was begun and not ended.
    fn abandon_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        self.cache.restore();
        for executed in group.executed {
            self.open.seen.remove(&executed.entry.transaction_id);
            self.cache.forget_transaction(&executed.entry.transaction_id);
        }
    }

    /// Executes a transaction whose signatures have been checked, within the group that was begun.
    ///
    /// # Errors
    /// [`StateError`] where state cannot be read; the whole group is given up then. A refusal is not an error; it changes nothing.
    pub fn execute<S: StateRead>(
        &mut self,
        store: &S,
        transaction: &Transaction,
    ) -> Result<Result<(), RefusalReason>, StateError> {
        let Some(group) = self.group.as_mut() else {
            return Err(StateError::NoGroup);
        };
        let sequence = self.cursor.next_sequence + group.executed.len() as u64;
        let keeps_appends = self.keeps_appends;
        let mut view = View {
            store,
            open: &mut self.open,
            group,
            cache: &mut self.cache,
            keeps_appends,
            values: &mut self.values,
            outcomes: &mut self.outcomes,
        };
        let rules = execute::Rules { ruleset: &self.ruleset, limits: &self.manifest.limits };
        match execute::execute(&rules, &mut view, sequence, transaction) {
            Ok(Ok(executed)) => {
                group.executed.push(executed);
                group.transactions.push(LoggedTransaction::from(transaction));
                group.bytes += u32::try_from(transaction.stored_bytes()).unwrap_or(u32::MAX);
                Ok(Ok(()))
            }
            Ok(Err(reason)) => Ok(Err(reason)),
            Err(error) => {
                // It may have written something before.
                self.abandon_group();
                Err(error)
            }
        }
    }

    /// The sequence of a transaction that was sequenced, the open group included.
    ///
    /// # Errors
    /// [`StateError`] where state cannot be read.
    pub fn sequence_of<S: StateRead>(
        &self,
        store: &S,
        id: &TransactionId,
    ) -> Result<Option<u64>, StateError> {
        let seen = match self.open.seen.get(id) {
            Some(seen) => Some(seen.clone()),
            None => store.seen(id)?,
        };
        Ok(seen.map(|seen| seen.at.sequence))
    }

    /// Ends the group, and with `seal` the batch. `None` for a group without effect: no transactions, nothing to seal.
    #[must_use]
    pub fn end_group(&mut self, seal: bool) -> Option<GroupOutput> {
        let mut output = self.close_group(seal)?;
        if let Some(closed) = &output.closed {
            let sealed = closed.clone().seal(self.cursor.previous_hash);
            self.cursor.previous_hash = sealed.cursor.previous_hash;
            output.sealed = Some(Arc::new(sealed));
        }
        Some(output)
    }

    /// The same, and whoever takes the batch seals it ([`ClosedBatch::seal`]): the next group need not wait for that. The cursor's
    /// hash of a header stays what it was, so a machine that has left one batch to others leaves all of them.
    #[must_use]
    pub fn close_group(&mut self, seal: bool) -> Option<GroupOutput> {
        let size = self.open_size();
        let group = self.group.take()?;
        let seal = seal && size.entries > 0;
        if group.executed.is_empty() && !seal {
            self.cache.restore();
            return None;
        }
        self.group_transactions = group.executed.len();
        let start = group.start;
        let batch_number = self.cursor.next_batch;
        let position = self.cursor.next_position;
        let written = self.cache.settle();
        let mut state = Map::with_capacity_and_hasher(written.len(), Default::default());
        state.extend(
            written.map(|(key, record)| (key, StateValue { salt: value_salt(&start.seed, key), record })),
        );
        self.open.size = size;
        self.open.leaf_hashes.extend(group.executed.iter().map(|executed| executed.entry_leaf_hash));
        self.open.state.extend(state.iter().map(|(key, value)| (*key, value.clone())));
        self.open.appends.extend(group.appends);
        self.cursor = Cursor {
            next_position: position + 1,
            next_sequence: self.cursor.next_sequence + group.executed.len() as u64,
            time_ms: start.time_ms,
            epoch: start.epoch,
            base: start.base,
            ..self.cursor.clone()
        };
        let record = LogRecord {
            position,
            epoch: start.epoch,
            time_ms: start.time_ms,
            seal,
            time_confirmed: start.time_confirmed,
            seed: start.seed,
            base: start.base,
            transactions: group.transactions,
        };
        let record_bytes = record.encode();
        self.open.record_hashes.push(leaf_hash(&record_bytes));
        let closed = seal.then(|| Arc::new(self.close()));
        Some(GroupOutput {
            record,
            record_bytes,
            executed: group.executed,
            batch_number,
            deadline_ms: start.time_ms + self.manifest.limits.max_seal_delay_ms,
            state,
            closed,
            sealed: None,
            chain_id: self.chain_id,
            key_id: self.key_id,
        })
    }

    fn close(&mut self) -> ClosedBatch {
        let next = OpenBatch::as_large_as(&self.open);
        let open = std::mem::replace(&mut self.open, next);
        self.cursor.next_batch += 1;
        ClosedBatch {
            state: open.state,
            appends: open.appends,
            seen: open.seen,
            leaf_hashes: open.leaf_hashes,
            record_hashes: open.record_hashes,
            cursor: self.cursor.clone(),
            chain_id: self.chain_id,
            key_id: self.key_id,
            ruleset: self.ruleset.number(),
        }
    }

    /// Decodes the transactions of a record. Their signatures are still to be checked.
    ///
    /// # Errors
    /// [`Fault::Malformed`].
    pub fn decode_record(&self, record: &LogRecord) -> Result<Vec<Transaction>, Fault> {
        record
            .transactions
            .iter()
            .enumerate()
            .map(|(index, logged)| {
                Transaction::decode_logged(&self.chain_id, logged)
                    .map_err(|source| Fault::Malformed { index, source })
            })
            .collect()
    }

    /// Applies a log record again: with `transactions` from [`Self::decode_record`], whose signatures the caller checked or
    /// need not check because it wrote the record itself.
    ///
    /// # Errors
    /// A [`Fault`]; the machine must not be used any further then.
    pub fn apply_record<S: StateRead>(
        &mut self,
        store: &S,
        record: &LogRecord,
        transactions: &[Transaction],
    ) -> Result<GroupOutput, Fault> {
        if record.position != self.cursor.next_position {
            return Err(Fault::Position { expected: self.cursor.next_position, found: record.position });
        }
        self.begin_group(GroupStart {
            epoch: record.epoch,
            time_ms: record.time_ms,
            time_confirmed: record.time_confirmed,
            seed: record.seed,
            base: record.base,
        })?;
        self.look_up(store, &transactions.iter().map(|transaction| transaction.id).collect::<Vec<_>>())?;
        let largest = SealPolicy::largest(&self.manifest.limits);
        for (index, transaction) in transactions.iter().enumerate() {
            if index % LOOK_AHEAD == 0 {
                self.look_ahead(transactions[index..].iter());
            }
            if !largest.fits(&self.open_size(), transaction.stored_bytes()) {
                return Err(Fault::BatchTooLarge);
            }
            if let Err(reason) = self.execute(store, transaction)? {
                return Err(Fault::Refused { index, reason });
            }
        }
        self.end_group(record.seal).ok_or(Fault::Empty)
    }

    /// A value as the open batch sees it, the open group left out.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open_value<S: StateRead>(
        &self,
        store: &S,
        key: StateKey,
    ) -> Result<Option<StateValue>, StateError> {
        match self.open.state.get(&key) {
            Some(value) => Ok(Some(value.clone())),
            None => store.value(key),
        }
    }
}

fn value_salt(seed: &Hash, key: StateKey) -> Hash {
    Encoder::new(Layout::Salt).fixed(seed).u8(1).fixed(&key.to_bytes()).sha256()
}
