//! What a machine puts out, and where that leaves the ledger.

use std::sync::Arc;

use assent_merkle::root_of_leaf_hashes;

use crate::{
    ChainId, Hash, Map, TransactionId,
    batch::{BaseBlock, BatchHeader, Receipt, effects_root},
    codec::{DecodeError, Decoder, Encoder, Layout, leading},
    log::LogRecord,
    manifest::GenesisManifest,
    outcome::Executed,
    records::{LogAppend, Record, SeenTransaction, StateKey, StateValue},
};

/// Where a ledger stands after its last sealed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Position of the next log record.
    pub next_position: u64,
    /// Sequence of the next entry.
    pub next_sequence: u64,
    /// Number of the next batch.
    pub next_batch: u64,
    /// Hash of the last header; zeros before the first. A machine that leaves sealing to others ([`close_group`]) has that of the
    /// last one that it sealed itself.
    ///
    /// [`close_group`]: super::Machine::close_group
    pub previous_hash: Hash,
    /// Time of the last group.
    pub time_ms: u64,
    /// Newest epoch.
    pub epoch: u64,
    /// Newest cited base block.
    pub base: BaseBlock,
}

impl Cursor {
    /// Before the first group.
    #[must_use]
    pub fn genesis(manifest: &GenesisManifest) -> Self {
        Self {
            next_position: 0,
            next_sequence: 0,
            next_batch: 0,
            previous_hash: [0; 32],
            time_ms: manifest.created_ms,
            epoch: 0,
            base: BaseBlock { height: 0, hash: manifest.base.genesis_hash, median_time_s: 0 },
        }
    }
}

impl Record for Cursor {
    fn encoder(&self) -> Encoder {
        Encoder::new(Layout::StoredRow)
            .u64(self.next_position)
            .u64(self.next_sequence)
            .u64(self.next_batch)
            .fixed(&self.previous_hash)
            .u64(self.time_ms)
            .u64(self.epoch)
            .u32(self.base.height)
            .fixed(&self.base.hash)
            .u32(self.base.median_time_s)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::StoredRow, bytes)?;
        let cursor = Self {
            next_position: d.u64("next position")?,
            next_sequence: d.u64("next sequence")?,
            next_batch: d.u64("next batch")?,
            previous_hash: d.hash("previous hash")?,
            time_ms: d.u64("time")?,
            epoch: d.u64("epoch")?,
            base: BaseBlock {
                height: d.u32("base height")?,
                hash: d.hash("base hash")?,
                median_time_s: d.u32("base median time")?,
            },
        };
        d.finish()?;
        Ok(cursor)
    }
}

/// Everything that a group gave.
#[derive(Debug)]
pub struct GroupOutput {
    /// The log record to commit.
    pub record: LogRecord,
    /// The same, encoded.
    pub record_bytes: Vec<u8>,
    /// One a transaction, in order.
    pub executed: Vec<Executed>,
    /// The batch that it is part of.
    pub batch_number: u64,
    /// By when that batch is sealed, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// The state records that the group wrote.
    pub state: Map<StateKey, StateValue>,
    /// The batch, where the group was its last.
    pub closed: Option<Arc<ClosedBatch>>,
    /// The same, sealed; `None` also where that was left to whom it is handed on to ([`close_group`](super::Machine::close_group)).
    pub sealed: Option<Arc<SealedBatch>>,
    pub(super) chain_id: ChainId,
    pub(super) key_id: Hash,
}

impl GroupOutput {
    /// What each sender is promised: one a transaction, in order.
    pub fn receipts(&self) -> impl ExactSizeIterator<Item = Receipt> {
        self.executed.iter().map(|executed| Receipt {
            chain_id: self.chain_id,
            key_id: self.key_id,
            epoch: self.record.epoch,
            batch_number: self.batch_number,
            deadline_ms: self.deadline_ms,
            entry: executed.entry.clone(),
        })
    }
}

/// Everything that a batch changed whose last group has ended. What its header commits to is still to be hashed, which takes
/// several milliseconds and waits for nothing but the header before it.
#[derive(Clone, Debug)]
pub struct ClosedBatch {
    /// All state records that it wrote, final.
    pub state: Map<StateKey, StateValue>,
    /// What it appended to the logs of subjects and recipients, in order.
    pub appends: Vec<LogAppend>,
    /// Its transactions.
    pub seen: Map<TransactionId, Arc<SeenTransaction>>,
    /// Hashes of its entries' leaves.
    pub(super) leaf_hashes: Vec<Hash>,
    /// Hashes of its log records, as leaves.
    pub(super) record_hashes: Vec<Hash>,
    /// Where the ledger stands now, but for the hash of the header.
    pub(super) cursor: Cursor,
    pub(super) chain_id: ChainId,
    pub(super) key_id: Hash,
    pub(super) ruleset: u32,
}

impl ClosedBatch {
    /// Hashes it all. `previous_hash` is that of the header before it, zeros for the first batch.
    #[must_use]
    pub fn seal(self: Arc<Self>, previous_hash: Hash) -> SealedBatch {
        let mut effects: Vec<(Hash, Hash)> =
            self.state.iter().map(|(key, value)| (key.hash(), value.hash())).collect();
        effects.sort_unstable_by(|(a, _), (b, _)| leading(a).cmp(&leading(b)).then_with(|| a.cmp(b)));
        let cursor = &self.cursor;
        let entries = self.leaf_hashes.len();
        let header = BatchHeader {
            chain_id: self.chain_id,
            epoch: cursor.epoch,
            ruleset: self.ruleset,
            number: cursor.next_batch - 1,
            first_sequence: cursor.next_sequence - entries as u64,
            entry_count: u32::try_from(entries).unwrap_or(u32::MAX),
            entries_root: root_of_leaf_hashes(&self.leaf_hashes),
            effects_root: effects_root(&effects),
            log_root: root_of_leaf_hashes(&self.record_hashes),
            previous_hash,
            time_ms: cursor.time_ms,
            base_height: cursor.base.height,
            base_hash: cursor.base.hash,
            key_id: self.key_id,
        };
        let cursor = Cursor { previous_hash: header.hash(), ..cursor.clone() };
        SealedBatch { header, effects, cursor, content: self }
    }
}

/// A sealed batch, and everything that it changed.
#[derive(Clone, Debug)]
pub struct SealedBatch {
    /// The header to sign.
    pub header: BatchHeader,
    /// Hashes of the keys and values that it wrote, in ascending order of the key hashes: what the effects root is over, and
    /// what the state tree takes in.
    pub effects: Vec<(Hash, Hash)>,
    /// Where the ledger stands now.
    pub cursor: Cursor,
    /// What it changed.
    pub content: Arc<ClosedBatch>,
}
