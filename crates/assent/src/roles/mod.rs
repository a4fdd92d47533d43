//! The processes of a ledger: each role on its own, or all in one.
//!
//! A role reaches the others by address and waits for those that are not there yet, with a line in its log that says what
//! it waits for; they start in any order. Only what a role needs is read from the ledger's folder.

mod config;
mod serve;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use assent_anchor::{rpc::BitcoinRpc, update_feed};
use assent_client::{Dial, InProcess};
use assent_core::{ChainId, codec::sha256, manifest::GenesisManifest, seal::SealPolicy};
use assent_gate::{
    Gate, Limits, access, listen,
    tls::{ServerTls, TlsFiles},
};
use assent_metrics::Metrics;
use assent_mockchain::MockChain;
use assent_proto::v1::{self as proto, sequencer_service_client::SequencerServiceClient};
use assent_prover::Prover;
use assent_sequencer::{BASE_BLOCKS, BaseFeed, Retention, Sequencer, SequencerConfig, system_clock};
use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

pub use config::{Duties, base_tls, open_follower, own_credentials};
use config::{base_url, prover_config};

use crate::{
    clients, files,
    ledger_dir::{LedgerDir, open_mock},
    output::Outcome,
    settings::{Flags, Role, Settings, shown},
};

/// How long open calls may go on after the signal to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Arguments of `assent node`.
#[derive(Args)]
pub struct NodeArgs {
    /// Folder that `assent init` made
    dir: PathBuf,
    /// Confirm that the clock is right after it stepped by more than the ledger's max_time_step_ms
    #[arg(long)]
    accept_time_step: bool,
    #[command(flatten)]
    flags: Flags<{ Role::Node as u8 }>,
}

/// Arguments of `assent sequencer`.
#[derive(Args)]
pub struct SequencerArgs {
    /// Folder of the ledger: manifest.bin, keys/sequencer.key, and perhaps config.toml
    dir: PathBuf,
    /// Confirm that the clock is right after it stepped by more than the ledger's max_time_step_ms
    #[arg(long)]
    accept_time_step: bool,
    #[command(flatten)]
    flags: Flags<{ Role::Sequencer as u8 }>,
}

/// Arguments of `assent prover`.
#[derive(Args)]
pub struct ProverArgs {
    /// Folder of the ledger: manifest.bin, keys/prover.key, keys/anchor.key, and perhaps config.toml
    dir: PathBuf,
    #[command(flatten)]
    flags: Flags<{ Role::Prover as u8 }>,
}

/// Arguments of `assent validator`.
#[derive(Args)]
pub struct ValidatorArgs {
    /// Folder of the validator. Where it has no manifest.bin yet, that is fetched from the sequencer and compared with --chain
    dir: PathBuf,
    /// Chain id of the ledger, from a source that you trust; needed for the first start in a folder without manifest.bin
    #[arg(long, env = "ASSENT_CHAIN", value_name = "ID")]
    chain: Option<ChainId>,
    #[command(flatten)]
    flags: Flags<{ Role::Validator as u8 }>,
}

/// Arguments of `assent mockchain`.
#[derive(Args)]
pub struct MockchainArgs {
    /// Folder of the ledger, or any other: blocks are kept in mockchain/, the password in keys/mockchain-password
    dir: PathBuf,
    #[command(flatten)]
    flags: Flags<{ Role::Mockchain as u8 }>,
}

/// `assent node`.
pub async fn run_node(args: NodeArgs) -> anyhow::Result<Outcome> {
    let dir = LedgerDir(args.dir);
    let manifest = dir.manifest()?;
    let settings = args.flags.over(&dir.config_path())?;
    let mock = settings.text("base.url").is_empty();
    let parts = Parts { mock, sequencer: true, prover: Some(Duties::Prover) };
    Process { dir, manifest: Some(Arc::new(manifest)), settings, accept_time_step: args.accept_time_step }
        .run(&parts, Some("sequencer.listen"))
        .await
}

