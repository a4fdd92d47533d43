//! Sending a workload: unary calls, SubmitMany or streams, at a fixed rate or as fast as answers come.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use assent_client::{Authorized, ClientError, Dial, ReceiptChecker};
use assent_core::TransactionId;
use assent_proto::v1::{self as proto, submit_response, submit_result};
use bytes::Bytes;
use http::uri::PathAndQuery;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{IntoRequest, Request, Status, Streaming, client::Grpc};

use crate::{
    codec::Encoded,
    workload::{Lanes, Prepared},
};

/// Bytes of one answer: 1,000 receipts.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that may have arrived on one connection of the client's before they are read: as much as the answers of a full window.
const CLIENT_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Pause before a connection that broke is made again.
const RECONNECT: Duration = Duration::from_millis(200);
/// How long nothing may be answered before the run gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How transactions are submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One call each.
    Unary,
    /// Calls with several.
    Many,
    /// Bidirectional streams.
    Stream,
}

/// How much is under way.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Shape {
    /// How.
    pub mode: Mode,
    /// Connections.
    pub connections: usize,
    /// Transactions under way at once, over all connections: calls of one transaction, calls of many, or a stream's unanswered
    /// ones.
    pub concurrency: usize,
    /// Transactions of one SubmitMany.
    pub many: usize,
    /// Transactions a second; `None` for as fast as answers come.
    pub rate: Option<f64>,
}

/// What became of one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was meant to be sent, in microseconds since the run began.
    pub intended_us: u64,
    /// When its receipt had been checked.
    pub answered_us: u64,
    /// Its batch.
    pub batch: u64,
}

/// What is counted while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Receipts that were checked.
    pub receipts: AtomicU64,
    /// Sent and not answered.
    pub under_way: AtomicU64,
    /// What went wrong, by its name.
    pub errors: Mutex<BTreeMap<String, u64>>,
    /// Connections that were made again.
    pub reconnects: AtomicU64,
}

impl Counters {
    fn error(&self, name: &str) {
        // A counter is whole whenever the lock is free.
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(name.to_owned()).or_default() += 1;
    }

    /// Errors of all kinds.
    #[must_use]
    pub fn all_errors(&self) -> u64 {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// One run: what is shared by its tasks.
#[derive(Clone)]
pub struct Run {
    /// How.
    pub shape: Shape,
    /// To whom.
    pub dial: Dial,
    /// Checks the receipts.
    pub receipts: ReceiptChecker,
    /// When it began.
    pub begun: Instant,
    /// Nothing is sent any more once it is set.
    pub over: Arc<AtomicBool>,
    /// Counted.
    pub counters: Arc<Counters>,
}

fn reason(status: &Status) -> String {
    assent_proto::errors::reason_of(status).unwrap_or_else(|| format!("{:?}", status.code()))
}

impl Run {
    fn channel(&self) -> Result<Authorized, ClientError> {
        let endpoint = self
            .dial
            .endpoint()?
            .initial_stream_window_size(CLIENT_WINDOW_BYTES)
            .initial_connection_window_size(CLIENT_WINDOW_BYTES);
        self.dial.channel(&endpoint)
    }

    fn elapsed_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Sends everything, or until it is over, and gives what was sequenced.
    ///
    /// # Errors
    /// [`ClientError`] where a connection cannot be configured, or nothing is answered any more.
    pub async fn send(&self, lanes: Lanes) -> Result<Vec<Sample>, ClientError> {
        let count = lanes.0.len().max(1);
        let mut tasks = JoinSet::new();
        match self.shape.mode {
            Mode::Stream => {
                let window = (self.shape.concurrency / count).max(1);
                for lane in lanes.0 {
                    let channel = self.channel()?;
                    let schedule = Schedule(self.shape.rate);
                    tasks.spawn(Stream::new(self.clone(), lane, window, schedule).run(channel));
                }
            }
            Mode::Unary | Mode::Many => {
                let (workers, size) = match self.shape.mode {
                    Mode::Unary => ((self.shape.concurrency / count).max(1), 1),
                    _ => (
                        (self.shape.concurrency / count / self.shape.many.max(1)).max(1),
                        self.shape.many.max(1),
                    ),
                };
                for lane in lanes.0 {
                    let channel = self.channel()?;
                    let lane = Arc::new((lane, AtomicUsize::new(0)));
                    let schedule = Schedule(self.shape.rate);
                    for _ in 0..workers {
                        tasks.spawn(calls(self.clone(), channel.clone(), lane.clone(), size, schedule));
                    }
                }
            }
        }
        let mut samples = Vec::new();
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok(part) => samples.extend(part?),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        Ok(samples)
    }

    /// Takes in one answer.
    fn answered(
        &self,
        id: TransactionId,
        intended_us: u64,
        result: Option<submit_result::Result>,
        samples: &mut Vec<Sample>,
    ) {
        match result {
            Some(submit_result::Result::Sequenced(sequenced)) => match self.receipts.check(id, sequenced) {
                Ok(checked) => {
                    self.counters.receipts.fetch_add(1, Ordering::Relaxed);
                    let batch = checked.receipt.batch_number;
                    samples.push(Sample { intended_us, answered_us: self.elapsed_us(), batch });
                }
                Err(_) => self.counters.error("RECEIPT_DOES_NOT_HOLD"),
            },
            Some(submit_result::Result::Refusal(refusal)) => {
                let reason = assent_core::batch::Refusal::decode(&refusal.refusal);
                self.counters.error(reason.map_or("REFUSAL_UNREADABLE", |refusal| refusal.reason.name()));
            }
            Some(submit_result::Result::Error(error)) => self.counters.error(&error.reason),
            None => self.counters.error("EMPTY_ANSWER"),
        }
    }
}

/// When transactions are to be sent: at so many a second, over all lanes.
#[derive(Clone, Copy)]
struct Schedule(Option<f64>);

impl Schedule {
    /// When it is due, in microseconds since the run began; `None` for at once.
    fn due_us(&self, item: &Prepared) -> Option<u64> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a run takes hours at most: far below what a float counts exactly"
        )]
        self.0.map(|rate| (item.number as f64 * 1e6 / rate) as u64)
    }
}

