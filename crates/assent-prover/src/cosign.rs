//! Cosignatures of validators on checkpoints.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use assent_core::note::{Checkpoint, NoteError};
use assent_store::{LedgerStore, StoreError};
use thiserror::Error;
use tokio::sync::watch;

use crate::Shared;

/// Checkpoints that are looked through at opening. Older ones that were cosigned are still there, and are not needed: proofs
/// rest on new ones.
const LOOKED_THROUGH: usize = 1_000;

/// Which checkpoints are cosigned by how many.
pub(crate) struct Cosigned {
    /// By a number of cosignatures: the newest checkpoint that has at least so many.
    newest: watch::Sender<BTreeMap<usize, u64>>,
    /// Held while a note is changed.
    writing: Mutex<()>,
}

/// Why a cosignature is not taken in.
#[derive(Debug, Error)]
pub(crate) enum CosignError {
    #[error("no checkpoint over {0} batches is held here")]
    NoCheckpoint(u64),
    #[error(
        "the line is no cosignature on this checkpoint by a validator that this prover knows (setting prover.validators)"
    )]
    Unknown,
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Signature lines beside the prover's.
pub(crate) fn count(note: &str) -> usize {
    note.lines().filter(|line| line.starts_with('\u{2014}')).count().saturating_sub(1)
}

impl Cosigned {
    pub(crate) fn open(store: &LedgerStore) -> Result<Self, StoreError> {
        let mut newest = BTreeMap::new();
        for row in store.checkpoints_from_the_newest()?.take(LOOKED_THROUGH) {
            let (size, note) = row?;
            note_down(&mut newest, count(&note), size);
        }
        Ok(Self { newest: watch::Sender::new(newest), writing: Mutex::new(()) })
    }

    /// The newest checkpoint with at least so many.
    pub(crate) fn newest(&self, least: usize) -> Option<u64> {
        self.newest.borrow().get(&least).copied()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<BTreeMap<usize, u64>> {
        self.newest.subscribe()
    }

    /// Replaces the note of a checkpoint that is held, or keeps it for the first time.
    pub(crate) fn keep(&self, store: &LedgerStore, size: u64, note: &str) -> Result<(), StoreError> {
        store.put_checkpoint(size, note)?;
        self.newest.send_modify(|newest| note_down(newest, count(note), size));
        Ok(())
    }
}

fn note_down(newest: &mut BTreeMap<usize, u64>, count: usize, size: u64) {
    for least in 1..=count {
        let known = newest.entry(least).or_default();
        *known = size.max(*known);
    }
}

/// Adds a validator's line to the note of a checkpoint. A second one of the same validator changes nothing.
pub(crate) fn add(shared: &Shared, size: u64, line: &str) -> Result<(), CosignError> {
    let config = &shared.config;
    let (chain, validators) = (config.manifest.chain_id(), &config.validators);
    let _writing = shared.cosigned.writing.lock().unwrap_or_else(PoisonError::into_inner);
    let note = shared.store.checkpoint(size)?.ok_or(CosignError::NoCheckpoint(size))?;
    let checkpoint = Checkpoint::open(&note, &chain, &config.manifest.prover_key)?;
    let one_line = line.ends_with('\n') && line.matches('\n').count() == 1;
    if !one_line {
        return Err(CosignError::Unknown);
    }
    let longer = format!("{note}{line}");
    Checkpoint::open(&longer, &chain, &config.manifest.prover_key)?;
    let before = checkpoint.cosignatures(&note, &chain, validators)?;
    let after = checkpoint.cosignatures(&longer, &chain, validators)?;
    if after.len() > before.len() {
        shared.cosigned.keep(&shared.store, size, &longer)?;
        config.metrics.cosignatures.inc();
        return Ok(());
    }
    // Known already, or a stranger's.
    let alone = format!("{}{line}", &note[..note.rfind("\n\n").map_or(0, |end| end + 2)]);
    if checkpoint.cosignatures(&alone, &chain, validators)?.is_empty() {
        return Err(CosignError::Unknown);
    }
    Ok(())
}
