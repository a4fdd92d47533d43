//! The tree itself: nodes in memory, pages in a database.

use std::convert::Infallible;

use thiserror::Error;

use super::{
    EMPTY_STATE_ROOT, KEY_BITS, LEAF_DEPTH, bit, common_prefix, node, only,
    page::{self, Entry, PAGE_KEYS},
    proof::{SparseProof, Terminal},
};
use crate::Hash;

/// Where pages are read from.
pub trait PageReader {
    /// What reading may fail with.
    type Error;

    /// The row of a page.
    ///
    /// # Errors
    /// Those of the storage.
    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// No storage: for a tree that is in memory as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPages;

impl PageReader for NoPages {
    type Error = Infallible;

    fn page(&self, _: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(None)
    }
}

/// Why the tree cannot go on. It must be opened again before it is used any further.
#[derive(Debug, Error)]
pub enum SparseError<E> {
    /// The storage failed.
    #[error("reading a page of the state tree failed")]
    Storage(#[source] E),
    /// A row that must be there is not, or is none.
    #[error("page {id} of the state tree is {problem}")]
    Page {
        /// Its database key in hexadecimal.
        id: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The updates are not in ascending order of distinct keys.
    #[error("the updates of a batch are not sorted")]
    Unsorted,
}

/// Changed rows, in one piece of memory.
#[derive(Clone, Debug, Default)]
pub struct PageWrites {
    bytes: Vec<u8>,
    /// Where each key ends, and where its row ends, if it has one.
    ends: Vec<(usize, Option<usize>)>,
}

impl PageWrites {
    fn put(&mut self, id: &[u8], hash: &Hash, entries: &[Entry]) {
        self.bytes.extend_from_slice(id);
        let id = self.bytes.len();
        page::encode(&mut self.bytes, hash, entries);
        self.ends.push((id, Some(self.bytes.len())));
    }

    fn delete(&mut self, id: &[u8]) {
        self.bytes.extend_from_slice(id);
        self.ends.push((self.bytes.len(), None));
    }

    /// The database key of each changed row, and its content, or `None` where it is deleted. In this order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut start = 0;
        self.ends.iter().map(move |(id, row)| {
            let id = start..*id;
            let row = row.map(|end| id.end..end);
            start = row.as_ref().map_or(id.end, |row| row.end);
            (&self.bytes[id], row.map(|row| &self.bytes[row]))
        })
    }
}

/// What stands below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Child {
    Empty,
    Page(u32),
    Node(u32),
}

/// The hashes of its children are here, so that hashing it touches no other node.
#[derive(Clone, Debug)]
struct Node {
    children: [Child; 2],
    hashes: [Hash; 2],
}

impl Node {
    fn hash(&self) -> Hash {
        let of = |side: usize| (self.children[side] != Child::Empty).then_some(&self.hashes[side]);
        node(of(0), of(1)).unwrap_or(EMPTY_STATE_ROOT)
    }
}

#[derive(Clone, Debug)]
struct Page {
    /// `None` where it is only in the database.
    entries: Option<Box<[Entry]>>,
    /// Used since the last sweep.
    used: bool,
}

/// The newest version of the state tree.
#[derive(Clone, Debug)]
pub struct SparseTree {
    root: Child,
    root_hash: Hash,
    nodes: Vec<Node>,
    pages: Vec<Page>,
    free_pages: Vec<u32>,
    keys: u64,
    /// Keys of pages in memory, and how many may be.
    resident: usize,
    budget: usize,
    /// Where the next sweep goes on.
    hand: usize,
}

/// What one call of [`SparseTree::apply`] carries along.
struct Applying<'a, R> {
    reader: &'a R,
    writes: PageWrites,
}

