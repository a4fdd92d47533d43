//! What execution decided: outcome leaves, the detail behind a decision, entries.

use std::sync::Arc;

use assent_merkle::{leaf_hash, root_of_leaf_hashes};
use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    AccountId, Hash, TransactionId,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    limits,
    policy::{Decider, Decision, Obligation, Reason, Verdict},
    terms::{Coding, Period, decode_code},
    transaction::AccessScope,
};

/// What a leaf of the outcome tree is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// An account was opened.
    AccountOpened = 1,
    /// A consent was put in force.
    ConsentGranted = 2,
    /// A consent was ended.
    ConsentRevoked = 3,
    /// A revocation changed nothing.
    RevocationWithoutEffect = 4,
    /// An access request was permitted.
    AccessPermitted = 5,
    /// An access request was denied, for whatever reason.
    AccessDenied = 6,
    /// A recorded access was covered by a decision and by the consents at its time.
    AccessCovered = 7,
    /// A recorded access was not covered.
    AccessUncovered = 8,
}

impl OutcomeKind {
    /// All kinds in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::AccountOpened,
        Self::ConsentGranted,
        Self::ConsentRevoked,
        Self::RevocationWithoutEffect,
        Self::AccessPermitted,
        Self::AccessDenied,
        Self::AccessCovered,
        Self::AccessUncovered,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The words for a person.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::AccountOpened => "account opened",
            Self::ConsentGranted => "consent granted",
            Self::ConsentRevoked => "consent revoked",
            Self::RevocationWithoutEffect => "revocation recorded, nothing to revoke",
            Self::AccessPermitted => "access PERMITTED",
            Self::AccessDenied => "access DENIED",
            Self::AccessCovered => "recorded access COVERED by consent",
            Self::AccessUncovered => "recorded access UNCOVERED",
        }
    }

    /// The stable name for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AccountOpened => "ACCOUNT_OPENED",
            Self::ConsentGranted => "CONSENT_GRANTED",
            Self::ConsentRevoked => "CONSENT_REVOKED",
            Self::RevocationWithoutEffect => "REVOCATION_WITHOUT_EFFECT",
            Self::AccessPermitted => "ACCESS_PERMITTED",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::AccessCovered => "ACCESS_COVERED",
            Self::AccessUncovered => "ACCESS_UNCOVERED",
        }
    }
}

/// What was decided about one subject: who asked, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessQuestion {
    /// Who asks, or read.
    pub recipient: AccountId,
    /// What for, and which data.
    pub scope: Arc<AccessScope>,
}

/// One leaf of the outcome tree (layout 0x14): what the recipient sees. A denial looks the same whatever its reason. That of
/// a decision holds the question too, so that it can be shown without the transaction, which may name other subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeLeaf {
    /// What happened.
    pub kind: OutcomeKind,
    /// To whom or what: the account opened, the consent, or the subject of a decision.
    pub object: Hash,
    /// For a decision: what was asked or done. `None` for other acts.
    pub question: Option<AccessQuestion>,
    /// For a permit: until when it may be relied on, exclusive, in milliseconds since 1970. Otherwise 0.
    pub permit_until_ms: u64,
    /// For a permit: what must be left out.
    pub obligations: Vec<Obligation>,
    /// The hash of the salted detail (layout 0x15).
    pub detail_hash: Hash,
}

