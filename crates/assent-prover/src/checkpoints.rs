//! A validator's watch over the prover: every checkpoint that it gets is compared with its own history, and cosigned where
//! it is right and the validator has a key.

use std::{sync::Arc, time::Duration};

use assent_client::{Authorized, Dial, describe};
use assent_core::note::{Checkpoint, CosignerKey};
use assent_merkle::tiles::TileProver;
use assent_proto::v1::{self as proto, prover_service_client::ProverServiceClient};
use assent_verify::evidence::RootClaim;
use tokio::sync::watch;

use crate::{Cosigner, ProverError, Shared, cosign, halt, status};

/// How often the prover is asked.
const POLL: Duration = Duration::from_millis(500);
/// Longest pause while it does not answer.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    shared: Arc<Shared>,
    prover: Dial,
    cosigner: Option<Cosigner>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ProverError> {
    let address = &prover.address;
    let endpoint = prover.endpoint()?.timeout(Duration::from_secs(10));
    let mut client = ProverServiceClient::new(prover.channel(&endpoint)?);
    let (mut pause, mut told, mut watching) =
        (POLL, false, Watching { cosigner, refused: false, pending: None, anchors: 0 });
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

struct Watching {
    cosigner: Option<Cosigner>,
    /// The prover does not take cosignatures: said once.
    refused: bool,
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
        client: &mut ProverServiceClient<Authorized>,
    ) -> Result<Result<(), String>, ProverError> {
        if self.pending.is_none() {
            match fetch(shared, client, 0).await {
                Ok(newest) => self.pending = newest,
                Err(problem) => return Ok(Err(problem)),
            }
        }
        let reached = self.pending.take_if(|(checkpoint, _)| checkpoint.size <= *shared.batches.borrow());
        if let Some((checkpoint, note)) = reached
            && let Err(problem) = self.compare(shared, client, &checkpoint, note).await?
        {
            return Ok(Err(problem));
        }
        // The newest may be far ahead, now or for ever: then the one that ends where we are.
        let own = *shared.batches.borrow();
        if self.pending.is_some() && own > *shared.checkpointed.borrow() {
            match fetch(shared, client, own).await {
                Ok(Some((checkpoint, note))) => {
                    if let Err(problem) = self.compare(shared, client, &checkpoint, note).await? {
                        return Ok(Err(problem));
                    }
                }
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
                    Ok(Some((checkpoint, note))) => {
                        if let Err(problem) = self.compare(shared, client, &checkpoint, note).await? {
                            return Ok(Err(problem));
                        }
                    }
                    Ok(None) => break,
                    Err(problem) => return Ok(Err(problem)),
                }
            }
            self.anchors += 1;
        }
        Ok(Ok(()))
    }

    /// Compares a checkpoint with our own history; cosigns it where it is right. The inner result says why the prover did not
    /// take the cosignature.
    async fn compare(
        &mut self,
        shared: &Arc<Shared>,
        client: &mut ProverServiceClient<Authorized>,
        checkpoint: &Checkpoint,
        note: String,
    ) -> Result<Result<(), String>, ProverError> {
        let batches = *shared.batches.borrow();
        let own = TileProver::new(shared.store.as_ref(), batches).root(checkpoint.size)?;
        if own != checkpoint.root {
            let difference = format!(
                "the prover signed root {} for size {}, this history has {}",
                hex::encode(checkpoint.root),
                checkpoint.size,
                hex::encode(own)
            );
            let claim = RootClaim::Signed(note);
            let (shared, size) = (shared.clone(), checkpoint.size);
            let work = move || halt::on_claim(&shared, size, difference, claim);
            if let Ok(result) = tokio::task::spawn_blocking(work).await {
                result?;
            }
            return Ok(Ok(()));
        }
        if shared.is_halting() {
            return Ok(Ok(()));
        }
        let line = self.vouch(shared, checkpoint, &note)?;
        shared.checkpointed.send_if_modified(|size| {
            let newer = checkpoint.size > *size;
            *size = checkpoint.size.max(*size);
            newer
        });
        status::tell(shared)?;
        let Some(line) = line else { return Ok(Ok(())) };
        let request = proto::AddCosignatureRequest { size: checkpoint.size, line };
        match client.add_cosignature(request).await {
            Ok(_) => {
                shared.config.metrics.cosignatures.inc();
                self.refused = false;
            }
            Err(status) if status.code() == tonic::Code::InvalidArgument => {
                // It answers, but does not know us. Its checkpoints are compared all the same.
                if !self.refused {
                    tracing::warn!(problem = status.message(), "the prover did not take the cosignature");
                    self.refused = true;
                }
            }
            Err(status) => return Ok(Err(describe(&status))),
        }
        Ok(Ok(()))
    }

    /// Keeps the checkpoint with our cosignature. Gives the line where the prover does not have it yet.
    fn vouch(
        &self,
        shared: &Shared,
        checkpoint: &Checkpoint,
        note: &str,
    ) -> Result<Option<String>, ProverError> {
        let held = shared.store.checkpoint(checkpoint.size)?;
        let Some(Cosigner { name, key }) = &self.cosigner else {
            // Others' cosignatures may have come since.
            if held.is_none_or(|held| cosign::count(&held) < cosign::count(note)) {
                shared.cosigned.keep(&shared.store, checkpoint.size, note)?;
            }
            return Ok(None);
        };
        let chain = shared.config.manifest.chain_id();
        let by = CosignerKey::new(name, key.public()).map_err(ProverError::Cosigner)?;
        let has_ours = |note: &str| {
            checkpoint
                .cosignatures(note, &chain, std::slice::from_ref(&by))
                .is_ok_and(|found| !found.is_empty())
        };
        if has_ours(note) {
            if held.is_none_or(|held| cosign::count(&held) < cosign::count(note)) {
                shared.cosigned.keep(&shared.store, checkpoint.size, note)?;
            }
            return Ok(None);
        }
        // One that the prover has not got is sent again as it is, not signed anew.
        let prefix = format!("\u{2014} {name} ");
        let line = held
            .filter(|held| has_ours(held))
            .and_then(|held| Some(format!("{}\n", held.lines().find(|line| line.starts_with(&prefix))?)));
        let line = match line {
            Some(line) => line,
            None => {
                let time_s = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                let line = checkpoint.cosign(&chain, name, key, time_s).map_err(ProverError::Cosigner)?;
                shared.cosigned.keep(&shared.store, checkpoint.size, &format!("{note}{line}"))?;
                line
            }
        };
        Ok(Some(line))
    }
}

/// A checkpoint with a good signature. One without is no evidence, only rubbish.
async fn fetch(
    shared: &Shared,
    client: &mut ProverServiceClient<Authorized>,
    size: u64,
) -> Result<Option<(Checkpoint, String)>, String> {
    let answer = client.get_checkpoint(proto::GetCheckpointRequest { size }).await;
    let note = answer.map_err(|status| describe(&status))?.into_inner().checkpoint;
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
