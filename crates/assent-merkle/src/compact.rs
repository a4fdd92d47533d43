use smallvec::SmallVec;
use thiserror::Error;

use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// Peaks that a range holds in place; the right edge of fifteen leaves has four. More are allocated.
const PEAKS_IN_PLACE: usize = 4;

/// The right edge of a growing tree: its size and the roots of its complete subtrees, largest first. Enough to append and
/// to know the root; O(log n) in space and, amortised, O(1) hashes an append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompactRange {
    size: u64,
    peaks: SmallVec<[Hash; PEAKS_IN_PLACE]>,
}

/// A size and peaks that do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a compact range of size {size} has {expected} peaks, found {found}")]
pub struct CompactRangeError {
    /// The size that was given.
    pub size: u64,
    /// The number of one bits in `size`.
    pub expected: u32,
    /// The number of peaks that were given.
    pub found: usize,
}

impl CompactRange {
    /// Rebuilds a range from what [`Self::size`] and [`Self::peaks`] gave.
    ///
    /// # Errors
    /// Where the number of peaks is not the number of one bits in the size.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Result<Self, CompactRangeError> {
        if peaks.len() as u64 == u64::from(size.count_ones()) {
            Ok(Self { size, peaks: SmallVec::from_slice(&peaks) })
        } else {
            Err(CompactRangeError { size, expected: size.count_ones(), found: peaks.len() })
        }
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first: one for each one bit of the size.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf that is hashed already. Gives the roots of the complete subtrees of 2, 4, 8 … leaves that end with it,
    /// so that a log whose leaves are stored can prove any of them (see [`crate::NodeReader`]).
    pub fn append(&mut self, leaf: Hash) -> Vec<Hash> {
        let mut completed = Vec::new();
        self.append_with(leaf, |root| completed.push(root));
        completed
    }

    /// The same; the roots are handed on, from the smallest, to who may not need them.
    pub fn append_with(&mut self, leaf: Hash, mut completed: impl FnMut(Hash)) {
        let mut node = leaf;
        // Each trailing one bit of the size is a complete subtree as large as `node`.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
                completed(node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The RFC 6962 root of all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return EMPTY_ROOT };
        peaks.fold(*last, |right, left| node_hash(left, &right))
    }
}
