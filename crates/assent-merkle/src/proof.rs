use thiserror::Error;

use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// Why an inclusion proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InclusionError {
    /// The index is not below the size.
    #[error("leaf index {index} is not below the tree size {size}")]
    IndexPastSize {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
    },
    /// The path is too short or too long for the index and size.
    #[error(
        "the inclusion path of leaf {index} in a tree of size {size} has {expected} hashes, found {found}"
    )]
    PathLength {
        /// Index of the leaf.
        index: u64,
        /// Size of the tree.
        size: u64,
        /// The only right length.
        expected: usize,
        /// The length that was found.
        found: usize,
    },
    /// The path leads to another root.
    #[error("the inclusion path leads to another root")]
    RootMismatch,
}

/// Why a consistency proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConsistencyError {
    /// The old size is larger than the new one.
    #[error("the old size {old} is larger than the new size {new}")]
    Shrunk {
        /// Old size.
        old: u64,
        /// New size.
        new: u64,
    },
    /// The path is too short or too long for the two sizes.
    #[error("the consistency path has a wrong number of hashes: {found}")]
    PathLength {
        /// The length that was found.
        found: usize,
    },
    /// The path does not lead to the old root.
    #[error("the consistency path does not lead to the old root")]
    OldRootMismatch,
    /// The path does not lead to the new root.
    #[error("the consistency path does not lead to the new root")]
    NewRootMismatch,
}

/// The root that an inclusion path leads to (RFC 9162 §2.1.3.2, arranged as in its proof: `inner` levels on which the
/// sibling's side follows the index's bits, then a `border` of left siblings only).
///
/// # Errors
/// [`InclusionError::IndexPastSize`] and [`InclusionError::PathLength`].
pub fn root_from_path(index: u64, size: u64, leaf: Hash, path: &[Hash]) -> Result<Hash, InclusionError> {
    if index >= size {
        return Err(InclusionError::IndexPastSize { index, size });
    }
    // Above the level where the paths of `index` and of the last leaf meet, only left siblings are left.
    let meeting = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let (inner, border) = (meeting as usize, index.checked_shr(meeting).unwrap_or(0).count_ones() as usize);
    if path.len() != inner + border {
        return Err(InclusionError::PathLength { index, size, expected: inner + border, found: path.len() });
    }
    let mut node = leaf;
    for (level, sibling) in path[..inner].iter().enumerate() {
        node = if index >> level & 1 == 0 { node_hash(&node, sibling) } else { node_hash(sibling, &node) };
    }
    for sibling in &path[inner..] {
        node = node_hash(sibling, &node);
    }
    Ok(node)
}

/// Checks that the leaf with this hash stands at `index` in the tree of `size` leaves under `root`.
///
/// # Errors
/// One [`InclusionError`] a check.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: Hash,
    path: &[Hash],
    root: &Hash,
) -> Result<(), InclusionError> {
    if root_from_path(index, size, leaf, path)? == *root { Ok(()) } else { Err(InclusionError::RootMismatch) }
}

/// Checks that the tree of `new` leaves under `new_root` begins with the `old` leaves under `old_root` (RFC 9162
/// §2.1.4.2). Where the sizes are equal, or the old one is 0, the path is empty; an empty tree has [`EMPTY_ROOT`].
///
/// # Errors
/// One [`ConsistencyError`] a check.
pub fn verify_consistency(
    old: u64,
    new: u64,
    path: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), ConsistencyError> {
    let wrong_length = || ConsistencyError::PathLength { found: path.len() };
    if old > new {
        return Err(ConsistencyError::Shrunk { old, new });
    }
    if old == 0 || old == new {
        if !path.is_empty() {
            return Err(wrong_length());
        }
        if old == 0 && *old_root != EMPTY_ROOT {
            return Err(ConsistencyError::OldRootMismatch);
        }
        if old == new && old_root != new_root {
            return Err(ConsistencyError::NewRootMismatch);
        }
        return Ok(());
    }
    // The walk starts at the largest complete subtree on the old right edge; where that is the whole old tree its hash is
    // the old root and not part of the path.
    let (start, rest) = if old.is_power_of_two() {
        (*old_root, path)
    } else {
        let (start, rest) = path.split_first().ok_or_else(wrong_length)?;
        (*start, rest)
    };
    let (old_hash, new_hash) = walk_consistency(old, new, start, rest).ok_or_else(wrong_length)?;
    if old_hash != *old_root {
        return Err(ConsistencyError::OldRootMismatch);
    }
    if new_hash != *new_root {
        return Err(ConsistencyError::NewRootMismatch);
    }
    Ok(())
}

/// The two roots that a *full* consistency path leads to: the path of [`verify_consistency`], which here always begins with
/// the root of the largest complete subtree on the old right edge, also where that is the whole old tree.
///
/// Where the second root is one that somebody signed, collision resistance makes the first one *the* root of the first `old`
/// leaves under it. If the same party has signed another root for size `old`, its history was rewritten.
///
/// # Errors
/// [`ConsistencyError::Shrunk`] unless 0 < `old` < `new`; [`ConsistencyError::PathLength`].
pub fn roots_from_consistency_path(
    old: u64,
    new: u64,
    path: &[Hash],
) -> Result<(Hash, Hash), ConsistencyError> {
    if old == 0 || old >= new {
        return Err(ConsistencyError::Shrunk { old, new });
    }
    let (start, rest) = path.split_first().ok_or(ConsistencyError::PathLength { found: 0 })?;
    walk_consistency(old, new, *start, rest).ok_or(ConsistencyError::PathLength { found: path.len() })
}

/// Both roots of RFC 9162 §2.1.4.2, or `None` where the path has a wrong length. 0 < `old` < `new`.
fn walk_consistency(old: u64, new: u64, start: Hash, path: &[Hash]) -> Option<(Hash, Hash)> {
    let skip = old.trailing_zeros();
    let (mut old_node, mut new_node) = ((old - 1) >> skip, (new - 1) >> skip);
    let (mut old_hash, mut new_hash) = (start, start);
    for sibling in path {
        if new_node == 0 {
            return None;
        }
        if old_node & 1 == 1 || old_node == new_node {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while old_node & 1 == 0 && old_node != 0 {
                old_node >>= 1;
                new_node >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        old_node >>= 1;
        new_node >>= 1;
    }
    (new_node == 0).then_some((old_hash, new_hash))
}
