//! The gRPC service.

use std::{pin::Pin, sync::Arc, time::Duration};

use assent_core::{
    AccountId, TransactionId,
    batch::{BatchHeader, BatchRecord},
    codec::sha256,
    limits::MAX_TIME_MS,
    note::MAX_NOTE_SIGNATURES,
};
use assent_gate::{Caller, READS, Scope};
use assent_merkle::tiles::{TileError, TileProver};
use assent_proto::{
    errors,
    v1::{self as proto, prover_service_server::ProverService},
};
use assent_store::StoreError;
use assent_verify::state::{StateRoot, consent::At, history::Whose};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use crate::{
    Duty, Shared,
    bundle::{self, BundleError},
    cosign::{self, CosignError},
    proofs::{self, ProofError},
    scope, status, tier,
};

/// Bytes of one response message: the largest bundle.
pub const MAX_RESPONSE_BYTES: usize = assent_verify::MAX_BUNDLE_BYTES + 1024;
/// Tier changes that wait for one slow watcher.
const WATCH_AHEAD: usize = 16;

/// Histories that are made and sent at a time: one may take half a gibibyte of memory.
const HISTORIES: usize = 2;
/// What a client is told to wait while the process ends.
const STOPPING_RETRY: Duration = Duration::from_millis(100);
/// Bytes of one piece of a history, far below what a gRPC message may have.
const CHUNK_BYTES: usize = 1 << 20;
/// Pieces that wait for one slow reader.
const CHUNKS_AHEAD: usize = 4;
/// How long a piece waits for a slow reader at most.
const PIECE_WAIT: Duration = Duration::from_secs(30);
/// How long a file waits for a checkpoint over its state with enough cosignatures. Validators ask for checkpoints twice a
/// second.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(10);

/// What clients and auditors of a prover call.
#[derive(Clone)]
pub struct ProverApi {
    shared: Arc<Shared>,
    /// Histories that are made and sent at a time, for clients with a role.
    histories: Arc<Semaphore>,
    /// The same for accounts that ask with their own keys: whoever has none but a key does not keep auditors waiting.
    own_histories: Arc<Semaphore>,
    /// Reads of the database at a time.
    reads: Arc<Semaphore>,
}

pub(crate) fn internal(error: impl std::error::Error + 'static) -> Status {
    tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
    errors::error(Code::Internal, "INTERNAL", "the node could not read its own data; its log says more")
}

fn id_of(bytes: &[u8]) -> Result<TransactionId, Status> {
    TransactionId::try_from(bytes).map_err(|_| {
        let problem = format!("expected 32 bytes, found {}", bytes.len());
        errors::field_error("FIELD_INVALID", "transaction_id", problem)
    })
}

fn account_of(field: &'static str, bytes: &[u8]) -> Result<AccountId, Status> {
    AccountId::try_from(bytes).map_err(|_| {
        let problem = format!("expected 32 bytes, found {}", bytes.len());
        errors::field_error("FIELD_INVALID", field, problem)
    })
}

fn out_of_range(field: &'static str) -> impl Fn(TileError<StoreError>) -> Status {
    move |error| match error {
        TileError::OutOfRange { .. } => errors::field_error("SIZE_OUT_OF_RANGE", field, error.to_string()),
        other => internal(other),
    }
}

/// What an account gets that asks for what is not its own: the same as for what is not there.
fn not_proven() -> Status {
    errors::error(Code::NotFound, "TRANSACTION_NOT_PROVEN", BundleError::Unknown.to_string())
}

fn no_proof(error: ProofError) -> Status {
    let text = error.to_string();
    match error {
        ProofError::Unknown => errors::error(Code::NotFound, "TRANSACTION_NOT_PROVEN", text),
        ProofError::NoState => errors::error(Code::FailedPrecondition, "CHECKPOINT_NOT_HELD", text),
        ProofError::NotADecision => errors::field_error("NOT_A_DECISION", "transaction_id", text),
        ProofError::SubjectRequired(_) | ProofError::OtherSubject => {
            errors::field_error("SUBJECT_REQUIRED", "subject", text)
        }
        ProofError::WindowTooLarge { .. } => {
            errors::error(Code::FailedPrecondition, "WINDOW_TOO_LARGE", text)
        }
        ProofError::HistoryTooLong { .. } => errors::field_error("HISTORY_TOO_LONG", "to_ms", text),
        ProofError::MomentNotReached { .. } => {
            errors::error(Code::FailedPrecondition, "MOMENT_NOT_REACHED", text)
        }
        other => internal(other),
    }
}

