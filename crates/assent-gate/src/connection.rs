//! One connection: TCP, or TLS over it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use assent_metrics::Gate as Metrics;
use assent_wire::Collected;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo(Arc<Known>);

#[derive(Debug)]
struct Known {
    peer: SocketAddr,
    names: Vec<String>,
    /// Somebody with a role has called over it.
    is_known: AtomicBool,
    /// Calls under way over it.
    calls: AtomicUsize,
    closing: CancellationToken,
    metrics: Arc<Metrics>,
}

impl ConnectionInfo {
    pub(crate) fn new(peer: SocketAddr, names: Vec<String>, metrics: Arc<Metrics>) -> Self {
        let (is_known, closing) = (AtomicBool::new(false), CancellationToken::new());
        Self(Arc::new(Known { peer, names, is_known, calls: AtomicUsize::new(0), closing, metrics }))
    }

    /// Its other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Names in the certificate that it showed; none without one.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Somebody with a role has called over it: it may stay.
    pub fn mark_known(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    pub(crate) fn call_begins(&self) {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn call_ends(&self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Closes it when nobody with a role has called over it and no call is under way, looking every so often, so that
    /// strangers do not hold all places.
    pub(crate) fn close_if_idle_and_unknown(&self, every: Duration) {
        let known = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(known) = known.upgrade() else { return };
                if known.is_known.load(Ordering::Relaxed) {
                    return;
                }
                if known.calls.load(Ordering::Relaxed) == 0 {
                    known.metrics.refused_connection("nobody_known");
                    known.closing.cancel();
                    return;
                }
            }
        });
    }

    /// Closes it.
    pub(crate) fn close(&self) {
        self.0.closing.cancel();
    }

    /// Closes it, because nobody reads at its other end.
    pub(crate) fn close_as_slow(&self) {
        if !self.0.closing.is_cancelled() {
            self.0.metrics.slow_readers.inc();
            tracing::warn!(peer = %self.0.peer, "closed a connection whose other end does not read");
            self.0.closing.cancel();
        }
    }
}

/// A place among the connections, given back when it is dropped.
pub(crate) struct Slot(Option<Box<dyn FnOnce() + Send>>);

impl Slot {
    pub(crate) fn new(give_back: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(give_back)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

enum Io {
    Plain(Collected<TcpStream>),
    /// From another part of this process.
    Memory(DuplexStream),
    Tls(Box<Collected<TlsStream<TcpStream>>>),
}

/// An accepted connection.
pub struct Connection {
    io: Io,
    info: ConnectionInfo,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    _slot: Slot,
}

impl Connection {
    pub(crate) fn plain(stream: TcpStream, info: ConnectionInfo, slot: Slot) -> Self {
        let closed = Box::pin(info.0.closing.clone().cancelled_owned());
        Self { io: Io::Plain(Collected::new(stream)), info, closed, _slot: slot }
    }

    /// From another part of this process: counted among no connections.
    #[must_use]
    pub fn in_process(stream: DuplexStream, metrics: Arc<Metrics>) -> Self {
        let info = ConnectionInfo::new(SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new(), metrics);
        let closed = Box::pin(info.0.closing.clone().cancelled_owned());
        Self { io: Io::Memory(stream), info, closed, _slot: Slot::new(|| {}) }
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>, info: ConnectionInfo, slot: Slot) -> Self {
        let closed = Box::pin(info.0.closing.clone().cancelled_owned());
        Self { io: Io::Tls(Box::new(Collected::new(stream))), info, closed, _slot: slot }
    }

    fn is_closed(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.closed.as_mut().poll(context) {
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the gate has closed the connection"))
            }
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_closed(context)?;
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Memory(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_closed(context)?;
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Memory(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_closed(context)?;
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Io::Memory(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Memory(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Memory(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Memory(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
