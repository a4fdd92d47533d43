//! Opening a database, and the column families as types.

use std::path::{Path, PathBuf};

use assent_core::{ChainId, codec::DecodeError};
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode,
    DBWithThreadMode, Direction, IteratorMode, MultiThreaded, Options, WriteBatch, WriteOptions,
};
use thiserror::Error;

use std::sync::Arc;

/// The schema that this program writes.
const SCHEMA: u32 = 2;

/// Blocks that all families keep in memory together.
const BLOCK_CACHE_BYTES: usize = 256 * 1024 * 1024;
/// Bits of the filters that say which files cannot hold a key: one look-up in a hundred is made in vain.
const BLOOM_BITS_A_KEY: f64 = 10.0;

/// Whose database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The sequencer's.
    Sequencer,
    /// The prover's.
    Prover,
    /// A validator's.
    Validator,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Sequencer => "sequencer",
            Self::Prover => "prover",
            Self::Validator => "validator",
        }
    }
}

/// Why the storage cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// Made by a newer program.
    #[error(
        "{path} has schema {found}, this program knows {SCHEMA}; use the program that wrote it, or a newer one"
    )]
    NewerSchema {
        /// Where.
        path: PathBuf,
        /// Which.
        found: u32,
    },
    /// Made by an older program whose formats were others.
    #[error(
        "{path} has schema {found}, this program needs {SCHEMA}: ledgers made before have to be made anew"
    )]
    OlderSchema {
        /// Where.
        path: PathBuf,
        /// Which.
        found: u32,
    },
    /// Another ledger's.
    #[error("{path} belongs to chain {found}, not to {expected}")]
    OtherChain {
        /// Where.
        path: PathBuf,
        /// The chain wanted.
        expected: ChainId,
        /// The chain found.
        found: String,
    },
    /// Another role's.
    #[error("{path} is the database of a {found}, not of a {expected}")]
    OtherRole {
        /// Where.
        path: PathBuf,
        /// The role wanted.
        expected: &'static str,
        /// The role found.
        found: String,
    },
    /// A row that cannot be read.
    #[error("the {family} row of key {key} is corrupt: {source}")]
    Corrupt {
        /// Column family.
        family: &'static str,
        /// Key in hexadecimal.
        key: String,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// A row that must be there is not.
    #[error("the {family} row of key {key} is missing")]
    Missing {
        /// Column family.
        family: &'static str,
        /// Key in hexadecimal.
        key: String,
    },
    /// RocksDB failed.
    #[error("the database failed: {0}")]
    Rocks(#[from] rocksdb::Error),
}

/// The column families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Meta,
    Log,
    Groups,
    State,
    Transactions,
    Entries,
    Batches,
    Tiles,
    Checkpoints,
    StateTree,
    PartyLogs,
    Anchoring,
}

impl Family {
    const ALL: [Self; 12] = [
        Self::Meta,
        Self::Log,
        Self::Groups,
        Self::State,
        Self::Transactions,
        Self::Entries,
        Self::Batches,
        Self::Tiles,
        Self::Checkpoints,
        Self::StateTree,
        Self::PartyLogs,
        Self::Anchoring,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Log => "log",
            Self::Groups => "groups",
            Self::State => "state",
            Self::Transactions => "transactions",
            Self::Entries => "entries",
            Self::Batches => "batches",
            Self::Tiles => "tiles",
            Self::Checkpoints => "checkpoints",
            Self::StateTree => "state_tree",
            Self::PartyLogs => "party_logs",
            Self::Anchoring => "anchoring",
        }
    }
}

/// Key and value.
pub type Row = (Box<[u8]>, Box<[u8]>);

type Rocks = DBWithThreadMode<MultiThreaded>;

/// An open database of one ledger and role.
pub struct Database {
    db: Rocks,
    sync: WriteOptions,
}

/// Several writes that take effect together.
#[derive(Default)]
pub(crate) struct Writes(WriteBatch);

