//! Rows that are stored and never hashed.

use assent_core::{
    AccountId, Hash,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    machine::GroupOutput,
    outcome::{Detail, ENTRY_BYTES, Entry, OutcomeKind, OutcomeLeaf},
    records::{Moment, SeenTransaction},
};

/// Bytes of one leaf or detail that is read back: both are smaller than the body limit by construction.
const MAX_ITEM_BYTES: usize = 1 << 20;

/// An entry with what its outcome root opens to, and where its group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// Position of the group's log record.
    pub position: u64,
    /// Index within the group.
    pub index: u32,
    /// Number of its batch.
    pub batch_number: u64,
    /// Term of the sequencer that wrote the group.
    pub epoch: u64,
    /// The entry.
    pub entry: Entry,
    /// Leaves of the outcome tree.
    pub leaves: Vec<OutcomeLeaf>,
    /// The detail of each; empty in a sequencer's database.
    pub details: Vec<Detail>,
}

impl StoredEntry {
    /// The rows of a group with their sequences, encoded.
    pub(crate) fn of_group(output: &GroupOutput, with_details: bool) -> impl Iterator<Item = (u64, Vec<u8>)> {
        let rows = output.executed.iter().zip(&output.receipts).zip(0u32..);
        rows.map(move |((executed, receipt), index)| {
            let details = if with_details { executed.details.as_slice() } else { &[] };
            let row = Encoder::new(Layout::StoredRow)
                .u64(output.record.position)
                .u32(index)
                .u64(receipt.batch_number)
                .u64(receipt.epoch)
                .fixed(&executed.entry.encode())
                .list(&executed.encoded_leaves, |e, leaf| e.long(leaf))
                .list(details, |e, detail| e.long(&detail.encode()))
                .finish();
            (executed.entry.sequence, row)
        })
    }

    /// What execution remembers of it. Who signed what is no request is not: nothing asks for it.
    pub(crate) fn seen(&self) -> SeenTransaction {
        let decided = |leaf: &&OutcomeLeaf| {
            matches!(leaf.kind, OutcomeKind::AccessPermitted | OutcomeKind::AccessDenied)
        };
        let question = self.leaves.iter().find(decided).and_then(|leaf| leaf.question.as_ref());
        SeenTransaction {
            at: Moment { sequence: self.entry.sequence, time_ms: self.entry.time_ms },
            sender: question.map(|question| question.recipient),
            decisions: self
                .leaves
                .iter()
                .filter(decided)
                .map(|leaf| (AccountId(leaf.object), leaf.permit_until_ms))
                .collect(),
            scope: question.map(|question| question.scope.clone()),
        }
    }

    /// The entry alone, encoded: what a batch is made of.
    pub(crate) fn encoded_entry(row: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut d = Decoder::new(Layout::StoredRow, row)?;
        // Position, index, batch number and epoch.
        d.fixed("place", 8 + 4 + 8 + 8)?;
        Ok(d.fixed("entry", ENTRY_BYTES)?.to_vec())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::StoredRow, bytes)?;
        let row = Self {
            position: d.u64("position")?,
            index: d.u32("index")?,
            batch_number: d.u64("batch number")?,
            epoch: d.u64("epoch")?,
            entry: Entry::decode(d.fixed("entry", ENTRY_BYTES)?)?,
            leaves: d.list("leaves", limits::MAX_SUBJECTS, |d| {
                OutcomeLeaf::decode(d.long("leaf", MAX_ITEM_BYTES)?)
            })?,
            details: d.list("details", limits::MAX_SUBJECTS, |d| {
                Detail::decode(d.long("detail", MAX_ITEM_BYTES)?)
            })?,
        };
        d.finish()?;
        Ok(row)
    }
}

/// A sealed batch: its header, the signature on it, and which log records it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// The encoded header.
    pub header: Vec<u8>,
    /// The sequencer's signature on its hash.
    pub signature: [u8; 64],
    /// Position of its first log record.
    pub first_position: u64,
    /// Log records.
    pub record_count: u64,
    /// For a prover: root of the state tree after it.
    pub state_root: Option<Hash>,
}

impl StoredBatch {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::StoredRow)
            .long(&self.header)
            .fixed(&self.signature)
            .u64(self.first_position)
            .u64(self.record_count)
            .option(self.state_root.as_ref(), |e, root| e.fixed(root))
            .finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::StoredRow, bytes)?;
        let row = Self {
            header: d.long("header", MAX_ITEM_BYTES)?.to_vec(),
            signature: d.array("signature")?,
            first_position: d.u64("first position")?,
            record_count: d.u64("record count")?,
            state_root: d.option("state root", |d| d.hash("state root"))?,
        };
        d.finish()?;
        Ok(row)
    }
}
