//! The checks, in order.

use assent_core::{
    ChainId, Hash, TransactionId,
    batch::{BatchHeader, BatchRecord},
    codec::{DecodeError, sha256},
    manifest::GenesisManifest,
    note::{Checkpoint, Cosignature, CosignerKey, NoteError},
    outcome::{Detail, Entry, OutcomeKind, OutcomeLeaf, outcome_root},
    policy::Reason,
    receipt::ReceiptError,
    ruleset::RulesetError,
    signature::SignatureError,
    transaction::{Act, RevokeBy, Transaction, TransactionError},
};
use assent_merkle::{ConsistencyError, InclusionError, sparse::SparseProofError, verify_inclusion};
use assent_proto::v1 as proto;
use thiserror::Error;

use crate::{
    base::{self, AnchorChain, BaseError},
    bundle::Bundle,
    file::ReadError,
    replay::Divergence,
    report::{Facts, Report},
};

/// What a verifier knows from elsewhere. Without the chain id a bundle is at most consistent: anybody can make a ledger.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// The ledger.
    pub chain_id: Option<ChainId>,
    /// A block of the real base chain, in the order in which it is hashed, that must be the anchor's block or above it.
    pub base_block: Option<Hash>,
    /// Least work of the headers of the bundle, big-endian.
    pub least_work: Option<[u8; 32]>,
    /// Validators that are trusted to have executed the batches again before they cosigned.
    pub validators: Vec<CosignerKey>,
    /// How many of them must have cosigned.
    pub require: usize,
}

