//! Checking signatures in parallel, and handing on to the executor in the order of arrival.
//!
//! A gateway that opens an account and grants a consent in one stream relies on that order. Workers take batches from the
//! queue, each with a ticket, check them side by side, and hand them on when it is their ticket's turn.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use assent_core::{
    AccountId,
    batch::RefusalReason,
    signature::verify_all,
    transaction::{Act, Transaction, TransactionError},
};
use assent_gate::rate::Limiters;
use assent_metrics::{Sequencer as Metrics, Stage, Submission as Judged};
use assent_store::{Niceness, give_way};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    answer::Answer,
    executor::{Executor, Halt},
};

/// Signatures checked together, where so many wait. The more, the more of them share a key and the less each costs: two thirds
/// of what it costs among 512. Past this it is a tenth more for twice the time in which nothing of the batch is handed on.
const VERIFY_BATCH: usize = 2_048;

/// So many at most after a batch that held a bad one. Finding it takes some three times as long as checking good ones, a tenth of
/// a second among 2,048, and nothing is handed on meanwhile. Each good batch doubles the next ones.
const SUSPECT_BATCH: usize = 512;

/// Where the last batch had so many, the next one gathers for so long: signatures cost half as much in company, and so does
/// a group's sync. A client on its own is not kept waiting.
const BUSY: usize = 4;
const GATHER: Duration = Duration::from_millis(1);

/// It gathers so often at most while another worker checks signatures, when two batches at once would only be smaller.
const GATHER_ROUNDS: u32 = 4;

/// What a submission got.
pub(crate) enum Reply {
    /// Sequenced.
    Answer(Answer),
    /// Sequenced earlier; the answer is to be looked up.
    Sequenced,
    /// Refused, signed.
    Refusal { refusal: Vec<u8>, signature: [u8; 64], reason: RefusalReason },
    /// Not valid whatever the state.
    Invalid(TransactionError),
    /// Time stepped too far; sequencing waits for confirmation.
    TimeStep(String),
}

/// A decoded transaction and who waits for it.
pub(crate) struct Submission {
    pub(crate) transaction: Transaction,
    pub(crate) reply: oneshot::Sender<Reply>,
    /// What its account has paid for it.
    pub(crate) charge: Option<Charge>,
    /// When it came, and later when its signature was checked.
    pub(crate) since: Instant,
    /// Given back when it is executed, also where nobody waits for the answer any more.
    pub(crate) _place: Place,
}

/// Whose rate a transaction counts to. Revocations have one of their own: whoever floods an account with its stolen key does
/// not keep its owner from revoking.
pub(crate) type RateKey = (AccountId, bool);

/// What an account has paid for a transaction: given back unless the signature shows that it was the account's.
pub(crate) struct Charge {
    pub(crate) accounts: Arc<Limiters<RateKey>>,
    pub(crate) key: Option<RateKey>,
}

impl Charge {
    fn keep(&mut self) {
        self.key = None;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.accounts.give_back(key, 1);
        }
    }
}

/// A place in the queue.
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Place {
    pub(crate) fn new(permit: OwnedSemaphorePermit, metrics: &Arc<Metrics>) -> Self {
        metrics.queue_depth.inc();
        Self { _permit: permit, metrics: metrics.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.queue_depth.dec();
    }
}

impl Submission {
    /// Whether nobody waits for the answer any more: the deadline has passed or the client is gone. It need not be worked on,
    /// except for a revocation, which whoever sent it may have meant as the last thing they did.
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed() && !matches!(self.transaction.act, Act::RevokeConsent(_))
    }
}

/// The way in.
pub(crate) type Admit = SyncSender<Submission>;

/// Starts the workers and the executor. All end when the last [`Admit`] is dropped and the queue is empty.
pub(crate) fn start(
    executor: Executor,
    capacity: usize,
    stop: Arc<AtomicBool>,
    metrics: &Arc<Metrics>,
) -> io::Result<(Admit, oneshot::Receiver<Result<(), Halt>>)> {
    // Neither channel can fill up: the service lets at most so many submissions in.
    let (admit, incoming) = sync_channel(capacity);
    let (verified, queue) = sync_channel(capacity);
    let incoming = Arc::new(Mutex::new(Incoming { queue: incoming, next_ticket: 0, is_busy: false }));
    let turns = Arc::new(Turns::default());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    for worker in 0..workers {
        let (incoming, turns, verified) = (incoming.clone(), turns.clone(), verified.clone());
        let metrics = metrics.clone();
        thread::Builder::new().name(format!("verify-{worker}")).spawn(move || {
            give_way(Niceness::Checking);
            verify_loop(&incoming, &turns, &verified, &metrics);
        })?;
    }
    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("executor".into()).spawn(move || {
        // Nobody listens any more where the process is ending.
        let _ = end.send(executor.run(&queue, &stop));
    })?;
    tracing::debug!(capacity, workers, "admission started");
    Ok((admit, ended))
}

/// What arrives, and the ticket of the next batch that a worker takes.
struct Incoming {
    queue: Receiver<Submission>,
    next_ticket: u64,
    /// Whether the last batch was one of several, and waiting for more is worth while.
    is_busy: bool,
}

/// Whose turn it is to hand on.
struct Turns {
    current: Mutex<u64>,
    changed: Condvar,
    /// Workers that check signatures at this moment.
    checking: AtomicUsize,
    /// Signatures of the next batch at most.
    largest: AtomicUsize,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            current: Mutex::default(),
            changed: Condvar::default(),
            checking: AtomicUsize::default(),
            largest: VERIFY_BATCH.into(),
        }
    }
}

