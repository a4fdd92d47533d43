//! Checking evidence: every statement on its own, then that they contradict each other.

use std::sync::Arc;

use assent_core::{
    batch::{BatchHeader, BatchRecord, Receipt, effects_root},
    codec::sha256,
    machine::Cursor,
    outcome::Entry,
    receipt::SignedReceipt,
};
use assent_merkle::{
    leaf_hash, roots_from_consistency_path,
    sparse::{NoPages, SparseTree},
    tiles::TileWriter,
    verify_inclusion,
};
use serde_json::json;

use super::{Accusation, BatchEffects, Evidence, RecordProof, RootClaim, SignedHeader};
use crate::{
    batches::decode_batch,
    check::{CheckError, Ledger, Pins, VerifyError, check_digest, check_header_ledger, check_ledger},
    replay::{MemoryState, ReplayError, Replayer},
    report::{Finding, utc},
};

/// Who is convicted, and of what.
struct Verdict {
    /// `sequencer`, `prover`, or both.
    against: Vec<&'static str>,
    /// The promise, as docs/formats.md words it.
    promise: &'static str,
    steps: Vec<String>,
    proves: Vec<String>,
    caveat: Option<String>,
}

const RECEIPT_KEPT: &str =
    "a receipt's entry is sealed at the receipt's sequence, in the receipt's batch, by its deadline";
const ONE_RECEIPT: &str = "one transaction gets one receipt, and one sequence goes to one transaction";
const ONE_HISTORY: &str = "one number is given to one batch";
const EXECUTION: &str = "entries, header and effects follow from the log records by the ledger's rules";
const EXECUTED_AGAIN: &str = "a batch is executed again, and found right, before a checkpoint covers it";
const APPEND_ONLY: &str = "the history only grows: every root is the root of the one sequence of batches";
const FOLLOWS: &str = "a checkpoint follows from the batches that the sequencer signed";

/// Checks an evidence file. What it returns names who broke which promise.
///
/// # Errors
/// [`VerifyError`]; [`CheckError::NoContradiction`] and [`CheckError::NothingWrong`] where all is authentic and nobody broke
/// anything.
pub fn verify_evidence(bytes: &[u8], pins: &Pins) -> Result<Finding, VerifyError> {
    let (evidence, digest) = Evidence::decode(bytes)?;
    let ledger = check_ledger(&evidence.manifest, pins)?;
    let verdict = judge(&evidence.accusation, &ledger, pins)?;
    check_digest(bytes, digest)?;
    let mut finding = Finding::new("evidence", &ledger, pins);
    finding.steps.extend(verdict.steps);
    let who = verdict.against.join(" and the ");
    finding.proves.push(format!("THE {} BROKE A PROMISE: {}.", who.to_uppercase(), verdict.promise));
    finding.proves.extend(verdict.proves);
    finding.does_not_prove.push("Why: a fault of a program or a disk signs as readily as malice.".to_owned());
    finding.does_not_prove.extend(verdict.caveat);
    finding.trusted.push(if evidence.accusation.rests_on_an_anchor() {
        "You, for the block or the work that was pinned, and the base chain's miners, for having checked who spent the seals. \
         Everything else is signed by the accused."
            .to_owned()
    } else {
        "Nobody else: the statements are signed by the accused.".to_owned()
    });
    finding.facts = json!({
        "evidence": evidence.accusation.name(),
        "against": verdict.against,
        "promise": verdict.promise,
    });
    Ok(finding)
}