/// A check that failed. Each has a stable name, [`CheckError::name`].
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum CheckError {
    #[error("the genesis manifest cannot be read: {0}")]
    Manifest(DecodeError),
    #[error("the bundle is for chain {found}, the pinned chain is {pinned}")]
    ChainId { pinned: ChainId, found: ChainId },
    #[error(transparent)]
    Ruleset(RulesetError),
    #[error("the base network: {0}")]
    BaseNetwork(BaseError),
    #[error("the transaction is not valid: {0}")]
    Transaction(TransactionError),
    #[error("the sender's signature: {0}")]
    SenderSignature(TransactionError),
    #[error("the entry cannot be read: {0}")]
    Entry(DecodeError),
    #[error("the entry is of transaction {entry}, the bundle's transaction is {found}")]
    TransactionId { entry: TransactionId, found: TransactionId },
    #[error("the entry commits to other authorizations")]
    Authorizations,
    #[error(
        "the transaction had expired at the entry's time, or expires further ahead than the ledger allows"
    )]
    Expired,
    #[error("an outcome leaf cannot be read: {0}")]
    OutcomeLeaf(DecodeError),
    #[error("the outcome leaves do not lead to the entry's outcome root")]
    OutcomeRoot,
    #[error("the outcome is none that the transaction can have: {0}")]
    OutcomeForm(&'static str),
    #[error("the detail of leaf {index}: {problem}")]
    Detail { index: usize, problem: String },
    #[error("the batch header cannot be read: {0}")]
    Header(DecodeError),
    #[error("the batch header is for chain {found}")]
    HeaderChain { found: ChainId },
    #[error("the batch header names ruleset {found}, the manifest {expected}")]
    HeaderRuleset { expected: u32, found: u32 },
    #[error("the batch header names another key than the manifest's sequencer key")]
    HeaderKey,
    #[error("the batch header is none that the rules allow: its previous hash or its entry count")]
    HeaderForm,
    #[error("the sequencer's signature on the batch header: {0}")]
    HeaderSignature(SignatureError),
    #[error("the entry's sequence {sequence} is not one of the batch's, {first} to {last}")]
    SequenceRange { sequence: u64, first: u64, last: u64 },
    #[error("the entry's time is after its batch's, or before the ledger was made")]
    EntryTime,
    #[error("the entry is not in the batch: {0}")]
    EntryInclusion(InclusionError),
    #[error("the batch record cannot be read: {0}")]
    BatchRecord(DecodeError),
    #[error("the batch record is of another header")]
    BatchRecordHeader,
    #[error(transparent)]
    Checkpoint(NoteError),
    #[error("the batch is not in the checkpoint: {0}")]
    BatchInclusion(InclusionError),
    #[error("the bundle has no anchor")]
    NoAnchor,
    #[error("the chain of anchors: {0}")]
    Seals(BaseError),
    #[error("anchor {index} carries the chain tag of another ledger")]
    ChainTag { index: usize },
    #[error("anchor {index} carries size {found}, not more than the {previous} before it")]
    AnchorSize { index: usize, previous: u64, found: u64 },
    #[error("an earlier anchor, of size {previous}, covers batch {batch} already; only the first one counts")]
    NotFirstAnchor { previous: u64, batch: u64 },
    #[error("the anchor carries another size or root than the checkpoint")]
    AnchorPayload,
    #[error("the bundle has no base-chain header")]
    NoHeader,
    #[error("the base chain: {0}")]
    BaseHeaders(BaseError),
    #[error("the base chain: {0}")]
    BlockInclusion(BaseError),
    #[error("the pinned base block is neither the anchor's block nor one of those above it in the bundle")]
    PinnedBlock,
    #[error("the headers stand for less work than demanded")]
    LeastWork,
    #[error("the batch record's state tree is of an unknown kind: {0}")]
    TreeKind(DecodeError),
    #[error(
        "{found} of the {trusted} validators named have cosigned the checkpoint, {required} are required"
    )]
    Cosignatures { required: usize, found: usize, trusted: usize },
    #[error("the state proof is of key {found}, expected {expected}")]
    StateKey { expected: String, found: String },
    #[error("the state proof does not hold under the batch's state root: {0}")]
    StateProof(SparseProofError),
    #[error("a state record or the terms of a consent cannot be read: {0}")]
    StateRecord(DecodeError),
    #[error("the {log}: {problem}")]
    LogRoot { log: &'static str, problem: String },
    #[error("the decision is not the one that the log commits to")]
    DecisionLeaf,
    #[error("the decision: {0}")]
    Decision(&'static str),
    #[error("the consent log of the subject: {0}")]
    ConsentLog(&'static str),
    #[error("the consents in the file are not those that were in force")]
    ActiveConsents,
    #[error("the request that the record cites: {0}")]
    Cited(&'static str),
    #[error("the decision was WRONG: its {field} was {found}, the policy gives {right}")]
    WrongDecision { field: &'static str, right: String, found: String },
    #[error("the moment asked about is not past: the state reaches to {0}")]
    MomentNotReached(String),
    #[error("the period: {0}")]
    Period(String),
    #[error("{}", history_gap(*after, *found, *size))]
    HistoryGap { after: Option<u64>, found: Option<u64>, size: u64 },
    #[error("access {0} is in the list twice")]
    HistoryDuplicate(u64),
    #[error("access {index} stands after access {after}")]
    HistoryOrder { index: u64, after: u64 },
    #[error("access {index}: {problem}")]
    HistoryItem { index: u64, problem: String },
    #[error("access {index} is about another account")]
    HistoryForeign { index: u64 },
    #[error("the receipt: {0}")]
    Receipt(ReceiptError),
    #[error("the path between the two checkpoints: {0}")]
    Consistency(ConsistencyError),
    #[error("the file names batches that do not lead to what it accuses: {0}")]
    Batches(String),
    #[error("executing the batches again gives what the sequencer signed: nothing is wrong with them")]
    NothingWrong,
    #[error("batch {batch}, not the last one, is the first that does not follow: {divergence}")]
    EarlierBatch { batch: u64, divergence: Box<Divergence> },
    #[error(
        "an anchor convicts only under a block or least work of the real base chain: give --base-block or --least-work"
    )]
    AnchorNotPinned,
    #[error("the statements in the file do not contradict each other: {0}")]
    NoContradiction(&'static str),
    #[error("the file's digest does not match: it was damaged after it was made")]
    FileDigest,
}

impl CheckError {
    /// A batch record that cannot be read.
    pub(crate) fn of_record(error: DecodeError) -> Self {
        match error {
            DecodeError::Invalid { what: "tree kind", .. } => Self::TreeKind(error),
            other => Self::BatchRecord(other),
        }
    }

    /// The name of the check that failed: stable, for machines.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Manifest(_) => "manifest",
            Self::ChainId { .. } => "chain-id",
            Self::Ruleset(_) => "ruleset",
            Self::BaseNetwork(_) => "base-network",
            Self::Transaction(_) => "transaction",
            Self::SenderSignature(_) => "sender-signature",
            Self::Entry(_) => "entry",
            Self::TransactionId { .. } => "transaction-id",
            Self::Authorizations => "authorizations",
            Self::Expired => "expired",
            Self::OutcomeLeaf(_) => "outcome-leaf",
            Self::OutcomeRoot => "outcome-root",
            Self::OutcomeForm(_) => "outcome-form",
            Self::Detail { .. } => "detail",
            Self::Header(_) => "header",
            Self::HeaderChain { .. } => "header-chain",
            Self::HeaderRuleset { .. } => "header-ruleset",
            Self::HeaderKey => "header-key",
            Self::HeaderForm => "header-form",
            Self::HeaderSignature(_) => "header-signature",
            Self::SequenceRange { .. } => "sequence-range",
            Self::EntryTime => "entry-time",
            Self::EntryInclusion(_) => "entry-inclusion",
            Self::BatchRecord(_) => "batch-record",
            Self::BatchRecordHeader => "batch-record-header",
            Self::Checkpoint(_) => "checkpoint",
            Self::BatchInclusion(_) => "batch-inclusion",
            Self::NoAnchor => "no-anchor",
            Self::Seals(_) => "seals",
            Self::ChainTag { .. } => "chain-tag",
            Self::AnchorSize { .. } => "anchor-size",
            Self::NotFirstAnchor { .. } => "not-first-anchor",
            Self::AnchorPayload => "anchor-payload",
            Self::NoHeader => "no-header",
            Self::BaseHeaders(_) => "base-headers",
            Self::BlockInclusion(_) => "block-inclusion",
            Self::PinnedBlock => "pinned-block",
            Self::LeastWork => "least-work",
            Self::TreeKind(_) => "tree-kind",
            Self::Cosignatures { .. } => "cosignatures",
            Self::StateKey { .. } => "state-key",
            Self::StateProof(_) => "state-proof",
            Self::StateRecord(_) => "state-record",
            Self::LogRoot { .. } => "log-root",
            Self::DecisionLeaf => "decision-leaf",
            Self::Decision(_) => "decision",
            Self::ConsentLog(_) => "consent-log",
            Self::ActiveConsents => "active-consents",
            Self::Cited(_) => "cited-request",
            Self::WrongDecision { .. } => "wrong-decision",
            Self::MomentNotReached(_) => "moment-not-reached",
            Self::Period(_) => "period",
            Self::HistoryGap { .. } => "history-gap",
            Self::HistoryDuplicate(_) => "history-duplicate",
            Self::HistoryOrder { .. } => "history-order",
            Self::HistoryItem { .. } => "history-item",
            Self::HistoryForeign { .. } => "history-foreign",
            Self::Receipt(_) => "receipt",
            Self::Consistency(_) => "consistency",
            Self::Batches(_) => "batches",
            Self::NothingWrong => "nothing-wrong",
            Self::EarlierBatch { .. } => "earlier-batch",
            Self::AnchorNotPinned => "anchor-not-pinned",
            Self::NoContradiction(_) => "no-contradiction",
            Self::FileDigest => "file-digest",
        }
    }
}

fn history_gap(after: Option<u64>, found: Option<u64>, size: u64) -> String {
    match (after, found) {
        (Some(after), Some(found)) => {
            format!("there is a gap: after access {after} comes access {found}")
        }
        (Some(after), None) => {
            format!(
                "there is a gap: access {after} is the last one, but the log has {size} and the period goes on"
            )
        }
        (None, Some(found)) => {
            format!(
                "there is a gap: access {found} is the first one, but others come before it within the period"
            )
        }
        (None, None) => format!("there is a gap: no access is shown, but the log has {size}"),
    }
}

/// Reads a checkpoint, checks the prover's signature, and counts the cosignatures of the validators that are trusted.
pub(crate) fn open_checkpoint(
    note: &str,
    ledger: &Ledger,
    pins: &Pins,
) -> Result<(Checkpoint, Vec<Cosignature>), CheckError> {
    let chain = &ledger.chain_id;
    let checkpoint =
        Checkpoint::open(note, chain, &ledger.manifest.prover_key).map_err(CheckError::Checkpoint)?;
    let cosigned = checkpoint.cosignatures(note, chain, &pins.validators).map_err(CheckError::Checkpoint)?;
    if cosigned.len() < pins.require {
        return Err(CheckError::Cosignatures {
            required: pins.require,
            found: cosigned.len(),
            trusted: pins.validators.len(),
        });
    }
    Ok((checkpoint, cosigned))
}

/// Why a file is not accepted.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// It cannot be read as a bundle.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It can be read, and a check failed.
    #[error("check {name} failed: {0}", name = .0.name())]
    Check(#[from] CheckError),
}

/// Compares the digest at the end of a file. Last, so that a changed byte is named by the check that it breaks.
pub(crate) fn check_digest(file: &[u8], digest: Hash) -> Result<(), CheckError> {
    let content = file.len().checked_sub(32).and_then(|end| file.get(..end)).unwrap_or_default();
    if sha256(content) == digest { Ok(()) } else { Err(CheckError::FileDigest) }
}

/// Checks a bundle file against the pins.
///
/// # Errors
/// [`VerifyError::Read`] where it is no bundle, [`VerifyError::Check`] naming the first check that failed.
pub fn verify_bundle(file: &[u8], pins: &Pins) -> Result<Report, VerifyError> {
    let (bundle, digest) = Bundle::decode(file)?;
    let ledger = check_ledger(&bundle.manifest, pins)?;
    let mut facts = Facts::new(ledger);
    check_transaction(&bundle, &mut facts)?;
    check_batch(&bundle, &mut facts)?;
    check_history(&bundle, pins, &mut facts)?;
    check_base(&bundle, pins, &mut facts)?;
    check_digest(file, digest)?;
    Ok(Report::of(facts, pins))
}

/// The ledger that a file is about.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    pub(crate) chain_id: ChainId,
    pub(crate) manifest: GenesisManifest,
    pub(crate) network: bitcoin::Network,
}

