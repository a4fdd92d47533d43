//! The history tree as tiles: blocks of 256 hashes, addressed as the C2SP [tlog-tiles] specification says.
//!
//! Tile `(level, index)` holds the hashes of the complete subtrees of 2^(8·level) leaves number `256·index …
//! 256·index + 255`, or as many of them as there are yet. A full tile never changes again. An append rewrites one tile of
//! each level that it completes, which is one tile 255 times of 256; opening reads the right edge only; a proof reads
//! O(log n) tiles.
//!
//! [tlog-tiles]: https://c2sp.org/tlog-tiles

use std::{collections::BTreeMap, convert::Infallible};

use thiserror::Error;

use crate::{
    compact::CompactRange,
    hash::{EMPTY_ROOT, Hash, node_hash},
};

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Levels of the tree that one level of tiles spans: log2 of [`TILE_WIDTH`].
pub const TILE_HEIGHT: u32 = 8;

/// Where a tile stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    /// 0 for leaf hashes; level n holds roots of 2^(8n) leaves.
    pub level: u8,
    /// From the left.
    pub index: u64,
}

/// Where tiles are read from.
pub trait TileReader {
    /// What reading may fail with.
    type Error;

    /// The hashes of a tile, 1 to 256, or `None` where it was never written.
    ///
    /// # Errors
    /// Those of the storage.
    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, Self::Error>;
}

/// Tiles in memory: a tree over leaves that are all at hand.
#[derive(Clone, Debug, Default)]
pub struct MemoryTiles(BTreeMap<TileId, Vec<Hash>>);

impl MemoryTiles {
    /// The tiles of the tree over these leaf hashes.
    #[must_use]
    pub fn of_leaves(leaves: &[Hash]) -> Self {
        let (mut tiles, mut writer) = (BTreeMap::new(), TileWriter::default());
        for leaf in leaves {
            tiles.extend(writer.append(*leaf));
        }
        Self(tiles)
    }
}

impl TileReader for MemoryTiles {
    type Error = Infallible;

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, Infallible> {
        Ok(self.0.get(&id).cloned())
    }
}

/// Why a tree could not be opened or a proof not be made.
#[derive(Debug, Error)]
pub enum TileError<E> {
    /// The storage failed.
    #[error("reading a tile failed")]
    Storage(#[source] E),
    /// A tile or hash that must be there is not.
    #[error("the history tree of size {size} lacks hash {offset} of tile {level}/{index}")]
    Missing {
        /// Size of the tree.
        size: u64,
        /// Tile level.
        level: u8,
        /// Tile index.
        index: u64,
        /// Hash within the tile.
        offset: u64,
    },
    /// A proof was asked for that the tree cannot have.
    #[error("no proof for {index} in size {size}: the history tree has size {tree}")]
    OutOfRange {
        /// Leaf index or old size.
        index: u64,
        /// Size asked for.
        size: u64,
        /// Size of the tree.
        tree: u64,
    },
}

/// The end of a tree of tiles, ready to append: the compact range and the partial tile of each level.
#[derive(Clone, Debug, Default)]
pub struct TileWriter {
    range: CompactRange,
    /// The last, not yet full tile of each level.
    edge: Vec<Vec<Hash>>,
}

impl TileWriter {
    /// Opens the tree of `size` leaves. Reads one tile a level.
    ///
    /// # Errors
    /// Storage errors, and [`TileError::Missing`] where the tiles hold less than `size` leaves.
    pub fn open<R: TileReader>(reader: &R, size: u64) -> Result<Self, TileError<R::Error>> {
        let mut edge = Vec::new();
        let mut count = size;
        let mut level = 0;
        while count > 0 {
            let (index, width) = (count / TILE_WIDTH, count % TILE_WIDTH);
            let mut tile = Vec::new();
            if width > 0 {
                tile = reader.tile(TileId { level, index }).map_err(TileError::Storage)?.unwrap_or_default();
                if (tile.len() as u64) < width {
                    return Err(TileError::Missing { size, level, index, offset: tile.len() as u64 });
                }
                // A tile may hold more than `size` covers, never less.
                tile.truncate(usize::try_from(width).unwrap_or(usize::MAX));
            }
            edge.push(tile);
            count /= TILE_WIDTH;
            level += 1;
        }
        // The peaks, largest first, from the highest tile level down.
        let mut peaks = Vec::new();
        for tile in edge.iter().rev() {
            let mut rest = tile.as_slice();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(1 << rest.len().ilog2());
                peaks.push(perfect_root(head));
                rest = tail;
            }
        }
        let range = CompactRange::from_parts(size, peaks).unwrap_or_default();
        Ok(Self { range, edge })
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.range.size()
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.range.root()
    }

    /// Appends a leaf hash and returns the tiles to be written, whole, before the new size counts.
    pub fn append(&mut self, leaf: Hash) -> Vec<(TileId, Vec<Hash>)> {
        let position = self.range.size();
        self.range.append(leaf);
        let mut written = Vec::new();
        let mut node = leaf;
        for level in 0u8.. {
            if self.edge.len() <= usize::from(level) {
                self.edge.push(Vec::new());
            }
            let tile = &mut self.edge[usize::from(level)];
            tile.push(node);
            let index = position >> (TILE_HEIGHT * (u32::from(level) + 1)).min(63);
            written.push((TileId { level, index }, tile.clone()));
            if (tile.len() as u64) < TILE_WIDTH {
                break;
            }
            node = perfect_root(tile);
            tile.clear();
        }
        written
    }
}

