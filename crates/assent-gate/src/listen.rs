//! Listening: so many connections, so many from one address, TLS handshakes that end in time.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use assent_metrics::Gate as Metrics;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::transport::server::Connected;

use crate::{
    connection::{Connection, ConnectionInfo, Slot},
    layer::network_of,
    tls::{self, ServerTls},
};

/// How long a TLS handshake may take: three round trips around the world and a slow phone.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that are accepted and not yet served.
const BACKLOG: usize = 64;
/// Pause after a failed accept, so that running out of file handles does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// All together.
    pub all: usize,
    /// From one address.
    pub per_address: usize,
    /// How often one is looked at over which nobody with a role has called, to be closed if it is idle; never, where `None`.
    pub strangers: Option<Duration>,
}

/// How long a connection may be idle over which nobody with a role has called.
pub const STRANGERS: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Open {
    all: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Accepts connections until what it gives is dropped.
pub fn incoming(
    listener: TcpListener,
    tls: Option<ServerTls>,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = io::Result<Connection>> + Send + use<> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(accept(listener, tls, limits, metrics, sender));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    tls: Option<ServerTls>,
    limits: ConnectionLimits,
    metrics: Arc<Metrics>,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let open = Arc::new(Mutex::new(Open::default()));
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = sender.closed() => return,
        };
        let slot = match take(&open, limits, peer.ip(), &metrics) {
            Ok(slot) => slot,
            Err(reason) => {
                // Dropping it closes it: answering would take the memory that the limit keeps.
                metrics.refused_connection(reason);
                continue;
            }
        };
        let (tls, sender, metrics) = (tls.clone(), sender.clone(), metrics.clone());
        handshakes.spawn(async move {
            if let Some(connection) = ready(stream, peer, slot, tls, &metrics).await {
                if let Some(time) = limits.strangers {
                    connection.connect_info().close_if_idle_and_unknown(time);
                }
                // Nobody serves any more where this fails.
                let _ = sender.send(Ok(connection)).await;
            }
        });
    }
}

fn take(
    open: &Arc<Mutex<Open>>,
    limits: ConnectionLimits,
    address: IpAddr,
    metrics: &Arc<Metrics>,
) -> Result<Slot, &'static str> {
    let address = network_of(address);
    {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= limits.all {
            return Err("limit");
        }
        if open.by_address.get(&address).is_some_and(|count| *count >= limits.per_address) {
            return Err("address_limit");
        }
        open.all += 1;
        *open.by_address.entry(address).or_default() += 1;
    }
    metrics.connections.inc();
    let (open, metrics) = (open.clone(), metrics.clone());
    Ok(Slot::new(move || {
        metrics.connections.dec();
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }))
}

async fn ready(
    stream: TcpStream,
    peer: SocketAddr,
    slot: Slot,
    tls: Option<ServerTls>,
    metrics: &Arc<Metrics>,
) -> Option<Connection> {
    // Small answers must not wait for more to send.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Some(Connection::plain(stream, ConnectionInfo::new(peer, Vec::new(), metrics.clone()), slot));
    };
    let acceptor = TlsAcceptor::from(tls.config());
    match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let names = certificates.and_then(<[_]>::first).map_or_else(Vec::new, tls::names_of);
            Some(Connection::tls(stream, ConnectionInfo::new(peer, names, metrics.clone()), slot))
        }
        Ok(Err(error)) => {
            metrics.refused_connection("handshake");
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            metrics.refused_connection("handshake_timeout");
            None
        }
    }
}
