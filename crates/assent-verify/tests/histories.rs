//! What a verifier accepts and refuses, over histories and base chains made in memory.
//!
//! Every bundle here ends with a right digest unless the digest is what is tested, and whatever an operator with all keys
//! could sign again is signed again: each case has to be found by the check that is meant for it.

use std::collections::BTreeSet;

use assent_core::{
    anchor::AnchorPayload,
    batch::{BatchHeader, BatchRecord},
    note::Checkpoint,
    outcome::OutcomeKind,
};
use assent_verify::{Bundle, MAX_ANCHORS, MAX_BUNDLE_BYTES, MAX_HEADERS, Pins, verify_bundle};
use bitcoin::{Transaction, consensus::serialize};

mod fixture;

use fixture::{
    Block, FIRST_SEAL, REGTEST_BITS, anchor, anchors, answer, blocks_on,
    forge::Forge,
    ledger::{Anchoring, CLINIC, History, PATIENT, START_MS, account, key, manifest, prover, transaction},
    seal_of, txid,
};

/// A base chain below everything here.
const BASE: [u8; 32] = [0x55; 32];

fn pinned() -> Pins {
    Pins { chain_id: Some(manifest().chain_id()), ..Pins::default() }
}

/// The last of these anchors in a block, with blocks on it.
fn anchored(anchors: &[Transaction], size: u64, tag: u8) -> Anchoring {
    let block = Block::mine(BASE, tag, &[anchors.last().unwrap()], REGTEST_BITS);
    let mut blocks = vec![block.clone()];
    blocks.extend(blocks_on(block.hash(), tag, 3));
    Anchoring { anchors: anchors.to_vec(), size, blocks }
}

fn honest(history: &History, sizes: &[u64]) -> Anchoring {
    let payloads: Vec<AnchorPayload> = sizes.iter().map(|size| history.payload(*size)).collect();
    anchored(&anchors(&payloads), *sizes.last().unwrap(), 1)
}

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
    let file = |history: &History, batch, anchoring: &Anchoring| history.bundle(batch, 0, anchoring, false).encode();
    assert_eq!(answer(&file(&ours, 0, &first), &pinned()), "verified");

    // A later anchor says something else about a batch that has one already.
    let second = anchor(seal_of(&first.anchors[0]), &theirs.payload(4).encode());
    let both = anchored(&[first.anchors[0].clone(), second.clone()], 4, 1);
    assert_eq!(answer(&file(&theirs, 0, &both), &pinned()), "not-first-anchor");
    assert_eq!(answer(&file(&theirs, 1, &both), &pinned()), "not-first-anchor");

    // Leaving out the first anchor breaks the chain of seals.
    assert_eq!(answer(&file(&theirs, 0, &anchored(&[second], 4, 1)), &pinned()), "seals");
    // So does an anchor that spends another output.
    let elsewhere = assent_core::manifest::OutPoint { txid: [0x99; 32], vout: 0 };
    let forged = anchor(elsewhere, &theirs.payload(2).encode());
    assert_eq!(answer(&file(&theirs, 0, &anchored(&[forged], 2, 1)), &pinned()), "seals");
    // Output 1 of an anchor is no seal.
    let wrong_output = assent_core::manifest::OutPoint { vout: 1, ..seal_of(&first.anchors[0]) };
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
    swapped.anchors = vec![serialize(&first.anchors[0])];
    (swapped.block_index, swapped.block_path) = (index, path);
    swapped.headers = first.blocks.iter().map(Block::bytes).collect();
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

struct Case(&'static str, &'static str, Vec<u8>, Pins);

fn case(name: &'static str, how: &'static str, bundle: &Bundle) -> Case {
    Case(name, how, bundle.encode(), pinned())
}

fn changed(bundle: &Bundle, change: impl FnOnce(&mut Bundle)) -> Bundle {
    let mut bundle = bundle.clone();
    change(&mut bundle);
    bundle
}

