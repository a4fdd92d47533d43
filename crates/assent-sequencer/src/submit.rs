//! Submitting one, many, or a stream: into the queue in order, out of it in the same order.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use assent_core::{
    TransactionId,
    transaction::{Act, Transaction, TransactionError},
};
use assent_gate::{Caller, REFUSAL_PAUSE};
use assent_metrics::{Submission as Judged, transaction_span};
use assent_proto::{
    errors,
    v1::{self as proto, submit_response, submit_result},
};
use assent_store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Status, Streaming};

use crate::{
    RETRY_AFTER,
    admission::{Charge, Place, RateKey, Reply, Submission},
    service::{SequencerApi, internal},
};

/// Transactions in one SubmitMany: an eighth of the queue, so that one call cannot fill it.
pub const MAX_MANY: usize = 1_000;
/// Unanswered transactions of one stream. More are not read until the first is answered, and the client's transport waits.
pub const STREAM_WINDOW: usize = 1_024;
/// How long SubmitMany and streams wait for each transaction for which a call of its own waits for [`REFUSAL_PAUSE`]: a connection
/// may have about 256 calls under way.
const SHARED_PAUSE: Duration = REFUSAL_PAUSE.checked_div(256).unwrap();
/// What a client is told to wait while the ledger is too far ahead of its prover: an operator has to act first.
const UNPROVEN_RETRY: Duration = Duration::from_secs(5);

/// What became of a transaction that got as far as the executor.
enum Answered {
    Sequenced(proto::SequencedTransaction),
    Refused(proto::SignedRefusal),
}

/// A transaction on its way.
enum Waiting {
    /// Its answer will come.
    Submitted(TransactionId, oneshot::Receiver<Reply>),
    /// It did not get into the queue.
    Failed(Status),
}

fn invalid(error: TransactionError) -> Status {
    match &error {
        TransactionError::Field { field, problem } => {
            errors::field_error(error.reason(), field, problem.as_str())
        }
        other => errors::error(Code::InvalidArgument, other.reason(), other.to_string()),
    }
}

fn missing() -> Status {
    errors::field_error("FIELD_INVALID", "transaction", "missing")
}

fn account_limited(wait: Duration) -> Status {
    errors::retry_later(
        Code::ResourceExhausted,
        "ACCOUNT_RATE_LIMITED",
        "more transactions a second than one account may submit",
        wait.max(RETRY_AFTER),
    )
}

pub(crate) fn stopping() -> Status {
    errors::retry_later(Code::Unavailable, "STOPPING", "the node is stopping", RETRY_AFTER)
}

/// Waits until the sequencer is told to stop, or is gone.
pub(crate) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn to_result(answered: Result<Answered, Status>) -> proto::SubmitResult {
    let result = match answered {
        Ok(Answered::Sequenced(sequenced)) => submit_result::Result::Sequenced(sequenced),
        Ok(Answered::Refused(refusal)) => submit_result::Result::Refusal(refusal),
        Err(status) => submit_result::Result::Error(errors::to_item(&status)),
    };
    proto::SubmitResult { result: Some(result) }
}

impl SequencerApi {
    fn queue_full(&self) -> Status {
        errors::retry_later(
            Code::ResourceExhausted,
            "QUEUE_FULL",
            format!("{} submissions are under way already", self.capacity),
            RETRY_AFTER,
        )
    }

    /// Decodes, and says no where everything but revocations is refused.
    fn decode(&self, signed: Option<&proto::SignedTransaction>) -> Result<Transaction, Status> {
        let signed = signed.ok_or_else(missing)?;
        let transaction = Transaction::decode(&self.chain_id, signed).map_err(|error| {
            self.metrics.judged(Judged::Invalid);
            invalid(error)
        })?;
        let revokes = matches!(transaction.act, Act::RevokeConsent(_));
        if !revokes && let Some(age) = self.view.proven.over_limit(&self.clock) {
            let hours = age.as_secs() / 3600;
            return Err(errors::retry_later(
                Code::ResourceExhausted,
                "UNPROVEN_LIMIT",
                format!(
                    "no prover has checkpointed what was sealed {hours} hours ago; only revocations are taken"
                ),
                UNPROVEN_RETRY,
            ));
        }
        Ok(transaction)
    }

