//! The prover: re-executes every batch, signs and anchors checkpoints, and proves what they contain.
//!
//! It believes the sequencer nothing that it can compute: every transaction's signature is checked, every log record
//! executed again, and entries, header and effects compared byte for byte. At the first difference it halts for good, with
//! a report beside its database; it signs nothing from there on.
//!
//! Three tasks: one follows the batch stream (`follow.rs`), one the base chain (`anchoring.rs`), and the gRPC service reads
//! what both have stored. What happens on a crash: a batch, its tiles and its signed checkpoint are one synced atomic write;
//! following goes on after the last one.

mod anchoring;
mod bundle;
mod follow;
mod reexecute;
mod service;
mod tier;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use assent_anchor::{AnchorConfig, AnchorError, AnchorView, rpc::RpcError};
use assent_core::{manifest::GenesisManifest, ruleset::RulesetError, signature::KeyPair};
use assent_merkle::tiles::TileError;
use assent_store::{LedgerStore, Role, StoreError};
use thiserror::Error;
use tokio::sync::watch;

pub use reexecute::Divergence;
pub use service::{MAX_RESPONSE_BYTES, ProverApi};

/// How a prover runs.
#[derive(Clone)]
pub struct ProverConfig {
    /// Folder of its database.
    pub path: PathBuf,
    /// The ledger.
    pub manifest: Arc<GenesisManifest>,
    /// Its key; must be the manifest's.
    pub key: KeyPair,
    /// The sequencer's gRPC address, such as `http://127.0.0.1:7420`.
    pub sequencer: String,
    /// The base chain's JSON-RPC URL.
    pub base_url: String,
    /// How the ledger is anchored.
    pub anchor: AnchorConfig,
    /// Least time between two new anchors.
    pub anchor_interval: Duration,
    /// Blocks from an anchor's on at which it counts as confirmed.
    pub confirmations: u32,
}

/// Why a prover cannot start or must end.
#[derive(Debug, Error)]
pub enum ProverError {
    /// The key is another one.
    #[error("the prover key is not the one that the genesis manifest names")]
    WrongKey,
    /// Rules that this program does not have.
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    /// Storage.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The history tree cannot be opened.
    #[error("the history tree cannot be opened: {0}")]
    Tiles(#[from] TileError<StoreError>),
    /// Anchoring.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The base chain's URL.
    #[error(transparent)]
    Base(#[from] RpcError),
    /// The sequencer's address.
    #[error("the sequencer's address {address:?} is not valid: {problem}")]
    Address {
        /// Given.
        address: String,
        /// Why.
        problem: String,
    },
    /// A report cannot be written.
    #[error("cannot write {path}: {source}")]
    Report {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What the tasks and the service share.
pub(crate) struct Shared {
    pub(crate) config: ProverConfig,
    pub(crate) store: Arc<LedgerStore>,
    pub(crate) anchors: Arc<AnchorView>,
    /// Batches re-executed, as they grow.
    pub(crate) batches: watch::Sender<u64>,
    /// Why it halted. Set once.
    pub(crate) halted: RwLock<Option<String>>,
}

impl Shared {
    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An opened prover.
pub struct Prover {
    shared: Arc<Shared>,
    follower: reexecute::Follower,
    anchorer: assent_anchor::Anchorer,
}

impl Prover {
    /// Opens the database. Talks to nobody yet.
    ///
    /// # Errors
    /// [`ProverError`].
    pub fn open(config: ProverConfig) -> Result<Self, ProverError> {
        if config.key.public() != config.manifest.prover_key {
            return Err(ProverError::WrongKey);
        }
        let store = Arc::new(LedgerStore::open(&config.path, Role::Prover, &config.manifest.chain_id())?);
        let follower = reexecute::Follower::open(config.manifest.clone(), config.key.clone(), store.clone())?;
        let rpc = assent_anchor::rpc::BitcoinRpc::new(&config.base_url)?;
        let anchorer = assent_anchor::Anchorer::open(
            config.anchor.clone(),
            rpc,
            Arc::new(anchoring::Rows(store.clone())),
        )?;
        let shared = Arc::new(Shared {
            anchors: anchorer.view(),
            batches: watch::Sender::new(follower.next_batch()),
            halted: RwLock::new(None),
            store,
            config,
        });
        let report = follow::report_path(&shared.config.path);
        if report.exists() {
            follow::halt(&shared, format!("an earlier run halted, see {}", report.display()));
        }
        Ok(Self { shared, follower, anchorer })
    }

    /// What clients and auditors call.
    #[must_use]
    pub fn api(&self) -> ProverApi {
        ProverApi::new(self.shared.clone())
    }

    /// Follows the sequencer and the base chain until `shutdown` is true.
    ///
    /// # Errors
    /// [`ProverError`] where storage fails; a divergence is no error of the prover's: it halts, reports, and goes on serving
    /// what it has proven.
    pub async fn run(self, shutdown: watch::Receiver<bool>) -> Result<(), ProverError> {
        let following = follow::run(self.shared.clone(), self.follower, shutdown.clone());
        let anchoring = anchoring::run(self.shared, self.anchorer, shutdown);
        tokio::try_join!(following, anchoring)?;
        Ok(())
    }
}
