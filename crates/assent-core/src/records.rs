//! State: its keys, its records, and how both are hashed.
//!
//! Every key is made by a function of [`StateKey`]. A stored value is a 32-byte salt and an encoded record; the effects
//! tree and the state tree see only `SHA-256(0x1f …)` of the key and `SHA-256(0x20 … salt … record)`.

use std::sync::{Arc, OnceLock};

use assent_merkle::{CompactRange, Hash, leaf_hash};
use bytes::Bytes;

use crate::{
    AccountId, TransactionId,
    codec::{DecodeError, Decoder, Encoder, Layout, leading},
    limits,
    policy::Addressees,
    signature::{ED25519, PublicKey},
    terms::ConsentTerms,
    transaction::{AccessScope, AccountKind},
};

/// What a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
enum Kind {
    Account = 1,
    Consent = 2,
    SubjectConsents = 3,
    SubjectAccesses = 4,
    Actor = 5,
    RevocationCode = 6,
}

/// The key of a state record: a kind and 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    kind: Kind,
    id: Hash,
}

impl StateKey {
    /// Of an [`AccountRecord`].
    #[must_use]
    pub fn account(id: AccountId) -> Self {
        Self { kind: Kind::Account, id: id.0 }
    }

    /// Of a [`ConsentRecord`].
    #[must_use]
    pub fn consent(id: TransactionId) -> Self {
        Self { kind: Kind::Consent, id: id.0 }
    }

    /// Of a [`SubjectConsents`].
    #[must_use]
    pub fn subject_consents(subject: AccountId) -> Self {
        Self { kind: Kind::SubjectConsents, id: subject.0 }
    }

    /// Of a [`SubjectAccesses`]: the log of accesses to a subject's data.
    #[must_use]
    pub fn subject_accesses(subject: AccountId) -> Self {
        Self { kind: Kind::SubjectAccesses, id: subject.0 }
    }

    /// Of an [`ActorAccesses`]: the log of what a recipient asked and read.
    #[must_use]
    pub fn actor(recipient: AccountId) -> Self {
        Self { kind: Kind::Actor, id: recipient.0 }
    }

    /// Of the consent that a revocation code ends.
    #[must_use]
    pub fn revocation_code(code_hash: Hash) -> Self {
        Self { kind: Kind::RevocationCode, id: code_hash }
    }

    /// 33 bytes, as databases store it: kind, id.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 33] {
        let mut bytes = [0; 33];
        bytes[0] = self.kind as u8;
        bytes[1..].copy_from_slice(&self.id);
        bytes
    }

    /// The first eight of these bytes as a number: it orders keys as they do themselves, but for those that have the same one.
    #[must_use]
    pub fn leading(self) -> u64 {
        (u64::from(self.kind as u8) << 56) | (leading(&self.id) >> 8)
    }

    /// The hash under which trees know it (layout 0x1f).
    #[must_use]
    pub fn hash(self) -> Hash {
        Encoder::new(Layout::StateKey).fixed(&self.to_bytes()).sha256()
    }
}

/// A record with the salt of its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateValue {
    /// 32 bytes derived from the secret seed of the group that wrote it last.
    pub salt: Hash,
    /// The encoded record.
    pub record: Bytes,
}

impl StateValue {
    /// As databases store it: salt, record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.salt[..], &self.record].concat()
    }

    /// Reads [`Self::to_bytes`]; `None` for less than 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (salt, record) = bytes.split_first_chunk::<32>()?;
        Some(Self { salt: *salt, record: Bytes::copy_from_slice(record) })
    }

    /// The hash under which trees know it (layout 0x20).
    #[must_use]
    pub fn hash(&self) -> Hash {
        Encoder::new(Layout::StateValue).fixed(&self.salt).fixed(&self.record).sha256()
    }
}

/// A record type: its layout, and how it is read.
pub trait Record: Sized {
    /// Writes its layout.
    fn encoder(&self) -> Encoder;
    /// Encodes.
    fn encode(&self) -> Vec<u8> {
        self.encoder().finish()
    }
    /// Reads back.
    ///
    /// # Errors
    /// [`DecodeError`].
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// An account (layout 0x21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// What the party says it is.
    pub kind: AccountKind,
    /// Sequence of the entry that opened it.
    pub opened_sequence: u64,
    /// Keys that may sign for it.
    pub keys: Vec<PublicKey>,
}

