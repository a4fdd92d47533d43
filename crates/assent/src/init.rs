//! `assent init`: a new ledger.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use assent_anchor::{fund_on_regtest, rpc::BitcoinRpc};
use assent_core::{
    manifest::{BaseNetwork, GenesisManifest, LedgerLimits},
    ruleset::Ruleset,
    signature::KeyPair,
};
use bitcoin::hashes::Hash as _;
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    apart::Apart,
    clients, files,
    ledger_dir::{LedgerDir, open_mock},
    output::{self, Outcome},
    roles::{base_tls, own_credentials},
    settings::{Flags, Role, file_with, shown},
};

/// Arguments of `assent init`.
#[derive(Args)]
pub struct InitArgs {
    /// Folder to make. Must not exist, or be empty
    dir: PathBuf,
    /// Make a folder for each role, with certificates, for hosts or containers that share nothing. Made once: where a stack is
    /// complete already nothing is changed, where making it was interrupted it goes on
    #[arg(long)]
    apart: bool,
    /// With --apart: name or address under which servers are reached, beside sequencer, prover, validator, mockchain,
    /// localhost and 127.0.0.1 (may be given more than once)
    #[arg(long = "host", value_name = "HOST", requires = "apart")]
    hosts: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<{ Role::Node as u8 }>,
}

/// Runs it.
pub async fn run(args: InitArgs) -> anyhow::Result<Outcome> {
    if args.apart {
        return run_apart(args).await;
    }
    let manifest = make_whole(&args, &args.dir).await?;
    let chain = manifest.chain_id();
    let outpoint = assent_verify::base::display_outpoint(&manifest.first_anchor);
    let dir = args.dir.display().to_string();
    output::print(
        args.json,
        || {
            format!(
                "Made a ledger in {dir}\n  chain id      {chain}\n  base network  {}\n  first anchor  {outpoint}\n\n\
                 The chain id names the ledger for ever: hand it to auditors by a way that they trust.\n\
                 The keys are in {dir}/keys; whoever has them can sign in the ledger's name.\n\
                 Clients need a token: yours, which may do everything, is in {dir}/keys/operator.token.\n\n\
                 Next: assent node {dir}\n      export ASSENT_TOKEN_FILE={dir}/keys/operator.token",
                manifest.base.name
            )
        },
        || json!({"chain_id": chain, "base_network": manifest.base.name, "first_anchor": outpoint, "dir": dir}),
    );
    Ok(Outcome::Done)
}

async fn run_apart(args: InitArgs) -> anyhow::Result<Outcome> {
    let given: BTreeMap<&'static str, String> =
        args.flags.given().map(|(key, value)| (key, value.to_owned())).collect();
    let apart = Apart { dir: &args.dir, hosts: &args.hosts, given: &given };
    let made = !apart.is_complete();
    apart.clean_up()?;
    if made {
        let settings = args.flags.over(&args.dir.join("config.toml"))?;
        files::make_private_dir(&args.dir.join("setup"))?;
        let ledger = apart.ledger();
        if !ledger.manifest_path().exists() {
            make_whole(&args, &ledger.0).await?;
        }
        apart.hand_out(&settings)?;
    }
    let (chain, dir) = (apart.chain_id()?, args.dir.display().to_string());
    output::print(
        args.json,
        || {
            let what =
                if made { "Made a stack in" } else { "There is a stack already; nothing was changed in" };
            format!(
                "{what} {dir}\n  chain id  {chain}\n\n\
                 {dir}/sequencer, prover, validator and mockchain hold what each role needs, and nothing of the others.\n\
                 {dir}/clients holds certificates for operator, gateway, auditor and prometheus, and what auditors need.\n\
                 {dir}/setup/authority makes more of them (assent certs): keep it away from the machines that serve."
            )
        },
        || json!({"chain_id": chain, "dir": dir, "made": made}),
    );
    Ok(Outcome::Done)
}

