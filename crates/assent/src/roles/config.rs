//! What each role is opened with, from its folder and the settings.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use assent_anchor::{AnchorConfig, rpc::RpcTls};
use assent_client::{Credentials, Dial};
use assent_core::{manifest::GenesisManifest, note::CosignerKey};
use assent_metrics::{Follower, Metrics};
use assent_prover::{BaseChain, Cosigner, Duty, Prover, ProverConfig};

use crate::{
    clients, files,
    ledger_dir::LedgerDir,
    settings::{Flags, Role, Settings},
};

/// What a role of the prover's kind does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Duties {
    /// Signs and anchors checkpoints.
    Prover,
    /// Compares and cosigns them.
    Validator,
}

/// As whom this process calls others: its certificate and its token, where it has them.
pub fn own_credentials(dir: &Path, settings: &Settings) -> anyhow::Result<Credentials> {
    let read = |key: &str| settings.path(key, dir).map(|path| files::read_small(&path)).transpose();
    if let Some(key) = settings.path("tls.key", dir) {
        files::check_private(&key, dir)?;
    }
    // Either both are set or neither.
    let identity = read("tls.certificate")?.zip(read("tls.key")?);
    let token = match settings.path("access.token_file", dir) {
        Some(path) if path.exists() => Some(files::read_token(&path)?),
        _ => None,
    };
    Ok(Credentials { ca: read("tls.ca")?, identity, token, account: None })
}

/// How this process reaches the base chain over TLS.
pub fn base_tls(credentials: &Credentials) -> RpcTls {
    RpcTls { ca: credentials.ca.clone(), identity: credentials.identity.clone() }
}

/// Where the base chain is.
pub fn base_url(dir: &LedgerDir, settings: &Settings) -> anyhow::Result<Option<String>> {
    let url = settings.text("base.url");
    if !url.is_empty() {
        return Ok(Some(url.to_owned()));
    }
    let password = dir.mock_password()?;
    let scheme = if settings.has_tls() { "https" } else { "http" };
    Ok(password.map(|password| format!("{scheme}://assent:{password}@{}", settings.text("mockchain.listen"))))
}

/// How a prover or validator of this folder runs.
pub fn prover_config(
    dir: &LedgerDir,
    settings: &Settings,
    manifest: &Arc<GenesisManifest>,
    duties: Duties,
    base_url: Option<&str>,
    own_sequencer: Option<Dial>,
    metrics: Arc<Follower>,
) -> anyhow::Result<ProverConfig> {
    let not_empty = |key: &str| Some(settings.text(key)).filter(|text| !text.is_empty()).map(str::to_owned);
    let credentials = own_credentials(&dir.0, settings)?;
    let needed = |key: &str| {
        let address = not_empty(key).with_context(|| format!("{key} is empty; say where it is"))?;
        Ok::<_, anyhow::Error>(Dial::new(address, credentials.clone()))
    };
    let (path, duty, sequencer, seed) = match duties {
        Duties::Prover => {
            let duty = Duty::Prover {
                key: dir.key("prover.key")?,
                anchor_interval: Duration::from_millis(settings.number("anchor.interval_ms")),
            };
            let sequencer = own_sequencer.map_or_else(|| needed("prover.sequencer"), Ok)?;
            let seed = base_url.map(|_| dir.key("anchor.key")).transpose()?.map(|key| key.seed());
            (dir.prover_path(), duty, sequencer, seed)
        }
        Duties::Validator => {
            let prover = not_empty("validator.prover").map(|address| Dial::new(address, credentials.clone()));
            let cosigner = match prover {
                Some(_) => {
                    let (name, key) = dir.validator_key(settings.text("validator.name"))?;
                    let public = CosignerKey::new(&name, key.public())?;
                    tracing::info!(key = %public, "cosigning checkpoints; auditors and the prover name this key");
                    Some(Cosigner { name, key })
                }
                None => None,
            };
            let duty = Duty::Validator { prover, cosigner };
            let sequencer = needed("validator.sequencer")?;
            (dir.validator_path(), duty, sequencer, None)
        }
    };
    let anchor = AnchorConfig {
        chain_id: manifest.chain_id(),
        first_seal: manifest.first_anchor,
        network: assent_verify::base::network(&manifest.base)?,
        seed,
        birthday_height: settings.number32("anchor.birthday_height"),
        max_fee_rate: settings.number("anchor.max_fee_rate"),
    };
    Ok(ProverConfig {
        path,
        manifest: manifest.clone(),
        duty,
        sequencer,
        base: base_url.map(|url| BaseChain { url: url.to_owned(), tls: base_tls(&credentials), anchor }),
        confirmations: settings.number32("anchor.confirmations"),
        state_cache_mib: settings.number("state.cache_mib"),
        execution_cache_mib: settings.number("execution.cache_mib"),
        validators: settings.cosigner_keys("prover.validators"),
        metrics,
    })
}

/// Opens the database of a prover or validator, for a command that does not run it.
pub fn open_follower(dir: &LedgerDir, validator: bool) -> anyhow::Result<Prover> {
    let manifest = Arc::new(dir.manifest()?);
    let flags = Flags::<{ Role::All as u8 }>::default();
    let settings = flags.over(&dir.config_path())?;
    let duties = if validator { Duties::Validator } else { Duties::Prover };
    // As at a role's first start: a database without an access file is taken for one whose file was lost.
    clients::open(&dir.0, &settings)?;
    files::make_private_dir(&if validator { dir.validator_path() } else { dir.prover_path() })?;
    let config =
        prover_config(dir, &settings, &manifest, duties, None, None, Metrics::new(false, true).follower)?;
    Ok(Prover::open(config)?)
}
