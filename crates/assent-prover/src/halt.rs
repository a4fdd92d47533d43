//! Halting: at the first difference, for good, with evidence where the difference is somebody's fault.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::{PoisonError, atomic::Ordering},
};

use assent_core::{codec::sha256, machine::Cursor};
use assent_proto::v1 as proto;
use assent_verify::batches::encode_batch;
use assent_verify::{
    Pins,
    evidence::verify_evidence,
    evidence::{Accusation, Evidence, MAX_EVIDENCE_BYTES, RecordProof, RootClaim, SignedHeader, Statements},
    replay::{Divergence, MemoryState, Replayer},
};
use serde::Serialize;

use crate::{ProverError, Shared};

/// What is written when a prover or validator halts.
#[derive(Debug, Serialize)]
struct HaltReport {
    chain_id: String,
    /// Number of the batch, or size of the history, at which the difference is.
    batch: u64,
    difference: String,
    /// The evidence file, or why there is none.
    evidence: String,
    header: String,
    header_signature: String,
    log_records: Vec<String>,
    entries: Vec<String>,
    explanation: &'static str,
}

const EXPLANATION: &str = "Something that the sequencer or the prover has signed is not what executing the log again \
                           gives. Whoever wrote this signs no checkpoint and vouches for none from here on, as long as \
                           this file is beside its database. The evidence file convicts by itself: assent verify FILE, with \
                           --base-block where it rests on an anchor.";

/// Where the report of a halt is written. As long as it is there, nothing is followed.
pub(crate) fn report_path(database: &Path) -> PathBuf {
    database.with_extension("halt-report.json")
}

/// Where the evidence is written.
pub(crate) fn evidence_path(database: &Path) -> PathBuf {
    database.with_extension("evidence.assent")
}

pub(crate) fn halt(shared: &Shared, why: String) {
    tracing::error!(%why, "HALTED: nothing is followed, signed or vouched for any more");
    shared.halting.store(true, Ordering::SeqCst);
    let mut halted = shared.halted.write().unwrap_or_else(PoisonError::into_inner);
    halted.get_or_insert(why);
    drop(halted);
    shared.config.metrics.halted.set(1);
    shared.has_halted.send_replace(true);
}

/// A batch whose signed header does not follow from its own signed log.
pub(crate) fn on_divergence(
    shared: &Shared,
    sent: &proto::SealedBatch,
    divergence: &Divergence,
    endorsed: Option<RecordProof>,
) -> Result<(), ProverError> {
    let number = *shared.batches.borrow();
    let report = HaltReport {
        chain_id: shared.config.manifest.chain_id().to_string(),
        batch: number,
        difference: divergence.to_string(),
        evidence: String::new(),
        header: hex::encode(&sent.header),
        header_signature: hex::encode(&sent.signature),
        log_records: sent.log_records.iter().map(hex::encode).collect(),
        entries: sent.entries.iter().map(hex::encode).collect(),
        explanation: EXPLANATION,
    };
    finish(shared, report, || wrong_execution(shared, number, sent, endorsed))
}

/// A root of the prover's that is not ours. Reads the whole ledger: not for async threads.
pub(crate) fn on_claim(
    shared: &Shared,
    size: u64,
    difference: String,
    claim: RootClaim,
) -> Result<(), ProverError> {
    let report = HaltReport {
        chain_id: shared.config.manifest.chain_id().to_string(),
        batch: size,
        difference,
        evidence: String::new(),
        header: String::new(),
        header_signature: String::new(),
        log_records: Vec::new(),
        entries: Vec::new(),
        explanation: EXPLANATION,
    };
    finish(shared, report, || wrong_root(shared, size, claim))
}

/// Writes the report before evidence is made, which takes long on a large ledger: whatever happens meanwhile, the next start
/// finds it and stays halted.
fn finish(
    shared: &Shared,
    mut report: HaltReport,
    evidence: impl FnOnce() -> Result<Result<Vec<u8>, String>, ProverError>,
) -> Result<(), ProverError> {
    shared.halting.store(true, Ordering::SeqCst);
    let database = &shared.config.path;
    report.evidence = "was being made when this was written".to_owned();
    write_report(database, &report)?;
    report.evidence = match evidence()? {
        Ok(file) => {
            let path = evidence_path(database);
            write_whole(&path, &file)?;
            path.display().to_string()
        }
        Err(why) => format!("none: {why}"),
    };
    let path = write_report(database, &report)?;
    halt(
        shared,
        format!(
            "batch {}: {}; evidence: {}; report: {}",
            report.batch,
            report.difference,
            report.evidence,
            path.display()
        ),
    );
    Ok(())
}

