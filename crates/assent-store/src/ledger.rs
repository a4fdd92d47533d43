//! A ledger's rows: what the sequencer and the prover read and write.

use std::{path::Path, sync::Arc};

use assent_core::{
    ChainId, Hash, TransactionId,
    batch::BatchHeader,
    codec::leading,
    log::LogRecord,
    machine::{Cursor, GroupOutput, SealedBatch, StateError, StateRead},
    manifest::GenesisManifest,
    outcome::ENTRY_BYTES,
    records::{Record, SeenTransaction, StateKey, StateValue},
};
use assent_merkle::{
    sparse::{PageReader, PageWrites},
    tiles::{TileId, TileReader},
};
use assent_proto::v1::SealedBatch as SealedBatchMessage;
use bytes::Bytes;

use crate::{
    database::{Database, Durability, Family, Role, Row, RowCursor, StoreError, Writes},
    party_logs,
    rows::{EntryRow, StoredBatch, StoredEntry},
};

/// Bytes of a state record's row in a write beside the record: key, salt, lengths.
const STATE_ROW_BYTES: usize = 80;
/// Bytes of a transaction's row in a write.
const TRANSACTION_ROW_BYTES: usize = 48;

/// What became of a commit.
#[derive(Debug)]
pub enum Commit {
    /// On disk.
    Committed,
    /// Not written: another sequencer has begun a newer epoch, or wrote at this position.
    Fenced {
        /// Newest epoch.
        epoch: u64,
        /// Next free position.
        position: u64,
    },
    /// Nobody knows. The process must end; what is on disk is read back when it opens the log again.
    Unknown(StoreError),
}

/// A sealed batch with everything that is stored of it.
#[derive(Debug)]
pub struct SealedWrite<'a> {
    /// What the machine put out.
    pub sealed: &'a SealedBatch,
    /// The sequencer's signature on the header.
    pub signature: [u8; 64],
    /// Position of the batch's first log record.
    pub first_position: u64,
    /// For a prover or validator: what the groups of the batch gave. Their log records and details are kept with the entries; a
    /// sequencer's log has the records, and it shows nobody a detail. It stores its groups before ([`LedgerStore::store_group`]).
    pub groups: &'a [&'a GroupOutput],
    /// For a prover: tiles that changed.
    pub tiles: &'a [(TileId, Vec<Hash>)],
    /// For a prover: pages of the state tree that changed. With them the logs of subjects and recipients are kept too.
    pub pages: Option<&'a PageWrites>,
    /// For a prover: root of the state tree after it.
    pub state_root: Option<Hash>,
    /// For a prover: the signed checkpoint after this batch, by its size.
    pub checkpoint: Option<(u64, &'a str)>,
}

/// Folders of a sequencer's two databases.
const LOG: &str = "log";
const DERIVED: &str = "derived";

/// What one role keeps of a ledger.
///
/// A prover or validator has one database, in which a batch is one synced write. A sequencer has two: its log, in which every
/// group is one small synced write that waits for nothing else; and what is derived from it, which is written without a log of
/// its own and derived again from the last point that reached the disk, should the process die.
pub struct LedgerStore {
    pub(crate) database: Database,
    /// A sequencer's.
    log: Option<Database>,
}