impl SparseTree {
    /// The tree without keys. `budget` is how many keys are kept in memory with their pages, at about 130 bytes each.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        Self {
            root: Child::Empty,
            root_hash: EMPTY_STATE_ROOT,
            nodes: Vec::new(),
            pages: Vec::new(),
            free_pages: Vec::new(),
            keys: 0,
            resident: 0,
            budget,
            hand: 0,
        }
    }

    /// The tree of these rows, all of those that were written and not deleted.
    ///
    /// # Errors
    /// [`SparseError::Page`]; what the rows' iterator fails with.
    pub fn open<E>(
        rows: impl Iterator<Item = Result<(Box<[u8]>, Box<[u8]>), E>>,
        budget: usize,
    ) -> Result<Self, SparseError<E>> {
        let mut tree = Self::new(budget);
        for row in rows {
            let (id, row) = row.map_err(SparseError::Storage)?;
            let wrong = |problem| SparseError::Page { id: hex(&id), problem };
            let (prefix, depth) = page::parse_id(&id).ok_or_else(|| wrong("badly named"))?;
            let hash = page::hash_of(&row).ok_or_else(|| wrong("cut off"))?;
            let entries = page::decode(&row).ok_or_else(|| wrong("unreadable"))?;
            tree.keys += entries.len() as u64;
            let resident = tree.resident + entries.len() <= budget;
            let place = tree.new_page(resident.then_some(entries));
            if !tree.attach(&prefix, depth, place, hash) {
                return Err(wrong("over another one"));
            }
        }
        tree.root_hash = tree.rehash(tree.root, tree.root_hash);
        Ok(tree)
    }

    /// Puts a page at its place, with the nodes above it.
    fn attach(&mut self, prefix: &Hash, depth: usize, place: Child, hash: Hash) -> bool {
        if depth == 0 {
            self.root_hash = hash;
            return std::mem::replace(&mut self.root, place) == Child::Empty;
        }
        if self.root == Child::Empty {
            self.root = Child::Node(self.new_node([Child::Empty; 2], [EMPTY_STATE_ROOT; 2]));
        }
        let mut at = self.root;
        for level in 0..depth {
            let Child::Node(index) = at else { return false };
            let side = usize::from(bit(prefix, level));
            if level + 1 == depth {
                let node = &mut self.nodes[index as usize];
                node.hashes[side] = hash;
                return std::mem::replace(&mut node.children[side], place) == Child::Empty;
            }
            if self.nodes[index as usize].children[side] == Child::Empty {
                let below = self.new_node([Child::Empty; 2], [EMPTY_STATE_ROOT; 2]);
                self.nodes[index as usize].children[side] = Child::Node(below);
            }
            at = self.nodes[index as usize].children[side];
        }
        false
    }

    /// Hashes all nodes, after opening. Gives the hash of `child`, which for a page is known.
    fn rehash(&mut self, child: Child, known: Hash) -> Hash {
        let Child::Node(index) = child else { return known };
        for side in 0..2 {
            let node = &self.nodes[index as usize];
            let hash = self.rehash(node.children[side], node.hashes[side]);
            self.nodes[index as usize].hashes[side] = hash;
        }
        self.nodes[index as usize].hash()
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root_hash
    }

    /// How many keys it has.
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }

    fn new_node(&mut self, children: [Child; 2], hashes: [Hash; 2]) -> u32 {
        self.nodes.push(Node { children, hashes });
        index_of(self.nodes.len())
    }

    fn new_page(&mut self, entries: Option<Vec<Entry>>) -> Child {
        self.resident += entries.as_ref().map_or(0, Vec::len);
        let page = Page { entries: entries.map(Into::into), used: true };
        if let Some(index) = self.free_pages.pop() {
            self.pages[index as usize] = page;
            return Child::Page(index);
        }
        self.pages.push(page);
        Child::Page(index_of(self.pages.len()))
    }

    /// Sets values, in ascending order of distinct keys. Gives the rows to be written, whole, before the new root counts.
    ///
    /// # Errors
    /// [`SparseError`]; the tree must be opened again then.
    pub fn apply<R: PageReader>(
        &mut self,
        reader: &R,
        updates: &[(Hash, Hash)],
    ) -> Result<PageWrites, SparseError<R::Error>> {
        if !updates.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(SparseError::Unsorted);
        }
        let mut applying = Applying { reader, writes: PageWrites::default() };
        if !updates.is_empty() {
            (self.root, self.root_hash) = self.update(self.root, 0, updates, &mut applying)?;
        }
        self.sweep();
        Ok(applying.writes)
    }

    /// Gives what stands there afterwards. There is at least one update.
    fn update<R: PageReader>(
        &mut self,
        child: Child,
        depth: usize,
        updates: &[(Hash, Hash)],
        applying: &mut Applying<'_, R>,
    ) -> Result<(Child, Hash), SparseError<R::Error>> {
        match child {
            Child::Empty => {
                let entries: Vec<Entry> =
                    updates.iter().map(|(key, value)| Entry::new(*key, *value)).collect();
                self.keys += entries.len() as u64;
                Ok(self.place(entries, depth, applying))
            }
            Child::Page(index) => {
                let id = page::id(&updates[0].0, depth);
                let mut entries = match self.pages[index as usize].entries.take() {
                    Some(entries) => {
                        self.resident -= entries.len();
                        entries
                    }
                    None => read_page(applying.reader, &id)?.into(),
                };
                if !page::replace(&mut entries, updates) {
                    let before = entries.len();
                    let merged = page::merge(entries.into_vec(), updates);
                    self.keys += (merged.len() - before) as u64;
                    if merged.len() > PAGE_KEYS && depth < KEY_BITS {
                        applying.writes.delete(&id);
                        self.free_pages.push(index);
                        return Ok(self.place(merged, depth, applying));
                    }
                    entries = merged.into();
                }
                let hash = page::refresh(&mut entries, depth).unwrap_or(EMPTY_STATE_ROOT);
                applying.writes.put(&id, &hash, &entries);
                self.resident += entries.len();
                self.pages[index as usize] = Page { entries: Some(entries), used: true };
                Ok((child, hash))
            }
            Child::Node(index) => {
                let middle = updates.partition_point(|(key, _)| !bit(key, depth));
                let (left, right) = updates.split_at(middle);
                for (side, updates) in [left, right].into_iter().enumerate() {
                    if !updates.is_empty() {
                        let child = self.nodes[index as usize].children[side];
                        let (child, hash) = self.update(child, depth + 1, updates, applying)?;
                        let node = &mut self.nodes[index as usize];
                        (node.children[side], node.hashes[side]) = (child, hash);
                    }
                }
                Ok((child, self.nodes[index as usize].hash()))
            }
        }
    }

    /// New pages for sorted keys, with the nodes above them.
    fn place<R>(
        &mut self,
        mut entries: Vec<Entry>,
        depth: usize,
        applying: &mut Applying<'_, R>,
    ) -> (Child, Hash) {
        let Some(first) = entries.first() else { return (Child::Empty, EMPTY_STATE_ROOT) };
        if entries.len() <= PAGE_KEYS {
            let id = page::id(&first.key, depth);
            let hash = page::refresh(&mut entries, depth).unwrap_or(EMPTY_STATE_ROOT);
            applying.writes.put(&id, &hash, &entries);
            return (self.new_page(Some(entries)), hash);
        }
        let right = entries.split_off(page::split(&entries, depth));
        let (left, left_hash) = self.place(entries, depth + 1, applying);
        let (right, right_hash) = self.place(right, depth + 1, applying);
        let index = self.new_node([left, right], [left_hash, right_hash]);
        (Child::Node(index), self.nodes[index as usize].hash())
    }

    /// Drops pages that were not used lately from memory, until the budget is kept.
    fn sweep(&mut self) {
        let mut left = 2 * self.pages.len();
        while self.resident > self.budget && left > 0 {
            left -= 1;
            self.hand = (self.hand + 1) % self.pages.len();
            let page = &mut self.pages[self.hand];
            if std::mem::take(&mut page.used) {
                continue;
            }
            if let Some(entries) = page.entries.take() {
                self.resident -= entries.len();
            }
        }
    }

    /// The way of a key, and its value where it is present.
    ///
    /// # Errors
    /// [`SparseError`].
    pub fn prove<R: PageReader>(
        &self,
        reader: &R,
        key: &Hash,
    ) -> Result<(SparseProof, Option<Hash>), SparseError<R::Error>> {
        let mut siblings = Vec::with_capacity(LEAF_DEPTH);
        let mut child = self.root;
        loop {
            let depth = siblings.len();
            match child {
                Child::Empty => return Ok((SparseProof { siblings, terminal: Terminal::Empty }, None)),
                Child::Node(index) => {
                    let Node { children, hashes } = &self.nodes[index as usize];
                    let side = usize::from(bit(key, depth));
                    siblings.push((children[1 - side] != Child::Empty).then_some(hashes[1 - side]));
                    child = children[side];
                }
                Child::Page(index) => {
                    return match &self.pages[index as usize].entries {
                        Some(entries) => Ok(prove_in_page(entries, key, siblings)),
                        None => {
                            let entries = read_page(reader, &page::id(key, depth))?;
                            Ok(prove_in_page(&entries, key, siblings))
                        }
                    };
                }
            }
        }
    }
}

