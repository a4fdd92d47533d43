//! The chain as Rust code uses it: open, serve, and the direct methods.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitcoin::hashes::{Hash, hash160};
use bitcoin::{Block, BlockHash, OutPoint, ScriptBuf, Transaction, TxOut, Txid, WPubkeyHash};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;

use crate::chain::{Chain, Submitted};
use crate::disk::{Opened, Store};
use crate::error::MockChainError;
use crate::fault::FaultKind;
use crate::node::Node;
use crate::server;

/// How a mock chain is set up. The default keeps everything in memory, mines on request only and asks for no password.
#[derive(Debug, Clone, Default)]
pub struct MockChainConfig {
    /// Where the blocks are kept; `None` keeps them in memory.
    pub dir: Option<PathBuf>,
    /// How often a block is mined without being asked; `None` mines on request only.
    pub block_interval: Option<Duration>,
    /// What blocks pay that are mined on the timer or by [`MockChain::mine`]; `None` pays a key hash nobody has the key of.
    pub miner_script: Option<ScriptBuf>,
    /// User and password of HTTP basic authentication; `None` lets everyone in, whatever they send.
    pub rpc_auth: Option<(String, String)>,
}

/// A mock base chain. Clones are handles to the same chain.
///
/// Every direct method takes a lock and may write and sync a block, so it can take milliseconds; none of them waits for
/// anything else.
#[derive(Debug, Clone)]
pub struct MockChain {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Everything that changes. No method holds it across another's call.
    node: Mutex<Node>,
    block_interval: Option<Duration>,
    miner_script: ScriptBuf,
    rpc_auth: Option<(String, String)>,
    started: Instant,
    stop: Notify,
}