/// Reads the manifest, compares the pin, and looks whether this program knows its rules and its base chain.
pub(crate) fn check_ledger(manifest: &[u8], pins: &Pins) -> Result<Ledger, CheckError> {
    let chain_id = ChainId(sha256(manifest));
    let manifest = GenesisManifest::decode(manifest).map_err(CheckError::Manifest)?;
    if let Some(pinned) = pins.chain_id.filter(|pinned| *pinned != chain_id) {
        return Err(CheckError::ChainId { pinned, found: chain_id });
    }
    manifest.ruleset().map_err(CheckError::Ruleset)?;
    let network = base::network(&manifest.base).map_err(CheckError::BaseNetwork)?;
    Ok(Ledger { chain_id, manifest, network })
}

fn check_transaction(bundle: &Bundle, facts: &mut Facts) -> Result<(), CheckError> {
    let signed = assent_core::log::signed_transaction(bundle.body.clone().into(), &bundle.authorizations);
    let transaction = decode_transaction(&facts.ledger.chain_id, &signed)?;
    let entry = Entry::decode(&bundle.entry).map_err(CheckError::Entry)?;
    if entry.transaction_id != transaction.id {
        return Err(CheckError::TransactionId { entry: entry.transaction_id, found: transaction.id });
    }
    if entry.authorizations_hash != transaction.authorizations_hash() {
        return Err(CheckError::Authorizations);
    }
    let validity = transaction.expires_at_ms.checked_sub(entry.time_ms).filter(|left| *left > 0);
    if validity.is_none_or(|left| left > facts.ledger.manifest.limits.max_validity_ms) {
        return Err(CheckError::Expired);
    }
    let leaves = bundle
        .outcome_leaves
        .iter()
        .map(|leaf| OutcomeLeaf::decode(leaf).map_err(CheckError::OutcomeLeaf))
        .collect::<Result<Vec<_>, _>>()?;
    if outcome_root(&leaves) != entry.outcome_root {
        return Err(CheckError::OutcomeRoot);
    }
    check_outcome_form(&transaction, &leaves)?;
    let details = check_details(bundle, &leaves)?;
    facts.transaction = Some(transaction);
    facts.entry = Some(entry);
    facts.leaves = leaves;
    facts.details = details;
    Ok(())
}

