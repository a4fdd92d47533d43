//! The tree of blocks, the active branch of it, and reorganisations.
//!
//! The active tip is a pure function of the known blocks and the invalid marks: most work, and of equals the first seen.
//! So what a restart recomputes is what was active before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::{Block, BlockHash, Transaction, Txid, Witness, Work};

use crate::block::WITNESS_RESERVED;
use crate::check;
use crate::disk::{Opened, Store};
use crate::error::{MockChainError, Reject};
use crate::locks;
use crate::params::{MAX_FUTURE_BLOCK_TIME, MEDIAN_TIME_SPAN, NETWORK};
use crate::script::{Rules, UNSUPPORTED, check_spends};
use crate::utxo::{Coin, Undo, UtxoSet};

/// A known block and its place in the tree.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) hash: BlockHash,
    pub(crate) block: Arc<Block>,
    pub(crate) height: u32,
    /// Work of the branch up to here.
    pub(crate) work: Work,
    /// Median time of this block and the ten before it.
    pub(crate) median_time: u32,
    /// What the block spent; there once it was on the active branch.
    pub(crate) undo: Option<Arc<Undo>>,
    /// Marked by `invalidateblock`, or found to break a rule when it was connected.
    failed: bool,
    /// A block below it is marked.
    failed_ancestor: bool,
}

impl Entry {
    pub(crate) fn is_failed(&self) -> bool {
        self.failed || self.failed_ancestor
    }
}

/// Blocks that left and joined the active branch since the last [`Chain::take_changes`].
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// In the order in which they were taken back: highest first.
    pub(crate) disconnected: Vec<Arc<Block>>,
    /// Lowest first.
    pub(crate) connected: Vec<Arc<Block>>,
}

/// What became of a submitted block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is on the active branch.
    Active,
    /// It is known, but another branch has at least its work.
    SideBranch,
    /// It was known before.
    Duplicate,
}

#[derive(Debug)]
pub(crate) struct Chain {
    entries: HashMap<BlockHash, Entry>,
    /// All blocks as they were first seen, so parents before children.
    order: Vec<BlockHash>,
    active: Vec<BlockHash>,
    utxo: UtxoSet,
    /// Where a transaction was last mined. As in Core's index, a block that leaves the active branch stays here.
    tx_index: HashMap<Txid, BlockHash>,
    store: Store,
    changes: Changes,
    /// While stored blocks are gone through again, the marks on disk are not rewritten.
    is_replaying: bool,
}

impl Chain {
    /// Rebuilds the chain from what the store held, checking every block again.
    pub(crate) fn open(opened: Opened) -> Result<Self, MockChainError> {
        let Opened { store, blocks, invalid } = opened;
        let genesis = genesis_block(NETWORK);
        let genesis_hash = genesis.block_hash();
        let mut chain = Self {
            entries: HashMap::new(),
            order: Vec::new(),
            active: vec![genesis_hash],
            utxo: UtxoSet::default(),
            tx_index: HashMap::new(),
            store,
            changes: Changes::default(),
            is_replaying: true,
        };
        chain.insert(genesis_hash, Arc::new(genesis.clone()));
        // The output of the genesis coinbase was never spendable, so the genesis block is not connected.
        if let Some(entry) = chain.entries.get_mut(&genesis_hash) {
            entry.undo = Some(Arc::new(vec![Vec::new()]));
        }
        let mut blocks = blocks.into_iter();
        match blocks.next() {
            None => chain.store.append(&genesis)?,
            Some(first) if first == genesis => {}
            Some(first) => return Err(stored_reject(&first, &Reject::new("is not the regtest genesis"))),
        }
        for block in blocks {
            let hash = block.block_hash();
            chain.check(&block, None).map_err(|reject| stored_reject(&block, &reject))?;
            if chain.entries.contains_key(&hash) {
                return Err(stored_reject(&block, &Reject::new("duplicate")));
            }
            let block = Arc::new(block);
            chain.insert(hash, block);
            chain.activate(Some(hash))?;
        }
        // The marks come last: a block below others may have been marked long after those were taken in.
        for hash in &invalid {
            let entry = chain.entries.get_mut(hash).ok_or_else(|| {
                Reject::with("unknown-mark", format!("the mark on block {hash} is there, but not the block"))
            })?;
            entry.failed = true;
        }
        chain.activate(None)?;
        chain.is_replaying = false;
        if chain.marked().len() != invalid.len() {
            chain.write_marks()?;
        }
        chain.changes = Changes::default();
        Ok(chain)
    }

