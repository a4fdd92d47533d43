//! Signed transactions: decoding, the canonical form, and the checks that need no state.
//!
//! What is checked here depends on nothing but the bytes and the chain, so it runs in parallel and gives every program the
//! same answer: [`Transaction::decode`] the form and the limits, [`Transaction::signature_check`] what has to verify.

use std::{cell::RefCell, sync::Arc};

use arrayvec::ArrayVec;
use assent_proto::v1 as proto;
use bytes::Bytes;
use prost::Message;
use thiserror::Error;

use crate::{
    AccountId, ChainId, Hash, TransactionId, access_body,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    log::LoggedTransaction,
    signature::{ED25519, KeyPair, PublicKey, SignatureError, SignedHash},
    terms::{Action, Coding, ConsentTerms, Period, checked_list, code_text, decode_code},
};

/// Why a transaction is refused whatever the state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// More bytes than allowed.
    #[error("the body has {found} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// What was found.
        found: usize,
    },
    /// Not protobuf.
    #[error("the body is not an encoded TransactionBody: {0}")]
    Malformed(String),
    /// Decodes, but is not what encoding gives back.
    #[error(
        "the body is not in canonical form: re-encoding its {found} bytes gives {expected} bytes that differ first at byte {at}; \
         unknown fields, default values written out and another field order are not allowed"
    )]
    NotCanonical {
        /// Length of the canonical form.
        expected: usize,
        /// Length of what came.
        found: usize,
        /// First byte that differs.
        at: usize,
    },
    /// For another ledger.
    #[error("the transaction is for chain {found}, this is chain {expected}")]
    WrongChain {
        /// This chain.
        expected: ChainId,
        /// The chain it names.
        found: String,
    },
    /// A field has a value that is not allowed.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field in the message.
        field: &'static str,
        /// What was expected and what was found.
        problem: String,
    },
    /// No signature where one is needed.
    #[error(
        "expected {expected} authorization(s), found {found}: one by the sender, or none for a revocation by code"
    )]
    AuthorizationCount {
        /// How many there must be.
        expected: usize,
        /// How many.
        found: usize,
    },
    /// Signed by a key that is not the sender's.
    #[error("the authorization's key belongs to {found}, the sender is {expected}")]
    NotSenderKey {
        /// Sender.
        expected: AccountId,
        /// Owner of the key.
        found: AccountId,
    },
    /// The signature is bad.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl TransactionError {
    pub(crate) fn field(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Field { field, problem: problem.into() }
    }

    pub(crate) fn hash(field: &'static str, bytes: &[u8]) -> Result<Hash, Self> {
        bytes.try_into().map_err(|_| Self::field(field, format!("expected 32 bytes, found {}", bytes.len())))
    }

    fn optional_hash(field: &'static str, bytes: &[u8]) -> Result<Option<Hash>, Self> {
        if bytes.is_empty() { Ok(None) } else { Self::hash(field, bytes).map(Some) }
    }

    pub(crate) fn account(field: &'static str, bytes: &[u8]) -> Result<AccountId, Self> {
        Self::hash(field, bytes).map(AccountId)
    }

    /// The stable reason, as listed in `docs/errors.md`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "BODY_TOO_LARGE",
            Self::Malformed(_) => "BODY_MALFORMED",
            Self::NotCanonical { .. } => "BODY_NOT_CANONICAL",
            Self::WrongChain { .. } => "WRONG_CHAIN",
            Self::Field { .. } => "FIELD_INVALID",
            Self::AuthorizationCount { .. } => "AUTHORIZATION_COUNT",
            Self::NotSenderKey { .. } => "NOT_SENDER_KEY",
            Self::Signature(_) => "SIGNATURE_INVALID",
        }
    }
}

/// What a party says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words are the product's")]
pub enum AccountKind {
    Patient = 1,
    Organisation = 2,
    Practitioner = 3,
    Device = 4,
    Researcher = 5,
}

