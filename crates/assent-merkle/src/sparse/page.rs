//! Pages: neighbouring keys, stored together.

use super::{KEY_BITS, bit, node, only};
use crate::Hash;

/// Keys of one page before it is split. Larger pages are fewer rows and less memory above them, and more hashes and bytes an
/// update; measured in `benches/state-trees`.
pub const PAGE_KEYS: usize = 4;

/// A depth at which no subtree begins: the cached hash does not count.
const STALE: u16 = u16::MAX;
/// Bytes of a stored entry: key, value, subtree, its depth.
const ENTRY_BYTES: usize = 32 + 32 + 32 + 2;

/// One key with its value, and the hash of the largest subtree that holds no other key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Hash,
    pub(crate) value: Hash,
    subtree: Hash,
    depth: u16,
}

impl Entry {
    pub(crate) fn new(key: Hash, value: Hash) -> Self {
        Self { key, value, subtree: [0; 32], depth: STALE }
    }

    /// The hash of its subtree at a depth, kept for the next time.
    fn refresh(&mut self, depth: usize) -> Hash {
        let at = u16::try_from(depth).unwrap_or(STALE);
        if self.depth != at {
            self.subtree = only(&self.key, &self.value, depth);
            self.depth = at;
        }
        self.subtree
    }

    fn subtree(&self, depth: usize) -> Hash {
        if usize::from(self.depth) == depth { self.subtree } else { only(&self.key, &self.value, depth) }
    }
}

/// Sets values where all updates are of keys that are there. Otherwise changes nothing and says so. Both are sorted.
pub(crate) fn replace(entries: &mut [Entry], updates: &[(Hash, Hash)]) -> bool {
    let mut places = [0; PAGE_KEYS];
    if updates.len() > PAGE_KEYS {
        return false;
    }
    let mut next = 0;
    for ((key, _), place) in updates.iter().zip(&mut places) {
        while entries.get(next).is_some_and(|entry| entry.key < *key) {
            next += 1;
        }
        if entries.get(next).is_none_or(|entry| entry.key != *key) {
            return false;
        }
        *place = next;
    }
    for ((key, value), place) in updates.iter().zip(places) {
        if entries[place].value != *value {
            entries[place] = Entry::new(*key, *value);
        }
    }
    true
}

/// The entries with the updates, of which some are of new keys. Both are sorted.
pub(crate) fn merge(entries: Vec<Entry>, updates: &[(Hash, Hash)]) -> Vec<Entry> {
    let mut merged = Vec::with_capacity(entries.len() + updates.len());
    let mut updates = updates.iter().peekable();
    for entry in entries {
        while let Some((key, value)) = updates.next_if(|(key, _)| *key < entry.key) {
            merged.push(Entry::new(*key, *value));
        }
        match updates.next_if(|(key, _)| *key == entry.key) {
            Some((key, value)) if *value != entry.value => merged.push(Entry::new(*key, *value)),
            _ => merged.push(entry),
        }
    }
    merged.extend(updates.map(|(key, value)| Entry::new(*key, *value)));
    merged
}

/// Where the keys of the right side begin, among sorted keys that agree on all bits before `depth`.
pub(crate) fn split(entries: &[Entry], depth: usize) -> usize {
    entries.partition_point(|entry| !bit(&entry.key, depth))
}

/// The hash of the subtree over these sorted keys; `None` without keys.
pub(crate) fn refresh(entries: &mut [Entry], depth: usize) -> Option<Hash> {
    match entries {
        [] => None,
        [entry] => Some(entry.refresh(depth)),
        _ if depth >= KEY_BITS => None,
        _ => {
            let middle = split(entries, depth);
            let (left, right) = entries.split_at_mut(middle);
            let (left, right) = (refresh(left, depth + 1), refresh(right, depth + 1));
            node(left.as_ref(), right.as_ref())
        }
    }
}

/// The same without keeping anything.
pub(crate) fn subtree(entries: &[Entry], depth: usize) -> Option<Hash> {
    match entries {
        [] => None,
        [entry] => Some(entry.subtree(depth)),
        _ if depth >= KEY_BITS => None,
        _ => {
            let (left, right) = entries.split_at(split(entries, depth));
            node(subtree(left, depth + 1).as_ref(), subtree(right, depth + 1).as_ref())
        }
    }
}

/// Writes the row: hash of the page's subtree, then each entry.
pub(crate) fn encode(row: &mut Vec<u8>, hash: &Hash, entries: &[Entry]) {
    row.extend_from_slice(hash);
    for entry in entries {
        row.extend_from_slice(&entry.key);
        row.extend_from_slice(&entry.value);
        row.extend_from_slice(&entry.subtree);
        row.extend_from_slice(&entry.depth.to_be_bytes());
    }
}

/// The hash in a row.
pub(crate) fn hash_of(row: &[u8]) -> Option<Hash> {
    row.first_chunk().copied()
}

/// Reads the entries of a row. `None` where it is none.
pub(crate) fn decode(row: &[u8]) -> Option<Vec<Entry>> {
    let (entries, rest) = row.get(32..)?.as_chunks::<ENTRY_BYTES>();
    if entries.is_empty() || !rest.is_empty() {
        return None;
    }
    let entries: Vec<Entry> = entries
        .iter()
        .filter_map(|bytes| {
            let (key, rest) = bytes.split_first_chunk()?;
            let (value, rest) = rest.split_first_chunk()?;
            let (subtree, depth) = rest.split_first_chunk()?;
            let depth = u16::from_be_bytes(depth.try_into().ok()?);
            Some(Entry { key: *key, value: *value, subtree: *subtree, depth })
        })
        .collect();
    entries.is_sorted_by(|one, next| one.key < next.key).then_some(entries)
}

/// The database key of a page: its depth, then the bits that its keys share, as bytes filled up with zeros.
pub(crate) fn id(key: &Hash, depth: usize) -> Vec<u8> {
    let mut id = u16::try_from(depth).unwrap_or(STALE).to_be_bytes().to_vec();
    id.extend(&key[..depth.div_ceil(8)]);
    if !depth.is_multiple_of(8)
        && let Some(last) = id.last_mut()
    {
        *last &= 0xff << (8 - depth % 8);
    }
    id
}

/// Reads a database key: the depth and the bits.
pub(crate) fn parse_id(id: &[u8]) -> Option<(Hash, usize)> {
    let (depth, bits) = id.split_first_chunk()?;
    let depth = usize::from(u16::from_be_bytes(*depth));
    if depth > KEY_BITS || bits.len() != depth.div_ceil(8) {
        return None;
    }
    let mut prefix = [0; 32];
    prefix[..bits.len()].copy_from_slice(bits);
    Some((prefix, depth))
}
