//! What a verifier accepts and refuses, over histories and base chains made in memory.
//!
//! Every bundle here ends with a right digest unless the digest is what is tested, and whatever an operator with all keys
//! could sign again is signed again: each case has to be found by the check that is meant for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use assent_core::{anchor::AnchorPayload, manifest::OutPoint};
use assent_verify::{Bundle, MAX_ANCHORS, MAX_BUNDLE_BYTES, MAX_HEADERS, Pins, verify_bundle};
use bitcoin::{Transaction, consensus::serialize};

mod fixture;

use fixture::{
    Block, FIRST_SEAL, anchor, anchors, answer,
    cases::{Case, all},
    ledger::{Anchoring, History, anchored, honest, pinned, prover},
    seal_of, txid,
};

#[test]
fn a_well_formed_bundle_verifies_for_every_transaction() {
    let history = History::new(0);
    let first = honest(&history, &[1]);
    let third = honest(&history, &[1, 3]);
    let fourth = honest(&history, &[1, 3, 4]);
    for (batch, anchoring) in [(0, &first), (1, &third), (2, &third), (3, &fourth)] {
        for item in 0..history.batches[batch].items.len() {
            for open_details in [false, true] {
                let bundle = history.bundle(batch, item, anchoring, open_details);
                let file = bundle.encode();
                assert_eq!(Bundle::decode(&file).unwrap().0, bundle);
                let report = verify_bundle(&file, &pinned()).unwrap();
                assert_eq!((report.batch_number, report.depth), (batch as u64, 4));
                assert_eq!(answer(&file, &Pins::default()), "verified");
            }
        }
    }
}

#[test]
fn two_anchored_histories_of_one_ledger_cannot_both_verify_on_one_base_chain() {
    let (ours, theirs) = (History::new(0), History::new(1));
    assert_eq!(ours.manifest, theirs.manifest);
    let first = honest(&ours, &[2]);
    let file =
        |history: &History, batch, anchoring: &Anchoring| history.bundle(batch, 0, anchoring, false).encode();
    assert_eq!(answer(&file(&ours, 0, &first), &pinned()), "verified");

    // A later anchor says something else about a batch that has one already.
    let second = anchor(seal_of(&first.anchors[0]), &theirs.payload(4).encode());
    let both = anchored(&[first.anchors[0].clone(), second.clone()], 4, 1);
    assert_eq!(answer(&file(&theirs, 0, &both), &pinned()), "not-first-anchor");
    assert_eq!(answer(&file(&theirs, 1, &both), &pinned()), "not-first-anchor");

    // Leaving out the first anchor breaks the chain of seals.
    assert_eq!(answer(&file(&theirs, 0, &anchored(&[second], 4, 1)), &pinned()), "seals");
    // So does an anchor that spends another output.
    let elsewhere = OutPoint { txid: [0x99; 32], vout: 0 };
    let forged = anchor(elsewhere, &theirs.payload(2).encode());
    assert_eq!(answer(&file(&theirs, 0, &anchored(&[forged], 2, 1)), &pinned()), "seals");
    // Output 1 of an anchor is no seal.
    let wrong_output = OutPoint { vout: 1, ..seal_of(&first.anchors[0]) };
    let forged = anchor(wrong_output, &ours.payload(4).encode());
    let skewed = anchored(&[first.anchors[0].clone(), forged], 4, 1);
    assert_eq!(answer(&file(&ours, 2, &skewed), &pinned()), "seals");

    // A history does not grow by an anchor of the same or a smaller size.
    for size in [1, 2] {
        let again = anchor(seal_of(&first.anchors[0]), &theirs.payload(size).encode());
        let shrunk = anchored(&[first.anchors[0].clone(), again], size, 1);
        assert_eq!(answer(&file(&theirs, 0, &shrunk), &pinned()), "anchor-size");
    }

    // Another ledger's anchor over the same seal.
    let other = AnchorPayload { chain_tag: [0xee; 4], ..theirs.payload(2) };
    let tagged = anchored(&anchors(&[other]), 2, 1);
    assert_eq!(answer(&file(&theirs, 0, &tagged), &pinned()), "chain-tag");

    // The first anchor carries one root: a checkpoint of the other history is not under it.
    let mut swapped = theirs.bundle(0, 0, &anchored(&anchors(&[theirs.payload(2)]), 2, 1), false);
    let (index, path) = first.blocks[0].path(&txid(&first.anchors[0]));
    swapped.anchor.transactions = vec![serialize(&first.anchors[0])];
    (swapped.anchor.block_index, swapped.anchor.block_path) = (index, path);
    swapped.anchor.headers = first.blocks.iter().map(Block::bytes).collect();
    assert_eq!(answer(&swapped.encode(), &pinned()), "anchor-payload");
}

