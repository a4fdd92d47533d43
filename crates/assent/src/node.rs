//! `assent node`: everything in one process.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{Context, bail};
use assent_anchor::{AnchorConfig, rpc::BitcoinRpc, update_feed};
use assent_core::manifest::GenesisManifest;
use assent_proto::v1::{
    prover_service_server::ProverServiceServer, sequencer_service_server::SequencerServiceServer,
};
use assent_prover::{Prover, ProverApi, ProverConfig};
use assent_sequencer::{
    BASE_BLOCKS, BaseFeed, QUEUE_CAPACITY, Sequencer, SequencerApi, SequencerConfig, system_clock,
};
use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tonic::transport::{Server, server::TcpIncoming};

use crate::{
    config::{self, Config, LedgerDir, ms},
    output::Outcome,
};

/// How often the base chain is asked for blocks to cite.
const BASE_POLL: Duration = Duration::from_millis(500);
/// How long open calls may go on after the signal to stop. Streams never end by themselves.
const GRACE: Duration = Duration::from_secs(2);

/// Arguments of `assent node`.
#[derive(Args)]
pub struct NodeArgs {
    /// Folder that `assent init` made
    dir: PathBuf,
    /// Where to listen, instead of what config.toml says
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the mock base chain listens, instead of what config.toml says
    #[arg(long, value_name = "ADDRESS")]
    mock_listen: Option<SocketAddr>,
    /// Confirm that the clock is right after it stepped by more than the ledger's max_time_step_ms
    #[arg(long)]
    accept_time_step: bool,
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for the {what}"))
}

/// Runs until SIGTERM or SIGINT, or until a part must not go on.
pub async fn run(args: NodeArgs) -> anyhow::Result<Outcome> {
    let dir = LedgerDir(args.dir.clone());
    let (manifest, mut config) = dir.load()?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let (Some(listen), Some(mock)) = (args.mock_listen, config.base.mock.as_mut()) {
        mock.listen = listen;
    }
    config.check(&manifest.limits)?;
    let manifest = Arc::new(manifest);
    // Both ports before anything is opened: a port in use changes nothing.
    let listener = bind("node", config.listen).await?;
    let mock_listener = match &config.base.mock {
        Some(mock) => Some(bind("mock base chain", mock.listen).await?),
        None => None,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;

    let (base_url, mock) = start_base(&dir, &config, mock_listener)?;
    let feed = BaseFeed::default();
    let rpc = BitcoinRpc::new(&base_url)?;
    let feeding = tokio::spawn(feed_base(rpc, feed.clone()));

    let address = listener.local_addr()?;
    let mut sequencer =
        Sequencer::open(sequencer_config(&dir, &config, &manifest, feed, args.accept_time_step)?)
            .context("the sequencer cannot start")?;
    let prover = Prover::open(prover_config(&dir, &config, &manifest, base_url, address)?)
        .context("the prover cannot start")?;

    let (stop, stopped) = watch::channel(false);
    let mut server = tokio::spawn(serve(listener, sequencer.api(), prover.api(), stopped.clone()));
    let mut proving = tokio::spawn(prover.run(stopped));
    tracing::info!(chain = %manifest.chain_id(), "serving on http://{address}");

    let result = tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
        halt = sequencer.halted() => Err(anyhow::anyhow!("the sequencer ended: {halt}")),
        ended = &mut proving => Err(match ended {
            Ok(Ok(())) => anyhow::anyhow!("the prover ended"),
            Ok(Err(error)) => anyhow::Error::new(error).context("the prover ended"),
            Err(error) => anyhow::Error::new(error).context("the prover ended"),
        }),
        ended = &mut server => Err(match ended {
            Ok(Err(error)) => error.context("the server ended"),
            _ => anyhow::anyhow!("the server ended"),
        }),
    };
    if let Ok(signal) = &result {
        tracing::info!("{signal}: stopping");
    }
    stop.send_replace(true);
    feeding.abort();
    if !proving.is_finished() {
        let _ = tokio::time::timeout(GRACE, proving).await;
    }
    if !server.is_finished() && tokio::time::timeout(GRACE, &mut server).await.is_err() {
        server.abort();
    }
    // By itself it only ends where `result` says so already.
    if result.is_ok() {
        sequencer.shut_down().await?;
    }
    if let Some(mock) = mock {
        mock.stop();
    }
    match result {
        Ok(_) => {
            tracing::info!("stopped; everything acknowledged is on disk");
            Ok(Outcome::Done)
        }
        Err(error) => Err(error),
    }
}

