//! A pipelined stream of submissions that outlives the connections that it runs over.

use std::{collections::VecDeque, time::Duration};

use assent_core::TransactionId;
use assent_proto::{
    errors,
    v1::{self as proto, submit_result},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{Client, ClientError, Submitted, receipt, retry};

/// Transactions under way at once: what the sequencer reads ahead of its answers.
pub const STREAM_WINDOW: usize = 1_000;

/// What became of one transaction of a stream.
#[derive(Debug)]
pub struct StreamItem {
    /// Which.
    pub id: TransactionId,
    /// Its checked receipt, its signed refusal, or why it was neither.
    pub result: Result<Submitted, ClientError>,
}

/// The way in. Dropping it says that nothing more comes.
#[derive(Clone, Debug)]
pub struct StreamSender(mpsc::Sender<proto::SignedTransaction>);

impl StreamSender {
    /// Sends one. Waits while [`STREAM_WINDOW`] transactions are unanswered.
    ///
    /// # Errors
    /// [`ClientError::StreamEnded`]: the stream has failed, and its last item says why.
    pub async fn send(&self, transaction: proto::SignedTransaction) -> Result<(), ClientError> {
        self.0.send(transaction).await.map_err(|_| ClientError::StreamEnded)
    }
}

/// The way out: one item for each transaction, in the order in which they were sent.
#[derive(Debug)]
pub struct StreamResults(mpsc::Receiver<StreamItem>);

impl StreamResults {
    /// The next item; `None` when all are answered and the sender is dropped, or after the stream has failed.
    pub async fn next(&mut self) -> Option<StreamItem> {
        self.0.recv().await
    }
}

impl Client {
    /// Opens a stream of submissions. Where a connection breaks, or the sequencer asks to try again later, another stream is
    /// opened and what is unanswered is sent again, in order: nothing is lost, and since submitting is idempotent nothing is
    /// doubled. Gives up when nothing was answered for the configured deadline; then every unanswered transaction gets an
    /// item that says so, and it is not known whether it was sequenced.
    #[must_use]
    pub fn stream(&self) -> (StreamSender, StreamResults) {
        let (sender, incoming) = mpsc::channel(1);
        let (results, receiver) = mpsc::channel(STREAM_WINDOW);
        let driver = Driver {
            client: self.clone(),
            incoming,
            results,
            unanswered: VecDeque::new(),
            open: true,
            last_answer: Instant::now(),
        };
        tokio::spawn(driver.run());
        (StreamSender(sender), StreamResults(receiver))
    }
}

struct Driver {
    client: Client,
    incoming: mpsc::Receiver<proto::SignedTransaction>,
    results: mpsc::Sender<StreamItem>,
    /// Sent or about to be, and not answered, oldest first.
    unanswered: VecDeque<proto::SignedTransaction>,
    /// Whether more may come.
    open: bool,
    last_answer: Instant,
}

enum Ended {
    /// All is answered, or nobody listens.
    Done,
    /// Open another, after this long at least.
    Again(Status, Duration),
}

impl Driver {
    async fn run(mut self) {
        let mut pause = retry::FIRST_PAUSE;
        loop {
            let before = self.last_answer;
            let (status, floor) = match self.connect().await {
                Ended::Done => return,
                Ended::Again(status, floor) => (status, floor),
            };
            if self.last_answer > before {
                pause = retry::FIRST_PAUSE;
            }
            // While nothing is under way there is nothing to give up.
            if self.unanswered.is_empty() {
                self.last_answer = Instant::now();
            }
            let wait = match retry::jitter(pause) {
                Ok(jitter) => floor + jitter,
                Err(_) => floor + pause,
            };
            let late = self.last_answer.elapsed() + wait >= self.client.config.deadline;
            if late || !retry::is_transient(&status) {
                return self.give_up(&status, late).await;
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(retry::LONGEST_PAUSE);
        }
    }

    async fn give_up(&mut self, status: &Status, late: bool) {
        self.incoming.close();
        while let Ok(late) = self.incoming.try_recv() {
            self.unanswered.push_back(late);
        }
        for transaction in std::mem::take(&mut self.unanswered) {
            let error = if late {
                ClientError::Unreachable {
                    address: self.client.config.sequencer.clone(),
                    seconds: self.client.config.deadline.as_secs(),
                    problem: retry::describe(status),
                }
            } else {
                status.clone().into()
            };
            let item = StreamItem { id: TransactionId::of_body(&transaction.body), result: Err(error) };
            if self.results.send(item).await.is_err() {
                return;
            }
        }
    }

    /// One stream of one connection, from its opening to its end.
    async fn connect(&mut self) -> Ended {
        let again = |status| Ended::Again(status, Duration::ZERO);
        if self.unanswered.is_empty() {
            // Nothing to connect for.
            match self.incoming.recv().await {
                Some(first) => self.unanswered.push_back(first),
                None => return Ended::Done,
            }
            self.last_answer = Instant::now();
        }
        let (requests, outgoing) = mpsc::channel(STREAM_WINDOW);
        let left = self.client.config.deadline.saturating_sub(self.last_answer.elapsed());
        let opening = self.client.sequencer.submit_stream(ReceiverStream::new(outgoing));
        // What is unanswered goes first, in order. There is room for all of it.
        for transaction in &self.unanswered {
            let _ = requests.try_send(request(transaction));
        }
        let mut responses = match tokio::time::timeout(left, opening).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return again(status),
            Err(_) => return again(Status::deadline_exceeded("the stream was not opened in time")),
        };
        loop {
            if !self.open && self.unanswered.is_empty() {
                return Ended::Done;
            }
            let left = self.client.config.deadline.saturating_sub(self.last_answer.elapsed());
            tokio::select! {
                next = self.incoming.recv(), if self.open && self.unanswered.len() < STREAM_WINDOW => match next {
                    Some(transaction) => {
                        if self.unanswered.is_empty() {
                            self.last_answer = Instant::now();
                        }
                        // Where the connection is gone, the responses end and it is sent again.
                        let _ = requests.try_send(request(&transaction));
                        self.unanswered.push_back(transaction);
                    }
                    None => self.open = false,
                },
                answer = answer(&mut responses) => match answer {
                    Ok(result) => if let Some(ended) = self.take(result).await { return ended },
                    Err(status) => return again(status),
                },
                () = tokio::time::sleep(left), if !self.unanswered.is_empty() => {
                    return again(Status::deadline_exceeded("nothing was answered"));
                }
            }
        }
    }

    /// Hands out the answer to the oldest unanswered transaction.
    async fn take(&mut self, result: proto::SubmitResult) -> Option<Ended> {
        if let Some(submit_result::Result::Error(error)) = &result.result {
            let status = errors::from_item(error);
            if retry::is_transient(&status) {
                let floor = errors::retry_after(&status).unwrap_or_default();
                return Some(Ended::Again(status, floor));
            }
        }
        let Some(transaction) = self.unanswered.pop_front() else {
            return Some(Ended::Again(Status::internal("an answer to nothing"), Duration::ZERO));
        };
        let id = TransactionId::of_body(&transaction.body);
        let result = self.client.check(id, result);
        let gone = self.results.send(StreamItem { id, result }).await.is_err();
        // Waiting for whoever reads the results is no silence of the sequencer's.
        self.last_answer = Instant::now();
        gone.then_some(Ended::Done)
    }
}

fn request(transaction: &proto::SignedTransaction) -> proto::SubmitStreamRequest {
    proto::SubmitStreamRequest { transaction: Some(transaction.clone()) }
}

async fn answer(
    responses: &mut Streaming<proto::SubmitStreamResponse>,
) -> Result<proto::SubmitResult, Status> {
    let message = responses.message().await?;
    let message = message.ok_or_else(|| Status::unavailable("the stream ended"))?;
    message.result.ok_or_else(|| Status::internal("an empty answer"))
}

impl Client {
    /// Submits up to 1,000 at once, executed in this order, and tries again where that may help, each on its own. One result
    /// for each, in order.
    ///
    /// # Errors
    /// [`ClientError`] where the whole call failed; then it is not known which of them were sequenced: submit them again.
    pub async fn submit_many(
        &self,
        transactions: &[proto::SignedTransaction],
    ) -> Result<Vec<Result<Submitted, ClientError>>, ClientError> {
        let mut results: Vec<Option<Result<Submitted, ClientError>>> = Vec::new();
        results.resize_with(transactions.len(), || None);
        let start = Instant::now();
        loop {
            let open: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_none()).collect();
            let left = self.config.deadline.saturating_sub(start.elapsed());
            let response = retry::until(&self.config.sequencer, left, || {
                let mut sequencer = self.sequencer.clone();
                let transactions = open.iter().map(|index| transactions[*index].clone()).collect();
                async move {
                    Ok(sequencer.submit_many(proto::SubmitManyRequest { transactions }).await?.into_inner())
                }
            })
            .await?;
            if response.results.len() != open.len() {
                return Err(ClientError::Incomplete("a result for each transaction"));
            }
            let mut again = None;
            for (index, result) in open.into_iter().zip(response.results) {
                if let Some(submit_result::Result::Error(error)) = &result.result {
                    let status = errors::from_item(error);
                    if retry::is_transient(&status) && start.elapsed() < self.config.deadline {
                        again = again.max(Some(errors::retry_after(&status).unwrap_or(retry::FIRST_PAUSE)));
                        continue;
                    }
                }
                let id = TransactionId::of_body(&transactions[index].body);
                results[index] = Some(self.check(id, result));
            }
            match again {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Ok(results.into_iter().flatten().collect()),
            }
        }
    }

    /// Checks the answer to a transaction.
    pub(crate) fn check(
        &self,
        id: TransactionId,
        result: proto::SubmitResult,
    ) -> Result<Submitted, ClientError> {
        match result.result.ok_or(ClientError::Incomplete("a result"))? {
            submit_result::Result::Sequenced(sequenced) => {
                Ok(Submitted::Sequenced(Box::new(self.receipts.check(id, sequenced)?)))
            }
            submit_result::Result::Refusal(refusal) => {
                Ok(Submitted::Refused(receipt::check_refusal(&self.manifest, self.chain_id, id, &refusal)?))
            }
            submit_result::Result::Error(error) => Err(errors::from_item(&error).into()),
        }
    }
}