pub(crate) fn decode_transaction(
    chain: &ChainId,
    signed: &proto::SignedTransaction,
) -> Result<Transaction, CheckError> {
    let transaction = Transaction::decode(chain, signed).map_err(|error| match error {
        TransactionError::NotSenderKey { .. } | TransactionError::AuthorizationCount { .. } => {
            CheckError::SenderSignature(error)
        }
        other => CheckError::Transaction(other),
    })?;
    transaction.verify_signatures().map_err(CheckError::SenderSignature)?;
    Ok(transaction)
}

/// An outcome that no execution of the transaction could have.
fn check_outcome_form(transaction: &Transaction, leaves: &[OutcomeLeaf]) -> Result<(), CheckError> {
    use OutcomeKind::*;
    for leaf in leaves {
        let permits = leaf.kind == AccessPermitted;
        if permits != (leaf.permit_until_ms > 0) {
            return Err(CheckError::OutcomeForm("only a permit ends, and it must"));
        }
        let asked = leaf.question.as_ref().map(|asked| (Some(asked.recipient), &asked.scope));
        let act = match &transaction.act {
            Act::RequestAccess { scope, .. } | Act::RecordAccess { scope, .. } => {
                Some((transaction.sender, scope))
            }
            _ => None,
        };
        if asked != act {
            return Err(CheckError::OutcomeForm("it holds another question than the transaction"));
        }
        if !leaf.obligations.is_empty() && !permits && leaf.kind != AccessCovered {
            return Err(CheckError::OutcomeForm("only what is permitted carries obligations"));
        }
    }
    let one = |kinds: &[OutcomeKind], object: Option<&[u8; 32]>| match leaves {
        [leaf] if kinds.contains(&leaf.kind) && object.is_none_or(|object| *object == leaf.object) => Ok(()),
        _ => Err(CheckError::OutcomeForm("its leaf is not of the transaction's act and object")),
    };
    match &transaction.act {
        Act::OpenAccount(_) => one(&[AccountOpened], transaction.sender.as_ref().map(|sender| &sender.0)),
        Act::GrantConsent { .. } => one(&[ConsentGranted], Some(&transaction.id.0)),
        Act::RevokeConsent(by) => {
            let consent = match by {
                RevokeBy::Consent(id) => Some(&id.0),
                RevokeBy::Code(_) => None,
            };
            one(&[ConsentRevoked, RevocationWithoutEffect], consent)
        }
        Act::RecordAccess { subject, .. } => one(&[AccessCovered, AccessUncovered], Some(&subject.0)),
        Act::RequestAccess { subjects, .. } => {
            let matches = subjects.len() == leaves.len()
                && subjects.iter().zip(leaves).all(|(subject, leaf)| {
                    [AccessPermitted, AccessDenied].contains(&leaf.kind) && leaf.object == subject.0
                });
            if matches {
                Ok(())
            } else {
                Err(CheckError::OutcomeForm("its leaves are not one decision for each subject, in order"))
            }
        }
    }
}

