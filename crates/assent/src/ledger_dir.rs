//! The folder of a ledger.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use assent_core::{manifest::GenesisManifest, signature::KeyPair};

use crate::files;

/// The folder of a ledger. Each role needs only its own part of it (docs/operations.md).
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

    /// A validator's database.
    pub fn validator_path(&self) -> PathBuf {
        self.0.join("validator")
    }

    /// The mock base chain's blocks.
    pub fn mock_path(&self) -> PathBuf {
        self.0.join("mockchain")
    }

    /// Reads the manifest.
    pub fn manifest(&self) -> anyhow::Result<GenesisManifest> {
        let path = self.manifest_path();
        ensure!(
            path.exists(),
            "{} is not the folder of a ledger; make one with: assent init {}",
            self.0.display(),
            self.0.display()
        );
        GenesisManifest::decode(&files::read_small(&path)?)
            .with_context(|| format!("{} cannot be read", path.display()))
    }

    /// A key of the node.
    pub fn key(&self, name: &str) -> anyhow::Result<KeyPair> {
        files::read_key(&self.key_path(name))
    }

    /// The key with which a validator cosigns, and its name; a new key where there is none. Without a name given, one that is
    /// made from the key.
    pub fn validator_key(&self, name: &str) -> anyhow::Result<(String, KeyPair)> {
        let path = self.key_path("validator.key");
        if !path.exists() {
            files::make_private_dir(&self.0.join("keys"))?;
            files::write_key(&path, &KeyPair::from_seed(assent_client::random_bytes()?))?;
        }
        let key = files::read_key(&path)?;
        let name = match name {
            "" => format!("assent-validator-{}", &hex::encode(key.public().0)[..16]),
            name => name.to_owned(),
        };
        Ok((name, key))
    }

    /// The password of the mock base chain, where the folder has one.
    pub fn mock_password(&self) -> anyhow::Result<Option<String>> {
        let path = self.key_path("mockchain-password");
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(files::read_text(&path)?.trim().to_owned()))
    }

    /// The same; a new one where there is none.
    pub fn ensure_mock_password(&self) -> anyhow::Result<String> {
        if let Some(password) = self.mock_password()? {
            return Ok(password);
        }
        files::make_private_dir(&self.0.join("keys"))?;
        let password = hex::encode(assent_client::random_bytes::<16>()?);
        files::write_new(&self.key_path("mockchain-password"), password.as_bytes(), 0o600)?;
        Ok(password)
    }
}

/// A mock base chain in this process.
pub fn open_mock(
    dir: &Path,
    interval: Option<std::time::Duration>,
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