    /// Takes one of the sender's rate. A revocation by code has no sender, and counts to its peer alone.
    ///
    /// # Errors
    /// How long the account has to wait.
    fn charge(&self, transaction: &Transaction) -> Result<Option<Charge>, Duration> {
        let Some(sender) = transaction.sender else { return Ok(None) };
        let key: RateKey = (sender, matches!(transaction.act, Act::RevokeConsent(_)));
        self.accounts.take(key, 1)?;
        Ok(Some(Charge { accounts: self.accounts.clone(), key: Some(key) }))
    }

    /// Puts into the queue.
    fn enqueue(
        &self,
        transaction: Transaction,
        charge: Option<Charge>,
        permit: OwnedSemaphorePermit,
    ) -> Result<(TransactionId, oneshot::Receiver<Reply>), Status> {
        let id = transaction.id;
        let span = transaction_span(&id);
        if !span.is_disabled() {
            span.in_scope(|| tracing::debug!("arrived"));
        }
        let (reply, answered) = oneshot::channel();
        let place = Place::new(permit, &self.metrics);
        let submission = Submission { transaction, reply, charge, since: Instant::now(), _place: place };
        self.admit.try_send(submission).map_err(|_| stopping())?;
        Ok((id, answered))
    }

    /// The answer to a transaction. Where its signature is bad, `pause` later: looking for bad signatures keeps everybody
    /// waiting, and no account pays for them.
    async fn answer(&self, waiting: Waiting, pause: Duration) -> Result<Answered, Status> {
        let (id, answered) = match waiting {
            Waiting::Submitted(id, answered) => (id, answered),
            Waiting::Failed(status) => return Err(status),
        };
        let answer = match answered.await.map_err(|_| stopping())? {
            Reply::Invalid(error) => {
                tokio::time::sleep(pause).await;
                return Err(invalid(error));
            }
            Reply::TimeStep(message) => {
                return Err(errors::retry_later(Code::Unavailable, "TIME_STEP", message, 10 * RETRY_AFTER));
            }
            Reply::Refusal { refusal, signature, reason } => {
                return Ok(Answered::Refused(proto::SignedRefusal {
                    refusal,
                    signature: signature.to_vec(),
                    message: reason.to_string(),
                }));
            }
            Reply::Sequenced => self.blocking(move |api| api.view.find(&id).map_err(internal)).await?,
            Reply::Answer(answer) => Some(answer),
        };
        answer
            .and_then(|answer| answer.to_proto())
            .map(Answered::Sequenced)
            .ok_or_else(|| internal(StoreError::Missing { family: "entries", key: id.to_string() }))
    }

    pub(crate) async fn submit_one(
        &self,
        signed: Option<&proto::SignedTransaction>,
    ) -> Result<proto::SubmitResponse, Status> {
        let transaction = self.decode(signed)?;
        let charge = match self.charge(&transaction) {
            Ok(charge) => charge,
            Err(wait) => {
                // A client that floods waits for its refusals, so that they cost little.
                tokio::time::sleep(REFUSAL_PAUSE).await;
                return Err(account_limited(wait));
            }
        };
        let place = self.places.clone().try_acquire_owned().map_err(|_| self.queue_full())?;
        let (id, answered) = self.enqueue(transaction, charge, place)?;
        let result = match self.answer(Waiting::Submitted(id, answered), REFUSAL_PAUSE).await? {
            Answered::Sequenced(sequenced) => submit_response::Result::Sequenced(sequenced),
            Answered::Refused(refusal) => submit_response::Result::Refusal(refusal),
        };
        Ok(proto::SubmitResponse { result: Some(result) })
    }