fn check_details(bundle: &Bundle, leaves: &[OutcomeLeaf]) -> Result<Vec<Detail>, CheckError> {
    if !bundle.details.is_empty() && bundle.details.len() != leaves.len() {
        let problem = format!("{} details for {} leaves", bundle.details.len(), leaves.len());
        return Err(CheckError::Detail { index: leaves.len(), problem });
    }
    bundle
        .details
        .iter()
        .zip(leaves)
        .enumerate()
        .map(|(index, (bytes, leaf))| {
            let failed = |problem: String| CheckError::Detail { index, problem };
            let detail = Detail::decode(bytes).map_err(|error| failed(error.to_string()))?;
            if sha256(bytes) != leaf.detail_hash {
                return Err(failed("its hash is not the leaf's".into()));
            }
            let reason_fits = match leaf.kind {
                OutcomeKind::AccessPermitted | OutcomeKind::AccessCovered => {
                    matches!(detail.reason, Some(Reason::PermittedByProvision | Reason::PermittedByDefault))
                }
                OutcomeKind::AccessDenied | OutcomeKind::AccessUncovered => {
                    detail.reason.is_some_and(|reason| {
                        !matches!(reason, Reason::PermittedByProvision | Reason::PermittedByDefault)
                    })
                }
                _ => detail.reason.is_none(),
            };
            if reason_fits { Ok(detail) } else { Err(failed("its reason contradicts the leaf".into())) }
        })
        .collect()
}

