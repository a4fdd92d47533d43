//! The Rust SDK: build, sign, submit with retry, follow a tier.
//!
//! Every receipt is checked before it is handed out: the sequencer's signature over the group, the path to the group's root,
//! that the entry is of the transaction that was sent, and that the outcome belongs to the entry. Submitting is idempotent,
//! so every failure after which trying again may help is tried again, with jitter, until the deadline.
//!
//! ```no_run
//! use assent_client::{Client, ClientConfig, Submitted};
//! use assent_core::signature::KeyPair;
//! use assent_proto::v1::{AccountKind, OpenAccount, transaction_body::Act};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = ClientConfig::new("http://127.0.0.1:7420");
//! config.credentials.token = std::env::var("ASSENT_TOKEN").ok(); // or a certificate, or an account's key
//! let client = Client::connect(config).await?;
//! let key = KeyPair::from_seed([7; 32]); // yours: 32 random bytes that you keep
//! let open = Act::OpenAccount(OpenAccount { kind: AccountKind::Patient as i32 });
//! let transaction = client.sign(&key, open)?;
//! match client.submit(&transaction).await? {
//!     Submitted::Sequenced(receipt) => println!("entry {}", receipt.receipt.entry.sequence),
//!     Submitted::Refused(refusal) => println!("refused: {}", refusal.reason),
//! }
//! # Ok(())
//! # }
//! ```

/// The README's snippet is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}

mod dial;
mod follow;
mod receipt;
mod retry;
mod stream;

use std::{sync::Arc, time::Duration};

use assent_core::{
    AccountId, ChainId, Hash, TransactionId, batch::Refusal, codec::sha256, manifest::GenesisManifest,
    signature::KeyPair, transaction::sign_body,
};
use assent_proto::v1::{
    self as proto, prover_service_client::ProverServiceClient,
    sequencer_service_client::SequencerServiceClient, submit_response, submit_result, transaction_body::Act,
};
use thiserror::Error;
use tonic::{Request, Status};

pub use dial::{Authorized, Bearer, Credentials, Dial, InProcess};
pub use receipt::{ReceiptChecker, ReceiptError, Sequenced};
pub use retry::describe;
pub use stream::{STREAM_WINDOW, StreamItem, StreamResults, StreamSender};

/// Bytes of one answer: the largest bundle.
const MAX_ANSWER_BYTES: usize = 65 * 1024 * 1024;

/// Bytes of one message of the batch stream: the largest batch, with its entries.
const MAX_BATCH_MESSAGE: usize = 3 * assent_core::limits::MAX_BATCH_BYTES as usize;

const GET_LEDGER: &str = "/assent.v1.SequencerService/GetLedger";

/// How to reach a ledger.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The sequencer's address, such as `http://127.0.0.1:7420`.
    pub sequencer: String,
    /// The prover's address. The same as the sequencer's where one process runs both.
    pub prover: String,
    /// Who the client is, and whom it believes.
    pub credentials: Credentials,
    /// The ledger that is meant. Without it, whatever ledger the node says it serves is believed.
    pub chain: Option<ChainId>,
    /// How long one submission or question may take, tries included.
    pub deadline: Duration,
    /// How far ahead transactions expire.
    pub validity: Duration,
}

impl ClientConfig {
    /// A node that runs sequencer and prover at one address.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            sequencer: node.to_owned(),
            prover: node.to_owned(),
            credentials: Credentials::default(),
            chain: None,
            deadline: Duration::from_secs(30),
            // Long enough for a device that submits when it is online again, short enough that a lost one is soon over.
            validity: Duration::from_secs(60 * 60),
        }
    }
}

