//! The gate that every call passes on its way to a service.
//!
//! 1. A connection is taken in if there is room ([`listen`]), and where TLS is on its certificate is looked at ([`tls`]).
//! 2. A call is let through if its client's certificate or token has a role that the method needs ([`role::METHODS`],
//!    [`access`]), or if it carries a query signed with an account's key, for that account's own records
//!    ([`assent_core::query`]). There is no method that answers without one of these.
//! 3. What passes is counted: calls and messages of one client a second ([`rate`]), calls and bytes under way. Once a second the
//!    gate looks at all of them: who does not read, and who may not do any more what it does, is disconnected.
//! 4. The service finds a [`Caller`] beside the request. Whose records it may see is [`Scope`]; the services hold to it.
//!
//! What happens in a flood: connections beyond the limit are closed, calls beyond it are answered `RESOURCE_EXHAUSTED` after
//! a pause, streams are read more slowly, and who does not read is dropped. Memory is bounded by the product of named limits.

pub mod access;
mod body;
mod caller;
mod connection;
mod layer;
pub mod listen;
pub mod rate;
pub mod role;
pub mod tls;

pub use caller::{Caller, Scope};
pub use connection::{Connection, ConnectionInfo};
pub use layer::{Gate, GateLayer, Guarded, Limits, REFUSAL_PAUSE, network_of};

/// Reads of the database at a time, in one process. Each holds a thread; past a few for each core they only wait for each other.
pub const READS: usize = 64;

/// How long something that is sent waits for a reader before its connection is closed, unless the operator says otherwise.
/// Longer than a prover takes for its largest batch.
pub const SLOW_READER: std::time::Duration = std::time::Duration::from_secs(60);
