//! Following the base chain's best branch, header by header.

use bitcoin::{
    Block, BlockHash,
    block::Header,
    consensus::encode::{deserialize, serialize},
};

use crate::{
    error::AnchorError,
    rows::{AnchorStore, keys},
    rpc::BitcoinRpc,
};

/// Blocks taken in between two saves, so that a crash during a long catch-up loses little of it.
pub(crate) const BLOCKS_PER_STEP: u32 = 500;

/// The tip of the branch that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) height: u32,
    pub(crate) hash: BlockHash,
}

pub(crate) fn read_header(store: &dyn AnchorStore, height: u32) -> Result<Option<Header>, AnchorError> {
    let Some(bytes) = store.get(&keys::header(height)).map_err(AnchorError::Store)? else { return Ok(None) };
    deserialize(&bytes).map(Some).map_err(|error| AnchorError::Corrupt(format!("header {height}: {error}")))
}

pub(crate) fn read_tip(store: &dyn AnchorStore) -> Result<Option<Tip>, AnchorError> {
    let Some(bytes) = store.get(keys::TIP).map_err(AnchorError::Store)? else { return Ok(None) };
    let height = <[u8; 4]>::try_from(bytes.as_slice())
        .map(u32::from_be_bytes)
        .map_err(|_| AnchorError::Corrupt("tip".into()))?;
    let header = read_header(store, height)?
        .ok_or_else(|| AnchorError::Corrupt(format!("header {height} is missing")))?;
    Ok(Some(Tip { height, hash: header.block_hash() }))
}

pub(crate) fn header_change(height: u32, block: &Block) -> [(Vec<u8>, Option<Vec<u8>>); 2] {
    [
        (keys::header(height), Some(serialize(&block.header))),
        (keys::TIP.to_vec(), Some(height.to_be_bytes().to_vec())),
    ]
}

/// The highest block of ours that the node's best branch has too: where a reorganisation forked off.
pub(crate) async fn fork_point(
    rpc: &BitcoinRpc,
    store: &dyn AnchorStore,
    tip: Tip,
    node_height: u32,
) -> Result<Tip, AnchorError> {
    let mut height = tip.height.min(node_height);
    loop {
        let ours = read_header(store, height)?.ok_or(AnchorError::OtherChain { height })?.block_hash();
        if rpc.block_hash(height).await? == ours {
            return Ok(Tip { height, hash: ours });
        }
        height = height.checked_sub(1).ok_or(AnchorError::OtherChain { height })?;
    }
}