/// Why something could not be done.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{address:?} is not an address such as http://127.0.0.1:7420: {problem}")]
    Address {
        /// Given.
        address: String,
        /// Why.
        problem: String,
    },
    /// Certificate or key cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The token cannot be sent.
    #[error("the token is not one line of plain characters")]
    Token,
    /// A signed query names the ledger, so it has to be known.
    #[error(
        "to ask with an account's key, the chain id has to be given, from a source that you trust (--chain)"
    )]
    ChainNeeded,
    /// Nobody answers.
    #[error("no answer from {address} within {seconds} s: {problem}")]
    Unreachable {
        /// Where.
        address: String,
        /// Deadline.
        seconds: u64,
        /// The last problem.
        problem: String,
    },
    /// The node serves another ledger.
    #[error("the node serves chain {found}, not {expected}")]
    OtherChain {
        /// Pinned.
        expected: ChainId,
        /// Served.
        found: ChainId,
    },
    /// The node's manifest cannot be read.
    #[error("the node's genesis manifest cannot be read: {0}")]
    Manifest(assent_core::codec::DecodeError),
    /// The node answered with an error.
    #[error("{}{}", .0.message(), assent_proto::errors::reason_of(.0).map_or_else(String::new, |reason| format!(" ({reason})")))]
    Node(Box<Status>),
    /// The node's answer does not hold. Keep it: it may be evidence.
    #[error("the node's receipt does not hold: {0}")]
    Receipt(#[from] ReceiptError),
    /// The node's answer lacks something.
    #[error("the node's answer lacks {0}")]
    Incomplete(&'static str),
    /// A stream of submissions has ended.
    #[error("the stream of submissions has ended; its last result says why")]
    StreamEnded,
    /// The operating system has no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Node(Box::new(status))
    }
}

/// What became of a submission.
#[derive(Clone, Debug)]
pub enum Submitted {
    /// Sequenced and durable; the receipt has been checked.
    Sequenced(Box<Sequenced>),
    /// The rules do not let it in; the sequencer signed that.
    Refused(Refusal),
}

/// A client of one ledger. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    manifest: Arc<GenesisManifest>,
    chain_id: ChainId,
    receipts: ReceiptChecker,
    sequencer: SequencerServiceClient<Authorized>,
    prover: ProverServiceClient<Authorized>,
}

/// Bytes of a history that is taken: those of the largest file.
const MAX_HISTORY_BYTES: usize = 512 * 1024 * 1024;

/// A moment that a consent is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the last entry whose time is not after this, in milliseconds since 1970.
    Time(u64),
    /// After the entry with this sequence.
    Sequence(u64),
}

