//! Replaying any log gives the same entries, headers and receipts byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use assent_core::{
    TransactionId,
    machine::{Cursor, Fault, GroupOutput, Machine, StateError, StateRead},
    records::{Record, SeenTransaction, StateKey, StateValue},
};
use assent_proto::v1 as proto;
use common::*;
use proptest::prelude::*;
use proto::AccountKind;

/// One act of a small population: 6 parties, of which 5 have opened an account at the start.
#[derive(Clone, Debug)]
enum Step {
    Open(u8),
    Grant(u8, u8),
    Revoke(u8, prop::sample::Index),
    Request(u8, Vec<u8>, bool),
    Record(u8, prop::sample::Index, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let party = 0u8..6;
    prop_oneof![
        1 => party.clone().prop_map(Step::Open),
        3 => (party.clone(), party.clone()).prop_map(|(who, to)| Step::Grant(who, to)),
        2 => (party.clone(), any::<prop::sample::Index>()).prop_map(|(who, which)| Step::Revoke(who, which)),
        4 => (party.clone(), prop::collection::btree_set(0u8..8, 1..4), any::<bool>())
            .prop_map(|(who, about, treat)| Step::Request(who, about.into_iter().collect(), treat)),
        2 => (party.clone(), any::<prop::sample::Index>(), party).prop_map(|(who, which, about)| Step::Record(who, which, about)),
    ]
}

/// Groups of steps, with the step of time before and whether the batch is sealed after.
fn log() -> impl Strategy<Value = Vec<(Vec<Step>, u32, bool)>> {
    prop::collection::vec((prop::collection::vec(step(), 0..12), 0u32..2_000_000, any::<bool>()), 1..12)
}

fn run(groups: &[(Vec<Step>, u32, bool)]) -> Ledger {
    let mut ledger = Ledger::new();
    for n in 0..5 {
        ledger.one(n, open(AccountKind::Patient)).unwrap();
    }
    let mut known: Vec<TransactionId> = vec![TransactionId([0; 32])];
    for (steps, later, seal) in groups {
        ledger.time_ms += u64::from(*later);
        let transactions: Vec<_> = steps
            .iter()
            .map(|step| {
                let (who, act) = match step {
                    Step::Open(who) => (*who, open(AccountKind::Device)),
                    Step::Grant(who, to) => (*who, grant(*to)),
                    Step::Revoke(who, which) => (*who, revoke(*which.get(&known))),
                    Step::Request(who, about, treat) => {
                        (*who, request(about, if *treat { "TREAT" } else { "HPAYMT" }))
                    }
                    Step::Record(who, which, about) => (*who, record(*which.get(&known), *about)),
                };
                let transaction = ledger.transaction(who, act);
                known.push(transaction.id);
                transaction
            })
            .collect();
        ledger.group(&transactions, *seal);
    }
    ledger
}

/// A machine at the ledger's beginning.
fn new_machine(ledger: &Ledger) -> Machine {
    Machine::new(ledger.manifest.clone(), Cursor::genesis(&ledger.manifest)).unwrap()
}

fn bytes(output: &GroupOutput) -> Vec<Vec<u8>> {
    let mut all = vec![output.record.encode()];
    all.extend(output.executed.iter().map(|executed| executed.entry.encode()));
    all.extend(
        output
            .executed
            .iter()
            .flat_map(|executed| executed.outcome.encoded_leaves().map(|leaf| leaf.to_vec())),
    );
    all.extend(
        output.executed.iter().flat_map(|executed| {
            executed.outcome.details().unwrap().into_iter().map(|detail| detail.encode())
        }),
    );
    all.extend(output.receipts().map(|receipt| receipt.encode()));
    if let Some(sealed) = &output.sealed {
        all.push(sealed.header.encode());
        all.push(sealed.cursor.encode());
        let state: BTreeMap<_, _> = sealed.content.state.iter().collect();
        all.extend(state.into_iter().flat_map(|(key, value)| [key.to_bytes().to_vec(), value.to_bytes()]));
        let seen: BTreeMap<_, _> = sealed.content.seen.iter().collect();
        all.extend(seen.into_values().map(|seen| format!("{seen:?}").into_bytes()));
    }
    all
}

/// A store that fails after so many reads.
struct FailingStore<'a> {
    store: &'a MemoryStore,
    reads: Cell<usize>,
}

