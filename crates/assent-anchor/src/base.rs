//! The newest base blocks, for a sequencer to cite.

use std::sync::{Arc, PoisonError, RwLock};

use assent_core::batch::BaseBlock;
use bitcoin::hashes::Hash as _;

use crate::rpc::{BitcoinRpc, RpcError};

/// The newest base blocks, lowest first.
pub type BaseFeed = Arc<RwLock<Vec<BaseBlock>>>;

/// Brings the feed up to date with the node: at most the `keep` newest blocks of its best branch.
///
/// # Errors
/// [`RpcError`]; the feed is as it was then.
pub async fn update_feed(rpc: &BitcoinRpc, feed: &BaseFeed, keep: usize) -> Result<(), RpcError> {
    let read = || feed.read().unwrap_or_else(PoisonError::into_inner).clone();
    let known = read();
    let mut hash = rpc.best_block_hash().await?;
    let mut newer = Vec::new();
    let mut join = None;
    while newer.len() < keep {
        join = known.iter().position(|block| block.hash == hash.to_byte_array());
        if join.is_some() {
            break;
        }
        let header = rpc.header(&hash).await?;
        newer.push(BaseBlock {
            height: header.height,
            hash: hash.to_byte_array(),
            median_time_s: header.mediantime,
        });
        match header.previousblockhash {
            Some(previous) => hash = previous,
            None => break,
        }
    }
    let mut blocks: Vec<BaseBlock> = join.map_or_else(Vec::new, |index| known[..=index].to_vec());
    blocks.extend(newer.into_iter().rev());
    let surplus = blocks.len().saturating_sub(keep);
    blocks.drain(..surplus);
    *feed.write().unwrap_or_else(PoisonError::into_inner) = blocks;
    Ok(())
}
