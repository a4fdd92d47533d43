//! Golden files: every layout that is hashed or signed, pinned byte by byte.
//!
//! Each line of a file in `tests/golden/` is a name and the bytes in hexadecimal. A difference means that ledgers, proofs
//! and clients that exist no longer agree with this program. `ASSENT_BLESS=1 cargo test` writes the files anew; do so only
//! for a layout that nobody has used yet, or together with a new version byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, env, fmt::Write as _, fs, path::PathBuf, sync::Arc};

use assent_core::{
    AccountId, ChainId, Hash, TransactionId,
    anchor::AnchorPayload,
    batch::{BatchRecord, GroupReceipts, Refusal, RefusalReason, effect_leaf},
    note::{Checkpoint, verifier_key},
    outcome::{AccessQuestion, Detail, OutcomeKind, OutcomeLeaf},
    policy::{Decider, Obligation, Reason, Verdict},
    query::Query,
    records::{
        AccessLogLeaf, AccountRecord, ActorAccesses, ActorLogLeaf, ConsentLogLeaf, ConsentRecord,
        LogLeaf as _, Moment, Record, RevocationCodeRecord, StateKey, StateValue, SubjectAccesses,
        SubjectConsents,
    },
    ruleset::Ruleset,
    signature::SignatureError,
    terms::{Action, Coding, ConsentTerms, Effect, Period},
    transaction::{AccessScope, AccountKind, TransactionError, revocation_code_hash},
};
use assent_merkle::{
    BatchTree, CompactRange, leaf_hash,
    sparse::{NoPages, SparseTree},
};

mod common;
#[path = "golden/run.rs"]
mod run;

use run::{CLINIC, CODE, HOSPITAL, PATIENT, PROVER, Run, SEQUENCER, START_MS, account, key};

fn path(relative: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn document(name: &str) -> String {
    fs::read_to_string(path("../../docs").join(name)).unwrap()
}

#[derive(Default)]
struct Lines(Vec<(String, String)>);

impl Lines {
    fn add(&mut self, name: impl Into<String>, bytes: impl AsRef<[u8]>) {
        self.0.push((name.into(), hex::encode(bytes)));
    }

    fn text(&mut self, name: &str, text: impl ToString) {
        self.0.push((name.to_owned(), text.to_string()));
    }

    fn file(&self) -> String {
        self.0.iter().fold(String::new(), |mut file, (name, value)| {
            let _ = writeln!(file, "{name} {value}");
            file
        })
    }

    /// Compares with the file, and names every line that differs.
    fn check(&self, file: &str) {
        let path = path("tests/golden").join(file);
        if env::var_os("ASSENT_BLESS").is_some() {
            fs::write(&path, self.file()).unwrap();
        }
        let pinned = fs::read_to_string(&path).unwrap();
        let pinned: BTreeMap<&str, &str> = pinned.lines().map(|line| line.split_once(' ').unwrap()).collect();
        let found: BTreeMap<&str, &str> =
            self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found.len(), self.0.len(), "a name occurs twice in {file}");
        let names: std::collections::BTreeSet<&str> = pinned.keys().chain(found.keys()).copied().collect();
        let differ: Vec<String> = names
            .into_iter()
            .filter(|name| pinned.get(name) != found.get(name))
            .map(|name| format!("{name}\n  pinned {:?}\n  found  {:?}", pinned.get(name), found.get(name)))
            .collect();
        assert!(differ.is_empty(), "{file} pins other bytes for:\n{}", differ.join("\n"));
    }
}

#[test]
fn ids_and_salted_hashes_are_pinned() {
    let mut lines = Lines::default();
    let public = key(PATIENT).public();
    lines.add("public_key", public.0);
    lines.add("account_id", public.account_id().0);
    lines.text("account_did", public.account_id());
    lines.add("key_id", public.key_id());
    lines.add("transaction_id_of_empty_body", TransactionId::of_body(b"").0);
    lines.add("revocation_code_hash", revocation_code_hash(&CODE));
    lines.add("acting_person_hash", run::person());
    lines.add("source_hash", run::source());
    let manifest = run::manifest();
    lines.add("ruleset_hash", Ruleset::numbered(1).unwrap().hash());
    lines.add("manifest", manifest.encode());
    lines.add("chain_id", manifest.chain_id().0);
    lines.check("ids.txt");
}