impl FailingStore<'_> {
    fn read(&self) -> Result<&MemoryStore, StateError> {
        let left = self.reads.get().checked_sub(1).ok_or_else(|| StateError::Storage("failed".into()))?;
        self.reads.set(left);
        Ok(self.store)
    }
}

impl StateRead for FailingStore<'_> {
    fn value(&self, key: StateKey) -> Result<Option<StateValue>, StateError> {
        self.read()?.value(key)
    }

    fn seen(&self, id: &TransactionId) -> Result<Option<Arc<SeenTransaction>>, StateError> {
        self.read()?.seen(id)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_log_replays_to_the_same_bytes_with_restarts_anywhere(groups in log(), restarts: u64) {
        let ledger = run(&groups);
        let again = replay(&ledger.manifest, &ledger.records, |index| restarts >> (index % 64) & 1 == 1);
        prop_assert_eq!(ledger.outputs.len(), again.len());
        for (first, second) in ledger.outputs.iter().zip(&again) {
            prop_assert_eq!(bytes(first), bytes(second));
        }
    }

    #[test]
    fn how_many_records_are_kept_decoded_changes_no_byte(groups in log(), bytes_kept in 0u64..6_000) {
        let ledger = run(&groups);
        let (mut store, mut machine) = (MemoryStore::default(), new_machine(&ledger).with_cache(bytes_kept));
        for (record, first) in ledger.records.iter().zip(&ledger.outputs) {
            // A group that is begun and given up leaves nothing behind.
            let transactions = machine.decode_record(record).unwrap();
            machine.begin_group(ledger.start_of(record)).unwrap();
            for transaction in &transactions {
                machine.execute(&store, transaction).unwrap().unwrap();
            }
            let output = machine.apply_record(&store, record, &transactions).unwrap();
            if let Some(sealed) = &output.sealed {
                store.flush(&sealed.content);
            }
            prop_assert_eq!(bytes(first), bytes(&output));
        }
    }

    #[test]
    fn a_group_whose_state_cannot_be_read_leaves_nothing_behind(
        groups in log(),
        bytes_kept in 0u64..6_000,
        reads in 0usize..20,
    ) {
        let ledger = run(&groups);
        let (mut store, mut machine) = (MemoryStore::default(), new_machine(&ledger).with_cache(bytes_kept));
        for (record, first) in ledger.records.iter().zip(&ledger.outputs) {
            let transactions = machine.decode_record(record).unwrap();
            machine.begin_group(ledger.start_of(record)).unwrap();
            let failing = FailingStore { store: &store, reads: Cell::new(reads) };
            if transactions.iter().any(|transaction| machine.execute(&failing, transaction).is_err()) {
                // The group is gone: nothing can be executed in it, and it does not end.
                let more = machine.execute(&store, &transactions[0]);
                prop_assert!(matches!(more, Err(StateError::NoGroup)));
                prop_assert!(machine.end_group(false).is_none());
            }
            let output = machine.apply_record(&store, record, &transactions).unwrap();
            if let Some(sealed) = &output.sealed {
                store.flush(&sealed.content);
            }
            prop_assert_eq!(bytes(first), bytes(&output));
        }
    }

    #[test]
    fn batches_that_are_sealed_when_the_log_has_gone_on_are_the_same(groups in log()) {
        let ledger = run(&groups);
        let (mut store, mut machine) = (MemoryStore::default(), new_machine(&ledger));
        let mut closed = Vec::new();
        for record in &ledger.records {
            machine.begin_group(ledger.start_of(record)).unwrap();
            for transaction in machine.decode_record(record).unwrap() {
                machine.execute(&store, &transaction).unwrap().unwrap();
            }
            let output = machine.close_group(record.seal).unwrap();
            prop_assert!(output.sealed.is_none());
            if let Some(batch) = output.closed {
                store.flush(&batch);
                closed.push(batch);
            }
        }
        let at_once: Vec<_> = ledger.outputs.iter().filter_map(|output| output.sealed.as_ref()).collect();
        prop_assert_eq!(at_once.len(), closed.len());
        let mut previous_hash = [0; 32];
        for (first, batch) in at_once.into_iter().zip(closed) {
            let sealed = batch.seal(previous_hash);
            prop_assert_eq!(&first.header, &sealed.header);
            prop_assert_eq!(&first.effects, &sealed.effects);
            prop_assert_eq!(&first.cursor, &sealed.cursor);
            previous_hash = sealed.header.hash();
        }
    }

    #[test]
    fn headers_link_up_and_count_every_entry_once(groups in log()) {
        let ledger = run(&groups);
        let (mut previous, mut next) = ([0; 32], 0);
        let mut entries = Vec::new();
        for output in &ledger.outputs {
            entries.extend(output.executed.iter().map(|executed| executed.entry.clone()));
            if let Some(sealed) = &output.sealed {
                prop_assert_eq!(sealed.header.previous_hash, previous);
                prop_assert_eq!(sealed.header.first_sequence, next);
                previous = sealed.header.hash();
                next += u64::from(sealed.header.entry_count);
                prop_assert_eq!(next, entries.len() as u64);
            }
        }
        prop_assert!(entries.iter().enumerate().all(|(i, entry)| entry.sequence == i as u64));
        prop_assert!(entries.is_sorted_by_key(|entry| entry.time_ms));
        prop_assert!(distinct(entries.iter().map(|entry| entry.transaction_id)));
    }
}

