//! The gRPC service.

use std::{pin::Pin, sync::Arc};

use assent_core::{
    AccountId, TransactionId,
    manifest::GenesisManifest,
    records::{AccountRecord, ConsentRecord, Record, StateKey, SubjectConsents},
    terms::ConsentTerms,
    transaction::{Transaction, TransactionError},
};
use assent_proto::{
    errors,
    v1::{self as proto, sequencer_service_server::SequencerService},
};
use assent_store::StoreError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use crate::{
    RETRY_AFTER,
    admission::{Admit, Reply, Submission},
    view::View,
};

/// Bytes of one request message: the largest body, its authorization and the framing.
pub const MAX_REQUEST_BYTES: usize = 2 * assent_core::limits::MAX_BODY_BYTES;
/// Bytes of one response message: a whole batch with its entries.
pub const MAX_RESPONSE_BYTES: usize = 3 * assent_core::limits::MAX_BATCH_BYTES as usize;
/// Batches that wait for one slow follower; more are read from disk when it asks for them.
const STREAM_AHEAD: usize = 2;

/// What clients and followers of a sequencer call, over gRPC or in the same process.
#[derive(Clone)]
pub struct SequencerApi {
    manifest: Arc<GenesisManifest>,
    view: Arc<View>,
    admit: Admit,
    places: Arc<Semaphore>,
    capacity: usize,
}

fn internal(error: impl std::error::Error + 'static) -> Status {
    tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
    errors::error(Code::Internal, "INTERNAL", "the node could not read its own data; its log says more")
}

fn invalid(error: TransactionError) -> Status {
    match &error {
        TransactionError::Field { field, problem } => {
            errors::field_error(error.reason(), field, problem.as_str())
        }
        other => errors::error(Code::InvalidArgument, other.reason(), other.to_string()),
    }
}

fn id_of(field: &str, bytes: &[u8]) -> Result<[u8; 32], Status> {
    bytes.try_into().map_err(|_| {
        errors::field_error("FIELD_INVALID", field, format!("expected 32 bytes, found {}", bytes.len()))
    })
}

fn not_found(reason: &str, what: &str) -> Status {
    errors::error(Code::NotFound, reason, format!("no {what} with this id has been sequenced"))
}

impl SequencerApi {
    pub(crate) fn new(
        manifest: Arc<GenesisManifest>,
        view: Arc<View>,
        admit: Admit,
        capacity: usize,
    ) -> Self {
        Self { manifest, view, admit, places: Arc::new(Semaphore::new(capacity)), capacity }
    }

    pub(crate) fn sealed_batches(&self) -> watch::Receiver<u64> {
        self.view.sealed_batches()
    }

    async fn submit_one(&self, signed: &proto::SignedTransaction) -> Result<proto::SubmitResponse, Status> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return Err(errors::retry_later(
                Code::ResourceExhausted,
                "QUEUE_FULL",
                format!("{} submissions are under way already", self.capacity),
                RETRY_AFTER,
            ));
        };
        let transaction = Transaction::decode(&self.manifest.chain_id(), signed).map_err(invalid)?;
        let (reply, answered) = oneshot::channel();
        let stopping =
            || errors::retry_later(Code::Unavailable, "STOPPING", "the node is stopping", RETRY_AFTER);
        self.admit.try_send(Submission { transaction, reply, _place: place }).map_err(|_| stopping())?;
        match answered.await.map_err(|_| stopping())? {
            Reply::Invalid(error) => Err(invalid(error)),
            Reply::TimeStep(message) => {
                Err(errors::retry_later(Code::Unavailable, "TIME_STEP", message, 10 * RETRY_AFTER))
            }
            reply @ (Reply::Answer(_) | Reply::Sequenced(_)) => {
                let answer = match reply {
                    Reply::Sequenced(id) => {
                        self.blocking(move |api| api.view.find(&id).map_err(internal)).await?
                    }
                    Reply::Answer(answer) => Some(answer),
                    _ => None,
                };
                let sequenced = answer
                    .and_then(|answer| answer.to_proto())
                    .ok_or_else(|| not_found("TRANSACTION_NOT_FOUND", "transaction"))?;
                Ok(proto::SubmitResponse {
                    result: Some(proto::submit_response::Result::Sequenced(sequenced)),
                })
            }
            Reply::Refusal { refusal, signature, reason } => Ok(proto::SubmitResponse {
                result: Some(proto::submit_response::Result::Refusal(proto::SignedRefusal {
                    refusal,
                    signature: signature.to_vec(),
                    message: reason.to_string(),
                })),
            }),
        }
    }

    fn record<R: Record>(&self, key: StateKey) -> Result<Option<R>, Status> {
        let value = self.view.value(key).map_err(internal)?;
        value.map(|value| R::decode(&value.record).map_err(internal)).transpose()
    }

    /// Runs a look-up that may touch the disk off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let api = self.clone();
        tokio::task::spawn_blocking(move || work(&api)).await.map_err(internal)?
    }
}

/// A sealed batch as followers get it, or `None` where there is none yet.
fn sealed_batch(view: &View, number: u64) -> Result<Option<proto::SealedBatch>, StoreError> {
    let store = &view.store;
    let Some(batch) = store.batch(number)? else { return Ok(None) };
    let header = assent_core::batch::BatchHeader::decode(&batch.header)
        .map_err(|source| StoreError::Corrupt { family: "batches", key: number.to_string(), source })?;
    let entries = store.entries_while(header.first_sequence, |row| row.batch_number == number)?;
    Ok(Some(proto::SealedBatch {
        header: batch.header,
        signature: batch.signature.to_vec(),
        log_records: store.encoded_records(batch.first_position, batch.record_count)?,
        entries: entries.iter().map(|row| row.entry.encode()).collect(),
    }))
}

#[tonic::async_trait]
impl SequencerService for SequencerApi {
    async fn submit(
        &self,
        request: Request<proto::SubmitRequest>,
    ) -> Result<Response<proto::SubmitResponse>, Status> {
        let signed = request
            .into_inner()
            .transaction
            .ok_or_else(|| errors::field_error("FIELD_INVALID", "transaction", "missing"))?;
        Ok(Response::new(self.submit_one(&signed).await?))
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
        let view = self.view.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    waited = sealed.wait_for(|count| *count > number) => if waited.is_err() { return },
                }
                let view = view.clone();
                let batch = tokio::task::spawn_blocking(move || sealed_batch(&view, number)).await;
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
        Ok(Response::new(proto::GetLedgerResponse {
            manifest: self.manifest.encode(),
            next_sequence: cursor.next_sequence,
            sealed_batches: cursor.next_batch,
            time_ms: cursor.time_ms,
            version: concat!("assent ", env!("CARGO_PKG_VERSION")).to_owned(),
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
