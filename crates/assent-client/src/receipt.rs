//! Checking what the sequencer promises.

use assent_core::{
    ChainId, Hash, TransactionId,
    batch::{GroupStatement, Receipt, Refusal},
    codec::DecodeError,
    manifest::GenesisManifest,
    outcome::{OutcomeLeaf, outcome_root},
    signature::SignatureError,
};
use assent_merkle::{InclusionError, leaf_hash, verify_inclusion};
use assent_proto::v1 as proto;
use thiserror::Error;

/// Why a receipt or refusal does not hold.
#[derive(Debug, Error)]
pub enum ReceiptError {
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
    /// Not under the signed root.
    #[error("it is not in its group: {0}")]
    NotInGroup(#[from] InclusionError),
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
    /// The message as it came, to be kept: with it the sequencer can be held to its word.
    pub message: proto::SequencedTransaction,
}

pub(crate) fn check(
    manifest: &GenesisManifest,
    chain_id: ChainId,
    id: TransactionId,
    message: &proto::SequencedTransaction,
) -> Result<Sequenced, ReceiptError> {
    let signed = message.receipt.as_ref().ok_or(ReceiptError::Incomplete("a receipt"))?;
    let receipt = Receipt::decode(&signed.receipt)?;
    let statement = GroupStatement::decode(&signed.group_statement)?;
    let key_id = manifest.sequencer_key.key_id();
    if receipt.chain_id != chain_id || statement.chain_id != chain_id || receipt.key_id != key_id {
        return Err(ReceiptError::OtherLedger);
    }
    if receipt.entry.transaction_id != id {
        return Err(ReceiptError::OtherTransaction);
    }
    let path = signed
        .path
        .iter()
        .map(|hash| {
            Hash::try_from(hash.as_slice()).map_err(|_| ReceiptError::Incomplete("a hash of 32 bytes"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let leaf = leaf_hash(&signed.receipt);
    verify_inclusion(signed.index.into(), statement.count.into(), leaf, &path, &statement.receipts_root)?;
    manifest.sequencer_key.verify(&statement.signing_hash(), &signature(&signed.signature)?)?;
    let leaves =
        message.outcome_leaves.iter().map(|leaf| OutcomeLeaf::decode(leaf)).collect::<Result<Vec<_>, _>>()?;
    if outcome_root(&leaves) != receipt.entry.outcome_root {
        return Err(ReceiptError::Outcome);
    }
    Ok(Sequenced { receipt, leaves, already_sequenced: message.already_sequenced, message: message.clone() })
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
    manifest.sequencer_key.verify(&refusal.signing_hash(), &signature(&message.signature)?)?;
    Ok(refusal)
}

fn signature(bytes: &[u8]) -> Result<[u8; 64], ReceiptError> {
    bytes.try_into().map_err(|_| ReceiptError::Incomplete("a signature of 64 bytes"))
}
