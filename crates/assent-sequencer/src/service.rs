//! The gRPC service.

use std::{pin::Pin, sync::Arc};

use assent_core::{
    AccountId, TransactionId,
    manifest::GenesisManifest,
    note::Checkpoint,
    records::{AccountRecord, ConsentRecord, Record, StateKey, SubjectConsents},
    terms::ConsentTerms,
};
use assent_proto::{
    errors,
    v1::{self as proto, sequencer_service_server::SequencerService},
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    Clock,
    admission::Admit,
    submit::{stopping, told_to_stop},
    view::View,
};

/// Bytes of one request message: the most that SubmitMany takes.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one response message: a whole batch with its entries.
pub const MAX_RESPONSE_BYTES: usize = 3 * assent_core::limits::MAX_BATCH_BYTES as usize;
/// Batches that wait for one slow follower; more are read from disk when it asks for them.
const STREAM_AHEAD: usize = 2;

/// What clients and followers of a sequencer call, over gRPC or in the same process.
#[derive(Clone)]
pub struct SequencerApi {
    pub(crate) manifest: Arc<GenesisManifest>,
    pub(crate) view: Arc<View>,
    pub(crate) admit: Admit,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) capacity: usize,
    pub(crate) clock: Clock,
    /// True once the sequencer is told to stop: streams end then.
    pub(crate) stop: watch::Receiver<bool>,
}

pub(crate) fn internal(error: impl std::error::Error + 'static) -> Status {
    tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
    errors::error(Code::Internal, "INTERNAL", "the node could not read its own data; its log says more")
}

fn id_of(field: &str, bytes: &[u8]) -> Result<[u8; 32], Status> {
    bytes.try_into().map_err(|_| {
        errors::field_error("FIELD_INVALID", field, format!("expected 32 bytes, found {}", bytes.len()))
    })
}

fn not_found(reason: &str, what: &str) -> Status {
    errors::error(Code::NotFound, reason, format!("no {what} with this id is on the ledger"))
}

impl SequencerApi {
    pub(crate) fn sealed_batches(&self) -> watch::Receiver<u64> {
        self.view.sealed_batches()
    }

    fn record<R: Record>(&self, key: StateKey) -> Result<Option<R>, Status> {
        let value = self.view.value(key).map_err(internal)?;
        value.map(|value| R::decode(&value.record).map_err(internal)).transpose()
    }

    /// Runs a look-up that may touch the disk off the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let api = self.clone();
        tokio::task::spawn_blocking(move || work(&api)).await.map_err(internal)?
    }
}

/// Waits until a batch is sealed. False where none will be any more.
async fn sealed_past(sealed: &mut watch::Receiver<u64>, number: u64) -> bool {
    sealed.wait_for(|count| *count > number).await.is_ok()
}

#[tonic::async_trait]
impl SequencerService for SequencerApi {
    async fn submit(
        &self,
        request: Request<proto::SubmitRequest>,
    ) -> Result<Response<proto::SubmitResponse>, Status> {
        Ok(Response::new(self.submit_one(request.into_inner().transaction.as_ref()).await?))
    }

    async fn submit_many(
        &self,
        request: Request<proto::SubmitManyRequest>,
    ) -> Result<Response<proto::SubmitManyResponse>, Status> {
        Ok(Response::new(self.submit_all(&request.into_inner().transactions).await?))
    }

