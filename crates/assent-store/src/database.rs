//! Opening a database, and the column families as types.

use std::{
    path::{Path, PathBuf},
    thread,
};

use assent_core::{ChainId, codec::DecodeError};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DBCompressionType,
    DBRawIteratorWithThreadMode, DBRecoveryMode, DBWithThreadMode, Direction, IteratorMode, Options,
    SingleThreaded, WriteBatch, WriteOptions,
};
use thiserror::Error;

use crate::aside::{Niceness, give_way};

/// The schema that this program writes.
const SCHEMA: u32 = 4;

/// Blocks that all families keep in memory together.
const BLOCK_CACHE_BYTES: usize = 256 * 1024 * 1024;
/// Bits of the filters that say which files cannot hold a key: one look-up in a hundred is made in vain.
const BLOOM_BITS_A_KEY: f64 = 10.0;
/// The same for ids of transactions: one in two thousand. Nearly all that are looked up are new, and each of some ten files is asked
/// whether it has them. Filters stay in memory: 200 MB with a hundred million transactions.
const BLOOM_BITS_A_TRANSACTION: f64 = 16.0;
/// The same for a memtable, as a share of its bytes: ten bits for each key with a row of some 100 bytes.
const MEMTABLE_BLOOM_RATIO: f64 = 0.015;
/// A row's place in its memtable is looked for from that of the last one with the same first byte on: a batch's rows come in the
/// order of their keys. The library has no function for this option.
const INSERT_NEAR_THE_LAST: &str = "memtable_insert_with_hint_prefix_extractor=fixed:1";
/// Bytes of a family in memory before they become a file. Where a database has no log of its own, so many have to be derived
/// again after a crash: some 400 thousand entries, a quarter of a minute.
const WRITE_BUFFER_BYTES: usize = 128 * 1024 * 1024;
/// Levels whose files are not compressed, in families that are searched: they are rewritten soon.
const UNCOMPRESSED_LEVELS: usize = 2;
/// Files that a searched family collects before they are merged into its first sorted level. Each is a look-up's business; the
/// more there are, the less often that level is rewritten.
const FIRST_FILES: i32 = 8;
/// Bytes of that level: as many as its first files have together, so that a merge rewrites about what it brings.
const FIRST_LEVEL_BYTES: u64 = 512 * 1024 * 1024;
/// Levels that RocksDB has.
const LEVELS: usize = 7;

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
    pub(crate) fn name(self) -> &'static str {
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
    /// A sequencer's log is gone.
    #[error(
        "{0} is missing, but what was derived from it is there: put the log back; nothing can be sequenced without it"
    )]
    LogMissing(PathBuf),
    /// A sequencer's log ends before what was derived from it.
    #[error(
        "{path} ends at record {end}, but {derived} were acknowledged and applied: put the whole log back; \
         nothing can be sequenced on a part of it"
    )]
    LogCut {
        /// Where.
        path: PathBuf,
        /// Position after the log's last record.
        end: u64,
        /// Position after the last record that was applied.
        derived: u64,
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
    /// A folder for databases cannot be made.
    #[error("cannot make the folder {}: {}", .0.display(), .1)]
    Folder(PathBuf, #[source] std::io::Error),
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
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
    /// Those of a sequencer's log, which is a database of its own: its syncs wait for nothing else.
    pub(crate) const OF_LOG: &'static [Self] = &[Self::Meta, Self::Log, Self::Groups];
    /// Those that a sequencer derives from its log.
    pub(crate) const DERIVED: &'static [Self] =
        &[Self::Meta, Self::State, Self::Transactions, Self::Entries, Self::Batches];
    /// Those of a prover or validator.
    pub(crate) const OF_FOLLOWER: &'static [Self] = &[
        Self::Meta,
        Self::Log,
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

    /// Whether its rows are looked up by keys that may not be there, or lie anywhere: then filters save reads.
    fn is_searched(self) -> bool {
        matches!(self, Self::State | Self::Transactions | Self::StateTree)
    }

    fn options(self, base: &Options, cache: &Cache) -> Options {
        let mut options = base.clone();
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        if self.is_searched() {
            // Most look-ups of an id are for one that is not there, and most of state for one that was not used lately.
            let bits = if self == Self::Transactions { BLOOM_BITS_A_TRANSACTION } else { BLOOM_BITS_A_KEY };
            table.set_bloom_filter(bits, false);
            // Its keys lie anywhere: the first files are rewritten soon, and so often that they had better be large.
            let mut compression = [DBCompressionType::Lz4; LEVELS];
            compression[..UNCOMPRESSED_LEVELS].fill(DBCompressionType::None);
            options.set_compression_per_level(&compression);
            options.set_max_bytes_for_level_base(FIRST_LEVEL_BYTES);
            options.set_level_zero_file_num_compaction_trigger(FIRST_FILES);
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
        }
        options.set_block_based_table_factory(&table);
        options
    }

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

/// The same where a cursor stands.
type RowSlices<'a> = (&'a [u8], &'a [u8]);

/// Families are made at opening only, so looking one up needs no lock.
type Rocks = DBWithThreadMode<SingleThreaded>;

/// Whether a database keeps what is written to it by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It has a log of its own, which [`Database::write_synced`] syncs.
    Logged,
    /// What it holds can be derived again from a database that has one: no log is written. Its families reach the disk all
    /// together, so what is found after a crash is the state after some write, with nothing of a later one.
    Derived,
}

/// An open database of one ledger and role.
pub struct Database {
    db: Rocks,
    sync: WriteOptions,
    write: WriteOptions,
    families: &'static [Family],
}

/// Several writes that take effect together.
#[derive(Default)]
pub(crate) struct Writes(WriteBatch);

impl Writes {
    /// With room for so many bytes, so that what is there does not have to be copied as more comes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self(WriteBatch::with_capacity_bytes(bytes))
    }
}

