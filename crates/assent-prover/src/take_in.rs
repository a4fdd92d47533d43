//! Taking in batches, in two stages that run side by side: [`Executor`] executes a batch again and compares; [`Committer`]
//! brings what it wrote into the state tree, appends to the history, signs the checkpoint, and stores all of it at once.
//! While one batch is committed the next one is executed, on state that lies over what is stored ([`Overlay`]).

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use assent_core::{
    batch::BatchRecord, machine::StateError, manifest::GenesisManifest, note::Checkpoint, signature::KeyPair,
};
use assent_merkle::{
    sparse::{SparseError, SparseTree},
    tiles::TileWriter,
};
use assent_metrics::{Follower as Metrics, Stage};
use assent_proto::v1 as proto;
use assent_store::{LedgerStore, Overlay, SealedWrite, StoreError};
use assent_verify::replay::{Divergence, ReplayError, Replayed, Replayer, Unsigned};
use thiserror::Error;

use crate::{ProverConfig, ProverError};

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

/// The newest version of the state tree. Its lock is held while a batch is committed, so under the read lock tree and
/// database are of the same batch.
pub(crate) struct StateVersion {
    pub(crate) tree: SparseTree,
    /// Batches that it is after.
    pub(crate) batches: u64,
}

pub(crate) type SharedState = Arc<RwLock<StateVersion>>;

/// Bytes that a key takes in memory with its page.
const RESIDENT_KEY_BYTES: u64 = 130;

/// Opens both stages where the database ended.
pub(crate) fn open(
    config: &ProverConfig,
    key: Option<KeyPair>,
    store: Arc<LedgerStore>,
) -> Result<(Executor, Committer), ProverError> {
    let (manifest, metrics) = (config.manifest.clone(), config.metrics.clone());
    let cursor = store.cursor(&manifest)?;
    let history = TileWriter::open(store.as_ref(), cursor.next_batch)?;
    let budget =
        usize::try_from(config.state_cache_mib * 1024 * 1024 / RESIDENT_KEY_BYTES).unwrap_or(usize::MAX);
    let begun = std::time::Instant::now();
    let tree = SparseTree::open(store.state_pages()?, budget)?;
    if begun.elapsed().as_secs() >= 1 {
        tracing::info!(keys = tree.keys(), "opened the state tree in {:.1} s", begun.elapsed().as_secs_f64());
    }
    let state = Arc::new(RwLock::new(StateVersion { tree, batches: cursor.next_batch }));
    let pending = Arc::new(Overlay::new(store.clone()));
    let cache_bytes = config.execution_cache_mib * 1024 * 1024;
    let replayer = Replayer::new(manifest.clone(), cursor)?.with_cache(cache_bytes);
    let executor = Executor { replayer, pending: pending.clone(), metrics: metrics.clone() };
    Ok((executor, Committer { key, manifest, store, history, state, pending, metrics }))
}

/// The first stage.
pub(crate) struct Executor {
    replayer: Replayer,
    pending: Arc<Overlay>,
    metrics: Arc<Metrics>,
}

impl Executor {
    pub(crate) fn next_batch(&self) -> u64 {
        self.replayer.cursor().next_batch
    }

    pub(crate) fn next_sequence(&self) -> u64 {
        self.replayer.cursor().next_sequence
    }

    /// Executes the next batch again and compares. What it gives has to be committed, in order.
    pub(crate) fn execute(&mut self, batch: &proto::SealedBatch) -> Result<Arc<Replayed>, BatchError> {
        let begun = Instant::now();
        let replayed = Arc::new(self.replayer.apply(self.pending.as_ref(), batch)?);
        self.metrics.stages.observe(Stage::Reexecute, begun.elapsed());
        if let Some(closed) = replayed.outputs.last().and_then(|output| output.closed.as_ref()) {
            self.pending.push(closed.clone());
        }
        Ok(replayed)
    }
}

/// The second stage.
pub(crate) struct Committer {
    /// Of a prover. A validator signs no checkpoint.
    key: Option<KeyPair>,
    manifest: Arc<GenesisManifest>,
    store: Arc<LedgerStore>,
    history: TileWriter,
    state: SharedState,
    pending: Arc<Overlay>,
    metrics: Arc<Metrics>,
}

impl Committer {
    pub(crate) fn state(&self) -> SharedState {
        self.state.clone()
    }

    /// Commits the next batch. Gives size and root of the history.
    ///
    /// # Errors
    /// Storage; neither stage must be used any further then.
    pub(crate) fn commit(&mut self, replayed: &Replayed) -> Result<Checkpoint, ProverError> {
        let Some(sealed) = replayed.sealed() else {
            return Ok(Checkpoint { size: self.history.size(), root: self.history.root() });
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let pages = state.tree.apply(self.store.as_ref(), &sealed.effects)?;
        let record = BatchRecord::new(replayed.header.hash(), state.tree.root());
        self.metrics.stages.observe(Stage::StateTree, begun.elapsed());
        self.metrics.state_keys.set(i64::try_from(state.tree.keys()).unwrap_or(i64::MAX));
        let begun = Instant::now();
        let tiles = self.history.append(record.leaf_hash());
        let checkpoint = Checkpoint { size: self.history.size(), root: self.history.root() };
        let note = self.key.as_ref().map(|key| checkpoint.sign(&self.manifest.chain_id(), key));
        let write = SealedWrite {
            sealed,
            signature: replayed.signature,
            first_position: replayed.first_position,
            groups: &replayed.outputs.iter().collect::<Vec<_>>(),
            tiles: &tiles,
            pages: Some(&pages),
            state_root: Some(record.state_root),
            checkpoint: note.as_deref().map(|note| (checkpoint.size, note)),
        };
        self.store.store_sealed(&write)?;
        self.metrics.stages.observe(Stage::Checkpoint, begun.elapsed());
        state.batches = checkpoint.size;
        drop(state);
        self.pending.stored();
        Ok(checkpoint)
    }
}

impl From<SparseError<StoreError>> for ProverError {
    fn from(error: SparseError<StoreError>) -> Self {
        match error {
            SparseError::Storage(error) => Self::Store(error),
            other => Self::StateTree(other.to_string()),
        }
    }
}
