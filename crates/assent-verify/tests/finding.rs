//! From files that anybody may hold to evidence: every kind is found from honest-looking parts, and nothing where nobody lied.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use assent_core::{batch::BatchHeader, codec::sha256, receipt::SignedReceipt};
use assent_proto::v1::SealedBatch;
use assent_verify::{
    ConsistencyFile, Pins, ReceiptFile,
    batches::{BatchesFile, encode_batch},
    evidence::{StatementError, Statements, verify_evidence},
};

#[allow(dead_code, reason = "the other tests use the rest")]
mod fixture;

use fixture::{
    evidence::{receipt, worked},
    ledger::{History, honest, pinned, prover, sequencer},
};

fn export(history: &History, count: usize, last: Option<SealedBatch>) -> Vec<u8> {
    let mut batches: Vec<Vec<u8>> =
        history.batches[..count].iter().map(|batch| encode_batch(&batch.sent)).collect();
    if let Some(last) = last {
        *batches.last_mut().unwrap() = encode_batch(&last);
    }
    BatchesFile { manifest: history.manifest.encode(), first: 0, batches }.encode()
}

fn kept(history: &History, receipt: SignedReceipt) -> Vec<u8> {
    ReceiptFile { manifest: history.manifest.encode(), receipt }.encode()
}

fn note(history: &History, size: u64) -> Vec<u8> {
    history.checkpoint(size).sign(&history.manifest.chain_id(), &prover()).into_bytes()
}

/// The kinds that are found, each checked as a file.
fn found(files: &[Vec<u8>]) -> Vec<String> {
    let mut statements = Statements::default();
    for (index, file) in files.iter().enumerate() {
        statements.read(&format!("file {index}"), file).unwrap();
    }
    let found = statements.find(&worked(), &mut |_, _| {}).unwrap();
    assert!(found.ignored.is_empty(), "{:?}", found.ignored);
    let kind = |evidence: &assent_verify::evidence::Evidence| {
        let finding = verify_evidence(&evidence.encode(), &worked()).unwrap();
        finding.facts["evidence"].as_str().unwrap().to_owned()
    };
    found.evidence.iter().map(kind).collect()
}

#[test]
fn each_contradiction_is_found_from_the_files_that_show_it() {
    let (ours, theirs) = (History::new(0), History::new(1));
    let bundle = |history: &History, batch, sizes: &[u64]| {
        history.bundle(batch, 0, &honest(history, sizes), false).encode()
    };
    let manifest = ours.manifest.encode();
    let moved = |by: u64| {
        let mut receipts = ours.batches[0].receipts.clone();
        receipts[1].entry.sequence += by;
        let group = assent_core::batch::GroupReceipts::new(ours.manifest.chain_id(), 0, &receipts);
        SignedReceipt {
            receipt: group.encoded[1].clone(),
            index: 1,
            path: group.path(1).copied().collect(),
            signature: sequencer().sign(&group.statement.signing_hash()),
            statement: group.statement.encode().into(),
        }
    };
    let reheaded = |change: &dyn Fn(&mut BatchHeader)| {
        let mut batch = ours.batches[2].sent.clone();
        let mut header = BatchHeader::decode(&batch.header).unwrap();
        change(&mut header);
        batch.header = header.encode();
        batch.signature = sequencer().sign(&sha256(&batch.header)).to_vec();
        batch
    };
    // The prover filed another record than that of the sequencer's header.
    let mut misfiled = theirs.bundle(1, 0, &honest(&theirs, &[2]), false);
    misfiled.header = ours.batches[1].header.encode();
    misfiled.header_signature = sequencer().sign(&sha256(&misfiled.header));
    let deadline = ours.batches[3].receipts[0].deadline_ms;

    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("entry-contradicts-receipt", vec![kept(&ours, receipt(&ours, 0, 1)), export(&theirs, 2, None)]),
        ("entry-contradicts-receipt", vec![kept(&ours, receipt(&ours, 0, 0)), bundle(&theirs, 0, &[2])]),
        ("receipts-contradict", vec![kept(&ours, receipt(&ours, 0, 1)), kept(&ours, moved(5))]),
        ("receipts-contradict", vec![kept(&ours, receipt(&ours, 0, 1)), kept(&ours, receipt(&theirs, 0, 1))]),
        ("headers-contradict", vec![export(&ours, 2, None), bundle(&theirs, 1, &[2])]),
        ("batch-contradicts-receipt", vec![kept(&ours, moved(3)), export(&ours, 3, None)]),
        (
            "sealed-without-entry",
            vec![
                kept(&ours, receipt(&ours, 3, 0)),
                export(&ours, 3, Some(reheaded(&|header| header.time_ms = deadline + 1))),
            ],
        ),
        ("wrong-execution", vec![export(&ours, 3, Some(reheaded(&|header| header.effects_root[0] ^= 1)))]),
        ("roots-contradict", vec![manifest.clone(), note(&ours, 3), note(&theirs, 3)]),
        ("roots-contradict", vec![bundle(&ours, 0, &[2]), note(&theirs, 2)]),
        ("history-rewritten", vec![export(&theirs, 4, None), note(&ours, 2), note(&theirs, 4)]),
        ("records-contradict", vec![bundle(&ours, 1, &[2]), bundle(&theirs, 1, &[3])]),
        ("wrong-record", vec![misfiled.encode()]),
        ("wrong-root", vec![export(&ours, 3, None), note(&theirs, 3)]),
    ];
    let mut kinds = std::collections::BTreeSet::new();
    for (kind, files) in cases {
        let found = found(&files);
        assert!(found.iter().any(|found| found == kind), "{kind} is not among {found:?}");
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 11, "every kind");
}

