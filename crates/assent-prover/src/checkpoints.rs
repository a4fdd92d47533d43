//! A validator's watch over the prover: every checkpoint that it gets is compared with its own history.

use std::{sync::Arc, time::Duration};

use assent_core::note::Checkpoint;
use assent_merkle::tiles::TileProver;
use assent_proto::v1::{self as proto, prover_service_client::ProverServiceClient};
use assent_verify::evidence::RootClaim;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::{ProverError, Shared, halt};

/// How often the prover is asked.
const POLL: Duration = Duration::from_millis(500);
/// Longest pause while it does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    shared: Arc<Shared>,
    address: String,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ProverError> {
    let endpoint = Endpoint::from_shared(address.clone())
        .map_err(|error| ProverError::Address { address: address.clone(), problem: error.to_string() })?
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(10));
    let mut client = ProverServiceClient::new(endpoint.connect_lazy());
    let (mut pause, mut told, mut watching) = (POLL, false, Watching::default());
    loop {
        if shared.halted().is_some() {
            return Ok(());
        }
        match watching.step(&shared, &mut client).await? {
            Ok(()) => {
                if told {
                    tracing::info!(%address, "the prover answers");
                }
                (pause, told) = (POLL, false);
            }
            Err(problem) => {
                if !told {
                    tracing::warn!(%address, %problem, "waiting for the prover; batches are executed meanwhile");
                    told = true;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

#[derive(Default)]
struct Watching {
    /// Ahead of our own history: compared when that has caught up.
    pending: Option<(Checkpoint, String)>,
    /// Anchors whose checkpoint is kept.
    anchors: usize,
}

impl Watching {
    /// The inner result says why the prover could not be asked.
    async fn step(
        &mut self,
        shared: &Arc<Shared>,
        client: &mut ProverServiceClient<Channel>,
    ) -> Result<Result<(), String>, ProverError> {
        if self.pending.is_none() {
            match fetch(shared, client, 0).await {
                Ok(newest) => self.pending = newest,
                Err(problem) => return Ok(Err(problem)),
            }
        }
        if let Some((checkpoint, note)) =
            self.pending.take_if(|(checkpoint, _)| checkpoint.size <= *shared.batches.borrow())
        {
            compare(shared, &checkpoint, note)?;
        }
        // The newest may be far ahead, now or for ever: then the one that ends where we are.
        let own = *shared.batches.borrow();
        if self.pending.is_some() && own > *shared.checkpointed.borrow() {
            match fetch(shared, client, own).await {
                Ok(Some((checkpoint, note))) => compare(shared, &checkpoint, note)?,
                Ok(None) => {}
                Err(problem) => return Ok(Err(problem)),
            }
        }
        // Bundles need the checkpoint of each anchor.
        let known = shared.anchors.anchored_from(0).len();
        self.anchors = self.anchors.min(known);
        for (size, _) in shared.anchors.anchored_from(self.anchors) {
            if size > *shared.batches.borrow() {
                break;
            }
            if shared.store.checkpoint(size)?.is_none() {
                match fetch(shared, client, size).await {
                    Ok(Some((checkpoint, note))) => compare(shared, &checkpoint, note)?,
                    Ok(None) => break,
                    Err(problem) => return Ok(Err(problem)),
                }
            }
            self.anchors += 1;
        }
        Ok(Ok(()))
    }
}

/// A checkpoint with a good signature. One without is no evidence, only rubbish.
async fn fetch(
    shared: &Shared,
    client: &mut ProverServiceClient<Channel>,
    size: u64,
) -> Result<Option<(Checkpoint, String)>, String> {
    let answer = client.get_checkpoint(proto::GetCheckpointRequest { size }).await;
    let note = answer.map_err(|status| status.message().to_owned())?.into_inner().checkpoint;
    if note.is_empty() {
        return Ok(None);
    }
    let manifest = &shared.config.manifest;
    let checkpoint = Checkpoint::open(&note, &manifest.chain_id(), &manifest.prover_key)
        .map_err(|error| format!("it serves a checkpoint that it did not sign: {error}"))?;
    if size != 0 && checkpoint.size != size {
        return Err(format!(
            "asked for the checkpoint over {size} batches, it sent one over {}",
            checkpoint.size
        ));
    }
    Ok(Some((checkpoint, note)))
}

fn compare(shared: &Shared, checkpoint: &Checkpoint, note: String) -> Result<(), ProverError> {
    let batches = *shared.batches.borrow();
    let own = TileProver::new(shared.store.as_ref(), batches).root(checkpoint.size)?;
    if own == checkpoint.root {
        if shared.store.checkpoint(checkpoint.size)?.is_none() {
            shared.store.put_checkpoint(checkpoint.size, &note)?;
        }
        shared.checkpointed.send_if_modified(|size| {
            let newer = checkpoint.size > *size;
            *size = checkpoint.size.max(*size);
            newer
        });
        return Ok(());
    }
    let difference = format!(
        "the prover signed root {} for size {}, this history has {}",
        hex::encode(checkpoint.root),
        checkpoint.size,
        hex::encode(own)
    );
    halt::on_claim(shared, checkpoint.size, difference, RootClaim::Signed(note))
}
