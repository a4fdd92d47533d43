//! Checking what the sequencer promises.

use std::sync::{Arc, Mutex, PoisonError};

use assent_core::{
    ChainId, Hash, TransactionId,
    batch::{GroupStatement, Receipt, Refusal},
    codec::DecodeError,
    manifest::GenesisManifest,
    outcome::OutcomeLeaf,
    receipt::SignedReceipt,
    signature::{PublicKey, SignatureError},
};
use assent_merkle::{leaf_hash, root_of_leaf_hashes};
use assent_proto::v1 as proto;
use bytes::Bytes;
use thiserror::Error;

/// Why a receipt or refusal does not hold.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// The receipt itself.
    #[error(transparent)]
    Receipt(#[from] assent_core::receipt::ReceiptError),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// Something is missing.
    #[error("it lacks {0}")]
    Incomplete(&'static str),
    /// For another ledger or by another key.
    #[error("it is for another ledger, or by another key than the manifest's")]
    OtherLedger,
    /// Of another transaction.
    #[error("it is of another transaction")]
    OtherTransaction,
    /// The signature is bad.
    #[error("the sequencer's signature: {0}")]
    Signature(#[from] SignatureError),
    /// The outcome is not the entry's.
    #[error("the outcome leaves do not lead to the entry's outcome root")]
    Outcome,
}

/// A checked receipt.
#[derive(Clone, Debug)]
pub struct Sequenced {
    /// The receipt.
    pub receipt: Receipt,
    /// What the entry's outcome root opens to.
    pub leaves: Vec<OutcomeLeaf>,
    /// Whether an earlier submission had been acknowledged already.
    pub already_sequenced: bool,
    /// The receipt as it was signed, to be kept: with it the sequencer can be held to its word.
    pub signed: SignedReceipt,
    /// The message as it came.
    pub message: proto::SequencedTransaction,
}

/// An encoded group statement, and the signature on it.
type SignedStatement = (Bytes, [u8; 64]);

/// Checks the receipts of one ledger. Clones share what they remember.
#[derive(Clone, Debug)]
pub struct ReceiptChecker {
    chain_id: ChainId,
    key: PublicKey,
    key_id: Hash,
    /// Statement and signature of the group that was found well signed last. A group of a thousand receipts has one signature.
    signed: Arc<Mutex<Option<SignedStatement>>>,
}

impl ReceiptChecker {
    /// For the ledger with this manifest.
    #[must_use]
    pub fn new(manifest: &GenesisManifest) -> Self {
        let key = manifest.sequencer_key;
        Self { chain_id: manifest.chain_id(), key, key_id: key.key_id(), signed: Arc::default() }
    }

    /// Checks the answer to a transaction: ledger, key, path, the group's signature, that the entry is of this transaction, and
    /// that the outcome is the entry's.
    ///
    /// # Errors
    /// One [`ReceiptError`] a check.
    pub fn check(
        &self,
        id: TransactionId,
        message: proto::SequencedTransaction,
    ) -> Result<Sequenced, ReceiptError> {
        let signed = message.receipt.as_ref().ok_or(ReceiptError::Incomplete("a receipt"))?;
        let signed = SignedReceipt::from_proto(signed)?;
        let (receipt, statement) = signed.in_group(&self.chain_id, &self.key_id)?;
        self.check_signature(&signed, &statement)?;
        if receipt.entry.transaction_id != id {
            return Err(ReceiptError::OtherTransaction);
        }
        let leaves = message
            .outcome_leaves
            .iter()
            .map(|leaf| OutcomeLeaf::decode(leaf))
            .collect::<Result<Vec<_>, _>>()?;
        // What was read is what its encoding gives, so the bytes are hashed as they came.
        let hashes: Vec<Hash> = message.outcome_leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        if root_of_leaf_hashes(&hashes) != receipt.entry.outcome_root {
            return Err(ReceiptError::Outcome);
        }
        let already_sequenced = message.already_sequenced;
        Ok(Sequenced { receipt, leaves, already_sequenced, signed, message })
    }

    fn check_signature(
        &self,
        receipt: &SignedReceipt,
        statement: &GroupStatement,
    ) -> Result<(), SignatureError> {
        // What is kept is whole whenever the lock is free.
        let kept = || self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = kept().as_ref().is_some_and(|(statement, signature)| {
            *statement == receipt.statement && *signature == receipt.signature
        });
        if !is_kept {
            self.key.verify(&statement.signing_hash(), &receipt.signature)?;
            *kept() = Some((receipt.statement.clone(), receipt.signature));
        }
        Ok(())
    }
}

pub(crate) fn check_refusal(
    manifest: &GenesisManifest,
    chain_id: ChainId,
    id: TransactionId,
    message: &proto::SignedRefusal,
) -> Result<Refusal, ReceiptError> {
    let refusal = Refusal::decode(&message.refusal)?;
    if refusal.chain_id != chain_id || refusal.key_id != manifest.sequencer_key.key_id() {
        return Err(ReceiptError::OtherLedger);
    }
    if refusal.transaction_id != id {
        return Err(ReceiptError::OtherTransaction);
    }
    let signature = message.signature.as_slice().try_into();
    let signature = signature.map_err(|_| ReceiptError::Incomplete("a signature of 64 bytes"))?;
    manifest.sequencer_key.verify(&refusal.signing_hash(), &signature)?;
    Ok(refusal)
}