fn start_base(
    dir: &LedgerDir,
    config: &Config,
    listener: Option<TcpListener>,
) -> anyhow::Result<(String, Option<assent_mockchain::MockChain>)> {
    match (&config.base.url, &config.base.mock, listener) {
        (Some(url), None, _) => Ok((url.clone(), None)),
        (None, Some(mock), Some(listener)) => {
            let password = dir.mock_password()?;
            let chain = config::open_mock(&dir.mock_path(), Some(ms(mock.block_interval_ms)), &password)?;
            let url = format!("http://assent:{password}@{}", listener.local_addr()?);
            let served = chain.clone();
            tokio::spawn(async move {
                if let Err(error) = served.serve(listener, std::future::pending()).await {
                    tracing::error!(%error, "the mock base chain ended");
                }
            });
            tracing::info!(height = chain.height(), "mock base chain on http://{}", mock.listen);
            Ok((url, Some(chain)))
        }
        _ => bail!("exactly one of base.url and base.mock is expected"),
    }
}

fn sequencer_config(
    dir: &LedgerDir,
    config: &Config,
    manifest: &Arc<GenesisManifest>,
    base: BaseFeed,
    accept_time_step: bool,
) -> anyhow::Result<SequencerConfig> {
    Ok(SequencerConfig {
        path: dir.sequencer_path(),
        manifest: manifest.clone(),
        key: dir.key("sequencer.key")?,
        seal: config.seal_policy(),
        queue_capacity: QUEUE_CAPACITY,
        accept_time_step,
        base,
        clock: system_clock(),
    })
}

fn prover_config(
    dir: &LedgerDir,
    config: &Config,
    manifest: &Arc<GenesisManifest>,
    base_url: String,
    address: SocketAddr,
) -> anyhow::Result<ProverConfig> {
    Ok(ProverConfig {
        path: dir.prover_path(),
        manifest: manifest.clone(),
        key: dir.key("prover.key")?,
        sequencer: format!("http://{address}"),
        base_url,
        anchor: AnchorConfig {
            chain_id: manifest.chain_id(),
            first_seal: manifest.first_anchor,
            network: assent_verify::base::network(&manifest.base)?,
            seed: dir.key("anchor.key")?.seed(),
            birthday_height: config.anchor.birthday_height,
            max_fee_rate: config.anchor.max_fee_rate,
        },
        anchor_interval: ms(config.anchor.interval_ms),
        confirmations: config.anchor.confirmations,
    })
}

/// Keeps the base blocks to cite up to date.
async fn feed_base(rpc: BitcoinRpc, feed: Arc<RwLock<Vec<assent_core::batch::BaseBlock>>>) {
    let mut told = false;
    loop {
        match update_feed(&rpc, &feed, BASE_BLOCKS).await {
            Ok(()) => told = false,
            Err(error) if !told => {
                tracing::warn!(%error, "no new base blocks to cite");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(BASE_POLL).await;
    }
}

async fn serve(
    listener: TcpListener,
    sequencer: SequencerApi,
    prover: ProverApi,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SequencerServiceServer<SequencerApi>>().await;
    health.set_serving::<ProverServiceServer<ProverApi>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(assent_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let sequencer = SequencerServiceServer::new(sequencer)
        .max_decoding_message_size(assent_sequencer::service::MAX_REQUEST_BYTES)
        .max_encoding_message_size(assent_sequencer::service::MAX_RESPONSE_BYTES);
    let prover =
        ProverServiceServer::new(prover).max_encoding_message_size(assent_prover::MAX_RESPONSE_BYTES);
    Server::builder()
        .add_service(health_service)
        .add_service(reflection)
        .add_service(sequencer)
        .add_service(prover)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
            // The sender is gone where the process is ending anyway.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await?;
    Ok(())
}
