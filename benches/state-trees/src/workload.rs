//! The workload: the same keys, values and batches for every tree.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// A key and its new value.
pub type Update = ([u8; 32], [u8; 32]);

/// Makes batches of updates, and knows how many keys it has inserted so far.
pub struct Workload {
    inserted: u64,
    random: SplitMix64,
}

impl Workload {
    pub fn new() -> Self {
        Self { inserted: 0, random: SplitMix64(0x7374_6174_6574_7265) }
    }

    /// Inserts the next `size` keys.
    pub fn inserts(&mut self, size: u64, version: u64) -> Vec<Update> {
        let first = self.inserted;
        self.inserted += size;
        (first..self.inserted).map(|index| update(index, version)).collect()
    }

    /// Updates existing keys in nine tenths of the batch and inserts new keys in the rest. Keys are distinct.
    pub fn mixed(&mut self, size: u64, version: u64) -> Vec<Update> {
        let new = size / 10;
        let existing = (size - new).min(self.inserted) as usize;
        let mut chosen = HashSet::with_capacity(existing);
        let mut updates = Vec::with_capacity(existing + new as usize);
        while updates.len() < existing {
            let index = self.random.below(self.inserted);
            if chosen.insert(index) {
                updates.push(update(index, version));
            }
        }
        updates.extend(self.inserts(new, version));
        updates
    }
}

/// Key number `index`, with its value at `version`.
fn update(index: u64, version: u64) -> Update {
    let key: [u8; 32] =
        Sha256::new().chain_update("state-trees").chain_update(index.to_be_bytes()).finalize().into();
    let value = Sha256::new().chain_update(key).chain_update(version.to_be_bytes()).finalize().into();
    (key, value)
}

/// The SplitMix64 generator.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`, by multiplication and shift.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