impl LedgerStore {
    /// Opens or makes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(path: &Path, role: Role, chain: &ChainId) -> Result<Self, StoreError> {
        let other_role = |found: &str| StoreError::OtherRole {
            path: path.to_owned(),
            expected: role.name(),
            found: found.to_owned(),
        };
        if role != Role::Sequencer {
            if Database::is_at(&path.join(LOG)) {
                return Err(other_role(Role::Sequencer.name()));
            }
            let database = Database::open(path, role, chain, Family::OF_FOLLOWER, Durability::Logged)?;
            return Ok(Self { database, log: None });
        }
        if Database::is_at(path) {
            // A follower's, or a sequencer's of an earlier schema, which had one database.
            Database::open(path, role, chain, Family::OF_FOLLOWER, Durability::Logged)?;
            return Err(other_role("prover or validator"));
        }
        if Database::is_at(&path.join(DERIVED)) && !Database::is_at(&path.join(LOG)) {
            return Err(StoreError::LogMissing(path.join(LOG)));
        }
        std::fs::create_dir_all(path).map_err(|error| StoreError::Folder(path.to_owned(), error))?;
        let open =
            |name, families, durability| Database::open(&path.join(name), role, chain, families, durability);
        let log = open(LOG, Family::OF_LOG, Durability::Logged)?;
        let database = open(DERIVED, Family::DERIVED, Durability::Derived)?;
        let store = Self { database, log: Some(log) };
        // Nothing is applied that is not in the log: with less in it, sequences would be given twice.
        let (end, derived) = (store.log_end()?, store.derived_records()?);
        if end < derived {
            return Err(StoreError::LogCut { path: path.join(LOG), end, derived });
        }
        // By its signature a commit knows the last record.
        if let Some(last) = end.checked_sub(1) {
            store.group_signature(last)?;
        }
        Ok(store)
    }

    /// Where the ledger stands after the last stored batch, where there is one.
    fn stored_cursor(database: &Database) -> Result<Option<Cursor>, StoreError> {
        let Some(bytes) = database.get(Family::Meta, b"cursor")? else { return Ok(None) };
        let corrupt = |source| Database::corrupt(Family::Meta, b"cursor", source);
        Ok(Some(Cursor::decode(&bytes).map_err(corrupt)?))
    }

    /// Log records that something stored was derived from.
    fn derived_records(&self) -> Result<u64, StoreError> {
        let of_batches = Self::stored_cursor(&self.database)?.map_or(0, |cursor| cursor.next_position);
        let last = self.database.last(Family::Entries)?;
        let of_groups = match last {
            Some((key, row)) => {
                let corrupt = |source| Database::corrupt(Family::Entries, &key, source);
                EntryRow::open(&row).map_err(corrupt)?.position() + 1
            }
            None => 0,
        };
        Ok(of_batches.max(of_groups))
    }

    /// Where log records are.
    fn log(&self) -> &Database {
        self.log.as_ref().unwrap_or(&self.database)
    }

    /// One of RocksDB's integer properties, of each column family that has it: for metrics.
    #[must_use]
    pub fn property(&self, name: &str) -> Vec<(&'static str, u64)> {
        let mut found: std::collections::BTreeMap<&'static str, u64> = Default::default();
        for database in self.log.iter().chain([&self.database]) {
            for (family, value) in database.property(name) {
                *found.entry(family).or_default() += value;
            }
        }
        found.into_iter().collect()
    }

    /// Begins a new epoch, durably: whoever writes with an older one is fenced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_epoch(&self) -> Result<u64, StoreError> {
        let epoch = self.epoch()? + 1;
        let mut writes = Writes::default();
        self.log().put(&mut writes, Family::Meta, b"epoch", &epoch.to_be_bytes());
        self.log().write_synced(writes)?;
        Ok(epoch)
    }

    fn epoch(&self) -> Result<u64, StoreError> {
        let found = self.log().get(Family::Meta, b"epoch")?;
        Ok(found.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// The commit seam: one group, its encoded log record and the signature over its receipts, atomic, and on disk before it
    /// answers.
    #[must_use]
    pub fn commit(&self, epoch: u64, expected_position: u64, record: &[u8], signature: &[u8; 64]) -> Commit {
        let fence = || -> Result<Option<Commit>, StoreError> {
            let newest = self.epoch()?;
            if newest == epoch && self.log_ends_at(expected_position)? {
                return Ok(None);
            }
            Ok(Some(Commit::Fenced { epoch: newest, position: self.log_end()? }))
        };
        match fence() {
            Ok(None) => {}
            Ok(Some(fenced)) => return fenced,
            Err(error) => return Commit::Unknown(error),
        }
        let key = expected_position.to_be_bytes();
        let mut writes = Writes::default();
        self.log().put(&mut writes, Family::Log, &key, record);
        self.log().put(&mut writes, Family::Groups, &key, signature);
        match self.log().write_synced(writes) {
            Ok(()) => Commit::Committed,
            Err(error) => Commit::Unknown(error),
        }
    }

    /// The position after the last log record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_end(&self) -> Result<u64, StoreError> {
        match self.log().last(Family::Log)? {
            Some((key, _)) => Ok(position_of(&key)? + 1),
            None => Ok(0),
        }
    }

    /// Whether the log ends there: asks for the signatures of the two records about it, which are written with the records and
    /// small. Finding the last row takes ten times as long.
    fn log_ends_at(&self, position: u64) -> Result<bool, StoreError> {
        let is_there = |position: u64| -> Result<bool, StoreError> {
            Ok(self.log().get(Family::Groups, &position.to_be_bytes())?.is_some())
        };
        let follows = position.checked_sub(1).map_or(Ok(true), is_there)?;
        Ok(follows && !is_there(position)?)
    }

    /// A log record.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Corrupt`].
    pub fn record(&self, position: u64) -> Result<LogRecord, StoreError> {
        let key = position.to_be_bytes();
        LogRecord::decode(&self.log().must(Family::Log, &key)?.into())
            .map_err(|source| Database::corrupt(Family::Log, &key, source))
    }

    /// The encoded log records of a range of positions.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    pub fn encoded_records(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        (first..first + count).map(|position| self.log().must(Family::Log, &position.to_be_bytes())).collect()
    }

    /// The sequencer's signature over a group.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    pub fn group_signature(&self, position: u64) -> Result<[u8; 64], StoreError> {
        let key = position.to_be_bytes();
        self.log().must(Family::Groups, &key)?.try_into().map_err(|_| {
            let wrong = assent_core::codec::DecodeError::invalid("signature", "not 64 bytes");
            Database::corrupt(Family::Groups, &key, wrong)
        })
    }

    /// Where the ledger stands after its last stored batch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cursor(&self, manifest: &GenesisManifest) -> Result<Cursor, StoreError> {
        Ok(Self::stored_cursor(&self.database)?.unwrap_or_else(|| Cursor::genesis(manifest)))
    }

    /// Stores a sequencer's entries of a committed group before its batch is sealed, so that less is left to do at once then.
    /// Nothing leads to them until the batch is stored, and after a crash the same group gives the same again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store_group(&self, group: &GroupOutput) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        self.put_entries(&mut writes, group);
        self.database.write(writes)
    }

    fn put_entries(&self, writes: &mut Writes, group: &GroupOutput) {
        for (sequence, row) in EntryRow::of_group(group) {
            self.database.put(writes, Family::Entries, &sequence.to_be_bytes(), &row);
        }
    }

    /// Stores a sealed batch in one atomic write. For a prover or validator it is on disk when this returns, before a checkpoint
    /// is shown; a sequencer can derive the batch again from its log.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store_sealed(&self, write: &SealedWrite<'_>) -> Result<(), StoreError> {
        let (db, sealed) = (&self.database, write.sealed);
        // In the order of their keys, neighbours are found and written together. The keys lie anywhere in memory: most comparisons
        // read numbers that lie together.
        let mut state: Vec<_> =
            sealed.content.state.iter().map(|(key, value)| (key.leading(), key, value)).collect();
        state.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let mut seen: Vec<_> =
            (sealed.content.seen.iter()).map(|(id, seen)| (leading(&id.0), id, seen.at.sequence)).collect();
        seen.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(b.1)));
        let bytes: usize = state.iter().map(|(_, _, value)| value.record.len() + STATE_ROW_BYTES).sum();
        let mut writes = Writes::with_room(bytes + seen.len() * TRANSACTION_ROW_BYTES);
        let rows = state.iter().map(|(_, key, value)| (key.to_bytes(), value.to_bytes()));
        db.put_all(&mut writes, Family::State, rows);
        let rows = seen.iter().map(|(_, id, sequence)| (id, sequence.to_be_bytes()));
        db.put_all(&mut writes, Family::Transactions, rows);
        for group in write.groups {
            self.put_entries(&mut writes, group);
            let key = group.record.position.to_be_bytes();
            db.put(&mut writes, Family::Log, &key, &group.record_bytes);
        }
        for (tile, hashes) in write.tiles {
            db.put(&mut writes, Family::Tiles, &tile_key(*tile), hashes.as_flattened());
        }
        if let Some(pages) = write.pages {
            for (id, row) in pages.iter() {
                match row {
                    Some(row) => db.put(&mut writes, Family::StateTree, id, row),
                    None => db.delete(&mut writes, Family::StateTree, id),
                }
            }
            let mut appends: Vec<_> = sealed.content.appends.iter().collect();
            appends.sort_unstable_by_key(|append| (append.log, append.index));
            for append in appends {
                let key = party_logs::row_key(append.log, append.index);
                db.put(&mut writes, Family::PartyLogs, &key, &party_logs::row(append));
            }
        }
        if let Some((size, note)) = write.checkpoint {
            db.put(&mut writes, Family::Checkpoints, &size.to_be_bytes(), note.as_bytes());
        }
        let batch = StoredBatch {
            header: sealed.header.encode(),
            signature: write.signature,
            first_position: write.first_position,
            record_count: sealed.cursor.next_position - write.first_position,
            state_root: write.state_root,
        };
        db.put(&mut writes, Family::Batches, &sealed.header.number.to_be_bytes(), &batch.encode());
        db.put(&mut writes, Family::Meta, b"cursor", &sealed.cursor.encode());
        // Without a log there is nothing that a sync would wait for.
        db.write_synced(writes)
    }

    /// All pages of the state tree.
    ///
    /// # Errors
    /// [`StoreError`], also of each row.
    pub fn state_pages(&self) -> Result<impl Iterator<Item = Result<Row, StoreError>> + '_, StoreError> {
        self.database.rows_from(Family::StateTree, &[])
    }

    /// A sealed batch as followers get it and exports keep it, or `None` where there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Missing`].
    pub fn sealed_batch(&self, number: u64) -> Result<Option<SealedBatchMessage>, StoreError> {
        let Some(batch) = self.batch(number)? else { return Ok(None) };
        let header = BatchHeader::decode(&batch.header)
            .map_err(|source| Database::corrupt(Family::Batches, &number.to_be_bytes(), source))?;
        // One buffer, of which each entry is a slice.
        let size = header.entry_count as usize * ENTRY_BYTES;
        let mut entries = Vec::with_capacity(size);
        let mut rows = self.database.rows_from(Family::Entries, &header.first_sequence.to_be_bytes())?;
        // A batch begins and ends with a row.
        while entries.len() < size
            && let Some(row) = rows.next()
        {
            let (key, row) = row?;
            let corrupt = |source| Database::corrupt(Family::Entries, &key, source);
            for entry in EntryRow::open(&row).map_err(corrupt)?.encoded_entries() {
                entries.extend_from_slice(entry.map_err(corrupt)?);
            }
        }
        let entries = Bytes::from(entries);
        let starts = (0..entries.len()).step_by(ENTRY_BYTES);
        Ok(Some(SealedBatchMessage {
            header: batch.header,
            signature: batch.signature.to_vec(),
            log_records: self
                .encoded_records(batch.first_position, batch.record_count)?
                .into_iter()
                .map(Into::into)
                .collect(),
            entries: starts.map(|start| entries.slice(start..start + ENTRY_BYTES)).collect(),
        }))
    }

    /// Batches that the prover is known to have checkpointed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn proven_batches(&self) -> Result<u64, StoreError> {
        let found = self.database.get(Family::Meta, b"proven")?;
        Ok(found.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// Remembers it, without waiting for the disk: after a crash the prover reports again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_proven_batches(&self, batches: u64) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        self.database.put(&mut writes, Family::Meta, b"proven", &batches.to_be_bytes());
        self.database.write(writes)
    }

    /// A batch.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn batch(&self, number: u64) -> Result<Option<StoredBatch>, StoreError> {
        let key = number.to_be_bytes();
        self.database
            .get(Family::Batches, &key)?
            .map(|row| {
                StoredBatch::decode(&row).map_err(|source| Database::corrupt(Family::Batches, &key, source))
            })
            .transpose()
    }

    /// An entry of a stored batch.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn entry(&self, sequence: u64) -> Result<Option<StoredEntry>, StoreError> {
        self.entry_finder()?.entry(sequence)
    }

    /// Finds many entries among those that are stored now, each in less time than [`Self::entry`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entry_finder(&self) -> Result<EntryFinder<'_>, StoreError> {
        Ok(EntryFinder(self.database.row_cursor(Family::Entries)?))
    }

    /// Consecutive entries from a sequence on, while `take` says so.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn entries_while(
        &self,
        first: u64,
        mut take: impl FnMut(&StoredEntry) -> bool,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let mut found = Vec::new();
        let mut cursor = self.database.row_cursor(Family::Entries)?;
        let Some((begin, _)) = cursor.last_up_to(&first.to_be_bytes())? else { return Ok(found) };
        for row in self.database.rows_from(Family::Entries, begin)? {
            let (key, value) = row?;
            let corrupt = |source| Database::corrupt(Family::Entries, &key, source);
            for entry in EntryRow::open(&value).map_err(corrupt)?.entries() {
                let entry = entry.map_err(corrupt)?;
                if entry.entry.sequence < first {
                    continue;
                }
                if !take(&entry) {
                    return Ok(found);
                }
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// The sequence of a transaction of a stored batch.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn sequence_of(&self, id: &TransactionId) -> Result<Option<u64>, StoreError> {
        let Some(row) = self.database.get(Family::Transactions, &id.0)? else { return Ok(None) };
        let sequence = row.try_into().map_err(|_| {
            let wrong = assent_core::codec::DecodeError::invalid("sequence", "not 8 bytes");
            Database::corrupt(Family::Transactions, &id.0, wrong)
        })?;
        Ok(Some(u64::from_be_bytes(sequence)))
    }

    /// The newest signed checkpoint and its size.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_checkpoint(&self) -> Result<Option<(u64, String)>, StoreError> {
        let Some((key, note)) = self.database.last(Family::Checkpoints)? else { return Ok(None) };
        Ok(Some((position_of(&key)?, String::from_utf8_lossy(&note).into_owned())))
    }

    /// The signed checkpoint of a size.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint(&self, size: u64) -> Result<Option<String>, StoreError> {
        let note = self.database.get(Family::Checkpoints, &size.to_be_bytes())?;
        Ok(note.map(|note| String::from_utf8_lossy(&note).into_owned()))
    }

    /// Signed checkpoints, newest first, with their sizes.
    ///
    /// # Errors
    /// [`StoreError`], also of each row.
    pub fn checkpoints_from_the_newest(
        &self,
    ) -> Result<impl Iterator<Item = Result<(u64, String), StoreError>> + '_, StoreError> {
        let rows = self.database.rows_from_the_last(Family::Checkpoints)?;
        Ok(rows.map(|row| {
            let (key, note) = row?;
            Ok((position_of(&key)?, String::from_utf8_lossy(&note).into_owned()))
        }))
    }

    /// Keeps a checkpoint that the prover signed, by its size, on disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_checkpoint(&self, size: u64, note: &str) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        self.database.put(&mut writes, Family::Checkpoints, &size.to_be_bytes(), note.as_bytes());
        self.database.write_synced(writes)
    }

    /// A value of the anchoring family.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn anchoring_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(Family::Anchoring, key)
    }

    /// Writes and deletes (`None`) values of the anchoring family, atomically and synced.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn anchoring_write(&self, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), StoreError> {
        let mut writes = Writes::default();
        for (key, value) in changes {
            match value {
                Some(value) => self.database.put(&mut writes, Family::Anchoring, key, value),
                None => self.database.delete(&mut writes, Family::Anchoring, key),
            }
        }
        self.database.write_synced(writes)
    }
}

