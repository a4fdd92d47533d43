//! Following the sequencer's batch stream.

use std::{sync::Arc, time::Duration};

use assent_core::{ChainId, batch::BatchRecord, codec::sha256, note::Checkpoint};
use assent_merkle::tiles::{TileProver, TileWriter};
use assent_proto::v1::{
    self as proto, prover_service_client::ProverServiceClient,
    sequencer_service_client::SequencerServiceClient,
};
use assent_verify::evidence::{RecordProof, RootClaim};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::{
    Duty, ProverError, Shared, halt,
    take_in::{BatchError, Follower},
};

/// Bytes of one message of the stream: a whole batch, with its entries.
const MAX_BATCH_MESSAGE: usize = 3 * assent_core::limits::MAX_BATCH_BYTES as usize;
/// First and longest pause before connecting again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How often the log tells how far re-execution has come.
const PROGRESS: Duration = Duration::from_secs(10);

enum Ended {
    /// Try again.
    Disconnected(String),
    /// For good: the sequencer cannot be followed.
    Halted,
    /// Told to.
    Stopped,
}

pub(crate) async fn run(
    shared: Arc<Shared>,
    follower: Follower,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ProverError> {
    let address = shared.config.sequencer.clone();
    let endpoint = Endpoint::from_shared(address.clone())
        .map_err(|error| ProverError::Address { address: address.clone(), problem: error.to_string() })?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    let mut follower = Some(follower);
    let mut pause = BACKOFF.0;
    let mut last_problem = String::new();
    loop {
        if shared.halted().is_some() {
            let _ = shutdown.wait_for(|stop| *stop).await;
            return Ok(());
        }
        let before = *shared.batches.borrow();
        match follow(&shared, &endpoint, &mut follower, &mut shutdown).await? {
            Ended::Stopped => return Ok(()),
            Ended::Halted => {
                let _ = shutdown.wait_for(|stop| *stop).await;
                return Ok(());
            }
            Ended::Disconnected(problem) => {
                if *shared.batches.borrow() > before {
                    pause = BACKOFF.0;
                }
                if problem != last_problem {
                    tracing::warn!(%address, %problem, "waiting for the sequencer");
                    last_problem = problem;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        }
        pause = (pause * 2).min(BACKOFF.1);
    }
}

async fn follow(
    shared: &Arc<Shared>,
    endpoint: &Endpoint,
    follower: &mut Option<Follower>,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<Ended, ProverError> {
    let connecting = async {
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        let mut client = SequencerServiceClient::new(channel).max_decoding_message_size(MAX_BATCH_MESSAGE);
        let ledger =
            client.get_ledger(proto::GetLedgerRequest {}).await.map_err(|status| status.to_string())?;
        Ok::<(SequencerServiceClient<Channel>, Vec<u8>), String>((client, ledger.into_inner().manifest))
    };
    let (mut client, manifest) = tokio::select! {
        connected = connecting => match connected {
            Ok(connected) => connected,
            Err(problem) => return Ok(Ended::Disconnected(problem)),
        },
        _ = shutdown.wait_for(|stop| *stop) => return Ok(Ended::Stopped),
    };
    let found = ChainId(sha256(&manifest));
    let expected = shared.config.manifest.chain_id();
    if found != expected {
        return Ok(Ended::Disconnected(format!(
            "it serves chain {found}, this prover is of chain {expected}"
        )));
    }
    let from_batch = *shared.batches.borrow();
    let mut stream = match client.stream_batches(proto::StreamBatchesRequest { from_batch }).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(Ended::Disconnected(status.to_string())),
    };
    tracing::info!(from_batch, "following the sequencer");
    let mut last_progress = std::time::Instant::now();
    let mut entries_then = follower.as_ref().map_or(0, Follower::next_sequence);
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            _ = shutdown.wait_for(|stop| *stop) => return Ok(Ended::Stopped),
        };
        let batch = match message {
            Ok(Some(proto::StreamBatchesResponse { batch: Some(batch) })) => batch,
            Ok(Some(_)) => return Ok(Ended::Disconnected("an empty message".into())),
            Ok(None) => return Ok(Ended::Disconnected("the stream ended".into())),
            Err(status) => return Ok(Ended::Disconnected(status.to_string())),
        };
        // The other task may have halted: what the base chain carries is not this history.
        if shared.halted().is_some() {
            return Ok(Ended::Halted);
        }
        let Some(mut worker) = follower.take() else { return Ok(Ended::Halted) };
        let work = tokio::task::spawn_blocking(move || {
            let result = worker.take_in(&batch);
            (worker, batch, result)
        });
        let Ok((worker, batch, result)) = work.await else {
            halt::halt(shared, "the re-execution panicked".into());
            return Ok(Ended::Halted);
        };
        match result {
            Ok(checkpoint) => {
                if last_progress.elapsed() >= PROGRESS {
                    let entries = worker.next_sequence();
                    let rate = (entries - entries_then) as f64 / last_progress.elapsed().as_secs_f64();
                    tracing::info!(
                        batches = checkpoint.size,
                        entries,
                        "re-executed, {rate:.0} entries a second"
                    );
                    (last_progress, entries_then) = (std::time::Instant::now(), entries);
                }
                shared.batches.send_replace(checkpoint.size);
                if matches!(shared.config.duty, Duty::Prover { .. }) {
                    shared.checkpointed.send_replace(checkpoint.size);
                }
                *follower = Some(worker);
            }
            Err(BatchError::Store(error)) => return Err(error.into()),
            Err(BatchError::State(error)) => return Err(error.into()),
            Err(BatchError::Unsigned(error)) => {
                *follower = Some(worker);
                return Ok(Ended::Disconnected(format!("what it sends is not what it signed: {error}")));
            }
            Err(BatchError::Divergence(divergence)) => {
                let endorsed = endorsement(shared, &batch).await;
                let (shared, done) = (shared.clone(), Ended::Halted);
                // Evidence holds the whole ledger: off the async threads.
                let writing = tokio::task::spawn_blocking(move || {
                    halt::on_divergence(&shared, &batch, &divergence, endorsed)
                });
                return match writing.await {
                    Ok(result) => result.map(|()| done),
                    Err(_) => Ok(done),
                };
            }
        }
    }
}

/// For a validator: the checkpoint in which the prover vouched for a wrong batch, if it did. The prover signs one with each
/// batch, so the one that ends with this batch shows it.
async fn endorsement(shared: &Shared, batch: &proto::SealedBatch) -> Option<RecordProof> {
    let Duty::Validator { prover: Some(address) } = &shared.config.duty else { return None };
    let number = *shared.batches.borrow();
    let endpoint = Endpoint::from_shared(address.clone()).ok()?.timeout(Duration::from_secs(5));
    let mut client = ProverServiceClient::new(endpoint.connect_lazy());
    let request = proto::GetCheckpointRequest { size: number + 1 };
    let note = client.get_checkpoint(request).await.ok()?.into_inner().checkpoint;
    let manifest = &shared.config.manifest;
    let checkpoint = Checkpoint::open(&note, &manifest.chain_id(), &manifest.prover_key).ok()?;
    let record = BatchRecord::without_state(sha256(&batch.header));
    let mut history = TileWriter::open(shared.store.as_ref(), number).ok()?;
    history.append(record.leaf_hash());
    if (history.size(), history.root()) != (checkpoint.size, checkpoint.root) {
        return None;
    }
    // The last leaf's path: the roots of the complete subtrees before it, smallest first.
    let path = TileProver::new(shared.store.as_ref(), number).path_of_next(number).ok()?;
    Some(RecordProof { claim: RootClaim::Signed(note), record: record.encode(), path })
}
