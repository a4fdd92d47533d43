//! The Jellyfish Merkle Tree of the crate `jmt`, on RocksDB.
//!
//! The tree's own pruning index is applied at once: nodes that a version makes stale are deleted in the WriteBatch
//! that stores the version's new nodes and values.

use std::path::Path;

use anyhow::{Context, bail};
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader, TreeUpdateBatch};
use jmt::{JellyfishMerkleTree, KeyHash, OwnedValue, Version};
use rocksdb::{ColumnFamily, DB, WaitForCompactOptions, WriteBatch};

use crate::Tree;
use crate::rocks;
use crate::sha256::Sha256;
use crate::workload::Update;

const NODES: &str = "nodes";
const VALUES: &str = "values";

/// How a batch enters the tree.
pub enum Insertion {
    /// `put_value_set`: each key is inserted by itself, which hashes its whole path anew. Allows deletion.
    PerKey,
    /// `batch_put_value_sets`: the batch is inserted in one descent, which hashes each changed node once.
    PerBatch,
}

pub struct JmtTree {
    store: Store,
    insertion: Insertion,
}

impl JmtTree {
    pub fn open(dir: &Path, insertion: Insertion) -> anyhow::Result<Self> {
        let db = rocks::open(dir, &[NODES, VALUES])?;
        Ok(Self { store: Store { db }, insertion })
    }
}

impl Tree for JmtTree {
    fn apply(&mut self, version: u64, updates: &[Update]) -> anyhow::Result<[u8; 32]> {
        let tree = JellyfishMerkleTree::<Store, Sha256>::new(&self.store);
        let pairs = updates.iter().map(|(key, value)| (KeyHash(*key), value.to_vec()));
        let (root, update) = match self.insertion {
            Insertion::PerKey => tree.put_value_set(pairs.map(|(key, value)| (key, Some(value))), version)?,
            Insertion::PerBatch => {
                let (roots, update) = tree.batch_put_value_sets(vec![pairs.collect()], None, version)?;
                (*roots.last().context("no root for the version")?, update)
            }
        };
        self.store.write(&update)?;
        Ok(root.0)
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self.store.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }
}

struct Store {
    db: DB,
}

impl Store {
    fn column_family(&self, name: &str) -> anyhow::Result<&ColumnFamily> {
        self.db.cf_handle(name).with_context(|| format!("no column family {name}"))
    }

    /// Writes one version and deletes the nodes it makes stale, atomically.
    fn write(&self, update: &TreeUpdateBatch) -> anyhow::Result<()> {
        let nodes = self.column_family(NODES)?;
        let values = self.column_family(VALUES)?;
        let mut batch = WriteBatch::default();
        for (key, node) in update.node_batch.nodes() {
            batch.put_cf(nodes, encode_node_key(key), borsh::to_vec(node)?);
        }
        for stale in &update.stale_node_index_batch {
            batch.delete_cf(nodes, encode_node_key(&stale.node_key));
        }
        for ((version, key), value) in update.node_batch.values() {
            match value {
                Some(value) => {
                    batch.put_cf(values, key.0, [version.to_be_bytes().as_slice(), value.as_slice()].concat())
                }
                None => batch.delete_cf(values, key.0),
            }
        }
        Ok(self.db.write(batch)?)
    }
}

impl TreeReader for Store {
    fn get_node_option(&self, node_key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let stored = self.db.get_pinned_cf(self.column_family(NODES)?, encode_node_key(node_key))?;
        stored.map(|bytes| borsh::from_slice::<Node>(&bytes).context("decoding a node")).transpose()
    }

    /// Only the newest value of a key is kept, behind the version that wrote it.
    fn get_value_option(&self, max_version: Version, key: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        let Some(stored) = self.db.get_pinned_cf(self.column_family(VALUES)?, key.0)? else {
            return Ok(None);
        };
        let (version, value) = stored.split_first_chunk::<8>().context("a value without its version")?;
        Ok((u64::from_be_bytes(*version) <= max_version).then(|| value.to_vec()))
    }

    /// Needed for restoring a tree from a backup only.
    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        bail!("restoring is not supported")
    }
}

/// Version, number of nibbles and the nibbles, two to a byte. New nodes so follow one another in key order.
fn encode_node_key(key: &NodeKey) -> Vec<u8> {
    let path = key.nibble_path();
    let mut bytes = Vec::with_capacity(9 + path.num_nibbles().div_ceil(2));
    bytes.extend_from_slice(&key.version().to_be_bytes());
    // At most 64 nibbles.
    bytes.push(path.num_nibbles() as u8);
    let mut nibbles = path.nibbles();
    while let Some(high) = nibbles.next() {
        let low = nibbles.next().map_or(0, u8::from);
        bytes.push((u8::from(high) << 4) | low);
    }
    bytes
}