impl Database {
    /// Opens the database in a folder, or makes it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed where the database is another ledger's, another role's or of a newer schema.
    pub fn open(path: &Path, role: Role, chain: &ChainId) -> Result<Self, StoreError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_compression_type(DBCompressionType::Lz4);
        // After a crash the last record of RocksDB's own log may be torn; it was never acknowledged. Anything else that
        // cannot be read must not be skipped in silence, as the default mode would.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_keep_log_file_num(10);
        // A family that is seldom written must not keep all of RocksDB's log files alive.
        options.set_max_total_wal_size(256 * 1024 * 1024);
        // Most look-ups of an id are for one that is not there, and most of state for one that was not used lately.
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
        table.set_bloom_filter(BLOOM_BITS_A_KEY, false);
        options.set_block_based_table_factory(&table);
        let descriptors =
            Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), options.clone()));
        let locked = |error: rocksdb::Error| {
            let text = error.to_string();
            if text.contains("lock") && text.contains("LOCK") {
                StoreError::Locked(path.to_owned())
            } else {
                StoreError::Rocks(error)
            }
        };
        if path.exists() {
            // A newer schema may have families that we do not know; say that it is newer, not that opening failed.
            if let Ok(families) = Rocks::list_cf(&options, path)
                && families.iter().any(|name| name == "meta")
            {
                Self::check_schema(path, &options, &families).map_err(|error| match error {
                    StoreError::Rocks(error) => locked(error),
                    other => other,
                })?;
            }
        }
        let db = Rocks::open_cf_descriptors(&options, path, descriptors).map_err(locked)?;
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        let database = Self { db, sync };
        database.check_identity(path, role, chain)?;
        Ok(database)
    }

    fn check_schema(path: &Path, options: &Options, families: &[String]) -> Result<(), StoreError> {
        let db = Rocks::open_cf_for_read_only(options, path, families, false)?;
        let Some(meta) = db.cf_handle("meta") else { return Ok(()) };
        let Some(schema) = db.get_cf(&meta, b"schema")? else { return Ok(()) };
        let found = <[u8; 4]>::try_from(schema.as_slice()).map_or(u32::MAX, u32::from_be_bytes);
        if found > SCHEMA {
            return Err(StoreError::NewerSchema { path: path.to_owned(), found });
        }
        if found < SCHEMA {
            return Err(StoreError::OlderSchema { path: path.to_owned(), found });
        }
        Ok(())
    }

    fn check_identity(&self, path: &Path, role: Role, chain: &ChainId) -> Result<(), StoreError> {
        let Some(found) = self.get(Family::Meta, b"chain")? else {
            let mut writes = Writes::default();
            self.put(&mut writes, Family::Meta, b"schema", &SCHEMA.to_be_bytes());
            self.put(&mut writes, Family::Meta, b"chain", &chain.0);
            self.put(&mut writes, Family::Meta, b"role", role.name().as_bytes());
            return self.write_synced(writes);
        };
        if found != chain.0 {
            let found = found.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(StoreError::OtherChain { path: path.to_owned(), expected: *chain, found });
        }
        let found = self.get(Family::Meta, b"role")?.unwrap_or_default();
        if found != role.name().as_bytes() {
            return Err(StoreError::OtherRole {
                path: path.to_owned(),
                expected: role.name(),
                found: String::from_utf8_lossy(&found).into_owned(),
            });
        }
        Ok(())
    }

    fn family(&self, family: Family) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        self.db
            .cf_handle(family.name())
            .ok_or_else(|| StoreError::Missing { family: family.name(), key: "column family".into() })
    }

    /// One of RocksDB's integer properties, of each family that has it.
    pub(crate) fn property(&self, name: &str) -> Vec<(&'static str, u64)> {
        let of = |family: Family| {
            let handle = self.db.cf_handle(family.name())?;
            let value = self.db.property_int_value_cf(&handle, name).ok().flatten()?;
            Some((family.name(), value))
        };
        Family::ALL.into_iter().filter_map(of).collect()
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get_cf(&self.family(family)?, key)?)
    }

    pub(crate) fn must(&self, family: Family, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.get(family, key)?
            .ok_or_else(|| StoreError::Missing { family: family.name(), key: shown(family, key) })
    }

    pub(crate) fn put(&self, writes: &mut Writes, family: Family, key: &[u8], value: &[u8]) {
        if let Some(handle) = self.db.cf_handle(family.name()) {
            writes.0.put_cf(&handle, key, value);
        }
    }

    pub(crate) fn delete(&self, writes: &mut Writes, family: Family, key: &[u8]) {
        if let Some(handle) = self.db.cf_handle(family.name()) {
            writes.0.delete_cf(&handle, key);
        }
    }

    /// Atomic and on disk when it returns.
    pub(crate) fn write_synced(&self, writes: Writes) -> Result<(), StoreError> {
        Ok(self.db.write_opt(writes.0, &self.sync)?)
    }

    /// Atomic, and on disk no later than the next synced write.
    pub(crate) fn write(&self, writes: Writes) -> Result<(), StoreError> {
        Ok(self.db.write(writes.0)?)
    }

    /// Rows from a key on, in ascending order.
    pub(crate) fn rows_from<'a>(
        &'a self,
        family: Family,
        key: &[u8],
    ) -> Result<impl Iterator<Item = Result<Row, StoreError>> + 'a, StoreError> {
        let handle = self.family(family)?;
        let rows = self.db.iterator_cf(&handle, IteratorMode::From(key, Direction::Forward));
        Ok(rows.map(|row| row.map_err(StoreError::from)))
    }

    /// All rows, in descending order.
    pub(crate) fn rows_from_the_last(
        &self,
        family: Family,
    ) -> Result<impl Iterator<Item = Result<Row, StoreError>> + '_, StoreError> {
        let handle = self.family(family)?;
        let rows = self.db.iterator_cf(&handle, IteratorMode::End);
        Ok(rows.map(|row| row.map_err(StoreError::from)))
    }

    /// The row with the highest key.
    pub(crate) fn last(&self, family: Family) -> Result<Option<Row>, StoreError> {
        let handle = self.family(family)?;
        let row = self.db.iterator_cf(&handle, IteratorMode::End).next().transpose()?;
        Ok(row)
    }

    pub(crate) fn corrupt(family: Family, key: &[u8], source: DecodeError) -> StoreError {
        StoreError::Corrupt { family: family.name(), key: shown(family, key), source }
    }
}

/// A key as an error may show it: those of state and of the parties' logs are account ids, which no log may hold.
fn shown(family: Family, key: &[u8]) -> String {
    match family {
        Family::State | Family::PartyLogs => format!("of {} bytes", key.len()),
        _ => hex(key),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