impl Client {
    /// Connects, and asks which ledger the node serves.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let (sequencer, prover) = services(&config)?;
        let account = config.credentials.account.as_ref();
        let chain = match (account, config.chain) {
            (Some(_), None) => return Err(ClientError::ChainNeeded),
            (_, chain) => chain.unwrap_or(ChainId([0; 32])),
        };
        let ledger = retry::until(&config.sequencer, config.deadline, || {
            let mut sequencer = sequencer.clone();
            async move {
                let request = dial::question(account, chain, GET_LEDGER, proto::GetLedgerRequest {})?;
                Ok(sequencer.get_ledger(request).await?.into_inner())
            }
        })
        .await?;
        let manifest = GenesisManifest::decode(&ledger.manifest).map_err(ClientError::Manifest)?;
        let found = ChainId(sha256(&ledger.manifest));
        if let Some(expected) = config.chain.filter(|expected| *expected != found) {
            return Err(ClientError::OtherChain { expected, found });
        }
        Ok(Self {
            config: Arc::new(config),
            receipts: ReceiptChecker::new(&manifest),
            manifest: Arc::new(manifest),
            chain_id: found,
            sequencer,
            prover,
        })
    }

    /// A question, signed where an account asks about itself.
    pub(crate) fn ask<T: prost::Message>(
        &self,
        method: &'static str,
        message: T,
    ) -> Result<Request<T>, ClientError> {
        dial::question(self.config.credentials.account.as_ref(), self.chain_id, method, message)
    }

    /// The ledger.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        self.chain_id
    }

    /// Its manifest.
    #[must_use]
    pub fn manifest(&self) -> &GenesisManifest {
        &self.manifest
    }

    /// Builds and signs a transaction: random salt, expiring after the configured validity by the local clock.
    ///
    /// # Errors
    /// [`ClientError::Random`].
    pub fn sign(&self, key: &KeyPair, act: Act) -> Result<proto::SignedTransaction, ClientError> {
        Ok(sign_body(&self.body(Some(key.public().account_id()), act)?, Some(key)))
    }

    /// Builds a revocation by code: no account, no key.
    ///
    /// # Errors
    /// [`ClientError::Random`].
    pub fn revocation_by_code(&self, code: &[u8; 32]) -> Result<proto::SignedTransaction, ClientError> {
        let by = proto::revoke_consent::By::RevocationCode(code.to_vec());
        let act = Act::RevokeConsent(proto::RevokeConsent { by: Some(by) });
        Ok(sign_body(&self.body(None, act)?, None))
    }

    fn body(&self, sender: Option<AccountId>, act: Act) -> Result<proto::TransactionBody, ClientError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let expires = now + self.config.validity;
        Ok(proto::TransactionBody {
            chain_id: self.chain_id.0.to_vec(),
            sender: sender.map_or_else(Vec::new, |sender| sender.0.to_vec()),
            salt: random_bytes::<32>()?.to_vec(),
            expires_at_ms: u64::try_from(expires.as_millis()).unwrap_or(u64::MAX),
            act: Some(act),
        })
    }

    /// Submits, and tries again where that may help. The same transaction always gets the same receipt.
    ///
    /// # Errors
    /// [`ClientError`]; after [`ClientError::Unreachable`] it is not known whether it was sequenced: submit it again.
    pub async fn submit(&self, transaction: &proto::SignedTransaction) -> Result<Submitted, ClientError> {
        let response = retry::until(&self.config.sequencer, self.config.deadline, || {
            let (mut sequencer, transaction) = (self.sequencer.clone(), transaction.clone());
            async move {
                let request = proto::SubmitRequest { transaction: Some(transaction) };
                Ok(sequencer.submit(request).await?.into_inner())
            }
        })
        .await?;
        let id = TransactionId::of_body(&transaction.body);
        let result = match response.result.ok_or(ClientError::Incomplete("a result"))? {
            submit_response::Result::Sequenced(sequenced) => submit_result::Result::Sequenced(sequenced),
            submit_response::Result::Refusal(refusal) => submit_result::Result::Refusal(refusal),
        };
        self.check(id, proto::SubmitResult { result: Some(result) })
    }

    /// The receipt of a transaction that was sequenced earlier, the transaction, and whether its batch is sealed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transaction(
        &self,
        id: TransactionId,
    ) -> Result<(Sequenced, proto::SignedTransaction, bool), ClientError> {
        let response = retry::until(&self.config.sequencer, self.config.deadline, || {
            let mut sequencer = self.sequencer.clone();
            let request = proto::GetTransactionRequest { transaction_id: id.0.to_vec() };
            async move {
                Ok(sequencer
                    .get_transaction(self.ask("/assent.v1.SequencerService/GetTransaction", request)?)
                    .await?
                    .into_inner())
            }
        })
        .await?;
        let sequenced = response.sequenced.ok_or(ClientError::Incomplete("a receipt"))?;
        let transaction = response.transaction.ok_or(ClientError::Incomplete("the transaction"))?;
        if TransactionId::of_body(&transaction.body) != id {
            return Err(ReceiptError::OtherTransaction.into());
        }
        Ok((self.receipts.check(id, sequenced)?, transaction, response.sealed))
    }

    /// A consent as it stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn consent(&self, id: TransactionId) -> Result<proto::GetConsentResponse, ClientError> {
        retry::until(&self.config.sequencer, self.config.deadline, || {
            let mut sequencer = self.sequencer.clone();
            let request = proto::GetConsentRequest { consent_id: id.0.to_vec() };
            async move {
                Ok(sequencer
                    .get_consent(self.ask("/assent.v1.SequencerService/GetConsent", request)?)
                    .await?
                    .into_inner())
            }
        })
        .await
    }

    /// An account as it stands.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn account(&self, id: AccountId) -> Result<proto::GetAccountResponse, ClientError> {
        retry::until(&self.config.sequencer, self.config.deadline, || {
            let mut sequencer = self.sequencer.clone();
            let request = proto::GetAccountRequest { account_id: id.0.to_vec() };
            async move {
                Ok(sequencer
                    .get_account(self.ask("/assent.v1.SequencerService/GetAccount", request)?)
                    .await?
                    .into_inner())
            }
        })
        .await
    }

    /// The proof bundle of an anchored transaction.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn bundle(&self, id: TransactionId, open_details: bool) -> Result<Vec<u8>, ClientError> {
        retry::until(&self.config.prover, self.config.deadline, || {
            let mut prover = self.prover.clone();
            let request = proto::GetBundleRequest { transaction_id: id.0.to_vec(), open_details };
            async move {
                Ok(prover
                    .get_bundle(self.ask("/assent.v1.ProverService/GetBundle", request)?)
                    .await?
                    .into_inner()
                    .bundle)
            }
        })
        .await
    }

    /// A file that proves that a decision was right, under a checkpoint with so many cosignatures. Not checked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn decision_proof(
        &self,
        id: TransactionId,
        subject: Option<AccountId>,
        cosignatures: u32,
    ) -> Result<Vec<u8>, ClientError> {
        retry::until(&self.config.prover, self.config.deadline, || {
            let mut prover = self.prover.clone();
            let request = proto::GetDecisionProofRequest {
                transaction_id: id.0.to_vec(),
                subject: subject.map(|subject| subject.0.to_vec()).unwrap_or_default(),
                cosignatures,
            };
            async move {
                Ok(prover
                    .get_decision_proof(self.ask("/assent.v1.ProverService/GetDecisionProof", request)?)
                    .await?
                    .into_inner()
                    .file)
            }
        })
        .await
    }

    /// A file that proves whether a consent was in force at a moment, or now. Not checked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn consent_proof(
        &self,
        consent: TransactionId,
        at: Option<Moment>,
        cosignatures: u32,
    ) -> Result<Vec<u8>, ClientError> {
        use proto::get_consent_proof_request::At;
        retry::until(&self.config.prover, self.config.deadline, || {
            let mut prover = self.prover.clone();
            let at = at.map(|at| match at {
                Moment::Time(time) => At::TimeMs(time),
                Moment::Sequence(sequence) => At::Sequence(sequence),
            });
            let request = proto::GetConsentProofRequest { consent_id: consent.0.to_vec(), at, cosignatures };
            async move {
                Ok(prover
                    .get_consent_proof(self.ask("/assent.v1.ProverService/GetConsentProof", request)?)
                    .await?
                    .into_inner()
                    .file)
            }
        })
        .await
    }

    /// A file with all accesses to a subject's data, or of a recipient, from the first time on (inclusive) up to the second
    /// (exclusive), in milliseconds since 1970. Not checked. `progress` hears how many bytes have come.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history_proof(
        &self,
        account: AccountId,
        as_recipient: bool,
        period: (u64, Option<u64>),
        cosignatures: u32,
        progress: impl Fn(usize),
    ) -> Result<Vec<u8>, ClientError> {
        let mut pieces = retry::until(&self.config.prover, self.config.deadline, || {
            let mut prover = self.prover.clone();
            let request = proto::GetHistoryProofRequest {
                account: account.0.to_vec(),
                as_recipient,
                from_ms: period.0,
                to_ms: period.1.unwrap_or(0),
                cosignatures,
            };
            async move {
                Ok(prover
                    .get_history_proof(self.ask("/assent.v1.ProverService/GetHistoryProof", request)?)
                    .await?
                    .into_inner())
            }
        })
        .await?;
        let mut file = Vec::new();
        while let Some(piece) = pieces.message().await? {
            file.extend(piece.chunk);
            if file.len() > MAX_HISTORY_BYTES {
                return Err(ClientError::Incomplete("a history of a size that is read"));
            }
            progress(file.len());
        }
        Ok(file)
    }

    /// A checkpoint that the prover signed: that of a size, or with 0 the newest. Empty where there is none yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn checkpoint(&self, size: u64) -> Result<String, ClientError> {
        retry::until(&self.config.prover, self.config.deadline, || {
            let mut prover = self.prover.clone();
            let request = proto::GetCheckpointRequest { size };
            async move {
                Ok(prover
                    .get_checkpoint(self.ask("/assent.v1.ProverService/GetCheckpoint", request)?)
                    .await?
                    .into_inner()
                    .checkpoint)
            }
        })
        .await
    }

    /// The RFC 6962 consistency path between two sizes of the history tree. Not checked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn consistency_path(&self, old_size: u64, new_size: u64) -> Result<Vec<Hash>, ClientError> {
        let answer = retry::until(&self.config.prover, self.config.deadline, || {
            let mut prover = self.prover.clone();
            let request = proto::GetConsistencyProofRequest { old_size, new_size };
            async move {
                Ok(prover
                    .get_consistency_proof(self.ask("/assent.v1.ProverService/GetConsistencyProof", request)?)
                    .await?
                    .into_inner())
            }
        })
        .await?;
        let hash = |bytes: &Vec<u8>| Hash::try_from(bytes.as_slice());
        answer
            .path
            .iter()
            .map(hash)
            .collect::<Result<_, _>>()
            .map_err(|_| ClientError::Incomplete("32-byte hashes"))
    }

    /// The record of a batch, with its path to the root of a history of this size. Not checked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batch_record(&self, number: u64, size: u64) -> Result<(Vec<u8>, Vec<Hash>), ClientError> {
        let answer = retry::until(&self.config.prover, self.config.deadline, || {
            let mut prover = self.prover.clone();
            let request = proto::GetBatchRecordRequest { number, size };
            async move {
                Ok(prover
                    .get_batch_record(self.ask("/assent.v1.ProverService/GetBatchRecord", request)?)
                    .await?
                    .into_inner())
            }
        })
        .await?;
        let hash = |bytes: &Vec<u8>| Hash::try_from(bytes.as_slice());
        let path = answer.path.iter().map(hash).collect::<Result<_, _>>();
        Ok((answer.record, path.map_err(|_| ClientError::Incomplete("32-byte hashes"))?))
    }

    /// What the sequencer says about itself and its ledger.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ledger(&self) -> Result<proto::GetLedgerResponse, ClientError> {
        retry::until(&self.config.sequencer, self.config.deadline, || {
            let mut sequencer = self.sequencer.clone();
            async move {
                Ok(sequencer
                    .get_ledger(
                        self.ask("/assent.v1.SequencerService/GetLedger", proto::GetLedgerRequest {})?,
                    )
                    .await?
                    .into_inner())
            }
        })
        .await
    }

    /// Sealed batches from a number on: those of the past, then new ones, without end. Not checked: executing them again
    /// (`assent-verify`) does that.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batches(
        &self,
        from_batch: u64,
    ) -> Result<tonic::Streaming<proto::StreamBatchesResponse>, ClientError> {
        retry::until(&self.config.sequencer, self.config.deadline, || {
            let mut sequencer = self.sequencer.clone().max_decoding_message_size(MAX_BATCH_MESSAGE);
            async move {
                Ok(sequencer.stream_batches(proto::StreamBatchesRequest { from_batch }).await?.into_inner())
            }
        })
        .await
    }

    /// How the prover does.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn prover_status(&self) -> Result<proto::GetProverStatusResponse, ClientError> {
        prover_status(&self.config).await
    }
}

