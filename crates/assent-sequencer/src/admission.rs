//! Checking signatures in parallel, and handing on to the executor.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::AtomicBool,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use assent_core::{
    TransactionId,
    batch::RefusalReason,
    signature::verify_all,
    transaction::{Transaction, TransactionError},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    answer::Answer,
    executor::{Executor, Halt},
};

/// Signatures checked together. Past this the batch equation saves little more, and one bad one costs all others a second
/// check.
const VERIFY_BATCH: usize = 64;

/// What a submission got.
pub(crate) enum Reply {
    /// Sequenced.
    Answer(Answer),
    /// Sequenced earlier; the answer is to be looked up.
    Sequenced(TransactionId),
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
    /// Its place in the queue, given back when it is executed, also where nobody waits for the answer any more.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// The way in.
pub(crate) type Admit = SyncSender<Submission>;

/// Starts the workers and the executor. All end when the last [`Admit`] is dropped and the queue is empty.
pub(crate) fn start(
    executor: Executor,
    capacity: usize,
    stop: Arc<AtomicBool>,
) -> io::Result<(Admit, oneshot::Receiver<Result<(), Halt>>)> {
    // Neither channel can fill up: the service lets at most so many submissions in.
    let (admit, incoming) = sync_channel(capacity);
    let (verified, queue) = sync_channel(capacity);
    let incoming = Arc::new(Mutex::new(incoming));
    let workers = thread::available_parallelism().map_or(1, usize::from);
    for worker in 0..workers {
        let (incoming, verified) = (incoming.clone(), verified.clone());
        thread::Builder::new()
            .name(format!("verify-{worker}"))
            .spawn(move || verify_loop(&incoming, &verified))?;
    }
    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("executor".into()).spawn(move || {
        // Nobody listens any more where the process is ending.
        let _ = end.send(executor.run(&queue, &stop));
    })?;
    tracing::debug!(capacity, workers, "admission started");
    Ok((admit, ended))
}

fn verify_loop(incoming: &Mutex<Receiver<Submission>>, verified: &SyncSender<Submission>) {
    loop {
        let mut batch = Vec::new();
        {
            // A worker that panicked left the receiver as it was.
            let receiver = incoming.lock().unwrap_or_else(PoisonError::into_inner);
            match receiver.recv() {
                Ok(first) => batch.push(first),
                Err(_) => return,
            }
            batch.extend(std::iter::from_fn(|| receiver.try_recv().ok()).take(VERIFY_BATCH - 1));
        }
        let checks: Vec<_> =
            batch.iter().map(|submission| submission.transaction.signature_check()).collect();
        let mut answers = verify_all(&checks.concat()).into_iter();
        for (submission, checks) in batch.into_iter().zip(checks) {
            // One answer for each signature of the transaction, in order.
            let bad = answers.by_ref().take(checks.len()).filter_map(Result::err).last();
            match bad {
                Some(error) => {
                    // The client may have gone away.
                    let _ = submission.reply.send(Reply::Invalid(error.into()));
                }
                None => {
                    if verified.send(submission).is_err() {
                        return;
                    }
                }
            }
        }
    }
}