#[test]
fn of_two_histories_on_two_base_chains_only_the_one_under_the_pinned_block_verifies() {
    let (ours, theirs) = (History::new(0), History::new(1));
    let left = anchored(&anchors(&[ours.payload(2)]), 2, 1);
    let right = anchored(&anchors(&[theirs.payload(2)]), 2, 2);
    let left_file = ours.bundle(0, 0, &left, false).encode();
    let right_file = theirs.bundle(0, 0, &right, false).encode();
    // The same seal spent on either side of a fork: without a pin nothing says which side is real.
    assert_eq!((answer(&left_file, &pinned()), answer(&right_file, &pinned())), ("verified", "verified"));
    for block in &left.blocks {
        let pins = Pins { base_block: Some(block.hash()), ..pinned() };
        assert_eq!((answer(&left_file, &pins), answer(&right_file, &pins)), ("verified", "pinned-block"));
    }
    let pins = Pins { base_block: Some(right.blocks[3].hash()), ..pinned() };
    assert_eq!((answer(&left_file, &pins), answer(&right_file, &pins)), ("pinned-block", "verified"));
}

#[test]
fn an_anchor_decides_about_the_batches_that_it_adds_whatever_the_one_before_it_said() {
    // The second anchor holds another history altogether. A bundle does not show that the two roots contradict each other,
    // which only a consistency proof does; but for each batch one anchor decides.
    let (ours, theirs) = (History::new(0), History::new(1));
    let sealed = anchors(&[ours.payload(2), theirs.payload(4)]);
    let both = anchored(&sealed, 4, 1);
    assert_eq!(answer(&theirs.bundle(2, 0, &both, false).encode(), &pinned()), "verified");
    let mut ours_again = ours.bundle(2, 0, &both, false);
    assert_eq!(answer(&ours_again.encode(), &pinned()), "anchor-payload");
    ours_again.checkpoint = theirs.checkpoint(4).sign(&theirs.manifest.chain_id(), &prover());
    assert_eq!(answer(&ours_again.encode(), &pinned()), "batch-inclusion");
}

/// The names of all checks, as the source of the verifier lists them.
fn all_names() -> BTreeSet<&'static str> {
    let source = include_str!("../src/check.rs");
    let table = &source[source.find("pub fn name(&self)").unwrap()..];
    let table = &table[..table.find("\n    }\n").unwrap()];
    table.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\",")).collect()
}

/// Checks that no file can be made to fail. None: whoever adds one here says why.
const UNPROVOKED: [&str; 0] = [];

