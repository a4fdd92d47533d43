//! `assent init`: a new ledger.

use std::{fs, net::SocketAddr, path::PathBuf};

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
    config::{
        self, AnchorSettings, BaseConfig, Config, DEFAULT_LISTEN, DEFAULT_MOCK_LISTEN, LedgerDir, MockConfig,
        SealConfig,
    },
    files,
    output::{self, Outcome},
};

/// Arguments of `assent init`.
#[derive(Args)]
pub struct InitArgs {
    /// Folder to make. Must not exist, or be empty.
    dir: PathBuf,
    /// Where the node will listen
    #[arg(long, default_value = DEFAULT_LISTEN, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// URL of a Bitcoin Core node on regtest, as http://user:password@host:port. Without it the node runs a mock base chain.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Where the mock base chain will listen
    #[arg(long, default_value = DEFAULT_MOCK_LISTEN, value_name = "ADDRESS", conflicts_with = "base_url")]
    mock_listen: SocketAddr,
    /// How often the mock base chain mines a block, in milliseconds
    #[arg(long, default_value_t = 5_000, value_name = "MS", conflicts_with = "base_url")]
    block_interval_ms: u64,
    /// How old the first entry of a batch may get before the batch is sealed, in milliseconds
    #[arg(long, default_value_t = 500, value_name = "MS")]
    seal_age_ms: u64,
    /// Least time between two anchors, in milliseconds
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    anchor_interval_ms: u64,
    /// Blocks from an anchor's on at which it counts as confirmed
    #[arg(long, default_value_t = 6, value_name = "BLOCKS")]
    confirmations: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    // Checked before a base chain is asked for anything.
    let limits = LedgerLimits::default();
    let base = match &args.base_url {
        Some(url) => BaseConfig { url: Some(url.clone()), mock: None },
        None => BaseConfig {
            url: None,
            mock: Some(MockConfig { listen: args.mock_listen, block_interval_ms: args.block_interval_ms }),
        },
    };
    let mut config = Config {
        listen: args.listen,
        seal: SealConfig {
            entries: limits.max_batch_entries,
            bytes: limits.max_batch_bytes,
            age_ms: args.seal_age_ms,
        },
        anchor: AnchorSettings {
            interval_ms: args.anchor_interval_ms,
            confirmations: args.confirmations,
            max_fee_rate: 100_000,
            birthday_height: 0,
        },
        base,
    };
    config.check(&limits)?;
    files::make_private_dir(&dir.0)?;
    files::make_private_dir(&dir.0.join("keys"))?;
    let mut keys = Vec::new();
    for name in ["sequencer", "prover", "anchor"] {
        let key = KeyPair::from_seed(assent_client::random_bytes()?);
        files::write_key(&dir.key_path(&format!("{name}.key")), &key)?;
        keys.push(key);
    }
    let [sequencer, prover, anchor] = keys.as_slice() else { bail!("three keys are made") };
    let password = hex::encode(assent_client::random_bytes::<16>()?);
    files::write_new(&dir.key_path("mockchain-password"), password.as_bytes(), 0o600)?;

    let funding = match &args.base_url {
        Some(url) => fund_on_regtest(&BitcoinRpc::new(url)?, &anchor.seed()).await?,
        None => fund_on_mock(dir, &password, &anchor.seed()).await?,
    };
    config.anchor.birthday_height = funding.birthday_height;
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
        limits,
    };
    files::write_new(&dir.manifest_path(), &manifest.encode(), 0o644)?;
    files::write_new(&dir.chain_id_path(), format!("{}\n", manifest.chain_id()).as_bytes(), 0o644)?;
    // It may hold the password of the base chain's node.
    files::write_new(&dir.config_path(), toml::to_string_pretty(&config)?.as_bytes(), 0o600)?;
    Ok(manifest)
}

async fn fund_on_mock(
    dir: &LedgerDir,
    password: &str,
    seed: &[u8; 32],
) -> anyhow::Result<assent_anchor::Funding> {
    let mock = config::open_mock(&dir.mock_path(), None, password)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://assent:{password}@{}", listener.local_addr()?);
    let server = tokio::spawn(mock.clone().serve(listener, std::future::pending()));
    let funding = fund_on_regtest(&BitcoinRpc::new(&url)?, seed).await;
    mock.stop();
    server.await??;
    Ok(funding?)
}
