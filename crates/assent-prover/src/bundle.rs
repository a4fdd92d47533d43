//! Making proof bundles from what is stored.

use assent_anchor::AnchorError;
use assent_core::{
    Hash, TransactionId,
    batch::{BatchHeader, BatchRecord},
    codec::DecodeError,
};
use assent_merkle::{
    BatchTree,
    tiles::{TileError, TileProver},
};
use assent_store::StoreError;
use assent_verify::Bundle;
use thiserror::Error;

use crate::Shared;

/// Why there is no bundle.
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    #[error("the prover has not executed a transaction with this id")]
    Unknown,
    #[error("the transaction is not in an anchored checkpoint yet; wait for its tier to be ANCHORED")]
    NotAnchored,
    #[error(
        "this validator does not hold the prover's checkpoint of size {0} yet, or the prover does not serve it"
    )]
    CheckpointNotHeld(u64),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Tiles(#[from] TileError<StoreError>),
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    #[error("a stored batch header is corrupt: {0}")]
    Header(#[from] DecodeError),
    #[error("stored rows do not belong together: {0}")]
    Inconsistent(&'static str),
}

/// The bundle of a transaction.
pub(crate) fn make(shared: &Shared, id: &TransactionId, open_details: bool) -> Result<Bundle, BundleError> {
    let (store, config) = (&shared.store, &shared.config);
    let sequence = store.sequence_of(id)?.ok_or(BundleError::Unknown)?;
    let row = store.entry(sequence)?.ok_or(BundleError::Unknown)?;
    let batch = store.batch(row.batch_number)?.ok_or(BundleError::Unknown)?;
    let header = BatchHeader::decode(&batch.header)?;
    let anchor = shared.anchors.proof(row.batch_number)?.ok_or(BundleError::NotAnchored)?;
    let checkpoint = store.checkpoint(anchor.size)?.ok_or(BundleError::CheckpointNotHeld(anchor.size))?;
    let state_root =
        batch.state_root.ok_or(BundleError::Inconsistent("the batch is stored without its state root"))?;
    let record = BatchRecord::new(header.hash(), state_root);
    let logged = store
        .record(row.position)?
        .transactions
        .into_iter()
        .nth(row.index as usize)
        .ok_or(BundleError::Inconsistent("the log record lacks the transaction"))?;
    let leaves: Vec<Hash> = store
        .entries_while(header.first_sequence, |other| other.batch_number == row.batch_number)?
        .iter()
        .map(|other| other.entry.leaf_hash())
        .collect();
    let entry_path = BatchTree::from_leaf_hashes(&leaves)
        .inclusion_path(row.entry.sequence - header.first_sequence)
        .ok_or(BundleError::Inconsistent("the entry is past its batch"))?;
    let batches = store.cursor(&config.manifest)?.next_batch;
    let history_path = TileProver::new(store.as_ref(), batches).inclusion_path(header.number, anchor.size)?;
    Ok(Bundle {
        manifest: config.manifest.encode(),
        body: logged.body.to_vec(),
        authorizations: logged.authorizations.to_vec(),
        entry: row.entry.encode(),
        outcome_leaves: row.leaves.iter().map(|leaf| leaf.encode()).collect(),
        details: if open_details {
            row.details.iter().map(|detail| detail.encode()).collect()
        } else {
            Vec::new()
        },
        entry_path,
        batch_record: record.encode(),
        header: batch.header,
        header_signature: batch.signature,
        history_path,
        checkpoint,
        anchor: anchor.chain,
    })
}