#[test]
fn every_named_check_refuses_what_it_is_for() {
    let history = History::new(0);
    let cases = all(&history);
    let wrong: Vec<String> = cases
        .iter()
        .map(|Case(name, how, file, pins)| (name, how, answer(file, pins)))
        .filter(|(name, _, found)| *name != found)
        .map(|(name, how, found)| format!("{name} ({how}): {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let provoked: BTreeSet<&str> = cases.iter().map(|Case(name, ..)| *name).collect();
    let names = all_names();
    assert_eq!(names.len(), 65, "{names:?}");
    let unprovoked: Vec<&str> = names.difference(&provoked).copied().collect();
    assert_eq!(unprovoked, UNPROVOKED);
    println!("{} cases, {} of {} names provoked", cases.len(), provoked.len(), names.len());
}

#[test]
fn every_check_is_in_the_table_of_errors() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let errors = std::fs::read_to_string(path).unwrap();
    for name in all_names() {
        assert!(errors.contains(&format!("| `{name}` |")), "docs/errors.md lacks {name}");
    }
}

#[test]
fn more_than_the_limits_is_not_read() {
    let history = History::new(0);
    let good = history.bundle(1, 0, &honest(&history, &[1, 3]), true);
    let unreadable = |what: &str, change: &dyn Fn(&mut Bundle)| {
        let mut bundle = good.clone();
        change(&mut bundle);
        assert_eq!(answer(&bundle.encode(), &pinned()), "unreadable", "{what}");
    };
    unreadable("headers", &|b| b.anchor.headers = vec![b.anchor.headers[0]; MAX_HEADERS + 1]);
    unreadable("anchors", &|b| b.anchor.transactions = vec![vec![]; MAX_ANCHORS + 1]);
    unreadable("anchor", &|b| b.anchor.transactions[0] = vec![0; 10_001]);
    unreadable("entry path", &|b| b.entry_path = vec![[0; 32]; 65]);
    unreadable("history path", &|b| b.history_path = vec![[0; 32]; 65]);
    unreadable("block path", &|b| b.anchor.block_path = vec![[0; 32]; 65]);
    unreadable("manifest", &|b| b.manifest = vec![0; 1_025]);
    unreadable("body", &|b| b.body = vec![0; 65_537]);
    unreadable("batch header", &|b| b.header = vec![0; 1_025]);
    unreadable("checkpoint", &|b| b.checkpoint = "x".repeat(16_385));
    unreadable("authorizations", &|b| b.authorizations = vec![b.authorizations[0]; 2]);
    unreadable("leaves", &|b| b.outcome_leaves = vec![b.outcome_leaves[0].clone(); 33]);
    unreadable("details", &|b| b.details = vec![b.details[0].clone(); 33]);
    unreadable("leaf", &|b| b.outcome_leaves[0] = vec![0; (1 << 20) + 1]);
    // Read, and refused: no block has a tree of 33 levels.
    let mut deep = good.clone();
    deep.anchor.block_path = vec![[0; 32]; 33];
    assert_eq!(answer(&deep.encode(), &pinned()), "block-inclusion");
    let mut padded = good.encode();
    padded.resize(MAX_BUNDLE_BYTES + 1, 0);
    assert_eq!(answer(&padded, &pinned()), "unreadable");
}

#[test]
fn a_file_has_one_encoding_and_every_cut_is_noticed() {
    let history = History::new(0);
    let file = history.bundle(2, 0, &honest(&history, &[3]), true).encode();
    for length in (0..file.len()).step_by(37).chain([file.len() - 1]) {
        assert_eq!(answer(&file[..length], &pinned()), "unreadable", "{length} bytes");
    }
    let longer = [&file[..], &[0]].concat();
    assert_eq!(answer(&longer, &pinned()), "unreadable");
    for index in (0..file.len()).step_by(11) {
        let mut flipped = file.clone();
        flipped[index] ^= 0x10;
        assert_ne!(answer(&flipped, &pinned()), "verified", "byte {index}");
    }
}

#[test]
fn an_anchor_transaction_has_one_encoding_and_is_no_inner_node() {
    let history = History::new(0);
    let good = history.bundle(1, 0, &honest(&history, &[3]), false);
    let problem = |bytes: Vec<u8>| {
        let mut bundle = good.clone();
        bundle.anchor.transactions = vec![bytes];
        verify_bundle(&bundle.encode(), &pinned()).unwrap_err().to_string()
    };
    let plain = &good.anchor.transactions[0];

    // One input, one output with a script of four bytes: 64 bytes, as long as two hashes of a block's tree.
    let mut small: Transaction = bitcoin::consensus::deserialize(plain).unwrap();
    small.output.truncate(1);
    small.output[0].script_pubkey = bitcoin::ScriptBuf::from_bytes(vec![0x51; 4]);
    let small = serialize(&small);
    assert_eq!(small.len(), 64);
    assert!(problem(small).contains("there is no output 1"));

    // The count of inputs in three bytes instead of one.
    let wide = [&plain[..4], &[0xfd, 0x01, 0x00], &plain[5..]].concat();
    assert!(problem(wide).contains("not a base-chain transaction"));
    assert!(problem([&plain[..], &[0]].concat()).contains("not a base-chain transaction"));

    let mut witnessed: Transaction = bitcoin::consensus::deserialize(plain).unwrap();
    witnessed.input[0].witness.push([1]);
    assert!(problem(serialize(&witnessed)).contains("it has witnesses"));

    let mut unpaid: Transaction = bitcoin::consensus::deserialize(plain).unwrap();
    unpaid.output.truncate(1);
    unpaid.output[0].script_pubkey = bitcoin::ScriptBuf::from_bytes(vec![0x51; 5]);
    assert!(problem(serialize(&unpaid)).contains("there is no output 1"));
    let long = [&history.payload(3).encode()[..], &[0]].concat();
    assert!(problem(serialize(&anchor(FIRST_SEAL, &long))).contains("one push of 49 bytes"));
    let mut two: Transaction = bitcoin::consensus::deserialize(plain).unwrap();
    let script = [two.output[1].script_pubkey.as_bytes(), &[0x51]].concat();
    two.output[1].script_pubkey = bitcoin::ScriptBuf::from_bytes(script);
    assert!(problem(serialize(&two)).contains("49 bytes"));
}

/// Every case as a file, for verifiers in other languages: `tests/vectors/files`, and what has to come of each in
/// `index.json`. `ASSENT_BLESS=1` writes them anew.
#[test]
fn the_corpus_of_files_is_what_the_cases_make() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/files");
    let history = History::new(0);
    let mut cases = all(&history);
    for (how, batch, details) in [("accounts", 0, false), ("a grant", 1, true), ("a decision", 2, true)] {
        let sizes = [&[1][..], &[1, 3], &[1, 3]][batch];
        let file = history.bundle(batch, 0, &honest(&history, sizes), details).encode();
        assert_eq!(answer(&file, &pinned()), "verified");
        cases.push(Case("verified", how, file.clone(), pinned()));
        cases.push(Case("not-pinned", how, file, Pins::default()));
    }
    let mut index = Vec::new();
    let mut files = Vec::new();
    for (number, Case(expect, how, file, pins)) in cases.iter().enumerate() {
        let name = format!("{number:03}-{expect}.assent");
        // Bitcoin Core prints hashes in reverse.
        let printed =
            |hash: &[u8; 32]| hash.iter().rev().map(|byte| format!("{byte:02x}")).collect::<String>();
        index.push(serde_json::json!({
            "file": name,
            "how": how,
            "chain": pins.chain_id.map(|chain| chain.to_string()),
            "base_block": pins.base_block.as_ref().map(printed),
            "least_work": pins.least_work.map(hex::encode),
            "validators": (!pins.validators.is_empty())
                .then(|| pins.validators.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "require": (pins.require > 0).then_some(pins.require),
            "expect": expect,
        }));
        files.push((name, file));
    }
    let index = format!("{:#}\n", serde_json::Value::Array(index));
    if std::env::var_os("ASSENT_BLESS").is_some() {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.json"), &index).unwrap();
        for (name, file) in &files {
            std::fs::write(folder.join(name), file).unwrap();
        }
    }
    assert_eq!(
        std::fs::read_to_string(folder.join("index.json")).unwrap(),
        index,
        "ASSENT_BLESS=1 writes it anew"
    );
    for (name, file) in &files {
        assert!(
            std::fs::read(folder.join(name)).unwrap() == **file,
            "{name} is outdated; ASSENT_BLESS=1 writes it anew"
        );
    }
}
