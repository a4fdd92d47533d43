//! Making files about state: decisions, consents, histories.
//!
//! Records are opened under the read lock of the state tree, so all of them are of one version. Everything else (logs,
//! entries, headers) only grows and needs no lock.

use std::sync::{PoisonError, RwLockReadGuard};

use assent_core::{
    AccountId, TransactionId,
    batch::{BatchHeader, BatchRecord},
    codec::DecodeError,
    log::LoggedTransaction,
    machine::{StateError, StateRead},
    outcome::{OutcomeKind, OutcomeLeaf},
    records::{
        AccessLogLeaf, ActorAccesses, ActorLogLeaf, ConsentLogLeaf, ConsentRecord, LogLeaf, Record, StateKey,
        SubjectAccesses, SubjectConsents,
    },
    transaction::{Act, Transaction, TransactionError},
};
use assent_merkle::{CompactRange, leaf_hash, range_proof, sparse::SparseError, tiles::TileError};
use assent_store::{PartyLog, StoreError, StoredEntry};
use assent_verify::{
    evidence::SignedHeader,
    state::{
        LogSlice, OpenedRecord, StateRoot,
        consent::{At, ConsentFile},
        decision::{Cited, DecisionFile, MAX_WINDOW, OpenedAccess, OpenedConsent},
        history::{HistoryFile, HistoryItem, MAX_HISTORY_ACCESSES, MAX_HISTORY_FILE_BYTES, Whose},
    },
};
use thiserror::Error;

use crate::{Shared, take_in::StateVersion};

/// Bytes of an item in a file beside its parts: index, lengths, flags.
const ITEM_FRAME_BYTES: usize = 8 + 3 * 4 + 2;
/// Bytes of a file beside its items: manifest, state, checkpoint, paths.
const FILE_FRAME_BYTES: usize = 64 * 1024;

