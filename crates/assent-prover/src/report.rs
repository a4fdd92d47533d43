//! Telling the sequencer how far the prover has come.

use std::{sync::Arc, time::Duration};

use assent_proto::v1::{self as proto, sequencer_service_client::SequencerServiceClient};
use tokio::sync::watch;

use crate::{ProverError, Shared};

/// Least time between two reports.
const INTERVAL: Duration = Duration::from_millis(500);
/// A report that was not heard is repeated; so is the last one, for a sequencer that was restarted from a crash.
const REPEAT: Duration = Duration::from_secs(10);

pub(crate) async fn run(shared: Arc<Shared>, mut shutdown: watch::Receiver<bool>) -> Result<(), ProverError> {
    let dial = &shared.config.sequencer;
    let endpoint = dial.endpoint()?.timeout(Duration::from_secs(5));
    let mut client = SequencerServiceClient::new(dial.channel(&endpoint)?);
    let mut checkpointed = shared.checkpointed.subscribe();
    loop {
        let stopped = shutdown.wait_for(|stop| *stop);
        tokio::select! {
            changed = tokio::time::timeout(REPEAT, checkpointed.changed()) => if let Ok(Err(_)) = changed { return Ok(()) },
            _ = stopped => return Ok(()),
        }
        if let Some((_, checkpoint)) = shared.store.newest_checkpoint()?
            && let Err(status) = client.report_checkpoint(proto::ReportCheckpointRequest { checkpoint }).await
        {
            tracing::debug!(problem = status.message(), "the sequencer was not told of the checkpoint");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
