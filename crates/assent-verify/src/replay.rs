//! Executing batches again, and comparing.
//!
//! Two kinds of faults are kept apart, because only one of them convicts. [`Unsigned`]: what arrived is not what the
//! sequencer's own signed header commits to. Anybody on the way may have damaged it; nobody is accused, and a second try
//! may bring the right bytes. [`Divergence`]: header, log records and entries belong together under the sequencer's
//! signature, and executing the records gives something else, or they break the rules. That is evidence against it.

use std::{convert::Infallible, sync::Arc, thread};

use assent_core::{
    ChainId, Map, TransactionId,
    batch::{BatchHeader, BatchRecord},
    codec::{DecodeError, sha256},
    log::LogRecord,
    machine::{Cursor, Fault, GroupOutput, Machine, SealedBatch, StateError, StateRead},
    manifest::GenesisManifest,
    records::{SeenTransaction, StateKey, StateValue},
    ruleset::RulesetError,
    signature::{SignatureError, verify_all},
    transaction::Transaction,
};
use assent_merkle::{
    BatchTree, Hash,
    sparse::{NoPages, SparseError, SparseTree},
    tiles::TileWriter,
};
use assent_proto::v1 as proto;
use thiserror::Error;

/// A batch that is not what its own header commits to: no evidence against anybody.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Unsigned {
    #[error("the header cannot be read: {0}")]
    HeaderUnreadable(DecodeError),
    #[error("the header is of chain {0}")]
    OtherChain(ChainId),
    #[error("the sequencer's signature on the header: {0}")]
    HeaderSignature(SignatureError),
    #[error("batch {found} was sent where batch {expected} follows")]
    Number { expected: u64, found: u64 },
    #[error("the log records are not those that the header commits to")]
    LogRoot,
    #[error("the entries are not those that the header commits to")]
    EntriesRoot,
}

/// What the sequencer signed is not what its own log gives, or breaks the rules.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Divergence {
    #[error("log record {index} of the batch cannot be read: {source}")]
    RecordUnreadable { index: usize, source: DecodeError },
    #[error("transaction {index} of log record {position} has an invalid signature")]
    TransactionSignature { position: u64, index: usize },
    #[error("log record {position}: {source}")]
    Fault { position: u64, source: Fault },
    #[error("the batch is sealed by log record {position}, which is not its last, or by none")]
    Seal { position: u64 },
    #[error("entry {index} of the batch differs: executed {executed}, signed {signed}")]
    Entry { index: usize, executed: String, signed: String },
    #[error("the header's {field} differs: executed {executed}, signed {signed}")]
    Header { field: &'static str, executed: String, signed: String },
}

/// Why a batch was not taken in.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// No evidence.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// Evidence against the sequencer.
    #[error(transparent)]
    Divergence(#[from] Divergence),
    /// State cannot be read.
    #[error(transparent)]
    State(StateError),
}

/// A batch that follows: what executing it again gave.
#[derive(Debug)]
pub struct Replayed {
    /// The header, equal to the signed one.
    pub header: BatchHeader,
    /// The sequencer's signature on it.
    pub signature: [u8; 64],
    /// Position of its first log record.
    pub first_position: u64,
    /// What each of its log records gave. The last one holds the sealed batch.
    pub outputs: Vec<GroupOutput>,
}

impl Replayed {
    /// The sealed batch.
    #[must_use]
    pub fn sealed(&self) -> Option<&SealedBatch> {
        self.outputs.last().and_then(|output| output.sealed.as_deref())
    }
}

/// Executes batch after batch. After a [`Divergence`] it must not be used any further.
#[derive(Debug)]
pub struct Replayer {
    manifest: Arc<GenesisManifest>,
    machine: Machine,
    signatures: bool,
}

impl Replayer {
    /// Goes on from a cursor.
    ///
    /// # Errors
    /// [`RulesetError`] where this program does not have the manifest's ruleset.
    pub fn new(manifest: Arc<GenesisManifest>, cursor: Cursor) -> Result<Self, RulesetError> {
        Ok(Self { machine: Machine::new(manifest.clone(), cursor)?, manifest, signatures: true })
    }

