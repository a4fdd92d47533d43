//! Why anchoring does not go on.

use std::error::Error;

use thiserror::Error;

use crate::{rpc::RpcError, wallet::WalletError};

/// Why anchoring does not go on. Most are tried again at the next step.
#[derive(Debug, Error)]
pub enum AnchorError {
    /// The node.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The wallet.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// Storage.
    #[error("the anchoring storage failed: {0}")]
    Store(#[source] Box<dyn Error + Send + Sync>),
    /// A row that cannot be read.
    #[error("the anchoring storage is corrupt: {0}")]
    Corrupt(String),
    /// The node is on another chain.
    #[error(
        "the base chain's node follows another chain: it has none of our headers down to height {height}"
    )]
    OtherChain {
        /// Where our headers begin.
        height: u32,
    },
    /// The node is on another network.
    #[error("the base chain's node is on network {found}, the ledger on {expected}")]
    OtherNetwork {
        /// Of the manifest.
        expected: String,
        /// Of the node.
        found: String,
    },
    /// The seal was spent by something that is no anchor. The chain of anchors ends there for ever.
    #[error("the seal was spent by transaction {txid}, which is no anchor; nothing can be anchored any more")]
    SealBroken {
        /// Which.
        txid: String,
    },
}

impl AnchorError {
    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Rpc(_) | Self::Wallet(WalletError::Funds { .. }))
    }
}