impl AccountKind {
    /// All kinds in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Patient, Self::Organisation, Self::Practitioner, Self::Device, Self::Researcher];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i32 == number)
    }

    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Organisation => "organisation",
            Self::Practitioner => "practitioner",
            Self::Device => "device",
            Self::Researcher => "researcher",
        }
    }
}

/// What is asked for, or was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessScope {
    /// Who holds the data.
    pub custodian: AccountId,
    /// A purpose of use.
    pub purpose: String,
    /// What is done.
    pub action: Action,
    /// Classes of data, at least one.
    pub classes: Vec<Coding>,
    /// Labels that the data may carry.
    pub labels: Vec<Coding>,
    /// When the data are from; absent: any time.
    pub data_period: Option<Period>,
    /// Who acts for the recipient, salted and hashed.
    pub acting_person_hash: Option<Hash>,
}

impl AccessScope {
    /// Whether `read` is at most what `self` asked for: the same custodian, purpose and action; no other class; no label
    /// outside those that were named, where any were; data from within the period.
    #[must_use]
    pub fn covers(&self, read: &Self) -> bool {
        let always = Period::ALWAYS;
        let labels = self.labels.is_empty()
            || (!read.labels.is_empty() && read.labels.iter().all(|label| self.labels.contains(label)));
        self.custodian == read.custodian
            && self.purpose == read.purpose
            && self.action == read.action
            && read.classes.iter().all(|class| self.classes.contains(class))
            && labels
            && self.data_period.unwrap_or(always).covers(&read.data_period.unwrap_or(always))
    }

    pub(crate) fn encode(encoder: Encoder, scope: &Self) -> Encoder {
        encoder
            .fixed(&scope.custodian.0)
            .short(scope.purpose.as_bytes())
            .u8(scope.action as u8)
            .list(&scope.classes, Coding::encode)
            .list(&scope.labels, Coding::encode)
            .option(scope.data_period.as_ref(), Period::encode)
            .option(scope.acting_person_hash.as_ref(), |e, hash| e.fixed(hash))
    }

    pub(crate) fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            custodian: AccountId(d.hash("custodian")?),
            purpose: decode_code(d, "purpose", limits::MAX_CODE_BYTES)?,
            action: Action::from_number("action", i32::from(d.u8("action")?))
                .map_err(|error| DecodeError::invalid("action", error))?,
            classes: d.list("classes", limits::MAX_CLASSES, Coding::decode)?,
            labels: d.list("labels", limits::MAX_LABELS, Coding::decode)?,
            data_period: d.option("data period", Period::decode)?,
            acting_person_hash: d.option("acting person", |d| d.hash("hash"))?,
        })
    }
}

/// How a revocation shows that it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeBy {
    /// By the subject's signature.
    Consent(TransactionId),
    /// By the secret that the grant carries the hash of.
    Code(Hash),
}

/// The one act of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Opens the sender's account.
    OpenAccount(AccountKind),
    /// Puts a consent in force.
    GrantConsent {
        /// Its terms.
        terms: ConsentTerms,
        /// Hash of a revocation code.
        revocation_code_hash: Option<Hash>,
        /// Salted hash of the document it was made from.
        source_hash: Option<Hash>,
    },
    /// Ends a consent.
    RevokeConsent(RevokeBy),
    /// Asks for access.
    RequestAccess {
        /// About whom.
        subjects: Vec<AccountId>,
        /// To what.
        scope: Arc<AccessScope>,
    },
    /// States what was read.
    RecordAccess {
        /// Under which request.
        request: TransactionId,
        /// About whom.
        subject: AccountId,
        /// What.
        scope: Arc<AccessScope>,
    },
}

/// A signature over the transaction id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Ed25519 public key.
    pub key: PublicKey,
    /// 64 bytes.
    pub signature: [u8; 64],
}

/// The signatures of one transaction.
pub type Authorizations = ArrayVec<Authorization, { limits::MAX_AUTHORIZATIONS }>;

