//! Request bodies: gRPC's frames are counted as they arrive, so that a message is refused by its length before it takes
//! memory, and all messages that have arrived in part fit into one budget.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use assent_metrics::Gate as Metrics;
use assent_proto::errors;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::{Code, Status, body::Body};

use crate::{layer::Call, rate::Limiter};

/// How long the rest of a message that has begun may take: a few megabytes over a slow line.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client is told to wait while the budget is used up.
const BUDGET_RETRY: Duration = Duration::from_secs(1);
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Bytes of all messages that have arrived in part.
pub(crate) struct Budget {
    most: usize,
    used: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Budget {
    pub(crate) fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self { most, used: AtomicUsize::new(0), metrics }
    }

    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.most);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if taken {
            self.metrics.receiving_bytes.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics.receiving_bytes.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

/// A request body under the limits of its method.
pub(crate) struct Framed {
    inner: Body,
    max_message: usize,
    budget: Arc<Budget>,
    peer: Arc<Limiter>,
    prefix: [u8; PREFIX],
    have: usize,
    /// Bytes of the message that are still to come.
    remaining: usize,
    /// Bytes taken from the budget.
    held: usize,
    /// Whether the call's first message has come; the gate has counted that one.
    begun: bool,
    /// Messages that the peer's rate has not been charged for.
    owed: u64,
    wait: Option<Pin<Box<Sleep>>>,
    stalled: Option<Pin<Box<Sleep>>>,
    /// How long the rest of a message may take.
    patience: Duration,
}

impl Framed {
    pub(crate) fn new(inner: Body, max_message: usize, budget: Arc<Budget>, peer: Arc<Limiter>) -> Self {
        Self {
            inner,
            max_message,
            budget,
            peer,
            prefix: [0; PREFIX],
            have: 0,
            remaining: 0,
            held: 0,
            begun: false,
            owed: 0,
            wait: None,
            stalled: None,
            patience: MESSAGE_TIMEOUT,
        }
    }

    fn message_begins(&mut self, length: usize) -> Result<(), Status> {
        if length > self.max_message {
            return Err(errors::error(
                Code::OutOfRange,
                "MESSAGE_TOO_LARGE",
                format!("the message has {length} bytes, this method takes at most {}", self.max_message),
            ));
        }
        if !self.budget.take(length) {
            return Err(errors::retry_later(
                Code::ResourceExhausted,
                "RECEIVING_FULL",
                "too many large messages are arriving at once",
                BUDGET_RETRY,
            ));
        }
        self.held = length;
        self.remaining = length;
        if std::mem::replace(&mut self.begun, true) {
            self.owed += 1;
        }
        Ok(())
    }

    fn message_ends(&mut self) {
        self.budget.give_back(std::mem::take(&mut self.held));
        self.have = 0;
        self.stalled = None;
    }

    fn scan(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            if self.have < PREFIX {
                let count = bytes.len().min(PREFIX - self.have);
                let (part, rest) = bytes.split_at(count);
                self.prefix[self.have..self.have + count].copy_from_slice(part);
                self.have += count;
                bytes = rest;
                if self.have < PREFIX {
                    break;
                }
                let [_, a, b, c, d] = self.prefix;
                self.message_begins(u32::from_be_bytes([a, b, c, d]) as usize)?;
            }
            let count = bytes.len().min(self.remaining);
            bytes = &bytes[count..];
            self.remaining -= count;
            if self.remaining == 0 {
                self.message_ends();
            }
        }
        Ok(())
    }

    /// Waits until the peer's rate allows what has arrived already.
    fn poll_owed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(wait) = &mut self.wait {
                if wait.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.wait = None;
            }
            if self.owed == 0 {
                return Poll::Ready(());
            }
            match self.peer.take(self.owed) {
                Ok(()) => self.owed = 0,
                Err(pause) => self.wait = Some(Box::pin(sleep(pause))),
            }
        }
    }

    fn poll_stalled(&mut self, context: &mut Context<'_>) -> bool {
        if self.have == 0 {
            return false;
        }
        let patience = self.patience;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        timer.as_mut().poll(context).is_ready()
    }
}

impl Drop for Framed {
    fn drop(&mut self) {
        self.budget.give_back(self.held);
    }
}