    type SubmitStreamStream = Pin<Box<dyn Stream<Item = Result<proto::SubmitStreamResponse, Status>> + Send>>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<proto::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        Ok(Response::new(Box::pin(self.submit_all_of(request.into_inner()))))
    }

    async fn report_checkpoint(
        &self,
        request: Request<proto::ReportCheckpointRequest>,
    ) -> Result<Response<proto::ReportCheckpointResponse>, Status> {
        let note = request.into_inner().checkpoint;
        let proven_batches = self
            .blocking(move |api| {
                let (chain, key) = (api.manifest.chain_id(), &api.manifest.prover_key);
                let checkpoint = Checkpoint::open(&note, &chain, key).map_err(|error| {
                    errors::field_error("CHECKPOINT_INVALID", "checkpoint", error.to_string())
                })?;
                let view = &api.view;
                let sealed = || view.cursor().next_batch;
                view.proven.report(&view.store, sealed, &checkpoint).map_err(internal)
            })
            .await?;
        Ok(Response::new(proto::ReportCheckpointResponse { proven_batches }))
    }

    async fn get_transaction(
        &self,
        request: Request<proto::GetTransactionRequest>,
    ) -> Result<Response<proto::GetTransactionResponse>, Status> {
        let id = TransactionId(id_of("transaction_id", &request.into_inner().transaction_id)?);
        let response = self
            .blocking(move |api| {
                let found = api.view.find(&id).map_err(internal)?;
                let answer = found.ok_or_else(|| not_found("TRANSACTION_NOT_FOUND", "transaction"))?;
                let logged = api.view.logged(&id, &answer).map_err(internal)?;
                let batch = answer.group.receipts.get(answer.index).map_or(u64::MAX, |r| r.batch_number);
                Ok(proto::GetTransactionResponse {
                    sequenced: answer.to_proto(),
                    transaction: logged.map(|logged| logged.to_proto()),
                    sealed: batch < api.view.cursor().next_batch,
                })
            })
            .await?;
        Ok(Response::new(response))
    }

    type StreamBatchesStream =
        Pin<Box<dyn Stream<Item = Result<proto::StreamBatchesResponse, Status>> + Send>>;

    async fn stream_batches(
        &self,
        request: Request<proto::StreamBatchesRequest>,
    ) -> Result<Response<Self::StreamBatchesStream>, Status> {
        let mut number = request.into_inner().from_batch;
        let mut sealed = self.sealed_batches();
        let available = *sealed.borrow();
        if number > available {
            return Err(errors::field_error(
                "BATCH_OUT_OF_RANGE",
                "from_batch",
                format!("{number} asked for, the next batch to be sealed is {available}"),
            ));
        }
        let (sender, receiver) = mpsc::channel(STREAM_AHEAD);
        // The task holds no way to submit, and ends as soon as nobody receives.
        let (view, mut stop) = (self.view.clone(), self.stop.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = told_to_stop(&mut stop) => {
                        let _ = sender.send(Err(stopping())).await;
                        return;
                    }
                    more = sealed_past(&mut sealed, number) => if !more { return },
                }
                let view = view.clone();
                let batch = tokio::task::spawn_blocking(move || view.store.sealed_batch(number)).await;
                let message = match batch {
                    Ok(Ok(Some(batch))) => Ok(proto::StreamBatchesResponse { batch: Some(batch) }),
                    Ok(Ok(None)) => Err(not_found("BATCH_OUT_OF_RANGE", "batch")),
                    Ok(Err(error)) => Err(internal(error)),
                    Err(error) => Err(internal(error)),
                };
                let ended = message.is_err();
                if sender.send(message).await.is_err() || ended {
                    return;
                }
                number += 1;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_ledger(
        &self,
        _: Request<proto::GetLedgerRequest>,
    ) -> Result<Response<proto::GetLedgerResponse>, Status> {
        let cursor = self.view.cursor();
        let (proven_batches, unproven_since_ms) = self.view.proven.get();
        Ok(Response::new(proto::GetLedgerResponse {
            manifest: self.manifest.encode(),
            next_sequence: cursor.next_sequence,
            sealed_batches: cursor.next_batch,
            time_ms: cursor.time_ms,
            version: concat!("assent ", env!("CARGO_PKG_VERSION")).to_owned(),
            proven_batches,
            unproven_since_ms,
        }))
    }

    async fn get_consent(
        &self,
        request: Request<proto::GetConsentRequest>,
    ) -> Result<Response<proto::GetConsentResponse>, Status> {
        let id = TransactionId(id_of("consent_id", &request.into_inner().consent_id)?);
        let response = self
            .blocking(move |api| {
                let record: ConsentRecord = api
                    .record(StateKey::consent(id))?
                    .ok_or_else(|| not_found("CONSENT_NOT_FOUND", "consent"))?;
                let terms = ConsentTerms::decode(&record.terms).map_err(internal)?;
                Ok(proto::GetConsentResponse {
                    subject: record.subject.0.to_vec(),
                    terms: Some(terms.to_proto()),
                    granted_sequence: record.granted.sequence,
                    granted_at_ms: record.granted.time_ms,
                    revoked: record.revoked.is_some(),
                    revoked_sequence: record.revoked.map_or(0, |moment| moment.sequence),
                    revoked_at_ms: record.revoked.map_or(0, |moment| moment.time_ms),
                })
            })
            .await?;
        Ok(Response::new(response))
    }

    async fn get_account(
        &self,
        request: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        let id = AccountId(id_of("account_id", &request.into_inner().account_id)?);
        let response = self
            .blocking(move |api| {
                let account: AccountRecord = api
                    .record(StateKey::account(id))?
                    .ok_or_else(|| not_found("ACCOUNT_NOT_FOUND", "account"))?;
                let consents: SubjectConsents =
                    api.record(StateKey::subject_consents(id))?.unwrap_or_default();
                Ok(proto::GetAccountResponse {
                    kind: account.kind as i32,
                    public_key: account.keys.first().map_or_else(Vec::new, |key| key.0.to_vec()),
                    opened_sequence: account.opened_sequence,
                    active_consents: consents.active.iter().map(|(id, _)| id.0.to_vec()).collect(),
                })
            })
            .await?;
        Ok(Response::new(response))
    }
}