fn index_of(len: usize) -> u32 {
    u32::try_from(len - 1).unwrap_or(u32::MAX)
}

fn read_page<R: PageReader>(reader: &R, id: &[u8]) -> Result<Vec<Entry>, SparseError<R::Error>> {
    let wrong = |problem| SparseError::Page { id: hex(id), problem };
    let row = reader.page(id).map_err(SparseError::Storage)?.ok_or_else(|| wrong("missing"))?;
    page::decode(&row).ok_or_else(|| wrong("unreadable"))
}

fn prove_in_page(
    entries: &[Entry],
    key: &Hash,
    mut siblings: Vec<Option<Hash>>,
) -> (SparseProof, Option<Hash>) {
    let mut rest = entries;
    while rest.len() > 1 {
        let depth = siblings.len();
        let (left, right) = rest.split_at(page::split(rest, depth));
        let (own, other) = if bit(key, depth) { (right, left) } else { (left, right) };
        siblings.push(page::subtree(other, depth + 1));
        rest = own;
    }
    let Some(entry) = rest.first() else {
        return (SparseProof { siblings, terminal: Terminal::Empty }, None);
    };
    let shared = common_prefix(&entry.key, key);
    let present = shared == KEY_BITS;
    while siblings.len() < LEAF_DEPTH {
        let depth = siblings.len();
        if !present && depth == shared {
            siblings.push(Some(only(&entry.key, &entry.value, depth + 1)));
            return (SparseProof { siblings, terminal: Terminal::Empty }, None);
        }
        siblings.push(None);
    }
    if present {
        return (SparseProof { siblings, terminal: Terminal::Present }, Some(entry.value));
    }
    (SparseProof { siblings, terminal: Terminal::Other { key: entry.key, value: entry.value } }, None)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