/// Why there is no file.
#[derive(Debug, Error)]
pub(crate) enum ProofError {
    #[error("no batch has been executed yet")]
    NoState,
    #[error("the prover has not executed a transaction with this id")]
    Unknown,
    #[error("the transaction is no access request and no record of access, so nothing was decided")]
    NotADecision,
    #[error("the request names {0} subjects; say which one")]
    SubjectRequired(usize),
    #[error("the request does not name this subject")]
    OtherSubject,
    #[error(
        "{found} accesses to this subject's data lie within the validity window of the record; at most {MAX_WINDOW} are shown"
    )]
    WindowTooLarge { found: u64 },
    #[error(
        "the period has {found} accesses, a file holds at most {MAX_HISTORY_ACCESSES} and {MAX_HISTORY_FILE_BYTES} bytes: ask for \
         shorter periods (--from, --to)"
    )]
    HistoryTooLong { found: u64 },
    #[error(
        "the newest state is that after batch {batch}, {} ({entries} entries): it does not reach the moment",
        assent_verify::utc(*time_ms)
    )]
    MomentNotReached { batch: u64, time_ms: u64, entries: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Tree(#[from] SparseError<StoreError>),
    #[error(transparent)]
    Tiles(#[from] TileError<StoreError>),
    #[error("a stored row is corrupt: {0}")]
    Row(#[from] DecodeError),
    #[error("a stored transaction is corrupt: {0}")]
    Transaction(#[from] TransactionError),
    #[error("stored rows do not belong together: {0}")]
    Inconsistent(&'static str),
}

/// A version of the state, held still.
struct Held<'a> {
    shared: &'a Shared,
    version: RwLockReadGuard<'a, StateVersion>,
}

impl<'a> Held<'a> {
    fn new(shared: &'a Shared) -> Result<Self, ProofError> {
        let version = shared.state.read().unwrap_or_else(PoisonError::into_inner);
        if version.batches == 0 { Err(ProofError::NoState) } else { Ok(Self { shared, version }) }
    }

    /// The part that names the state. Checkpoint and path are filled in when a checkpoint is chosen.
    fn root(&self) -> Result<(StateRoot, BatchHeader), ProofError> {
        let number = self.version.batches - 1;
        let batch = self.shared.store.batch(number)?.ok_or(ProofError::Inconsistent("a batch is missing"))?;
        let header = BatchHeader::decode(&batch.header)?;
        let record = BatchRecord::new(header.hash(), self.version.tree.root()).encode();
        let header_of = SignedHeader { header: batch.header, signature: batch.signature };
        Ok((StateRoot { header: header_of, record, path: Vec::new(), checkpoint: String::new() }, header))
    }

    fn open(&self, key: StateKey) -> Result<OpenedRecord, ProofError> {
        let (proof, _) = self.version.tree.prove(self.shared.store.as_ref(), &key.hash())?;
        Ok(OpenedRecord { key: key.to_bytes(), proof, value: self.shared.store.value(key)? })
    }
}

fn record_of<R: Record>(opened: &OpenedRecord) -> Result<Option<R>, ProofError> {
    Ok(opened.value.as_ref().map(|value| R::decode(&value.record)).transpose()?)
}

fn slice<L: LogLeaf>(log: &PartyLog<'_>, start: u64, end: u64, size: u64) -> Result<LogSlice, ProofError> {
    let leaves = log.leaves::<L>(start, end)?.iter().map(Record::encode).collect();
    Ok(LogSlice { start, leaves, path: range_proof(log, start, end, size)? })
}

/// Whether a consent was in force.
pub(crate) fn consent(shared: &Shared, consent: TransactionId, at: At) -> Result<ConsentFile, ProofError> {
    let held = Held::new(shared)?;
    let (state, header) = held.root()?;
    let entries = header.first_sequence + u64::from(header.entry_count);
    let reached = match at {
        At::Newest => true,
        At::Time(time) => time < header.time_ms,
        At::Sequence(sequence) => sequence < entries,
    };
    if !reached {
        return Err(ProofError::MomentNotReached { batch: header.number, time_ms: header.time_ms, entries });
    }
    let record = held.open(StateKey::consent(consent))?;
    Ok(ConsentFile { manifest: shared.config.manifest.encode(), state, consent, at, record })
}

/// A stored entry and the decision in it that a log's leaf commits to.
fn decision_of(entry: &StoredEntry, hash: &assent_core::Hash) -> Result<usize, ProofError> {
    let matches = |leaf: &OutcomeLeaf| leaf_hash(&leaf.encode()) == *hash;
    entry
        .leaves
        .iter()
        .position(matches)
        .ok_or(ProofError::Inconsistent("an entry lacks the decision that a log names"))
}

fn entry_at(shared: &Shared, sequence: u64) -> Result<StoredEntry, ProofError> {
    named(shared.store.entry(sequence)?)
}

/// An entry that a log names.
fn named(entry: Option<StoredEntry>) -> Result<StoredEntry, ProofError> {
    entry.ok_or(ProofError::Inconsistent("an entry that a log names is missing"))
}

/// All accesses of a period.
pub(crate) fn history(
    shared: &Shared,
    whose: Whose,
    from_ms: u64,
    to_ms: u64,
) -> Result<HistoryFile, ProofError> {
    let held = Held::new(shared)?;
    let (state, header) = held.root()?;
    if from_ms > header.time_ms {
        let entries = header.first_sequence + u64::from(header.entry_count);
        return Err(ProofError::MomentNotReached { batch: header.number, time_ms: header.time_ms, entries });
    }
    let opened = held.open(whose.key())?;
    drop(held);
    let manifest = shared.config.manifest.encode();
    let mut file = HistoryFile {
        manifest,
        state,
        whose,
        from_ms,
        to_ms,
        log: opened,
        items: Vec::new(),
        path: Vec::new(),
    };
    match whose {
        Whose::Subject(_) => {
            let range = record_of::<SubjectAccesses>(&file.log)?.unwrap_or_default().0;
            fill::<AccessLogLeaf>(shared, &mut file, &range, |leaf| leaf.decision_leaf_hash)?;
        }
        Whose::Recipient(_) => {
            let range = record_of::<ActorAccesses>(&file.log)?.unwrap_or_default().0;
            fill::<ActorLogLeaf>(shared, &mut file, &range, |leaf| leaf.decision_leaf_hash)?;
        }
    }
    Ok(file)
}

fn fill<L: LogLeaf>(
    shared: &Shared,
    file: &mut HistoryFile,
    range: &CompactRange,
    decision: impl Fn(&L) -> assent_core::Hash,
) -> Result<(), ProofError> {
    let size = range.size();
    if size == 0 {
        return Ok(());
    }
    let log = shared.store.party_log(file.whose.key());
    let first = log.first::<L>(size, |at| at.time_ms >= file.from_ms)?;
    let last = log.first::<L>(size, |at| at.time_ms >= file.to_ms)?;
    if last - first > MAX_HISTORY_ACCESSES as u64 {
        return Err(ProofError::HistoryTooLong { found: last - first });
    }
    let (start, end) = (first.saturating_sub(1), (last + 1).min(size));
    let mut entries = shared.store.entry_finder()?;
    let mut entry: Option<StoredEntry> = None;
    let mut bytes = 0;
    for (index, leaf) in (start..).zip(log.leaves::<L>(start, end)?) {
        let mut item = HistoryItem { index, leaf: leaf.encode(), decision: None, detail: None };
        if (first..last).contains(&index) {
            // The decisions of one request stand side by side in a recipient's log.
            let row = match entry.take().filter(|row| row.entry.sequence == leaf.at().sequence) {
                Some(row) => row,
                None => named(entries.entry(leaf.at().sequence)?)?,
            };
            let place = decision_of(&row, &decision(&leaf))?;
            item.decision = Some(row.leaves[place].encode());
            if matches!(file.whose, Whose::Subject(_)) {
                item.detail = row.details.get(place).map(|detail| detail.encode());
            }
            entry = Some(row);
        }
        let parts = [Some(&item.leaf), item.decision.as_ref(), item.detail.as_ref()];
        bytes += ITEM_FRAME_BYTES + parts.into_iter().flatten().map(Vec::len).sum::<usize>();
        if bytes > MAX_HISTORY_FILE_BYTES - FILE_FRAME_BYTES {
            return Err(ProofError::HistoryTooLong { found: last - first });
        }
        file.items.push(item);
    }
    file.path = range_proof(&log, start, end, size)?;
    Ok(())
}

/// That a decision was right.
pub(crate) fn decision(
    shared: &Shared,
    id: TransactionId,
    subject: Option<AccountId>,
) -> Result<DecisionFile, ProofError> {
    let store = &shared.store;
    let sequence = store.sequence_of(&id)?.ok_or(ProofError::Unknown)?;
    let row = entry_at(shared, sequence)?;
    let decisions: Vec<(usize, AccountId)> = (0..)
        .zip(&row.leaves)
        .filter(|(_, leaf)| leaf.question.is_some())
        .map(|(index, leaf)| (index, AccountId(leaf.object)))
        .collect();
    let (index, subject) = match (decisions.as_slice(), subject) {
        ([], _) => return Err(ProofError::NotADecision),
        ([one], None) => *one,
        (_, None) => return Err(ProofError::SubjectRequired(decisions.len())),
        (_, Some(subject)) => {
            let found = decisions.iter().find(|(_, other)| *other == subject);
            *found.ok_or(ProofError::OtherSubject)?
        }
    };
    let (leaf, detail) = (&row.leaves[index], &row.details[index]);
    let held = Held::new(shared)?;
    let (state, _) = held.root()?;
    let accesses = held.open(StateKey::subject_accesses(subject))?;
    let consents = held.open(StateKey::subject_consents(subject))?;
    let size = detail.consent_log_size;
    let account = if size == 0 { Some(held.open(StateKey::account(subject))?) } else { None };
    drop(held);
    let access_size = record_of::<SubjectAccesses>(&accesses)?.unwrap_or_default().0.size();
    let log = store.party_log(StateKey::subject_accesses(subject));
    let place = log.first::<AccessLogLeaf>(access_size, |at| at.sequence >= sequence)?;
    let access = OpenedAccess {
        place: slice::<AccessLogLeaf>(&log, place, place + 1, access_size)?,
        decision: leaf.encode(),
    };
    let consent_size = record_of::<SubjectConsents>(&consents)?.unwrap_or_default().log.size();
    let (first, last) = (size.saturating_sub(1), (size + 1).min(consent_size));
    let consent_log = store.party_log(StateKey::subject_consents(subject));
    let around = match last - first {
        0 => None,
        _ => Some(slice::<ConsentLogLeaf>(&consent_log, first, last, consent_size)?),
    };
    let mut active = Vec::with_capacity(detail.verdicts.len());
    for (id, _) in &detail.verdicts {
        let value =
            store.value(StateKey::consent(*id))?.ok_or(ProofError::Inconsistent("a consent is missing"))?;
        let record = ConsentRecord::decode(&value.record)?;
        active.push(OpenedConsent { id: *id, salt: record.terms_salt, terms: record.terms });
    }
    let is_record = matches!(leaf.kind, OutcomeKind::AccessCovered | OutcomeKind::AccessUncovered);
    let logged = match decisions.len() {
        1 => Some(
            store
                .record(row.position)?
                .transactions
                .into_iter()
                .nth(row.index as usize)
                .ok_or(ProofError::Inconsistent("a log record lacks a transaction"))?,
        ),
        _ => None,
    };
    let cited = match &logged {
        Some(logged) if is_record => Some(cited(shared, logged, leaf, &log, place, access_size)?),
        _ => None,
    };
    Ok(DecisionFile {
        manifest: shared.config.manifest.encode(),
        state,
        transaction: logged,
        accesses,
        access,
        detail: detail.encode(),
        consents,
        around,
        active,
        account,
        cited,
    })
}

/// The request that a record of access names, or that it is not there.
fn cited(
    shared: &Shared,
    logged: &LoggedTransaction,
    record: &OutcomeLeaf,
    log: &PartyLog<'_>,
    place: u64,
    size: u64,
) -> Result<Cited, ProofError> {
    let (store, manifest) = (&shared.store, &shared.config.manifest);
    let transaction = Transaction::decode_logged(&manifest.chain_id(), logged)?;
    let Act::RecordAccess { request, .. } = transaction.act else {
        return Err(ProofError::Inconsistent("a record of access is none"));
    };
    let own: AccessLogLeaf = log.leaf(place)?;
    if let Some(sequence) = store.sequence_of(&request)?.filter(|sequence| *sequence < own.at.sequence) {
        let index = log.first::<AccessLogLeaf>(place, |at| at.sequence >= sequence)?;
        if index < place && log.leaf::<AccessLogLeaf>(index)?.id == request {
            let leaf: AccessLogLeaf = log.leaf(index)?;
            let row = entry_at(shared, sequence)?;
            let decision = &row.leaves[decision_of(&row, &leaf.decision_leaf_hash)?];
            let asked = |leaf: &OutcomeLeaf| leaf.question.as_ref().map(|question| question.recipient);
            let is_request =
                matches!(decision.kind, OutcomeKind::AccessPermitted | OutcomeKind::AccessDenied);
            if is_request && asked(decision) == asked(record) {
                return Ok(Cited::Request(OpenedAccess {
                    place: slice::<AccessLogLeaf>(log, index, index + 1, size)?,
                    decision: decision.encode(),
                }));
            }
        }
    }
    let oldest = own.at.time_ms.saturating_sub(manifest.limits.max_validity_ms);
    let first = log.first::<AccessLogLeaf>(place, |at| at.time_ms >= oldest)?;
    let (start, end) = (first.saturating_sub(1), place + 1);
    if end - start > MAX_WINDOW as u64 {
        return Err(ProofError::WindowTooLarge { found: end - start });
    }
    let mut decision = None;
    for leaf in log.leaves::<AccessLogLeaf>(first, end)?.iter().filter(|leaf| leaf.id == request) {
        let row = entry_at(shared, leaf.at.sequence)?;
        decision = Some(row.leaves[decision_of(&row, &leaf.decision_leaf_hash)?].encode());
    }
    Ok(Cited::Window { accesses: slice::<AccessLogLeaf>(log, start, end, size)?, decision })
}
