//! What the followed branch contains, for readers on any thread.

use std::sync::{Arc, PoisonError, RwLock};

use assent_core::Hash;
use assent_verify::{AnchorChain, MAX_HEADERS};
use bitcoin::consensus::encode::serialize;
use tokio::sync::watch;

use crate::{
    error::AnchorError,
    follow,
    rows::{AnchorStore, SealRow},
};

/// A confirmed seal, as tiers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealStatus {
    /// Size of the checkpoint that it carries.
    pub size: u64,
    /// Anchor transaction, in the order in which it is hashed.
    pub txid: Hash,
    /// Height of its block.
    pub height: u32,
    /// Blocks from its own to the tip.
    pub depth: u32,
}

/// The base-chain part of a proof.
#[derive(Clone, Debug)]
pub struct AnchorProof {
    /// Size of the checkpoint that the last anchor carries.
    pub size: u64,
    /// The anchors from the manifest's outpoint to that one, and its block.
    pub chain: AnchorChain,
}

/// What the followed branch contains, for readers on any thread.
pub struct AnchorView {
    seen: RwLock<Seen>,
    changes: watch::Sender<u64>,
    store: Arc<dyn AnchorStore>,
}

/// The anchor that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Versions of it that were broadcast; 0 where there is none under way.
    pub versions: u64,
    /// Fee rate of the newest version made, in satoshi for 1,000 virtual bytes.
    pub fee_rate: u64,
    /// Fees of all versions made since the start, in satoshi. At most one version of each anchor is ever paid.
    pub fees_sat: u64,
    /// It waits, because another version would cost more than is ever paid.
    pub capped: bool,
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) seals: Vec<SealRow>,
    pub(crate) tip_height: u32,
    pub(crate) balance_sat: u64,
    pub(crate) outbox: Outbox,
    pub(crate) reorganisations: u64,
}

impl Seen {
    fn status(&self, seal: &SealRow) -> SealStatus {
        SealStatus {
            size: seal.size,
            txid: seal.txid,
            height: seal.height,
            depth: self.tip_height.saturating_sub(seal.height) + 1,
        }
    }
}

impl AnchorView {
    pub(crate) fn new(seen: Seen, store: Arc<dyn AnchorStore>) -> Self {
        Self { seen: RwLock::new(seen), changes: watch::Sender::new(0), store }
    }

    /// Of a validator that follows no base chain.
    #[must_use]
    pub fn empty(store: Arc<dyn AnchorStore>) -> Arc<Self> {
        Arc::new(Self::new(Seen::default(), store))
    }

    /// Changes what is seen, and tells the readers.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes what is known of the anchor under way, which no tier depends on.
    pub(crate) fn publish_outbox(&self, change: impl FnOnce(&mut Outbox)) {
        change(&mut self.seen.write().unwrap_or_else(PoisonError::into_inner).outbox);
    }

    pub(crate) fn seen(&self) -> std::sync::RwLockReadGuard<'_, Seen> {
        // Writers replace whole values; none can be left half done.
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first seal over a batch.
    #[must_use]
    pub fn first_over(&self, batch_number: u64) -> Option<SealStatus> {
        let seen = self.seen();
        let seal = seen.seals.get(seen.seals.partition_point(|seal| seal.size <= batch_number))?;
        Some(seen.status(seal))
    }

    /// The newest seals, newest first, at most so many.
    #[must_use]
    pub fn newest(&self, count: usize) -> Vec<SealStatus> {
        let seen = self.seen();
        seen.seals.iter().rev().take(count).map(|seal| seen.status(seal)).collect()
    }

    /// Size of the newest checkpoint that a seal of at least this depth carries; 0 where there is none.
    #[must_use]
    pub fn size_at_depth(&self, depth: u32) -> u64 {
        let seen = self.seen();
        let deep = seen.seals.partition_point(|seal| seen.status(seal).depth >= depth);
        deep.checked_sub(1).and_then(|index| seen.seals.get(index)).map_or(0, |seal| seal.size)
    }

    /// The anchor that is under way.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        self.seen().outbox
    }

    /// Reorganisations of the base chain that were seen since the start.
    #[must_use]
    pub fn reorganisations(&self) -> u64 {
        self.seen().reorganisations
    }

    /// Sizes and roots that the seals carry, from an index on.
    #[must_use]
    pub fn anchored_from(&self, index: usize) -> Vec<(u64, Hash)> {
        self.seen().seals.iter().skip(index).map(|seal| (seal.size, seal.root)).collect()
    }

    /// The same, of seals at least so many blocks deep.
    #[must_use]
    pub fn confirmed_from(&self, index: usize, depth: u32) -> Vec<(u64, Hash)> {
        let seen = self.seen();
        let deep = |seal: &&SealRow| seen.tip_height.saturating_sub(seal.height) + 1 >= depth;
        seen.seals.iter().skip(index).take_while(deep).map(|seal| (seal.size, seal.root)).collect()
    }

    /// The number of seals on the branch, its height, and what the wallet can spend in satoshi.
    #[must_use]
    pub fn summary(&self) -> (u64, u32, u64) {
        let seen = self.seen();
        (seen.seals.len() as u64, seen.tip_height, seen.balance_sat)
    }

    /// Counts up with every change of seals or height.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The base-chain part of the proof of a batch, or `None` where it is not anchored.
    ///
    /// # Errors
    /// [`AnchorError::Store`], [`AnchorError::Corrupt`].
    pub fn proof(&self, batch_number: u64) -> Result<Option<AnchorProof>, AnchorError> {
        loop {
            let before = *self.changes.borrow();
            let proof = self.read_proof(batch_number)?;
            // Seals and headers must be of one branch: again, where the base chain moved on meanwhile.
            if *self.changes.borrow() == before {
                return Ok(proof);
            }
        }
    }

    fn read_proof(&self, batch_number: u64) -> Result<Option<AnchorProof>, AnchorError> {
        let (seal, anchors, tip) = {
            let seen = self.seen();
            let index = seen.seals.partition_point(|seal| seal.size <= batch_number);
            let Some(seal) = seen.seals.get(index) else { return Ok(None) };
            let anchors = seen.seals[..=index].iter().map(|seal| seal.transaction.clone()).collect();
            (seal.clone(), anchors, seen.tip_height)
        };
        let last = tip.min(seal.height + u32::try_from(MAX_HEADERS).unwrap_or(u32::MAX) - 1);
        let mut headers = Vec::new();
        for height in seal.height..=last {
            let Some(header) = follow::read_header(self.store.as_ref(), height)? else { break };
            let bytes = serialize(&header);
            headers.push(bytes.try_into().map_err(|_| AnchorError::Corrupt(format!("header {height}")))?);
        }
        let (block_index, block_path) = (seal.block_index, seal.block_path);
        let chain = AnchorChain { transactions: anchors, block_index, block_path, headers };
        Ok(Some(AnchorProof { size: seal.size, chain }))
    }
}
