//! Committing executed batches, one stage behind their execution.

use std::sync::Arc;

use assent_core::note::Checkpoint;
use assent_verify::replay::Replayed;
use tokio::sync::mpsc;

use crate::{Duty, ProverError, Shared, status, take_in::Committer, worker::Worker};

/// Executed batches that wait to be committed: one that is being committed and one after it, so that neither stage waits
/// for the other where batches differ in size.
pub(crate) const AHEAD: usize = 1;

pub(crate) async fn run(
    shared: Arc<Shared>,
    mut committer: Committer,
    mut executed: mpsc::Receiver<Arc<Replayed>>,
) -> Result<(), ProverError> {
    let worker = Worker::start("prover-commit").map_err(ProverError::Thread)?;
    while let Some(replayed) = executed.recv().await {
        if shared.is_halting() {
            break;
        }
        let batch = replayed.clone();
        let work = worker.run(move || {
            let checkpoint = committer.commit(&replayed);
            (committer, checkpoint)
        });
        let checkpoint;
        (committer, checkpoint) = work.await.ok_or(ProverError::Panicked)?;
        tell(&shared, &checkpoint?);
        status::committed(&shared, &batch)?;
    }
    Ok(())
}

/// Tells everybody who waits that a batch is committed.
pub(crate) fn tell(shared: &Shared, checkpoint: &Checkpoint) {
    shared.batches.send_replace(checkpoint.size);
    if matches!(shared.config.duty, Duty::Prover { .. }) {
        shared.checkpointed.send_replace(checkpoint.size);
    }
}
