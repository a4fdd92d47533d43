//! The logs of subjects and recipients, as a prover keeps them: one row a leaf.
//!
//! The row of leaf *i* has the leaf and the roots of the complete subtrees of 2, 4, 8 … leaves that end with it, one on
//! average. So an append writes one row however long the log is, the root of any complete subtree is in one row, and any
//! leaf, range or neighbour is proven with O(log n) reads. Rows never change.

use assent_core::{
    codec::DecodeError,
    records::{LogAppend, LogLeaf, Moment, Record, StateKey},
};
use assent_merkle::{Hash, NodeReader};

use crate::{
    LedgerStore, StoreError,
    database::{Database, Family},
};

pub(crate) fn row_key(log: StateKey, index: u64) -> Vec<u8> {
    [&log.to_bytes()[..], &index.to_be_bytes()].concat()
}

/// A length byte, the leaf, the subtrees.
pub(crate) fn row(append: &LogAppend) -> Vec<u8> {
    let length = u8::try_from(append.leaf.len()).unwrap_or(u8::MAX);
    [&[length][..], &append.leaf, append.completed.as_flattened()].concat()
}

fn parse(row: &[u8]) -> Option<(&[u8], &[Hash])> {
    let (length, rest) = row.split_first()?;
    let (leaf, completed) = rest.split_at_checked(usize::from(*length))?;
    let (completed, surplus) = completed.as_chunks();
    surplus.is_empty().then_some((leaf, completed))
}

/// One log: that of the state record with this key.
pub struct PartyLog<'a> {
    store: &'a LedgerStore,
    key: StateKey,
}

impl LedgerStore {
    /// The log that belongs to a state record.
    #[must_use]
    pub fn party_log(&self, key: StateKey) -> PartyLog<'_> {
        PartyLog { store: self, key }
    }
}

impl PartyLog<'_> {
    fn corrupt(&self, index: u64, source: DecodeError) -> StoreError {
        Database::corrupt(Family::PartyLogs, &row_key(self.key, index), source)
    }

    fn row(&self, index: u64) -> Result<Vec<u8>, StoreError> {
        self.store.database.must(Family::PartyLogs, &row_key(self.key, index))
    }

    /// A leaf.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Corrupt`].
    pub fn leaf<L: LogLeaf>(&self, index: u64) -> Result<L, StoreError> {
        self.decode(index, &self.row(index)?)
    }

    fn decode<L: Record>(&self, index: u64, row: &[u8]) -> Result<L, StoreError> {
        let cut = || self.corrupt(index, DecodeError::invalid("row", "cut off"));
        L::decode(parse(row).ok_or_else(cut)?.0).map_err(|source| self.corrupt(index, source))
    }

    /// Consecutive leaves.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where there are fewer, [`StoreError::Corrupt`].
    pub fn leaves<L: LogLeaf>(&self, start: u64, end: u64) -> Result<Vec<L>, StoreError> {
        let mut found = Vec::new();
        let rows = self.store.database.rows_from(Family::PartyLogs, &row_key(self.key, start))?;
        for (index, row) in (start..end).zip(rows) {
            let (key, row) = row?;
            if *key != row_key(self.key, index) {
                break;
            }
            found.push(self.decode(index, &row)?);
        }
        let next = start + found.len() as u64;
        if next < end {
            self.row(next)?;
        }
        Ok(found)
    }

    /// The first of the first `size` leaves for which `after` holds, by binary search: where it holds for a leaf, it holds
    /// for all later ones. `size` where there is none.
    ///
    /// # Errors
    /// Those of [`Self::leaf`].
    pub fn first<L: LogLeaf>(&self, size: u64, after: impl Fn(Moment) -> bool) -> Result<u64, StoreError> {
        let (mut low, mut high) = (0, size);
        while low < high {
            let middle = low + (high - low) / 2;
            if after(self.leaf::<L>(middle)?.at()) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }
}

impl NodeReader for PartyLog<'_> {
    type Error = StoreError;

    fn node(&self, level: u32, index: u64) -> Result<Hash, StoreError> {
        let last = ((index + 1) << level) - 1;
        let row = self.row(last)?;
        let missing =
            || self.corrupt(last, DecodeError::invalid("row", format!("no subtree of level {level}")));
        let (leaf, completed) = parse(&row).ok_or_else(missing)?;
        match level {
            0 => Ok(assent_merkle::leaf_hash(leaf)),
            level => completed.get(level as usize - 1).copied().ok_or_else(missing),
        }
    }
}
