//! A receipt as clients hold it: with its path to the group's root and the one signature of the group.

use assent_merkle::{InclusionError, leaf_hash, verify_inclusion};
use assent_proto::v1 as proto;
use bytes::Bytes;
use thiserror::Error;

use crate::{
    ChainId, Hash,
    batch::{GroupStatement, Receipt},
    codec::{DecodeError, Decoder, Encoder},
    manifest::GenesisManifest,
    signature::SignatureError,
};

/// Bytes of a receipt or a group statement that is read: both have one length, far below.
const MAX_PART_BYTES: usize = 1024;
/// Hashes of a receipt's path: more than the largest group needs.
const MAX_PATH: usize = 64;

/// Why a receipt does not hold.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// For another ledger or by another key.
    #[error("it is for another ledger, or by another key than the manifest's")]
    OtherLedger,
    /// Not under the signed root.
    #[error("it is not in its group: {0}")]
    NotInGroup(#[from] InclusionError),
    /// The signature is bad.
    #[error("the sequencer's signature: {0}")]
    Signature(#[from] SignatureError),
}

/// A receipt with everything that its signature needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    /// The encoded receipt, layout 0x17.
    pub receipt: Bytes,
    /// The encoded group statement, layout 0x18.
    pub statement: Bytes,
    /// Index of the receipt in the group.
    pub index: u32,
    /// From the receipt to the group's root.
    pub path: Vec<Hash>,
    /// The sequencer's, over the hash of the statement.
    pub signature: [u8; 64],
}

impl SignedReceipt {
    /// From the message that the sequencer answered with.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] where a hash or the signature has a wrong length.
    pub fn from_proto(message: &proto::SignedReceipt) -> Result<Self, DecodeError> {
        let wrong = |what, wanted: usize, found: usize| {
            DecodeError::invalid(what, format!("{wanted} bytes expected, found {found}"))
        };
        Ok(Self {
            // Copied: a receipt is kept for years, and the message that it came in may hold a thousand others.
            receipt: Bytes::copy_from_slice(&message.receipt),
            statement: Bytes::copy_from_slice(&message.group_statement),
            index: message.index,
            path: message
                .path
                .iter()
                .map(|hash| Hash::try_from(&hash[..]).map_err(|_| wrong("hash of a path", 32, hash.len())))
                .collect::<Result<_, _>>()?,
            signature: message.signature[..]
                .try_into()
                .map_err(|_| wrong("signature", 64, message.signature.len()))?,
        })
    }

    /// Checks it against the manifest: ledger, key, path and signature. Gives the receipt.
    ///
    /// # Errors
    /// One [`ReceiptError`] a check.
    pub fn open(&self, manifest: &GenesisManifest) -> Result<Receipt, ReceiptError> {
        let (chain_id, key_id) = (manifest.chain_id(), manifest.sequencer_key.key_id());
        let (receipt, statement) = self.in_group(&chain_id, &key_id)?;
        manifest.sequencer_key.verify(&statement.signing_hash(), &self.signature)?;
        Ok(receipt)
    }

    /// Everything that [`Self::open`] checks but the signature, which is one for the whole group: whoever checks many receipts
    /// need not check it again where statement and signature are those of the receipt before. Gives the receipt and the
    /// statement that is signed.
    ///
    /// # Errors
    /// One [`ReceiptError`] a check.
    pub fn in_group(
        &self,
        chain_id: &ChainId,
        key_id: &Hash,
    ) -> Result<(Receipt, GroupStatement), ReceiptError> {
        let receipt = Receipt::decode(&self.receipt)?;
        let statement = GroupStatement::decode(&self.statement)?;
        if receipt.chain_id != *chain_id || statement.chain_id != *chain_id || receipt.key_id != *key_id {
            return Err(ReceiptError::OtherLedger);
        }
        let leaf = leaf_hash(&self.receipt);
        verify_inclusion(
            self.index.into(),
            statement.count.into(),
            leaf,
            &self.path,
            &statement.receipts_root,
        )?;
        Ok((receipt, statement))
    }

    /// Within another layout: long receipt, long statement, `u32` index, list of hashes, signature.
    #[must_use]
    pub fn write(&self, encoder: Encoder) -> Encoder {
        encoder
            .long(&self.receipt)
            .long(&self.statement)
            .u32(self.index)
            .list(&self.path, |e, hash| e.fixed(hash))
            .fixed(&self.signature)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            receipt: Bytes::copy_from_slice(d.long("receipt", MAX_PART_BYTES)?),
            statement: Bytes::copy_from_slice(d.long("group statement", MAX_PART_BYTES)?),
            index: d.u32("index")?,
            path: d.list("receipt path", MAX_PATH, |d| d.hash("hash of a path"))?,
            signature: d.array("group signature")?,
        })
    }
}
