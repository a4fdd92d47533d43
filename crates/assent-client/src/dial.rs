//! Connections: where to, over TLS or not, and as whom.

use std::fmt;

use assent_core::{
    ChainId,
    codec::sha256,
    query::{METADATA_KEY, Query},
    signature::KeyPair,
};
use assent_wire::Collected;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use prost::Message;
use tokio::{io::DuplexStream, net::TcpStream, sync::mpsc};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tower::ServiceExt as _;

use crate::{ClientError, random_bytes};

/// Bytes under way between two parts of one process.
const DUPLEX_BYTES: usize = 1024 * 1024;

/// Who a client is, and whom it believes.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Authorities whose server certificates are believed, in PEM; those of the system where there is none.
    pub ca: Option<Vec<u8>>,
    /// The client's own certificate chain and its key, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// A bearer token.
    pub token: Option<String>,
    /// The key of an account that asks about itself: every question carries a signed query. Needs the chain id from outside.
    pub account: Option<KeyPair>,
}

impl fmt::Debug for Credentials {
    /// Says what there is, not what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("ca", &self.ca.is_some())
            .field("identity", &self.identity.is_some())
            .field("token", &self.token.is_some())
            .field("account", &self.account.is_some())
            .finish()
    }
}

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Bearer(…)" } else { "Bearer(none)" })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A channel whose calls carry the token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// The other end of a server in the same process.
#[derive(Clone)]
pub struct InProcess(mpsc::Sender<DuplexStream>);

impl InProcess {
    /// A way in, and what the server accepts from.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<DuplexStream>) {
        let (sender, receiver) = mpsc::channel(8);
        (Self(sender), receiver)
    }
}

/// Where to connect, and as whom.
#[derive(Clone)]
pub struct Dial {
    /// The address, such as `https://ledger.example:7420`.
    pub address: String,
    /// As whom.
    pub credentials: Credentials,
    /// Not over the network.
    pub in_process: Option<InProcess>,
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("address", &self.address)
            .field("credentials", &self.credentials)
            .field("in_process", &self.in_process.is_some())
            .finish()
    }
}

impl Dial {
    /// At an address.
    #[must_use]
    pub fn new(address: impl Into<String>, credentials: Credentials) -> Self {
        Self { address: address.into(), credentials, in_process: None }
    }

    /// A part of the same process.
    #[must_use]
    pub fn in_process(way: InProcess, token: String) -> Self {
        Self {
            address: "http://this-process".into(),
            credentials: Credentials { token: Some(token), ..Credentials::default() },
            in_process: Some(way),
        }
    }

    /// The endpoint, for settings of its own.
    ///
    /// # Errors
    /// [`ClientError::Address`]; [`ClientError::Tls`] where certificate or key cannot be used.
    pub fn endpoint(&self) -> Result<Endpoint, ClientError> {
        let wrong = |problem: String| ClientError::Address { address: self.address.clone(), problem };
        let endpoint =
            Endpoint::from_shared(self.address.clone()).map_err(|error| wrong(error.to_string()))?;
        let endpoint = match endpoint.uri().scheme_str() {
            Some("http") => endpoint,
            Some("https") => {
                let mut tls = ClientTlsConfig::new();
                tls = match &self.credentials.ca {
                    Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                    None => tls.with_native_roots(),
                };
                if let Some((certificate, key)) = &self.credentials.identity {
                    tls = tls.identity(Identity::from_pem(certificate, key));
                }
                endpoint.tls_config(tls).map_err(|error| {
                    let mut text = error.to_string();
                    let mut source = std::error::Error::source(&error);
                    while let Some(cause) = source {
                        text = format!("{text}: {cause}");
                        source = cause.source();
                    }
                    ClientError::Tls(text)
                })?
            }
            _ => return Err(wrong("it has to begin with http:// or https://".into())),
        };
        Ok(endpoint.connect_timeout(std::time::Duration::from_secs(5)))
    }

    /// A channel that connects when it is used. `endpoint` is [`Self::endpoint`] with settings of the caller's.
    ///
    /// # Errors
    /// [`ClientError::Token`] where the token cannot be sent.
    pub fn channel(&self, endpoint: &Endpoint) -> Result<Authorized, ClientError> {
        let channel = match &self.in_process {
            None => {
                let mut tcp = HttpConnector::new();
                tcp.enforce_http(false);
                tcp.set_nodelay(true);
                let collected =
                    |stream: TokioIo<TcpStream>| TokioIo::new(Collected::new(stream.into_inner()));
                endpoint.connect_with_connector_lazy(tcp.map_response(collected))
            }
            Some(InProcess(sender)) => {
                let sender = sender.clone();
                endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
                    let sender = sender.clone();
                    async move {
                        let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
                        let gone = |_| std::io::Error::other("the server is not there any more");
                        sender.send(theirs).await.map_err(gone)?;
                        Ok::<_, std::io::Error>(TokioIo::new(ours))
                    }
                }))
            }
        };
        Ok(InterceptedService::new(channel, self.bearer()?))
    }

    fn bearer(&self) -> Result<Bearer, ClientError> {
        let header = |token: &String| {
            let mut value: MetadataValue<Ascii> =
                format!("Bearer {}", token.trim()).parse().map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            Ok::<_, ClientError>(value)
        };
        Ok(Bearer(self.credentials.token.as_ref().map(header).transpose()?))
    }
}

/// A question; where an account asks about itself, with a query signed for it.
pub(crate) fn question<T: Message>(
    account: Option<&KeyPair>,
    chain: ChainId,
    method: &'static str,
    message: T,
) -> Result<Request<T>, ClientError> {
    let Some(key) = account else { return Ok(Request::new(message)) };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let query = Query {
        chain_id: chain,
        key: key.public(),
        method: method.to_owned(),
        request_hash: sha256(&message.encode_to_vec()),
        time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        nonce: random_bytes()?,
    };
    let mut request = Request::new(message);
    request.metadata_mut().insert_bin(METADATA_KEY, MetadataValue::from_bytes(&query.sign(key)));
    Ok(request)
}
