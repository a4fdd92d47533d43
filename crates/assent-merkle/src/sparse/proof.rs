//! What a key has, or that it is absent: proofs and their one verifier.

use thiserror::Error;

use super::{EMPTY_STATE_ROOT, KEY_BITS, LEAF_DEPTH, bit, common_prefix, node, sparse_leaf};
use crate::Hash;

/// How the way of a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// With its leaf.
    Present,
    /// With a side that has no key.
    Empty,
    /// With the leaf of another key that shares the first 48 bits. Nobody meets this by accident.
    Other {
        /// The other key.
        key: Hash,
        /// Its value.
        value: Hash,
    },
}

/// The way of one key from the root down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseProof {
    /// The hash of the other side at each depth from 0 on; `None` where it has no key.
    pub siblings: Vec<Option<Hash>>,
    /// What is found there.
    pub terminal: Terminal,
}

/// Why a proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SparseProofError {
    /// A way of impossible length, or one that could have ended earlier.
    #[error("the way of {depth} steps is none that the tree has: {problem}")]
    Shape {
        /// Its length.
        depth: usize,
        /// Why.
        problem: &'static str,
    },
    /// It shows a key's value, or that there is none, where the contrary was to be shown.
    #[error("the proof shows that the key is {found}, expected {expected}")]
    Presence {
        /// What was wanted.
        expected: &'static str,
        /// What the proof says.
        found: &'static str,
    },
    /// It leads to another root.
    #[error("the way leads to another root")]
    RootMismatch,
}

/// Checks that under this root the key has the value, or, with `None`, that it is absent.
///
/// # Errors
/// One [`SparseProofError`] a check.
pub fn verify_sparse(
    root: &Hash,
    key: &Hash,
    value: Option<&Hash>,
    proof: &SparseProof,
) -> Result<(), SparseProofError> {
    let depth = proof.siblings.len();
    let shape = |problem| Err(SparseProofError::Shape { depth, problem });
    if depth > KEY_BITS {
        return shape("a key has 256 bits");
    }
    let last_is_empty = proof.siblings.last().is_some_and(Option::is_none);
    let mut hash = match (proof.terminal, value) {
        (Terminal::Present, Some(value)) => Some(sparse_leaf(key, value)),
        (Terminal::Present, None) => {
            return Err(SparseProofError::Presence { expected: "absent", found: "present" });
        }
        (_, Some(_)) => {
            return Err(SparseProofError::Presence { expected: "present", found: "absent" });
        }
        (Terminal::Empty, None) => None,
        (Terminal::Other { key: other, value }, None) => {
            if other == *key || common_prefix(&other, key) < depth {
                return shape("the other key does not stand there");
            }
            Some(sparse_leaf(&other, &value))
        }
    };
    if hash.is_some() && (depth < LEAF_DEPTH || (depth > LEAF_DEPTH && last_is_empty)) {
        return shape("no leaf stands there");
    }
    if hash.is_none() && last_is_empty {
        return shape("both sides are empty");
    }
    for (level, sibling) in proof.siblings.iter().enumerate().rev() {
        let (own, other) = (hash.as_ref(), sibling.as_ref());
        hash = if bit(key, level) { node(other, own) } else { node(own, other) };
    }
    if hash.unwrap_or(EMPTY_STATE_ROOT) == *root { Ok(()) } else { Err(SparseProofError::RootMismatch) }
}
