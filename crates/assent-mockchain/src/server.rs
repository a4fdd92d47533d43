//! The HTTP half of JSON-RPC: methods, authentication, body limit, status codes as Core's `httprpc.cpp`.

use std::time::Duration;
use std::{fmt, io};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt};

use crate::error::MockChainError;
use crate::handle::MockChain;
use crate::params::{DRAIN_SECONDS, MAX_BODY_BYTES, MAX_CONNECTIONS, REQUEST_SECONDS};
use crate::rpc::{self, Outcome};

/// Pause after a failed accept, so that running out of file handles does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tells hyper to close the connection without an answer.
#[derive(Debug)]
struct Dropped;

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fault asked for no answer")
    }
}

impl std::error::Error for Dropped {}

pub(crate) async fn serve<C>(
    chain: MockChain,
    incoming: impl Stream<Item = io::Result<C>>,
    stop: impl Future<Output = ()>,
) -> Result<(), MockChainError>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (stopping, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    {
        tokio::pin!(incoming);
        loop {
            while connections.try_join_next().is_some() {}
            tokio::select! {
                () = &mut stop => break,
                _ = connections.join_next(), if connections.len() >= MAX_CONNECTIONS => {}
                accepted = incoming.next(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Some(Ok(stream)) => {
                        connections.spawn(serve_connection(chain.clone(), stream, stopping.subscribe()));
                    }
                    Some(Err(error)) => {
                        tracing::warn!(%error, "could not accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    None => break,
                },
            }
        }
    }
    stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_secs(DRAIN_SECONDS), drained).await.is_err() {
        tracing::warn!("connections were cut because the server stops");
    }
    Ok(())
}

async fn serve_connection(
    chain: MockChain,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    mut stopping: watch::Receiver<bool>,
) {
    let service = service_fn(move |request| answer(chain.clone(), request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(REQUEST_SECONDS));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Completes when the server stops, which is also when nobody is left to tell.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stopping| *stopping).await);
}

async fn answer(chain: MockChain, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Dropped> {
    if request.uri().path() != "/" {
        return Ok(plain(StatusCode::NOT_FOUND, ""));
    }
    if request.method() != Method::POST {
        return Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "JSONRPC server handles only POST requests"));
    }
    if let Some((user, password)) = chain.rpc_auth()
        && !is_authorized(request.headers().get(AUTHORIZATION), user, password)
    {
        let mut response = plain(StatusCode::UNAUTHORIZED, "");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"jsonrpc\""));
        return Ok(response);
    }
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(Duration::from_secs(REQUEST_SECONDS), body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, ""));
        }
        Ok(Err(_)) => return Ok(plain(StatusCode::BAD_REQUEST, "")),
        Err(_) => return Ok(plain(StatusCode::REQUEST_TIMEOUT, "")),
    };
    // Executing takes a lock and syncs files, which must not hold up the async threads.
    let executed = tokio::task::spawn_blocking(move || rpc::execute(&chain, &body)).await;
    match executed {
        Ok(Outcome::Answer { status, body }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        }
        Ok(Outcome::Empty) => Ok(plain(StatusCode::NO_CONTENT, "")),
        Ok(Outcome::Busy) => Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded")),
        Ok(Outcome::Drop) => Err(Dropped),
        Err(error) => {
            tracing::error!(%error, "a call panicked");
            Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, ""))
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn is_authorized(header: Option<&HeaderValue>, user: &str, password: &str) -> bool {
    let given = header
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|value| BASE64_STANDARD.decode(value.trim()).ok())
        .unwrap_or_default();
    let expected = format!("{user}:{password}");
    // Looks at every byte, so that the time says nothing about where the first difference is.
    let differences =
        given.iter().zip(expected.as_bytes()).fold(0u8, |differences, (a, b)| differences | (a ^ b));
    given.len() == expected.len() && differences == 0
}