/// Keys an account record may hold.
const MAX_KEYS: usize = 16;

impl Record for AccountRecord {
    fn encoder(&self) -> Encoder {
        Encoder::new(Layout::AccountRecord)
            .u8(self.kind as u8)
            .u64(self.opened_sequence)
            .list(&self.keys, |e, key| e.u8(ED25519).fixed(&key.0))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::AccountRecord, bytes)?;
        let number = d.u8("account kind")?;
        let record = Self {
            kind: AccountKind::from_number(i32::from(number))
                .ok_or_else(|| DecodeError::invalid("account kind", format!("unknown number {number}")))?,
            opened_sequence: d.u64("opened sequence")?,
            keys: d.list("keys", MAX_KEYS, |d| match d.u8("scheme")? {
                ED25519 => Ok(PublicKey(d.hash("key")?)),
                other => Err(DecodeError::invalid("scheme", format!("unknown number {other}"))),
            })?,
        };
        d.finish()?;
        Ok(record)
    }
}

/// When something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Sequence of the entry.
    pub sequence: u64,
    /// Its time.
    pub time_ms: u64,
}

/// A consent (layout 0x22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentRecord {
    /// Whose data it is about.
    pub subject: AccountId,
    /// When it was granted.
    pub granted: Moment,
    /// When it was revoked, if it was.
    pub revoked: Option<Moment>,
    /// Hash of its revocation code.
    pub revocation_code_hash: Option<Hash>,
    /// Salted hash of the document it was made from.
    pub source_hash: Option<Hash>,
    /// The salt of the terms hash: that of the granting transaction.
    pub terms_salt: Vec<u8>,
    /// The encoded terms (layout 0x13).
    pub terms: Vec<u8>,
}

impl ConsentRecord {
    /// The terms hash.
    #[must_use]
    pub fn terms_hash(&self) -> Hash {
        ConsentTerms::hash(&self.terms, &self.terms_salt)
    }
}

impl Record for ConsentRecord {
    fn encoder(&self) -> Encoder {
        Encoder::new(Layout::ConsentRecord)
            .fixed(&self.subject.0)
            .u64(self.granted.sequence)
            .u64(self.granted.time_ms)
            .option(self.revoked.as_ref(), |e, moment| e.u64(moment.sequence).u64(moment.time_ms))
            .option(self.revocation_code_hash.as_ref(), |e, hash| e.fixed(hash))
            .option(self.source_hash.as_ref(), |e, hash| e.fixed(hash))
            .short(&self.terms_salt)
            .long(&self.terms)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::ConsentRecord, bytes)?;
        let moment =
            |d: &mut Decoder<'_>| Ok(Moment { sequence: d.u64("sequence")?, time_ms: d.u64("time")? });
        let record = Self {
            subject: AccountId(d.hash("subject")?),
            granted: moment(&mut d)?,
            revoked: d.option("revoked", moment)?,
            revocation_code_hash: d.option("revocation code hash", |d| d.hash("hash"))?,
            source_hash: d.option("source hash", |d| d.hash("hash"))?,
            terms_salt: d.short("terms salt")?.to_vec(),
            terms: d.long("terms", limits::MAX_BODY_BYTES * 2)?.to_vec(),
        };
        d.finish()?;
        Ok(record)
    }
}

/// A consent as decisions read it: the record with its terms decoded, and only so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consent {
    /// Without its terms.
    record: ConsentRecord,
    pub(crate) terms: ConsentTerms,
}

impl Consent {
    /// Of a record, whose terms are these.
    pub(crate) fn new(record: ConsentRecord, terms: ConsentTerms) -> Self {
        Self { record: ConsentRecord { terms: Vec::new(), ..record }, terms }
    }

    pub(crate) fn subject(&self) -> AccountId {
        self.record.subject
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.record.revoked.is_some()
    }

    pub(crate) fn revoke(&mut self, at: Moment) {
        self.record.revoked = Some(at);
    }
}

