//! The state tree: a sparse binary Merkle tree over 256-bit keys.
//!
//! # Shape and hashing
//! A key's bits, the highest of its first byte first, say the way from the root. A subtree is
//!
//! | subtree | hash |
//! | --- | --- |
//! | without keys | none: it is left out |
//! | with one key, at depth 48 or deeper | `SHA-256(0x02 \|\| key \|\| value)` |
//! | with keys on both sides | `SHA-256(0x03 \|\| left \|\| right)` |
//! | with keys on one side only | `SHA-256(0x04 \|\| side \|\| child)`, side 0 or 1 |
//!
//! and the root of the tree without keys is 32 zero bytes. A leaf stands no higher than [`LEAF_DEPTH`], so where a key is
//! absent its way ends, but for one time in 2^48 for each key, beside other keys' *subtrees*: a proof of absence shows
//! sibling hashes and no neighbour's key. A step past an empty sibling is one block of SHA-256 and not two.
//!
//! # Storage
//! The lower part of the tree is cut into *pages* of up to [`PAGE_KEYS`] neighbouring keys with their values and the hash of
//! each one's subtree; a page is one row of the database. The nodes above the pages are in memory (about 40 bytes a key) and
//! are made again from the pages at opening. [`SparseTree::apply`] takes a sorted batch, walks it down once, hashes each
//! changed node once, and gives the changed rows, which the caller writes together with what they belong to.

mod page;
mod proof;
mod tree;

pub use page::PAGE_KEYS;
pub use proof::{SparseProof, SparseProofError, Terminal, verify_sparse};
pub use tree::{NoPages, PageReader, PageWrites, SparseError, SparseTree};

use crate::{
    Hash,
    hash::{hash_pair, hash_single},
};

/// The least depth of a leaf.
pub const LEAF_DEPTH: usize = 48;
/// The root of the tree without keys.
pub const EMPTY_STATE_ROOT: Hash = [0; 32];
/// Bits of a key.
const KEY_BITS: usize = 256;

/// Bit `index` of a key.
pub(crate) fn bit(key: &Hash, index: usize) -> bool {
    key[index / 8] >> (7 - index % 8) & 1 == 1
}

/// How many leading bits two keys share.
pub(crate) fn common_prefix(a: &Hash, b: &Hash) -> usize {
    for (index, (x, y)) in a.iter().zip(b).enumerate() {
        if x != y {
            return index * 8 + (x ^ y).leading_zeros() as usize;
        }
    }
    KEY_BITS
}

/// The hash of a leaf.
#[must_use]
pub fn sparse_leaf(key: &Hash, value: &Hash) -> Hash {
    hash_pair(0x02, key, value)
}

/// The hash of a node with one child.
fn single(side: bool, child: &Hash) -> Hash {
    hash_single(0x04, u8::from(side), child)
}

/// The hash of a node of two children, or `None` where neither has a key.
fn node(left: Option<&Hash>, right: Option<&Hash>) -> Option<Hash> {
    match (left, right) {
        (Some(left), Some(right)) => Some(hash_pair(0x03, left, right)),
        (Some(child), None) => Some(single(false, child)),
        (None, Some(child)) => Some(single(true, child)),
        (None, None) => None,
    }
}

/// The hash of the subtree at `depth` that holds one key only.
fn only(key: &Hash, value: &Hash, depth: usize) -> Hash {
    let mut hash = sparse_leaf(key, value);
    for level in (depth..LEAF_DEPTH).rev() {
        hash = single(bit(key, level), &hash);
    }
    hash
}
