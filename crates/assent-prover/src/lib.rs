//! The prover and the validator: both execute every batch again.
//!
//! They believe the sequencer nothing that they can compute: every transaction's signature is checked, every log record
//! executed again, and entries, header and effects compared byte for byte. A prover signs and anchors checkpoints over what
//! it found right. A validator has no key: it compares the prover's checkpoints and anchors with its own history. At the
//! first difference either halts for good, with a report and, where it is somebody's fault, evidence beside its database
//! (`halt.rs`).
//!
//! One task each: following the batch stream and executing it (`follow.rs`), committing what was executed to the state tree,
//! the history and the database (`commit.rs`), the base chain (`anchoring.rs`), for a prover telling the
//! sequencer (`report.rs`), for a validator watching the prover (`checkpoints.rs`). The gRPC service reads what they have
//! stored. What happens on a crash: a batch, its tiles and its signed checkpoint are one synced atomic write; following goes
//! on after the last one.

mod anchoring;
mod bundle;
mod checkpoints;
mod commit;
mod cosign;
mod follow;
mod halt;
mod proofs;
mod report;
mod scope;
mod service;
mod status;
mod take_in;
mod tier;
mod worker;

use std::{
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use assent_anchor::{
    AnchorConfig, AnchorError, AnchorView,
    rpc::{RpcError, RpcTls},
};
use assent_client::{ClientError, Dial};
use assent_core::{
    manifest::GenesisManifest,
    note::{CosignerKey, NoteError},
    ruleset::RulesetError,
    signature::KeyPair,
};
use assent_merkle::tiles::TileError;
use assent_metrics::{Follower as Metrics, Pace};
use assent_store::{LedgerStore, Role, StoreError};
use thiserror::Error;
use tokio::sync::watch;

pub use assent_verify::replay::Divergence;
pub use service::{MAX_RESPONSE_BYTES, ProverApi};

/// How a prover or validator runs.
#[derive(Clone)]
pub struct ProverConfig {
    /// Folder of its database.
    pub path: PathBuf,
    /// The ledger.
    pub manifest: Arc<GenesisManifest>,
    /// What it does beside executing.
    pub duty: Duty,
    /// The sequencer, and as whom it is asked.
    pub sequencer: Dial,
    /// The base chain. A validator may do without; then it sees no anchors.
    pub base: Option<BaseChain>,
    /// Blocks from an anchor's on at which it counts as confirmed.
    pub confirmations: u32,
    /// Memory for pages of the state tree, in MiB.
    pub state_cache_mib: u64,
    /// Memory for decoded state records, in MiB.
    pub execution_cache_mib: u64,
    /// Validators whose cosignatures are taken in.
    pub validators: Vec<CosignerKey>,
    /// What it does is counted here.
    pub metrics: Arc<Metrics>,
}

/// What tells a prover from a validator.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Duty {
    /// Signs and anchors checkpoints.
    Prover {
        /// Its key; must be the manifest's.
        key: KeyPair,
        /// Least time between two new anchors.
        anchor_interval: Duration,
    },
    /// Compares the prover's checkpoints with its own history.
    Validator {
        /// The prover, and as whom it is asked. Without it only the batches and the anchors are checked.
        prover: Option<Dial>,
        /// With which it cosigns checkpoints that it has found right.
        cosigner: Option<Cosigner>,
    },
}

/// A validator's name and key.
#[derive(Clone)]
pub struct Cosigner {
    /// As auditors name it.
    pub name: String,
    /// Its key.
    pub key: KeyPair,
}