impl OutcomeLeaf {
    /// Layout 0x14.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.layout().finish()
    }

    pub(crate) fn layout(&self) -> Encoder {
        Encoder::new(Layout::OutcomeLeaf)
            .u8(self.kind as u8)
            .fixed(&self.object)
            .option(self.question.as_ref(), |e, question| {
                AccessScope::encode(e.fixed(&question.recipient.0), &question.scope)
            })
            .u64(self.permit_until_ms)
            .list(&self.obligations, |e, obligation| {
                e.list(&obligation.purposes, |e, purpose| e.short(purpose.as_bytes()))
                    .list(&obligation.classes, Coding::encode)
                    .list(&obligation.labels, Coding::encode)
                    .option(obligation.data_period.as_ref(), Period::encode)
            })
            .fixed(&self.detail_hash)
    }

    /// Reads layout 0x14.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::OutcomeLeaf, bytes)?;
        let number = d.u8("outcome kind")?;
        let leaf = Self {
            kind: OutcomeKind::from_number(number)
                .ok_or_else(|| DecodeError::invalid("outcome kind", format!("unknown number {number}")))?,
            object: d.hash("object")?,
            question: d.option("question", |d| {
                let recipient = AccountId(d.hash("recipient")?);
                let scope = Arc::new(AccessScope::decode(d)?);
                if scope.classes.is_empty() {
                    return Err(DecodeError::invalid("classes", "a question has at least one"));
                }
                Ok(AccessQuestion { recipient, scope })
            })?,
            permit_until_ms: d.u64("permit until")?,
            obligations: d.list("obligations", limits::MAX_OBLIGATIONS, |d| {
                Ok(Obligation {
                    purposes: d.list("purposes", limits::MAX_PURPOSES, |d| {
                        decode_code(d, "purpose", limits::MAX_CODE_BYTES)
                    })?,
                    classes: d.list("classes", limits::MAX_CLASSES, Coding::decode)?,
                    labels: d.list("labels", limits::MAX_LABELS, Coding::decode)?,
                    data_period: d.option("data period", Period::decode)?,
                })
            })?,
            detail_hash: d.hash("detail hash")?,
        };
        d.finish()?;
        Ok(leaf)
    }
}

/// The reasons behind a leaf (layout 0x15), opened to the subject and to auditors only. Its salt keeps a recipient from
/// guessing it from the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// 32 bytes derived from the group's secret seed.
    pub salt: Hash,
    /// Size of the subject's consent log when it was decided.
    pub consent_log_size: u64,
    /// Why; `None` for acts that are not decisions.
    pub reason: Option<Reason>,
    /// Which rule.
    pub decider: Option<Decider>,
    /// What each consent in force or not said, in ascending order of their ids.
    pub verdicts: Vec<(TransactionId, Verdict)>,
}

/// Number of the combining rule "deny overrides", the only one of ruleset 1.
const DENY_OVERRIDES: u8 = 1;

impl Detail {
    /// That of a decision.
    #[must_use]
    pub fn of_decision(salt: Hash, consent_log_size: u64, decision: Decision) -> Self {
        Self {
            salt,
            consent_log_size,
            reason: Some(decision.reason),
            decider: decision.decider,
            verdicts: decision.verdicts,
        }
    }

    pub(crate) fn of_act(salt: Hash, consent_log_size: u64) -> Self {
        Self { salt, consent_log_size, reason: None, decider: None, verdicts: Vec::new() }
    }

    /// Layout 0x15.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.layout().finish()
    }

    pub(crate) fn layout(&self) -> Encoder {
        Encoder::new(Layout::DecisionDetail)
            .fixed(&self.salt)
            .u64(self.consent_log_size)
            .u8(self.reason.map_or(0, |reason| reason as u8))
            .u8(DENY_OVERRIDES)
            .option(self.decider.as_ref(), |e, decider| {
                e.fixed(&decider.consent.0).list(&decider.path, |e, index| e.u16(*index))
            })
            .list(&self.verdicts, |e, (consent, verdict)| e.fixed(&consent.0).u8(*verdict as u8))
    }

    /// Reads layout 0x15.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::DecisionDetail, bytes)?;
        let detail = Self {
            salt: d.hash("salt")?,
            consent_log_size: d.u64("consent log size")?,
            reason: match d.u8("reason")? {
                0 => None,
                number => Some(
                    Reason::from_number(number)
                        .ok_or_else(|| DecodeError::invalid("reason", format!("unknown number {number}")))?,
                ),
            },
            decider: {
                let rule = d.u8("combining rule")?;
                if rule != DENY_OVERRIDES {
                    return Err(DecodeError::invalid("combining rule", format!("unknown number {rule}")));
                }
                d.option("decider", |d| {
                    Ok(Decider {
                        consent: TransactionId(d.hash("consent")?),
                        path: d.list("path", limits::MAX_PROVISION_DEPTH, |d| d.u16("index"))?,
                    })
                })?
            },
            verdicts: d.list("verdicts", limits::MAX_ACTIVE_CONSENTS, |d| {
                let consent = TransactionId(d.hash("consent")?);
                let verdict = match d.u8("verdict")? {
                    0 => Verdict::Silent,
                    1 => Verdict::Permit,
                    2 => Verdict::Deny,
                    other => return Err(DecodeError::invalid("verdict", format!("unknown number {other}"))),
                };
                Ok((consent, verdict))
            })?,
        };
        d.finish()?;
        if !detail.verdicts.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(DecodeError::invalid("verdicts", "not in ascending order of the consents"));
        }
        Ok(detail)
    }

    /// The hash that the leaf carries.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.layout().sha256()
    }
}

