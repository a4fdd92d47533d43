//! The gate itself: between the transport and the services.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use assent_core::{
    ChainId, Hash,
    query::{MAX_QUERY_AGE_MS, MAX_SIGNED_QUERY_BYTES, METADATA_KEY, Query},
    signature::PublicKey,
};
use assent_metrics::{Gate as Metrics, REFUSED_CALLS};
use assent_proto::errors;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status, body::Body, metadata::MetadataMap};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    access::{Access, Grant, token_hash},
    body::{Answer, Budget, Framed},
    caller::{Caller, Scope},
    connection::ConnectionInfo,
    rate::{Limiter, Limiters, Rate},
    role::{Method, Role, Roles},
    tls::ServerTls,
};

/// A refusal is answered after this long, so that a client that is turned away and tries again at once costs little. The
/// number of calls of one connection bounds how many wait.
pub const REFUSAL_PAUSE: Duration = Duration::from_millis(250);
/// Signed queries that one address may make a second, and at once. A person asks a few times a minute; a hospital's proxy
/// stands for some hundreds of them. Each costs a signature check before it is known who asks.
const QUERIES: (u64, u64) = (200, 400);
/// Calls that one address may have under way by signed queries alone: watching a few transactions, for a household or a small
/// practice. Others are told to come back, so that strangers do not hold all places.
const OWN_CALLS: usize = 64;
/// Refusals that are held back at a time; beyond that they are answered at once, which takes less memory.
const PAUSES: usize = 4_096;
/// How long the request beside a signed query may take to arrive.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Peers whose rates are told apart at a time.
const MAX_PEERS: usize = 4_096;
/// Nonces of signed queries that are remembered for each of two minutes.
const MAX_NONCES: usize = 1 << 17;
/// How often the files and the calls under way are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// As whom a process calls itself. No client can be named so: names have no spaces.
const OWN_NAME: &str = "this process";
/// Bytes of a bearer token that is looked at.
const MAX_TOKEN_BYTES: usize = 256;

/// What a gate allows.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls under way, open streams among them.
    pub calls: usize,
    /// Calls, and messages of streams, that one client makes a second. Without a name, of one address.
    pub peer_rate: u64,
    /// Bytes of messages that have arrived in part.
    pub receiving_bytes: usize,
    /// How long what is sent waits until it is read.
    pub patience: Duration,
}

/// What all connections of a process share.
pub struct Gate {
    chain: ChainId,
    access: RwLock<Arc<Access>>,
    access_file: Option<PathBuf>,
    /// Hash of the token of this process for itself, which is never written down.
    own_token: Option<Hash>,
    begun: Instant,
    /// Calls under way, by a number of their own.
    open: Mutex<HashMap<u64, Arc<Progress>>>,
    next_call: AtomicU64,
    peers: Mutex<Peers>,
    queries: Limiters<IpAddr>,
    nonces: Mutex<Nonces>,
    calls: Arc<Semaphore>,
    /// Refusals that are being held back.
    pauses: Semaphore,
    budget: Arc<Budget>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

struct Peers {
    by_name: HashMap<Arc<str>, Peer>,
}

/// What is counted of one client, or of one address without a name.
#[derive(Clone)]
struct Peer {
    rate: Arc<Limiter>,
    /// Calls by signed queries.
    own_calls: Arc<Semaphore>,
    seen: Instant,
}

/// Nonces of the last two spans of twice the age that a query may have: none is forgotten while its query is still good.
struct Nonces {
    now: HashSet<(PublicKeyBytes, [u8; 16])>,
    before: HashSet<(PublicKeyBytes, [u8; 16])>,
    turned: Instant,
}

type PublicKeyBytes = [u8; 32];

/// Refused: too many calls a second.
pub(crate) fn rate_limited(wait: Duration) -> Status {
    errors::retry_later(
        Code::ResourceExhausted,
        "RATE_LIMITED",
        "more calls a second than one client may make",
        wait.max(Duration::from_millis(1)),
    )
}

fn unauthenticated(reason: &str, message: &str) -> Status {
    errors::error(Code::Unauthenticated, reason, message)
}

impl Gate {
    /// A gate for the clients of an access file.
    #[must_use]
    pub fn new(
        chain: ChainId,
        access: Access,
        access_file: Option<PathBuf>,
        own_token: Option<String>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            chain,
            access: RwLock::new(Arc::new(access)),
            access_file,
            own_token: own_token.as_deref().map(token_hash),
            begun: Instant::now(),
            open: Mutex::default(),
            next_call: AtomicU64::new(0),
            peers: Mutex::new(Peers { by_name: HashMap::new() }),
            queries: Limiters::new(Rate::new(QUERIES.0, QUERIES.1), MAX_PEERS),
            nonces: Mutex::new(Nonces {
                now: HashSet::new(),
                before: HashSet::new(),
                turned: Instant::now(),
            }),
            calls: Arc::new(Semaphore::new(limits.calls)),
            pauses: Semaphore::new(PAUSES),
            budget: Arc::new(Budget::new(limits.receiving_bytes, metrics.clone())),
            limits,
            metrics,
        })
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Reads the access file and the files of TLS again when they change, until the process ends.
    pub async fn watch(self: Arc<Self>, tls: Vec<ServerTls>) {
        let paths: Vec<PathBuf> =
            self.access_file.iter().cloned().chain(tls.iter().flat_map(ServerTls::files)).collect();
        let look = || -> Vec<Option<SystemTime>> {
            paths.iter().map(|path| std::fs::metadata(path).and_then(|found| found.modified()).ok()).collect()
        };
        // What changed since it was read first is not missed: the first look reads again.
        let mut seen = Vec::new();
        let expiry = |tls: &[ServerTls]| tls.iter().map(ServerTls::expiry).min().unwrap_or(0);
        self.metrics.certificate_expiry.set(expiry(&tls));
        loop {
            tokio::time::sleep(WATCH).await;
            let now = look();
            if now == seen {
                self.look_after_calls();
                continue;
            }
            seen = now;
            if let Some(path) = &self.access_file {
                match Access::read(path) {
                    Ok(access) => {
                        let mut current = self.access.write().unwrap_or_else(PoisonError::into_inner);
                        if current.clients() != access.clients() {
                            *current = Arc::new(access);
                            tracing::info!("the access file has changed and is in effect");
                        }
                    }
                    Err(error) => tracing::error!(%error, "the access file stays as it was"),
                }
            }
            for tls in &tls {
                if let Err(error) = tls.reload() {
                    tracing::error!(%error, "the certificate stays as it was");
                }
            }
            self.metrics.certificate_expiry.set(expiry(&tls));
            self.look_after_calls();
        }
    }

