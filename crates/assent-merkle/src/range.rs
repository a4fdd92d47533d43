//! Proofs of consecutive leaves of an RFC 6962 tree: one path for a whole range.
//!
//! The proof of leaves `start..end` in a tree of `size` leaves is the roots of the largest subtrees outside of the range,
//! from left to right, as RFC 6962 §2.1 splits the tree. For one leaf these are the hashes of its inclusion path, in another
//! order. A proof has at most two hashes a level.

use thiserror::Error;

use crate::hash::{Hash, node_hash};

/// Where the roots of a log's complete subtrees are read from.
pub trait NodeReader {
    /// What reading may fail with.
    type Error;

    /// The root of the complete subtree number `index` of 2^`level` leaves. At level 0 the hash of a leaf.
    ///
    /// # Errors
    /// Those of the storage.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Why a range proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RangeError {
    /// A range without leaves, or past the end.
    #[error("leaves {start} to {end} are no range of a tree of size {size}")]
    OutOfRange {
        /// First leaf.
        start: u64,
        /// After the last one.
        end: u64,
        /// Size of the tree.
        size: u64,
    },
    /// Too few or too many hashes.
    #[error(
        "the proof of leaves {start} to {end} in a tree of size {size} has a wrong number of hashes: {found}"
    )]
    ProofLength {
        /// First leaf.
        start: u64,
        /// After the last one.
        end: u64,
        /// Size of the tree.
        size: u64,
        /// The number that was found.
        found: usize,
    },
}

/// The proof of leaves `start..end` in the tree of the first `size` leaves. Reads O(log n) nodes. The range must not be
/// empty and must be within the tree.
///
/// # Errors
/// Those of the storage.
pub fn range_proof<R: NodeReader>(
    reader: &R,
    start: u64,
    end: u64,
    size: u64,
) -> Result<Vec<Hash>, R::Error> {
    let mut proof = Vec::new();
    collect(reader, start, end, 0, size, &mut proof)?;
    Ok(proof)
}

fn collect<R: NodeReader>(
    reader: &R,
    start: u64,
    end: u64,
    low: u64,
    high: u64,
    proof: &mut Vec<Hash>,
) -> Result<(), R::Error> {
    if start <= low && high <= end {
        return Ok(());
    }
    if end <= low || high <= start {
        proof.push(subtree(reader, low, high)?);
        return Ok(());
    }
    let middle = low + split(high - low);
    collect(reader, start, end, low, middle, proof)?;
    collect(reader, start, end, middle, high, proof)
}

/// The root of leaves `low..high`, as RFC 6962 splits trees.
fn subtree<R: NodeReader>(reader: &R, low: u64, high: u64) -> Result<Hash, R::Error> {
    let width = high - low;
    if width.is_power_of_two() {
        return reader.node(width.trailing_zeros(), low / width);
    }
    let middle = low + split(width);
    Ok(node_hash(&subtree(reader, low, middle)?, &subtree(reader, middle, high)?))
}

/// The root that a range proof leads to, for the hashes of the leaves from `start` on.
///
/// # Errors
/// [`RangeError`].
pub fn root_from_range(start: u64, leaves: &[Hash], size: u64, proof: &[Hash]) -> Result<Hash, RangeError> {
    let end = start.saturating_add(leaves.len() as u64);
    if leaves.is_empty() || end > size {
        return Err(RangeError::OutOfRange { start, end, size });
    }
    let mut rest = Rest { start, end, leaves, proof };
    let wrong = || RangeError::ProofLength { start, end, size, found: proof.len() };
    let root = rest.root(0, size).ok_or_else(wrong)?;
    if rest.proof.is_empty() { Ok(root) } else { Err(wrong()) }
}

struct Rest<'a> {
    start: u64,
    end: u64,
    leaves: &'a [Hash],
    proof: &'a [Hash],
}

impl Rest<'_> {
    fn root(&mut self, low: u64, high: u64) -> Option<Hash> {
        if self.end <= low || high <= self.start {
            let (hash, rest) = self.proof.split_first()?;
            self.proof = rest;
            return Some(*hash);
        }
        if high - low == 1 {
            let (hash, rest) = self.leaves.split_first()?;
            self.leaves = rest;
            return Some(*hash);
        }
        let middle = low + split(high - low);
        let left = self.root(low, middle)?;
        Some(node_hash(&left, &self.root(middle, high)?))
    }
}

/// The largest power of two smaller than `width`, for widths above 1.
fn split(width: u64) -> u64 {
    1 << (width - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::{BatchTree, CompactRange, leaf_hash};

    /// A log as it is stored: with each leaf the subtrees that it completes.
    #[derive(Default)]
    struct Log(Vec<(Hash, Vec<Hash>)>);

    impl NodeReader for Log {
        type Error = Infallible;

        fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
            let last = usize::try_from(((index + 1) << level) - 1).unwrap();
            let (leaf, completed) = &self.0[last];
            Ok(if level == 0 { *leaf } else { completed[level as usize - 1] })
        }
    }

    #[test]
    fn every_range_of_every_small_tree_is_proven_and_no_other() {
        let leaves: Vec<Hash> = (0..40u8).map(|i| leaf_hash(&[i])).collect();
        let (mut range, mut log) = (CompactRange::default(), Log::default());
        for size in 1..=leaves.len() as u64 {
            let leaf = leaves[usize::try_from(size).unwrap() - 1];
            log.0.push((leaf, range.append(leaf)));
            let root = range.root();
            let size_index = usize::try_from(size).unwrap();
            assert_eq!(root, BatchTree::from_leaf_hashes(&leaves[..size_index]).root());
            for start in 0..size {
                for end in start + 1..=size {
                    let proof = range_proof(&log, start, end, size).unwrap();
                    let (from, to) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
                    let shown = &leaves[from..to];
                    assert_eq!(root_from_range(start, shown, size, &proof), Ok(root));
                    // One fewer, one more, moved, or another: never the same root.
                    let gap = root_from_range(start, &shown[1..], size, &proof);
                    assert_ne!(gap, Ok(root));
                    assert_ne!(root_from_range(start + 1, shown, size, &proof), Ok(root));
                    let mut changed = shown.to_vec();
                    changed[0][0] ^= 1;
                    assert_ne!(root_from_range(start, &changed, size, &proof), Ok(root));
                    let surplus = [&proof[..], &[root]].concat();
                    assert!(root_from_range(start, shown, size, &surplus).is_err());
                    if !proof.is_empty() {
                        assert!(root_from_range(start, shown, size, &proof[1..]).is_err());
                    }
                }
            }
        }
        assert!(root_from_range(0, &[], 5, &[]).is_err());
        assert!(root_from_range(u64::MAX, &leaves, u64::MAX, &[]).is_err());
    }
}