fn write_report(database: &Path, report: &HaltReport) -> Result<PathBuf, ProverError> {
    let path = report_path(database);
    let json = serde_json::to_vec_pretty(report)
        .map_err(|error| ProverError::Report { path: path.clone(), source: std::io::Error::other(error) })?;
    write_whole(&path, &json)?;
    Ok(path)
}

/// Evidence that does not hold when it is checked is worth nothing.
fn checked(evidence: &Evidence, pins: &Pins) -> Result<Vec<u8>, String> {
    let file = evidence.encode();
    match verify_evidence(&file, pins) {
        Ok(_) => Ok(file),
        Err(error) => Err(format!("what was found does not hold: {error}")),
    }
}

fn wrong_execution(
    shared: &Shared,
    number: u64,
    sent: &proto::SealedBatch,
    endorsed: Option<RecordProof>,
) -> Result<Result<Vec<u8>, String>, ProverError> {
    let mut batches = Vec::new();
    let mut bytes = 0;
    for earlier in 0..=number {
        let batch =
            if earlier == number { Some(sent.clone()) } else { shared.store.sealed_batch(earlier)? };
        let Some(batch) = batch else { return Ok(Err(format!("batch {earlier} is not stored here"))) };
        let encoded = encode_batch(&batch);
        bytes += encoded.len();
        if bytes > MAX_EVIDENCE_BYTES - 1024 * 1024 {
            return Ok(Err(format!(
                "the batches up to number {number} are more than the {MAX_EVIDENCE_BYTES} bytes of an evidence file; this \
                 report has the batch itself, and assent batches export those before it"
            )));
        }
        batches.push(encoded);
    }
    let manifest = shared.config.manifest.encode();
    let pins = Pins { chain_id: Some(shared.config.manifest.chain_id()), ..Pins::default() };
    Ok(checked(&Evidence { manifest, accusation: Accusation::WrongExecution { batches, endorsed } }, &pins))
}

/// The strongest that our own history says against a root of the prover's.
fn wrong_root(shared: &Shared, size: u64, claim: RootClaim) -> Result<Result<Vec<u8>, String>, ProverError> {
    let mut statements = Statements::default();
    statements.add_manifest(shared.config.manifest.encode());
    // An anchor counts under the newest block of the base chain that we follow.
    let base_block = match &claim {
        RootClaim::Anchored(chain) => chain.headers.last().map(|header| sha256(&sha256(header))),
        RootClaim::Signed(_) => None,
    };
    let pins = Pins { chain_id: Some(shared.config.manifest.chain_id()), base_block, ..Pins::default() };
    statements.add_claim("the prover's root", claim);
    if let Some((newest, note)) = shared.store.newest_checkpoint()? {
        statements.add_claim("a checkpoint that was right", RootClaim::Signed(note));
        // One of the same size is the shortest proof.
        if newest != size
            && let Some(note) = shared.store.checkpoint(size)?
        {
            statements.add_claim("a checkpoint of that size", RootClaim::Signed(note));
        }
    }
    add_effects(shared, &mut statements)?;
    Ok(match statements.find(&pins, &mut |_, _| {}) {
        Err(error) => Err(error.to_string()),
        Ok(found) => match found.evidence.first() {
            Some(evidence) => checked(evidence, &pins),
            None => Err(format!("nothing was found; left aside: {}", found.ignored.join("; "))),
        },
    })
}

/// Headers and effects of all batches, by executing them once more from the first one on. Their signatures were checked when
/// they came.
fn add_effects(shared: &Shared, statements: &mut Statements) -> Result<(), ProverError> {
    let manifest = &shared.config.manifest;
    let mut replayer = Replayer::new(manifest.clone(), Cursor::genesis(manifest))?.without_signatures();
    let mut state = MemoryState::default();
    for number in 0..*shared.batches.borrow() {
        let Some(batch) = shared.store.sealed_batch(number)? else { break };
        // What is stored was right when it came; if it is not now, there are no effects to show.
        let Ok(replayed) = replayer.apply(&state, &batch) else { break };
        let header = SignedHeader { header: batch.header, signature: replayed.signature };
        statements.add_header("batch", header);
        if let Some(sealed) = replayed.sealed() {
            state.apply(sealed);
            statements.add_effects(replayed.header.hash(), sealed.effects.clone());
        }
    }
    Ok(())
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ProverError> {
    let part = path.with_extension("part");
    let write = || {
        let mut file = std::fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|source| ProverError::Report { path: path.to_owned(), source })
}
