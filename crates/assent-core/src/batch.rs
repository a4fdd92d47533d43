//! What the sequencer and the prover sign: receipts, refusals, batch headers, batch records.

use std::borrow::Borrow;

use assent_merkle::{PathTree, leaf_hash, root_of_leaf_hashes};
use bytes::Bytes;
use thiserror::Error;

use crate::{
    ChainId, Hash, TransactionId,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    outcome::{ENTRY_BYTES, Entry},
};

/// A block of the base chain, as a group or header cites it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseBlock {
    /// Height.
    pub height: u32,
    /// Hash, in the order in which it is hashed (the reverse of what Bitcoin Core prints).
    pub hash: Hash,
    /// Median time of it and the ten blocks before it, in seconds since 1970.
    pub median_time_s: u32,
}

/// The sequencer's promise to one client (layout 0x17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Ledger.
    pub chain_id: ChainId,
    /// Of the sequencer's key.
    pub key_id: Hash,
    /// Term of the sequencer.
    pub epoch: u64,
    /// The batch that the entry will be in.
    pub batch_number: u64,
    /// By when that batch is sealed, in milliseconds since 1970.
    pub deadline_ms: u64,
    /// The entry.
    pub entry: Entry,
}

/// Bytes of an encoded receipt: version and layout, two hashes, three numbers, the entry.
const RECEIPT_BYTES: usize = 2 + 32 + 32 + 8 + 8 + 8 + ENTRY_BYTES;

impl Receipt {
    /// Layout 0x17.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.layout().finish()
    }

    fn layout(&self) -> Encoder {
        let fields = Encoder::new(Layout::Receipt)
            .fixed(&self.chain_id.0)
            .fixed(&self.key_id)
            .u64(self.epoch)
            .u64(self.batch_number)
            .u64(self.deadline_ms);
        self.entry.write(fields)
    }

    /// Reads layout 0x17.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::Receipt, bytes)?;
        let receipt = Self {
            chain_id: ChainId(d.hash("chain id")?),
            key_id: d.hash("key id")?,
            epoch: d.u64("epoch")?,
            batch_number: d.u64("batch number")?,
            deadline_ms: d.u64("deadline")?,
            entry: Entry::decode(d.fixed("entry", ENTRY_BYTES)?)?,
        };
        d.finish()?;
        Ok(receipt)
    }
}

/// The receipts of one group, with what is signed over them and each one's path to it.
#[derive(Clone, Debug)]
pub struct GroupReceipts {
    /// Layout 0x17, in order: slices of one buffer.
    pub encoded: Vec<Bytes>,
    /// What is signed.
    pub statement: GroupStatement,
    tree: PathTree,
}

impl GroupReceipts {
    /// Of the group whose log record has this position.
    #[must_use]
    pub fn new(
        chain_id: ChainId,
        position: u64,
        receipts: impl IntoIterator<Item = impl Borrow<Receipt>>,
    ) -> Self {
        let receipts = receipts.into_iter();
        let most = receipts.size_hint().0;
        let (mut all, mut hashes) = (Vec::with_capacity(most * RECEIPT_BYTES), Vec::with_capacity(most));
        for receipt in receipts {
            receipt.borrow().layout().read(|bytes| {
                all.extend_from_slice(bytes);
                hashes.push(leaf_hash(bytes));
            });
        }
        let all = Bytes::from(all);
        let nth = |index: usize| all.slice(index * RECEIPT_BYTES..(index + 1) * RECEIPT_BYTES);
        let encoded: Vec<Bytes> = (0..hashes.len()).map(nth).collect();
        let count = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        let tree = PathTree::from_leaf_hashes(hashes);
        let statement = GroupStatement { chain_id, position, count, receipts_root: tree.root() };
        Self { encoded, statement, tree }
    }

    /// From a receipt to the statement's root.
    pub fn path(&self, index: usize) -> impl Iterator<Item = &Hash> {
        self.tree.inclusion_path(index as u64)
    }

    /// Over the receipts: their paths lead to the statement's root.
    #[must_use]
    pub fn tree(&self) -> &PathTree {
        &self.tree
    }
}

/// What one signature covers: all receipts of one group (layout 0x18).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatement {
    /// Ledger.
    pub chain_id: ChainId,
    /// Position of the group's log record.
    pub position: u64,
    /// Number of receipts.
    pub count: u32,
    /// RFC 6962 root over the encoded receipts.
    pub receipts_root: Hash,
}