    pub(crate) async fn submit_all(
        &self,
        caller: &Caller,
        transactions: &[proto::SignedTransaction],
    ) -> Result<proto::SubmitManyResponse, Status> {
        let count = transactions.len();
        let most = MAX_MANY.min(self.capacity);
        if count == 0 || count > most {
            let problem = format!("1 to {most} expected, found {count}");
            return Err(errors::field_error("TOO_MANY_TRANSACTIONS", "transactions", problem));
        }
        // The call itself is counted already.
        caller.charge(count as u64 - 1)?;
        // All places at once: either everything is submitted, in order, or nothing.
        let wanted = u32::try_from(count).unwrap_or(u32::MAX);
        let mut places = self.places.clone().try_acquire_many_owned(wanted).map_err(|_| self.queue_full())?;
        let mut waiting = Vec::with_capacity(count);
        let mut limited = 0;
        for signed in transactions {
            let Some(place) = places.split(1) else { return Err(self.queue_full()) };
            let submitted = self.decode(Some(signed)).and_then(|transaction| {
                let charge = self.charge(&transaction).map_err(|wait| {
                    limited += 1;
                    account_limited(wait)
                })?;
                self.enqueue(transaction, charge, place)
            });
            waiting.push(match submitted {
                Ok((id, answered)) => Waiting::Submitted(id, answered),
                Err(status) => Waiting::Failed(status),
            });
        }
        let mut results = Vec::with_capacity(count);
        for waiting in waiting {
            results.push(to_result(self.answer(waiting, SHARED_PAUSE).await));
        }
        if limited > 0 {
            // As long as a call for each of them would have waited, spread over what one connection may have under way.
            tokio::time::sleep(SHARED_PAUSE * limited + REFUSAL_PAUSE).await;
        }
        Ok(proto::SubmitManyResponse { results })
    }

    /// Puts one of a stream's transactions into the queue: the stream waits for the account's rate and for a place.
    async fn submit_next(&self, signed: Option<&proto::SignedTransaction>) -> Waiting {
        let transaction = match self.decode(signed) {
            Ok(transaction) => transaction,
            Err(status) => return Waiting::Failed(status),
        };
        let charge = loop {
            match self.charge(&transaction) {
                Ok(charge) => break charge,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        };
        let Ok(place) = self.places.clone().acquire_owned().await else { return Waiting::Failed(stopping()) };
        match self.enqueue(transaction, charge, place) {
            Ok((id, answered)) => Waiting::Submitted(id, answered),
            Err(status) => Waiting::Failed(status),
        }
    }

    /// Reads ahead of the answers by at most [`STREAM_WINDOW`], and only while the queue has places and the accounts' rates
    /// allow it.
    pub(crate) fn submit_all_of(
        &self,
        caller: Caller,
        mut requests: Streaming<proto::SubmitStreamRequest>,
    ) -> impl Stream<Item = Result<proto::SubmitStreamResponse, Status>> + Send + use<> {
        let (sender, receiver) = mpsc::channel(STREAM_WINDOW);
        // Cloned for each answer.
        let answering = Arc::new(self.clone());
        let api = answering.clone();
        tokio::spawn(async move {
            let mut stop = api.stop.clone();
            loop {
                let next = async { Ok(requests.message().await?.map(|request| request.transaction)) };
                let next = async {
                    match next.await {
                        Ok(Some(signed)) => Ok(Some(api.submit_next(signed.as_ref()).await)),
                        Ok(None) => Ok(None),
                        Err(status) => Err(status),
                    }
                };
                let next: Result<Option<Waiting>, Status> = tokio::select! {
                    // The others only where nothing has come.
                    biased;
                    next = next, if !*stop.borrow() => next,
                    // Nobody reads the answers any more.
                    () = sender.closed() => return,
                    () = told_to_stop(&mut stop) => Err(stopping()),
                };
                let (message, last) = match next {
                    Ok(Some(waiting)) => (Ok(waiting), false),
                    Ok(None) => return,
                    // Behind everything that is still to be answered. A client that is gone does not hear it.
                    Err(status) => (Err(status), true),
                };
                // Only a client that does not read its answers keeps the channel full for so long, or a sequencer that halts.
                match tokio::time::timeout(caller.patience, sender.send(message)).await {
                    Ok(Ok(())) if !last => {}
                    Ok(_) => return,
                    Err(_) => return caller.drop_slow_reader(),
                }
            }
        });
        ReceiverStream::new(receiver).then(move |next: Result<Waiting, Status>| {
            let api = answering.clone();
            async move {
                let result = Some(to_result(api.answer(next?, SHARED_PAUSE).await));
                Ok(proto::SubmitStreamResponse { result })
            }
        })
    }
}