fn judge(accusation: &Accusation, ledger: &Ledger, pins: &Pins) -> Result<Verdict, CheckError> {
    let sequencer = |promise, steps: &[&str], proves| Verdict {
        against: vec!["sequencer"],
        promise,
        steps: steps.iter().map(|step| (*step).to_owned()).collect(),
        proves: vec![proves],
        caveat: None,
    };
    let receipt = |signed: &SignedReceipt| signed.open(&ledger.manifest).map_err(CheckError::Receipt);
    const RECEIPT: &str = "receipt: in its group, signed by the sequencer";
    const HEADER: &str = "batch header: signed by the sequencer";
    match accusation {
        Accusation::EntryContradictsReceipt { receipt: signed, header, entry, path } => {
            let (promised, header) = (receipt(signed)?, header.open(ledger)?);
            let found = entry_at(&header, entry, path, promised.entry.sequence)?;
            if found == promised.entry {
                return Err(CheckError::NoContradiction("the entry is the one that the receipt promises"));
            }
            Ok(sequencer(
                RECEIPT_KEPT,
                &[RECEIPT, HEADER, "entry: in the batch at the receipt's sequence"],
                format!(
                    "It promised number {} to transaction {} and sealed transaction {} there, in batch {}{}.",
                    promised.entry.sequence,
                    promised.entry.transaction_id,
                    found.transaction_id,
                    header.number,
                    if found.transaction_id == promised.entry.transaction_id {
                        " (the same, with another time, authorization or outcome)"
                    } else {
                        ""
                    }
                ),
            ))
        }
        Accusation::ReceiptsContradict { first, second } => {
            let (one, other) = (receipt(first)?, receipt(second)?);
            let same_id = one.entry.transaction_id == other.entry.transaction_id;
            let same_sequence = one.entry.sequence == other.entry.sequence;
            if one == other || !(same_id || same_sequence) {
                return Err(CheckError::NoContradiction("two receipts may both be true"));
            }
            let about = if same_id {
                format!("transaction {}", one.entry.transaction_id)
            } else {
                format!("number {}", one.entry.sequence)
            };
            Ok(sequencer(
                ONE_RECEIPT,
                &["two receipts: each in its group, signed by the sequencer"],
                format!("It gave two receipts for {about}: {} and {}.", describe(&one), describe(&other)),
            ))
        }
        Accusation::HeadersContradict { first, second } => {
            let (one, other) = (first.open(ledger)?, second.open(ledger)?);
            if one == other || one.number != other.number {
                return Err(CheckError::NoContradiction("two headers may both be true"));
            }
            Ok(sequencer(
                ONE_HISTORY,
                &["two batch headers: each signed by the sequencer"],
                format!(
                    "It signed two headers for batch {}: {} and {}.",
                    one.number,
                    hex::encode(one.hash()),
                    hex::encode(other.hash())
                ),
            ))
        }
        Accusation::BatchContradictsReceipt { receipt: signed, header } => {
            let (promised, header) = (receipt(signed)?, header.open(ledger)?);
            let holds = index_of(&header, promised.entry.sequence).is_some();
            if holds == (header.number == promised.batch_number) {
                return Err(CheckError::NoContradiction("the batch is what the receipt says"));
            }
            Ok(sequencer(
                RECEIPT_KEPT,
                &[RECEIPT, HEADER],
                format!(
                    "It promised number {} in batch {}; batch {} has the numbers {} to {}.",
                    promised.entry.sequence,
                    promised.batch_number,
                    header.number,
                    header.first_sequence,
                    last(&header)
                ),
            ))
        }
        Accusation::SealedWithout { receipt: signed, header } => {
            let (promised, header) = (receipt(signed)?, header.open(ledger)?);
            if header.time_ms <= promised.deadline_ms || !ends_before(&header, promised.entry.sequence) {
                return Err(CheckError::NoContradiction(
                    "the batch is not later than the deadline, or does not end before the receipt's sequence",
                ));
            }
            Ok(sequencer(
                RECEIPT_KEPT,
                &[RECEIPT, HEADER],
                format!(
                    "It promised to seal number {} by {}; batch {} of {} ends before that number.",
                    promised.entry.sequence,
                    utc(promised.deadline_ms),
                    header.number,
                    utc(header.time_ms)
                ),
            ))
        }
        Accusation::WrongExecution { batches, endorsed } => {
            wrong_execution(batches, endorsed.as_ref(), ledger, pins)
        }
        Accusation::RootsContradict { .. }
        | Accusation::HistoryRewritten { .. }
        | Accusation::RecordsContradict { .. } => rewritten(accusation, ledger, pins),
        Accusation::WrongRecord { number, record, header } => {
            wrong_record(*number, record, header, ledger, pins)
        }
        Accusation::WrongRoot { claim, batches, signature } => {
            wrong_root(claim, batches, signature, ledger, pins)
        }
    }
}

fn describe(receipt: &Receipt) -> String {
    let entry = &receipt.entry;
    format!(
        "(transaction {}, number {}, {}, batch {})",
        entry.transaction_id,
        entry.sequence,
        utc(entry.time_ms),
        receipt.batch_number
    )
}

/// The index of a sequence in a batch that holds it. Without a sum that could overflow.
pub(super) fn index_of(header: &BatchHeader, sequence: u64) -> Option<u64> {
    sequence.checked_sub(header.first_sequence).filter(|index| *index < u64::from(header.entry_count))
}

/// Whether a batch ends before a sequence.
pub(super) fn ends_before(header: &BatchHeader, sequence: u64) -> bool {
    sequence >= header.first_sequence && index_of(header, sequence).is_none()
}

/// The last sequence of a batch, for people.
fn last(header: &BatchHeader) -> u64 {
    header.first_sequence.saturating_add(u64::from(header.entry_count) - 1)
}