/// `assent sequencer`.
pub async fn run_sequencer(args: SequencerArgs) -> anyhow::Result<Outcome> {
    let dir = LedgerDir(args.dir);
    let manifest = dir.manifest()?;
    let settings = args.flags.over(&dir.config_path())?;
    let parts = Parts { mock: false, sequencer: true, prover: None };
    Process { dir, manifest: Some(Arc::new(manifest)), settings, accept_time_step: args.accept_time_step }
        .run(&parts, Some("sequencer.listen"))
        .await
}

/// `assent prover`.
pub async fn run_prover(args: ProverArgs) -> anyhow::Result<Outcome> {
    let dir = LedgerDir(args.dir);
    let manifest = dir.manifest()?;
    let settings = args.flags.over(&dir.config_path())?;
    let parts = Parts { mock: false, sequencer: false, prover: Some(Duties::Prover) };
    Process { dir, manifest: Some(Arc::new(manifest)), settings, accept_time_step: false }
        .run(&parts, Some("prover.listen"))
        .await
}

/// `assent validator`.
pub async fn run_validator(args: ValidatorArgs) -> anyhow::Result<Outcome> {
    let dir = LedgerDir(args.dir);
    let settings = args.flags.over(&dir.config_path())?;
    let manifest = if dir.manifest_path().exists() {
        let manifest = dir.manifest()?;
        if let Some(pinned) = args.chain.filter(|pinned| *pinned != manifest.chain_id()) {
            bail!("{} is the folder of chain {}, not {pinned}", dir.0.display(), manifest.chain_id());
        }
        manifest
    } else {
        let pinned = args.chain.with_context(|| {
            format!(
                "{} has no manifest.bin; say which ledger you mean with --chain, from a source that you trust",
                dir.0.display()
            )
        })?;
        match fetch_manifest(&dir, &settings, pinned).await? {
            Some(manifest) => manifest,
            None => return Ok(Outcome::Done),
        }
    };
    let parts = Parts { mock: false, sequencer: false, prover: Some(Duties::Validator) };
    Process { dir, manifest: Some(Arc::new(manifest)), settings, accept_time_step: false }
        .run(&parts, Some("validator.listen"))
        .await
}

/// `assent mockchain`.
pub async fn run_mockchain(args: MockchainArgs) -> anyhow::Result<Outcome> {
    let dir = LedgerDir(args.dir);
    let settings = args.flags.over(&dir.config_path())?;
    files::make_private_dir(&dir.0)?;
    let parts = Parts { mock: true, sequencer: false, prover: None };
    Process { dir, manifest: None, settings, accept_time_step: false }.run(&parts, None).await
}

