//! What a database refuses, and what a crash leaves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use assent_core::{ChainId, batch::BaseBlock, log::LogRecord, machine::Cursor, records::Record};
use assent_store::{Commit, LedgerStore, Role, StoreError};

const CHAIN: ChainId = ChainId([1; 32]);

fn record(position: u64, epoch: u64) -> LogRecord {
    LogRecord {
        position,
        epoch,
        time_ms: 5,
        seal: false,
        time_confirmed: false,
        seed: [9; 32],
        base: BaseBlock::default(),
        transactions: Vec::new(),
    }
}

/// Commits two records. Gives their epoch.
fn commit_two(store: &LedgerStore) -> u64 {
    let epoch = store.begin_epoch().unwrap();
    for position in 0..2 {
        let bytes = record(position, epoch).encode();
        assert!(matches!(store.commit(epoch, position, &bytes, &[7; 64]), Commit::Committed));
    }
    epoch
}

#[test]
fn another_ledgers_another_roles_and_an_open_database_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let open = |role, chain| LedgerStore::open(temp.path(), role, &chain);
    let first = open(Role::Sequencer, CHAIN).unwrap();
    assert!(matches!(open(Role::Sequencer, CHAIN), Err(StoreError::Locked(_))));
    drop(first);
    assert!(matches!(open(Role::Sequencer, ChainId([2; 32])), Err(StoreError::OtherChain { .. })));
    assert!(matches!(open(Role::Prover, CHAIN), Err(StoreError::OtherRole { .. })));
    open(Role::Sequencer, CHAIN).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let open = |role| LedgerStore::open(temp.path(), role, &CHAIN);
    open(Role::Prover).unwrap();
    assert!(matches!(open(Role::Sequencer), Err(StoreError::OtherRole { .. })));
    assert!(matches!(open(Role::Validator), Err(StoreError::OtherRole { .. })));
}

#[test]
fn a_sequencers_one_database_of_an_earlier_schema_is_told_from_its_two() {
    let temp = tempfile::tempdir().unwrap();
    {
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = rocksdb::DB::open_cf(&options, temp.path(), ["meta", "groups"]).unwrap();
        db.put_cf(db.cf_handle("meta").unwrap(), b"schema", 2u32.to_be_bytes()).unwrap();
    }
    let refused = LedgerStore::open(temp.path(), Role::Sequencer, &CHAIN);
    assert!(matches!(refused, Err(StoreError::OlderSchema { found: 2, .. })));
}

#[test]
fn nothing_is_sequenced_on_a_log_that_is_gone_or_cut() {
    let temp = tempfile::tempdir().unwrap();
    let (log, aside) = (temp.path().join("sequencer/log"), temp.path().join("aside"));
    let path = temp.path().join("sequencer");
    let open = || LedgerStore::open(&path, Role::Sequencer, &CHAIN);
    let epoch = commit_two(&open().unwrap());
    {
        // As after a batch of three records.
        let options = rocksdb::Options::default();
        let derived = path.join("derived");
        let families = rocksdb::DB::list_cf(&options, &derived).unwrap();
        let db = rocksdb::DB::open_cf(&options, &derived, families).unwrap();
        let cursor = Cursor {
            next_position: 3,
            next_sequence: 3,
            next_batch: 1,
            previous_hash: [1; 32],
            time_ms: 5,
            epoch,
            base: BaseBlock::default(),
        };
        db.put_cf(db.cf_handle("meta").unwrap(), b"cursor", cursor.encode()).unwrap();
    }
    assert!(matches!(open(), Err(StoreError::LogCut { end: 2, derived: 3, .. })));
    std::fs::rename(&log, &aside).unwrap();
    assert!(matches!(open(), Err(StoreError::LogMissing(_))));
    // Nothing was made in its place.
    std::fs::rename(&aside, &log).unwrap();
    assert!(matches!(open(), Err(StoreError::LogCut { end: 2, derived: 3, .. })));
}

#[test]
fn a_log_whose_last_record_has_no_signature_is_not_opened() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("sequencer");
    let open = || LedgerStore::open(&path, Role::Sequencer, &CHAIN);
    commit_two(&open().unwrap());
    {
        let options = rocksdb::Options::default();
        let log = path.join("log");
        let families = rocksdb::DB::list_cf(&options, &log).unwrap();
        let db = rocksdb::DB::open_cf(&options, &log, families).unwrap();
        db.delete_cf(db.cf_handle("groups").unwrap(), 1u64.to_be_bytes()).unwrap();
    }
    assert!(matches!(open(), Err(StoreError::Missing { family: "groups", .. })));
}

#[test]
fn a_newer_schema_is_refused_even_with_column_families_that_are_unknown() {
    let temp = tempfile::tempdir().unwrap();
    drop(LedgerStore::open(temp.path(), Role::Sequencer, &CHAIN).unwrap());
    for folder in ["derived", "log"] {
        let path = temp.path().join(folder);
        let options = rocksdb::Options::default();
        let mut families = rocksdb::DB::list_cf(&options, &path).unwrap();
        let mut options = rocksdb::Options::default();
        options.create_missing_column_families(true);
        families.push("of-tomorrow".into());
        let db = rocksdb::DB::open_cf(&options, &path, &families).unwrap();
        db.put_cf(db.cf_handle("meta").unwrap(), b"schema", 7u32.to_be_bytes()).unwrap();
        drop(db);
        let refused = LedgerStore::open(temp.path(), Role::Sequencer, &CHAIN);
        assert!(matches!(refused, Err(StoreError::NewerSchema { found: 7, .. })));
    }
}

#[test]
fn a_commit_needs_the_newest_epoch_and_the_next_position() {
    let temp = tempfile::tempdir().unwrap();
    let store = LedgerStore::open(temp.path(), Role::Sequencer, &CHAIN).unwrap();
    let old = store.begin_epoch().unwrap();
    assert!(matches!(store.commit(old, 0, &record(0, old).encode(), &[3; 64]), Commit::Committed));
    // Twice at one position, and past the end.
    for (expected, position) in [(0, 0), (2, 2)] {
        let fenced = store.commit(old, expected, &record(position, old).encode(), &[3; 64]);
        assert!(matches!(fenced, Commit::Fenced { epoch: 1, position: 1 }), "{fenced:?}");
    }
    let new = store.begin_epoch().unwrap();
    assert!(matches!(
        store.commit(old, 1, &record(1, old).encode(), &[3; 64]),
        Commit::Fenced { epoch: 2, position: 1 }
    ));
    assert!(matches!(store.commit(new, 1, &record(1, new).encode(), &[4; 64]), Commit::Committed));
    drop(store);
    let again = LedgerStore::open(temp.path(), Role::Sequencer, &CHAIN).unwrap();
    assert_eq!(again.log_end().unwrap(), 2);
    assert_eq!(again.record(1).unwrap(), record(1, new));
    assert_eq!(again.group_signature(1).unwrap(), [4; 64]);
    assert!(matches!(again.record(2), Err(StoreError::Missing { .. })));
}
