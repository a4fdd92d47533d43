//! Empty gRPC calls: what carrying a transaction and its answer costs where nobody looks at either.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use assent_client::{Credentials, Dial};
use assent_wire::Collected;
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio::{net::TcpListener, sync::mpsc, sync::oneshot, task::JoinSet};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{self, NamedService, StreamingService, UnaryService},
    transport::Server,
};

const UNARY: &str = "/assent.bench.Echo/Unary";
const STREAM: &str = "/assent.bench.Echo/Stream";

/// Bytes in, bytes out.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;
type Answers = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// Answers everything with the same bytes.
#[derive(Clone)]
struct Echo(Bytes);

impl NamedService for Echo {
    const NAME: &'static str = "assent.bench.Echo";
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Boxed<Response<Bytes>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        let answer = self.0.clone();
        Box::pin(async move { Ok(Response::new(answer)) })
    }
}

impl StreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = Boxed<Response<Answers>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let answer = self.0.clone();
        Box::pin(async move {
            let answers = request.into_inner().map(move |message| message.map(|_| answer.clone()));
            Ok(Response::new(Box::pin(answers) as Answers))
        })
    }
}

impl tower_service::Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = server::Grpc::new(Raw);
            Ok(match request.uri().path() {
                STREAM => grpc.streaming(echo, request).await,
                _ => grpc.unary(echo, request).await,
            })
        })
    }
}

/// A server on this machine, until it is dropped.
struct Serving {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

async fn serve(answer: Bytes) -> std::io::Result<Serving> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(Collected::new(stream))
    });
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        let _ =
            Server::builder().add_service(Echo(answer)).serve_with_incoming_shutdown(incoming, stopped).await;
    });
    Ok(Serving { address, _stop: stop })
}

/// Sends the same request for some time over a few connections and gives how many were answered.
pub(crate) async fn calls(
    request: Bytes,
    answer: Bytes,
    streamed: bool,
    connections: usize,
    concurrency: usize,
    time: Duration,
) -> Result<u64, String> {
    let server = serve(answer).await.map_err(|error| error.to_string())?;
    let dial = Dial::new(format!("http://{}", server.address), Credentials::default());
    let end = Instant::now() + time;
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let channel = dial.endpoint().and_then(|endpoint| dial.channel(&endpoint));
        let channel = channel.map_err(|error| error.to_string())?;
        let each = (concurrency / connections).max(1);
        if streamed {
            tasks.spawn(stream(channel, request.clone(), each, end));
        } else {
            for _ in 0..each {
                tasks.spawn(unary(channel.clone(), request.clone(), end));
            }
        }
    }
    let mut answered = 0;
    while let Some(done) = tasks.join_next().await {
        answered += done.map_err(|error| error.to_string())?.map_err(|status| status.to_string())?;
    }
    Ok(answered)
}

async fn unary(channel: assent_client::Authorized, request: Bytes, end: Instant) -> Result<u64, Status> {
    let mut grpc = client::Grpc::new(channel);
    let mut answered = 0;
    while Instant::now() < end {
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(UNARY);
        grpc.unary(Request::new(request.clone()), path, Raw).await?;
        answered += 1;
    }
    Ok(answered)
}

async fn stream(
    channel: assent_client::Authorized,
    request: Bytes,
    window: usize,
    end: Instant,
) -> Result<u64, Status> {
    let mut grpc = client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (sender, outgoing) = mpsc::channel(window);
    for _ in 0..window {
        let _ = sender.try_send(request.clone());
    }
    let path = PathAndQuery::from_static(STREAM);
    let answers = grpc.streaming(Request::new(ReceiverStream::new(outgoing)), path, Raw).await?;
    let mut answers = answers.into_inner();
    let mut answered = 0;
    while Instant::now() < end {
        if answers.message().await?.is_none() {
            break;
        }
        answered += 1;
        let _ = sender.try_send(request.clone());
    }
    Ok(answered)
}