fn codes() -> (Coding, Coding) {
    let coding = |system: &str, code: &str| Coding { system: system.into(), code: code.into() };
    (coding("http://hl7.org/fhir/resource-types", "Observation"), coding("urn:example", "x"))
}

fn obligation() -> Obligation {
    let (class, label) = codes();
    Obligation {
        purposes: vec!["ETREAT".into(), "BTG".into()],
        classes: vec![class],
        labels: vec![label],
        data_period: Some(Period { start_ms: 5, end_ms: u64::MAX }),
    }
}

fn question() -> AccessQuestion {
    let (class, label) = codes();
    AccessQuestion {
        recipient: AccountId([0x23; 32]),
        scope: Arc::new(AccessScope {
            custodian: AccountId([0x24; 32]),
            purpose: "TREAT".into(),
            action: Action::Access,
            classes: vec![class],
            labels: vec![label],
            data_period: Some(Period { start_ms: 5, end_ms: 6 }),
            acting_person_hash: Some([0x25; 32]),
        }),
    }
}

#[test]
fn terms_outcomes_and_details_are_pinned() {
    let mut lines = Lines::default();
    let terms = ConsentTerms::from_proto(&run::terms()).unwrap();
    lines.add("terms", terms.encode());
    lines.add("terms_hash", ConsentTerms::hash(&terms.encode(), &[4; 16]));
    let least = ConsentTerms { default_effect: Some(Effect::Deny), period: None, provisions: vec![] };
    lines.add("terms_default_only", least.encode());
    for kind in OutcomeKind::ALL {
        let permitted = kind == OutcomeKind::AccessPermitted;
        let leaf = OutcomeLeaf {
            kind,
            object: [0x21; 32],
            question: (kind as u8 >= OutcomeKind::AccessPermitted as u8).then(question),
            permit_until_ms: if permitted { START_MS + 1 } else { 0 },
            obligations: if permitted { vec![obligation()] } else { vec![] },
            detail_hash: [0x22; 32],
        };
        assert_eq!(OutcomeLeaf::decode(&leaf.encode()).unwrap(), leaf);
        lines.add(format!("outcome_leaf.{}", kind.name()), leaf.encode());
        lines.add(format!("outcome_leaf_hash.{}", kind.name()), leaf_hash(&leaf.encode()));
    }
    for number in 1..=11 {
        let detail = Detail {
            salt: [0x31; 32],
            consent_log_size: 7,
            reason: Reason::from_number(number),
            decider: Some(Decider { consent: TransactionId([0x32; 32]), path: vec![0, 3] }),
            verdicts: vec![
                (TransactionId([0x32; 32]), Verdict::Permit),
                (TransactionId([0x33; 32]), Verdict::Silent),
                (TransactionId([0x34; 32]), Verdict::Deny),
            ],
        };
        assert_eq!(Detail::decode(&detail.encode()).unwrap(), detail);
        lines.add(format!("detail.{:?}", detail.reason.unwrap()), detail.encode());
        lines.add(format!("detail_hash.{:?}", detail.reason.unwrap()), detail.hash());
    }
    let act = Detail { salt: [0x31; 32], consent_log_size: 0, reason: None, decider: None, verdicts: vec![] };
    lines.add("detail.of_act", act.encode());
    lines.add("detail_hash.of_act", act.hash());
    lines.check("outcomes.txt");
}

fn range(leaves: u8) -> CompactRange {
    let mut range = CompactRange::default();
    (0..leaves).for_each(|n| drop(range.append([n; 32])));
    range
}