    /// What a client may do, by its certificate and its token.
    ///
    /// # Errors
    /// `CREDENTIAL_UNKNOWN` for a token that is in no line of the access file.
    fn identify(&self, names: &[String], headers: &HeaderMap) -> Result<Option<Grant>, Status> {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner).clone();
        let by_certificate = access.with_certificate(names);
        let Some(header) = headers.get(AUTHORIZATION) else { return Ok(by_certificate) };
        let token = header.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            (scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN_BYTES).then_some(token)
        });
        let token = token.ok_or_else(|| {
            unauthenticated("CREDENTIAL_UNKNOWN", "expected authorization: Bearer and a token")
        })?;
        if self.own_token == Some(token_hash(token)) {
            return Ok(Some(Grant { name: OWN_NAME.into(), roles: Roles::ALL }));
        }
        let by_token = access.with_token(token).ok_or_else(|| {
            unauthenticated(
                "CREDENTIAL_UNKNOWN",
                "the token is not in the access file (assent clients --help)",
            )
        })?;
        Ok(Some(match by_certificate {
            Some(other) => Grant { name: by_token.name, roles: by_token.roles.and(other.roles) },
            None => by_token,
        }))
    }

    /// Whether this HTTP request, which is no gRPC call, comes from somebody with a role.
    ///
    /// # Errors
    /// The gRPC error that a call would get.
    pub fn admit_http(&self, role: Role, names: &[String], headers: &HeaderMap) -> Result<(), Status> {
        match self.identify(names, headers)? {
            Some(grant) if grant.roles.meets(Roles::of(&[role])) => Ok(()),
            Some(grant) => Err(not_allowed(&grant, Roles::of(&[role]), "this page")),
            None => Err(nobody(false)),
        }
    }

    fn peer(&self, name: Arc<str>) -> Peer {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if peers.by_name.len() >= MAX_PEERS && !peers.by_name.contains_key(&name) {
            // Whoever was not seen for a while has a full bucket again. Where all were, everybody begins anew: the rate is
            // there against one client that floods, and connections are bounded.
            let in_use = |peer: &Peer| peer.own_calls.available_permits() < OWN_CALLS;
            peers
                .by_name
                .retain(|_, peer| now.duration_since(peer.seen) < Duration::from_secs(10) || in_use(peer));
            if peers.by_name.len() >= MAX_PEERS {
                peers.by_name.retain(|_, peer| in_use(peer));
            }
        }
        let new = || Peer {
            rate: Arc::new(Limiter::new(Rate::new(self.limits.peer_rate, self.limits.peer_rate))),
            own_calls: Arc::new(Semaphore::new(OWN_CALLS)),
            seen: now,
        };
        let peer = peers.by_name.entry(name).or_insert_with(new);
        peer.seen = now;
        peer.clone()
    }

    /// Milliseconds since the gate was made, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Begins a call.
    fn open(
        self: &Arc<Self>,
        method: &Method,
        client: Arc<str>,
        scope: Scope,
        connection: Option<ConnectionInfo>,
        places: Vec<OwnedSemaphorePermit>,
    ) -> Call {
        self.metrics.open_calls.inc();
        if let Some(connection) = &connection {
            connection.call_begins();
        }
        let client = matches!(scope, Scope::All).then_some((client, method.roles));
        let progress = Arc::new(Progress { connection, client, handed_out: AtomicU64::new(0) });
        let number = self.next_call.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, progress.clone());
        Call { gate: self.clone(), number, progress, _places: places }
    }

    /// Closes connections whose other end does not read, and those of clients that may not do any more what they are doing.
    fn look_after_calls(&self) {
        let access = self.access.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (now, patience) = (self.now(), self.limits.patience.as_millis());
        let open: Vec<_> =
            self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for progress in open {
            let Some(connection) = &progress.connection else { continue };
            let handed_out = progress.handed_out.load(Ordering::Relaxed);
            if handed_out > 0 && u128::from(now.saturating_sub(handed_out)) > patience {
                connection.close_as_slow();
            }
            if let Some((client, roles)) = &progress.client
                && **client != *OWN_NAME
                && !access.may(client, *roles)
            {
                tracing::info!(%client, "closed a connection of a client that may not call any more");
                connection.close();
            }
        }
    }

    fn use_nonce(&self, key: PublicKey, nonce: [u8; 16]) -> Result<(), Status> {
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        if nonces.turned.elapsed() >= Duration::from_millis(2 * MAX_QUERY_AGE_MS) {
            nonces.before = std::mem::take(&mut nonces.now);
            nonces.turned = Instant::now();
        }
        if nonces.now.len() >= MAX_NONCES {
            return Err(errors::retry_later(
                Code::ResourceExhausted,
                "TOO_MANY_READS",
                "too many signed queries at once",
                Duration::from_secs(1),
            ));
        }
        if nonces.before.contains(&(key.0, nonce)) || !nonces.now.insert((key.0, nonce)) {
            return Err(unauthenticated("QUERY_REPLAYED", "the signed query was used before; sign another"));
        }
        Ok(())
    }

    /// Checks a signed query against the call that it came with. Gives the query, whose nonce is still to be
    /// used, and the body to go on with.
    async fn check_query(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: Body,
        address: Option<IpAddr>,
    ) -> Result<(Option<Query>, Body), Status> {
        let Some(header) = headers.get(METADATA_KEY) else { return Ok((None, body)) };
        if let Some(address) = address {
            self.queries.take(address, 1).map_err(rate_limited)?;
        }
        let invalid = |problem: String| unauthenticated("QUERY_INVALID", &problem);
        let mut only = HeaderMap::new();
        only.insert(METADATA_KEY, header.clone());
        let only = MetadataMap::from_headers(only);
        let signed = only
            .get_bin(METADATA_KEY)
            .and_then(|value| value.to_bytes().ok())
            .filter(|bytes| bytes.len() <= MAX_SIGNED_QUERY_BYTES)
            .ok_or_else(|| invalid(format!("{METADATA_KEY} holds no signed query")))?;
        // Methods that accounts may call take small messages.
        let whole = tokio::time::timeout(QUERY_TIMEOUT, Limited::new(body, method.max_message + 5).collect())
            .await
            .map_err(|_| invalid("the request beside it did not come in time".into()))?
            .map_err(|_| invalid("the request is longer than this method takes".into()))?
            .to_bytes();
        let message = match whole.get(..5) {
            Some([0, a, b, c, d]) if u32::from_be_bytes([*a, *b, *c, *d]) as usize == whole.len() - 5 => {
                &whole[5..]
            }
            _ => return Err(invalid("expected one message, not compressed".into())),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let query = Query::open(&signed, &self.chain, method.path, message, now_ms)
            .map_err(|error| invalid(error.to_string()))?;
        Ok((Some(query), Body::new(Full::<Bytes>::new(whole))))
    }

    /// Lets a call through, or says why not.
    async fn admit(self: &Arc<Self>, request: Request<Body>) -> Result<Admitted, Status> {
        let (mut parts, body) = request.into_parts();
        let connection = parts.extensions.get::<ConnectionInfo>().cloned();
        let address = connection.as_ref().map(|connection| network_of(connection.peer().ip()));
        let names = connection.as_ref().map_or(&[][..], ConnectionInfo::names);
        let grant = self.identify(names, &parts.headers)?;
        let Some(method) = Method::at(parts.uri.path()) else {
            // Only who has a credential learns what there is.
            return Err(match grant {
                Some(_) => errors::error(Code::Unimplemented, "METHOD_UNKNOWN", "there is no such method"),
                None => nobody(false),
            });
        };
        let allowed = grant.as_ref().is_some_and(|grant| grant.roles.meets(method.roles));
        let (query, body) = if method.by_account && !allowed {
            self.check_query(method, &parts.headers, body, address).await?
        } else {
            (None, body)
        };
        let (name, scope) = match (grant, &query) {
            (Some(grant), _) if allowed => (grant.name, Scope::All),
            (_, Some(query)) => ("a signed query".into(), Scope::Own(query.account())),
            (Some(grant), None) => return Err(not_allowed(&grant, method.roles, "this method")),
            (None, None) => return Err(nobody(method.by_account)),
        };
        let peer_name = match (scope, address) {
            // Accounts are cheap to make: who asks with one is told apart by its address.
            (Scope::Own(_), Some(address)) => address.to_string().into(),
            _ => name.clone(),
        };
        let Peer { rate: peer, own_calls, .. } = self.peer(peer_name);
        peer.take(1).map_err(rate_limited)?;
        let mut places = Vec::with_capacity(2);
        if let Scope::Own(_) = scope {
            places.push(own_calls.try_acquire_owned().map_err(|_| too_many_calls())?);
        }
        places.push(self.calls.clone().try_acquire_owned().map_err(|_| too_many_calls())?);
        // Last: a call that is turned away uses up no nonce.
        if let Some(query) = &query {
            self.use_nonce(query.key, query.nonce)?;
        }
        if let (Some(connection), Scope::All) = (&connection, scope) {
            connection.mark_known();
        }
        let patience = self.limits.patience;
        let call = self.open(method, name.clone(), scope, connection.clone(), places);
        parts.extensions.insert(Caller { name, scope, patience, peer: Some(peer.clone()), connection });
        let body = Body::new(Framed::new(body, method.max_message, self.budget.clone(), peer));
        Ok(Admitted { request: Request::from_parts(parts, body), method, call })
    }
}

