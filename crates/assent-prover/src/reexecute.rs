//! Executing batches again, and comparing.

use std::{sync::Arc, thread};

use assent_core::{
    batch::{BatchHeader, BatchRecord},
    codec::{DecodeError, sha256},
    log::LogRecord,
    machine::{Fault, GroupOutput, Machine},
    manifest::GenesisManifest,
    note::Checkpoint,
    signature::{KeyPair, SignatureError, verify_all},
    transaction::Transaction,
};
use assent_merkle::tiles::TileWriter;
use assent_proto::v1 as proto;
use assent_store::{LedgerStore, SealedWrite, StoreError, StoredEntry};
use serde::Serialize;
use thiserror::Error;

use crate::ProverError;

/// What the sequencer sent is not what its own log gives, or breaks the rules. Evidence against it.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Divergence {
    #[error("the header cannot be read: {0}")]
    HeaderUnreadable(DecodeError),
    #[error("batch {found} was sent where batch {expected} follows")]
    Number { expected: u64, found: u64 },
    #[error("the sequencer's signature on the header: {0}")]
    HeaderSignature(SignatureError),
    #[error("log record {index} of the batch cannot be read: {source}")]
    RecordUnreadable { index: usize, source: DecodeError },
    #[error("transaction {index} of log record {position} has an invalid signature")]
    TransactionSignature { position: u64, index: usize },
    #[error("log record {position}: {source}")]
    Fault { position: u64, source: Fault },
    #[error("the batch is sealed by log record {position}, which is not its last, or by none")]
    Seal { position: u64 },
    #[error("entry {index} of the batch differs: executed {executed}, sent {sent}")]
    Entry { index: usize, executed: String, sent: String },
    #[error("the batch has {executed} entries, {sent} were sent")]
    EntryCount { executed: usize, sent: usize },
    #[error("the header's {field} differs: executed {executed}, sent {sent}")]
    Header { field: &'static str, executed: String, sent: String },
}

/// Why a batch was not taken in.
#[derive(Debug, Error)]
pub(crate) enum BatchError {
    #[error(transparent)]
    Divergence(#[from] Divergence),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The report that is written when a prover halts.
#[derive(Debug, Serialize)]
pub(crate) struct HaltReport<'a> {
    pub(crate) chain_id: String,
    pub(crate) batch: u64,
    pub(crate) difference: String,
    pub(crate) header: String,
    pub(crate) header_signature: String,
    pub(crate) log_records: Vec<String>,
    pub(crate) entries: Vec<String>,
    pub(crate) explanation: &'a str,
}

/// The re-executing half of a prover, or of anybody who follows a batch stream.
pub(crate) struct Follower {
    manifest: Arc<GenesisManifest>,
    key: KeyPair,
    store: Arc<LedgerStore>,
    machine: Machine,
    history: TileWriter,
}

impl Follower {
    pub(crate) fn open(
        manifest: Arc<GenesisManifest>,
        key: KeyPair,
        store: Arc<LedgerStore>,
    ) -> Result<Self, ProverError> {
        let cursor = store.cursor(&manifest)?;
        let history = TileWriter::open(store.as_ref(), cursor.next_batch)?;
        let machine = Machine::new(manifest.clone(), cursor)?;
        Ok(Self { manifest, key, store, machine, history })
    }

    pub(crate) fn next_batch(&self) -> u64 {
        self.machine.cursor().next_batch
    }