/// The pins of a forged ledger: its own chain id.
fn unpinned(name: &'static str, how: &'static str, bundle: &Bundle) -> Case {
    Case(name, how, bundle.encode(), Pins::default())
}

fn ledger_cases(history: &History, cases: &mut Vec<Case>) {
    let good = Forge::of(history, 1, 0).bundle();
    let other = Forge::of(history, 1, 0).with_manifest(|m| m.nonce = [8; 32]).bundle();
    cases.extend([
        case("manifest", "another layout", &changed(&good, |b| b.manifest[0] = 0x1e)),
        case("manifest", "a byte too many", &changed(&good, |b| b.manifest.push(0))),
        case("manifest", "a limit of zero", &{
            let forge = Forge::of(history, 1, 0).with_manifest(|m| m.limits.max_batch_entries = 0);
            changed(&good, |b| b.manifest = forge.manifest)
        }),
        case("chain-id", "another ledger", &other),
        unpinned("transaction", "a transaction of another ledger", &other),
        unpinned("ruleset", "an unknown number", &Forge::of(history, 1, 0).with_manifest(|m| m.ruleset = 2).bundle()),
        unpinned(
            "ruleset",
            "another content",
            &Forge::of(history, 1, 0).with_manifest(|m| m.ruleset_hash[0] ^= 1).bundle(),
        ),
        unpinned(
            "base-network",
            "an unknown name",
            &Forge::of(history, 1, 0).with_manifest(|m| m.base.name = "moon".into()).bundle(),
        ),
        unpinned(
            "base-network",
            "another first block",
            &Forge::of(history, 1, 0).with_manifest(|m| m.base.genesis_hash[0] ^= 1).bundle(),
        ),
    ]);
}

fn transaction_cases(history: &History, cases: &mut Vec<Case>) {
    let forge = || Forge::of(history, 2, 0);
    let good = forge().bundle();
    let chain = history.manifest.chain_id();
    let open = || {
        let kind = assent_proto::v1::AccountKind::Patient as i32;
        assent_proto::v1::transaction_body::Act::OpenAccount(assent_proto::v1::OpenAccount { kind })
    };
    let entry_time = START_MS;
    let late = transaction(&chain, PATIENT, vec![7; 16], entry_time, open());
    let foreign = transaction(&chain, CLINIC, vec![7; 16], START_MS + 5_000, open());
    cases.extend([
        // Field 15, a varint: protobuf readers skip what they do not know.
        case("transaction", "an unknown field", &changed(&good, |b| b.body.extend([0x78, 1]))),
        case("transaction", "a default value written out", &changed(&good, |b| b.body.extend([0x20, 0]))),
        case("transaction", "not protobuf", &changed(&good, |b| b.body = vec![0xff; 8])),
        case("sender-signature", "a flipped bit", &changed(&good, |b| b.authorizations[0].signature[9] ^= 1)),
        case("sender-signature", "an s that is not reduced", &changed(&good, |b| {
            b.authorizations[0].signature[63] |= 0xf0;
        })),
        case("sender-signature", "another's key", &changed(&good, |b| b.authorizations[0].key = key(50).public())),
        case("sender-signature", "none", &changed(&good, |b| b.authorizations.clear())),
        case("entry", "another layout", &changed(&good, |b| b.entry[0] = 0x17)),
        case("entry", "another version", &changed(&good, |b| b.entry[1] = 2)),
        case("transaction-id", "an entry of another transaction", &{
            let mut forge = forge();
            forge.entry.transaction_id = foreign.id;
            forge.bundle()
        }),
        case("authorizations", "an entry over another signature", &{
            let mut forge = forge();
            forge.entry.authorizations_hash = foreign.authorizations_hash();
            forge.bundle()
        }),
        case("expired", "sequenced at its end", &Forge::of(history, 0, 0).transaction(&late).bundle()),
        case("outcome-leaf", "an unknown kind", &changed(&good, |b| b.outcome_leaves[0][2] = 9)),
        case("outcome-leaf", "a byte too many", &changed(&good, |b| b.outcome_leaves[0].push(0))),
        case("outcome-root", "a denial turned into a permit", &changed(&good, |b| b.outcome_leaves[1][2] = 5)),
        case("outcome-root", "a leaf left out", &changed(&good, |b| drop(b.outcome_leaves.pop()))),
        case("outcome-root", "leaves in another order", &changed(&good, |b| b.outcome_leaves.swap(0, 1))),
        case(
            "outcome-form",
            "fewer decisions than subjects",
            &forge().leaves(|leaves| drop(leaves.pop())).bundle(),
        ),
        case("outcome-form", "decisions in another order", &forge().leaves(|leaves| leaves.swap(0, 1)).bundle()),
        case(
            "outcome-form",
            "the outcome of another act",
            &forge().leaves(|leaves| leaves[0].kind = OutcomeKind::AccessCovered).bundle(),
        ),
        case(
            "outcome-form",
            "the opening of another account",
            &Forge::of(history, 0, 0).leaves(|leaves| leaves[0].object = account(CLINIC).0).bundle(),
        ),
        case(
            "outcome-form",
            "the grant of another consent",
            &Forge::of(history, 1, 0).leaves(|leaves| leaves[0].object[0] ^= 1).bundle(),
        ),
        case(
            "outcome-form",
            "a record about another subject",
            &Forge::of(history, 2, 1).leaves(|leaves| leaves[0].object = account(78).0).bundle(),
        ),
        case(
            "outcome-form",
            "a revocation that grants",
            &Forge::of(history, 3, 0).leaves(|leaves| leaves[0].kind = OutcomeKind::ConsentGranted).bundle(),
        ),
        case("detail", "another salt", &changed(&good, |b| b.details[0][2] ^= 1)),
        case("detail", "cut off", &changed(&good, |b| drop(b.details[0].pop()))),
        case("detail", "one of two opened", &changed(&good, |b| drop(b.details.pop()))),
    ]);
}