impl Record for Consent {
    fn encoder(&self) -> Encoder {
        // Terms have one encoding.
        ConsentRecord { terms: self.terms.encode(), ..self.record.clone() }.encoder()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let record = ConsentRecord::decode(bytes)?;
        let terms = ConsentTerms::decode(&record.terms)?;
        Ok(Self::new(record, terms))
    }
}

fn encode_range(encoder: Encoder, range: &CompactRange) -> Encoder {
    encoder.u64(range.size()).list(range.peaks(), |e, peak| e.fixed(peak))
}

fn decode_range(d: &mut Decoder<'_>) -> Result<CompactRange, DecodeError> {
    let size = d.u64("log size")?;
    let peaks = d.list("peaks", 64, |d| d.hash("peak"))?;
    CompactRange::from_parts(size, peaks).map_err(|error| DecodeError::invalid("peaks", error))
}

/// What a subject has in force, and the log of how that came to be (layout 0x23).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectConsents {
    /// Consents granted and not revoked, with their terms hashes, in ascending order of the ids.
    pub active: Vec<(TransactionId, Hash)>,
    /// The consent log.
    pub log: CompactRange,
}

impl SubjectConsents {
    /// Digest of the active set (layout 0x29), as consent-log leaves carry it.
    #[must_use]
    pub fn active_digest(&self) -> Hash {
        active_set_digest(&self.active)
    }
}

/// Digest of a set of active consents with their terms hashes, in ascending order of the ids (layout 0x29).
#[must_use]
pub fn active_set_digest(active: &[(TransactionId, Hash)]) -> Hash {
    Encoder::new(Layout::ActiveSet).list(active, |e, (id, terms)| e.fixed(&id.0).fixed(terms)).sha256()
}

impl Record for SubjectConsents {
    fn encoder(&self) -> Encoder {
        encode_range(Encoder::new(Layout::SubjectConsentsRecord), &self.log)
            .list(&self.active, |e, (id, terms)| e.fixed(&id.0).fixed(terms))
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::SubjectConsentsRecord, bytes)?;
        let log = decode_range(&mut d)?;
        let active = d.list("active consents", limits::MAX_ACTIVE_CONSENTS, |d| {
            Ok((TransactionId(d.hash("consent")?), d.hash("terms hash")?))
        })?;
        d.finish()?;
        if !active.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(DecodeError::invalid("active consents", "not in ascending order"));
        }
        Ok(Self { active, log })
    }
}

/// A subject's consents as decisions read them: the record, and whom each of them addresses, once they have all been read.
#[derive(Clone, Debug)]
pub(crate) struct ActiveConsents {
    record: SubjectConsents,
    /// In the order of the record's list.
    addressees: OnceLock<Vec<Addressees>>,
}

impl Default for ActiveConsents {
    /// Of a subject who has granted nothing.
    fn default() -> Self {
        Self { record: SubjectConsents::default(), addressees: OnceLock::from(Vec::new()) }
    }
}

impl ActiveConsents {
    pub(crate) fn ids(&self) -> impl ExactSizeIterator<Item = TransactionId> + '_ {
        self.record.active.iter().map(|(id, _)| *id)
    }

    pub(crate) fn active_digest(&self) -> Hash {
        self.record.active_digest()
    }

    pub(crate) fn log(&self) -> &CompactRange {
        &self.record.log
    }

    pub(crate) fn log_mut(&mut self) -> &mut CompactRange {
        &mut self.record.log
    }

    /// Puts a consent in force.
    pub(crate) fn add(&mut self, id: TransactionId, terms_hash: Hash, terms: &ConsentTerms) {
        let place = self.record.active.partition_point(|(active, _)| *active < id);
        self.record.active.insert(place, (id, terms_hash));
        if let Some(addressees) = self.addressees.get_mut() {
            addressees.insert(place, Addressees::of(terms));
        }
    }

    /// Ends a consent.
    pub(crate) fn remove(&mut self, id: TransactionId) {
        let Some(place) = self.ids().position(|active| active == id) else { return };
        self.record.active.remove(place);
        if let Some(addressees) = self.addressees.get_mut() {
            addressees.remove(place);
        }
    }

    /// Those that address a recipient, where that has been read; none otherwise.
    pub(crate) fn known_to_address(&self, recipient: AccountId) -> impl Iterator<Item = TransactionId> + '_ {
        let addressees = self.addressees.get().into_iter().flatten();
        self.ids()
            .zip(addressees)
            .filter(move |(_, addressees)| addressees.include(&recipient))
            .map(|(id, _)| id)
    }

    /// Whom each consent addresses, in the order of [`Self::ids`]. `read` gives them the first time.
    pub(crate) fn addressees<E>(
        &self,
        read: impl FnMut(TransactionId) -> Result<Addressees, E>,
    ) -> Result<&[Addressees], E> {
        if let Some(addressees) = self.addressees.get() {
            return Ok(addressees);
        }
        let found = self.ids().map(read).collect::<Result<_, E>>()?;
        Ok(self.addressees.get_or_init(|| found))
    }
}

