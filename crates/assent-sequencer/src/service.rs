//! The gRPC service.

use std::{pin::Pin, sync::Arc};

use assent_core::{
    AccountId, ChainId, TransactionId,
    log::LoggedTransaction,
    manifest::GenesisManifest,
    note::Checkpoint,
    records::{AccountRecord, ConsentRecord, Record, StateKey, SubjectConsents},
    terms::ConsentTerms,
    transaction::{Act, Transaction},
};
use assent_gate::{Caller, Scope, rate::Limiters, role::MAX_MANY_BYTES};
use assent_metrics::Sequencer as Metrics;
use assent_proto::{
    errors,
    v1::{self as proto, sequencer_service_server::SequencerService},
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    Clock,
    admission::{Admit, RateKey},
    submit::{stopping, told_to_stop},
    view::View,
};

/// Bytes of one request message: the most that SubmitMany takes. The gate has lower limits for the other methods.
pub const MAX_REQUEST_BYTES: usize = MAX_MANY_BYTES;
/// Bytes of one response message: a whole batch with its entries.
pub const MAX_RESPONSE_BYTES: usize = 3 * assent_core::limits::MAX_BATCH_BYTES as usize;
/// As it tells its version.
const VERSION: &str = concat!("assent ", env!("CARGO_PKG_VERSION"));
/// Batches that wait for one slow follower; more are read from disk when it asks for them.
const STREAM_AHEAD: usize = 2;

/// What clients and followers of a sequencer call, over gRPC or in the same process.
#[derive(Clone)]
pub struct SequencerApi {
    pub(crate) manifest: Arc<GenesisManifest>,
    /// The manifest's hash.
    pub(crate) chain_id: ChainId,
    pub(crate) view: Arc<View>,
    pub(crate) admit: Admit,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) capacity: usize,
    pub(crate) clock: Clock,
    /// How fast accounts submit.
    pub(crate) accounts: Arc<Limiters<RateKey>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Reads of the database at a time.
    pub(crate) reads: Arc<Semaphore>,
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
        // Held by the work itself: a call that is given up leaves its place when the work has ended.
        let place = self.reads.clone().acquire_owned().await.map_err(|_| stopping())?;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&api)
        });
        match work.await {
            Ok(result) => result,
            // The process ends before it began.
            Err(error) if error.is_cancelled() => Err(stopping()),
            Err(error) => Err(internal(error)),
        }
    }
}

/// Waits until a batch is sealed. False where none will be any more.
async fn sealed_past(sealed: &mut watch::Receiver<u64>, number: u64) -> bool {
    sealed.wait_for(|count| *count > number).await.is_ok()
}

/// Whether an account may read a transaction by its own key: it signed it, or it is the only one whom it is about. One about
/// several is nobody's own.
fn is_own(account: AccountId, chain: &ChainId, logged: &LoggedTransaction) -> bool {
    let Ok(transaction) = Transaction::decode_logged(chain, logged) else { return false };
    transaction.sender == Some(account)
        || match &transaction.act {
            Act::RequestAccess { subjects, .. } => subjects.as_slice() == [account],
            Act::RecordAccess { subject, .. } => *subject == account,
            _ => false,
        }
}

/// Counts a follower of the batch stream while it is there.
struct Follower(Arc<Metrics>);

impl Follower {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.followers.inc();
        Self(metrics.clone())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.dec();
    }
}

#[tonic::async_trait]
impl SequencerService for SequencerApi {
    async fn submit(
        &self,
        request: Request<proto::SubmitRequest>,
    ) -> Result<Response<proto::SubmitResponse>, Status> {
        Caller::of(&request)?;
        Ok(Response::new(self.submit_one(request.into_inner().transaction.as_ref()).await?))
    }

