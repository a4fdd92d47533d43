//! The gRPC service.

use std::{pin::Pin, sync::Arc};

use assent_core::TransactionId;
use assent_merkle::tiles::{TileError, TileProver};
use assent_proto::{
    errors,
    v1::{self as proto, prover_service_server::ProverService},
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use crate::{
    Duty, Shared,
    bundle::{self, BundleError},
    tier,
};

/// Bytes of one response message: the largest bundle.
pub const MAX_RESPONSE_BYTES: usize = assent_verify::MAX_BUNDLE_BYTES + 1024;
/// Tier changes that wait for one slow watcher.
const WATCH_AHEAD: usize = 16;

/// What clients and auditors of a prover call.
#[derive(Clone)]
pub struct ProverApi {
    shared: Arc<Shared>,
}

fn internal(error: impl std::error::Error + 'static) -> Status {
    tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
    errors::error(Code::Internal, "INTERNAL", "the node could not read its own data; its log says more")
}

fn id_of(bytes: &[u8]) -> Result<TransactionId, Status> {
    TransactionId::try_from(bytes).map_err(|_| {
        let problem = format!("expected 32 bytes, found {}", bytes.len());
        errors::field_error("FIELD_INVALID", "transaction_id", problem)
    })
}

impl ProverApi {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs what reads the database off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || work(&shared)).await.map_err(internal)?
    }
}

#[tonic::async_trait]
impl ProverService for ProverApi {
    async fn get_tier(
        &self,
        request: Request<proto::GetTierRequest>,
    ) -> Result<Response<proto::GetTierResponse>, Status> {
        let id = id_of(&request.into_inner().transaction_id)?;
        let status = self.blocking(move |shared| tier::status(shared, &id).map_err(internal)).await?;
        let status = status.ok_or_else(|| {
            errors::error(Code::NotFound, "TRANSACTION_NOT_PROVEN", BundleError::Unknown.to_string())
        })?;
        Ok(Response::new(proto::GetTierResponse { status: Some(status) }))
    }

    type WatchTierStream = Pin<Box<dyn Stream<Item = Result<proto::WatchTierResponse, Status>> + Send>>;

    async fn watch_tier(
        &self,
        request: Request<proto::WatchTierRequest>,
    ) -> Result<Response<Self::WatchTierStream>, Status> {
        let id = id_of(&request.into_inner().transaction_id)?;
        let (sender, receiver) = mpsc::channel(WATCH_AHEAD);
        let api = self.clone();
        let (mut batches, mut anchors) = (self.shared.batches.subscribe(), self.shared.anchors.changes());
        let mut checkpointed = self.shared.checkpointed.subscribe();
        tokio::spawn(async move {
            let mut last = None;
            loop {
                match api.blocking(move |shared| tier::status(shared, &id).map_err(internal)).await {
                    Err(status) => {
                        let _ = sender.send(Err(status)).await;
                        return;
                    }
                    Ok(Some(status)) if tier::is_news(last.as_ref(), &status) => {
                        last = Some(status.clone());
                        if sender.send(Ok(proto::WatchTierResponse { status: Some(status) })).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                }
                // Batches matter only until the transaction is in one, checkpoints until one covers it.
                let covered = last.as_ref().is_some_and(|last| last.tier > proto::Tier::Sealed as i32);
                tokio::select! {
                    changed = batches.changed(), if last.is_none() => if changed.is_err() { return },
                    changed = checkpointed.changed(), if !covered => if changed.is_err() { return },
                    changed = anchors.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_bundle(
        &self,
        request: Request<proto::GetBundleRequest>,
    ) -> Result<Response<proto::GetBundleResponse>, Status> {
        let request = request.into_inner();
        let id = id_of(&request.transaction_id)?;
        let bundle = self
            .blocking(move |shared| {
                bundle::make(shared, &id, request.open_details).map_err(|error| match error {
                    BundleError::Unknown => {
                        errors::error(Code::NotFound, "TRANSACTION_NOT_PROVEN", error.to_string())
                    }
                    BundleError::NotAnchored => {
                        errors::error(Code::FailedPrecondition, "NOT_ANCHORED", error.to_string())
                    }
                    BundleError::CheckpointNotHeld(_) => {
                        errors::error(Code::FailedPrecondition, "CHECKPOINT_NOT_HELD", error.to_string())
                    }
                    other => internal(other),
                })
            })
            .await?;
        Ok(Response::new(proto::GetBundleResponse { bundle: bundle.encode() }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<proto::GetCheckpointRequest>,
    ) -> Result<Response<proto::GetCheckpointResponse>, Status> {
        let size = request.into_inner().size;
        let found = self
            .blocking(move |shared| {
                match size {
                    0 => shared
                        .store
                        .newest_checkpoint()
                        .map(|found| Some(found.map_or(String::new(), |(_, note)| note))),
                    size => shared.store.checkpoint(size),
                }
                .map_err(internal)
            })
            .await?;
        let checkpoint = found.ok_or_else(|| {
            let problem = format!("no checkpoint over {size} batches is held here");
            errors::error(Code::FailedPrecondition, "CHECKPOINT_NOT_HELD", problem)
        })?;
        Ok(Response::new(proto::GetCheckpointResponse { checkpoint }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<proto::GetConsistencyProofRequest>,
    ) -> Result<Response<proto::GetConsistencyProofResponse>, Status> {
        let proto::GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let path = self
            .blocking(move |shared| {
                let size = *shared.batches.borrow();
                let prover = TileProver::new(shared.store.as_ref(), size);
                prover.consistency_path(old_size, new_size).map_err(|error| match error {
                    TileError::OutOfRange { .. } => {
                        errors::field_error("SIZE_OUT_OF_RANGE", "new_size", error.to_string())
                    }
                    other => internal(other),
                })
            })
            .await?;
        let path = path.iter().map(|hash| hash.to_vec()).collect();
        Ok(Response::new(proto::GetConsistencyProofResponse { path }))
    }

    async fn get_prover_status(
        &self,
        _: Request<proto::GetProverStatusRequest>,
    ) -> Result<Response<proto::GetProverStatusResponse>, Status> {
        let status = self
            .blocking(|shared| {
                let cursor = shared.store.cursor(&shared.config.manifest).map_err(internal)?;
                let (anchors, base_height, wallet_balance_sat) = shared.anchors.summary();
                Ok(proto::GetProverStatusResponse {
                    batches: cursor.next_batch,
                    entries: cursor.next_sequence,
                    anchors,
                    base_height,
                    halted: shared.halted().unwrap_or_default(),
                    wallet_balance_sat,
                    validator: matches!(shared.config.duty, Duty::Validator { .. }),
                    checkpoint_size: *shared.checkpointed.borrow(),
                })
            })
            .await?;
        Ok(Response::new(status))
    }
}
