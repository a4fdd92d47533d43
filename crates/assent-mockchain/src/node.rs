//! What one lock protects: chain, mempool and faults, and how the mempool follows the chain.

use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::{Block, BlockHash, ScriptBuf, Transaction, Txid};

use crate::admission::{Entrance, admit};
use crate::block::{Template, mine};
use crate::chain::{Chain, Changes, Submitted};
use crate::error::{MockChainError, Reject};
use crate::fault::Faults;
use crate::mempool::Mempool;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) chain: Chain,
    pub(crate) pool: Mempool,
    pub(crate) faults: Faults,
}

impl Node {
    pub(crate) fn new(chain: Chain) -> Self {
        Self { chain, pool: Mempool::default(), faults: Faults::default() }
    }

    pub(crate) fn submit(&mut self, block: Block) -> Result<Submitted, MockChainError> {
        let accepted = self.chain.accept(block, block_clock());
        self.follow();
        accepted
    }

    pub(crate) fn invalidate(&mut self, hash: &BlockHash) -> Result<(), MockChainError> {
        let done = self.chain.invalidate(hash);
        self.follow();
        done
    }

    pub(crate) fn reconsider(&mut self, hash: &BlockHash) -> Result<(), MockChainError> {
        let done = self.chain.reconsider(hash);
        self.follow();
        done
    }

    /// Mines what the mempool offers on the active tip, and pays `script`.
    pub(crate) fn mine(&mut self, script: &ScriptBuf) -> Result<BlockHash, MockChainError> {
        let chosen = self.pool.select();
        let fees = chosen.iter().map(|entry| entry.fee).sum();
        let txs = chosen.iter().map(|entry| Transaction::clone(&entry.tx)).collect();
        self.mine_these(script, txs, fees)
    }

    /// Mines exactly `txs`, whose fees sum up to at least `fees`.
    pub(crate) fn mine_these(
        &mut self,
        script: &ScriptBuf,
        txs: Vec<Transaction>,
        fees: u64,
    ) -> Result<BlockHash, MockChainError> {
        let tip = self.chain.tip();
        let block = mine(Template {
            parent: tip.hash,
            height: tip.height + 1,
            time: block_clock().max(tip.median_time.saturating_add(1)),
            // No block is ever forgotten, so this number is new for every block.
            extra_nonce: u64::try_from(self.chain.known_count()).unwrap_or(u64::MAX),
            script: script.clone(),
            fees,
            txs,
        })?;
        let hash = block.block_hash();
        match self.submit(block)? {
            Submitted::Active => Ok(hash),
            other => {
                Err(Reject::with("inconclusive", format!("a block mined on the tip became {other:?}")).into())
            }
        }
    }

    /// Takes a transaction into the mempool.
    pub(crate) fn send(&mut self, tx: Transaction) -> Result<Txid, Reject> {
        let admission = admit(&self.chain, &self.pool, tx, Entrance::Relay, unix_seconds())?;
        let txid = admission.entry.txid;
        admission.apply(&mut self.pool);
        Ok(txid)
    }

    /// Brings the mempool up to the active chain.
    fn follow(&mut self) {
        let Changes { disconnected, connected } = self.chain.take_changes();
        if disconnected.is_empty() {
            for block in &connected {
                self.pool.follow(block);
            }
            return;
        }
        // After a reorganisation anything may have become invalid: maturity, locks, inputs. So everything is judged
        // again, what was mined before what was waiting, since only the latter can depend on the former.
        let waiting = self.pool.drain();
        let now = unix_seconds();
        let unmined = disconnected
            .iter()
            .rev()
            .flat_map(|block| block.txdata.iter())
            .filter(|tx| !tx.is_coinbase())
            .map(|tx| (tx.clone(), now));
        let waiting = waiting.iter().map(|entry| (Transaction::clone(&entry.tx), entry.time));
        for (tx, time) in unmined.chain(waiting) {
            // Most refusals here are of transactions that the new branch has mined as well.
            match admit(&self.chain, &self.pool, tx, Entrance::Return, time) {
                Ok(admission) => admission.apply(&mut self.pool),
                Err(reject) => tracing::debug!(%reject, "a transaction did not survive the reorganisation"),
            }
        }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The clock as block headers count it, which ends in 2106.
fn block_clock() -> u32 {
    u32::try_from(unix_seconds()).unwrap_or(u32::MAX)
}