fn batch_cases(history: &History, cases: &mut Vec<Case>) {
    let forge = || Forge::of(history, 1, 0);
    let good = forge().bundle();
    let in_three = history.bundle(0, 1, &honest(history, &[3]), false);
    let with_header = |change: &dyn Fn(&mut BatchHeader)| {
        let mut forge = forge();
        change(&mut forge.header);
        forge.bundle()
    };
    cases.extend([
        case("header", "another layout", &changed(&good, |b| b.header[0] = 0)),
        case("header", "a byte too many", &changed(&good, |b| b.header.push(0))),
        case("header-chain", "of another ledger", &with_header(&|h| h.chain_id.0[0] ^= 1)),
        case("header-ruleset", "another ruleset", &with_header(&|h| h.ruleset = 2)),
        case("header-key", "another key", &with_header(&|h| h.key_id = key(50).public().key_id())),
        case("header-signature", "signed by another key", &{
            let mut forge = forge();
            forge.header_key = key(50);
            forge.bundle()
        }),
        case("header-signature", "a flipped bit", &changed(&good, |b| b.header_signature[0] ^= 1)),
        case("sequence-range", "before the batch", &with_header(&|h| h.first_sequence += 1)),
        case("sequence-range", "after the batch", &with_header(&|h| h.first_sequence -= 1)),
        case("sequence-range", "an empty batch", &with_header(&|h| h.entry_count = 0)),
        case("entry-time", "after its batch", &with_header(&|h| h.time_ms -= 1)),
        case("entry-time", "before the ledger", &{
            let mut forge = forge();
            forge.entry.time_ms = START_MS - 1;
            forge.bundle()
        }),
        case("entry-inclusion", "another root", &{
            let forge = forge();
            forge.bundle_under(BatchHeader { entries_root: [4; 32], ..forge.header.clone() })
        }),
        case("entry-inclusion", "a surplus hash", &changed(&in_three, |b| b.entry_path.push([0; 32]))),
        case("entry-inclusion", "a hash too few", &changed(&in_three, |b| drop(b.entry_path.pop()))),
        case("entry-inclusion", "another hash", &changed(&in_three, |b| b.entry_path[0][0] ^= 1)),
        case("batch-record", "an unknown tree kind", &changed(&good, |b| b.batch_record[66] = 1)),
        case("batch-record", "a state root without a tree", &changed(&good, |b| b.batch_record[40] = 1)),
        case("batch-record-header", "of another header", &changed(&good, |b| b.batch_record[2] ^= 1)),
    ]);
    let chain = history.manifest.chain_id();
    let root = Checkpoint { size: 1, root: BatchRecord::decode(&good.batch_record).unwrap().leaf_hash() };
    let note = root.sign(&chain, &prover());
    let elsewhere = Checkpoint { size: 1, root: [6; 32] };
    cases.extend([
        case("checkpoint", "signed by another key", &changed(&good, |b| b.checkpoint = root.sign(&chain, &key(50)))),
        case("checkpoint", "of another ledger", &changed(&good, |b| {
            b.checkpoint = root.sign(&assent_core::ChainId([1; 32]), &prover());
        })),
        case("checkpoint", "a size with a leading zero", &changed(&good, |b| {
            b.checkpoint = note.replacen("\n1\n", "\n01\n", 1);
        })),
        case("checkpoint", "an extension line", &changed(&good, |b| {
            b.checkpoint = note.replacen("\n\n", "\nmore\n\n", 1);
        })),
        case("checkpoint", "another size", &changed(&good, |b| b.checkpoint = note.replacen("\n1\n", "\n2\n", 1))),
        case("batch-inclusion", "another root", &changed(&good, |b| b.checkpoint = elsewhere.sign(&chain, &prover()))),
        case("batch-inclusion", "a surplus hash", &changed(&good, |b| b.history_path.push([0; 32]))),
        case("batch-inclusion", "a batch past the checkpoint", &with_header(&|h| h.number = 1)),
    ]);
}