impl Record for ActiveConsents {
    fn encoder(&self) -> Encoder {
        self.record.encoder()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { record: SubjectConsents::decode(bytes)?, addressees: OnceLock::new() })
    }
}

/// The access log of a subject (layout 0x24).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectAccesses(pub CompactRange);

/// The log of what a recipient asked and read (layout 0x25).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActorAccesses(pub CompactRange);

macro_rules! range_record {
    ($name:ident) => {
        impl Record for $name {
            fn encoder(&self) -> Encoder {
                encode_range(Encoder::new(Self::LAYOUT), &self.0)
            }

            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                let mut d = Decoder::new(Self::LAYOUT, bytes)?;
                let range = decode_range(&mut d)?;
                d.finish()?;
                Ok(Self(range))
            }
        }
    };
}

impl SubjectAccesses {
    const LAYOUT: Layout = Layout::SubjectAccessesRecord;
}

impl ActorAccesses {
    const LAYOUT: Layout = Layout::ActorRecord;
}

range_record!(SubjectAccesses);
range_record!(ActorAccesses);

/// Which consent a revocation code ends (layout 0x2e).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationCodeRecord(pub TransactionId);

impl Record for RevocationCodeRecord {
    fn encoder(&self) -> Encoder {
        Encoder::new(Layout::RevocationCodeRecord).fixed(&self.0.0)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::RevocationCodeRecord, bytes)?;
        let record = Self(TransactionId(d.hash("consent")?));
        d.finish()?;
        Ok(record)
    }
}

/// A leaf of a subject's consent log (layout 0x26): the entry that changed the active set, and the set after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsentLogLeaf {
    /// Of the entry.
    pub at: Moment,
    /// Leaf hash of the entry in its batch's tree.
    pub entry_leaf_hash: Hash,
    /// Digest of the active set after it (layout 0x29).
    pub active_digest: Hash,
}

/// A leaf of a subject's access log (layout 0x27): which transaction, the decision, and the size of the consent log when it
/// was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLogLeaf {
    /// Of the entry.
    pub at: Moment,
    /// The transaction.
    pub id: TransactionId,
    /// Leaf hash of the decision in the entry's outcome tree.
    pub decision_leaf_hash: Hash,
    /// Size of the subject's consent log when it was decided.
    pub consent_log_size: u64,
}

/// A leaf of a recipient's actor log (layout 0x28): which transaction, and the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActorLogLeaf {
    /// Of the entry.
    pub at: Moment,
    /// The transaction.
    pub id: TransactionId,
    /// Leaf hash of the decision in the entry's outcome tree.
    pub decision_leaf_hash: Hash,
}

/// A leaf of one of the three logs: its layout, how it is read, and its hash.
pub trait LogLeaf: Record {
    /// When it was.
    fn at(&self) -> Moment;

    /// The leaf hash: RFC 6962 over the encoded leaf.
    fn hash(&self) -> Hash {
        self.encoder().read(leaf_hash)
    }
}

fn encode_moment(encoder: Encoder, at: Moment) -> Encoder {
    encoder.u64(at.sequence).u64(at.time_ms)
}

