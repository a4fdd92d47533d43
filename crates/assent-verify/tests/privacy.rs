//! What files about state disclose, and that they disclose nothing about anybody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the fixture is shared")]

use std::collections::{BTreeMap, BTreeSet};

use assent_core::{
    AccountId, ChainId, Hash, TransactionId,
    codec::sha256,
    records::{ConsentRecord, Record, StateKey},
    transaction::{Act, Transaction},
};
use assent_merkle::{leaf_hash, sparse::sparse_leaf};
use assent_verify::state::{consent::At, history::Whose};

mod fixture;

use fixture::ledger::{CLINIC, History, Item, PATIENT, START_MS, account};

/// Two subjects with consents, accesses to the data of three, one request about two of them.
fn ledger() -> History {
    let mut batches = fixture::ledger::WITH_DECISIONS.to_vec();
    batches.push(&[17, 9, 9, 8]);
    History::of(0, &batches)
}

/// Who signed.
fn sender(chain: &ChainId, item: &Item) -> Option<AccountId> {
    Transaction::decode_logged(chain, &item.logged).unwrap().sender
}

/// Everything that is of one party alone: ids, hashes that can be told from ids, salts, and what is hashed. By name.
fn secrets(ledger: &History, party: AccountId) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::from([("account id".to_owned(), party.0.to_vec())]);
    let mut keys = vec![
        StateKey::account(party),
        StateKey::subject_consents(party),
        StateKey::subject_accesses(party),
        StateKey::actor(party),
    ];
    for (key, value) in &ledger.store.state {
        if ConsentRecord::decode(&value.record).is_ok_and(|record| record.subject == party) {
            keys.push(*key);
            found.insert(format!("consent id {key:?}"), key.to_bytes()[1..].to_vec());
        }
    }
    for key in keys {
        let mut add = |what: &str, bytes: &[u8]| found.insert(format!("{what} of {key:?}"), bytes.to_vec());
        add("key", &key.to_bytes());
        add("key hash", &key.hash());
        let Some(value) = ledger.store.state.get(&key) else { continue };
        add("salt", &value.salt);
        add("record", &value.record);
        add("value hash", &value.hash());
        add("leaf", &sparse_leaf(&key.hash(), &value.hash()));
        // What somebody who guesses the record would compute.
        add("unsalted hash", &sha256(&value.record));
        add("unsalted leaf", &sparse_leaf(&key.hash(), &sha256(&value.record)));
    }
    for ((key, index), append) in &ledger.store.logs {
        let own = [StateKey::subject_consents(party), StateKey::subject_accesses(party)].contains(key);
        if own {
            found.insert(format!("log leaf {index} of {key:?}"), append.leaf.clone());
            found.insert(format!("log leaf hash {index} of {key:?}"), leaf_hash(&append.leaf).to_vec());
        }
    }
    let chain = ledger.manifest.chain_id();
    for item in ledger.batches.iter().flat_map(|batch| &batch.items) {
        let executed = &item.executed;
        let id = executed.entry.transaction_id;
        let parties: BTreeSet<Hash> = executed
            .leaves
            .iter()
            .map(|leaf| leaf.object)
            .chain(sender(&chain, item).map(|sender| sender.0))
            .collect();
        for (leaf, detail) in executed.leaves.iter().zip(&executed.details) {
            if leaf.object == party.0 {
                found.insert(format!("decision of {id}"), leaf.encode());
                found.insert(format!("decision hash of {id}"), leaf_hash(&leaf.encode()).to_vec());
                found.insert(format!("detail hash of {id}"), detail.hash().to_vec());
                found.insert(format!("detail salt of {id}"), detail.salt.to_vec());
            }
        }
        // A transaction that is about this party alone.
        let others = [account(PATIENT).0, account(77).0, account(78).0];
        let about_another = parties.iter().any(|one| *one != party.0 && others.contains(one));
        if parties.contains(&party.0) && !about_another {
            found.insert(format!("id of {id}"), id.0.to_vec());
            found.insert(format!("body of {id}"), item.logged.body.to_vec());
        }
    }
    found
}

fn assert_silent(ledger: &History, file: &[u8], name: &str, about: &[AccountId]) {
    for other in [account(PATIENT), account(77), account(78)] {
        if about.contains(&other) {
            continue;
        }
        for (what, bytes) in secrets(ledger, other) {
            let shown = file.windows(bytes.len()).any(|window| window == bytes);
            assert!(!shown, "{name} discloses {what} of {other}");
        }
    }
}

