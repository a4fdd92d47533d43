//! The folder of a ledger, and its `config.toml`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use assent_core::{
    manifest::{GenesisManifest, LedgerLimits},
    seal::SealPolicy,
    signature::KeyPair,
};
use serde::{Deserialize, Serialize};

use crate::files;

/// Where a node listens unless it is told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7420";
/// Where a ledger's mock base chain listens unless it is told otherwise.
pub const DEFAULT_MOCK_LISTEN: &str = "127.0.0.1:7421";

/// The settings of a node. Every value is checked against its range before anything starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the gRPC services listen.
    pub listen: SocketAddr,
    /// When batches are sealed.
    pub seal: SealConfig,
    /// Anchoring.
    pub anchor: AnchorSettings,
    /// Where the base chain is.
    pub base: BaseConfig,
}

/// When batches are sealed: whatever comes first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealConfig {
    /// At this many entries.
    pub entries: u32,
    /// At this many bytes of transactions.
    pub bytes: u32,
    /// When the first entry is this old.
    pub age_ms: u64,
}

/// Anchoring.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorSettings {
    /// Least time between two new anchors.
    pub interval_ms: u64,
    /// Blocks from an anchor's on at which it counts as confirmed.
    pub confirmations: u32,
    /// Highest fee rate ever paid, in satoshi for 1,000 virtual bytes.
    pub max_fee_rate: u64,
    /// Height of the base chain below which there is nothing of this ledger.
    pub birthday_height: u32,
}

/// Where the base chain is: one of the two.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// URL of a Bitcoin Core node, with user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A mock base chain that the node runs itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mock: Option<MockConfig>,
}

/// The mock base chain of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MockConfig {
    /// Where its JSON-RPC listens.
    pub listen: SocketAddr,
    /// How often it mines a block.
    pub block_interval_ms: u64,
}

fn within(name: &str, value: u64, least: u64, most: u64) -> anyhow::Result<()> {
    ensure!((least..=most).contains(&value), "{name} is {value}, expected {least} to {most}");
    Ok(())
}

impl Config {
    /// Checks every range.
    pub fn check(&self, limits: &LedgerLimits) -> anyhow::Result<()> {
        within("seal.entries", self.seal.entries.into(), 1, limits.max_batch_entries.into())?;
        within("seal.bytes", self.seal.bytes.into(), 128 * 1024, limits.max_batch_bytes.into())?;
        within("seal.age_ms", self.seal.age_ms, 10, limits.max_seal_delay_ms)?;
        within("anchor.interval_ms", self.anchor.interval_ms, 100, 7 * 24 * 3_600_000)?;
        within("anchor.confirmations", self.anchor.confirmations.into(), 1, 1_000)?;
        // 1 sat/vB is the least that nodes relay; 1,000 sat/vB has been paid by mistake only.
        within("anchor.max_fee_rate", self.anchor.max_fee_rate, 1_000, 1_000_000)?;
        ensure!(
            self.base.url.is_some() != self.base.mock.is_some(),
            "exactly one of base.url and base.mock is expected"
        );
        if let Some(mock) = &self.base.mock {
            within("base.mock.block_interval_ms", mock.block_interval_ms, 50, 24 * 3_600_000)?;
            loopback("base.mock.listen", mock.listen)?;
        }
        loopback("listen", self.listen)
    }

    /// The seal policy.
    pub fn seal_policy(&self) -> SealPolicy {
        SealPolicy { entries: self.seal.entries, bytes: self.seal.bytes, age_ms: self.seal.age_ms }
    }
}

/// There is no access control and no encryption, so nothing beyond this machine may reach the services.
pub fn loopback(name: &str, address: SocketAddr) -> anyhow::Result<()> {
    ensure!(
        address.ip().is_loopback(),
        "{name} is {address}: a node has no access control and no encryption, so it listens on loopback addresses only"
    );
    Ok(())
}

/// The folder of a ledger.
#[derive(Clone, Debug)]
pub struct LedgerDir(pub PathBuf);

impl LedgerDir {
    /// The genesis manifest.
    pub fn manifest_path(&self) -> PathBuf {
        self.0.join("manifest.bin")
    }

    /// The chain id, for people.
    pub fn chain_id_path(&self) -> PathBuf {
        self.0.join("chain-id")
    }

    /// The settings.
    pub fn config_path(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// A secret.
    pub fn key_path(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(name)
    }

    /// The sequencer's database.
    pub fn sequencer_path(&self) -> PathBuf {
        self.0.join("sequencer")
    }

    /// The prover's database.
    pub fn prover_path(&self) -> PathBuf {
        self.0.join("prover")
    }

    /// The mock base chain's blocks.
    pub fn mock_path(&self) -> PathBuf {
        self.0.join("mockchain")
    }

    /// Reads manifest and settings, and checks them.
    pub fn load(&self) -> anyhow::Result<(GenesisManifest, Config)> {
        let path = self.manifest_path();
        ensure!(
            path.exists(),
            "{} is not the folder of a ledger; make one with: assent init {}",
            self.0.display(),
            self.0.display()
        );
        let manifest = GenesisManifest::decode(&files::read_small(&path)?)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let path = self.config_path();
        let config: Config = toml::from_str(&files::read_text(&path)?)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        config.check(&manifest.limits).with_context(|| format!("{} is not valid", path.display()))?;
        Ok((manifest, config))
    }

    /// A key of the node.
    pub fn key(&self, name: &str) -> anyhow::Result<KeyPair> {
        files::read_key(&self.key_path(name))
    }

    /// The password of the mock base chain.
    pub fn mock_password(&self) -> anyhow::Result<String> {
        Ok(files::read_text(&self.key_path("mockchain-password"))?.trim().to_owned())
    }
}

/// Milliseconds as a duration.
pub fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// A mock base chain in this process.
pub fn open_mock(
    dir: &Path,
    interval: Option<Duration>,
    password: &str,
) -> anyhow::Result<assent_mockchain::MockChain> {
    let config = assent_mockchain::MockChainConfig {
        dir: Some(dir.to_owned()),
        block_interval: interval,
        miner_script: None,
        rpc_auth: Some(("assent".into(), password.to_owned())),
    };
    assent_mockchain::MockChain::open(config)
        .with_context(|| format!("the mock base chain in {}", dir.display()))
}