/// That a header is of this ledger and by its sequencer's key.
pub(crate) fn check_header_ledger(
    header: &BatchHeader,
    chain_id: ChainId,
    manifest: &GenesisManifest,
) -> Result<(), CheckError> {
    if header.chain_id != chain_id {
        return Err(CheckError::HeaderChain { found: header.chain_id });
    }
    if header.key_id != manifest.sequencer_key.key_id() {
        return Err(CheckError::HeaderKey);
    }
    Ok(())
}

fn check_batch(bundle: &Bundle, facts: &mut Facts) -> Result<(), CheckError> {
    let header = BatchHeader::decode(&bundle.header).map_err(CheckError::Header)?;
    let manifest = &facts.ledger.manifest;
    check_header_ledger(&header, facts.ledger.chain_id, manifest)?;
    if header.ruleset != manifest.ruleset {
        return Err(CheckError::HeaderRuleset { expected: manifest.ruleset, found: header.ruleset });
    }
    if (header.number == 0) != (header.previous_hash == [0; 32])
        || header.entry_count > manifest.limits.max_batch_entries
    {
        return Err(CheckError::HeaderForm);
    }
    let Some(entry) = &facts.entry else { return Err(CheckError::EntryTime) };
    let index = entry.sequence.checked_sub(header.first_sequence);
    let Some(index) = index.filter(|index| *index < u64::from(header.entry_count)) else {
        return Err(CheckError::SequenceRange {
            sequence: entry.sequence,
            first: header.first_sequence,
            last: header.first_sequence.saturating_add(u64::from(header.entry_count)).saturating_sub(1),
        });
    };
    if entry.time_ms > header.time_ms || entry.time_ms < manifest.created_ms {
        return Err(CheckError::EntryTime);
    }
    verify_inclusion(
        index,
        u64::from(header.entry_count),
        entry.leaf_hash(),
        &bundle.entry_path,
        &header.entries_root,
    )
    .map_err(CheckError::EntryInclusion)?;
    manifest
        .sequencer_key
        .verify(&sha256(&bundle.header), &bundle.header_signature)
        .map_err(CheckError::HeaderSignature)?;
    facts.header = Some(header);
    Ok(())
}

