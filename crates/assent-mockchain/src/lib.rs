//! A mock base chain: Bitcoin Core's JSON-RPC over consensus-valid regtest blocks.
//!
//! Its blocks are real: a `bitcoind -regtest` takes every one of them through `submitblock`, reorganisations included
//! (`tests/bitcoin_core.rs` does just that). Its answers have Core's names, types, error codes and HTTP status codes, so
//! that a real node is a change of URL.
//!
//! ```
//! use assent_mockchain::{MockChain, MockChainConfig};
//!
//! # fn main() -> Result<(), assent_mockchain::MockChainError> {
//! let chain = MockChain::open(MockChainConfig::default())?;
//! let mined = chain.mine(3)?;
//! assert_eq!(chain.height(), 3);
//! assert_eq!(chain.tip(), mined[2]);
//! # Ok(())
//! # }
//! ```
//!
//! # Assumptions
//!
//! - One process owns the folder; the operating system's file lock keeps a second one out.
//! - `fsync` means what it says. A block is synced before it is answered for.
//! - The whole chain fits in memory: blocks, what they spent, and the unspent set. A block with little in it takes a few
//!   kilobytes, so a day of one block every ten seconds takes tens of megabytes.
//!
//! # Invariants
//!
//! - The active tip is the block with most work among those not marked invalid, the first seen of equals. It depends on
//!   nothing else, so a restart finds the same one.
//! - Blocks are never forgotten: side branches stay, and can become active again.
//! - Every mempool entry can be mined in the next block.
//!
//! # What differs from Bitcoin Core
//!
//! - **Spends.** P2WPKH and P2TR key-path spends are verified. Any other spend is refused, in the mempool with -26 and
//!   `bad-txns-nonstandard-inputs`, in a block with `block-script-verify-flag-failed`, each saying so.
//! - **Policy** is that of Core 29: at least 1 sat/vB, and one OP_RETURN of at most 80 bytes. Later versions let more
//!   through, so what passes here passes there. No packages: no ephemeral dust, no package replacement, and version 3
//!   transactions get no special rules.
//! - **Fields** are those of the newest Core (31), which has those of 29 and more, save that mempool entries have the
//!   fields of 29.
//! - **The mempool is not persisted**: after a restart it is empty, as with Core's `-persistmempool=0`.
//! - **Fee estimates** are the median feerate of recent blocks, once they hold enough transactions.
//! - A block that fails before it is stored is not remembered as invalid, so submitting it again gives its reason again
//!   rather than `duplicate-invalid`.
//! - The descriptor (`desc`) of a bare multisig script is written `raw(…)`.
//! - There is no wallet, and no peer.
//!
//! # Misbehaving on request
//!
//! The RPC `mockfault` (parameters `method`, `kind`, `count`, by default 1) or [`MockChain::inject_fault`] lets the next
//! `count` calls of `method` go wrong; a count of 0 takes it back. The kinds:
//!
//! | kind | is the call done? | what the caller sees |
//! | --- | --- | --- |
//! | `error` | no | RPC error -1, "mock fault" |
//! | `drop` | no | the connection closes without an answer |
//! | `busy` | no | HTTP 503, as from a full work queue |
//! | `done_but_error` | yes | RPC error -1, "mock fault" |
//! | `done_but_drop` | yes | the connection closes without an answer |
//!
//! In a batch, a dropped or busy call drops or refuses the whole answer; calls before it are done.

mod admission;
mod block;
mod chain;
mod check;
mod disk;
mod error;
mod fault;
mod handle;
mod locks;
mod mempool;
mod node;
mod params;
mod policy;
mod rpc;
mod script;
mod server;
mod utxo;

pub use chain::Submitted;
pub use error::{MockChainError, Reject};
pub use fault::FaultKind;
pub use handle::{MockChain, MockChainConfig};
