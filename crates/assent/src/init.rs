//! `assent init`: a new ledger.

use std::{collections::BTreeMap, fs, path::PathBuf};

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
    files,
    ledger_dir::{LedgerDir, open_mock},
    output::{self, Outcome},
    settings::{Flags, Role, file_with, shown},
};

/// Arguments of `assent init`.
#[derive(Args)]
pub struct InitArgs {
    /// Folder to make. Must not exist, or be empty.
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<{ Role::Node as u8 }>,
}

/// Makes the ledger in a folder beside the wanted one and renames it: it is there whole, or not at all.
pub async fn run(args: InitArgs) -> anyhow::Result<Outcome> {
    let name = args.dir.file_name().context("give the name of a folder to make")?.to_owned();
    if args.dir.exists() {
        let mut entries =
            fs::read_dir(&args.dir).with_context(|| format!("cannot read {}", args.dir.display()))?;
        ensure!(
            entries.next().is_none(),
            "{} exists and is not empty; nothing was changed",
            args.dir.display()
        );
    }
    let mut part = name;
    part.push(format!(".{}.part", std::process::id()));
    let part = LedgerDir(args.dir.with_file_name(part));
    let result = make(&args, &part).await;
    let result = result.and_then(|manifest| {
        if args.dir.exists() {
            fs::remove_dir(&args.dir)?;
        }
        fs::rename(&part.0, &args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
        Ok(manifest)
    });
    let manifest = result.inspect_err(|_| {
        // Nothing half made stays; where it cannot be removed, the error that led here is the one to tell.
        let _ = fs::remove_dir_all(&part.0);
    })?;
    let chain = manifest.chain_id();
    let outpoint = assent_verify::base::display_outpoint(&manifest.first_anchor);
    let dir = args.dir.display().to_string();
    output::print(
        args.json,
        || {
            format!(
                "Made a ledger in {dir}\n  chain id      {chain}\n  base network  {}\n  first anchor  {outpoint}\n\n\
                 The chain id names the ledger for ever: hand it to auditors by a way that they trust.\n\
                 The keys are in {dir}/keys; whoever has them can sign in the ledger's name.\n\n\
                 Next: assent node {dir}",
                manifest.base.name
            )
        },
        || json!({"chain_id": chain, "base_network": manifest.base.name, "first_anchor": outpoint, "dir": dir}),
    );
    Ok(Outcome::Done)
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
    for name in ["sequencer", "prover", "anchor"] {
        let key = KeyPair::from_seed(assent_client::random_bytes()?);
        files::write_key(&dir.key_path(&format!("{name}.key")), &key)?;
        keys.push(key);
    }
    let [sequencer, prover, anchor] = keys.as_slice() else { bail!("three keys are made") };
    let funding = match base_url {
        Some(url) => fund_on_regtest(&BitcoinRpc::new(url)?, &anchor.seed()).await.with_context(|| {
            format!("the base chain at {} could not be asked for the first coins", shown(url))
        })?,
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