/// Finds entries one after the other.
pub struct EntryFinder<'a>(RowCursor<'a>);

impl EntryFinder<'_> {
    /// An entry, or `None` where it was not stored when the finder was made.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`].
    pub fn entry(&mut self, sequence: u64) -> Result<Option<StoredEntry>, StoreError> {
        let Some((first, row)) = self.0.last_up_to(&sequence.to_be_bytes())? else { return Ok(None) };
        let place = sequence - position_of(first)?;
        let entry = EntryRow::open(row).and_then(|row| row.nth(place));
        entry.map_err(|source| Database::corrupt(Family::Entries, first, source))
    }
}

impl StateRead for LedgerStore {
    fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError> {
        let key = key.to_bytes();
        let row =
            self.database.get(Family::State, &key).map_err(|error| StateError::Storage(Box::new(error)))?;
        row.map(|row| {
            StateValue::from_bytes(&row).ok_or_else(|| {
                let short = assent_core::codec::DecodeError::invalid("value", "shorter than its salt");
                StateError::Storage(Box::new(Database::corrupt(Family::State, &key, short)))
            })
        })
        .transpose()
    }

    fn seen(&self, id: &TransactionId) -> Result<Option<Arc<SeenTransaction>>, StateError> {
        let storage = |error| StateError::Storage(Box::new(error));
        let Some(sequence) = self.sequence_of(id).map_err(storage)? else { return Ok(None) };
        // Rare: of an old request that is cited, or of a transaction that comes again.
        let missing = || Database::missing(Family::Entries, &sequence.to_be_bytes());
        let entry = self.entry(sequence).and_then(|entry| entry.ok_or_else(missing)).map_err(storage)?;
        Ok(Some(Arc::new(entry.seen())))
    }