#[test]
fn state_records_keys_values_and_log_leaves_are_pinned() {
    let mut lines = Lines::default();
    let id = TransactionId([0x41; 32]);
    for (name, key) in [
        ("account", StateKey::account(AccountId([0x42; 32]))),
        ("consent", StateKey::consent(id)),
        ("subject_consents", StateKey::subject_consents(AccountId([0x42; 32]))),
        ("subject_accesses", StateKey::subject_accesses(AccountId([0x42; 32]))),
        ("actor", StateKey::actor(AccountId([0x42; 32]))),
        ("revocation_code", StateKey::revocation_code([0x43; 32])),
    ] {
        lines.add(format!("state_key.{name}"), key.to_bytes());
        lines.add(format!("state_key_hash.{name}"), key.hash());
    }
    let moment = |n: u64| Moment { sequence: n, time_ms: START_MS + n };
    let mut consent = ConsentRecord {
        subject: AccountId([0x42; 32]),
        granted: moment(3),
        revoked: None,
        revocation_code_hash: None,
        source_hash: None,
        terms_salt: vec![0x44; 16],
        terms: ConsentTerms::from_proto(&run::terms()).unwrap().encode(),
    };
    lines.add("record.consent_in_force", consent.encode());
    consent.revoked = Some(moment(9));
    consent.revocation_code_hash = Some([0x45; 32]);
    consent.source_hash = Some([0x46; 32]);
    lines.add("record.consent_revoked", consent.encode());
    let keys = vec![key(PATIENT).public()];
    let account_record = AccountRecord { kind: AccountKind::Researcher, opened_sequence: 5, keys };
    lines.add("record.account", account_record.encode());
    let consents = SubjectConsents {
        active: vec![(id, [0x47; 32]), (TransactionId([0x48; 32]), [0x49; 32])],
        log: range(5),
    };
    lines.add("record.subject_consents", consents.encode());
    lines.add("active_digest", consents.active_digest());
    lines.add("active_digest.empty", SubjectConsents::default().active_digest());
    lines.add("record.subject_accesses", SubjectAccesses(range(3)).encode());
    lines.add("record.actor", ActorAccesses(range(4)).encode());
    lines.add("record.revocation_code", RevocationCodeRecord(id).encode());
    let value = StateValue { salt: [0x4a; 32], record: account_record.encode().into() };
    lines.add("state_value_hash", value.hash());
    lines.add("effect_leaf", effect_leaf(&[0x4b; 32], &[0x4c; 32]));
    let leaf = ConsentLogLeaf { at: moment(1), entry_leaf_hash: [0x4d; 32], active_digest: [0x4e; 32] };
    assert_eq!(ConsentLogLeaf::decode(&leaf.encode()).unwrap(), leaf);
    lines.add("consent_log_leaf", leaf.hash());
    let leaf = AccessLogLeaf { at: moment(1), id, decision_leaf_hash: [0x4d; 32], consent_log_size: 6 };
    assert_eq!(AccessLogLeaf::decode(&leaf.encode()).unwrap(), leaf);
    lines.add("access_log_leaf", leaf.hash());
    let leaf = ActorLogLeaf { at: moment(1), id, decision_leaf_hash: [0x4d; 32] };
    assert_eq!(ActorLogLeaf::decode(&leaf.encode()).unwrap(), leaf);
    lines.add("actor_log_leaf", leaf.hash());
    lines.check("records.txt");
}

#[test]
fn refusals_are_pinned() {
    let mut lines = Lines::default();
    let sequencer = key(SEQUENCER);
    for reason in RefusalReason::ALL {
        let refusal = Refusal {
            chain_id: run::manifest().chain_id(),
            key_id: sequencer.public().key_id(),
            transaction_id: TransactionId([0x61; 32]),
            reason,
            sequence: 12,
            time_ms: START_MS + 12,
        };
        assert_eq!(Refusal::decode(&refusal.encode()).unwrap(), refusal);
        lines.add(format!("refusal.{}", reason.name()), refusal.encode());
        lines.add(format!("refusal_hash.{}", reason.name()), refusal.signing_hash());
        lines.add(format!("refusal_signature.{}", reason.name()), sequencer.sign(&refusal.signing_hash()));
    }
    lines.check("refusals.txt");
}

/// Everything that follows from the log of a small ledger, from bodies to anchor payloads.
#[test]
fn signed_queries_are_pinned() {
    let patient = key(PATIENT);
    let query = Query {
        chain_id: run::manifest().chain_id(),
        key: patient.public(),
        method: "/assent.v1.SequencerService/GetConsent".into(),
        request_hash: assent_core::codec::sha256(b"the encoded request"),
        time_ms: START_MS,
        nonce: [0x5a; 16],
    };
    let mut lines = Lines::default();
    lines.add("query_and_signature", query.sign(&patient));
    lines.check("queries.txt");
}