fn base_cases(history: &History, cases: &mut Vec<Case>) {
    let good = history.bundle(1, 0, &honest(history, &[1, 3]), true);
    let with = |anchors: &[Transaction], size| history.bundle(1, 0, &anchored(anchors, size, 1), false);
    let tagged = AnchorPayload { chain_tag: [0; 4], ..history.payload(3) };
    let rootless = AnchorPayload { root: [1; 32], ..history.payload(3) };
    let mut unpaid = good.headers[0];
    // Another nonce has another hash: half of them miss even regtest's target.
    loop {
        unpaid[76] = unpaid[76].wrapping_add(1);
        let header: bitcoin::block::Header = bitcoin::consensus::deserialize(&unpaid).unwrap();
        if header.validate_pow(header.target()).is_err() {
            break;
        }
    }
    let last: Transaction = bitcoin::consensus::deserialize(&good.anchors[1]).unwrap();
    let easy = Block::mine(BASE, 1, &[&last], 0x2100_ffff);
    cases.extend([
        case("no-anchor", "none", &changed(&good, |b| b.anchors.clear())),
        case("seals", "not a transaction", &changed(&good, |b| b.anchors[0].truncate(60))),
        case("seals", "another payload version", &changed(&good, |b| {
            let at = b.anchors[1].windows(5).position(|w| w == b"ASNT\x01").unwrap();
            b.anchors[1][at + 4] = 2;
        })),
        case("chain-tag", "another ledger's", &with(&anchors(&[history.payload(1), tagged]), 3)),
        case("anchor-size", "not larger", &with(&anchors(&[history.payload(3), history.payload(3)]), 3)),
        case("anchor-size", "empty", &with(&anchors(&[AnchorPayload { size: 0, ..tagged_ours(history) }]), 3)),
        case("not-first-anchor", "a second one", &with(&anchors(&[history.payload(2), history.payload(3)]), 3)),
        case("anchor-payload", "another root", &with(&anchors(&[rootless]), 3)),
        case("no-header", "none", &changed(&good, |b| b.headers.clear())),
        case("base-headers", "no proof of work", &changed(&good, |b| b.headers[0] = unpaid)),
        case("base-headers", "a block left out", &changed(&good, |b| drop(b.headers.remove(1)))),
        case("base-headers", "a target that the network does not have", &changed(&good, |b| {
            b.headers = vec![easy.bytes()];
        })),
        case("block-inclusion", "another index", &changed(&good, |b| b.block_index ^= 1)),
        case("block-inclusion", "an index past the path", &changed(&good, |b| b.block_index = 4)),
        case("block-inclusion", "another hash", &changed(&good, |b| b.block_path[1][0] ^= 1)),
        case("block-inclusion", "another block", &changed(&good, |b| drop(b.headers.remove(0)))),
        Case("pinned-block", "not in the file", good.encode(), Pins { base_block: Some([1; 32]), ..pinned() }),
        // Four regtest blocks stand for 2 expected hashes each.
        Case("least-work", "one more than there is", good.encode(), Pins { least_work: Some(work(9)), ..pinned() }),
        Case("file-digest", "a flipped bit", {
            let mut file = good.encode();
            *file.last_mut().unwrap() ^= 1;
            file
        }, pinned()),
    ]);
    let enough = Pins { least_work: Some(work(8)), ..pinned() };
    assert_eq!(answer(&good.encode(), &enough), "verified");
}