impl GroupStatement {
    /// Layout 0x18.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::GroupStatement)
            .fixed(&self.chain_id.0)
            .u64(self.position)
            .u32(self.count)
            .fixed(&self.receipts_root)
            .finish()
    }

    /// Reads layout 0x18.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::GroupStatement, bytes)?;
        let statement = Self {
            chain_id: ChainId(d.hash("chain id")?),
            position: d.u64("position")?,
            count: d.u32("count")?,
            receipts_root: d.hash("receipts root")?,
        };
        d.finish()?;
        Ok(statement)
    }

    /// What the sequencer signs.
    #[must_use]
    pub fn signing_hash(&self) -> Hash {
        sha256(&self.encode())
    }
}

/// Why the rules did not let a transaction in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RefusalReason {
    /// Its time is over.
    #[error("the transaction has expired")]
    Expired = 1,
    /// Expires too far ahead.
    #[error("the transaction expires further ahead than this ledger allows")]
    ExpiryTooFar = 2,
    /// The sender has not opened its account.
    #[error("the sender's account is not open; open it first (assent account open)")]
    UnknownAccount = 3,
    /// The account is open already.
    #[error("the account is open already")]
    AccountExists = 4,
    /// Already [`crate::limits::MAX_ACTIVE_CONSENTS`] active consents.
    #[error("the subject has as many active consents as are allowed; revoke one first")]
    TooManyConsents = 5,
    /// Two grants with one revocation code.
    #[error("another consent has the same revocation code")]
    RevocationCodeTaken = 6,
    /// No grant has this code.
    #[error("no consent has this revocation code")]
    UnknownRevocationCode = 7,
    /// A purpose or label that the ruleset does not have.
    #[error("a purpose of use or security label is not a code of the ruleset in force")]
    UnknownCode = 8,
    /// Sequenced already. The sequencer answers with the earlier receipt instead.
    #[error("the transaction was sequenced already")]
    Duplicate = 9,
}

impl RefusalReason {
    /// All reasons in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Expired,
        Self::ExpiryTooFar,
        Self::UnknownAccount,
        Self::AccountExists,
        Self::TooManyConsents,
        Self::RevocationCodeTaken,
        Self::UnknownRevocationCode,
        Self::UnknownCode,
        Self::Duplicate,
    ];

    /// The stable name, as listed in `docs/errors.md`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "EXPIRED",
            Self::ExpiryTooFar => "EXPIRY_TOO_FAR",
            Self::UnknownAccount => "UNKNOWN_ACCOUNT",
            Self::AccountExists => "ACCOUNT_EXISTS",
            Self::TooManyConsents => "TOO_MANY_CONSENTS",
            Self::RevocationCodeTaken => "REVOCATION_CODE_TAKEN",
            Self::UnknownRevocationCode => "UNKNOWN_REVOCATION_CODE",
            Self::UnknownCode => "UNKNOWN_CODE",
            Self::Duplicate => "DUPLICATE",
        }
    }
}

/// A signed answer that a transaction was not sequenced (layout 0x19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Ledger.
    pub chain_id: ChainId,
    /// Of the sequencer's key.
    pub key_id: Hash,
    /// Transaction.
    pub transaction_id: TransactionId,
    /// Why.
    pub reason: RefusalReason,
    /// The sequence that it would have had: it was judged by the state before it.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

impl Refusal {
    /// Layout 0x19.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::Refusal)
            .fixed(&self.chain_id.0)
            .fixed(&self.key_id)
            .fixed(&self.transaction_id.0)
            .u8(self.reason as u8)
            .u64(self.sequence)
            .u64(self.time_ms)
            .finish()
    }

    /// Reads layout 0x19.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::Refusal, bytes)?;
        let refusal = Self {
            chain_id: ChainId(d.hash("chain id")?),
            key_id: d.hash("key id")?,
            transaction_id: TransactionId(d.hash("transaction id")?),
            reason: {
                let number = d.u8("reason")?;
                RefusalReason::ALL
                    .into_iter()
                    .find(|reason| *reason as u8 == number)
                    .ok_or_else(|| DecodeError::invalid("reason", format!("unknown number {number}")))?
            },
            sequence: d.u64("sequence")?,
            time_ms: d.u64("time")?,
        };
        d.finish()?;
        Ok(refusal)
    }

    /// What the sequencer signs.
    #[must_use]
    pub fn signing_hash(&self) -> Hash {
        sha256(&self.encode())
    }
}

