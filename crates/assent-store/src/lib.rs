//! Assent's databases on RocksDB. The only crate that knows RocksDB.
//!
//! A prover or validator has one database. A sequencer has two: `log` with the families `meta`, `log` and `groups`, and
//! `derived`, which is written without a log of its own.
//!
//! | column family | key | value | written |
//! | --- | --- | --- | --- |
//! | `meta` | name | schema, chain id, role, epoch, cursor | at opening; cursor with each batch |
//! | `log` | position | log record | **synced, before any receipt leaves** |
//! | `groups` | position | the sequencer's signature over the group | with its log record |
//! | `state` | [`StateKey`](assent_core::records::StateKey) | salt, record | with each batch |
//! | `transactions` | transaction id | its sequence | with each batch |
//! | `entries` | sequence of the first | sixteen consecutive ones of a group, or less: [`StoredEntry`] | with each batch; a sequencer's before, with their group |
//! | `batches` | number | [`StoredBatch`] | with each batch |
//! | `tiles`, `checkpoints` | prover only | history tree, signed notes | with each batch |
//! | `state_tree` | prover only: depth, bits | a page of the state tree | with each batch |
//! | `party_logs` | prover only: [`StateKey`](assent_core::records::StateKey), index | a leaf of a subject's or recipient's log, and the subtrees that it completes | with each batch |
//! | `anchoring` | prover only | outbox, seals, headers, wallet | synced, before each broadcast |
//!
//! # What happens on a crash
//! The log is the only truth. A sealed batch is written in one atomic write, after its last log record was synced. A
//! sequencer's reaches the disk some time later, with all families at once: after a crash the derived database is as it was
//! after some earlier batch, with entries of later groups that nothing leads to; its cursor says which, and opening applies the
//! log records after it again, to the same bytes. A log record that was not synced was not acknowledged; it may be there or
//! not.

mod aside;
mod database;
mod ledger;
mod overlay;
mod party_logs;
mod rows;

pub use aside::{Niceness, give_way, spawn_aside};
pub use database::{Database, Role, Row, StoreError};
pub use ledger::{Commit, EntryFinder, LedgerStore, SealedWrite};
pub use overlay::Overlay;
pub use party_logs::PartyLog;
pub use rows::{StoredBatch, StoredEntry};