/// Channels to both services. Nothing is sent yet.
fn services(
    config: &ClientConfig,
) -> Result<(SequencerServiceClient<Authorized>, ProverServiceClient<Authorized>), ClientError> {
    let channel = |address: &str| {
        let dial = Dial::new(address, config.credentials.clone());
        dial.channel(&dial.endpoint()?)
    };
    let sequencer =
        SequencerServiceClient::new(channel(&config.sequencer)?).max_decoding_message_size(MAX_ANSWER_BYTES);
    let prover =
        ProverServiceClient::new(channel(&config.prover)?).max_decoding_message_size(MAX_ANSWER_BYTES);
    Ok((sequencer, prover))
}

/// How the sequencer at the configured address does. Needs neither the ledger nor the prover.
///
/// # Errors
/// [`ClientError`].
pub async fn sequencer_status(
    config: &ClientConfig,
) -> Result<proto::GetSequencerStatusResponse, ClientError> {
    let (sequencer, _) = services(config)?;
    retry::until(&config.sequencer, config.deadline, || {
        let mut sequencer = sequencer.clone();
        async move {
            Ok(sequencer.get_sequencer_status(proto::GetSequencerStatusRequest {}).await?.into_inner())
        }
    })
    .await
}

/// How the prover or validator at the configured address does. Needs neither the ledger nor the sequencer.
///
/// # Errors
/// [`ClientError`].
pub async fn prover_status(config: &ClientConfig) -> Result<proto::GetProverStatusResponse, ClientError> {
    let (_, prover) = services(config)?;
    retry::until(&config.prover, config.deadline, || {
        let mut prover = prover.clone();
        async move { Ok(prover.get_prover_status(proto::GetProverStatusRequest {}).await?.into_inner()) }
    })
    .await
}

/// Random bytes from the operating system.
///
/// # Errors
/// [`ClientError::Random`].
pub fn random_bytes<const N: usize>() -> Result<[u8; N], ClientError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ClientError::Random(error.to_string()))?;
    Ok(bytes)
}
