//! Assent's rules: accounts, transactions, signatures, consent policy, execution, entries, batches, receipts, limits.
//!
//! Pure: no input or output, no async, no clock, and in what it derives no randomness, no hash-map order, no floating point.
//! Entries, headers, receipts and state are functions of the log alone, so the sequencer, the prover, every validator and
//! every restart derive the same bytes.
//!
//! # The way of a transaction
//! 1. [`transaction::Transaction::decode`]: form, canonical encoding, limits. Needs only the chain id.
//! 2. [`signature::verify_all`]: the one signature rule, in batches, in parallel.
//! 3. [`machine::Machine::execute`]: against state, one after the other: an entry or a refusal.
//! 4. [`machine::Machine::end_group`]: the receipts of the group, and where the batch is sealed its header and effects.
//!
//! A re-executing follower calls [`machine::Machine::apply_record`], which is the same with every refusal a fault.
//!
//! The formats are specified in `docs/formats.md`; [`codec::Layout`] lists them. Invariants: a state record is only ever
//! read and written through [`records::StateKey`]; [`machine::Machine`] never changes state for a transaction that it
//! refuses.

mod access_body;
mod ahead;
pub mod anchor;
pub mod batch;
pub mod codec;
mod execute;
mod ids;
mod kept;
pub mod limits;
pub mod log;
pub mod machine;
pub mod manifest;
pub mod note;
pub mod outcome;
pub mod policy;
pub mod query;
pub mod receipt;
pub mod records;
pub mod ruleset;
pub mod seal;
pub mod signature;
pub mod terms;
pub mod transaction;

/// A map whose hash function is quick and seeded anew for each map: keys are ids and hashes, some of which parties choose.
pub type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
/// A set of the same kind.
pub type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

pub use assent_merkle::Hash;
pub use ids::{AccountId, ChainId, IdError, TransactionId};
