//! The sparse tree of Assent, as a prover keeps it: one row a page.

use std::path::Path;

use anyhow::Context;
use assent_merkle::sparse::{PageReader, SparseTree};
use rocksdb::{ColumnFamily, DB, WriteBatch};

use crate::{Tree, rocks, workload::Update};

const PAGES: &str = "pages";

/// Keys whose pages stay in memory: as many as half a gibibyte holds, which is the prover's default.
const RESIDENT_KEYS: usize = (512 << 20) / 130;

pub struct AssentTree {
    store: Store,
    tree: SparseTree,
}

struct Store(DB);

impl Store {
    fn pages(&self) -> anyhow::Result<&ColumnFamily> {
        self.0.cf_handle(PAGES).context("the column family is missing")
    }
}

impl PageReader for Store {
    type Error = anyhow::Error;

    fn page(&self, id: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.0.get_cf(self.pages()?, id)?)
    }
}

impl AssentTree {
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let store = Store(rocks::open(dir, &[PAGES])?);
        Ok(Self { store, tree: SparseTree::new(RESIDENT_KEYS) })
    }
}

impl Tree for AssentTree {
    fn apply(&mut self, _version: u64, updates: &[Update]) -> anyhow::Result<[u8; 32]> {
        let mut updates = updates.to_vec();
        updates.sort_unstable();
        let pages = self.tree.apply(&self.store, &updates).map_err(|error| anyhow::anyhow!("{error}"))?;
        let mut batch = WriteBatch::default();
        for (id, row) in pages.iter() {
            match row {
                Some(row) => batch.put_cf(self.store.pages()?, id, row),
                None => batch.delete_cf(self.store.pages()?, id),
            }
        }
        self.store.0.write(batch)?;
        Ok(self.tree.root())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self.store.0.wait_for_compact(&rocksdb::WaitForCompactOptions::default())?)
    }
}
