//! Following the sequencer's batch stream.

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use assent_core::{ChainId, codec::sha256};
use assent_proto::v1::{self as proto, sequencer_service_client::SequencerServiceClient};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::{
    ProverError, Shared,
    reexecute::{BatchError, Follower, HaltReport},
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
            halt(shared, "the re-execution panicked".into());
            return Ok(Ended::Halted);
        };
        match result {
            Ok(checkpoint) => {
                tracing::debug!(size = checkpoint.size, "checkpoint signed");
                if last_progress.elapsed() >= PROGRESS {
                    tracing::info!(batches = checkpoint.size, "re-executed");
                    last_progress = std::time::Instant::now();
                }
                shared.batches.send_replace(checkpoint.size);
                *follower = Some(worker);
            }
            Err(BatchError::Store(error)) => return Err(error.into()),
            Err(BatchError::Divergence(divergence)) => {
                let number = *shared.batches.borrow();
                report(shared, number, &batch, &divergence.to_string())?;
                return Ok(Ended::Halted);
            }
        }
    }
}

pub(crate) fn halt(shared: &Shared, why: String) {
    tracing::error!(%why, "the prover has HALTED and signs nothing any more");
    let mut halted = shared.halted.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    *halted = Some(why);
}

/// Where the report of a halt is written. As long as it is there, the prover does not follow.
pub(crate) fn report_path(database: &Path) -> PathBuf {
    database.with_extension("halt-report.json")
}

/// Writes the report beside the database, whole, then halts.
fn report(
    shared: &Shared,
    batch: u64,
    sent: &proto::SealedBatch,
    difference: &str,
) -> Result<(), ProverError> {
    let report = HaltReport {
        chain_id: shared.config.manifest.chain_id().to_string(),
        batch,
        difference: difference.to_owned(),
        header: hex::encode(&sent.header),
        header_signature: hex::encode(&sent.signature),
        log_records: sent.log_records.iter().map(hex::encode).collect(),
        entries: sent.entries.iter().map(hex::encode).collect(),
        explanation: "The sequencer sent this batch; its header and signature are as they came. Executing its log \
                      records again gives something else. Keep this file: it may be evidence, and the prover signs \
                      no checkpoint from this batch on as long as the file is here.",
    };
    let path = report_path(&shared.config.path);
    let part = path.with_extension("part");
    let write = || {
        let bytes = serde_json::to_vec_pretty(&report).map_err(std::io::Error::other)?;
        let mut file = std::fs::File::create(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)
    };
    write().map_err(|source| ProverError::Report { path: path.clone(), source })?;
    halt(shared, format!("batch {batch}: {difference}; report: {}", path.display()));
    Ok(())
}