fn ledger(run: &Run) -> Lines {
    let mut lines = Lines::default();
    let (sequencer, prover) = (key(SEQUENCER), key(PROVER));
    let chain = run.manifest.chain_id();
    let (mut history, mut log) = (Vec::new(), Vec::new());
    let mut state = SparseTree::new(usize::MAX);
    for (g, (output, transactions)) in run.outputs.iter().zip(&run.transactions).enumerate() {
        for (t, transaction) in transactions.iter().enumerate() {
            let (executed, receipt) = (&output.executed[t], output.receipts().nth(t).unwrap());
            let mut add =
                |name: &str, bytes: &[u8]| lines.add(format!("group{g}.transaction{t}.{name}"), bytes);
            add("body", &transaction.body);
            add("id", &transaction.id.0);
            if let Some(authorization) = transaction.authorizations.first() {
                add("signature", &authorization.signature);
            }
            add("authorizations_hash", &transaction.authorizations_hash());
            for (i, (leaf, detail)) in executed
                .outcome
                .leaves()
                .unwrap()
                .iter()
                .zip(&executed.outcome.details().unwrap())
                .enumerate()
            {
                add(&format!("outcome_leaf{i}"), &leaf.encode());
                add(&format!("detail{i}"), &detail.encode());
                assert_eq!(detail.hash(), leaf.detail_hash);
            }
            add("entry", &executed.entry.encode());
            add("entry_leaf_hash", &executed.entry.leaf_hash());
            add("receipt", &receipt.encode());
        }
        let statement = GroupReceipts::new(chain, output.record.position, output.receipts()).statement;
        let mut add = |name: &str, bytes: &[u8]| lines.add(format!("group{g}.{name}"), bytes);
        add("statement", &statement.encode());
        add("statement_hash", &statement.signing_hash());
        add("statement_signature", &sequencer.sign(&statement.signing_hash()));
        add("log_record", &output.record.encode());
        assert_eq!(output.record_bytes, output.record.encode());
        log.push(output.record_bytes.clone());
        let Some(sealed) = &output.sealed else { continue };
        let header = &sealed.header;
        let b = header.number;
        let mut add = |name: &str, bytes: &[u8]| lines.add(format!("batch{b}.{name}"), bytes);
        let mut effects = Vec::new();
        let written: BTreeMap<_, _> = sealed.content.state.iter().collect();
        for (i, (key, value)) in written.into_iter().enumerate() {
            add(&format!("state{i}.key"), &key.to_bytes());
            add(&format!("state{i}.salt"), &value.salt);
            add(&format!("state{i}.record"), &value.record);
            effects.push((key.hash(), value.hash()));
        }
        effects.sort_unstable();
        let leaves: Vec<Hash> = effects.iter().map(|(key, value)| effect_leaf(key, value)).collect();
        for (i, ((key, value), leaf)) in effects.iter().zip(&leaves).enumerate() {
            add(&format!("effect{i}.key_hash"), key);
            add(&format!("effect{i}.value_hash"), value);
            add(&format!("effect{i}.leaf_hash"), leaf);
        }
        assert_eq!(BatchTree::from_leaf_hashes(&leaves).root(), header.effects_root);
        assert_eq!(BatchTree::from_leaves(&log).root(), header.log_root);
        log.clear();
        add("header", &header.encode());
        add("header_hash", &header.hash());
        add("header_signature", &sequencer.sign(&header.hash()));
        state.apply(&NoPages, &effects).unwrap();
        add("state_root", &state.root());
        let record = BatchRecord::new(header.hash(), state.root());
        history.push(record.leaf_hash());
        let root = BatchTree::from_leaf_hashes(&history).root();
        let checkpoint = Checkpoint { size: history.len() as u64, root };
        add("record", &record.encode());
        add("record_leaf_hash", &record.leaf_hash());
        add("history_root", &root);
        add("checkpoint_note", checkpoint.sign(&chain, &prover).as_bytes());
        add("anchor_payload", &AnchorPayload::new(&chain, checkpoint.size, root).encode());
    }
    lines.text("prover_verifier_key", verifier_key(&chain, &prover.public()));
    lines
}