/// The manifest of a pinned chain, from its sequencer. `None` where a signal came first.
async fn fetch_manifest(
    dir: &LedgerDir,
    settings: &Settings,
    pinned: ChainId,
) -> anyhow::Result<Option<GenesisManifest>> {
    let address = settings.text("validator.sequencer");
    let dial = Dial::new(address, own_credentials(&dir.0, settings)?);
    let channel = dial.channel(&dial.endpoint().context("validator.sequencer")?)?;
    let mut client = SequencerServiceClient::new(channel);
    let mut signals = Signals::new()?;
    let (mut pause, mut told) = (Duration::from_millis(100), false);
    let bytes = loop {
        let answer = tokio::select! {
            answer = client.get_ledger(proto::GetLedgerRequest {}) => answer,
            _ = signals.next() => return Ok(None),
        };
        match answer {
            Ok(ledger) => break ledger.into_inner().manifest,
            Err(status) if !told => {
                tracing::warn!(%address, problem = status.message(), "waiting for the sequencer, to learn the manifest");
                told = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = signals.next() => return Ok(None),
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    };
    let found = ChainId(sha256(&bytes));
    ensure!(found == pinned, "{address} serves chain {found}, not {pinned}");
    let manifest = GenesisManifest::decode(&bytes).context("the sequencer's manifest cannot be read")?;
    files::make_private_dir(&dir.0)?;
    files::write_whole(&dir.chain_id_path(), format!("{found}\n").as_bytes())?;
    files::write_whole(&dir.manifest_path(), &bytes)?;
    Ok(Some(manifest))
}

/// What one process runs.
struct Parts {
    mock: bool,
    sequencer: bool,
    prover: Option<Duties>,
}

struct Process {
    dir: LedgerDir,
    /// Of every role but the mock base chain's.
    manifest: Option<Arc<GenesisManifest>>,
    settings: Settings,
    accept_time_step: bool,
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address} for the {what}"))
}

/// Waits for a task that may not be there.
async fn ended(task: &mut Option<JoinHandle<anyhow::Result<()>>>, what: &str) -> anyhow::Error {
    match task {
        None => std::future::pending().await,
        Some(task) => match task.await {
            Ok(Ok(())) => anyhow::anyhow!("the {what} ended"),
            Ok(Err(error)) => error.context(format!("the {what} ended")),
            Err(error) => anyhow::Error::new(error).context(format!("the {what} ended")),
        },
    }
}

async fn halted(sequencer: &mut Option<Sequencer>) -> anyhow::Error {
    match sequencer {
        None => std::future::pending().await,
        Some(sequencer) => anyhow::anyhow!("the sequencer ended: {}", sequencer.halted().await),
    }
}

impl Process {
    /// Runs until SIGTERM or SIGINT, or until a part must not go on.
    async fn run(self, parts: &Parts, listen: Option<&str>) -> anyhow::Result<Outcome> {
        files::check_private_dirs(&self.dir.0)?;
        if let Some(path) = self.settings.file_with_password() {
            files::check_private(path, &self.dir.0)?;
        }
        // Before there is a database: without one, the file may be made.
        let clients = match listen {
            Some(_) => Some(clients::open(&self.dir.0, &self.settings)?),
            None => None,
        };
        // Made here, so that they are private from the first byte on.
        if parts.sequencer {
            files::make_private_dir(&self.dir.sequencer_path())?;
        }
        match parts.prover {
            Some(Duties::Prover) => files::make_private_dir(&self.dir.prover_path())?,
            Some(Duties::Validator) => files::make_private_dir(&self.dir.validator_path())?,
            None => {}
        }
        let metrics = Metrics::new(parts.sequencer, parts.prover.is_some());
        let tls = serve::tls_files(&self.dir.0, &self.settings)?;
        // Read before anything else needs it: an error names the file.
        let grpc = tls.clone().map(ServerTls::grpc).transpose()?;
        // All ports before anything is opened: a port in use changes nothing.
        let listener = match listen {
            Some(key) => Some(bind("gRPC services", self.settings.listen(key)?).await?),
            None => None,
        };
        let mock_listener = match parts.mock {
            true => Some(bind("mock base chain", self.settings.listen("mockchain.listen")?).await?),
            false => None,
        };
        let metrics_listener = match (listen, self.settings.listen_if_set("metrics.listen")?) {
            (Some(_), Some(address)) => Some(bind("metrics", address).await?),
            _ => None,
        };
        let mut signals = Signals::new()?;
        let (stop, stopped) = watch::channel(false);

        let (base_url, mock, mut mock_server) =
            self.start_base(mock_listener, tls.clone(), &metrics, stopped.clone())?;
        let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let own = own_credentials(&self.dir.0, &self.settings)?;
        let mut feeding = None;
        let mut sequencer = None;
        if let (true, Some(manifest)) = (parts.sequencer, &self.manifest) {
            let feed = BaseFeed::default();
            match &base_url {
                Some(url) => {
                    let poll = Duration::from_millis(self.settings.number("base.poll_ms"));
                    feeding = Some(tokio::spawn(feed_base(
                        BitcoinRpc::with_tls(url, &base_tls(&own))?,
                        feed.clone(),
                        poll,
                    )));
                }
                None => tracing::warn!("there is no base chain: batches cite no base blocks"),
            }
            let opened = Sequencer::open(self.sequencer_config(manifest, feed, &metrics)?);
            sequencer = Some(opened.context("the sequencer cannot start")?);
        }
        // Known to this process alone.
        let own_token = access::token_of(&assent_client::random_bytes()?);
        let (way_in, in_process) = InProcess::new();
        let prover = match (parts.prover, &self.manifest) {
            (Some(duties), Some(manifest)) => {
                match (duties, &base_url) {
                    (Duties::Prover, None) => bail!(
                        "there is no base chain to anchor on: set base.url, or run the mock base chain of this folder"
                    ),
                    (Duties::Validator, None) => {
                        tracing::warn!("there is no base chain: anchors are not compared");
                    }
                    _ => {}
                }
                // In one process with its sequencer, it follows that one.
                let own = parts.sequencer.then(|| Dial::in_process(way_in, own_token.clone()));
                let config = prover_config(
                    &self.dir,
                    &self.settings,
                    manifest,
                    duties,
                    base_url.as_deref(),
                    own,
                    metrics.follower.clone(),
                )?;
                Some(Prover::open(config).context("the prover cannot start")?)
            }
            _ => None,
        };

        let (mut server, mut metrics_server) = (None, None);
        if let (Some(listener), Some(manifest), Some(clients)) = (listener, &self.manifest, clients) {
            let gate = Gate::new(
                manifest.chain_id(),
                clients,
                self.settings.path("access.file", &self.dir.0),
                Some(own_token),
                self.limits()?,
                metrics.gate.clone(),
            );
            let http =
                tls.clone().filter(|_| metrics_listener.is_some()).map(ServerTls::http1).transpose()?;
            tokio::spawn(gate.clone().watch(grpc.iter().chain(&http).cloned().collect()));
            let limits = self.connection_limits()?;
            let incoming = listen::incoming(listener, grpc, limits, metrics.gate.clone());
            let incoming = serve::with_in_process(incoming, in_process, metrics.gate.clone());
            let services = serve::Services {
                sequencer: sequencer.as_ref().map(Sequencer::api),
                prover: prover.as_ref().map(Prover::api),
            };
            server = Some(tokio::spawn(serve::grpc(incoming, services, gate.clone(), stopped.clone())));
            if let Some(listener) = metrics_listener {
                let address = listener.local_addr()?;
                tracing::info!("metrics on {scheme}://{address}/metrics, for clients with role operate");
                let metrics = serve::with_database(metrics, sequencer.as_ref(), prover.as_ref());
                let incoming = listen::incoming(listener, http, limits, gate.metrics());
                metrics_server = Some(tokio::spawn(serve::metrics(incoming, metrics, gate, stopped.clone())));
            }
        }
        let mut proving = prover.map(|prover| {
            let stopped = stopped.clone();
            tokio::spawn(async move { Ok(Box::pin(prover.run(stopped)).await?) })
        });
        if let (Some(address), Some(manifest)) = (address, &self.manifest) {
            tracing::info!(chain = %manifest.chain_id(), "serving on {scheme}://{address}");
        }

        let result = tokio::select! {
            signal = signals.next() => Ok(signal),
            error = halted(&mut sequencer) => Err(error),
            error = ended(&mut proving, "prover") => Err(error),
            error = ended(&mut server, "server") => Err(error),
            error = ended(&mut metrics_server, "metrics server") => Err(error),
            error = ended(&mut mock_server, "mock base chain") => Err(error),
        };
        if let Ok(signal) = &result {
            tracing::info!("{signal}: stopping");
        }
        stop.send_replace(true);
        if let Some(feeding) = feeding {
            feeding.abort();
        }
        if let Some(sequencer) = &sequencer {
            sequencer.end_streams();
        }
        for task in [proving, server, metrics_server, mock_server].into_iter().flatten() {
            finish(task).await;
        }
        // By itself it only ends where `result` says so already.
        if let (Some(sequencer), true) = (sequencer, result.is_ok()) {
            sequencer.shut_down().await?;
        }
        if let Some(mock) = mock {
            mock.stop();
        }
        result?;
        tracing::info!("stopped; everything acknowledged is on disk");
        Ok(Outcome::Done)
    }

    /// Where the base chain is, and the mock one where this process runs it.
    #[allow(clippy::type_complexity, reason = "three things that begin together")]
    fn start_base(
        &self,
        listener: Option<TcpListener>,
        tls: Option<TlsFiles>,
        metrics: &Metrics,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<(Option<String>, Option<MockChain>, Option<JoinHandle<anyhow::Result<()>>>)> {
        let Some(listener) = listener else {
            return Ok((base_url(&self.dir, &self.settings)?, None, None));
        };
        let password = self.dir.ensure_mock_password()?;
        let interval = Duration::from_millis(self.settings.number("mockchain.block_interval_ms"));
        let chain = open_mock(&self.dir.mock_path(), Some(interval), &password)?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://assent:{password}@{address}");
        let tls = tls.map(ServerTls::http1).transpose()?;
        // Whom it knows the mock chain finds out by itself.
        let limits = listen::ConnectionLimits { strangers: None, ..self.connection_limits()? };
        let incoming = listen::incoming(listener, tls, limits, metrics.gate.clone());
        let served = chain.clone();
        let server = tokio::spawn(async move {
            let stopped = async move {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            Ok(served.serve_incoming(incoming, stopped).await?)
        });
        tracing::info!(
            height = chain.height(),
            "mock base chain on {}, password in {}",
            shown(&url),
            self.dir.key_path("mockchain-password").display()
        );
        Ok((Some(url), Some(chain), Some(server)))
    }

    fn connection_limits(&self) -> anyhow::Result<listen::ConnectionLimits> {
        Ok(listen::ConnectionLimits {
            all: usize::try_from(self.settings.number("limit.connections"))?,
            per_address: usize::try_from(self.settings.number("limit.address_connections"))?,
            strangers: Some(listen::STRANGERS),
        })
    }

    fn limits(&self) -> anyhow::Result<Limits> {
        Ok(Limits {
            calls: usize::try_from(self.settings.number("limit.calls"))?,
            peer_rate: self.settings.number("limit.client_rate"),
            receiving_bytes: usize::try_from(self.settings.number("limit.receiving_mib") << 20)?,
            patience: Duration::from_secs(self.settings.number("limit.slow_reader_s")),
        })
    }

    fn sequencer_config(
        &self,
        manifest: &Arc<GenesisManifest>,
        base: BaseFeed,
        metrics: &Metrics,
    ) -> anyhow::Result<SequencerConfig> {
        let settings = &self.settings;
        Ok(SequencerConfig {
            path: self.dir.sequencer_path(),
            manifest: manifest.clone(),
            key: self.dir.key("sequencer.key")?,
            seal: SealPolicy {
                // The ledger's own limits bound what a setting may say.
                entries: settings.number32("seal.entries").min(manifest.limits.max_batch_entries),
                bytes: settings.number32("seal.bytes").min(manifest.limits.max_batch_bytes),
                age_ms: settings.number("seal.age_ms").min(manifest.limits.max_seal_delay_ms),
            },
            queue_capacity: usize::try_from(settings.number("sequencer.queue"))?,
            retention: Retention {
                pace: Duration::from_millis(settings.number("retention.pace_ms")),
                alarm: Duration::from_secs(settings.number("retention.alarm_s")),
                limit: Duration::from_secs(settings.number("retention.limit_s")),
            },
            account_rate: settings.number("limit.account_rate"),
            metrics: metrics.sequencer.clone(),
            accept_time_step: self.accept_time_step,
            base,
            clock: system_clock(),
            cache_bytes: settings.number("execution.cache_mib") * 1024 * 1024,
        })
    }
}

/// Gives a task the time to end by itself.
async fn finish(mut task: JoinHandle<anyhow::Result<()>>) {
    if !task.is_finished() && tokio::time::timeout(GRACE, &mut task).await.is_err() {
        task.abort();
        // Cancelled, which is no news; awaited so that what it holds is closed.
        let _ = task.await;
    }
}

/// Keeps the base blocks to cite up to date.
async fn feed_base(rpc: BitcoinRpc, feed: Arc<RwLock<Vec<assent_core::batch::BaseBlock>>>, poll: Duration) {
    let mut told = false;
    loop {
        match update_feed(&rpc, &feed, BASE_BLOCKS).await {
            Ok(()) if told => {
                tracing::info!("the base chain answers");
                told = false;
            }
            Ok(()) => {}
            Err(error) if !told => {
                tracing::warn!(%error, "waiting for the base chain; transactions are sequenced meanwhile");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(poll).await;
    }
}