    /// Takes in the next batch: executes, compares, appends to the history, signs the checkpoint, stores all at once.
    pub(crate) fn take_in(&mut self, batch: &proto::SealedBatch) -> Result<Checkpoint, BatchError> {
        let (header, signature) = self.check_header(batch)?;
        let first_position = self.machine.cursor().next_position;
        let mut records = Vec::with_capacity(batch.log_records.len());
        for (index, bytes) in batch.log_records.iter().enumerate() {
            let record =
                LogRecord::decode(bytes).map_err(|source| Divergence::RecordUnreadable { index, source })?;
            records.push(record);
        }
        let outputs = self.execute(&records)?;
        let entries: Vec<StoredEntry> = outputs.iter().flat_map(StoredEntry::of_group).collect();
        compare_entries(&entries, &batch.entries)?;
        let position = self.machine.cursor().next_position;
        let Some(sealed) = outputs.last().and_then(|output| output.sealed.as_ref()) else {
            return Err(Divergence::Seal { position }.into());
        };
        compare_headers(&sealed.header, &header)?;

        let record = BatchRecord::without_state(header.hash());
        let tiles = self.history.append(record.leaf_hash());
        let checkpoint = Checkpoint { size: self.history.size(), root: self.history.root() };
        let note = checkpoint.sign(&self.machine.chain_id(), &self.key);
        let write = SealedWrite {
            sealed,
            signature,
            first_position,
            entries: &entries,
            records: &records,
            tiles: &tiles,
            checkpoint: Some((checkpoint.size, &note)),
        };
        self.store.store_sealed(&write, true)?;
        Ok(checkpoint)
    }

    fn check_header(&self, batch: &proto::SealedBatch) -> Result<(BatchHeader, [u8; 64]), Divergence> {
        let header = BatchHeader::decode(&batch.header).map_err(Divergence::HeaderUnreadable)?;
        let signature: [u8; 64] = batch
            .signature
            .as_slice()
            .try_into()
            .map_err(|_| Divergence::HeaderSignature(SignatureError::Invalid))?;
        self.manifest
            .sequencer_key
            .verify(&sha256(&batch.header), &signature)
            .map_err(Divergence::HeaderSignature)?;
        if header.number != self.next_batch() {
            return Err(Divergence::Number { expected: self.next_batch(), found: header.number });
        }
        Ok((header, signature))
    }

    fn execute(&mut self, records: &[LogRecord]) -> Result<Vec<GroupOutput>, Divergence> {
        let mut decoded = Vec::with_capacity(records.len());
        for record in records {
            let fault = |source| Divergence::Fault { position: record.position, source };
            decoded.push(self.machine.decode_record(record).map_err(fault)?);
        }
        check_signatures(records, &decoded)?;
        let mut outputs = Vec::with_capacity(records.len());
        for (index, (record, transactions)) in records.iter().zip(&decoded).enumerate() {
            if record.seal != (index + 1 == records.len()) {
                return Err(Divergence::Seal { position: record.position });
            }
            let output = self
                .machine
                .apply_record(self.store.as_ref(), record, transactions)
                .map_err(|source| Divergence::Fault { position: record.position, source })?;
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

fn compare_entries(executed: &[StoredEntry], sent: &[Vec<u8>]) -> Result<(), Divergence> {
    for (index, (row, sent)) in executed.iter().zip(sent).enumerate() {
        let ours = row.entry.encode();
        if ours != *sent {
            return Err(Divergence::Entry { index, executed: hex::encode(ours), sent: hex::encode(sent) });
        }
    }
    if executed.len() != sent.len() {
        return Err(Divergence::EntryCount { executed: executed.len(), sent: sent.len() });
    }
    Ok(())
}

fn compare_headers(executed: &BatchHeader, sent: &BatchHeader) -> Result<(), Divergence> {
    let differs = |field, executed: String, sent: String| {
        if executed == sent { Ok(()) } else { Err(Divergence::Header { field, executed, sent }) }
    };
    differs("entries root", hex::encode(executed.entries_root), hex::encode(sent.entries_root))?;
    differs("effects root", hex::encode(executed.effects_root), hex::encode(sent.effects_root))?;
    differs("previous hash", hex::encode(executed.previous_hash), hex::encode(sent.previous_hash))?;
    differs("time", executed.time_ms.to_string(), sent.time_ms.to_string())?;
    differs("entry count", executed.entry_count.to_string(), sent.entry_count.to_string())?;
    differs("other fields", hex::encode(executed.encode()), hex::encode(sent.encode()))
}
