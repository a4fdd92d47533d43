//! Log records: the inputs from which everything else is derived.

use bytes::Bytes;

use crate::{
    Hash,
    batch::BaseBlock,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    signature::{ED25519, PublicKey},
    transaction::{Authorization, Authorizations, Transaction, encode_authorizations},
};

/// Bytes of a log record: the transactions of the largest batch, and its fixed fields.
pub const MAX_LOG_RECORD_BYTES: usize = limits::MAX_BATCH_BYTES as usize + FIXED_BYTES;
/// More than the fixed fields take.
const FIXED_BYTES: usize = 1024;
/// Bytes of a transaction beside its body: lengths, and the one signature that nearly all have.
const BESIDE_BODY_BYTES: usize = 104;

const SEAL: u8 = 1;
const TIME_CONFIRMED: u8 = 2;

/// A transaction as a log record keeps it: not yet decoded again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedTransaction {
    /// As received.
    pub body: Bytes,
    /// As received.
    pub authorizations: Authorizations,
}

/// One group of transactions, committed together (layout 0x2a).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Consecutive, from 0.
    pub position: u64,
    /// Term of the sequencer that wrote it.
    pub epoch: u64,
    /// Time of the group, in milliseconds since 1970.
    pub time_ms: u64,
    /// Whether the open batch is sealed after this group.
    pub seal: bool,
    /// Whether the operator confirmed a step of time above the limit.
    pub time_confirmed: bool,
    /// Secret random bytes from which all salts of the group come.
    pub seed: Hash,
    /// The newest base block known whose median time is not after the group's time.
    pub base: BaseBlock,
    /// In order. May be empty where the batch is sealed.
    pub transactions: Vec<LoggedTransaction>,
}

impl LogRecord {
    /// Layout 0x2a.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = (u8::from(self.seal) * SEAL) | (u8::from(self.time_confirmed) * TIME_CONFIRMED);
        let each = |transaction: &LoggedTransaction| transaction.body.len() + BESIDE_BODY_BYTES;
        let bytes = FIXED_BYTES + self.transactions.iter().map(each).sum::<usize>();
        Encoder::with_capacity(Layout::LogRecord, bytes)
            .u64(self.position)
            .u64(self.epoch)
            .u64(self.time_ms)
            .u8(flags)
            .fixed(&self.seed)
            .u32(self.base.height)
            .fixed(&self.base.hash)
            .u32(self.base.median_time_s)
            .list(&self.transactions, |e, transaction| {
                encode_authorizations(e.long(&transaction.body), &transaction.authorizations)
            })
            .finish()
    }

    /// Reads layout 0x2a. The bodies are slices of it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::LogRecord, bytes)?;
        let (position, epoch, time_ms) = (d.u64("position")?, d.u64("epoch")?, d.u64("time")?);
        let flags = d.u8("flags")?;
        if flags & !(SEAL | TIME_CONFIRMED) != 0 {
            return Err(DecodeError::invalid("flags", format!("unknown flag in {flags:#04x}")));
        }
        let record = Self {
            position,
            epoch,
            time_ms,
            seal: flags & SEAL != 0,
            time_confirmed: flags & TIME_CONFIRMED != 0,
            seed: d.hash("seed")?,
            base: BaseBlock {
                height: d.u32("base height")?,
                hash: d.hash("base hash")?,
                median_time_s: d.u32("base median time")?,
            },
            transactions: d.list("transactions", limits::MAX_GROUP_TRANSACTIONS, |d| {
                let body = bytes.slice_ref(d.long("body", limits::MAX_BODY_BYTES)?);
                let authorizations = decode_authorizations(d)?;
                Ok(LoggedTransaction { body, authorizations })
            })?,
        };
        d.finish()?;
        Ok(record)
    }
}

/// Reads what `encode_authorizations` wrote.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_authorizations(d: &mut Decoder<'_>) -> Result<Authorizations, DecodeError> {
    let count = usize::from(d.u8("authorization count")?);
    if count > limits::MAX_AUTHORIZATIONS {
        return Err(DecodeError::invalid("authorizations", format!("{count}, at most 1 is allowed")));
    }
    (0..count)
        .map(|_| match d.u8("scheme")? {
            ED25519 => Ok(Authorization { key: PublicKey(d.hash("key")?), signature: d.array("signature")? }),
            other => Err(DecodeError::invalid("scheme", format!("unknown number {other}"))),
        })
        .collect()
}

impl From<&Transaction> for LoggedTransaction {
    fn from(transaction: &Transaction) -> Self {
        Self { body: transaction.body.clone(), authorizations: transaction.authorizations.clone() }
    }
}

impl LoggedTransaction {
    /// The message that clients submit.
    #[must_use]
    pub fn to_proto(&self) -> assent_proto::v1::SignedTransaction {
        signed_transaction(self.body.clone(), &self.authorizations)
    }
}

/// The message that clients submit.
#[must_use]
pub fn signed_transaction(
    body: Bytes,
    authorizations: &[Authorization],
) -> assent_proto::v1::SignedTransaction {
    let authorization = |authorization: &Authorization| assent_proto::v1::Authorization {
        scheme: i32::from(ED25519),
        public_key: authorization.key.0.to_vec(),
        signature: authorization.signature.to_vec(),
    };
    assent_proto::v1::SignedTransaction {
        body,
        authorizations: authorizations.iter().map(authorization).collect(),
    }
}