/// The root of an outcome tree: RFC 6962 over the encoded leaves.
pub fn outcome_root<'a>(leaves: impl IntoIterator<Item = &'a OutcomeLeaf>) -> Hash {
    let hashes: Vec<Hash> = leaves.into_iter().map(|leaf| leaf.layout().read(leaf_hash)).collect();
    root_of_leaf_hashes(&hashes)
}

/// A transaction after execution (layout 0x16): what a batch's tree commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position among all entries, from 0.
    pub sequence: u64,
    /// Of its group, in milliseconds since 1970.
    pub time_ms: u64,
    /// Id of the transaction.
    pub transaction_id: TransactionId,
    /// Hash of its authorizations as stored.
    pub authorizations_hash: Hash,
    /// Root of the outcome tree.
    pub outcome_root: Hash,
}

/// Bytes of an encoded [`Entry`].
pub const ENTRY_BYTES: usize = 2 + 8 + 8 + 32 + 32 + 32;

impl Entry {
    /// Layout 0x16.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.layout().finish()
    }

    fn layout(&self) -> Encoder {
        self.fields(Encoder::new(Layout::Entry))
    }

    /// Layout 0x16 within another one.
    #[must_use]
    pub fn write(&self, encoder: Encoder) -> Encoder {
        self.fields(encoder.begin(Layout::Entry))
    }

    fn fields(&self, encoder: Encoder) -> Encoder {
        encoder
            .u64(self.sequence)
            .u64(self.time_ms)
            .fixed(&self.transaction_id.0)
            .fixed(&self.authorizations_hash)
            .fixed(&self.outcome_root)
    }

    /// Reads layout 0x16.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::Entry, bytes)?;
        let entry = Self {
            sequence: d.u64("sequence")?,
            time_ms: d.u64("time")?,
            transaction_id: TransactionId(d.hash("transaction id")?),
            authorizations_hash: d.hash("authorizations hash")?,
            outcome_root: d.hash("outcome root")?,
        };
        d.finish()?;
        Ok(entry)
    }

    /// The leaf hash of the batch tree: RFC 6962 over the encoded entry.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        self.layout().read(leaf_hash)
    }
}

/// What an entry's outcome root opens to, encoded: leaves, and the detail behind each. A list has its two-byte count, then each
/// item after its four-byte length. Both are slices of what the outcomes of a group share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    leaves: Bytes,
    details: Bytes,
}

impl Outcome {
    /// The leaves, as a list.
    #[must_use]
    pub fn leaf_list(&self) -> &[u8] {
        &self.leaves
    }

    /// The details, as a list; an empty one where the machine keeps none ([`crate::machine::Machine::without_details`]).
    #[must_use]
    pub fn detail_list(&self) -> &[u8] {
        &self.details
    }

    /// Each leaf, encoded.
    pub fn encoded_leaves(&self) -> impl Iterator<Item = Bytes> {
        items(&self.leaves)
    }