/// A call that is let through.
struct Admitted {
    request: Request<Body>,
    method: &'static Method,
    call: Call,
}

fn too_many_calls() -> Status {
    errors::retry_later(
        Code::ResourceExhausted,
        "TOO_MANY_CALLS",
        "more calls are under way than this process takes, or than one address may have by signed queries",
        Duration::from_secs(1),
    )
}

fn nobody(by_account: bool) -> Status {
    let more = if by_account { ", or a query signed with an account's key" } else { "" };
    let text = format!("a client certificate or a token is needed{more}");
    unauthenticated("CREDENTIAL_REQUIRED", &text)
}

fn not_allowed(grant: &Grant, needed: Roles, what: &str) -> Status {
    let text = format!("client {} has role {}, {what} needs {needed}", grant.name, grant.roles);
    errors::error(Code::PermissionDenied, "ROLE_REQUIRED", text)
}

/// The gate as a layer of a tonic server.
#[derive(Clone)]
pub struct GateLayer(pub Arc<Gate>);

impl<S> Layer<S> for GateLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { gate: self.0.clone(), inner }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub struct Guarded<S> {
    gate: Arc<Gate>,
    inner: S,
}

/// One call under way.
pub(crate) struct Call {
    gate: Arc<Gate>,
    number: u64,
    pub(crate) progress: Arc<Progress>,
    _places: Vec<OwnedSemaphorePermit>,
}

