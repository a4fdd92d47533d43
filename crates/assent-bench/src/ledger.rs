//! A ledger in memory: the state machine with the population of a workload, for measuring single functions on what they
//! really get.

use std::sync::Arc;

use assent_core::{
    batch::BaseBlock,
    machine::{Cursor, GroupOutput, GroupStart, LOOK_AHEAD, Machine, SealedBatch, StateError},
    manifest::{BaseNetwork, GenesisManifest, LedgerLimits, OutPoint},
    ruleset::{Ruleset, RulesetError},
    signature::KeyPair,
    transaction::Transaction,
};
use assent_proto::v1 as proto;
use assent_verify::replay::MemoryState;
use prost::Message;

use crate::{
    random::Random,
    workload::{Found, Lanes, Mix, PopulationSize, Workload},
};

/// Time of its first group.
pub const START_MS: u64 = 1_700_000_000_000;
/// Transactions of one group.
pub const GROUP: usize = 1_000;

/// The machine, its state, and the workload that feeds it.
pub struct MemoryLedger {
    /// Its manifest.
    pub manifest: Arc<GenesisManifest>,
    /// The sequencer's key.
    pub sequencer: KeyPair,
    /// What executes.
    pub machine: Machine,
    /// What it has executed and sealed.
    pub state: MemoryState,
    /// What there is to execute.
    pub workload: Workload,
    random: Random,
    time_ms: u64,
}

/// Transactions as they arrive.
#[must_use]
pub fn messages(lanes: Lanes) -> Vec<proto::SignedTransaction> {
    let message = |prepared: crate::workload::Prepared| {
        proto::SubmitRequest::decode(prepared.message).ok().and_then(|request| request.transaction)
    };
    lanes.0.into_iter().flatten().filter_map(message).collect()
}

impl MemoryLedger {
    /// An empty ledger.
    ///
    /// # Errors
    /// [`RulesetError`], which the rules of this program's own ledger do not give.
    pub fn new(population: PopulationSize, mix: Mix) -> Result<Self, RulesetError> {
        let (sequencer, prover) = (KeyPair::from_seed([1; 32]), KeyPair::from_seed([2; 32]));
        let limits =
            LedgerLimits { max_batch_entries: 65_536, max_batch_bytes: 32 << 20, ..Default::default() };
        let manifest = Arc::new(GenesisManifest {
            nonce: [1; 32],
            created_ms: START_MS,
            sequencer_key: sequencer.public(),
            prover_key: prover.public(),
            base: BaseNetwork { name: "regtest".into(), genesis_hash: [6; 32] },
            first_anchor: OutPoint { txid: [3; 32], vout: 0 },
            ruleset: 1,
            ruleset_hash: Ruleset::numbered(1)?.hash(),
            limits,
        });
        let expires = START_MS + 24 * 3_600_000;
        Ok(Self {
            machine: Machine::new(manifest.clone(), Cursor::genesis(&manifest))?,
            state: MemoryState::default(),
            workload: Workload::new(manifest.chain_id(), 1, population, mix, 1, expires),
            random: Random::new(1),
            time_ms: START_MS,
            manifest,
            sequencer,
        })
    }

    /// Transactions as admission makes them.
    #[must_use]
    pub fn decode(&self, messages: &[proto::SignedTransaction]) -> Vec<Transaction> {
        let chain = self.manifest.chain_id();
        messages.iter().filter_map(|message| Transaction::decode(&chain, message).ok()).collect()
    }

    /// What the next group begins with.
    pub fn start(&mut self) -> GroupStart {
        self.time_ms += 10;
        GroupStart {
            epoch: 1,
            time_ms: self.time_ms,
            time_confirmed: true,
            seed: self.random.bytes(),
            base: BaseBlock { height: 0, hash: self.manifest.base.genesis_hash, median_time_s: 0 },
        }
    }

    /// Executes transactions as one group, and seals the batch with it where asked to.
    ///
    /// # Errors
    /// [`StateError`], which memory does not give.
    pub fn group(
        &mut self,
        transactions: &[Transaction],
        seal: bool,
    ) -> Result<Option<GroupOutput>, StateError> {
        let start = self.start();
        self.machine.begin_group(start).map_err(|fault| StateError::Storage(Box::new(fault)))?;
        for transactions in transactions.chunks(LOOK_AHEAD) {
            self.machine.look_ahead(transactions.iter());
            for transaction in transactions {
                let _refused = self.machine.execute(&self.state, transaction)?;
            }
        }
        Ok(self.machine.end_group(seal))
    }

    /// Takes a sealed batch into the state.
    pub fn apply(&mut self, sealed: &SealedBatch) {
        self.state.apply(sealed);
    }

    /// Opens the accounts and puts the first consents in force.
    ///
    /// # Errors
    /// [`StateError`], which memory does not give.
    pub fn set_up(&mut self) -> Result<(), StateError> {
        let population = messages(self.workload.population(1, &Found::default(), |_, _| {}));
        for part in population.chunks(GROUP) {
            let transactions = self.decode(part);
            if let Some(sealed) = self.group(&transactions, true)?.and_then(|output| output.sealed) {
                self.apply(&sealed);
            }
        }
        Ok(())
    }
}