    /// What happened, of each leaf.
    pub fn kinds(&self) -> impl Iterator<Item = OutcomeKind> {
        // After type and version.
        items(&self.leaves).filter_map(|leaf| OutcomeKind::from_number(*leaf.get(2)?))
    }

    /// The leaves.
    ///
    /// # Errors
    /// [`DecodeError`] never, of what was executed.
    pub fn leaves(&self) -> Result<Vec<OutcomeLeaf>, DecodeError> {
        items(&self.leaves).map(|leaf| OutcomeLeaf::decode(&leaf)).collect()
    }

    /// The detail of each leaf, where they are kept.
    ///
    /// # Errors
    /// [`DecodeError`] never, of what was executed.
    pub fn details(&self) -> Result<Vec<Detail>, DecodeError> {
        items(&self.details).map(|detail| Detail::decode(&detail)).collect()
    }
}

/// Bytes of a list's count, and of an item's length.
const COUNT_BYTES: usize = 2;
const LENGTH_BYTES: usize = 4;

/// The items of a list that an [`OutcomeWriter`] wrote.
fn items(list: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut at = COUNT_BYTES;
    std::iter::from_fn(move || {
        let start = at + LENGTH_BYTES;
        let length = u32::from_be_bytes(list.get(at..start)?.try_into().ok()?) as usize;
        at = start + length;
        Some(list.slice(start..at))
    })
}

/// Bytes of a buffer that what a machine puts out shares.
pub(crate) const SHARED_BYTES: usize = 64 * 1024;

/// Writes a list into a buffer that it shares with others.
#[derive(Debug)]
struct ListWriter {
    buffer: BytesMut,
    count: u16,
}

impl ListWriter {
    fn new() -> Self {
        Self { buffer: BytesMut::with_capacity(SHARED_BYTES), count: 0 }
    }

    fn begin(&mut self) {
        self.buffer.clear();
        self.count = 0;
        self.buffer.put_u16(0);
    }

    fn push(&mut self, item: &[u8]) {
        self.count += 1;
        // The limits on bodies and consents keep it far below.
        self.buffer.put_u32(u32::try_from(item.len()).unwrap_or(u32::MAX));
        self.buffer.put_slice(item);
    }

    fn end(&mut self) -> Bytes {
        if let Some(count) = self.buffer.first_chunk_mut() {
            *count = self.count.to_be_bytes();
        }
        self.buffer.split().freeze()
    }
}

/// Writes the outcomes of one transaction after the other.
#[derive(Debug)]
pub(crate) struct OutcomeWriter {
    leaves: ListWriter,
    details: ListWriter,
    keeps_details: bool,
}

impl OutcomeWriter {
    pub(crate) fn new(keeps_details: bool) -> Self {
        Self { leaves: ListWriter::new(), details: ListWriter::new(), keeps_details }
    }

    /// Begins a transaction, whatever became of the one before.
    pub(crate) fn begin(&mut self) {
        self.leaves.begin();
        self.details.begin();
    }

    /// Takes in the next leaf and gives its hash.
    pub(crate) fn leaf(&mut self, leaf: &OutcomeLeaf) -> Hash {
        leaf.layout().read(|bytes| {
            self.leaves.push(bytes);
            leaf_hash(bytes)
        })
    }

    /// Takes in the next leaf's detail and gives the hash that the leaf carries.
    pub(crate) fn detail(&mut self, detail: &Detail) -> Hash {
        detail.layout().read(|bytes| {
            if self.keeps_details {
                self.details.push(bytes);
            }
            sha256(bytes)
        })
    }

    /// Ends the transaction.
    pub(crate) fn end(&mut self) -> Outcome {
        Outcome { leaves: self.leaves.end(), details: self.details.end() }
    }
}

/// Everything that executing one transaction gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The entry.
    pub entry: Entry,
    /// Leaf hash of the entry.
    pub entry_leaf_hash: Hash,
    /// What its outcome root opens to.
    pub outcome: Outcome,
}