impl HttpBody for Framed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.poll_owed(context).is_pending() {
            return Poll::Pending;
        }
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Pending if self.poll_stalled(context) => {
                let text = format!("the rest of a message did not come within {} s", self.patience.as_secs());
                Poll::Ready(Some(Err(errors::error(Code::DeadlineExceeded, "MESSAGE_STALLED", text))))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.scan(data)?;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer: keeps its call under way until it is sent or given up, and ends at the call's deadline. The
/// transport asks for a piece only when there is room for it; what it says to [`Call`] lets the gate see who does not read.
pub(crate) struct Answer {
    inner: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    is_over: bool,
    call: Call,
}

impl Answer {
    pub(crate) fn new(inner: Body, deadline: Option<Instant>, call: Call) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        Self { inner, deadline, is_over: false, call }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.call.progress.handed_out.store(0, Ordering::Relaxed);
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
            self.is_over = true;
            let mut trailers = http::HeaderMap::new();
            let status = Status::deadline_exceeded("the deadline of the call has passed");
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_ready() {
            self.call.progress.handed_out.store(self.call.now(), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};
    use tokio_stream::{StreamExt, iter};

    use super::*;
    use crate::rate::Rate;

    fn framed(chunks: Vec<Vec<u8>>, max: usize, budget: &Arc<Budget>) -> Framed {
        let frames = chunks.into_iter().map(|chunk| Ok::<_, Status>(Frame::data(Bytes::from(chunk))));
        let peer = Arc::new(Limiter::new(Rate::new(1_000, 1_000)));
        Framed::new(Body::new(StreamBody::new(iter(frames))), max, budget.clone(), peer)
    }

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(vec![7; length]);
        bytes
    }

    fn budget(most: usize) -> Arc<Budget> {
        Arc::new(Budget::new(most, assent_metrics::Metrics::default().gate))
    }

    #[tokio::test]
    async fn messages_pass_unchanged_however_they_are_cut() {
        let whole: Vec<u8> = [0, 3, 100, 1].iter().flat_map(|length| message(*length)).collect();
        for size in [1, 2, 5, 6, 64, 1_000] {
            let budget = budget(100);
            let chunks = whole.chunks(size).map(<[u8]>::to_vec).collect();
            let collected = framed(chunks, 100, &budget).collect().await.unwrap().to_bytes();
            assert_eq!(collected, whole, "{size}");
            assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn a_message_is_refused_by_its_length_alone() {
        let budget = budget(1_000);
        let refused = framed(vec![message(101)[..5].to_vec()], 100, &budget).collect().await.unwrap_err();
        assert_eq!(errors::reason_of(&refused).as_deref(), Some("MESSAGE_TOO_LARGE"));
        // The second of a stream too.
        let refused = framed(vec![message(4), message(101)], 100, &budget).collect().await.unwrap_err();
        assert_eq!(errors::reason_of(&refused).as_deref(), Some("MESSAGE_TOO_LARGE"));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_has_arrived_in_part_is_bounded_and_given_back() {
        let budget = budget(150);
        let mut first = framed(vec![message(100)[..50].to_vec()], 100, &budget);
        let _ = first.frame().await.unwrap().unwrap();
        assert_eq!(budget.used.load(Ordering::Relaxed), 100);
        let refused = framed(vec![message(60)], 100, &budget).collect().await.unwrap_err();
        assert_eq!(errors::reason_of(&refused).as_deref(), Some("RECEIVING_FULL"));
        drop(first);
        framed(vec![message(60)], 100, &budget).collect().await.unwrap();
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn the_rest_of_a_message_is_not_waited_for_without_end() {
        let budget = budget(1_000);
        let begun = iter([Ok::<_, Status>(Frame::data(Bytes::from(message(100)[..50].to_vec())))]);
        let endless = begun.chain(tokio_stream::pending());
        let peer = Arc::new(Limiter::new(Rate::new(1_000, 1_000)));
        let mut framed = Framed::new(Body::new(StreamBody::new(endless)), 100, budget.clone(), peer);
        framed.patience = Duration::from_millis(20);
        let stalled = framed.collect().await.unwrap_err();
        assert_eq!(errors::reason_of(&stalled).as_deref(), Some("MESSAGE_STALLED"));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn messages_of_a_stream_are_read_at_the_rate_of_their_peer() {
        let budget = budget(1_000);
        let frames = iter((0..7).map(|_| Ok::<_, Status>(Frame::data(Bytes::from(message(3))))));
        let peer = Arc::new(Limiter::new(Rate::new(100, 1)));
        let framed = Framed::new(Body::new(StreamBody::new(frames)), 100, budget, peer);
        let begun = std::time::Instant::now();
        framed.collect().await.unwrap();
        // The gate has counted the first; the second is had at once, the other five at a hundred a second.
        assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
    }
}