fn decode_moment(d: &mut Decoder<'_>) -> Result<Moment, DecodeError> {
    Ok(Moment { sequence: d.u64("sequence")?, time_ms: d.u64("time")? })
}

impl Record for ConsentLogLeaf {
    fn encoder(&self) -> Encoder {
        encode_moment(Encoder::new(Layout::ConsentLogLeaf), self.at)
            .fixed(&self.entry_leaf_hash)
            .fixed(&self.active_digest)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::ConsentLogLeaf, bytes)?;
        let leaf = Self {
            at: decode_moment(&mut d)?,
            entry_leaf_hash: d.hash("entry leaf hash")?,
            active_digest: d.hash("active set digest")?,
        };
        d.finish()?;
        Ok(leaf)
    }
}

impl Record for AccessLogLeaf {
    fn encoder(&self) -> Encoder {
        encode_moment(Encoder::new(Layout::AccessLogLeaf), self.at)
            .fixed(&self.id.0)
            .fixed(&self.decision_leaf_hash)
            .u64(self.consent_log_size)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::AccessLogLeaf, bytes)?;
        let leaf = Self {
            at: decode_moment(&mut d)?,
            id: TransactionId(d.hash("transaction id")?),
            decision_leaf_hash: d.hash("decision leaf hash")?,
            consent_log_size: d.u64("consent log size")?,
        };
        d.finish()?;
        Ok(leaf)
    }
}

impl Record for ActorLogLeaf {
    fn encoder(&self) -> Encoder {
        encode_moment(Encoder::new(Layout::ActorLogLeaf), self.at)
            .fixed(&self.id.0)
            .fixed(&self.decision_leaf_hash)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::ActorLogLeaf, bytes)?;
        let leaf = Self {
            at: decode_moment(&mut d)?,
            id: TransactionId(d.hash("transaction id")?),
            decision_leaf_hash: d.hash("decision leaf hash")?,
        };
        d.finish()?;
        Ok(leaf)
    }
}

macro_rules! log_leaf {
    ($name:ident) => {
        impl LogLeaf for $name {
            fn at(&self) -> Moment {
                self.at
            }
        }
    };
}

log_leaf!(ConsentLogLeaf);
log_leaf!(AccessLogLeaf);
log_leaf!(ActorLogLeaf);

/// A leaf that execution appended to a log, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogAppend {
    /// Key of the record that holds the log's compact range.
    pub log: StateKey,
    /// Index of the leaf.
    pub index: u64,
    /// The encoded leaf.
    pub leaf: Vec<u8>,
    /// Roots of the complete subtrees of 2, 4, 8 … leaves that end with it.
    pub completed: Vec<Hash>,
}

/// What is remembered of a sequenced transaction, by its id: enough to refuse its repetition and to judge a record that
/// cites it. Execution relies on it within `MAX_VALIDITY_MS` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTransaction {
    /// When it was sequenced.
    pub at: Moment,
    /// Who signed.
    pub sender: Option<AccountId>,
    /// For an access request: each subject with the end of its permit, 0 for a denial.
    pub decisions: Vec<(AccountId, u64)>,
    /// For an access request: what was asked for.
    pub scope: Option<Arc<AccessScope>>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = StateKey> {
        // Few values of the first bytes, so that some keys differ only after them.
        let id = (0u8..3, 0u8..3, any::<u8>()).prop_map(|(first, eighth, last)| {
            let mut id = [0; 32];
            (id[0], id[6], id[7], id[31]) = (first, eighth, last, last);
            id
        });
        (id, any::<bool>()).prop_map(|(id, is_account)| match is_account {
            true => StateKey::account(AccountId(id)),
            false => StateKey::consent(TransactionId(id)),
        })
    }

    proptest! {
        #[test]
        fn leading_bytes_order_keys_as_they_order_themselves(a in key(), b in key()) {
            prop_assert_eq!(a.leading().cmp(&b.leading()).then_with(|| a.cmp(&b)), a.cmp(&b));
            let bytes = |key: StateKey| key.to_bytes().first_chunk().copied().map(u64::from_be_bytes);
            prop_assert_eq!(Some(a.leading()), bytes(a));
        }
    }
}