impl Turns {
    /// Takes in whether a batch had bad signatures.
    fn checked(&self, has_bad: bool) {
        self.checking.fetch_sub(1, Ordering::Relaxed);
        let largest = self.largest.load(Ordering::Relaxed);
        let next = if has_bad { SUSPECT_BATCH } else { (2 * largest).min(VERIFY_BATCH) };
        // Where two workers store at once either is right.
        self.largest.store(next, Ordering::Relaxed);
    }
}

/// The right to hand on one batch after all before it. Dropping it passes the turn on, also where the worker panics.
struct Ticket<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Ticket<'_> {
    fn wait(&self) {
        // The lock guards a number that is only ever counted up.
        let mut current = self.turns.current.lock().unwrap_or_else(PoisonError::into_inner);
        while *current != self.number {
            current = self.turns.changed.wait(current).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.wait();
        *self.turns.current.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.turns.changed.notify_all();
    }
}

fn verify_loop(
    incoming: &Mutex<Incoming>,
    turns: &Turns,
    verified: &SyncSender<Vec<Submission>>,
    metrics: &Metrics,
) {
    loop {
        let mut batch = Vec::new();
        let ticket = {
            // A worker that panicked left the receiver as it was.
            let mut incoming = incoming.lock().unwrap_or_else(PoisonError::into_inner);
            match incoming.queue.recv() {
                Ok(first) => batch.push(first),
                Err(_) => return,
            }
            let mut rounds = if incoming.is_busy { GATHER_ROUNDS } else { 0 };
            loop {
                if rounds > 0 {
                    thread::sleep(GATHER);
                }
                let largest = turns.largest.load(Ordering::Relaxed);
                let room = largest.saturating_sub(batch.len());
                batch.extend(std::iter::from_fn(|| incoming.queue.try_recv().ok()).take(room));
                let is_full = batch.len() >= largest;
                if rounds <= 1 || is_full || turns.checking.load(Ordering::Relaxed) == 0 {
                    break;
                }
                rounds -= 1;
            }
            incoming.is_busy = batch.len() >= BUSY;
            incoming.next_ticket += 1;
            Ticket { turns, number: incoming.next_ticket - 1 }
        };
        batch.retain(|submission| {
            let abandoned = submission.is_abandoned();
            if abandoned {
                metrics.judged(Judged::Abandoned);
            }
            !abandoned
        });
        let checks: Vec<_> =
            batch.iter().flat_map(|submission| submission.transaction.signature_check()).collect();
        turns.checking.fetch_add(1, Ordering::Relaxed);
        let answers = verify_all(&checks);
        turns.checked(answers.iter().any(Result::is_err));
        let mut answers = answers.into_iter();
        ticket.wait();
        let mut valid = Vec::with_capacity(batch.len());
        for mut submission in batch {
            // One answer for each signature of the transaction, in order.
            let signatures = submission.transaction.authorizations.len();
            let bad = answers.by_ref().take(signatures).filter_map(Result::err).last();
            match bad {
                Some(error) => {
                    metrics.judged(Judged::Invalid);
                    // Given back before anybody hears of it: the next one must not find it missing.
                    drop(submission.charge.take());
                    // The client may have gone away.
                    let _ = submission.reply.send(Reply::Invalid(error.into()));
                }
                None => {
                    if let Some(charge) = &mut submission.charge {
                        charge.keep();
                    }
                    let now = Instant::now();
                    metrics.stages.observe(Stage::Admit, now.duration_since(submission.since));
                    submission.since = now;
                    valid.push(submission);
                }
            }
        }
        // As one: the executor is woken once.
        if !valid.is_empty() && verified.send(valid).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use assent_core::{
        ChainId, TransactionId,
        signature::KeyPair,
        transaction::{AccountKind, sign_body},
    };
    use assent_proto::v1::{self as proto, transaction_body::Act as Message};

    use super::*;

    fn submission(act: Message) -> (Submission, oneshot::Receiver<Reply>) {
        let key = KeyPair::from_seed([3; 32]);
        let body = proto::TransactionBody {
            chain_id: vec![1; 32],
            sender: key.public().account_id().0.to_vec(),
            salt: vec![5; 16],
            expires_at_ms: 1,
            act: Some(act),
        };
        let transaction = Transaction::decode(&ChainId([1; 32]), &sign_body(&body, Some(&key))).unwrap();
        let (reply, answered) = oneshot::channel();
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        let metrics = assent_metrics::Metrics::new(true, false).sequencer;
        let place = Place::new(places.try_acquire_owned().unwrap(), &metrics);
        (Submission { transaction, reply, charge: None, since: Instant::now(), _place: place }, answered)
    }

    #[test]
    fn batches_are_smaller_after_a_bad_signature_and_grow_again() {
        let turns = Turns::default();
        let checked = |has_bad| {
            turns.checking.fetch_add(1, Ordering::Relaxed);
            turns.checked(has_bad);
            turns.largest.load(Ordering::Relaxed)
        };
        assert_eq!(
            [false, true, true, false, false, false].map(checked),
            [2_048, 512, 512, 1_024, 2_048, 2_048]
        );
    }

    #[test]
    fn what_nobody_waits_for_is_not_worked_on_except_for_a_revocation() {
        let (open, answered) =
            submission(Message::OpenAccount(proto::OpenAccount { kind: AccountKind::Patient as i32 }));
        assert!(!open.is_abandoned());
        drop(answered);
        assert!(open.is_abandoned());
        let by = proto::revoke_consent::By::ConsentId(TransactionId([7; 32]).0.to_vec());
        let (revoke, answered) = submission(Message::RevokeConsent(proto::RevokeConsent { by: Some(by) }));
        drop(answered);
        assert!(!revoke.is_abandoned());
    }
}