/// A transaction whose form is right. Its signatures may not have been checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Hash of the body.
    pub id: TransactionId,
    /// The body as received.
    pub body: Bytes,
    /// As received.
    pub authorizations: Authorizations,
    /// Who signs; `None` for a revocation by code.
    pub sender: Option<AccountId>,
    /// Random bytes.
    pub salt: Vec<u8>,
    /// Milliseconds since 1970.
    pub expires_at_ms: u64,
    /// What it does.
    pub act: Act,
}

impl Transaction {
    /// Decodes and checks everything that needs neither state nor curve arithmetic.
    ///
    /// # Errors
    /// One [`TransactionError`] a check.
    pub fn decode(chain: &ChainId, signed: &proto::SignedTransaction) -> Result<Self, TransactionError> {
        let authorizations = &signed.authorizations;
        Self::with(chain, &signed.body, authorizations.len(), || {
            authorizations.iter().map(decode_authorization).collect()
        })
    }

    /// The same for one that a log record holds.
    ///
    /// # Errors
    /// One [`TransactionError`] a check.
    pub fn decode_logged(chain: &ChainId, logged: &LoggedTransaction) -> Result<Self, TransactionError> {
        Self::with(chain, &logged.body, logged.authorizations.len(), || Ok(logged.authorizations.clone()))
    }

    /// `authorizations` are asked for where their number is right.
    fn with(
        chain: &ChainId,
        bytes: &Bytes,
        found: usize,
        authorizations: impl FnOnce() -> Result<Authorizations, TransactionError>,
    ) -> Result<Self, TransactionError> {
        if bytes.len() > limits::MAX_BODY_BYTES {
            return Err(TransactionError::TooLarge { limit: limits::MAX_BODY_BYTES, found: bytes.len() });
        }
        let Content { sender, salt, expires_at_ms, act } = read_content(chain, bytes)?;
        let by_code = matches!(act, Act::RevokeConsent(RevokeBy::Code(_)));
        let expected = if by_code { 0 } else { limits::MAX_AUTHORIZATIONS };
        if found != expected {
            return Err(TransactionError::AuthorizationCount { expected, found });
        }
        let authorizations = authorizations()?;
        for authorization in &authorizations {
            let owner = authorization.key.account_id();
            if let Some(sender) = sender.filter(|sender| *sender != owner) {
                return Err(TransactionError::NotSenderKey { expected: sender, found: owner });
            }
        }
        Ok(Self {
            id: TransactionId::of_body(bytes),
            body: bytes.clone(),
            authorizations,
            sender,
            salt,
            expires_at_ms,
            act,
        })
    }

    /// What [`crate::signature::verify_all`] has to find valid; empty for a revocation by code.
    pub fn signature_check(&self) -> impl ExactSizeIterator<Item = SignedHash> {
        self.authorizations.iter().map(|authorization| SignedHash {
            key: authorization.key,
            message: self.id.0,
            signature: authorization.signature,
        })
    }

    /// Checks the signatures one by one.
    ///
    /// # Errors
    /// [`TransactionError::Signature`].
    pub fn verify_signatures(&self) -> Result<(), TransactionError> {
        for check in self.signature_check() {
            check.key.verify(&check.message, &check.signature)?;
        }
        Ok(())
    }

    /// The hash of the authorizations as stored (layout 0x12): an entry commits to them, the id does not.
    #[must_use]
    pub fn authorizations_hash(&self) -> Hash {
        encode_authorizations(Encoder::new(Layout::Authorizations), &self.authorizations).sha256()
    }

    /// Bytes that it takes in a log record.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        4 + self.body.len() + 1 + self.authorizations.len() * (1 + 32 + 64)
    }
}

/// What a body says, beside its chain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) sender: Option<AccountId>,
    pub(crate) salt: Vec<u8>,
    pub(crate) expires_at_ms: u64,
    pub(crate) act: Act,
}

fn read_content(chain: &ChainId, bytes: &[u8]) -> Result<Content, TransactionError> {
    match access_body::read(bytes) {
        Some((for_chain, content)) => check_chain(chain, &for_chain).map(|()| content),
        None => read_any_content(chain, bytes),
    }
}