    fn known(&self, ids: &[TransactionId]) -> Result<Vec<bool>, StateError> {
        let mut order: Vec<(u64, usize)> =
            ids.iter().enumerate().map(|(index, id)| (leading(&id.0), index)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| ids[a.1].cmp(&ids[b.1])));
        let there = self
            .database
            .are_there(Family::Transactions, order.iter().map(|(_, index)| &ids[*index].0[..]))
            .map_err(|error| StateError::Storage(Box::new(error)))?;
        let mut known = vec![false; ids.len()];
        for ((_, index), is_there) in order.into_iter().zip(there) {
            known[index] = is_there;
        }
        Ok(known)
    }
}

impl PageReader for LedgerStore {
    type Error = StoreError;

    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(Family::StateTree, id)
    }
}

impl TileReader for LedgerStore {
    type Error = StoreError;

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, StoreError> {
        let row = self.database.get(Family::Tiles, &tile_key(id))?;
        Ok(row.map(|row| row.as_chunks::<32>().0.to_vec()))
    }
}

fn tile_key(id: TileId) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = id.level;
    key[1..].copy_from_slice(&id.index.to_be_bytes());
    key
}

fn position_of(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| {
        let wrong = assent_core::codec::DecodeError::invalid("key", "not 8 bytes");
        Database::corrupt(Family::Log, key, wrong)
    })
}
