//! Connections whose small writes are collected.
//!
//! An HTTP/2 connection writes each message as soon as it has it, with one system call and one packet. Where hundreds of calls
//! are answered at the same moment, as by a group commit, those are hundreds of calls and packets for a few kilobytes.
//! [`Collected`] keeps what is written until every task that is ready on this thread has had its turn, and then writes it at
//! once. Nothing waits for a timer: where nobody else is ready, that is immediately.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are collected at most: four of HTTP/2's usual frames. A connection that writes more at once writes through.
const COLLECTED_BYTES: usize = 64 * 1024;

/// The task's turn, after all others that were ready.
struct Turn {
    has_come: AtomicBool,
    task: Waker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.has_come.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// A stream that collects small writes.
#[derive(Debug)]
pub struct Collected<S> {
    inner: S,
    waiting: BytesMut,
    /// Set while something waits.
    turn: Option<Arc<Turn>>,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("has_come", &self.has_come).finish()
    }
}

impl<S> Collected<S> {
    /// Over a stream.
    pub fn new(inner: S) -> Self {
        Self { inner, waiting: BytesMut::new(), turn: None }
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncWrite + Unpin> Collected<S> {
    /// Writes all that waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        self.turn = None;
        Poll::Ready(Ok(()))
    }

    /// Whether all other tasks that were ready have had their turn. Asks for a turn where none was asked for.
    fn turn_has_come(&mut self, context: &Context<'_>) -> bool {
        match &self.turn {
            Some(turn) if turn.has_come.load(Ordering::Acquire) => true,
            Some(turn) if turn.task.will_wake(context.waker()) => false,
            // Nobody has asked, or another task, as where one connects and another one talks.
            _ => {
                let turn = Arc::new(Turn { has_come: AtomicBool::new(false), task: context.waker().clone() });
                let waker = Waker::from(turn.clone());
                // Tokio wakes who yields once it has run everything else that is ready.
                let yielded = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
                self.turn = Some(turn);
                yielded.is_ready()
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Collected<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A reader may come round before a writer does.
        if self.turn.as_ref().is_some_and(|turn| turn.has_come.load(Ordering::Acquire)) {
            // What does not fit now, or fails, is the next write's to tell.
            let _ = self.poll_drain(context);
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Collected<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.waiting.len() + length > COLLECTED_BYTES {
            ready!(self.poll_drain(context))?;
            if length > COLLECTED_BYTES {
                return Pin::new(&mut self.inner).poll_write_vectored(context, slices);
            }
        }
        for slice in slices {
            self.waiting.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() {
            if !self.turn_has_come(context) {
                // The task is woken when its turn comes, and flushes again.
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_drain(context))?;
        }
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(feature = "tonic")]
impl<S: tonic::transport::server::Connected> tonic::transport::server::Connected for Collected<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Counts the writes that reach it.
    struct Counting(Vec<Vec<u8>>);

    impl AsyncWrite for Counting {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn writes_before_the_turn_comes_are_one() {
        let mut collected = Collected::new(Counting(Vec::new()));
        for word in ["a", "bc", "def"] {
            collected.write_all(word.as_bytes()).await.unwrap();
            collected.flush().await.unwrap();
        }
        assert!(collected.get_ref().0.is_empty());
        tokio::task::yield_now().await;
        collected.flush().await.unwrap();
        assert_eq!(collected.get_ref().0, [b"abcdef".to_vec()]);
        collected.write_all(b"g").await.unwrap();
        collected.shutdown().await.unwrap();
        assert_eq!(collected.get_ref().0[1], b"g");
    }

    #[tokio::test]
    async fn much_at_once_is_written_through_and_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut collected = Collected::new(ours);
        let parts: Vec<Vec<u8>> =
            [1, 10_000, 70_000, 5, 60_000, 9].iter().zip(0u8..).map(|(n, byte)| vec![byte; *n]).collect();
        for part in &parts {
            collected.write_all(part).await.unwrap();
        }
        collected.shutdown().await.unwrap();
        drop(collected);
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, parts.concat());
    }

    #[tokio::test]
    async fn both_ends_of_a_conversation_hear_each_other() {
        let (ours, theirs) = tokio::io::duplex(64);
        let echo = tokio::spawn(async move {
            let mut theirs = Collected::new(theirs);
            let mut word = [0; 5];
            for _ in 0..1_000 {
                theirs.read_exact(&mut word).await.unwrap();
                theirs.write_all(&word).await.unwrap();
                theirs.flush_in_turn().await;
            }
        });
        let mut ours = Collected::new(ours);
        for number in 0..1_000u32 {
            let word = format!("{number:05}");
            ours.write_all(word.as_bytes()).await.unwrap();
            ours.flush_in_turn().await;
            let mut back = [0; 5];
            ours.read_exact(&mut back).await.unwrap();
            assert_eq!(back, *word.as_bytes());
        }
        echo.await.unwrap();
    }

    #[tokio::test]
    async fn what_one_task_left_is_written_by_the_next() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut collected = Collected::new(ours);
        let mut collected = tokio::spawn(async move {
            collected.write_all(b"hello").await.unwrap();
            collected.flush().await.unwrap();
            collected
        })
        .await
        .unwrap();
        // The other one only listens, after a flush, and is woken for what waits.
        tokio::spawn(async move {
            collected.flush().await.unwrap();
            let mut byte = [0];
            let _ = collected.read_exact(&mut byte).await;
        });
        let mut word = [0; 5];
        theirs.read_exact(&mut word).await.unwrap();
        assert_eq!(word, *b"hello");
    }

    impl<S: AsyncWrite + Unpin> Collected<S> {
        /// Flushes as a connection does that is polled again when it is woken.
        async fn flush_in_turn(&mut self) {
            self.flush().await.unwrap();
            while !self.waiting.is_empty() {
                tokio::task::yield_now().await;
                self.flush().await.unwrap();
            }
        }
    }
}
