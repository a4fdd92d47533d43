//! Bitcoin Core's JSON-RPC, as far as Assent calls it.

use std::{sync::Arc, time::Duration};

use bitcoin::{
    Block, BlockHash, Transaction, Txid,
    consensus::encode::{deserialize_hex, serialize_hex},
};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tokio_rustls::rustls::{
    self,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// How long one call may take. Core answers all that is called here from memory or one block file.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of one answer: a block of 4 MB in hexadecimal, with room.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Error code of Core for a transaction whose inputs it does not know (`RPC_VERIFY_ERROR`).
pub const RPC_VERIFY_ERROR: i64 = -25;
/// Error code of Core for a transaction that it does not accept (`RPC_VERIFY_REJECTED`).
pub const RPC_VERIFY_REJECTED: i64 = -26;
/// Error code of Core for a transaction that is in a block already (`RPC_VERIFY_ALREADY_IN_UTXO_SET`).
pub const RPC_VERIFY_ALREADY_IN_UTXO_SET: i64 = -27;

/// Why a call gave no result.
#[derive(Debug, Error)]
pub enum RpcError {
    /// The URL is not one.
    #[error("the base chain's URL is not valid: {0}")]
    Url(String),
    /// Certificates or key cannot be used.
    #[error("TLS to the base chain: {0}")]
    Tls(String),
    /// No answer.
    #[error("the base chain at {url} does not answer: {source}")]
    Transport {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is no JSON-RPC.
    #[error("the base chain answered {method} with what is not JSON-RPC (HTTP {status}): {problem}")]
    Malformed {
        /// Call.
        method: &'static str,
        /// HTTP status.
        status: u16,
        /// Why.
        problem: String,
    },
    /// An error answer.
    #[error("the base chain refused {method}: {message} (code {code})")]
    Refused {
        /// Call.
        method: &'static str,
        /// Core's error code.
        code: i64,
        /// Core's message.
        message: String,
    },
}

impl RpcError {
    /// The error code, where the node answered with one.
    #[must_use]
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// What `getblockheader` says.
#[derive(Clone, Debug, Deserialize)]
pub struct HeaderInfo {
    /// Hash.
    pub hash: BlockHash,
    /// Height.
    pub height: u32,
    /// Median time of it and the ten before it.
    pub mediantime: u32,
    /// The block before it; absent for the first.
    pub previousblockhash: Option<BlockHash>,
}

/// What `getblockchaininfo` says.
#[derive(Clone, Debug, Deserialize)]
pub struct ChainInfo {
    /// Core's name of the network.
    pub chain: String,
    /// Height of the best block.
    pub blocks: u32,
}

/// Whom to believe and what to show where the node is behind TLS. Bitcoin Core itself speaks none; a proxy before it does, and
/// so does the mock chain.
#[derive(Clone, Default)]
pub struct RpcTls {
    /// Authorities whose server certificates are believed, in PEM.
    pub ca: Option<Vec<u8>>,
    /// Certificate chain and key to show, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl RpcTls {
    fn config(&self) -> Result<rustls::ClientConfig, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let pem = self.ca.as_ref().ok_or("https needs an authority to believe (tls.ca)")?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| text(&error))?).map_err(|error| text(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| text(&error))?
            .with_root_certificates(roots);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
                    .collect::<Result<_, _>>()
                    .map_err(|error| text(&error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| text(&error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| text(&error))
            }
        }
    }
}

/// A client of one node.
#[derive(Clone, Debug)]
pub struct BitcoinRpc {
    http: reqwest::Client,
    url: String,
    auth: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

/// Reads an answer of a node, which may send anything.
///
/// # Errors
/// [`RpcError::Malformed`], [`RpcError::Refused`].
pub fn read_answer<T: for<'de> Deserialize<'de>>(
    method: &'static str,
    status: u16,
    bytes: &[u8],
) -> Result<T, RpcError> {
    let malformed = |problem: String| RpcError::Malformed { method, status, problem };
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    if let Some(Refusal { code, message }) = answer.error {
        return Err(RpcError::Refused { method, code, message });
    }
    serde_json::from_value(answer.result).map_err(|error| malformed(error.to_string()))
}

/// Reads what `getblock` gives.
///
/// # Errors
/// [`RpcError::Malformed`].
pub fn read_block(hex: &str) -> Result<Block, RpcError> {
    deserialize_hex(hex).map_err(|error| RpcError::Malformed {
        method: "getblock",
        status: 200,
        problem: error.to_string(),
    })
}

/// Reads what `estimatesmartfee` gives.
#[must_use]
pub fn read_fee_rate(answer: &Value) -> Option<u64> {
    let coins = answer.get("feerate").and_then(Value::as_f64)?;
    bitcoin::Amount::from_btc((coins * 1e8).round() / 1e8).ok().map(bitcoin::Amount::to_sat)
}

impl BitcoinRpc {
    /// A client of the node at a URL such as `http://user:password@127.0.0.1:18443`.
    ///
    /// # Errors
    /// [`RpcError::Url`].
    pub fn new(url: &str) -> Result<Self, RpcError> {
        Self::with_tls(url, &RpcTls::default())
    }

    /// The same; where the URL begins with `https`, over TLS.
    ///
    /// # Errors
    /// [`RpcError::Url`].
    pub fn with_tls(url: &str, tls: &RpcTls) -> Result<Self, RpcError> {
        let mut parsed = reqwest::Url::parse(url).map_err(|error| RpcError::Url(error.to_string()))?;
        let auth = (!parsed.username().is_empty())
            .then(|| (parsed.username().to_owned(), parsed.password().unwrap_or_default().to_owned()));
        // The password must not appear in messages.
        let cleared = parsed.set_username("").and_then(|()| parsed.set_password(None));
        if cleared.is_err() || !["http", "https"].contains(&parsed.scheme()) {
            return Err(RpcError::Url("expected http://[user:password@]host:port, or https".into()));
        }
        // Without encryption nobody is believed, because nobody is asked.
        let nobody = RpcTls { ca: Some(Vec::new()), identity: None };
        let tls = if parsed.scheme() == "https" { tls } else { &nobody };
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.config().map_err(RpcError::Tls)?)
            .timeout(CALL_TIMEOUT)
            .build()
            .map_err(|error| RpcError::Url(error.to_string()))?;
        Ok(Self { http, url: parsed.into(), auth })
    }

    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, RpcError> {
        let transport = |source| RpcError::Transport { url: self.url.clone(), source };
        let mut request = self.http.post(&self.url);
        if let Some((user, password)) = &self.auth {
            request = request.basic_auth(user, Some(password));
        }
        let body = json!({"jsonrpc": "1.0", "id": "assent", "method": method, "params": params});
        let mut response = request.json(&body).send().await.map_err(transport)?;
        let status = response.status().as_u16();
        let malformed = |problem: String| RpcError::Malformed { method, status, problem };
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(malformed(format!("more than {MAX_ANSWER_BYTES} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        read_answer(method, status, &bytes)
    }

    /// `getblockchaininfo`.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn chain_info(&self) -> Result<ChainInfo, RpcError> {
        self.call("getblockchaininfo", json!([])).await
    }

    /// `getbestblockhash`.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn best_block_hash(&self) -> Result<BlockHash, RpcError> {
        self.call("getbestblockhash", json!([])).await
    }

    /// `getblockhash`.
    ///
    /// # Errors
    /// [`RpcError`]; code -8 past the end.
    pub async fn block_hash(&self, height: u32) -> Result<BlockHash, RpcError> {
        self.call("getblockhash", json!([height])).await
    }

    /// `getblockheader`, verbose.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn header(&self, hash: &BlockHash) -> Result<HeaderInfo, RpcError> {
        self.call("getblockheader", json!([hash, true])).await
    }

    /// `getblock` as bytes.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn block(&self, hash: &BlockHash) -> Result<Block, RpcError> {
        read_block(&self.call::<String>("getblock", json!([hash, 0])).await?)
    }

    /// `sendrawtransaction`.
    ///
    /// # Errors
    /// [`RpcError::Refused`] with Core's codes.
    pub async fn send(&self, transaction: &Transaction) -> Result<Txid, RpcError> {
        self.call("sendrawtransaction", json!([serialize_hex(transaction)])).await
    }

    /// `estimatesmartfee`: satoshi for 1,000 virtual bytes, or `None` where the node knows too little.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn fee_rate(&self, blocks: u16) -> Result<Option<u64>, RpcError> {
        Ok(read_fee_rate(&self.call("estimatesmartfee", json!([blocks])).await?))
    }

    /// `generatetoaddress`: makes blocks on a regtest network.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn generate(&self, blocks: u32, address: &str) -> Result<Vec<BlockHash>, RpcError> {
        self.call("generatetoaddress", json!([blocks, address])).await
    }
}