    async fn submit_many(
        &self,
        request: Request<proto::SubmitManyRequest>,
    ) -> Result<Response<proto::SubmitManyResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.submit_all(&caller, &request.into_inner().transactions).await?))
    }

    type SubmitStreamStream = Pin<Box<dyn Stream<Item = Result<proto::SubmitStreamResponse, Status>> + Send>>;

    async fn submit_stream(
        &self,
        request: Request<Streaming<proto::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(Box::pin(self.submit_all_of(caller, request.into_inner()))))
    }

    async fn report_checkpoint(
        &self,
        request: Request<proto::ReportCheckpointRequest>,
    ) -> Result<Response<proto::ReportCheckpointResponse>, Status> {
        Caller::of(&request)?;
        let note = request.into_inner().checkpoint;
        let proven_batches = self
            .blocking(move |api| {
                let key = &api.manifest.prover_key;
                let checkpoint = Checkpoint::open(&note, &api.chain_id, key).map_err(|error| {
                    errors::field_error("CHECKPOINT_INVALID", "checkpoint", error.to_string())
                })?;
                let view = &api.view;
                let sealed = || view.cursor().next_batch;
                let proven = view.proven.report(&view.store, sealed, &checkpoint).map_err(internal)?;
                view.tell_proven();
                Ok(proven)
            })
            .await?;
        Ok(Response::new(proto::ReportCheckpointResponse { proven_batches }))
    }

    async fn get_transaction(
        &self,
        request: Request<proto::GetTransactionRequest>,
    ) -> Result<Response<proto::GetTransactionResponse>, Status> {
        let scope = Caller::of(&request)?.scope;
        let id = TransactionId(id_of("transaction_id", &request.into_inner().transaction_id)?);
        let response = self
            .blocking(move |api| {
                let missing = || not_found("TRANSACTION_NOT_FOUND", "transaction");
                let answer = api.view.find(&id).map_err(internal)?.ok_or_else(missing)?;
                let logged = api.view.logged(&answer).map_err(internal)?;
                // Somebody else's looks as if it were not there.
                if let Scope::Own(account) = scope {
                    logged
                        .as_ref()
                        .filter(|logged| is_own(account, &api.chain_id, logged))
                        .ok_or_else(missing)?;
                }
                Ok(proto::GetTransactionResponse {
                    sequenced: answer.to_proto(),
                    transaction: logged.map(|logged| logged.to_proto()),
                    sealed: answer.group.batch_number < api.view.cursor().next_batch,
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
        let caller = Caller::of(&request)?;
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
        let follower = Follower::new(&self.metrics);
        tokio::spawn(async move {
            let _follower = follower;
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
                match tokio::time::timeout(caller.patience, sender.send(message)).await {
                    Ok(Ok(())) if !ended => number += 1,
                    Ok(_) => return,
                    Err(_) => return caller.drop_slow_reader(),
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_ledger(
        &self,
        request: Request<proto::GetLedgerRequest>,
    ) -> Result<Response<proto::GetLedgerResponse>, Status> {
        Caller::of(&request)?;
        let cursor = self.view.cursor();
        let (proven_batches, unproven_since_ms) = self.view.proven.get();
        Ok(Response::new(proto::GetLedgerResponse {
            manifest: self.manifest.encode(),
            next_sequence: cursor.next_sequence,
            sealed_batches: cursor.next_batch,
            time_ms: cursor.time_ms,
            version: VERSION.to_owned(),
            proven_batches,
            unproven_since_ms,
        }))
    }

    async fn get_sequencer_status(
        &self,
        request: Request<proto::GetSequencerStatusRequest>,
    ) -> Result<Response<proto::GetSequencerStatusResponse>, Status> {
        Caller::of(&request)?;
        let cursor = self.view.cursor();
        let (proven_batches, unproven_since_ms) = self.view.proven.get();
        let entries = cursor.next_sequence;
        let (pace, seconds) = (&self.view.pace, std::time::Duration::from_secs);
        let number = |value: i64| u32::try_from(value).unwrap_or(0);
        Ok(Response::new(proto::GetSequencerStatusResponse {
            version: VERSION.to_owned(),
            uptime_ms: u64::try_from(pace.uptime().as_millis()).unwrap_or(u64::MAX),
            epoch: self.view.epoch(),
            entries,
            entries_10s: pace.within(seconds(10), entries),
            entries_60s: pace.within(seconds(60), entries),
            open_entries: number(self.metrics.open_entries.get()),
            sealed_batches: cursor.next_batch,
            proven_batches,
            unproven_since_ms,
            queue_depth: number(self.metrics.queue_depth.get()),
            queue_capacity: u32::try_from(self.capacity).unwrap_or(u32::MAX),
            followers: number(self.metrics.followers.get()),
            base_height: cursor.base.height,
            recent_batches: self.view.recent_batches(),
        }))
    }

    async fn get_consent(
        &self,
        request: Request<proto::GetConsentRequest>,
    ) -> Result<Response<proto::GetConsentResponse>, Status> {
        let scope = Caller::of(&request)?.scope;
        let id = TransactionId(id_of("consent_id", &request.into_inner().consent_id)?);
        let response = self
            .blocking(move |api| {
                // Somebody else's looks as if it were not there.
                let is_visible = |record: &ConsentRecord| match scope {
                    Scope::All => true,
                    Scope::Own(account) => record.subject == account,
                };
                let record: ConsentRecord = api
                    .record(StateKey::consent(id))?
                    .filter(is_visible)
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
        let scope = Caller::of(&request)?.scope;
        let id = AccountId(id_of("account_id", &request.into_inner().account_id)?);
        if let Scope::Own(account) = scope
            && account != id
        {
            let text = "a query signed with an account's key shows that account";
            return Err(errors::error(Code::PermissionDenied, "NOT_OWN_RECORDS", text));
        }
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