/// The entry that a batch holds at a sequence.
fn entry_at(
    header: &BatchHeader,
    entry: &[u8],
    path: &[assent_core::Hash],
    sequence: u64,
) -> Result<Entry, CheckError> {
    // By its place in the tree, not by what it says of itself.
    let index = index_of(header, sequence).ok_or_else(|| CheckError::SequenceRange {
        sequence,
        first: header.first_sequence,
        last: last(header),
    })?;
    verify_inclusion(index, header.entry_count.into(), leaf_hash(entry), path, &header.entries_root)
        .map_err(CheckError::EntryInclusion)?;
    Entry::decode(entry).map_err(CheckError::Entry)
}

fn wrong_execution(
    batches: &[Vec<u8>],
    endorsed: Option<&RecordProof>,
    ledger: &Ledger,
    pins: &Pins,
) -> Result<Verdict, CheckError> {
    let manifest = Arc::new(ledger.manifest.clone());
    let mut replayer =
        Replayer::new(manifest, Cursor::genesis(&ledger.manifest)).map_err(CheckError::Ruleset)?;
    let mut state = MemoryState::default();
    let mut found = None;
    for (number, bytes) in (0u64..).zip(batches) {
        let batch = decode_batch(bytes).map_err(|error| CheckError::Batches(error.to_string()))?;
        match replayer.apply(&state, &batch) {
            Ok(replayed) => replayed.sealed().into_iter().for_each(|sealed| state.apply(sealed)),
            Err(ReplayError::Divergence(divergence)) if number + 1 == batches.len() as u64 => {
                found = Some((batch, number, divergence));
            }
            Err(ReplayError::Divergence(divergence)) => {
                return Err(CheckError::EarlierBatch { batch: number, divergence: Box::new(divergence) });
            }
            Err(error) => return Err(CheckError::Batches(format!("batch {number}: {error}"))),
        }
    }
    let (batch, number, divergence) = found.ok_or(CheckError::NothingWrong)?;
    let mut verdict = Verdict {
        against: vec!["sequencer"],
        promise: EXECUTION,
        steps: vec![format!(
            "batches 0 to {number}: signed by the sequencer, as are their log records; executed again from the first one"
        )],
        proves: vec![format!("Batch {number} does not follow from its own log: {divergence}.")],
        caveat: None,
    };
    if let Some(endorsed) = endorsed {
        let record = BatchRecord::decode(&endorsed.record).map_err(CheckError::of_record)?;
        if record.header_hash != sha256(&batch.header) {
            return Err(CheckError::BatchRecordHeader);
        }
        let checkpoint = endorsed.open(number, ledger, pins)?;
        verdict.against.push("prover");
        verdict.steps.push(format!(
            "checkpoint of size {}: {} by the prover, contains the batch",
            checkpoint.size,
            endorsed.claim.describe()
        ));
        verdict
            .proves
            .push(format!("The prover vouched for it all the same. Its promise: {EXECUTED_AGAIN}."));
    }
    Ok(verdict)
}

fn prover(promise: &'static str, steps: Vec<String>, proves: String) -> Verdict {
    Verdict { against: vec!["prover"], promise, steps, proves: vec![proves], caveat: None }
}

/// Two statements about the history that cannot both be true, whatever the batches are.
fn rewritten(accusation: &Accusation, ledger: &Ledger, pins: &Pins) -> Result<Verdict, CheckError> {
    match accusation {
        Accusation::RootsContradict { first, second } => {
            let (one, other) = (first.open(ledger, pins)?, second.open(ledger, pins)?);
            if one.size != other.size || one.root == other.root {
                return Err(CheckError::NoContradiction("two roots may both be true"));
            }
            let steps = vec![format!("two roots: one {}, the other {}", first.describe(), second.describe())];
            let proves = format!(
                "It vouched for two histories of {} batches: with root {} and with root {}.",
                one.size,
                hex::encode(one.root),
                hex::encode(other.root)
            );
            Ok(prover(APPEND_ONLY, steps, proves))
        }
        Accusation::HistoryRewritten { old, new, path } => {
            let (one, other) = (old.open(ledger, pins)?, new.open(ledger, pins)?);
            let (old_root, new_root) =
                roots_from_consistency_path(one.size, other.size, path).map_err(CheckError::Consistency)?;
            if new_root != other.root {
                return Err(CheckError::Consistency(assent_merkle::ConsistencyError::NewRootMismatch));
            }
            if old_root == one.root {
                return Err(CheckError::NoContradiction("the newer history begins with the older one"));
            }
            let steps = vec![
                format!("two roots: the older {}, the newer {}", old.describe(), new.describe()),
                "consistency path: leads to the newer root".to_owned(),
            ];
            let proves = format!(
                "Its history of {} batches does not begin with the {} batches that it vouched for before: these have root {} \
                 in it, not {}.",
                other.size,
                one.size,
                hex::encode(old_root),
                hex::encode(one.root)
            );
            Ok(prover(APPEND_ONLY, steps, proves))
        }
        Accusation::RecordsContradict { number, first, second } => {
            first.open(*number, ledger, pins)?;
            second.open(*number, ledger, pins)?;
            if first.record == second.record {
                return Err(CheckError::NoContradiction("both histories hold the same batch record"));
            }
            let steps = vec![format!(
                "two batch records: each under a root, one {}, the other {}",
                first.claim.describe(),
                second.claim.describe()
            )];
            let proves = format!("It vouched for two histories in which batch {number} is not the same.");
            Ok(prover(APPEND_ONLY, steps, proves))
        }
        _ => Err(CheckError::NoContradiction("another kind of accusation")),
    }
}