/// Unary calls or SubmitMany, one after the other, by one of a lane's workers.
async fn calls(
    run: Run,
    channel: Authorized,
    lane: Arc<(Vec<Prepared>, AtomicUsize)>,
    size: usize,
    schedule: Schedule,
) -> Result<Vec<Sample>, ClientError> {
    let (items, next) = &*lane;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    let mut samples = Vec::new();
    let mut last_answer = Instant::now();
    loop {
        let first = next.fetch_add(size, Ordering::Relaxed);
        if first >= items.len() || run.is_over() {
            return Ok(samples);
        }
        let part = &items[first..(first + size).min(items.len())];
        // A call of many is sent when the last of it is due.
        if let Some(due) = part.last().and_then(|item| schedule.due_us(item)) {
            let due = run.begun + Duration::from_micros(due);
            if due > Instant::now() {
                tokio::time::sleep_until(due.into()).await;
            }
            last_answer = last_answer.max(due);
        }
        let now = run.elapsed_us();
        let intended = |index: usize| schedule.due_us(&part[index]).unwrap_or(now);
        // Sent again until it is answered: submitting is idempotent.
        loop {
            run.counters.under_way.fetch_add(part.len() as u64, Ordering::Relaxed);
            let results = call(&mut grpc, part).await;
            run.counters.under_way.fetch_sub(part.len() as u64, Ordering::Relaxed);
            match results {
                Ok(results) => {
                    for (index, (item, result)) in part.iter().zip(results).enumerate() {
                        run.answered(item.id, intended(index), result, &mut samples);
                    }
                    last_answer = Instant::now();
                    break;
                }
                Err(status) => {
                    run.counters.error(&reason(&status));
                    if status.code() != tonic::Code::Unavailable {
                        break;
                    }
                    if last_answer.elapsed() > PATIENCE {
                        return Err(status.into());
                    }
                    run.counters.reconnects.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    }
}

/// One call. One result for each, in order.
async fn call(
    grpc: &mut Grpc<Authorized>,
    part: &[Prepared],
) -> Result<Vec<Option<submit_result::Result>>, Status> {
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    if let [one] = part {
        let path = PathAndQuery::from_static("/assent.v1.SequencerService/Submit");
        let codec = Encoded::<proto::SubmitResponse>::default();
        let response = grpc.unary(one.message.clone().into_request(), path, codec).await?.into_inner();
        return Ok(vec![response.result.map(|result| match result {
            submit_response::Result::Sequenced(sequenced) => submit_result::Result::Sequenced(sequenced),
            submit_response::Result::Refusal(refusal) => submit_result::Result::Refusal(refusal),
        })]);
    }
    let path = PathAndQuery::from_static("/assent.v1.SequencerService/SubmitMany");
    let message: Vec<u8> = part.iter().flat_map(|item| item.message.iter().copied()).collect();
    let codec = Encoded::<proto::SubmitManyResponse>::default();
    let response = grpc.unary(Bytes::from(message).into_request(), path, codec).await?.into_inner();
    if response.results.len() != part.len() {
        return Err(Status::internal("another number of results than of transactions"));
    }
    Ok(response.results.into_iter().map(|result| result.result).collect())
}

/// One stream with at most so many unanswered.
struct Stream {
    run: Run,
    lane: Vec<Prepared>,
    window: usize,
    schedule: Schedule,
    next: usize,
    /// Index and intended time of what was sent and not answered.
    unanswered: VecDeque<(usize, u64)>,
    samples: Vec<Sample>,
    last_answer: Instant,
}

impl Stream {
    fn new(run: Run, lane: Vec<Prepared>, window: usize, schedule: Schedule) -> Self {
        Self {
            run,
            lane,
            window,
            schedule,
            next: 0,
            unanswered: VecDeque::new(),
            samples: Vec::new(),
            last_answer: Instant::now(),
        }
    }

    fn is_done(&self) -> bool {
        self.unanswered.is_empty() && (self.next >= self.lane.len() || self.run.is_over())
    }

    async fn run(mut self, channel: Authorized) -> Result<Vec<Sample>, ClientError> {
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        loop {
            let ended = self.connection(&mut grpc).await;
            self.run.counters.under_way.fetch_sub(self.unanswered.len() as u64, Ordering::Relaxed);
            let Err(status) = ended else { return Ok(self.samples) };
            self.run.counters.error(&reason(&status));
            let may_pass = matches!(
                status.code(),
                tonic::Code::Unavailable | tonic::Code::ResourceExhausted | tonic::Code::Unknown
            );
            if !may_pass || self.last_answer.elapsed() > PATIENCE {
                return Err(status.into());
            }
            self.run.counters.reconnects.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// One connection's stream, from what is unanswered on.
    async fn connection(&mut self, grpc: &mut Grpc<Authorized>) -> Result<(), Status> {
        if self.is_done() {
            return Ok(());
        }
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let (sender, outgoing) = mpsc::channel(self.window);
        let path = PathAndQuery::from_static("/assent.v1.SequencerService/SubmitStream");
        let codec = Encoded::<proto::SubmitStreamResponse>::default();
        for (index, _) in &self.unanswered {
            let _ = sender.try_send(self.lane[*index].message.clone());
        }
        self.run.counters.under_way.fetch_add(self.unanswered.len() as u64, Ordering::Relaxed);
        let request = Request::new(ReceiverStream::new(outgoing));
        let mut answers = grpc.streaming(request, path, codec).await?.into_inner();
        loop {
            let due = self.fill(&sender);
            if self.is_done() {
                return Ok(());
            }
            // With nothing unanswered nobody else would hear of it.
            if sender.is_closed() {
                return Err(Status::unavailable("the stream ended"));
            }
            tokio::select! {
                answer = next(&mut answers), if !self.unanswered.is_empty() => self.take(answer?),
                () = tokio::time::sleep_until(due.into()) => {}
            }
            if self.unanswered.is_empty() {
                self.last_answer = Instant::now();
            } else if self.last_answer.elapsed() > PATIENCE {
                return Err(Status::deadline_exceeded("nothing was answered"));
            }
        }
    }

    /// Sends what is due and has room. Says when to look again.
    fn fill(&mut self, sender: &mpsc::Sender<Bytes>) -> Instant {
        let later = Instant::now() + Duration::from_millis(100);
        if self.run.is_over() {
            return later;
        }
        let mut sent = 0;
        let due = loop {
            if self.unanswered.len() >= self.window || self.next >= self.lane.len() {
                break later;
            }
            let now = self.run.elapsed_us();
            let intended = match self.schedule.due_us(&self.lane[self.next]) {
                Some(due) if due > now => break self.run.begun + Duration::from_micros(due),
                Some(due) => due,
                None => now,
            };
            if sender.try_send(self.lane[self.next].message.clone()).is_err() {
                break later;
            }
            self.unanswered.push_back((self.next, intended));
            self.next += 1;
            sent += 1;
        };
        self.run.counters.under_way.fetch_add(sent, Ordering::Relaxed);
        due
    }

    fn take(&mut self, answer: proto::SubmitStreamResponse) {
        self.last_answer = Instant::now();
        let Some((index, intended)) = self.unanswered.pop_front() else { return };
        self.run.counters.under_way.fetch_sub(1, Ordering::Relaxed);
        let result = answer.result.and_then(|result| result.result);
        self.run.answered(self.lane[index].id, intended, result, &mut self.samples);
    }
}

async fn next(
    answers: &mut Streaming<proto::SubmitStreamResponse>,
) -> Result<proto::SubmitStreamResponse, Status> {
    answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))
}