fn check_chain(expected: &ChainId, found: &[u8]) -> Result<(), TransactionError> {
    if found == expected.0 {
        return Ok(());
    }
    Err(TransactionError::WrongChain { expected: *expected, found: hex::encode(found) })
}

/// The content of a body with any act, or what is wrong with it.
pub(crate) fn read_any_content(chain: &ChainId, bytes: &[u8]) -> Result<Content, TransactionError> {
    let body = proto::TransactionBody::decode(bytes)
        .map_err(|error| TransactionError::Malformed(error.to_string()))?;
    check_canonical(&body, bytes)?;
    check_chain(chain, &body.chain_id)?;
    if !limits::SALT_BYTES.contains(&body.salt.len()) {
        return Err(TransactionError::field(
            "salt",
            format!(
                "{} to {} bytes, found {}",
                limits::SALT_BYTES.start(),
                limits::SALT_BYTES.end(),
                body.salt.len()
            ),
        ));
    }
    let act = decode_act(body.act)?;
    let by_code = matches!(act, Act::RevokeConsent(RevokeBy::Code(_)));
    let sender = match (by_code, body.sender.is_empty()) {
        (true, true) => None,
        (true, false) => {
            return Err(TransactionError::field("sender", "a revocation by code has no sender"));
        }
        (false, _) => Some(TransactionError::account("sender", &body.sender)?),
    };
    Ok(Content { sender, salt: body.salt, expires_at_ms: body.expires_at_ms, act })
}

