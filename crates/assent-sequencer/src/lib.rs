//! The sequencer: orders and executes transactions, and answers each with a durable signed receipt.
//!
//! # The way of a submission
//! 1. The service ([`service`]) takes a place in the bounded queue, or answers `RESOURCE_EXHAUSTED`, and decodes.
//! 2. Worker threads (`admission.rs`) check signatures in batches, off the async threads.
//! 3. One executor thread owns the state machine. It drains what is admitted and executes it as one group.
//! 4. A second thread commits the group with one synced write, and only then publishes it and answers, while the executor is at
//!    the next group (`commit.rs`); a third seals and stores batches (`storing.rs`).
//!
//! # What happens on a crash
//! Before the commit returns, nothing of a group is visible to anyone: clients get no answer and submit again. After it, the
//! log record is on disk, and opening derives the same entries and receipts from it. A sealed batch is stored beside the log,
//! and reaches the disk some time later; after a crash, opening applies the log records again from the last batch that did,
//! with the same code.

mod admission;
mod answer;
mod commit;
mod executor;
mod proven;
pub mod service;
mod storing;
mod submit;
mod view;

use std::{
    path::PathBuf,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use assent_core::{
    batch::{BaseBlock, RefusalReason},
    codec::DecodeError,
    machine::Fault,
    manifest::GenesisManifest,
    ruleset::RulesetError,
    seal::SealPolicy,
    signature::KeyPair,
};
use assent_gate::rate::{Limiters, Rate};
use assent_metrics::Sequencer as Metrics;
use assent_store::{LedgerStore, StoreError};
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot, watch};

pub use executor::Halt;
pub use proven::Retention;
pub use service::SequencerApi;
pub use submit::{MAX_MANY, STREAM_WINDOW};

/// Submissions that may be under way at once: as many as eight full streams hold, from which signatures are checked in the
/// largest batches. At the largest body they hold 512 MiB; at 25,000 a second they are a third of a second's work, so that a full
/// queue still answers within the usual deadlines.
pub const QUEUE_CAPACITY: usize = 8_192;
/// What a client is told to wait when the queue is full: a few group commits.
pub const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Transactions of one account a second; a quarter of it at once. More than the busiest hospital asks for in its busiest hour,
/// and a small part of what one machine sequences: whoever floods leaves room for the others.
pub const ACCOUNT_RATE: u64 = 1_000;
/// Accounts whose rates are told apart at a time. Past that the newest share one.
const RATED_ACCOUNTS: usize = 1 << 17;
/// Base blocks that are remembered for citing: a cited block's median time must not be after the group's, and on a chain
/// whose clock runs ahead the newest few cannot be cited yet.
pub const BASE_BLOCKS: usize = 32;

/// Where the newest base blocks are found, lowest first. Whoever follows the base chain writes it.
pub type BaseFeed = Arc<RwLock<Vec<BaseBlock>>>;

/// The clock: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The operating system's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    })
}

/// How a sequencer runs.
#[derive(Clone)]
pub struct SequencerConfig {
    /// Folder of its database.
    pub path: PathBuf,
    /// The ledger.
    pub manifest: Arc<GenesisManifest>,
    /// Its key; must be the manifest's.
    pub key: KeyPair,
    /// When batches are sealed.
    pub seal: SealPolicy,
    /// Submissions that may be under way at once; [`QUEUE_CAPACITY`] unless there is a reason.
    pub queue_capacity: usize,
    /// Transactions that one account may submit a second; [`ACCOUNT_RATE`] unless there is a reason.
    pub account_rate: u64,
    /// What it does is counted here.
    pub metrics: Arc<Metrics>,
    /// How far it goes on without a prover.
    pub retention: Retention,
    /// Whether the operator confirms one step of time above the limit.
    pub accept_time_step: bool,
    /// Base blocks to cite.
    pub base: BaseFeed,
    /// Clock.
    pub clock: Clock,
    /// Bytes of decoded state records that are kept in memory.
    pub cache_bytes: u64,
}