    pub(crate) fn tip(&self) -> &Entry {
        // The genesis block is always there.
        &self.entries[&self.active[self.active.len() - 1]]
    }

    pub(crate) fn entry(&self, hash: &BlockHash) -> Option<&Entry> {
        self.entries.get(hash)
    }

    pub(crate) fn at_height(&self, height: u32) -> Option<&Entry> {
        let hash = self.active.get(usize::try_from(height).ok()?)?;
        self.entries.get(hash)
    }

    pub(crate) fn is_active(&self, entry: &Entry) -> bool {
        self.at_height(entry.height).is_some_and(|active| active.hash == entry.hash)
    }

    /// Every known block, as first seen.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Entry> {
        self.order.iter().filter_map(|hash| self.entries.get(hash))
    }

    pub(crate) fn known_count(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.store.len()
    }

    pub(crate) fn coin(&self, outpoint: &bitcoin::OutPoint) -> Option<&Coin> {
        self.utxo.get(outpoint)
    }

    /// The block a transaction was last mined in, and the transaction.
    pub(crate) fn mined(&self, txid: &Txid) -> Option<(&Entry, &Transaction)> {
        let entry = self.entries.get(self.tx_index.get(txid)?)?;
        let tx = entry.block.txdata.iter().find(|tx| tx.compute_txid() == *txid)?;
        Some((entry, tx))
    }

    pub(crate) fn median_time_at(&self, height: u32) -> u32 {
        self.at_height(height).map_or(0, |entry| entry.median_time)
    }

    /// The block where the branch of `entry` left the active one; `entry` itself where it is active.
    pub(crate) fn fork_of<'a>(&'a self, entry: &'a Entry) -> &'a Entry {
        let mut at = entry;
        while !self.is_active(at) {
            match self.entries.get(&at.block.header.prev_blockhash) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at
    }

    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Takes in a block that was mined here or submitted, and follows the branch with the most work.
    ///
    /// It is on disk before it is acted on: a crash in between leaves what a restart connects in the same way.
    pub(crate) fn accept(&mut self, mut block: Block, now: u32) -> Result<Submitted, MockChainError> {
        fill_reserved_value(&mut block);
        let hash = block.block_hash();
        if let Some(known) = self.entries.get(&hash) {
            if known.is_failed() {
                return Err(Reject::new("duplicate-invalid").into());
            }
            return Ok(Submitted::Duplicate);
        }
        self.check(&block, Some(now))?;
        self.store.append(&block)?;
        self.insert(hash, Arc::new(block));
        let failures = self.activate(Some(hash))?;
        if let Some((_, reject)) = failures.into_iter().find(|(failed, _)| *failed == hash) {
            return Err(reject.into());
        }
        let is_active = self.entries.get(&hash).is_some_and(|entry| self.is_active(entry));
        Ok(if is_active { Submitted::Active } else { Submitted::SideBranch })
    }

    /// Marks a block invalid, and leaves its branch where it was active.
    pub(crate) fn invalidate(&mut self, hash: &BlockHash) -> Result<(), MockChainError> {
        let entry = self.entries.get(hash).ok_or(MockChainError::UnknownBlock(*hash))?;
        if entry.height == 0 {
            return Err(Reject::new("the genesis block cannot be invalid").into());
        }
        self.mark(vec![*hash], true)
    }

    /// Takes back the marks of a block, of those below it and of those on top of it, as Core's `reconsiderblock`.
    pub(crate) fn reconsider(&mut self, hash: &BlockHash) -> Result<(), MockChainError> {
        if !self.entries.contains_key(hash) {
            return Err(MockChainError::UnknownBlock(*hash));
        }
        let mut family = HashSet::from([*hash]);
        for hash in &self.order {
            if let Some(entry) = self.entries.get(hash)
                && family.contains(&entry.block.header.prev_blockhash)
            {
                family.insert(*hash);
            }
        }
        let mut below = *hash;
        while let Some(entry) = self.entries.get(&below) {
            family.insert(below);
            below = entry.block.header.prev_blockhash;
        }
        self.mark(family, false)
    }

    /// Sets or takes back marks and follows. Where they cannot be written nothing has changed.
    fn mark(
        &mut self,
        hashes: impl IntoIterator<Item = BlockHash>,
        failed: bool,
    ) -> Result<(), MockChainError> {
        let mut changed = Vec::new();
        for hash in hashes {
            if let Some(entry) = self.entries.get_mut(&hash).filter(|entry| entry.failed != failed) {
                entry.failed = failed;
                changed.push(hash);
            }
        }
        if let Err(error) = self.write_marks() {
            for hash in changed {
                if let Some(entry) = self.entries.get_mut(&hash) {
                    entry.failed = !failed;
                }
            }
            return Err(error);
        }
        self.activate(None).map(drop)
    }

    fn marked(&self) -> Vec<BlockHash> {
        self.known().filter(|entry| entry.failed).map(|entry| entry.hash).collect()
    }

    fn write_marks(&self) -> Result<(), MockChainError> {
        if self.is_replaying { Ok(()) } else { self.store.write_invalid(&self.marked()) }
    }

    /// The rules that a block's place in the tree adds to those it keeps alone.
    ///
    /// Without a clock the block is a stored one: the clock may have been set back since, and a block below may have
    /// been marked since.
    fn check(&self, block: &Block, now: Option<u32>) -> Result<(), Reject> {
        check::check_block(block)?;
        let header = &block.header;
        let parent =
            self.entries.get(&header.prev_blockhash).ok_or_else(|| Reject::new("prev-blk-not-found"))?;
        if now.is_some() && parent.is_failed() {
            return Err(Reject::new("bad-prevblk"));
        }
        if header.time <= parent.median_time {
            return Err(Reject::with("time-too-old", "block's timestamp is too early"));
        }
        if now.is_some_and(|now| header.time > now.saturating_add(MAX_FUTURE_BLOCK_TIME)) {
            return Err(Reject::with("time-too-new", "block timestamp too far in the future"));
        }
        let version = header.version.to_consensus();
        // On regtest BIP34, BIP65 and BIP66 hold from block 1.
        if version < 4 {
            return Err(Reject::new(format!("bad-version(0x{version:08x})")));
        }
        let height = parent.height + 1;
        if !block.txdata.iter().all(|tx| locks::is_final(tx, height, parent.median_time)) {
            return Err(Reject::with("bad-txns-nonfinal", "non-final transaction"));
        }
        check::check_coinbase_height(block, height)?;
        check::check_witness(block)
    }

    fn insert(&mut self, hash: BlockHash, block: Arc<Block>) {
        let own = block.header.work();
        let parent = self.entries.get(&block.header.prev_blockhash);
        let entry = Entry {
            hash,
            height: parent.map_or(0, |parent| parent.height + 1),
            work: parent.map_or(own, |parent| parent.work + own),
            median_time: self.median_time_of(&block),
            undo: None,
            failed: false,
            failed_ancestor: parent.is_some_and(Entry::is_failed),
            block,
        };
        self.entries.insert(hash, entry);
        self.order.push(hash);
    }

    fn median_time_of(&self, block: &Block) -> u32 {
        let mut times = vec![block.header.time];
        let mut below = block.header.prev_blockhash;
        while times.len() < MEDIAN_TIME_SPAN {
            let Some(entry) = self.entries.get(&below) else { break };
            times.push(entry.block.header.time);
            below = entry.block.header.prev_blockhash;
        }
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// Makes the best branch active, and returns the blocks that turned out to break a rule on the way.
    ///
    /// `added` is the only change since the last call, so only it can be better; `None` looks at every block.
    fn activate(&mut self, added: Option<BlockHash>) -> Result<Vec<(BlockHash, Reject)>, MockChainError> {
        let mut failures = Vec::new();
        let mut added = added;
        loop {
            let target = match added.take() {
                Some(hash) => self
                    .entries
                    .get(&hash)
                    .filter(|entry| !entry.is_failed() && entry.work > self.tip().work)
                    .map(|entry| entry.hash),
                None => {
                    self.spread_marks();
                    self.best()
                }
            };
            let Some(target) = target.filter(|target| *target != self.tip().hash) else {
                return Ok(failures);
            };
            let Err((hash, reject)) = self.switch_to(target) else { return Ok(failures) };
            if reject.detail.contains(UNSUPPORTED) {
                tracing::warn!(block = %hash, %reject, "refused a block that a real node may accept");
            }
            if let Some(entry) = self.entries.get_mut(&hash) {
                entry.failed = true;
            }
            failures.push((hash, reject));
            self.write_marks()?;
        }
    }

    /// Tells every block whether one below it is marked.
    fn spread_marks(&mut self) {
        for place in 0..self.order.len() {
            let hash = self.order[place];
            let Some(parent) = self.entries.get(&hash).map(|entry| entry.block.header.prev_blockhash) else {
                continue;
            };
            let below = self.entries.get(&parent).is_some_and(Entry::is_failed);
            if let Some(entry) = self.entries.get_mut(&hash) {
                entry.failed_ancestor = below;
            }
        }
    }

    fn best(&self) -> Option<BlockHash> {
        let mut best: Option<&Entry> = None;
        for entry in self.known().filter(|entry| !entry.is_failed()) {
            if best.is_none_or(|best| entry.work > best.work) {
                best = Some(entry);
            }
        }
        best.map(|entry| entry.hash)
    }

    /// Disconnects down to the fork and connects up to `target`, or as far as a block that breaks a rule.
    fn switch_to(&mut self, target: BlockHash) -> Result<(), (BlockHash, Reject)> {
        let mut path = Vec::new();
        let mut at = target;
        while let Some(entry) = self.entries.get(&at) {
            if self.is_active(entry) {
                break;
            }
            path.push(at);
            at = entry.block.header.prev_blockhash;
        }
        while self.tip().hash != at && self.active.len() > 1 {
            self.disconnect_tip();
        }
        for hash in path.into_iter().rev() {
            self.connect(hash).map_err(|reject| (hash, reject))?;
        }
        Ok(())
    }

    fn disconnect_tip(&mut self) {
        let tip = self.tip();
        let block = Arc::clone(&tip.block);
        let undo = tip.undo.clone().unwrap_or_default();
        self.utxo.revert(&block.txdata, &undo);
        self.active.pop();
        self.changes.disconnected.push(block);
    }

    /// Connects a child of the tip.
    fn connect(&mut self, hash: BlockHash) -> Result<(), Reject> {
        let Some(block) = self.entries.get(&hash).map(|entry| Arc::clone(&entry.block)) else {
            return Err(Reject::new("prev-blk-not-found"));
        };
        let (height, median_time) = (self.tip().height + 1, self.tip().median_time);
        let mut utxo = std::mem::take(&mut self.utxo);
        let connected = utxo.connect(&block, height, &|tx, spent| {
            if !locks::are_sequence_locks_over(tx, spent, height, median_time, &|at| self.median_time_at(at))
            {
                return Err(Reject::with("bad-txns-nonfinal", "contains a non-BIP68-final transaction"));
            }
            check_spends(tx, spent, Rules::Consensus).map_err(|error| {
                Reject::with(
                    format!("block-script-verify-flag-failed ({})", error.reason),
                    format!("input {} of {}, {}", error.input, tx.compute_txid(), error.reason),
                )
            })
        });
        self.utxo = utxo;
        let undo = Arc::new(connected?);
        if let Some(entry) = self.entries.get_mut(&hash) {
            entry.undo = Some(undo);
        }
        for tx in &block.txdata {
            self.tx_index.insert(tx.compute_txid(), hash);
        }
        self.active.push(hash);
        self.changes.connected.push(block);
        Ok(())
    }
}

/// As Core's `submitblock`, adds the witness reserved value to a coinbase that commits to a witness but lacks it.
fn fill_reserved_value(block: &mut Block) {
    if check::commitment_output(block).is_none() {
        return;
    }
    if let Some(input) = block.txdata.first_mut().and_then(|coinbase| coinbase.input.first_mut())
        && input.witness.is_empty()
    {
        input.witness = Witness::from_slice(&[WITNESS_RESERVED]);
    }
}

fn stored_reject(block: &Block, reject: &Reject) -> MockChainError {
    Reject::with("stored-block-refused", format!("block {} in the store: {reject}", block.block_hash()))
        .into()
}

/// The parent of the genesis block, which is not a block.
pub(crate) fn no_block() -> BlockHash {
    BlockHash::all_zeros()
}