/// Whether a body is encoded in the one way in which it is signed.
fn check_canonical(body: &proto::TransactionBody, received: &[u8]) -> Result<(), TransactionError> {
    thread_local! {
        static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    ENCODED.with_borrow_mut(|canonical| {
        canonical.clear();
        // A vector has room for everything.
        let _ = body.encode(canonical);
        if canonical == received {
            return Ok(());
        }
        let at = canonical.iter().zip(received).take_while(|(ours, theirs)| ours == theirs).count();
        Err(TransactionError::NotCanonical { expected: canonical.len(), found: received.len(), at })
    })
}

/// Count, then scheme, key and signature of each.
pub(crate) fn encode_authorizations(encoder: Encoder, authorizations: &[Authorization]) -> Encoder {
    let count = u8::try_from(authorizations.len()).unwrap_or(u8::MAX);
    authorizations.iter().fold(encoder.u8(count), |e, authorization| {
        e.u8(ED25519).fixed(&authorization.key.0).fixed(&authorization.signature)
    })
}

fn decode_authorization(authorization: &proto::Authorization) -> Result<Authorization, TransactionError> {
    if authorization.scheme != i32::from(ED25519) {
        return Err(TransactionError::field(
            "authorizations.scheme",
            format!("expected {ED25519} (Ed25519), found {}", authorization.scheme),
        ));
    }
    Ok(Authorization {
        key: PublicKey(TransactionError::hash("authorizations.public_key", &authorization.public_key)?),
        signature: authorization.signature.as_slice().try_into().map_err(|_| {
            TransactionError::field(
                "authorizations.signature",
                format!("expected 64 bytes, found {}", authorization.signature.len()),
            )
        })?,
    })
}

fn decode_act(act: Option<proto::transaction_body::Act>) -> Result<Act, TransactionError> {
    use proto::transaction_body::Act as Proto;
    Ok(match act.ok_or_else(|| TransactionError::field("act", "none is given"))? {
        Proto::OpenAccount(open) => {
            Act::OpenAccount(AccountKind::from_number(open.kind).ok_or_else(|| {
                TransactionError::field("open_account.kind", format!("unknown kind number {}", open.kind))
            })?)
        }
        Proto::GrantConsent(grant) => Act::GrantConsent {
            terms: ConsentTerms::from_proto(
                &grant.terms.ok_or_else(|| TransactionError::field("grant_consent.terms", "missing"))?,
            )?,
            revocation_code_hash: TransactionError::optional_hash(
                "grant_consent.revocation_code_hash",
                &grant.revocation_code_hash,
            )?,
            source_hash: TransactionError::optional_hash("grant_consent.source_hash", &grant.source_hash)?,
        },
        Proto::RevokeConsent(revoke) => {
            use proto::revoke_consent::By;
            Act::RevokeConsent(match revoke.by {
                Some(By::ConsentId(id)) => RevokeBy::Consent(TransactionId(TransactionError::hash(
                    "revoke_consent.consent_id",
                    &id,
                )?)),
                Some(By::RevocationCode(code)) => {
                    RevokeBy::Code(TransactionError::hash("revoke_consent.revocation_code", &code)?)
                }
                None => return Err(TransactionError::field("revoke_consent.by", "none is given")),
            })
        }
        Proto::RequestAccess(request) => {
            let subjects = checked_list(
                "request_access.subjects",
                &request.subjects,
                limits::MAX_SUBJECTS,
                |subject| TransactionError::account("request_access.subjects", subject),
            )?;
            if subjects.is_empty() {
                return Err(TransactionError::field("request_access.subjects", "at least one, found none"));
            }
            Act::RequestAccess { subjects, scope: decode_scope(request.scope)?.into() }
        }
        Proto::RecordAccess(record) => Act::RecordAccess {
            request: TransactionId(TransactionError::hash("record_access.request_id", &record.request_id)?),
            subject: TransactionError::account("record_access.subject", &record.subject)?,
            scope: decode_scope(record.scope)?.into(),
        },
    })
}

fn decode_scope(scope: Option<proto::AccessScope>) -> Result<AccessScope, TransactionError> {
    let scope = scope.ok_or_else(|| TransactionError::field("scope", "missing"))?;
    let classes = checked_list("scope.classes", &scope.classes, limits::MAX_CLASSES, |coding| {
        Coding::from_proto("scope.classes", coding)
    })?;
    if classes.is_empty() {
        return Err(TransactionError::field("scope.classes", "at least one, found none"));
    }
    Ok(AccessScope {
        custodian: TransactionError::account("scope.custodian", &scope.custodian)?,
        purpose: code_text("scope.purpose", &scope.purpose, limits::MAX_CODE_BYTES)?,
        action: Action::from_number("scope.action", scope.action)?,
        classes,
        labels: checked_list("scope.labels", &scope.labels, limits::MAX_LABELS, |coding| {
            Coding::from_proto("scope.labels", coding)
        })?,
        data_period: Period::from_proto("scope.data_period", scope.data_period.as_ref())?,
        acting_person_hash: TransactionError::optional_hash(
            "scope.acting_person_hash",
            &scope.acting_person_hash,
        )?,
    })
}

/// Encodes a body and signs its id: what a client does. Without a key for a revocation by code.
#[must_use]
pub fn sign_body(body: &proto::TransactionBody, key: Option<&KeyPair>) -> proto::SignedTransaction {
    let body = body.encode_to_vec();
    let id = TransactionId::of_body(&body);
    let authorizations = key
        .map(|key| proto::Authorization {
            scheme: i32::from(ED25519),
            public_key: key.public().0.to_vec(),
            signature: key.sign(&id.0).to_vec(),
        })
        .into_iter()
        .collect();
    proto::SignedTransaction { body: body.into(), authorizations }
}

/// The hash of a revocation code (layout 0x2c), as a grant carries it.
#[must_use]
pub fn revocation_code_hash(code: &Hash) -> Hash {
    Encoder::new(Layout::RevocationCode).fixed(code).sha256()
}

/// The hash of the person who acts for a recipient (layout 0x2d): scoped to the organisation, and salted.
#[must_use]
pub fn acting_person_hash(organisation: &AccountId, salt: &[u8; 32], person: &str) -> Hash {
    Encoder::new(Layout::ActingPerson).fixed(&organisation.0).fixed(salt).long(person.as_bytes()).sha256()
}

/// The hash of the document that a consent was made from (layout 0x2f), salted.
#[must_use]
pub fn source_hash(salt: &[u8; 32], document: &[u8]) -> Hash {
    Encoder::new(Layout::SourceDocument).fixed(salt).fixed(document).sha256()
}