/// How a call goes on, for whoever watches over all of them.
pub(crate) struct Progress {
    connection: Option<ConnectionInfo>,
    /// Who makes it, and what that takes; an account's own call depends on no line of the access file.
    client: Option<(Arc<str>, Roles)>,
    /// Milliseconds since the gate was made at which a piece of the answer was handed to the transport that has not come
    /// back for more; 0 while it waits for one.
    pub(crate) handed_out: AtomicU64,
}

impl Call {
    /// Milliseconds since the gate was made, never 0.
    pub(crate) fn now(&self) -> u64 {
        self.gate.now()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.gate.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
        self.gate.metrics.open_calls.dec();
        if let Some(connection) = &self.progress.connection {
            connection.call_ends();
        }
    }
}

/// Whose limits an address counts to: itself, or for IPv6 its network of 64 bits, which is what one subscriber has (RFC 6177).
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(network.into())
        }
        v4 => v4,
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The service that was polled ready is the one to call.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let gate = self.gate.clone();
        Box::pin(async move {
            let Admitted { request, method, call } = match gate.admit(request).await {
                Ok(admitted) => admitted,
                Err(status) => {
                    gate.metrics.refused_call(reason_label(&status));
                    if let Ok(_held_back) = gate.pauses.try_acquire() {
                        tokio::time::sleep(REFUSAL_PAUSE).await;
                    }
                    return Ok(status.into_http());
                }
            };
            let deadline = timeout_of(request.headers())
                .and_then(|timeout| tokio::time::Instant::now().checked_add(timeout));
            let response = inner.call(request).await?;
            let code =
                response.headers().get("grpc-status").map_or("OK", |value| code_name(value.as_bytes()));
            gate.metrics.answered(method.path, code);
            Ok(response.map(|body| Body::new(Answer::new(body, deadline, call))))
        })
    }
}