/// Why a sequencer cannot start.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The key is another one.
    #[error("the sequencer key is not the one that the genesis manifest names")]
    WrongKey,
    /// Limits.
    #[error("the seal policy does not fit the ledger's limits: {0}")]
    Seal(DecodeError),
    /// Rules that this program does not have.
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    /// Storage.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log does not replay.
    #[error("log record {position} cannot be applied again: {source}")]
    Replay {
        /// Position.
        position: u64,
        /// Why.
        #[source]
        source: Fault,
    },
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running sequencer. Dropping it without [`Sequencer::shut_down`] leaves the threads to end with the process.
pub struct Sequencer {
    api: SequencerApi,
    stop: Arc<AtomicBool>,
    stop_streams: watch::Sender<bool>,
    ended: oneshot::Receiver<Result<(), Halt>>,
}

impl Sequencer {
    /// Opens the database, applies again what was not stored yet, and starts the threads.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: SequencerConfig) -> Result<Self, OpenError> {
        if config.key.public() != config.manifest.sequencer_key {
            return Err(OpenError::WrongKey);
        }
        check_seal(&config).map_err(OpenError::Seal)?;
        config.metrics.queue_capacity.set(i64::try_from(config.queue_capacity).unwrap_or(i64::MAX));
        config.metrics.begin(RefusalReason::ALL.map(RefusalReason::name));
        let executor = executor::Executor::open(&config)?;
        let view = executor.view();
        let stop = Arc::new(AtomicBool::new(false));
        let (admit, ended) =
            admission::start(executor, config.queue_capacity, stop.clone(), &config.metrics)?;
        let (stop_streams, streams_stop) = watch::channel(false);
        let api = SequencerApi {
            chain_id: config.manifest.chain_id(),
            manifest: config.manifest,
            view,
            admit,
            places: Arc::new(Semaphore::new(config.queue_capacity)),
            capacity: config.queue_capacity,
            clock: config.clock,
            // A quarter of a second's worth at once.
            accounts: Arc::new(Limiters::new(
                Rate::new(config.account_rate, (config.account_rate / 4).max(1)),
                RATED_ACCOUNTS,
            )),
            metrics: config.metrics,
            reads: Arc::new(Semaphore::new(assent_gate::READS)),
            stop: streams_stop,
        };
        Ok(Self { api, stop, stop_streams, ended })
    }

    /// What clients and followers call.
    #[must_use]
    pub fn api(&self) -> SequencerApi {
        self.api.clone()
    }

    /// Its database, for metrics.
    #[must_use]
    pub fn store(&self) -> Arc<LedgerStore> {
        self.api.view.store.clone()
    }

    /// The number of sealed batches, as it grows.
    #[must_use]
    pub fn sealed_batches(&self) -> watch::Receiver<u64> {
        self.api.sealed_batches()
    }

    /// Waits until the executor ends by itself, which it does only when it must not go on.
    pub async fn halted(&mut self) -> Halt {
        match (&mut self.ended).await {
            Ok(Err(halt)) => halt,
            Ok(Ok(())) | Err(_) => Halt::Stopped,
        }
    }

    /// Ends all streams, so that a server can end; what was submitted goes on.
    pub fn end_streams(&self) {
        self.stop_streams.send_replace(true);
    }

    /// Ends after the group that is being committed. Everything acknowledged is on disk at any time, so there is nothing
    /// else to wait for.
    ///
    /// # Errors
    /// The [`Halt`] with which the executor ended, if it did so by itself.
    pub async fn shut_down(self) -> Result<(), Halt> {
        self.end_streams();
        self.stop.store(true, Ordering::Release);
        let Self { api, ended, .. } = self;
        drop(api);
        ended.await.unwrap_or(Ok(()))
    }
}

fn check_seal(config: &SequencerConfig) -> Result<(), DecodeError> {
    let (limits, seal) = (&config.manifest.limits, &config.seal);
    let within = |what, value: u64, max: u64| {
        if (1..=max).contains(&value) {
            Ok(())
        } else {
            Err(DecodeError::invalid(what, format!("1 to {max} expected, found {value}")))
        }
    };
    within("seal.entries", seal.entries.into(), limits.max_batch_entries.into())?;
    within("seal.bytes", seal.bytes.into(), limits.max_batch_bytes.into())?;
    within("seal.age_ms", seal.age_ms, limits.max_seal_delay_ms)?;
    if (seal.bytes as usize) < assent_core::limits::MAX_BODY_BYTES * 2 {
        return Err(DecodeError::invalid("seal.bytes", "less than one transaction may need"));
    }
    Ok(())
}