/// Where the base chain is, and how the ledger is anchored on it.
#[derive(Clone)]
pub struct BaseChain {
    /// The JSON-RPC URL.
    pub url: String,
    /// Whom to believe and what to show, where the URL begins with `https`.
    pub tls: RpcTls,
    /// The anchors.
    pub anchor: AnchorConfig,
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
    /// State.
    #[error(transparent)]
    State(#[from] assent_core::machine::StateError),
    /// The history tree cannot be read.
    #[error("the history tree cannot be read: {0}")]
    Tiles(#[from] TileError<StoreError>),
    /// The state tree cannot be read.
    #[error("the state tree cannot be read: {0}")]
    StateTree(String),
    /// An impossible name of a validator.
    #[error("the validator's name: {0}")]
    Cosigner(NoteError),
    /// Anchoring.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The base chain's URL.
    #[error(transparent)]
    Base(#[from] RpcError),
    /// An address, or how to connect to it.
    #[error("the address of the sequencer or the prover: {0}")]
    Address(#[from] ClientError),
    /// A batch that was imported does not follow.
    #[error("batch {number} does not follow: {problem}")]
    Batch {
        /// Its number.
        number: u64,
        /// Why.
        problem: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// Committing a batch panicked.
    #[error("committing a batch panicked; the log says where")]
    Panicked,
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
    /// Batches under a checkpoint of the prover, as they grow. For a prover the same.
    pub(crate) checkpointed: watch::Sender<u64>,
    /// The newest version of the state.
    pub(crate) state: take_in::SharedState,
    /// Which checkpoints are cosigned.
    pub(crate) cosigned: cosign::Cosigned,
    /// Nothing is committed, signed or cosigned any more: it has halted, or is writing down why.
    pub(crate) halting: AtomicBool,
    /// Why it halted. Set once.
    pub(crate) halted: RwLock<Option<String>>,
    /// True once it has halted.
    pub(crate) has_halted: watch::Sender<bool>,
    /// Entries, as they are executed again.
    pub(crate) pace: Pace,
    /// Why the base chain cannot be followed or anchored on now; empty where it can.
    pub(crate) base_problem: RwLock<String>,
}

impl Shared {
    pub(crate) fn is_halting(&self) -> bool {
        self.halting.load(Ordering::SeqCst)
    }

    pub(crate) fn halted(&self) -> Option<String> {
        self.halted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An opened prover or validator.
pub struct Prover {
    shared: Arc<Shared>,
    executor: take_in::Executor,
    committer: take_in::Committer,
    anchorer: Option<assent_anchor::Anchorer>,
}

impl Prover {
    /// Opens the database. Talks to nobody yet.
    ///
    /// # Errors
    /// [`ProverError`].
    pub fn open(config: ProverConfig) -> Result<Self, ProverError> {
        let (role, key) = match &config.duty {
            Duty::Prover { key, .. } if key.public() != config.manifest.prover_key => {
                return Err(ProverError::WrongKey);
            }
            Duty::Prover { key, .. } => (Role::Prover, Some(key.clone())),
            Duty::Validator { .. } => (Role::Validator, None),
        };
        let store = Arc::new(LedgerStore::open(&config.path, role, &config.manifest.chain_id())?);
        let (executor, committer) = take_in::open(&config, key, store.clone())?;
        let rows = Arc::new(anchoring::Rows(store.clone()));
        let anchorer = match &config.base {
            Some(base) => {
                let rpc = assent_anchor::rpc::BitcoinRpc::with_tls(&base.url, &base.tls)?;
                Some(assent_anchor::Anchorer::open(base.anchor.clone(), rpc, rows.clone())?)
            }
            None => None,
        };
        let anchors =
            anchorer.as_ref().map_or_else(|| AnchorView::empty(rows), assent_anchor::Anchorer::view);
        let shared = Arc::new(Shared {
            anchors,
            batches: watch::Sender::new(executor.next_batch()),
            pace: Pace::new(executor.next_sequence()),
            base_problem: RwLock::default(),
            state: committer.state(),
            cosigned: cosign::Cosigned::open(&store)?,
            checkpointed: watch::Sender::new(store.newest_checkpoint()?.map_or(0, |(size, _)| size)),
            halting: AtomicBool::new(false),
            halted: RwLock::new(None),
            has_halted: watch::Sender::new(false),
            store,
            config,
        });
        status::tell(&shared)?;
        let report = halt::report_path(&shared.config.path);
        if report.exists() {
            halt::halt(&shared, format!("an earlier run halted, see {}", report.display()));
        }
        Ok(Self { shared, executor, committer, anchorer })
    }

    /// Takes in batches from files instead of from a sequencer, before [`Self::run`]. Gives the number of the next batch.
    ///
    /// # Errors
    /// [`ProverError::Batch`], where it does not follow; everything before it is kept.
    pub fn import(&mut self, batch: &assent_proto::v1::SealedBatch) -> Result<u64, ProverError> {
        let number = self.executor.next_batch();
        if let Some(why) = self.shared.halted() {
            return Err(ProverError::Batch { number, problem: why });
        }
        let replayed = self
            .executor
            .execute(batch)
            .map_err(|error| ProverError::Batch { number, problem: error.to_string() })?;
        let checkpoint = self.committer.commit(&replayed)?;
        commit::tell(&self.shared, &checkpoint);
        Ok(checkpoint.size)
    }

    /// The number of the next batch, and of the next entry.
    #[must_use]
    pub fn next(&self) -> (u64, u64) {
        (self.executor.next_batch(), self.executor.next_sequence())
    }

    /// Its database, for metrics.
    #[must_use]
    pub fn store(&self) -> Arc<LedgerStore> {
        self.shared.store.clone()
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
        let Self { shared, executor, committer, anchorer } = self;
        let (executed, to_commit) = tokio::sync::mpsc::channel(commit::AHEAD);
        let following = follow::run(shared.clone(), executor, executed, shutdown.clone());
        let committing = commit::run(shared.clone(), committer, to_commit);
        let anchoring = async {
            match anchorer {
                Some(anchorer) => anchoring::run(shared.clone(), anchorer, shutdown.clone()).await,
                None => Ok(()),
            }
        };
        let duty = async {
            match shared.config.duty.clone() {
                Duty::Prover { .. } => report::run(shared.clone(), shutdown.clone()).await,
                Duty::Validator { prover: Some(prover), cosigner } => {
                    checkpoints::run(shared.clone(), prover, cosigner, shutdown.clone()).await
                }
                Duty::Validator { prover: None, .. } => Ok(()),
            }
        };
        tokio::try_join!(following, committing, anchoring, duty)?;
        Ok(())
    }
}
