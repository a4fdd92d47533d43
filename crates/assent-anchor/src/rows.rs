//! What is kept on disk, behind a storage trait.

use std::error::Error;

use assent_core::{
    Hash,
    codec::{DecodeError, Decoder, Encoder, Layout},
};

/// Bytes of a transaction of ours.
const MAX_TRANSACTION_BYTES: usize = 100_000;

/// Storage of the anchoring component: keys and values.
pub trait AnchorStore: Send + Sync {
    /// A value.
    ///
    /// # Errors
    /// Those of the storage.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>>;

    /// Writes and deletes (`None`) atomically; on disk when it returns.
    ///
    /// # Errors
    /// Those of the storage.
    fn write(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// A seal that the followed branch contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealRow {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) txid: Hash,
    pub(crate) height: u32,
    pub(crate) block_index: u32,
    pub(crate) block_path: Vec<Hash>,
    /// Without witnesses.
    pub(crate) transaction: Vec<u8>,
}

impl SealRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::StoredRow)
            .u64(self.size)
            .fixed(&self.root)
            .fixed(&self.txid)
            .u32(self.height)
            .u32(self.block_index)
            .list(&self.block_path, |e, hash| e.fixed(hash))
            .long(&self.transaction)
            .finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::StoredRow, bytes)?;
        let row = Self {
            size: d.u64("size")?,
            root: d.hash("root")?,
            txid: d.hash("txid")?,
            height: d.u32("height")?,
            block_index: d.u32("block index")?,
            block_path: d.list("block path", 64, |d| d.hash("hash"))?,
            transaction: d.long("transaction", MAX_TRANSACTION_BYTES)?.to_vec(),
        };
        d.finish()?;
        Ok(row)
    }
}

/// A version of the anchor that is to spend the open seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutboxRow {
    pub(crate) size: u64,
    pub(crate) fee_sat: u64,
    /// Satoshi for 1,000 virtual bytes.
    pub(crate) fee_rate: u64,
    /// Height of the base chain when it was made.
    pub(crate) made_at: u32,
    /// With witnesses.
    pub(crate) transaction: Vec<u8>,
}

impl OutboxRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::StoredRow)
            .u64(self.size)
            .u64(self.fee_sat)
            .u64(self.fee_rate)
            .u32(self.made_at)
            .long(&self.transaction)
            .finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut d = Decoder::new(Layout::StoredRow, bytes)?;
        let row = Self {
            size: d.u64("size")?,
            fee_sat: d.u64("fee")?,
            fee_rate: d.u64("fee rate")?,
            made_at: d.u32("height")?,
            transaction: d.long("transaction", MAX_TRANSACTION_BYTES)?.to_vec(),
        };
        d.finish()?;
        Ok(row)
    }
}

/// Keys, each by a function.
pub(crate) mod keys {
    pub(crate) const TIP: &[u8] = b"tip";
    pub(crate) const WALLET_COUNT: &[u8] = b"wallet-count";

    pub(crate) fn header(height: u32) -> Vec<u8> {
        [b"header/", &height.to_be_bytes()[..]].concat()
    }

    pub(crate) fn seal(index: u64) -> Vec<u8> {
        [b"seal/", &index.to_be_bytes()[..]].concat()
    }

    pub(crate) fn outbox(index: u64, version: u32) -> Vec<u8> {
        [b"outbox/", &index.to_be_bytes()[..], &version.to_be_bytes()].concat()
    }

    pub(crate) fn wallet(number: u64) -> Vec<u8> {
        [b"wallet/", &number.to_be_bytes()[..]].concat()
    }
}