/// The time that a client gives a call (`grpc-timeout` of [gRPC over HTTP/2]). tonic keeps to it until a call is answered; the
/// gate also where the answer is a stream.
///
/// [gRPC over HTTP/2]: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// The reason with which the gate refuses, as a label.
fn reason_label(status: &Status) -> &'static str {
    let reason = errors::reason_of(status).unwrap_or_default();
    REFUSED_CALLS.into_iter().find(|known| *known == reason).unwrap_or("other")
}

/// The name of a code as gRPC writes it.
fn code_name(value: &[u8]) -> &'static str {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    NAMES.get(Code::from_bytes(value) as usize).copied().unwrap_or("UNKNOWN")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::access::{Client, token_hash};

    /// A service that never answers.
    #[derive(Clone)]
    struct Slow;

    impl Service<Request<Body>> for Slow {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Pending<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::pending()
        }
    }

    fn gate() -> Arc<Gate> {
        let auditor = Client {
            name: "auditor".into(),
            roles: vec![Role::Audit],
            certificate: None,
            token: Some(format!("sha256:{}", hex::encode(token_hash("secret")))),
        };
        let limits = Limits {
            calls: 1_000,
            peer_rate: 1_000,
            receiving_bytes: 1_000,
            patience: Duration::from_secs(1),
        };
        let metrics = assent_metrics::Metrics::default().gate;
        Gate::new(ChainId([1; 32]), Access::new("test", vec![auditor]).unwrap(), None, None, limits, metrics)
    }

    fn read() -> Request<Body> {
        Request::builder()
            .uri("/assent.v1.SequencerService/GetConsent")
            .header(AUTHORIZATION, "bearer secret")
            .body(Body::empty())
            .unwrap()
    }

    fn reason(response: &Response<Body>) -> Option<String> {
        errors::reason_of(&Status::from_header_map(response.headers())?)
    }

    #[test]
    fn an_address_counts_to_its_network() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[tokio::test]
    async fn a_nonce_is_used_once_and_forgotten_in_bounded_memory() {
        let gate = gate();
        let key = PublicKey([7; 32]);
        gate.use_nonce(key, [1; 16]).unwrap();
        let again = gate.use_nonce(key, [1; 16]).unwrap_err();
        assert_eq!(errors::reason_of(&again).as_deref(), Some("QUERY_REPLAYED"));
        let full =
            (0..=MAX_NONCES as u128).find_map(|n| gate.use_nonce(PublicKey([8; 32]), n.to_be_bytes()).err());
        assert_eq!(errors::reason_of(&full.unwrap()).as_deref(), Some("TOO_MANY_READS"));
    }

    #[test]
    fn the_time_that_a_client_gives_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout_of(&headers)
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        for wrong in ["", "S", "5", "5x", "-1S", "999999999S", "1.5S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_request_without_a_scheme_that_is_known_or_with_an_endless_token_is_nobodys() {
        let mut guarded = GateLayer(gate()).layer(Slow);
        for header in ["Basic c2VjcmV0", "bearer", "secret", &format!("bearer {}", "x".repeat(10_000))] {
            let mut request = read();
            request.headers_mut().insert(AUTHORIZATION, header.parse().unwrap());
            let refused = guarded.call(request).await.unwrap();
            assert_eq!(reason(&refused).as_deref(), Some("CREDENTIAL_UNKNOWN"), "{header:.40}");
        }
    }
}
