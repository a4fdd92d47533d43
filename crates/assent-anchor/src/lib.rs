//! The base chain as Assent sees it.
//!
//! Speaks Bitcoin Core's JSON-RPC and nothing else ([`rpc`]); whether a real node or a mock answers is a matter of the URL.
//! Keys and coins are ours ([`wallet`]), not the node's.
//!
//! # Anchors
//! Each anchor spends output 0 of the one before it, beginning at the manifest's outpoint: a single-use seal. [`Anchorer`]
//! keeps, durably:
//! - the **headers** of the branch that it follows;
//! - the **seals** that this branch contains, with their Merkle paths;
//! - the **outbox**: every version of the anchor that is to spend the open seal. At most one of them can confirm.
//!
//! What happens on a crash: a version is written down before it is broadcast. If we crash between, it is broadcast again at
//! the next step; if we crash after, the node knows it already, which is no error. Which version confirmed is read from
//! the chain, never remembered. A reorganisation takes seals back; their versions are still in the outbox and are
//! broadcast again.

mod anchorer;
mod base;
mod error;
mod follow;
mod rows;
pub mod rpc;
mod stored;
mod view;
pub mod wallet;

pub use anchorer::{AnchorConfig, Anchorer};
pub use base::{BaseFeed, update_feed};
pub use error::AnchorError;
pub use rows::AnchorStore;
pub use view::{AnchorProof, AnchorView, Outbox, SealStatus};
pub use wallet::{Funding, fund_on_regtest};
