//! Following the sequencer's batch stream.

use std::{sync::Arc, time::Duration};

use assent_client::{Authorized, describe};
use assent_core::{ChainId, batch::BatchRecord, codec::sha256};
use assent_proto::v1::{
    self as proto, prover_service_client::ProverServiceClient,
    sequencer_service_client::SequencerServiceClient,
};
use assent_verify::{
    evidence::{RecordProof, RootClaim},
    replay::Replayed,
};
use tokio::sync::{mpsc, watch};

use crate::{
    Duty, ProverError, Shared, halt,
    take_in::{BatchError, Executor},
    worker::Worker,
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
    executor: Executor,
    executed: mpsc::Sender<Arc<Replayed>>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ProverError> {
    let address = shared.config.sequencer.address.clone();
    let endpoint = shared
        .config
        .sequencer
        .endpoint()?
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    let channel = shared.config.sequencer.channel(&endpoint)?;
    let mut executor = Some(executor);
    let thread = Worker::start("prover-execute").map_err(ProverError::Thread)?;
    let mut pause = BACKOFF.0;
    let mut last_problem = String::new();
    loop {
        if shared.halted().is_some() {
            let _ = shutdown.wait_for(|stop| *stop).await;
            return Ok(());
        }
        let before = *shared.batches.borrow();
        let ended = follow(&shared, &channel, &thread, &mut executor, &executed, &mut shutdown).await?;
        shared.config.metrics.following.set(0);
        match ended {
            Ended::Stopped => return Ok(()),
            Ended::Halted => {
                let _ = shutdown.wait_for(|stop| *stop).await;
                return Ok(());
            }
            Ended::Disconnected(problem) => {
                shared.config.metrics.disconnects.inc();
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
    channel: &Authorized,
    thread: &Worker,
    executor: &mut Option<Executor>,
    executed: &mpsc::Sender<Arc<Replayed>>,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<Ended, ProverError> {
    let connecting = async {
        let mut client =
            SequencerServiceClient::new(channel.clone()).max_decoding_message_size(MAX_BATCH_MESSAGE);
        let ledger =
            client.get_ledger(proto::GetLedgerRequest {}).await.map_err(|status| describe(&status))?;
        Ok::<(SequencerServiceClient<Authorized>, Vec<u8>), String>((client, ledger.into_inner().manifest))
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
    let from_batch = executor.as_ref().map_or(0, Executor::next_batch);
    let mut stream = match client.stream_batches(proto::StreamBatchesRequest { from_batch }).await {
        Ok(response) => response.into_inner(),
        Err(status) => return Ok(Ended::Disconnected(describe(&status))),
    };
    shared.config.metrics.following.set(1);
    tracing::info!(from_batch, "following the sequencer");
    let mut last_progress = std::time::Instant::now();
    let mut entries_then = executor.as_ref().map_or(0, Executor::next_sequence);
    loop {
        let message = tokio::select! {
            message = stream.message() => message,
            _ = shutdown.wait_for(|stop| *stop) => return Ok(Ended::Stopped),
        };
        let batch = match message {
            Ok(Some(proto::StreamBatchesResponse { batch: Some(batch) })) => batch,
            Ok(Some(_)) => return Ok(Ended::Disconnected("an empty message".into())),
            Ok(None) => return Ok(Ended::Disconnected("the stream ended".into())),
            Err(status) => return Ok(Ended::Disconnected(describe(&status))),
        };
        // The other task may have halted: what the base chain carries is not this history.
        if shared.halted().is_some() {
            return Ok(Ended::Halted);
        }
        let Some(mut worker) = executor.take() else { return Ok(Ended::Halted) };
        let work = thread.run(move || {
            let result = worker.execute(&batch);
            (worker, batch, result)
        });
        let Some((worker, batch, result)) = work.await else {
            halt::halt(shared, "the re-execution panicked".into());
            return Ok(Ended::Halted);
        };
        match result {
            Ok(replayed) => {
                if last_progress.elapsed() >= PROGRESS {
                    let (batches, entries) = (worker.next_batch(), worker.next_sequence());
                    let rate = (entries - entries_then) as f64 / last_progress.elapsed().as_secs_f64();
                    tracing::info!(batches, entries, "re-executed, {rate:.0} entries a second");
                    (last_progress, entries_then) = (std::time::Instant::now(), entries);
                }
                *executor = Some(worker);
                if executed.send(replayed).await.is_err() {
                    // The other stage has failed, and says why.
                    return Ok(Ended::Halted);
                }
            }
            Err(BatchError::State(error)) => return Err(error.into()),
            Err(BatchError::Unsigned(error)) => {
                *executor = Some(worker);
                return Ok(Ended::Disconnected(format!("what it sends is not what it signed: {error}")));
            }
            Err(BatchError::Divergence(divergence)) => {
                // The report is made from what is stored: all batches before this one.
                let number = number_of(&batch);
                let mut batches = shared.batches.subscribe();
                tokio::select! {
                    _ = batches.wait_for(|committed| Some(*committed) >= number) => {}
                    _ = shutdown.wait_for(|stop| *stop) => return Ok(Ended::Stopped),
                }
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

/// The number of a batch whose header is signed.
fn number_of(batch: &proto::SealedBatch) -> Option<u64> {
    assent_core::batch::BatchHeader::decode(&batch.header).ok().map(|header| header.number)
}

/// For a validator: the batch record in which the prover vouched for a wrong batch, if it did.
async fn endorsement(shared: &Shared, batch: &proto::SealedBatch) -> Option<RecordProof> {
    let Duty::Validator { prover: Some(prover), .. } = &shared.config.duty else { return None };
    let number = *shared.batches.borrow();
    let endpoint = prover.endpoint().ok()?.timeout(Duration::from_secs(5));
    let mut client = ProverServiceClient::new(prover.channel(&endpoint).ok()?);
    // The prover signs a checkpoint with each batch.
    let size = number + 1;
    let note =
        client.get_checkpoint(proto::GetCheckpointRequest { size }).await.ok()?.into_inner().checkpoint;
    let found =
        client.get_batch_record(proto::GetBatchRecordRequest { number, size }).await.ok()?.into_inner();
    let record = BatchRecord::decode(&found.record).ok()?;
    let path = found.path.iter().map(|hash| hash.as_slice().try_into().ok()).collect::<Option<_>>()?;
    // Whether it holds under the checkpoint is checked with the evidence.
    (record.header_hash == sha256(&batch.header)).then_some(RecordProof {
        claim: RootClaim::Signed(note),
        record: found.record,
        path,
    })
}