impl ProverApi {
    /// More cosignatures than there are validators to make them are not waited for.
    fn can_have(&self, cosignatures: u32) -> Result<(), Status> {
        let config = &self.shared.config;
        let most = match config.duty {
            Duty::Prover { .. } => config.validators.len(),
            // It does not know whose cosignatures the prover takes in.
            Duty::Validator { .. } => MAX_NOTE_SIGNATURES - 1,
        };
        if cosignatures as usize <= most {
            return Ok(());
        }
        let text = format!(
            "{cosignatures} cosignature(s) are wanted, and there are {most} validator(s) whose cosignatures are taken in \
             (the prover's setting prover.validators)"
        );
        Err(errors::error(Code::FailedPrecondition, "TOO_FEW_COSIGNATURES", text))
    }

    /// Fills in the newest checkpoint that is over the state and has enough cosignatures, with the path to it.
    async fn under_checkpoint(&self, state: &mut StateRoot, cosignatures: u32) -> Result<(), Status> {
        self.can_have(cosignatures)?;
        let number = BatchHeader::decode(&state.header.header).map_err(internal)?.number;
        let least = cosignatures as usize;
        let (mut checkpointed, mut cosigned) =
            (self.shared.checkpointed.subscribe(), self.shared.cosigned.changes());
        let deadline = tokio::time::Instant::now() + CHECKPOINT_WAIT;
        let size = loop {
            // Marked before it is read: a change in between wakes the wait below.
            cosigned.mark_unchanged();
            let newest = match least {
                0 => Some(*checkpointed.borrow_and_update()),
                least => self.shared.cosigned.newest(least),
            };
            if let Some(size) = newest.filter(|size| *size > number) {
                break size;
            }
            let changed = async {
                tokio::select! {
                    _ = checkpointed.changed() => {}
                    _ = cosigned.changed() => {}
                }
            };
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(match least {
                    0 => {
                        let text = format!("no checkpoint over batch {number} is held here yet");
                        errors::error(Code::FailedPrecondition, "CHECKPOINT_NOT_HELD", text)
                    }
                    least => {
                        let text = format!(
                            "no checkpoint over batch {number} has {least} cosignature(s) after {} s: are the validators up, \
                             and does the prover know their keys (setting prover.validators)?",
                            CHECKPOINT_WAIT.as_secs()
                        );
                        errors::error(Code::FailedPrecondition, "TOO_FEW_COSIGNATURES", text)
                    }
                });
            }
        };
        let (path, note) = self
            .blocking(move |shared| {
                let path = TileProver::new(shared.store.as_ref(), size)
                    .inclusion_path(number, size)
                    .map_err(internal)?;
                Ok((path, shared.store.checkpoint(size).map_err(internal)?))
            })
            .await?;
        let text = || format!("the checkpoint over {size} batches is not held here");
        let note =
            note.ok_or_else(|| errors::error(Code::FailedPrecondition, "CHECKPOINT_NOT_HELD", text()))?;
        (state.path, state.checkpoint) = (path, note);
        Ok(())
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            histories: Arc::new(Semaphore::new(HISTORIES)),
            own_histories: Arc::new(Semaphore::new(HISTORIES)),
            reads: Arc::new(Semaphore::new(READS)),
        }
    }

    /// True once it has halted.
    #[must_use]
    pub fn halted(&self) -> watch::Receiver<bool> {
        self.shared.has_halted.subscribe()
    }

    /// Runs what reads the database off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let shared = self.shared.clone();
        // Held by the work itself: a call that is given up leaves its place when the work has ended.
        let place = self.reads.clone().acquire_owned().await.map_err(internal)?;
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&shared)
        });
        match work.await {
            Ok(result) => result,
            // The process ends before it began.
            Err(error) if error.is_cancelled() => Err(errors::retry_later(
                Code::Unavailable,
                "STOPPING",
                "the node is stopping",
                STOPPING_RETRY,
            )),
            Err(error) => Err(internal(error)),
        }
    }
}

#[tonic::async_trait]
impl ProverService for ProverApi {
    async fn get_tier(
        &self,
        request: Request<proto::GetTierRequest>,
    ) -> Result<Response<proto::GetTierResponse>, Status> {
        let whose = Caller::of(&request)?.scope;
        let id = id_of(&request.into_inner().transaction_id)?;
        let status = self
            .blocking(move |shared| {
                if !scope::may_see_transaction(shared, whose, &id, false)? {
                    return Ok(None);
                }
                tier::status(shared, &id).map_err(internal)
            })
            .await?;
        let status = status.ok_or_else(not_proven)?;
        Ok(Response::new(proto::GetTierResponse { status: Some(status) }))
    }