/// The root of a power of two of hashes.
fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut layer = hashes.to_vec();
    while layer.len() > 1 {
        layer = layer.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
    }
    layer.first().copied().unwrap_or(EMPTY_ROOT)
}

/// Proofs over the tiles of a tree of which at least `size` leaves are written.
pub struct TileProver<'a, R> {
    reader: &'a R,
    size: u64,
}

impl<'a, R: TileReader> TileProver<'a, R> {
    /// A prover over the first `size` leaves.
    pub fn new(reader: &'a R, size: u64) -> Self {
        Self { reader, size }
    }

    /// The root of the first `size` leaves.
    ///
    /// # Errors
    /// [`TileError::OutOfRange`] where the tree is smaller; storage errors.
    pub fn root(&self, size: u64) -> Result<Hash, TileError<R::Error>> {
        self.check(0, size)?;
        if size == 0 { Ok(EMPTY_ROOT) } else { self.subtree(0, size) }
    }

    /// The inclusion path of leaf `index` in the tree of the first `size` leaves (RFC 6962 §2.1.1).
    ///
    /// # Errors
    /// [`TileError::OutOfRange`]; storage errors.
    pub fn inclusion_path(&self, index: u64, size: u64) -> Result<Vec<Hash>, TileError<R::Error>> {
        if index >= size {
            return Err(TileError::OutOfRange { index, size, tree: self.size });
        }
        self.check(index, size)?;
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(self.subtree(middle, end)?);
                end = middle;
            } else {
                path.push(self.subtree(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The inclusion path of a leaf that would be appended after the first `size` ones: the roots of their complete subtrees,
    /// smallest first.
    ///
    /// # Errors
    /// [`TileError::OutOfRange`]; storage errors.
    pub fn path_of_next(&self, size: u64) -> Result<Vec<Hash>, TileError<R::Error>> {
        self.check(0, size)?;
        let mut path = Vec::new();
        let mut end = size;
        while end > 0 {
            let width = 1 << end.trailing_zeros();
            path.push(self.subtree(end - width, end)?);
            end -= width;
        }
        Ok(path)
    }

    /// The consistency path between the trees of the first `old` and the first `new` leaves (RFC 6962 §2.1.2).
    ///
    /// # Errors
    /// [`TileError::OutOfRange`]; storage errors.
    pub fn consistency_path(&self, old: u64, new: u64) -> Result<Vec<Hash>, TileError<R::Error>> {
        if old > new {
            return Err(TileError::OutOfRange { index: old, size: new, tree: self.size });
        }
        self.check(old, new)?;
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let mut path = self.full_consistency_path(old, new)?;
        if old.is_power_of_two() {
            // It is the old root, which a verifier has.
            path.remove(0);
        }
        Ok(path)
    }

    /// The same path as [`crate::roots_from_consistency_path`] reads it: it always begins with the largest complete subtree
    /// on the old right edge.
    ///
    /// # Errors
    /// [`TileError::OutOfRange`] unless 0 < `old` < `new` and the tree is as large; storage errors.
    pub fn full_consistency_path(&self, old: u64, new: u64) -> Result<Vec<Hash>, TileError<R::Error>> {
        if old == 0 || old >= new {
            return Err(TileError::OutOfRange { index: old, size: new, tree: self.size });
        }
        self.check(old, new)?;
        let mut path = Vec::new();
        let (mut start, mut end) = (0, new);
        // Until the old tree's right end falls on a subtree's.
        while old != end {
            let middle = start + split(end - start);
            if old <= middle {
                path.push(self.subtree(middle, end)?);
                end = middle;
            } else {
                path.push(self.subtree(start, middle)?);
                start = middle;
            }
        }
        path.push(self.subtree(start, end)?);
        path.reverse();
        Ok(path)
    }

    fn check(&self, index: u64, size: u64) -> Result<(), TileError<R::Error>> {
        if size > self.size {
            return Err(TileError::OutOfRange { index, size, tree: self.size });
        }
        Ok(())
    }

    /// The root of leaves `start..end`, a range as RFC 6962 splits trees: `start` is a multiple of a power of two that is
    /// at least `end - start`.
    fn subtree(&self, start: u64, end: u64) -> Result<Hash, TileError<R::Error>> {
        let width = end - start;
        if width.is_power_of_two() {
            return self.complete(width.trailing_zeros(), start / width);
        }
        let middle = start + split(width);
        Ok(node_hash(&self.subtree(start, middle)?, &self.subtree(middle, end)?))
    }

    /// The root of the complete subtree `index` of height `height`.
    fn complete(&self, height: u32, index: u64) -> Result<Hash, TileError<R::Error>> {
        let (level, within) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
        let first = index << within;
        let id = TileId { level: u8::try_from(level).unwrap_or(u8::MAX), index: first / TILE_WIDTH };
        let (from, count) = (first % TILE_WIDTH, 1u64 << within);
        let tile = self.reader.tile(id).map_err(TileError::Storage)?.unwrap_or_default();
        let range =
            usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(from + count).unwrap_or(usize::MAX);
        let hashes = tile.get(range).ok_or(TileError::Missing {
            size: self.size,
            level: id.level,
            index: id.index,
            offset: tile.len() as u64,
        })?;
        Ok(perfect_root(hashes))
    }
}

/// The largest power of two smaller than `size`, for sizes above 1.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}
