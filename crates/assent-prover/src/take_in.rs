//! Taking in batches: executing them again, and storing what came of it.

use std::sync::Arc;

use assent_core::{
    batch::BatchRecord, machine::StateError, manifest::GenesisManifest, note::Checkpoint, signature::KeyPair,
};
use assent_merkle::tiles::TileWriter;
use assent_proto::v1 as proto;
use assent_store::{LedgerStore, SealedWrite, StoreError, StoredEntry};
use assent_verify::replay::{Divergence, ReplayError, Replayer, Unsigned};
use thiserror::Error;

use crate::ProverError;

/// Why a batch was not taken in.
#[derive(Debug, Error)]
pub(crate) enum BatchError {
    /// Not what the sequencer signed: perhaps damaged on the way.
    #[error(transparent)]
    Unsigned(Unsigned),
    /// What the sequencer signed is wrong.
    #[error(transparent)]
    Divergence(Divergence),
    #[error(transparent)]
    State(StateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReplayError> for BatchError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Unsigned(error) => Self::Unsigned(error),
            ReplayError::Divergence(divergence) => Self::Divergence(divergence),
            ReplayError::State(error) => Self::State(error),
        }
    }
}

/// The re-executing half of a prover or validator.
pub(crate) struct Follower {
    /// Of a prover. A validator signs nothing.
    key: Option<KeyPair>,
    manifest: Arc<GenesisManifest>,
    store: Arc<LedgerStore>,
    replayer: Replayer,
    history: TileWriter,
}

impl Follower {
    pub(crate) fn open(
        manifest: Arc<GenesisManifest>,
        key: Option<KeyPair>,
        store: Arc<LedgerStore>,
    ) -> Result<Self, ProverError> {
        let cursor = store.cursor(&manifest)?;
        let history = TileWriter::open(store.as_ref(), cursor.next_batch)?;
        let replayer = Replayer::new(manifest.clone(), cursor)?;
        Ok(Self { key, manifest, store, replayer, history })
    }

    pub(crate) fn next_batch(&self) -> u64 {
        self.replayer.cursor().next_batch
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.replayer.cursor().next_sequence
    }

    /// Takes in the next batch: executes, compares, appends to the history, signs the checkpoint, stores all at once. Gives
    /// size and root of the history.
    pub(crate) fn take_in(&mut self, batch: &proto::SealedBatch) -> Result<Checkpoint, BatchError> {
        let replayed = self.replayer.apply(self.store.as_ref(), batch)?;
        let entries: Vec<StoredEntry> = replayed.outputs.iter().flat_map(StoredEntry::of_group).collect();
        let record = BatchRecord::without_state(replayed.header.hash());
        let tiles = self.history.append(record.leaf_hash());
        let checkpoint = Checkpoint { size: self.history.size(), root: self.history.root() };
        let note = self.key.as_ref().map(|key| checkpoint.sign(&self.manifest.chain_id(), key));
        if let Some(sealed) = replayed.sealed() {
            let write = SealedWrite {
                sealed,
                signature: replayed.signature,
                first_position: replayed.first_position,
                entries: &entries,
                records: &replayed.records,
                tiles: &tiles,
                checkpoint: note.as_deref().map(|note| (checkpoint.size, note)),
            };
            self.store.store_sealed(&write, true)?;
        }
        Ok(checkpoint)
    }
}
