//! The commands of clients and auditors.

pub mod access;
pub mod account;
pub mod audit;
pub mod batches;
pub mod config;
pub mod consent;
pub mod keys;
pub mod source;
pub mod tx;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use assent_client::{Client, ClientConfig};
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
    /// How long to try, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl ClientArgs {
    /// Connects.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let mut config = ClientConfig::new(&self.node);
        if let Some(prover) = &self.prover {
            config.prover.clone_from(prover);
        }
        config.chain = self.chain;
        config.deadline = Duration::from_secs(self.timeout);
        Ok(Client::connect(config).await?)
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