/// Finds rows of one family. It is made once for many look-ups: making it costs more than one of them.
pub(crate) struct RowCursor<'a>(DBRawIteratorWithThreadMode<'a, Rocks>);

impl RowCursor<'_> {
    /// The last row whose key is not after this one.
    pub(crate) fn last_up_to(&mut self, key: &[u8]) -> Result<Option<RowSlices<'_>>, StoreError> {
        self.0.seek_for_prev(key);
        self.0.status()?;
        Ok(self.0.item())
    }
}

impl Database {
    /// Opens the database in a folder, or makes it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed where the database is another ledger's, another role's or of another schema.
    pub(crate) fn open(
        path: &Path,
        role: Role,
        chain: &ChainId,
        families: &'static [Family],
        durability: Durability,
    ) -> Result<Self, StoreError> {
        // RocksDB's own threads are as nice as the thread that opens the first database, which starts them.
        let opening = || {
            give_way(Niceness::Merging);
            Self::open_here(path, role, chain, families, durability)
        };
        thread::scope(|scope| {
            let opener = thread::Builder::new().name("open".into()).spawn_scoped(scope, opening);
            let opened = opener.map_err(StoreError::Thread)?.join();
            opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn open_here(
        path: &Path,
        role: Role,
        chain: &ChainId,
        families: &'static [Family],
        durability: Durability,
    ) -> Result<Self, StoreError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(WRITE_BUFFER_BYTES);
        // After a crash the last record of RocksDB's own log may be torn; it was never acknowledged. Anything else that
        // cannot be read must not be skipped in silence, as the default mode would.
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_keep_log_file_num(10);
        match durability {
            // A family that is seldom written must not keep all of RocksDB's log files alive.
            Durability::Logged => options.set_max_total_wal_size(256 * 1024 * 1024),
            Durability::Derived => options.set_atomic_flush(true),
        }
        let options = options.get_options_from_string(INSERT_NEAR_THE_LAST)?;
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let descriptors = families
            .iter()
            .map(|family| ColumnFamilyDescriptor::new(family.name(), family.options(&options, &cache)));
        let locked = |error: rocksdb::Error| {
            let text = error.to_string();
            if text.contains("lock") && text.contains("LOCK") {
                StoreError::Locked(path.to_owned())
            } else {
                StoreError::Rocks(error)
            }
        };
        if path.exists() {
            // Another schema may have other families; say that it is newer or older, not that opening failed.
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
        let (mut sync, mut write) = (WriteOptions::default(), WriteOptions::default());
        match durability {
            Durability::Logged => sync.set_sync(true),
            Durability::Derived => {
                sync.disable_wal(true);
                write.disable_wal(true);
            }
        }
        let database = Self { db, sync, write, families };
        database.check_identity(path, role, chain)?;
        Ok(database)
    }

    /// Whether a folder holds a database.
    pub(crate) fn is_at(path: &Path) -> bool {
        path.join("CURRENT").exists()
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

    fn family(&self, family: Family) -> Result<&ColumnFamily, StoreError> {
        self.db
            .cf_handle(family.name())
            .ok_or_else(|| StoreError::Missing { family: family.name(), key: "column family".into() })
    }

    /// One of RocksDB's integer properties, of each family that has it.
    pub(crate) fn property(&self, name: &str) -> Vec<(&'static str, u64)> {
        let of = |family: Family| {
            let handle = self.db.cf_handle(family.name())?;
            let value = self.db.property_int_value_cf(handle, name).ok().flatten()?;
            Some((family.name(), value))
        };
        self.families.iter().copied().filter_map(of).collect()
    }

    pub(crate) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.db.get_cf(self.family(family)?, key)?)
    }

    /// Whether there is a row of each of several keys, which come in ascending order.
    pub(crate) fn are_there<'a>(
        &self,
        family: Family,
        keys: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<bool>, StoreError> {
        let rows = self.db.batched_multi_get_cf(self.family(family)?, keys, true);
        rows.into_iter().map(|row| Ok(row?.is_some())).collect()
    }

    pub(crate) fn must(&self, family: Family, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.get(family, key)?.ok_or_else(|| Self::missing(family, key))
    }

    pub(crate) fn put(&self, writes: &mut Writes, family: Family, key: &[u8], value: &[u8]) {
        if let Some(handle) = self.db.cf_handle(family.name()) {
            writes.0.put_cf(handle, key, value);
        }
    }

    /// The same for many rows: their family is looked up once.
    pub(crate) fn put_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        writes: &mut Writes,
        family: Family,
        rows: impl Iterator<Item = (K, V)>,
    ) {
        if let Some(handle) = self.db.cf_handle(family.name()) {
            for (key, value) in rows {
                writes.0.put_cf(handle, key, value);
            }
        }
    }

    pub(crate) fn delete(&self, writes: &mut Writes, family: Family, key: &[u8]) {
        if let Some(handle) = self.db.cf_handle(family.name()) {
            writes.0.delete_cf(handle, key);
        }
    }

    /// Atomic and on disk when it returns.
    pub(crate) fn write_synced(&self, writes: Writes) -> Result<(), StoreError> {
        Ok(self.db.write_opt(writes.0, &self.sync)?)
    }

    /// Atomic, and on disk no later than the next synced write, where there is one.
    pub(crate) fn write(&self, writes: Writes) -> Result<(), StoreError> {
        Ok(self.db.write_opt(writes.0, &self.write)?)
    }

    /// Rows from a key on, in ascending order.
    pub(crate) fn rows_from<'a>(
        &'a self,
        family: Family,
        key: &[u8],
    ) -> Result<impl Iterator<Item = Result<Row, StoreError>> + 'a, StoreError> {
        let handle = self.family(family)?;
        let rows = self.db.iterator_cf(handle, IteratorMode::From(key, Direction::Forward));
        Ok(rows.map(|row| row.map_err(StoreError::from)))
    }

    /// All rows, in descending order.
    pub(crate) fn rows_from_the_last(
        &self,
        family: Family,
    ) -> Result<impl Iterator<Item = Result<Row, StoreError>> + '_, StoreError> {
        let handle = self.family(family)?;
        let rows = self.db.iterator_cf(handle, IteratorMode::End);
        Ok(rows.map(|row| row.map_err(StoreError::from)))
    }

    /// The row with the highest key.
    pub(crate) fn last(&self, family: Family) -> Result<Option<Row>, StoreError> {
        let handle = self.family(family)?;
        let row = self.db.iterator_cf(handle, IteratorMode::End).next().transpose()?;
        Ok(row)
    }

    /// Finds rows in a family as it is now.
    pub(crate) fn row_cursor(&self, family: Family) -> Result<RowCursor<'_>, StoreError> {
        Ok(RowCursor(self.db.raw_iterator_cf(self.family(family)?)))
    }

    pub(crate) fn missing(family: Family, key: &[u8]) -> StoreError {
        StoreError::Missing { family: family.name(), key: shown(family, key) }
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
