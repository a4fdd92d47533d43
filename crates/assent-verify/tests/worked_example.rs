//! The worked example of files about state in `docs/formats.md`: recomputed, and compared line by line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the fixture is shared")]

use assent_core::records::StateKey;
use assent_merkle::sparse::sparse_leaf;
use assent_verify::{
    state::{consent::At, history::Whose},
    verify_file,
};

mod fixture;

use fixture::{
    ledger::{History, PATIENT, account, pinned},
    state::{require, validators},
};

fn lines() -> Vec<String> {
    let ledger = History::new(0);
    let grant = ledger.batches[1].items[0].executed.entry.transaction_id;
    let request = ledger.batches[2].items[1].executed.entry.transaction_id;
    let key = StateKey::consent(grant);
    let value = &ledger.store.state[&key];
    let mut lines = Vec::new();
    let mut add = |name: &str, bytes: &[u8]| lines.push(format!("{name} {}", hex::encode(bytes)));
    add("chain_id", &ledger.manifest.chain_id().0);
    add("consent_id", &grant.0);
    add("state_key", &key.to_bytes());
    add("state_key_hash", &key.hash());
    add("state_value_hash", &value.hash());
    add("state_leaf", &sparse_leaf(&key.hash(), &value.hash()));
    add("state_root", &ledger.store.tree.root());
    add("validator_one", validators()[0].to_string().as_bytes());
    let consent = ledger.consent_file(grant, At::Sequence(5)).encode();
    let decision = ledger.decision_file(request, account(PATIENT)).encode();
    let history = ledger.history_file(Whose::Subject(account(PATIENT)), 0, u64::MAX).encode();
    add("consent_file", &consent);
    add("decision_file", &decision);
    add("history_file", &history);
    for file in [consent, decision, history] {
        verify_file(&file, &require(2)).unwrap();
        verify_file(&file, &pinned()).unwrap();
    }
    lines
}

#[test]
fn the_worked_example_of_files_about_state_is_what_the_program_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    let mut document = std::fs::read_to_string(path).unwrap();
    let (start, end) = ("```text\nchain_id ", "\n```\n");
    let from = document.find(start).expect("the block") + "```text\n".len();
    let to = from + document[from..].find(end).expect("its end");
    let found: Vec<&str> = document[from..to].lines().collect();
    let expected = lines();
    if std::env::var_os("ASSENT_BLESS").is_some() {
        document.replace_range(from..to, &expected.join("\n"));
        std::fs::write(path, document).unwrap();
        return;
    }
    assert_eq!(found, expected);
}
