//! Rows that are stored and never hashed.

use assent_core::{
    AccountId, Hash,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    machine::GroupOutput,
    outcome::{Detail, ENTRY_BYTES, Entry, Executed, OutcomeKind, OutcomeLeaf},
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
}

/// Entries of one row, which is some 7 KB and so a block of RocksDB's: looking one up reads less than twice as much as if each had
/// a row of its own, and a group is written in a sixteenth of the rows.
const ENTRIES_A_ROW: usize = 16;
/// Bytes of a row beside its entries: version, place, count.
const ROW_FRAME_BYTES: usize = 32;

/// Consecutive entries of one group, as they are stored: the place of the first, how many there are, and each one's entry, leaves
/// and details.
pub(crate) struct EntryRow<'a> {
    position: u64,
    batch_number: u64,
    epoch: u64,
    first_index: u32,
    count: u32,
    entries: Decoder<'a>,
}

impl<'a> EntryRow<'a> {
    /// Those of a group, encoded, under the sequences of their first entries.
    pub(crate) fn of_group(output: &GroupOutput) -> impl Iterator<Item = (u64, Vec<u8>)> {
        output.executed.chunks(ENTRIES_A_ROW).zip((0u32..).step_by(ENTRIES_A_ROW)).map(|(chunk, index)| {
            let each = |executed: &Executed| {
                ENTRY_BYTES + executed.outcome.leaf_list().len() + executed.outcome.detail_list().len()
            };
            let bytes = ROW_FRAME_BYTES + chunk.iter().map(each).sum::<usize>();
            let place = Encoder::with_capacity(Layout::StoredRow, bytes)
                .u64(output.record.position)
                .u64(output.batch_number)
                .u64(output.record.epoch)
                .u32(index);
            let row = place.list(chunk, |e, executed| {
                let outcome = &executed.outcome;
                executed.entry.write(e).fixed(outcome.leaf_list()).fixed(outcome.detail_list())
            });
            (chunk.first().map_or(0, |executed| executed.entry.sequence), row.finish())
        })
    }

    /// Reads the place.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::StoredRow, bytes)?;
        Ok(Self {
            position: d.u64("position")?,
            batch_number: d.u64("batch number")?,
            epoch: d.u64("epoch")?,
            first_index: d.u32("index")?,
            count: d.u16("count")?.into(),
            entries: d,
        })
    }

    /// Position of the group's log record.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Each entry alone, encoded: what a batch is made of.
    pub(crate) fn encoded_entries(mut self) -> impl Iterator<Item = Result<&'a [u8], DecodeError>> {
        (0..self.count).map(move |_| self.skip())
    }

    /// Each entry.
    pub(crate) fn entries(self) -> impl Iterator<Item = Result<StoredEntry, DecodeError>> {
        let Self { position, batch_number, epoch, first_index, count, entries: mut d } = self;
        (first_index..first_index.saturating_add(count)).map(move |index| {
            Ok(StoredEntry {
                position,
                index,
                batch_number,
                epoch,
                entry: Entry::decode(d.fixed("entry", ENTRY_BYTES)?)?,
                leaves: d.list("leaves", limits::MAX_SUBJECTS, |d| {
                    OutcomeLeaf::decode(d.long("leaf", MAX_ITEM_BYTES)?)
                })?,
                details: d.list("details", limits::MAX_SUBJECTS, |d| {
                    Detail::decode(d.long("detail", MAX_ITEM_BYTES)?)
                })?,
            })
        })
    }

    /// The entry that so many others come before, or `None` past the end.
    pub(crate) fn nth(mut self, place: u64) -> Result<Option<StoredEntry>, DecodeError> {
        for _ in 0..place.min(self.count.into()) {
            self.skip()?;
            self.first_index = self.first_index.saturating_add(1);
            self.count -= 1;
        }
        self.entries().next().transpose()
    }

    /// Passes over an entry.
    fn skip(&mut self) -> Result<&'a [u8], DecodeError> {
        let entry = self.entries.fixed("entry", ENTRY_BYTES)?;
        for what in ["leaf", "detail"] {
            self.entries.list(what, limits::MAX_SUBJECTS, |d| d.long(what, MAX_ITEM_BYTES).map(drop))?;
        }
        Ok(entry)
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
