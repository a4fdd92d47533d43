//! Merkle trees: building, proving and verifying. RFC 6962 trees for lists, a sparse tree for state.
//!
//! Three structures over lists share one shape and one hashing ([RFC 6962] §2.1: leaf prefix 0x00, node prefix 0x01, the left
//! subtree the largest power of two smaller than the size), so one pair of verifiers serves them all:
//!
//! | structure | for | kept |
//! | --- | --- | --- |
//! | [`BatchTree`] | the entries of one batch, the receipts of one group | in memory while it is needed |
//! | [`CompactRange`] | the logs of a subject or a recipient, inside a state record | only the peaks |
//! | [`tiles`] | the history of all batches | as C2SP tiles of 256 hashes, behind a storage trait |
//!
//! State, a map of hashed keys to hashed values, is under a [`sparse`] tree with a verifier of its own.
//!
//! Verification of lists is [`verify_inclusion`] and [`verify_consistency`]: strict, without recursion, one error a check. They are
//! the only verifiers in Assent; that of `rs_merkle`, on which [`BatchTree`] is built, accepts an index past the size and
//! surplus hashes.
//!
//! [RFC 6962]: https://www.rfc-editor.org/rfc/rfc6962#section-2.1

mod batch;
mod compact;
mod hash;
mod layers;
mod proof;
mod range;
pub mod sparse;
pub mod tiles;

pub use batch::BatchTree;
pub use compact::{CompactRange, CompactRangeError};
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
pub use layers::{PathTree, root_of_leaf_hashes};
pub use proof::{
    ConsistencyError, InclusionError, root_from_path, roots_from_consistency_path, verify_consistency,
    verify_inclusion,
};
pub use range::{NodeReader, RangeError, range_proof, root_from_range};
