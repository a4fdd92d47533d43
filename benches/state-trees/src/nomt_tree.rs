//! The Nearly Optimal Merkle Trie of the crate `nomt`, on its own storage.
//!
//! Unlike the trees on RocksDB, it fsyncs every batch; there is no option against it. A directory on tmpfs takes
//! that out of the comparison.

use std::path::Path;

use anyhow::ensure;
use nomt::hasher::BinaryHasher;
use nomt::{IoUringPermission, KeyReadWrite, Nomt, Options, SessionParams};

use crate::Tree;
use crate::sha256::Sha256;
use crate::workload::Update;

type Hasher = BinaryHasher<Sha256>;

const COMMIT_THREADS: usize = 2;

/// MiB of the cache for pages of the trie, and of the cache for leaves of the value store.
const PAGE_CACHE: usize = 256;
const LEAF_CACHE: usize = 256;

/// Hash table buckets in an empty database, by default.
const DEFAULT_BUCKETS: u64 = 64_000;

/// A page of the trie is stored only if it has at least 20 leaves below it. Over random keys that makes at most
/// about one page for 28 keys, so one bucket for 16 keys leaves the hash table room.
const KEYS_PER_BUCKET: u64 = 16;

pub struct NomtTree {
    nomt: Nomt<Hasher>,
}

impl NomtTree {
    /// Creates a database for about this many keys.
    pub fn open(dir: &Path, keys: u64) -> anyhow::Result<Self> {
        let permission = nomt::check_iou_permissions();
        ensure!(matches!(permission, IoUringPermission::Allowed), "NOMT needs io_uring");

        let buckets = DEFAULT_BUCKETS.max(keys.div_ceil(KEYS_PER_BUCKET));
        let mut options = Options::new();
        options.path(dir);
        options.commit_concurrency(COMMIT_THREADS);
        options.page_cache_size(PAGE_CACHE);
        options.leaf_cache_size(LEAF_CACHE);
        options.hashtable_buckets(u32::try_from(buckets)?);
        // Keeps unused buckets out of the disk usage.
        options.preallocate_ht(false);
        // The place of each page is the same in every run.
        options.bitbox_seed([0; 16]);
        Ok(Self { nomt: Nomt::open(options)? })
    }
}

impl Tree for NomtTree {
    fn apply(&mut self, _version: u64, updates: &[Update]) -> anyhow::Result<[u8; 32]> {
        let mut writes: Vec<_> =
            updates.iter().map(|(key, value)| (*key, KeyReadWrite::Write(Some(value.to_vec())))).collect();
        // A session takes its writes in key order.
        writes.sort_unstable_by_key(|(key, _)| *key);

        let finished = self.nomt.begin_session(SessionParams::default()).finish(writes)?;
        let root = finished.root().into_inner();
        finished.commit(&self.nomt)?;
        Ok(root)
    }
}
