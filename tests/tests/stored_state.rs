//! What a database gives back is what was written, for a sequencer and for those who follow it: state, and what is remembered of
//! transactions, which is not stored as such.

use assent_bench::{
    ledger::{MemoryLedger, messages},
    workload::{Mix, PopulationSize},
};
use assent_core::{
    TransactionId,
    codec::sha256,
    machine::{SealedBatch, StateRead},
};
use assent_store::{Commit, LedgerStore, Overlay, Role, SealedWrite, StoreError};

#[test]
fn state_and_transactions_come_back_as_execution_needs_them() {
    let population = PopulationSize { patients: 10, clinics: 3, consents: 2 };
    let mix = Mix { grants: 10, revocations: 10, requests: 50, records: 30 };
    let mut ledger = MemoryLedger::new(population, mix).unwrap();
    ledger.set_up().unwrap();
    let transactions = messages(ledger.workload.day(300, 1, |_, _| {}));
    let transactions = ledger.decode(&transactions);
    let first_position = ledger.machine.cursor().next_position;
    let output = ledger.group(&transactions, true).unwrap().unwrap();
    let sealed = output.sealed.clone().unwrap();
    for role in [Role::Sequencer, Role::Prover] {
        let temp = tempfile::tempdir().unwrap();
        let chain = ledger.manifest.chain_id();
        let open = || std::sync::Arc::new(LedgerStore::open(temp.path(), role, &chain).unwrap());
        let store = open();
        if role == Role::Sequencer {
            // What is stored was in the log before.
            let epoch = store.begin_epoch().unwrap();
            for position in 0..=output.record.position {
                let committed = store.commit(epoch, position, &output.record_bytes, &[1; 64]);
                assert!(matches!(committed, Commit::Committed));
            }
        }
        let overlay = Overlay::new(store.clone());
        overlay.push(sealed.content.clone());
        check(&overlay, &sealed, role);
        assert!(store.seen(&transactions[0].id).unwrap().is_none());
        let groups: &[&_] = if role == Role::Sequencer {
            store.store_group(&output).unwrap();
            // Nothing leads to them yet.
            assert!(store.seen(&transactions[0].id).unwrap().is_none());
            &[]
        } else {
            &[&output]
        };
        let write = SealedWrite {
            sealed: &sealed,
            signature: [1; 64],
            first_position,
            groups,
            tiles: &[],
            pages: None,
            state_root: None,
            checkpoint: None,
        };
        store.store_sealed(&write).unwrap();
        overlay.stored();
        check(&overlay, &sealed, role);
        drop(overlay);
        drop(store);
        // Closed in order, everything is on disk, with a log of its own or without.
        check(open().as_ref(), &sealed, role);
    }
}

#[test]
fn every_entry_is_found_in_its_row_and_a_followers_batch_has_them_all() {
    let population = PopulationSize { patients: 10, clinics: 3, consents: 2 };
    let mut ledger = MemoryLedger::new(population, Mix::default()).unwrap();
    ledger.set_up().unwrap();
    let transactions = messages(ledger.workload.day(60, 1, |_, _| {}));
    let transactions = ledger.decode(&transactions);
    let first_position = ledger.machine.cursor().next_position;
    // Rows that are full, not full, and of one entry; no row goes on into the next group.
    let groups: Vec<_> = [(0..32, false), (32..53, false), (53..54, true)]
        .into_iter()
        .map(|(part, seal)| ledger.group(&transactions[part], seal).unwrap().unwrap())
        .collect();
    let sealed = groups[2].sealed.clone().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let store = LedgerStore::open(temp.path(), Role::Prover, &ledger.manifest.chain_id()).unwrap();
    let write = SealedWrite {
        sealed: &sealed,
        signature: [1; 64],
        first_position,
        groups: &groups.iter().collect::<Vec<_>>(),
        tiles: &[],
        pages: None,
        state_root: None,
        checkpoint: None,
    };
    store.store_sealed(&write).unwrap();
    let first = sealed.header.first_sequence;
    let mut sequence = first;
    for group in &groups {
        for (executed, index) in group.executed.iter().zip(0u32..) {
            let stored = store.entry(sequence).unwrap().unwrap();
            assert_eq!((stored.position, stored.index), (group.record.position, index));
            assert_eq!((stored.batch_number, stored.epoch), (sealed.header.number, 1));
            assert_eq!(stored.entry, executed.entry);
            assert_eq!(stored.leaves, executed.outcome.leaves().unwrap());
            assert_eq!(stored.details, executed.outcome.details().unwrap());
            sequence += 1;
        }
    }
    assert_eq!(store.entry(sequence).unwrap(), None);
    assert_eq!(store.entry(first.wrapping_sub(1)).unwrap(), None);
    // One finder for all, there and back, past the end in between.
    let mut finder = store.entry_finder().unwrap();
    for sought in (first..=sequence).chain((first..sequence).rev()) {
        assert_eq!(finder.entry(sought).unwrap(), store.entry(sought).unwrap());
    }
    // From the middle of a row into the next group.
    let from = store.entries_while(first + 20, |entry| entry.entry.sequence < first + 40).unwrap();
    let found: Vec<u64> = from.iter().map(|entry| entry.entry.sequence).collect();
    assert_eq!(found, (first + 20..first + 40).collect::<Vec<_>>());
    let batch = store.sealed_batch(sealed.header.number).unwrap().unwrap();
    let executed = groups.iter().flat_map(|group| &group.executed);
    assert_eq!(batch.entries, executed.map(|executed| executed.entry.encode()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_sequenced_where_a_stored_groups_record_is_gone_from_the_log() {
    let population = PopulationSize { patients: 10, clinics: 3, consents: 2 };
    let mut ledger = MemoryLedger::new(population, Mix::default()).unwrap();
    ledger.set_up().unwrap();
    let transactions = messages(ledger.workload.day(20, 1, |_, _| {}));
    let transactions = ledger.decode(&transactions);
    let output = ledger.group(&transactions, false).unwrap().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let chain = ledger.manifest.chain_id();
    let open = || LedgerStore::open(temp.path(), Role::Sequencer, &chain);
    open().unwrap().store_group(&output).unwrap();
    assert!(matches!(open(), Err(StoreError::LogCut { end: 0, .. })));
}

fn check(state: &impl StateRead, sealed: &SealedBatch, role: Role) {
    assert!(sealed.content.seen.len() == 300 && sealed.content.state.len() > 10);
    for (key, value) in &sealed.content.state {
        assert_eq!(state.value(*key).unwrap().as_ref(), Some(value), "{role:?}");
    }
    let mut requests = 0;
    for (id, expected) in &sealed.content.seen {
        let found = state.seen(id).unwrap().unwrap();
        assert_eq!(
            (found.at, &found.decisions, &found.scope),
            (expected.at, &expected.decisions, &expected.scope)
        );
        // Who asked matters where a request is cited.
        if expected.scope.is_some() {
            assert_eq!(found.sender, expected.sender);
            requests += 1;
        }
    }
    assert!(requests > 50);
    // Several at once, of which every other one is of nobody.
    let ids =
        sealed.content.seen.keys().flat_map(|id| [*id, TransactionId(sha256(&id.0))]).collect::<Vec<_>>();
    let known = state.known(&ids).unwrap();
    assert_eq!(known, [true, false].repeat(sealed.content.seen.len()), "{role:?}");
}