#[test]
fn a_log_that_breaks_a_rule_does_not_replay() {
    let mut ledger = Ledger::new();
    ledger.one(1, open(AccountKind::Patient)).unwrap();
    ledger.one(1, grant(2)).unwrap();
    let records = ledger.records.clone();
    let fault = |change: &dyn Fn(&mut Vec<assent_core::log::LogRecord>)| {
        let mut records = records.clone();
        change(&mut records);
        let manifest = Arc::new(manifest());
        let mut machine = Machine::new(manifest.clone(), Cursor::genesis(&manifest)).unwrap();
        let store = MemoryStore::default();
        records
            .iter()
            .find_map(|record| {
                let transactions = match machine.decode_record(record) {
                    Ok(transactions) => transactions,
                    Err(fault) => return Some(fault),
                };
                machine.apply_record(&store, record, &transactions).err()
            })
            .expect("a fault")
    };
    assert!(matches!(fault(&|r| r[1].position = 7), Fault::Position { expected: 1, found: 7 }));
    assert!(matches!(fault(&|r| r[1].time_ms = START_MS - 1), Fault::TimeFell { .. }));
    assert!(matches!(
        fault(&|r| {
            r[1].time_ms += 3_600_001;
            r[1].base.median_time_s -= 3_600;
        }),
        Fault::TimeStep { .. }
    ));
    assert!(matches!(fault(&|r| r[1].base.median_time_s += 3_601), Fault::BaseBlockTooNew { .. }));
    assert!(matches!(fault(&|r| r[0].epoch = 2), Fault::Epoch { newest: 2, found: 1 }));
    assert!(matches!(fault(&|r| r[0].base.height = 9), Fault::BaseHeightFell { .. }));
    assert!(matches!(fault(&|r| r[1].transactions = r[0].transactions.clone()), Fault::Refused { .. }));
    assert!(matches!(fault(&|r| r[1].transactions[0].body.truncate(9)), Fault::Malformed { .. }));
    assert!(matches!(fault(&|r| r[1].transactions.clear()), Fault::Empty));
}
