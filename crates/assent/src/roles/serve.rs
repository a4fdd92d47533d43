//! The servers of a process: gRPC behind the gate, and metrics.

use std::{convert::Infallible, io, path::Path, sync::Arc, time::Duration};

use assent_gate::{Connection, ConnectionInfo, Gate, GateLayer, role::Role, tls::TlsFiles};
use assent_metrics::{CONTENT_TYPE, Metrics};
use assent_proto::v1::{
    prover_service_server::ProverServiceServer, sequencer_service_server::SequencerServiceServer,
};
use assent_prover::{Prover, ProverApi};
use assent_sequencer::{Sequencer, SequencerApi};
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::DuplexStream, sync::mpsc, sync::watch, task::JoinSet};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::transport::{Server, server::Connected};

use crate::{files, settings::Settings};

/// Streams of one connection at a time. A gateway needs a few; more are more connections.
const CONNECTION_STREAMS: u32 = 256;
/// Bytes of one stream, and of one connection, that may have arrived before they are read: a second's worth of transactions
/// over a line of 50 ms, and at the most connections half a gibibyte.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Bytes of the headers of one call: a token and a signed query, with room.
const HEADER_BYTES: u32 = 16 * 1024;
/// How long a call may take before it is answered at all, where the client sets no deadline: the longest history.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// A connection that does not answer a ping within this is gone.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long a request for metrics may take to arrive.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);

/// The files of TLS, where it is on.
pub fn tls_files(dir: &Path, settings: &Settings) -> anyhow::Result<Option<TlsFiles>> {
    let (Some(certificate), Some(key)) =
        (settings.path("tls.certificate", dir), settings.path("tls.key", dir))
    else {
        return Ok(None);
    };
    files::check_private(&key, dir)?;
    Ok(Some(TlsFiles {
        certificate,
        key,
        client_ca: settings.path("tls.client_ca", dir),
        require_client_certificate: settings.switch("tls.require_client_certificate"),
    }))
}

/// The services of the parts that run.
pub struct Services {
    /// Of a sequencer.
    pub sequencer: Option<SequencerApi>,
    /// Of a prover or validator.
    pub prover: Option<ProverApi>,
}

/// Connections from the network and from this process.
pub fn with_in_process(
    incoming: impl Stream<Item = io::Result<Connection>> + Send + 'static,
    in_process: mpsc::Receiver<DuplexStream>,
    metrics: Arc<assent_metrics::Gate>,
) -> impl Stream<Item = io::Result<Connection>> + Send + 'static {
    let own = ReceiverStream::new(in_process)
        .map(move |stream| Ok(Connection::in_process(stream, metrics.clone())));
    incoming.merge(own)
}

/// Serves gRPC until told to stop.
pub async fn grpc(
    incoming: impl Stream<Item = io::Result<Connection>> + Send + 'static,
    services: Services,
    gate: Arc<Gate>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()>
where
    Connection: Connected,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(assent_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let mut router = Server::builder()
        .timeout(CALL_TIMEOUT)
        .max_concurrent_streams(CONNECTION_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE.0))
        .http2_keepalive_timeout(Some(KEEP_ALIVE.1))
        .layer(GateLayer(gate))
        .add_service(health_service)
        .add_service(reflection);
    if let Some(api) = services.sequencer {
        health.set_serving::<SequencerServiceServer<SequencerApi>>().await;
        let service = SequencerServiceServer::new(api)
            .max_decoding_message_size(assent_sequencer::service::MAX_REQUEST_BYTES)
            .max_encoding_message_size(assent_sequencer::service::MAX_RESPONSE_BYTES);
        router = router.add_service(service);
    }
    if let Some(api) = services.prover {
        let mut halted = api.halted();
        let reporter = health.clone();
        reporter.set_serving::<ProverServiceServer<ProverApi>>().await;
        tokio::spawn(async move {
            // It goes on answering, but it proves nothing any more.
            if halted.wait_for(|halted| *halted).await.is_ok() {
                reporter.set_not_serving::<ProverServiceServer<ProverApi>>().await;
            }
        });
        let service =
            ProverServiceServer::new(api).max_encoding_message_size(assent_prover::MAX_RESPONSE_BYTES);
        router = router.add_service(service);
    }
    let stopped = async move {
        // The sender is gone where the process is ending anyway.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    Ok(router.serve_with_incoming_shutdown(incoming, stopped).await?)
}

/// Adds what RocksDB says of the databases that are open.
pub fn with_database(
    mut metrics: Metrics,
    sequencer: Option<&Sequencer>,
    prover: Option<&Prover>,
) -> Arc<Metrics> {
    let mut databases = Vec::new();
    databases.extend(sequencer.map(|sequencer| ("sequencer", sequencer.store())));
    databases.extend(prover.map(|prover| ("prover", prover.store())));
    metrics.collect(Box::new(crate::database_metrics::Databases(databases)));
    Arc::new(metrics)
}

/// Serves metrics until told to stop.
pub async fn metrics(
    incoming: impl Stream<Item = io::Result<Connection>> + Send + 'static,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    tokio::pin!(incoming);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let connection = tokio::select! {
            next = incoming.next() => match next {
                Some(Ok(connection)) => connection,
                Some(Err(_)) => continue,
                None => return Ok(()),
            },
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let (metrics, gate) = (metrics.clone(), gate.clone());
        let info = connection.connect_info();
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let response = page(&metrics, &gate, &info, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(METRICS_TIMEOUT);
            // A scraper that is gone is no news.
            let _ = builder.serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

fn page(
    metrics: &Metrics,
    gate: &Gate,
    connection: &ConnectionInfo,
    request: &Request<hyper::body::Incoming>,
) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: &str| {
        let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
        *response.status_mut() = status;
        response
    };
    if let Err(refused) = gate.admit_http(Role::Operate, connection.names(), request.headers()) {
        let status = match refused.code() {
            tonic::Code::PermissionDenied => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        let mut response = plain(status, refused.message());
        if status == StatusCode::UNAUTHORIZED {
            let value = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        return response;
    }
    connection.mark_known();
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match metrics.encode() {
            Ok(text) => {
                let mut response = Response::new(Full::new(Bytes::from(text)));
                let value = header::HeaderValue::from_static(CONTENT_TYPE);
                response.headers_mut().insert(header::CONTENT_TYPE, value);
                response
            }
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written"),
        },
        (&Method::GET | &Method::HEAD, _) => plain(StatusCode::NOT_FOUND, "the metrics are at /metrics"),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
    }
}