    /// Takes the senders' signatures as checked: for batches whose sequencer, or whose own earlier run, is believed that much.
    #[must_use]
    pub fn without_signatures(self) -> Self {
        Self { signatures: false, ..self }
    }

    /// The same with room for so many bytes of decoded state records.
    #[must_use]
    pub fn with_cache(self, bytes: u64) -> Self {
        Self { machine: self.machine.with_cache(bytes), ..self }
    }

    /// Where it stands.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        self.machine.cursor()
    }

    /// Executes the next batch and compares. The caller applies what was sealed to `state` before the next one.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub fn apply<S: StateRead>(
        &mut self,
        state: &S,
        batch: &proto::SealedBatch,
    ) -> Result<Replayed, ReplayError> {
        let (header, signature) = self.check_signed(batch)?;
        let first_position = self.machine.cursor().next_position;
        let mut records = Vec::with_capacity(batch.log_records.len());
        for (index, bytes) in batch.log_records.iter().enumerate() {
            let record =
                LogRecord::decode(bytes).map_err(|source| Divergence::RecordUnreadable { index, source })?;
            records.push(record);
        }
        let outputs = self.execute(state, &records)?;
        let executed = outputs.iter().flat_map(|output| &output.executed);
        for (index, (executed, signed)) in executed.zip(&batch.entries).enumerate() {
            let executed = executed.entry.encode();
            if executed != *signed {
                let (executed, signed) = (hex::encode(executed), hex::encode(signed));
                return Err(Divergence::Entry { index, executed, signed }.into());
            }
        }
        let position = self.machine.cursor().next_position;
        let Some(sealed) = outputs.last().and_then(|output| output.sealed.as_ref()) else {
            return Err(Divergence::Seal { position }.into());
        };
        compare_headers(&sealed.header, &header)?;
        Ok(Replayed { header, signature, first_position, outputs })
    }

    /// That header, log records and entries belong together under the sequencer's signature.
    fn check_signed(&self, batch: &proto::SealedBatch) -> Result<(BatchHeader, [u8; 64]), Unsigned> {
        let header = BatchHeader::decode(&batch.header).map_err(Unsigned::HeaderUnreadable)?;
        let signature: [u8; 64] = batch
            .signature
            .as_slice()
            .try_into()
            .map_err(|_| Unsigned::HeaderSignature(SignatureError::Invalid))?;
        self.manifest
            .sequencer_key
            .verify(&sha256(&batch.header), &signature)
            .map_err(Unsigned::HeaderSignature)?;
        if header.chain_id != self.machine.chain_id() {
            return Err(Unsigned::OtherChain(header.chain_id));
        }
        let expected = self.machine.cursor().next_batch;
        if header.number != expected {
            return Err(Unsigned::Number { expected, found: header.number });
        }
        if BatchTree::from_leaves(&batch.log_records).root() != header.log_root {
            return Err(Unsigned::LogRoot);
        }
        if BatchTree::from_leaves(&batch.entries).root() != header.entries_root {
            return Err(Unsigned::EntriesRoot);
        }
        Ok((header, signature))
    }

    fn execute<S: StateRead>(
        &mut self,
        state: &S,
        records: &[LogRecord],
    ) -> Result<Vec<GroupOutput>, ReplayError> {
        let fault = |position, source| match source {
            Fault::State(error) => ReplayError::State(error),
            source => Divergence::Fault { position, source }.into(),
        };
        let mut decoded = Vec::with_capacity(records.len());
        for record in records {
            decoded
                .push(self.machine.decode_record(record).map_err(|source| fault(record.position, source))?);
        }
        if self.signatures {
            check_signatures(records, &decoded)?;
        }
        let mut outputs = Vec::with_capacity(records.len());
        for (index, (record, transactions)) in records.iter().zip(&decoded).enumerate() {
            if record.seal != (index + 1 == records.len()) {
                return Err(Divergence::Seal { position: record.position }.into());
            }
            let output = self
                .machine
                .apply_record(state, record, transactions)
                .map_err(|source| fault(record.position, source))?;
            outputs.push(output);
        }
        Ok(outputs)
    }
}

