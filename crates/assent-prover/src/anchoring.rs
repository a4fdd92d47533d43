//! The task that follows the base chain and anchors.

use std::{error::Error, sync::Arc, time::Duration};

use assent_anchor::{AnchorStore, Anchorer};
use assent_core::note::Checkpoint;
use assent_store::LedgerStore;
use tokio::{sync::watch, time::Instant};

use crate::{ProverError, Shared};

/// How often the node is asked for its best block.
const POLL: Duration = Duration::from_millis(500);

/// The anchoring rows of the prover's database.
pub(crate) struct Rows(pub(crate) Arc<LedgerStore>);

impl AnchorStore for Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.anchoring_get(key)?)
    }

    fn write(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.anchoring_write(changes)?)
    }
}

pub(crate) async fn run(
    shared: Arc<Shared>,
    mut anchorer: Anchorer,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ProverError> {
    let mut last_anchor: Option<Instant> = None;
    let mut last_problem = String::new();
    loop {
        let due = last_anchor.is_none_or(|at| at.elapsed() >= shared.config.anchor_interval);
        let checkpoint = if due { newest(&shared)? } else { None };
        if checkpoint.is_some() {
            last_anchor = Some(Instant::now());
        }
        match anchorer.step(checkpoint).await {
            Ok(()) => last_problem.clear(),
            Err(error) => {
                // Anchoring never gives up: what is not anchored now is in the next checkpoint. Told once, not at every try.
                let problem = error.to_string();
                if problem != last_problem {
                    if error.is_transient() {
                        tracing::warn!(%problem, "anchoring waits");
                    } else {
                        tracing::error!(%problem, "anchoring is STOPPED until someone acts");
                    }
                    last_problem = problem;
                }
                last_anchor = None;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// The newest checkpoint. What was signed before a halt stays true and may be anchored.
fn newest(shared: &Shared) -> Result<Option<Checkpoint>, ProverError> {
    let config = &shared.config;
    let Some((_, note)) = shared.store.newest_checkpoint()? else { return Ok(None) };
    Ok(Checkpoint::open(&note, &config.manifest.chain_id(), &config.manifest.prover_key).ok())
}