#[test]
fn a_small_ledger_gives_the_pinned_bytes_from_body_to_anchor() {
    let run = run::run();
    let kinds: Vec<OutcomeKind> = run
        .outputs
        .iter()
        .flat_map(|output| &output.executed)
        .flat_map(|executed| executed.outcome.kinds())
        .collect();
    for kind in OutcomeKind::ALL {
        assert!(kinds.contains(&kind), "{} does not occur in the run", kind.name());
    }
    ledger(&run).check("ledger.txt");
}

/// The path of one transaction of that ledger, as `docs/formats.md` walks it.
fn example(run: &Run) -> Lines {
    let all = ledger(run);
    let mut lines = Lines::default();
    let mut ids = Lines::default();
    let manifest = run::manifest();
    ids.add("ruleset_hash", manifest.ruleset_hash);
    ids.add("manifest", manifest.encode());
    ids.add("chain_id", manifest.chain_id().0);
    ids.text("sender", account(PATIENT));
    lines.0.extend(ids.0);
    let wanted = [
        "group0.transaction0.body",
        "group0.transaction0.id",
        "group0.transaction0.signature",
        "group0.transaction0.authorizations_hash",
        "group0.transaction0.outcome_leaf0",
        "group0.transaction0.detail0",
        "group0.transaction0.entry",
        "group0.transaction0.entry_leaf_hash",
        "group0.transaction0.receipt",
        "group0.statement",
        "group0.statement_hash",
        "group0.statement_signature",
        "batch0.header",
        "batch0.header_hash",
        "batch0.header_signature",
        "batch0.state_root",
        "batch0.record",
        "batch0.record_leaf_hash",
        "batch0.history_root",
        "batch0.checkpoint_note",
        "batch0.anchor_payload",
    ];
    for name in wanted {
        let value = all.0.iter().find(|(found, _)| found == name).map(|(_, value)| value).unwrap();
        let short = name.strip_prefix("group0.transaction0.").or(name.strip_prefix("batch0."));
        lines.text(short.unwrap_or(name), value);
    }
    lines
}

#[test]
fn the_worked_example_in_the_specification_is_what_the_program_makes() {
    let example = example(&run::run());
    example.check("example.txt");
    let specification = document("formats.md");
    for line in example.file().lines() {
        assert!(specification.lines().any(|found| found == line), "docs/formats.md lacks the line:\n{line}");
    }
}

#[test]
fn every_stable_reason_is_listed_in_the_table_of_errors() {
    let errors = document("errors.md");
    let field = TransactionError::Field { field: "salt", problem: String::new() };
    let (chain, account) = (ChainId([0; 32]), account(HOSPITAL));
    let transaction = [
        TransactionError::TooLarge { limit: 0, found: 0 },
        TransactionError::Malformed(String::new()),
        TransactionError::NotCanonical { expected: 0, found: 0, at: 0 },
        TransactionError::WrongChain { expected: chain, found: String::new() },
        field,
        TransactionError::AuthorizationCount { expected: 1, found: 0 },
        TransactionError::NotSenderKey { expected: account, found: run::account(CLINIC) },
        TransactionError::Signature(SignatureError::Invalid),
    ];
    // A match without a wildcard: a new variant does not compile until it is listed above.
    for error in &transaction {
        match error {
            TransactionError::TooLarge { .. }
            | TransactionError::Malformed(_)
            | TransactionError::NotCanonical { .. }
            | TransactionError::WrongChain { .. }
            | TransactionError::Field { .. }
            | TransactionError::AuthorizationCount { .. }
            | TransactionError::NotSenderKey { .. }
            | TransactionError::Signature(_) => {}
        }
    }
    let reasons = RefusalReason::ALL.map(RefusalReason::name);
    for reason in transaction.iter().map(TransactionError::reason).chain(reasons) {
        assert!(errors.contains(&format!("| `{reason}` |")), "docs/errors.md lacks {reason}");
    }
}