/// Makes the ledger in a folder beside the wanted one and renames it: it is there whole, or not at all.
async fn make_whole(args: &InitArgs, dir: &Path) -> anyhow::Result<GenesisManifest> {
    let name = dir.file_name().context("give the name of a folder to make")?.to_owned();
    if dir.exists() {
        let mut entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        ensure!(entries.next().is_none(), "{} exists and is not empty; nothing was changed", dir.display());
    }
    let mut part = name;
    part.push(format!(".{}.part", std::process::id()));
    let part = LedgerDir(dir.with_file_name(part));
    let result = make(args, &part).await.and_then(|manifest| {
        if dir.exists() {
            fs::remove_dir(dir)?;
        }
        fs::rename(&part.0, dir)
            .and_then(|()| files::sync_folder_of(dir))
            .with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(manifest)
    });
    result.inspect_err(|_| {
        // Nothing half made stays; where it cannot be removed, the error that led here is the one to tell.
        let _ = fs::remove_dir_all(&part.0);
    })
}

async fn make(args: &InitArgs, dir: &LedgerDir) -> anyhow::Result<GenesisManifest> {
    // Checked before a base chain is asked for anything. Only what was given is written down.
    let settings = args.flags.over(&dir.config_path())?;
    let mut given: BTreeMap<&str, String> =
        args.flags.given().map(|(key, value)| (key, value.to_owned())).collect();
    let base_url = Some(settings.text("base.url")).filter(|url| !url.is_empty());
    files::make_private_dir(&dir.0)?;
    files::make_private_dir(&dir.0.join("keys"))?;
    let mut keys = Vec::new();
    clients::make(&dir.0.join("clients.toml"), &dir.0.join("keys"))?;
    for name in ["sequencer", "prover", "anchor"] {
        let key = KeyPair::from_seed(assent_client::random_bytes()?);
        files::write_key(&dir.key_path(&format!("{name}.key")), &key)?;
        keys.push(key);
    }
    let [sequencer, prover, anchor] = keys.as_slice() else { bail!("three keys are made") };
    let tls = base_tls(&own_credentials(&dir.0, &settings)?);
    let funding = match base_url {
        Some(url) => {
            fund_on_regtest(&BitcoinRpc::with_tls(url, &tls)?, &anchor.seed()).await.with_context(|| {
                format!("the base chain at {} could not be asked for the first coins", shown(url))
            })?
        }
        None => fund_on_mock(dir, &anchor.seed()).await?,
    };
    given.insert("anchor.birthday_height", funding.birthday_height.to_string());
    let ruleset = Ruleset::numbered(Ruleset::NEWEST)?;
    let network = bitcoin::Network::Regtest;
    let manifest = GenesisManifest {
        nonce: assent_client::random_bytes()?,
        created_ms: (assent_sequencer::system_clock())(),
        sequencer_key: sequencer.public(),
        prover_key: prover.public(),
        base: BaseNetwork {
            name: network.to_core_arg().to_owned(),
            genesis_hash: bitcoin::constants::genesis_block(network).block_hash().to_byte_array(),
        },
        first_anchor: funding.outpoint,
        ruleset: ruleset.number(),
        ruleset_hash: ruleset.hash(),
        limits: LedgerLimits::default(),
    };
    files::write_new(&dir.manifest_path(), &manifest.encode(), 0o644)?;
    files::write_new(&dir.chain_id_path(), format!("{}\n", manifest.chain_id()).as_bytes(), 0o644)?;
    // It may hold the password of the base chain's node.
    files::write_new(&dir.config_path(), file_with(&given).as_bytes(), 0o600)?;
    Ok(manifest)
}

async fn fund_on_mock(dir: &LedgerDir, seed: &[u8; 32]) -> anyhow::Result<assent_anchor::Funding> {
    let password = dir.ensure_mock_password()?;
    let mock = open_mock(&dir.mock_path(), None, &password)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://assent:{password}@{}", listener.local_addr()?);
    let server = tokio::spawn(mock.clone().serve(listener, std::future::pending()));
    let funding = fund_on_regtest(&BitcoinRpc::new(&url)?, seed).await;
    mock.stop();
    server.await??;
    Ok(funding?)
}