#[test]
fn where_nobody_lied_nothing_is_found() {
    let ours = History::new(0);
    let chain = ours.manifest.chain_id();
    let mut files =
        vec![ours.manifest.encode(), export(&ours, 4, None), note(&ours, 1), note(&ours, 3), note(&ours, 4)];
    for (batch, index) in [(0, 0), (0, 2), (1, 0), (2, 1), (3, 0)] {
        files.push(kept(&ours, receipt(&ours, batch, index)));
        let sizes = [&[1][..], &[1, 3], &[1, 3], &[1, 3, 4]][batch];
        files.push(ours.bundle(batch, 0, &honest(&ours, sizes), true).encode());
    }
    files.push(
        ConsistencyFile {
            manifest: ours.manifest.encode(),
            old: ours.checkpoint(4).sign(&chain, &prover()),
            new: ours.checkpoint(4).sign(&chain, &prover()),
            path: vec![],
        }
        .encode(),
    );
    assert!(found(&files).is_empty());
}

#[test]
fn what_is_no_statement_is_refused_and_what_nobody_signed_is_left_aside() {
    let (ours, theirs) = (History::new(0), History::new(1));
    let mut statements = Statements::default();
    assert!(matches!(statements.read("x", b"hello"), Err(StatementError::Unknown)));
    assert!(matches!(statements.read("x", b"{\"a\": 1}"), Err(StatementError::Json(_))));
    assert!(matches!(statements.read("x", b"{"), Err(StatementError::Json(_))));
    assert!(matches!(statements.read("x", b"assent-evidence\n"), Err(StatementError::Evidence)));
    assert!(matches!(statements.read("x", b"assent-receipt\n"), Err(StatementError::Read(_))));
    assert!(matches!(statements.find(&Pins::default(), &mut |_, _| {}), Err(StatementError::NoManifest)));

    let mut forged = receipt(&theirs, 0, 1);
    forged.signature[0] ^= 1;
    statements.read("good", &kept(&ours, receipt(&ours, 0, 1))).unwrap();
    statements.read("forged", &kept(&ours, forged)).unwrap();
    let found = statements.find(&pinned(), &mut |_, _| {}).unwrap();
    assert!(found.evidence.is_empty());
    assert!(found.ignored[0].starts_with("forged: the receipt: "), "{:?}", found.ignored);
    // A receipt as the commands print it.
    let printed = receipt(&theirs, 0, 1);
    let json = serde_json::json!({"signed_receipt": {
        "receipt": hex::encode(&printed.receipt),
        "group_statement": hex::encode(&printed.statement),
        "index": printed.index,
        "path": printed.path.iter().map(hex::encode).collect::<Vec<_>>(),
        "signature": hex::encode(printed.signature),
    }});
    statements.read("printed", format!("{json:#}\n{json:#}\n").as_bytes()).unwrap();
    let found = statements.find(&pinned(), &mut |_, _| {}).unwrap();
    assert_eq!(found.evidence[0].accusation.name(), "receipts-contradict");
    // Another ledger's manifest beside this one's.
    let mut other = ours.manifest.clone();
    other.nonce = [1; 32];
    statements.read("other", &other.encode()).unwrap();
    assert!(matches!(statements.find(&pinned(), &mut |_, _| {}), Err(StatementError::TwoLedgers)));
}

#[test]
fn a_damaged_copy_hides_nothing_and_an_honest_prover_is_not_taken_for_the_one_who_forked() {
    let (ours, theirs) = (History::new(0), History::new(1));
    // A damaged copy of the first batch comes before the export that convicts.
    let mut damaged = ours.batches[0].sent.clone();
    let mut record = damaged.log_records[0].to_vec();
    record[60] ^= 1;
    damaged.log_records[0] = record.into();
    let mut wrong = ours.batches[2].sent.clone();
    let mut header = BatchHeader::decode(&wrong.header).unwrap();
    header.effects_root[0] ^= 1;
    wrong.header = header.encode();
    wrong.signature = sequencer().sign(&header.hash()).to_vec();
    let mut statements = Statements::default();
    let copy =
        BatchesFile { manifest: ours.manifest.encode(), first: 0, batches: vec![encode_batch(&damaged)] };
    statements.read("a", &copy.encode()).unwrap();
    statements.read("b", &export(&ours, 3, Some(wrong))).unwrap();
    let found = statements.find(&pinned(), &mut |_, _| {}).unwrap();
    assert!(
        found.evidence.iter().any(|evidence| evidence.accusation.name() == "wrong-execution"),
        "{:?}",
        found.ignored
    );
    assert!(found.ignored.iter().any(|ignored| ignored.starts_with("a copy of batch 0")));

    // The sequencer signed two histories; the prover followed the second and is right.
    let mut statements = Statements::default();
    statements.read("a", &export(&ours, 3, None)).unwrap();
    statements.read("b", &export(&theirs, 3, None)).unwrap();
    statements.read("c", &note(&theirs, 3)).unwrap();
    let found = statements.find(&pinned(), &mut |_, _| {}).unwrap();
    let kinds: Vec<_> = found.evidence.iter().map(|evidence| evidence.accusation.name()).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == "headers-contradict"), "{kinds:?}");
}
