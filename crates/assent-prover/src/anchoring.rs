//! The task that follows the base chain and anchors.

use std::{
    error::Error,
    sync::{Arc, PoisonError},
    time::Duration,
};

use assent_anchor::{AnchorStore, Anchorer};
use assent_core::note::Checkpoint;
use assent_merkle::tiles::TileProver;
use assent_metrics::Stage;
use assent_store::LedgerStore;
use assent_verify::evidence::RootClaim;
use tokio::{sync::watch, time::Instant};

use crate::{Duty, ProverError, Shared, halt, status};

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
    let mut compared = 0;
    let mut seen = [shared.anchors.newest(1).first().map_or(0, |seal| seal.size), confirmed(&shared)];
    let mut last_problem = String::new();
    loop {
        let checkpoint = match &shared.config.duty {
            Duty::Prover { anchor_interval, .. } => {
                let due = last_anchor.is_none_or(|at| at.elapsed() >= *anchor_interval);
                if due || anchorer.has_unconfirmed() { newest(&shared)? } else { None }
            }
            Duty::Validator { .. } => None,
        };
        match anchorer.step(checkpoint).await {
            Ok(made) => {
                if !last_problem.is_empty() {
                    tell_problem(&shared, "", false);
                }
                last_problem.clear();
                if made {
                    last_anchor = Some(Instant::now());
                }
            }
            Err(error) => {
                // Anchoring never gives up: what is not anchored now is in the next checkpoint. Told once, not at every try.
                let problem = error.to_string();
                shared.config.metrics.base_errors.inc();
                tell_problem(&shared, &problem, !error.is_transient());
                if problem != last_problem {
                    if error.is_transient() {
                        tracing::warn!(%problem, "waiting for the base chain");
                    } else {
                        tracing::error!(%problem, "anchoring is STOPPED until someone acts");
                    }
                    last_problem = problem;
                }
            }
        }
        compared = compare_roots(&shared, compared)?;
        seen = tell_tiers(&shared, seen)?;
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

fn confirmed(shared: &Shared) -> u64 {
    shared.anchors.size_at_depth(shared.config.confirmations)
}

/// For the status and the metrics: why the base chain cannot be followed or anchored on, and whether somebody has to act.
fn tell_problem(shared: &Shared, problem: &str, stopped: bool) {
    problem.clone_into(&mut shared.base_problem.write().unwrap_or_else(PoisonError::into_inner));
    shared.config.metrics.anchoring_stopped.set(stopped.into());
}

/// Brings metrics up to date, and tells whoever follows a transaction that it is anchored or confirmed. `seen` is how far
/// each had come; a reorganisation takes it back.
fn tell_tiers(shared: &Shared, seen: [u64; 2]) -> Result<[u64; 2], ProverError> {
    let now = [shared.anchors.newest(1).first().map_or(0, |seal| seal.size), confirmed(shared)];
    for ((tier, from), to) in ["ANCHORED", "CONFIRMED"].into_iter().zip(seen).zip(now) {
        if to > from {
            status::reached(shared, tier, from, to)?;
        }
    }
    if let Some(age) = (now[0] > seen[0]).then(|| status::age_of(shared, now[0] - 1)).transpose()?.flatten() {
        shared.config.metrics.stages.observe(Stage::Anchor, age);
    }
    status::tell(shared)?;
    Ok(now)
}

/// Compares what the seals on the base chain carry with our own history, from the first that was not compared yet. A prover
/// that was rebuilt from a rewritten log finds that here. Gives the next index to compare.
fn compare_roots(shared: &Shared, from: usize) -> Result<usize, ProverError> {
    let batches = *shared.batches.borrow();
    // A reorganisation may have taken seals back; what replaces them is compared again.
    let mut next = from.min(shared.anchors.anchored_from(0).len());
    // Only what is deep enough: the halt is for good, and a young branch may be gone tomorrow.
    for (size, root) in shared.anchors.confirmed_from(next, shared.config.confirmations) {
        if size > batches {
            break;
        }
        let own = TileProver::new(shared.store.as_ref(), batches).root(size)?;
        if own != root && shared.halted().is_none() {
            let (root, own) = (hex::encode(root), hex::encode(own));
            let why = format!("the base chain carries root {root} for size {size}, this history has {own}");
            match shared.anchors.proof(size.saturating_sub(1))? {
                Some(proof) => halt::on_claim(shared, size, why, RootClaim::Anchored(proof.chain))?,
                None => halt::halt(shared, why),
            }
        }
        next += 1;
    }
    Ok(next)
}

/// The newest checkpoint. What was signed before a halt stays true and may be anchored.
fn newest(shared: &Shared) -> Result<Option<Checkpoint>, ProverError> {
    let config = &shared.config;
    let Some((_, note)) = shared.store.newest_checkpoint()? else { return Ok(None) };
    Ok(Checkpoint::open(&note, &config.manifest.chain_id(), &config.manifest.prover_key).ok())
}
