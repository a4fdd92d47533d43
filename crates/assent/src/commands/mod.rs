//! The commands of clients and auditors.

pub mod access;
pub mod account;
pub mod audit;
pub mod batches;
pub mod bench;
pub mod certs;
pub mod clients;
pub mod config;
pub mod consent;
pub mod health;
pub mod keys;
pub mod source;
pub mod status;
pub mod tx;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use assent_client::{Client, ClientConfig, ClientError, Credentials};
use assent_core::{ChainId, signature::KeyPair};
use clap::Args;

use crate::files;

/// How to reach a ledger.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Address of the node
    #[arg(long, env = "ASSENT_NODE", default_value = "http://127.0.0.1:7420", value_name = "URL")]
    node: String,
    /// Address of the prover, where it is another
    #[arg(long, env = "ASSENT_PROVER", value_name = "URL")]
    prover: Option<String>,
    /// Chain id of the ledger that is meant; without it the node is believed
    #[arg(long, env = "ASSENT_CHAIN", value_name = "ID")]
    chain: Option<ChainId>,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// How long to try, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// As whom a command calls.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Who is calling")]
pub struct CredentialArgs {
    /// File with a token; the ledger's operator has one in keys/operator.token. ASSENT_TOKEN holds the token itself
    #[arg(long, env = "ASSENT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Ask about an account's own records, with queries signed by its key
    #[arg(long = "as", env = "ASSENT_AS", value_name = "KEYFILE")]
    as_key: Option<PathBuf>,
    /// Authorities whose server certificates are believed, in PEM; without it, the system's
    #[arg(long, env = "ASSENT_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate to show, in PEM
    #[arg(long, env = "ASSENT_CERT", value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, env = "ASSENT_CERT_KEY", value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
}

impl CredentialArgs {
    /// Reads the files.
    pub fn read(&self) -> anyhow::Result<Credentials> {
        let read = |path: &Option<PathBuf>| path.as_deref().map(files::read_small).transpose();
        let token = match &self.token_file {
            Some(path) => Some(files::read_token(path)?),
            None => std::env::var("ASSENT_TOKEN").ok().filter(|token| !token.trim().is_empty()),
        };
        let identity = match (&self.cert, &self.cert_key) {
            (Some(certificate), Some(key)) => {
                files::is_private(key)?;
                Some((files::read_small(certificate)?, files::read_small(key)?))
            }
            _ => None,
        };
        let account = self.as_key.as_deref().map(files::read_key).transpose()?;
        Ok(Credentials { ca: read(&self.ca)?, identity, token, account })
    }
}

/// Adds to an error what helps a newcomer.
pub fn with_hint(error: ClientError) -> anyhow::Error {
    let hint = match &error {
        ClientError::Node(status) => match assent_proto::errors::reason_of(status).as_deref() {
            Some("CREDENTIAL_REQUIRED") => {
                "say who you are with --token-file, --cert or --as; the operator's token is in keys/operator.token of the \
                 ledger's folder"
            }
            Some("ROLE_REQUIRED") => "assent clients list and add show and change who may do what",
            _ => "",
        },
        _ => "",
    };
    let error = anyhow::Error::new(error);
    if hint.is_empty() { error } else { anyhow::anyhow!("{error:#}; {hint}") }
}

impl ClientArgs {
    /// Where and as whom.
    pub fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut config = ClientConfig::new(&self.node);
        if let Some(prover) = &self.prover {
            config.prover.clone_from(prover);
        }
        config.chain = self.chain;
        config.credentials = self.credentials.read()?;
        config.deadline = Duration::from_secs(self.timeout);
        Ok(config)
    }

    /// Connects.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(self.config()?).await.map_err(with_hint)
    }

    /// How long to try.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// Whose key signs.
#[derive(Args, Clone, Debug)]
pub struct KeyArgs {
    /// Key file of the account that acts (assent keys new FILE)
    #[arg(long, env = "ASSENT_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
}

impl KeyArgs {
    /// Reads the key.
    pub fn read(&self) -> anyhow::Result<KeyPair> {
        let path = self.key.as_ref().context("no key given; use --key FILE or set ASSENT_KEY")?;
        files::read_key(path)
    }
}