/// What only the sequencer's signature could excuse.
fn unless_two_headers(number: u64) -> Option<String> {
    Some(format!(
        "That the sequencer is innocent: if the prover shows another header for batch {number} with the sequencer's \
         signature, that header and the one here convict the sequencer of signing two."
    ))
}

fn wrong_record(
    number: u64,
    record: &RecordProof,
    header: &SignedHeader,
    ledger: &Ledger,
    pins: &Pins,
) -> Result<Verdict, CheckError> {
    let checkpoint = record.open(number, ledger, pins)?;
    let opened = header.open(ledger)?;
    if opened.number != number {
        return Err(CheckError::NoContradiction("the header is of another batch than the record"));
    }
    let read = BatchRecord::decode(&record.record);
    let of_this_header = read.as_ref().is_ok_and(|read| read.header_hash == opened.hash());
    if of_this_header {
        return Err(CheckError::NoContradiction("the batch record is of this header"));
    }
    let steps = vec![
        format!("batch record: under the root of size {}, {}", checkpoint.size, record.claim.describe()),
        "batch header: signed by the sequencer".to_owned(),
    ];
    // Layout 0x1c: type, version, header hash, state root, tree kind. It may name the header and be none all the same.
    let names_header = record.record.get(2..34) == Some(&opened.hash()[..]);
    let proves = match &read {
        Err(error) if names_header => format!("Its record of batch {number} is none: {error}."),
        _ => format!("Its record of batch {number} is not of the header that the sequencer signed."),
    };
    let mut verdict = prover(FOLLOWS, steps, proves);
    if !names_header {
        verdict.caveat = unless_two_headers(number);
    }
    Ok(verdict)
}

fn wrong_root(
    claim: &RootClaim,
    batches: &[BatchEffects],
    signature: &[u8; 64],
    ledger: &Ledger,
    pins: &Pins,
) -> Result<Verdict, CheckError> {
    let checkpoint = claim.open(ledger, pins)?;
    if checkpoint.size != batches.len() as u64 {
        let problem = format!("{} batches for a root of size {}", batches.len(), checkpoint.size);
        return Err(CheckError::Batches(problem));
    }
    if batches.is_empty() {
        return Err(CheckError::NoContradiction("a root over no batches"));
    }
    let mut history = TileWriter::default();
    let mut state = SparseTree::new(usize::MAX);
    let mut previous = [0; 32];
    for (number, batch) in (0u64..).zip(batches) {
        let header = BatchHeader::decode(&batch.header).map_err(CheckError::Header)?;
        check_header_ledger(&header, ledger.chain_id, &ledger.manifest)?;
        if header.number != number || header.previous_hash != previous {
            return Err(CheckError::Batches(format!("header {number} does not follow the one before it")));
        }
        if effects_root(&batch.effects) != header.effects_root {
            return Err(CheckError::Batches(format!(
                "the effects of batch {number} are not those of its header"
            )));
        }
        state
            .apply(&NoPages, &batch.effects)
            .map_err(|error| CheckError::Batches(format!("the effects of batch {number}: {error}")))?;
        previous = header.hash();
        history.append(BatchRecord::new(previous, state.root()).leaf_hash());
    }
    // The last signature covers all: each header names the hash of the one before it.
    ledger.manifest.sequencer_key.verify(&previous, signature).map_err(CheckError::HeaderSignature)?;
    if history.root() == checkpoint.root {
        return Err(CheckError::NoContradiction("the root follows from the batches"));
    }
    let steps = vec![
        format!("root of size {}: {} by the prover", checkpoint.size, claim.describe()),
        format!("batch headers 0 to {}: a chain, the last one signed by the sequencer", batches.len() - 1),
        "effects of each batch: those that its header commits to; the state tree made from them".to_owned(),
    ];
    let proves = format!(
        "It vouched for root {} of {} batches; what the sequencer signed gives {}.",
        hex::encode(checkpoint.root),
        checkpoint.size,
        hex::encode(history.root())
    );
    let mut verdict = prover(FOLLOWS, steps, proves);
    verdict.caveat = unless_two_headers(checkpoint.size - 1);
    Ok(verdict)
}