fn check_history(bundle: &Bundle, pins: &Pins, facts: &mut Facts) -> Result<(), CheckError> {
    let record = BatchRecord::decode(&bundle.batch_record).map_err(CheckError::of_record)?;
    let Some(header) = &facts.header else { return Err(CheckError::BatchRecordHeader) };
    if record.header_hash != header.hash() {
        return Err(CheckError::BatchRecordHeader);
    }
    let (checkpoint, cosigned) = open_checkpoint(&bundle.checkpoint, &facts.ledger, pins)?;
    verify_inclusion(
        header.number,
        checkpoint.size,
        record.leaf_hash(),
        &bundle.history_path,
        &checkpoint.root,
    )
    .map_err(CheckError::BatchInclusion)?;
    facts.checkpoint = Some(checkpoint);
    facts.cosigned = cosigned;
    Ok(())
}

/// The seals from the manifest's outpoint on, with growing sizes.
fn check_seals(
    chain: &AnchorChain,
    manifest: &GenesisManifest,
    chain_id: ChainId,
) -> Result<Vec<base::Anchor>, CheckError> {
    let anchors = base::read_seals(manifest.first_anchor, &chain.transactions).map_err(CheckError::Seals)?;
    let mut previous = 0;
    for (index, anchor) in anchors.iter().enumerate() {
        if anchor.payload.chain_tag != chain_id.tag() {
            return Err(CheckError::ChainTag { index });
        }
        if anchor.payload.size <= previous {
            return Err(CheckError::AnchorSize { index, previous, found: anchor.payload.size });
        }
        previous = anchor.payload.size;
    }
    if anchors.is_empty() { Err(CheckError::NoAnchor) } else { Ok(anchors) }
}

/// The last anchor in its block, under the headers and the pins.
fn check_block(
    anchor: &AnchorChain,
    last: &base::Anchor,
    network: bitcoin::Network,
    pins: &Pins,
) -> Result<base::HeaderChain, CheckError> {
    if anchor.headers.is_empty() {
        return Err(CheckError::NoHeader);
    }
    let chain = base::check_headers(network, &anchor.headers).map_err(CheckError::BaseHeaders)?;
    base::check_in_block(&last.txid, anchor.block_index, &anchor.block_path, &chain.first_merkle_root)
        .map_err(CheckError::BlockInclusion)?;
    if pins.base_block.is_some_and(|pinned| !chain.hashes.contains(&pinned)) {
        return Err(CheckError::PinnedBlock);
    }
    if pins.least_work.is_some_and(|least| chain.work < least) {
        return Err(CheckError::LeastWork);
    }
    Ok(chain)
}

/// A chain of anchors up to its block, whatever it anchors. Gives the last one.
pub(crate) fn check_anchor_chain(
    anchor: &AnchorChain,
    ledger: &Ledger,
    pins: &Pins,
) -> Result<base::Anchor, CheckError> {
    let mut anchors = check_seals(anchor, &ledger.manifest, ledger.chain_id)?;
    let last = anchors.pop().ok_or(CheckError::NoAnchor)?;
    check_block(anchor, &last, ledger.network, pins)?;
    Ok(last)
}

fn check_base(bundle: &Bundle, pins: &Pins, facts: &mut Facts) -> Result<(), CheckError> {
    let (Some(header), Some(checkpoint)) = (&facts.header, facts.checkpoint) else {
        return Err(CheckError::NoAnchor);
    };
    let anchors = check_seals(&bundle.anchor, &facts.ledger.manifest, facts.ledger.chain_id)?;
    let (last, earlier) = anchors.split_last().ok_or(CheckError::NoAnchor)?;
    let previous = earlier.last().map_or(0, |anchor| anchor.payload.size);
    if previous > header.number {
        return Err(CheckError::NotFirstAnchor { previous, batch: header.number });
    }
    if (last.payload.size, last.payload.root) != (checkpoint.size, checkpoint.root) {
        return Err(CheckError::AnchorPayload);
    }
    let chain = check_block(&bundle.anchor, last, facts.ledger.network, pins)?;
    facts.anchor = Some(last.clone());
    facts.anchor_count = anchors.len();
    facts.chain = Some(chain);
    Ok(())
}