impl MockChain {
    /// Opens the chain of `config.dir`, or begins a new one there.
    ///
    /// # Errors
    ///
    /// Where the folder is in use by another process, holds something else, is damaged, or cannot be written.
    pub fn open(config: MockChainConfig) -> Result<Self, MockChainError> {
        let opened = match &config.dir {
            Some(dir) => Store::open(dir)?,
            None => Opened { store: Store::in_memory(), blocks: Vec::new(), invalid: Default::default() },
        };
        let shared = Shared {
            node: Mutex::new(Node::new(Chain::open(opened)?)),
            block_interval: config.block_interval,
            miner_script: config.miner_script.unwrap_or_else(nobodys_script),
            rpc_auth: config.rpc_auth,
            started: Instant::now(),
            stop: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Answers JSON-RPC on `listener` and mines on the timer, until `shutdown` completes or `stop` is called.
    ///
    /// # Errors
    ///
    /// Where the listener fails for good.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), MockChainError> {
        // Fails at once where the socket is unusable, instead of logging for ever.
        listener.local_addr().map_err(MockChainError::Serve)?;
        self.serve_incoming(TcpListenerStream::new(listener), shutdown).await
    }

    /// The same on connections that somebody else accepts, as TLS needs it.
    ///
    /// # Errors
    ///
    /// None at present.
    pub async fn serve_incoming<C: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        self,
        incoming: impl Stream<Item = std::io::Result<C>> + Send,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), MockChainError> {
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                () = self.shared.stop.notified() => {}
            }
        };
        tokio::select! {
            served = server::serve(self.clone(), incoming, stop) => served,
            () = self.mine_on_timer() => Ok(()),
        }
    }

    /// Mines every `block_interval`, for ever; without an interval it only waits. [`serve`](Self::serve) does this.
    ///
    /// A block that cannot be mined is logged and tried again at the next tick.
    pub async fn mine_on_timer(&self) {
        let Some(interval) = self.shared.block_interval else { return std::future::pending().await };
        let start = tokio::time::Instant::now() + interval;
        // An interval of zero would be refused by the timer.
        let mut ticks = tokio::time::interval_at(start, interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let chain = self.clone();
            match tokio::task::spawn_blocking(move || chain.mine(1)).await {
                Ok(Ok(hashes)) => tracing::debug!(block = ?hashes.first(), "mined"),
                Ok(Err(error)) => tracing::error!(%error, "could not mine"),
                Err(error) => tracing::error!(%error, "mining panicked"),
            }
        }
    }

    /// Makes [`serve`](Self::serve) return.
    pub fn stop(&self) {
        self.shared.stop.notify_one();
    }

    /// Mines `count` blocks on the active tip, each with what the mempool offers.
    ///
    /// # Errors
    ///
    /// Where a block cannot be written; the blocks before it stay.
    pub fn mine(&self, count: u32) -> Result<Vec<BlockHash>, MockChainError> {
        self.mine_to(count, &self.shared.miner_script)
    }

    /// Mines `count` blocks that pay `script`.
    ///
    /// # Errors
    ///
    /// As [`mine`](Self::mine).
    pub fn mine_to(&self, count: u32, script: &ScriptBuf) -> Result<Vec<BlockHash>, MockChainError> {
        (0..count).map(|_| self.node().mine(script)).collect()
    }

    /// Takes in a block mined elsewhere.
    ///
    /// # Errors
    ///
    /// Where it breaks a rule, or cannot be written.
    pub fn submit(&self, block: Block) -> Result<Submitted, MockChainError> {
        self.node().submit(block)
    }

    /// Takes a transaction into the mempool, without the fee ceiling of the RPC.
    ///
    /// # Errors
    ///
    /// Where a rule refuses it.
    pub fn send(&self, tx: Transaction) -> Result<Txid, MockChainError> {
        Ok(self.node().send(tx)?)
    }

    /// Leaves the branch of a block, as `invalidateblock`.
    ///
    /// # Errors
    ///
    /// Where the block is not known, is the genesis block, or the mark cannot be written.
    pub fn invalidate(&self, hash: &BlockHash) -> Result<(), MockChainError> {
        self.node().invalidate(hash)
    }

    /// Takes the marks of a block's branch back, as `reconsiderblock`.
    ///
    /// # Errors
    ///
    /// Where the block is not known, or the mark cannot be written.
    pub fn reconsider(&self, hash: &BlockHash) -> Result<(), MockChainError> {
        self.node().reconsider(hash)
    }

    /// The last block of the active branch.
    pub fn tip(&self) -> BlockHash {
        self.node().chain.tip().hash
    }

    /// The height of the active branch; the genesis block has 0.
    pub fn height(&self) -> u32 {
        self.node().chain.tip().height
    }

    /// A known block, active or not.
    pub fn block(&self, hash: &BlockHash) -> Option<Arc<Block>> {
        self.node().chain.entry(hash).map(|entry| Arc::clone(&entry.block))
    }

    /// The active block at a height.
    pub fn block_hash(&self, height: u32) -> Option<BlockHash> {
        self.node().chain.at_height(height).map(|entry| entry.hash)
    }

    /// Every known block, those of side branches included, in the order in which they were first seen.
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        self.node().chain.known().map(|entry| Arc::clone(&entry.block)).collect()
    }

    /// An unspent output of the active branch, whatever the mempool does with it.
    pub fn unspent(&self, outpoint: &OutPoint) -> Option<TxOut> {
        self.node().chain.coin(outpoint).map(|coin| coin.output.clone())
    }

    /// The ids of the transactions that wait, by admission.
    pub fn mempool(&self) -> Vec<Txid> {
        self.node().pool.iter().map(|entry| entry.txid).collect()
    }

    /// Lets the next `count` RPC calls of `method` go wrong, as the RPC `mockfault`.
    pub fn inject_fault(&self, method: &str, kind: FaultKind, count: u64) {
        self.node().faults.set(method, kind, count);
    }

    pub(crate) fn node(&self) -> MutexGuard<'_, Node> {
        // Nothing panics while it holds the lock; if something did, a wrong mock is still better than a dead one.
        self.shared.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rpc_auth(&self) -> Option<&(String, String)> {
        self.shared.rpc_auth.as_ref()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.shared.started.elapsed()
    }
}

/// A P2WPKH script whose key nobody has: the program is the hash of a text, not of a key.
fn nobodys_script() -> ScriptBuf {
    let program = hash160::Hash::hash(b"assent-mockchain: mined for nobody").to_byte_array();
    ScriptBuf::new_p2wpkh(&WPubkeyHash::from_byte_array(program))
}
