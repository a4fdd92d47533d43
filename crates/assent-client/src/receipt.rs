//! Checking what the sequencer promises.

use assent_core::{
    ChainId, TransactionId,
    batch::{Receipt, Refusal},
    codec::DecodeError,
    manifest::GenesisManifest,
    outcome::{OutcomeLeaf, outcome_root},
    receipt::SignedReceipt,
    signature::SignatureError,
};
use assent_proto::v1 as proto;
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

pub(crate) fn check(
    manifest: &GenesisManifest,
    id: TransactionId,
    message: &proto::SequencedTransaction,
) -> Result<Sequenced, ReceiptError> {
    let signed = message.receipt.as_ref().ok_or(ReceiptError::Incomplete("a receipt"))?;
    let signed = SignedReceipt::from_proto(signed)?;
    let receipt = signed.open(manifest)?;
    if receipt.entry.transaction_id != id {
        return Err(ReceiptError::OtherTransaction);
    }
    let leaves =
        message.outcome_leaves.iter().map(|leaf| OutcomeLeaf::decode(leaf)).collect::<Result<Vec<_>, _>>()?;
    if outcome_root(&leaves) != receipt.entry.outcome_root {
        return Err(ReceiptError::Outcome);
    }
    let already_sequenced = message.already_sequenced;
    Ok(Sequenced { receipt, leaves, already_sequenced, signed, message: message.clone() })
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