/// The header of a sealed batch (layout 0x1a).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Ledger.
    pub chain_id: ChainId,
    /// Term of the sequencer.
    pub epoch: u64,
    /// Ruleset in force.
    pub ruleset: u32,
    /// Number, from 0.
    pub number: u64,
    /// Sequence of its first entry.
    pub first_sequence: u64,
    /// Entries, at least 1.
    pub entry_count: u32,
    /// RFC 6962 root over the encoded entries.
    pub entries_root: Hash,
    /// RFC 6962 root over the effect leaves.
    pub effects_root: Hash,
    /// RFC 6962 root over the encoded log records: with it the sequencer signs the inputs too, so that whoever executes them
    /// again and finds something else can show whose fault it is.
    pub log_root: Hash,
    /// Hash of the header before it; zeros for the first.
    pub previous_hash: Hash,
    /// Of its last group, in milliseconds since 1970.
    pub time_ms: u64,
    /// The newest base block that it cites: height.
    pub base_height: u32,
    /// The newest base block that it cites: hash.
    pub base_hash: Hash,
    /// Of the sequencer's key.
    pub key_id: Hash,
}

impl BatchHeader {
    /// Layout 0x1a.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::BatchHeader)
            .fixed(&self.chain_id.0)
            .u64(self.epoch)
            .u32(self.ruleset)
            .u64(self.number)
            .u64(self.first_sequence)
            .u32(self.entry_count)
            .fixed(&self.entries_root)
            .fixed(&self.effects_root)
            .fixed(&self.log_root)
            .fixed(&self.previous_hash)
            .u64(self.time_ms)
            .u32(self.base_height)
            .fixed(&self.base_hash)
            .fixed(&self.key_id)
            .finish()
    }

    /// Reads layout 0x1a.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::BatchHeader, bytes)?;
        let header = Self {
            chain_id: ChainId(d.hash("chain id")?),
            epoch: d.u64("epoch")?,
            ruleset: d.u32("ruleset")?,
            number: d.u64("number")?,
            first_sequence: d.u64("first sequence")?,
            entry_count: match d.u32("entry count")? {
                0 => return Err(DecodeError::invalid("entry count", "a batch has at least one entry")),
                count => count,
            },
            entries_root: d.hash("entries root")?,
            effects_root: d.hash("effects root")?,
            log_root: d.hash("log root")?,
            previous_hash: d.hash("previous hash")?,
            time_ms: d.u64("time")?,
            base_height: d.u32("base height")?,
            base_hash: d.hash("base hash")?,
            key_id: d.hash("key id")?,
        };
        d.finish()?;
        Ok(header)
    }

    /// Its hash, which the next header and the batch record name and the sequencer signs.
    #[must_use]
    pub fn hash(&self) -> Hash {
        sha256(&self.encode())
    }
}

/// The effects root of a batch: over its final (key hash, value hash) pairs, in ascending order of the keys.
#[must_use]
pub fn effects_root(effects: &[(Hash, Hash)]) -> Hash {
    let leaves: Vec<Hash> = effects.iter().map(|(key, value)| effect_leaf(key, value)).collect();
    root_of_leaf_hashes(&leaves)
}

/// One final (key hash, value hash) pair of a batch (layout 0x1b), as a leaf of the effects tree.
#[must_use]
pub fn effect_leaf(key_hash: &Hash, value_hash: &Hash) -> Hash {
    Encoder::new(Layout::EffectLeaf).fixed(key_hash).fixed(value_hash).read(leaf_hash)
}

/// Which state tree a batch record's state root is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeKind {
    /// The sparse tree of [`assent_merkle::sparse`].
    Sparse = 1,
}

/// What the history tree is over (layout 0x1c): a batch and the state after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    /// Hash of the batch header.
    pub header_hash: Hash,
    /// Root of the state tree after the batch.
    pub state_root: Hash,
    /// Kind of that tree.
    pub tree_kind: TreeKind,
}

impl BatchRecord {
    /// The record of a batch and the state after it.
    #[must_use]
    pub fn new(header_hash: Hash, state_root: Hash) -> Self {
        Self { header_hash, state_root, tree_kind: TreeKind::Sparse }
    }

    /// Layout 0x1c.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::BatchRecord)
            .fixed(&self.header_hash)
            .fixed(&self.state_root)
            .u8(self.tree_kind as u8)
            .finish()
    }

    /// Reads layout 0x1c.
    ///
    /// # Errors
    /// [`DecodeError`]; an unknown tree kind is [`DecodeError::Invalid`] of `"tree kind"`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::BatchRecord, bytes)?;
        let (header_hash, state_root) = (d.hash("header hash")?, d.hash("state root")?);
        let kind = d.u8("tree kind")?;
        d.finish()?;
        if kind != TreeKind::Sparse as u8 {
            return Err(DecodeError::invalid("tree kind", format!("unknown number {kind}")));
        }
        Ok(Self::new(header_hash, state_root))
    }

    /// Bytes of an encoded record.
    pub const BYTES: usize = 2 + 32 + 32 + 1;

    /// The leaf hash in the history tree.
    #[must_use]
    pub fn leaf_hash(&self) -> Hash {
        leaf_hash(&self.encode())
    }
}