fn tagged_ours(history: &History) -> AnchorPayload {
    history.payload(3)
}

fn work(hashes: u8) -> [u8; 32] {
    let mut work = [0; 32];
    work[31] = hashes;
    work
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
    let mut cases = Vec::new();
    ledger_cases(&history, &mut cases);
    transaction_cases(&history, &mut cases);
    batch_cases(&history, &mut cases);
    base_cases(&history, &mut cases);
    let wrong: Vec<String> = cases
        .iter()
        .map(|Case(name, how, file, pins)| (name, how, answer(file, pins)))
        .filter(|(name, _, found)| *name != found)
        .map(|(name, how, found)| format!("{name} ({how}): {found}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let provoked: BTreeSet<&str> = cases.iter().map(|Case(name, ..)| *name).collect();
    let names = all_names();
    assert_eq!(names.len(), 38, "{names:?}");
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
    unreadable("headers", &|b| b.headers = vec![b.headers[0]; MAX_HEADERS + 1]);
    unreadable("anchors", &|b| b.anchors = vec![vec![]; MAX_ANCHORS + 1]);
    unreadable("anchor", &|b| b.anchors[0] = vec![0; 10_001]);
    unreadable("entry path", &|b| b.entry_path = vec![[0; 32]; 65]);
    unreadable("history path", &|b| b.history_path = vec![[0; 32]; 65]);
    unreadable("block path", &|b| b.block_path = vec![[0; 32]; 65]);
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
    deep.block_path = vec![[0; 32]; 33];
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
        bundle.anchors = vec![bytes];
        verify_bundle(&bundle.encode(), &pinned()).unwrap_err().to_string()
    };
    let plain = &good.anchors[0];

    // One input, one output with a script of four bytes: 64 bytes, as long as two hashes of a block's tree.
    let mut small: Transaction = bitcoin::consensus::deserialize(plain).unwrap();
    small.output.truncate(1);
    small.output[0].script_pubkey = bitcoin::ScriptBuf::from_bytes(vec![0x51; 4]);
    let small = serialize(&small);
    assert_eq!(small.len(), 64);
    assert!(problem(small).contains("not in the one encoding"));

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
    assert!(problem(serialize(&anchor(FIRST_SEAL, &long))).contains("49 bytes expected, found 50"));
    let mut two: Transaction = bitcoin::consensus::deserialize(plain).unwrap();
    let script = [two.output[1].script_pubkey.as_bytes(), &[0x51]].concat();
    two.output[1].script_pubkey = bitcoin::ScriptBuf::from_bytes(script);
    assert!(problem(serialize(&two)).contains("not OP_RETURN and one push"));
}