/// Checks all signatures of a batch, on all cores.
fn check_signatures(records: &[LogRecord], decoded: &[Vec<Transaction>]) -> Result<(), Divergence> {
    let mut checks = Vec::new();
    let mut places = Vec::new();
    for (record, transactions) in records.iter().zip(decoded) {
        for (index, transaction) in transactions.iter().enumerate() {
            for check in transaction.signature_check() {
                checks.push(check);
                places.push((record.position, index));
            }
        }
    }
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = checks.len().div_ceil(workers).max(1);
    let bad = thread::scope(|scope| {
        let threads: Vec<_> = checks.chunks(share).map(|part| scope.spawn(|| verify_all(part))).collect();
        let answers = threads.into_iter().flat_map(|thread| match thread.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        answers.enumerate().find(|(_, answer)| answer.is_err()).map(|(place, _)| place)
    });
    match bad.and_then(|place| places.get(place)) {
        Some((position, index)) => {
            Err(Divergence::TransactionSignature { position: *position, index: *index })
        }
        None => Ok(()),
    }
}

fn compare_headers(executed: &BatchHeader, signed: &BatchHeader) -> Result<(), Divergence> {
    let differs = |field, executed: String, signed: String| {
        if executed == signed { Ok(()) } else { Err(Divergence::Header { field, executed, signed }) }
    };
    differs("entries root", hex::encode(executed.entries_root), hex::encode(signed.entries_root))?;
    differs("effects root", hex::encode(executed.effects_root), hex::encode(signed.effects_root))?;
    differs("previous hash", hex::encode(executed.previous_hash), hex::encode(signed.previous_hash))?;
    differs("time", executed.time_ms.to_string(), signed.time_ms.to_string())?;
    differs("first sequence", executed.first_sequence.to_string(), signed.first_sequence.to_string())?;
    differs("entry count", executed.entry_count.to_string(), signed.entry_count.to_string())?;
    differs("other fields", hex::encode(executed.encode()), hex::encode(signed.encode()))
}

/// The history of batches that were executed, with the state tree, in memory.
#[derive(Debug)]
pub struct History {
    state: SparseTree,
    batches: TileWriter,
}

impl Default for History {
    fn default() -> Self {
        Self { state: SparseTree::new(usize::MAX), batches: TileWriter::default() }
    }
}

impl History {
    /// Takes in the next batch.
    ///
    /// # Errors
    /// [`SparseError`] where its effects are not sorted, which no execution gives.
    pub fn append(&mut self, sealed: &SealedBatch) -> Result<(), SparseError<Infallible>> {
        self.state.apply(&NoPages, &sealed.effects)?;
        let record = BatchRecord::new(sealed.header.hash(), self.state.root());
        self.batches.append(record.leaf_hash());
        Ok(())
    }

    /// Batches.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.batches.size()
    }

    /// Root of the history tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.batches.root()
    }
}

/// State in memory, for an audit: about 500 bytes a consent.
#[derive(Debug, Default)]
pub struct MemoryState {
    values: Map<StateKey, StateValue>,
    seen: Map<TransactionId, Arc<SeenTransaction>>,
}

impl MemoryState {
    /// Takes in what a batch changed.
    pub fn apply(&mut self, sealed: &SealedBatch) {
        self.values.extend(sealed.content.state.iter().map(|(key, value)| (*key, value.clone())));
        self.seen.extend(sealed.content.seen.iter().map(|(id, seen)| (*id, seen.clone())));
    }
}

impl StateRead for MemoryState {
    fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError> {
        Ok(self.values.get(&key).cloned())
    }

    fn seen(&self, id: &TransactionId) -> Result<Option<Arc<SeenTransaction>>, StateError> {
        Ok(self.seen.get(id).cloned())
    }
}