/// The accounts of the ledger that a file names.
fn named(file: &[u8]) -> BTreeSet<AccountId> {
    [PATIENT, CLINIC, 77, 78]
        .into_iter()
        .map(account)
        .filter(|account| file.windows(32).any(|window| window == account.0))
        .collect()
}

#[test]
fn a_file_about_state_discloses_nothing_about_another_subject() {
    let ledger = ledger();
    let clinic = account(CLINIC);
    let mut shared = 0;
    for (id, subject, _) in ledger.decisions() {
        let file = ledger.decision_file(id, subject);
        let item = ledger.item(&id);
        shared += usize::from(item.executed.leaves.len() > 1);
        let recipient = sender(&ledger.manifest.chain_id(), item).unwrap();
        let bytes = file.encode();
        let about = [subject, recipient];
        // What the recipient itself wrote into its record: the id of a request, were it one about another subject.
        let bytes = match &file.cited {
            Some(_) => {
                let act = Transaction::decode_logged(&ledger.manifest.chain_id(), &item.logged).unwrap().act;
                let Act::RecordAccess { request, .. } = act else { panic!() };
                let place = bytes.windows(32).position(|window| window == request.0).unwrap();
                let mut without = bytes.clone();
                without[place..place + 32].fill(0);
                without
            }
            None => bytes,
        };
        assert_silent(&ledger, &bytes, &format!("the decision {id}"), &about);
        // Subject, recipient and custodian, and nobody else.
        assert_eq!(named(&bytes), BTreeSet::from([subject, recipient, clinic]), "{id}");
    }
    assert!(shared >= 2, "a request about two subjects is among them");
    for (key, value) in &ledger.store.state {
        let Ok(record) = ConsentRecord::decode(&value.record) else { continue };
        let consent = TransactionId(key.to_bytes()[1..].try_into().unwrap());
        for at in [At::Newest, At::Sequence(0), At::Time(START_MS)] {
            let file = ledger.consent_file(consent, at).encode();
            assert_silent(&ledger, &file, "a consent", &[record.subject]);
            assert_eq!(named(&file), BTreeSet::from([record.subject]));
        }
    }
    let absent = ledger.consent_file(TransactionId([7; 32]), At::Newest).encode();
    assert_silent(&ledger, &absent, "an absent consent", &[]);
    assert_eq!(named(&absent), BTreeSet::new());
    for (from, to) in [(0, u64::MAX), (START_MS + 2_000, START_MS + 3_000)] {
        for subject in [account(PATIENT), account(77), account(78), account(90)] {
            let file = ledger.history_file(Whose::Subject(subject), from, to).encode();
            // Whoever read the subject's data is named in it: the device, in the patient's.
            assert_silent(&ledger, &file, "a history", &[subject, account(77)]);
            if subject != account(PATIENT) {
                assert_silent(&ledger, &file, "a history", &[subject]);
            }
        }
        // A recipient's names the subjects that it asked about, and opens no detail.
        let file = ledger.history_file(Whose::Recipient(clinic), from, to);
        let bytes = file.encode();
        for batch in &ledger.batches {
            for detail in batch.items.iter().flat_map(|item| &item.executed.details) {
                assert!(!bytes.windows(32).any(|window| window == detail.salt), "a detail is opened");
            }
        }
        for (what, secret) in secrets(&ledger, account(PATIENT)) {
            let its_own = ["account id", "decision", "detail hash", "id of", "key", "body"];
            if !its_own.iter().any(|prefix| what.starts_with(prefix)) {
                let shown = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!shown, "the recipient's history discloses {what}");
            }
        }
    }
}

#[test]
fn a_cohort_request_is_shown_without_its_transaction() {
    let ledger = ledger();
    let cohort = ledger.batches.iter().flat_map(|batch| &batch.items).find(|item| {
        let act = Transaction::decode_logged(&ledger.manifest.chain_id(), &item.logged).unwrap().act;
        matches!(act, Act::RequestAccess { subjects, .. } if subjects.len() > 1)
    });
    let cohort = cohort.unwrap();
    let id = cohort.executed.entry.transaction_id;
    for subject in [account(PATIENT), account(78)] {
        let file = ledger.decision_file(id, subject).encode();
        assert!(!file.windows(20).any(|window| window == &cohort.logged.body[..20]));
    }
}