    type WatchTierStream = Pin<Box<dyn Stream<Item = Result<proto::WatchTierResponse, Status>> + Send>>;

    async fn watch_tier(
        &self,
        request: Request<proto::WatchTierRequest>,
    ) -> Result<Response<Self::WatchTierStream>, Status> {
        let caller = Caller::of(&request)?;
        let whose = caller.scope;
        let id = id_of(&request.into_inner().transaction_id)?;
        let (sender, receiver) = mpsc::channel(WATCH_AHEAD);
        let api = self.clone();
        let (mut batches, mut anchors) = (self.shared.batches.subscribe(), self.shared.anchors.changes());
        let mut checkpointed = self.shared.checkpointed.subscribe();
        tokio::spawn(async move {
            let mut last = None;
            loop {
                // Somebody else's is waited for like one that is not there.
                let look = move |shared: &Shared| {
                    let status = tier::status(shared, &id).map_err(internal)?;
                    Ok(match status {
                        Some(_) if !scope::may_see_transaction(shared, whose, &id, false)? => None,
                        status => status,
                    })
                };
                match api.blocking(look).await {
                    Err(status) => {
                        let _ = sender.send(Err(status)).await;
                        return;
                    }
                    Ok(Some(status)) if tier::is_news(last.as_ref(), &status) => {
                        last = Some(status.clone());
                        let message = Ok(proto::WatchTierResponse { status: Some(status) });
                        match tokio::time::timeout(caller.patience, sender.send(message)).await {
                            Ok(Ok(())) => {}
                            Ok(Err(_)) => return,
                            Err(_) => return caller.drop_slow_reader(),
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
        let whose = Caller::of(&request)?.scope;
        let request = request.into_inner();
        let id = id_of(&request.transaction_id)?;
        let bundle = self
            .blocking(move |shared| {
                if !scope::may_see_transaction(shared, whose, &id, request.open_details)? {
                    return Err(not_proven());
                }
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
        Caller::of(&request)?;
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
        Caller::of(&request)?;
        let proto::GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let path = self
            .blocking(move |shared| {
                let size = *shared.batches.borrow();
                let prover = TileProver::new(shared.store.as_ref(), size);
                prover.consistency_path(old_size, new_size).map_err(out_of_range("new_size"))
            })
            .await?;
        let path = path.iter().map(|hash| hash.to_vec()).collect();
        Ok(Response::new(proto::GetConsistencyProofResponse { path }))
    }

    async fn get_batch_record(
        &self,
        request: Request<proto::GetBatchRecordRequest>,
    ) -> Result<Response<proto::GetBatchRecordResponse>, Status> {
        Caller::of(&request)?;
        let proto::GetBatchRecordRequest { number, size } = request.into_inner();
        let found = self
            .blocking(move |shared| {
                let batches = *shared.batches.borrow();
                let path = TileProver::new(shared.store.as_ref(), batches)
                    .inclusion_path(number, size)
                    .map_err(out_of_range("size"))?;
                let batch = shared.store.batch(number).map_err(internal)?;
                let record = batch.and_then(|batch| {
                    Some(BatchRecord::new(sha256(&batch.header), batch.state_root?).encode())
                });
                let record =
                    record.ok_or_else(|| internal(BundleError::Inconsistent("a batch is missing")))?;
                Ok(proto::GetBatchRecordResponse {
                    record,
                    path: path.iter().map(|hash| hash.to_vec()).collect(),
                })
            })
            .await?;
        Ok(Response::new(found))
    }

    async fn get_decision_proof(
        &self,
        request: Request<proto::GetDecisionProofRequest>,
    ) -> Result<Response<proto::GetDecisionProofResponse>, Status> {
        let whose = Caller::of(&request)?.scope;
        let request = request.into_inner();
        let id = id_of(&request.transaction_id)?;
        let subject = match request.subject.as_slice() {
            [] => None,
            bytes => Some(account_of("subject", bytes)?),
        };
        let mut file = self
            .blocking(move |shared| {
                if !scope::may_see_decision(shared, whose, &id, subject)? {
                    return Err(not_proven());
                }
                proofs::decision(shared, id, subject).map_err(no_proof)
            })
            .await?;
        self.under_checkpoint(&mut file.state, request.cosignatures).await?;
        Ok(Response::new(proto::GetDecisionProofResponse { file: file.encode() }))
    }

    async fn get_consent_proof(
        &self,
        request: Request<proto::GetConsentProofRequest>,
    ) -> Result<Response<proto::GetConsentProofResponse>, Status> {
        use proto::get_consent_proof_request::At as Moment;
        let whose = Caller::of(&request)?.scope;
        let request = request.into_inner();
        let consent = TransactionId::try_from(request.consent_id.as_slice()).map_err(|_| {
            let problem = format!("expected 32 bytes, found {}", request.consent_id.len());
            errors::field_error("FIELD_INVALID", "consent_id", problem)
        })?;
        let at = match request.at {
            None => At::Newest,
            Some(Moment::TimeMs(time)) if time <= MAX_TIME_MS => At::Time(time),
            Some(Moment::TimeMs(time)) => {
                let problem = format!("{time} is after the year 9999");
                return Err(errors::field_error("FIELD_INVALID", "time_ms", problem));
            }
            Some(Moment::Sequence(sequence)) => At::Sequence(sequence),
        };
        let mut file = self
            .blocking(move |shared| {
                if !scope::may_see_consent(shared, whose, consent)? {
                    let text = "no consent with this id is on the ledger";
                    return Err(errors::error(Code::NotFound, "CONSENT_NOT_FOUND", text));
                }
                proofs::consent(shared, consent, at).map_err(no_proof)
            })
            .await?;
        self.under_checkpoint(&mut file.state, request.cosignatures).await?;
        Ok(Response::new(proto::GetConsentProofResponse { file: file.encode() }))
    }

    type GetHistoryProofStream =
        Pin<Box<dyn Stream<Item = Result<proto::GetHistoryProofResponse, Status>> + Send>>;

    async fn get_history_proof(
        &self,
        request: Request<proto::GetHistoryProofRequest>,
    ) -> Result<Response<Self::GetHistoryProofStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let account = account_of("account", &request.account)?;
        if let Scope::Own(own) = caller.scope
            && own != account
        {
            let text = "a query signed with an account's key gets the history of that account";
            return Err(errors::error(Code::PermissionDenied, "NOT_OWN_RECORDS", text));
        }
        let whose = if request.as_recipient { Whose::Recipient(account) } else { Whose::Subject(account) };
        let (from, to) = (request.from_ms, if request.to_ms == 0 { u64::MAX } else { request.to_ms });
        if from >= to {
            let problem = format!("the period ends at {to}, which is not after its begin, {from}");
            return Err(errors::field_error("FIELD_INVALID", "to_ms", problem));
        }
        self.can_have(request.cosignatures)?;
        // Held until the last piece is sent or not taken; by the work itself, where the call is given up before.
        let places = match caller.scope {
            Scope::All => &self.histories,
            Scope::Own(_) => &self.own_histories,
        };
        let place = places.clone().acquire_owned().await.map_err(internal)?;
        let scope = caller.scope;
        let (mut file, place) = self
            .blocking(move |shared| {
                if !scope::has_account(shared, scope)? {
                    return Err(errors::error(
                        Code::NotFound,
                        "ACCOUNT_NOT_FOUND",
                        "this account is not open",
                    ));
                }
                Ok((proofs::history(shared, whose, from, to).map_err(no_proof)?, place))
            })
            .await?;
        self.under_checkpoint(&mut file.state, request.cosignatures).await?;
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(async move {
            let _place = place;
            let Ok(bytes) = tokio::task::spawn_blocking(move || file.encode()).await else { return };
            for chunk in bytes.chunks(CHUNK_BYTES) {
                let piece = proto::GetHistoryProofResponse { chunk: chunk.to_vec() };
                // So that nobody keeps others from their histories.
                match tokio::time::timeout(caller.patience.min(PIECE_WAIT), sender.send(Ok(piece))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => return caller.drop_slow_reader(),
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn add_cosignature(
        &self,
        request: Request<proto::AddCosignatureRequest>,
    ) -> Result<Response<proto::AddCosignatureResponse>, Status> {
        Caller::of(&request)?;
        let proto::AddCosignatureRequest { size, line } = request.into_inner();
        self.blocking(move |shared| {
            cosign::add(shared, size, &line).map_err(|error| match error {
                CosignError::NoCheckpoint(_) => {
                    errors::error(Code::FailedPrecondition, "CHECKPOINT_NOT_HELD", error.to_string())
                }
                CosignError::Unknown | CosignError::Note(_) => {
                    errors::field_error("COSIGNATURE_INVALID", "line", error.to_string())
                }
                CosignError::Store(error) => internal(error),
            })
        })
        .await?;
        Ok(Response::new(proto::AddCosignatureResponse {}))
    }

    async fn get_prover_status(
        &self,
        request: Request<proto::GetProverStatusRequest>,
    ) -> Result<Response<proto::GetProverStatusResponse>, Status> {
        Caller::of(&request)?;
        let status = self.blocking(|shared| status::status(shared).map_err(internal)).await?;
        Ok(Response::new(status))
    }
}
