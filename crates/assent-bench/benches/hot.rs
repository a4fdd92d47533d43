//! The hot functions, each on what it really gets: in nanoseconds, or in instructions, which are the same from run to run.
//!
//! ```console
//! $ cargo bench --workspace --bench hot                       # nanoseconds
//! $ cargo bench --workspace --bench hot -- --instructions     # instructions an operation, counted by valgrind
//! $ cargo bench --workspace --bench hot -- --instructions --against FILE
//! ```
//!
//! Instructions are counted over two numbers of operations, in a process each; the difference leaves out what making ready
//! costs. Valgrind's processor has no SHA extensions, so hashing weighs more there than it takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by doing so")]

use std::{
    collections::BTreeMap,
    hint::black_box,
    process::Command,
    time::{Duration, Instant},
};

use assent_bench::{
    ledger::{MemoryLedger, messages},
    random::Random,
    workload::{Found, Mix, PopulationSize},
};
use assent_client::ReceiptChecker;
use assent_core::{
    batch::{GroupReceipts, effects_root},
    codec::sha256,
    log::LogRecord,
    records::{Record, SubjectConsents},
    signature::{KeyPair, verify_all},
    terms::ConsentTerms,
    transaction::{Act, Transaction},
};
use assent_merkle::{
    CompactRange, Hash, PathTree, leaf_hash, node_hash, root_of_leaf_hashes,
    sparse::{NoPages, SparseTree},
};
use assent_proto::v1 as proto;
use bytes::Bytes;
use prost::Message;

/// Instructions that a function may need more than it did before.
const TOLERANCE: f64 = 0.05;
/// And so many at least: what the allocator needs for one operation depends on what it was asked for before, and maps have another
/// seed in each run.
const SLACK: u64 = 500;

/// What does so many operations.
type Case = Box<dyn FnMut(usize)>;

/// A case: its name, operations that valgrind counts, and what makes it ready.
struct Named(&'static str, usize, fn() -> Case);

fn population() -> PopulationSize {
    PopulationSize { patients: 100, clinics: 20, consents: 4 }
}

/// A ledger with its population, and the next messages of a mix.
fn ledger(mix: Mix, count: usize) -> (MemoryLedger, Vec<proto::SignedTransaction>) {
    let mut ledger = MemoryLedger::new(population(), mix).unwrap();
    ledger.set_up().unwrap();
    let next = messages(ledger.workload.day(count, 1, |_, _| {}));
    (ledger, next)
}

fn only(name: &str) -> Mix {
    format!("{name}=1").parse().unwrap()
}

/// Runs an operation on each of some values, again and again.
fn each<T: 'static>(values: Vec<T>, mut operation: impl FnMut(&T) + 'static) -> Case {
    Box::new(move |count| values.iter().cycle().take(count).for_each(&mut operation))
}

fn decode() -> Case {
    let (ledger, messages) = ledger(Mix::default(), 200);
    let chain = ledger.manifest.chain_id();
    each(messages, move |message| {
        black_box(Transaction::decode(&chain, message).unwrap());
    })
}

/// One signature of a batch of so many.
fn verify(size: usize) -> Case {
    let mut ledger = MemoryLedger::new(population(), Mix::default()).unwrap();
    let messages = messages(ledger.workload.population(1, &Found::default(), |_, _| {}));
    let messages = &messages[..size];
    let checks: Vec<_> = ledger.decode(messages).iter().flat_map(Transaction::signature_check).collect();
    assert_eq!(checks.len(), size);
    Box::new(move |count| {
        for _ in 0..count.div_ceil(size) {
            assert!(black_box(verify_all(&checks)).iter().all(Result::is_ok));
        }
    })
}

/// Transactions of one kind, in groups of 50 that are never ended: each is executed on the state after the population was set up
/// and the group so far.
fn execute(mix: &str) -> Case {
    let (mut ledger, messages) = ledger(mix.parse().unwrap(), 400);
    let transactions = ledger.decode(&messages);
    Box::new(move |count| {
        let groups = transactions.chunks_exact(50).cycle();
        for group in groups.take(count.div_ceil(50)) {
            let start = ledger.start();
            ledger.machine.begin_group(start).unwrap();
            for transaction in group {
                black_box(ledger.machine.execute(&ledger.state, transaction)).unwrap().unwrap();
            }
        }
    })
}

/// A group of 200 receipts.
fn group() -> (MemoryLedger, assent_core::machine::GroupOutput) {
    let (mut ledger, messages) = ledger(Mix::default(), 200);
    let transactions = ledger.decode(&messages);
    let output = ledger.group(&transactions, true).unwrap().unwrap();
    (ledger, output)
}

fn statement() -> Case {
    let (ledger, output) = group();
    let chain = ledger.manifest.chain_id();
    let size = output.receipts().len();
    Box::new(move |count| {
        for _ in 0..count.div_ceil(size) {
            black_box(GroupReceipts::new(chain, 0, output.receipts()));
        }
    })
}

fn receipt_check() -> Case {
    let (ledger, output) = group();
    let receipts = GroupReceipts::new(ledger.manifest.chain_id(), 0, output.receipts());
    let signature = ledger.sequencer.sign(&receipts.statement.signing_hash());
    let answers: Vec<_> = output
        .executed
        .iter()
        .zip(output.receipts())
        .enumerate()
        .map(|(index, (executed, receipt))| {
            let answer = proto::SequencedTransaction {
                receipt: Some(proto::SignedReceipt {
                    receipt: receipts.encoded[index].clone(),
                    group_statement: receipts.statement.encode().into(),
                    index: u32::try_from(index).unwrap(),
                    path: receipts.path(index).map(|hash| hash.to_vec().into()).collect(),
                    signature: signature.to_vec().into(),
                }),
                outcome_leaves: executed.outcome.encoded_leaves().collect(),
                already_sequenced: false,
            };
            (receipt.entry.transaction_id, Bytes::from(answer.encode_to_vec()))
        })
        .collect();
    let checker = ReceiptChecker::new(&ledger.manifest);
    each(answers, move |(id, answer)| {
        let answer = proto::SequencedTransaction::decode(answer.clone()).unwrap();
        black_box(checker.check(*id, answer).unwrap());
    })
}

fn path() -> Case {
    let leaves: Vec<Hash> = (0..1_000u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    let tree = PathTree::from_leaf_hashes(leaves);
    Box::new(move |count| {
        for index in 0..count {
            black_box(tree.inclusion_path(index as u64 % 1_000).last());
        }
    })
}

fn tree() -> Case {
    let leaves: Vec<Hash> = (0..1_000u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    Box::new(move |count| {
        for _ in 0..count.div_ceil(1_000) {
            black_box(root_of_leaf_hashes(&leaves));
        }
    })
}

fn effects() -> Case {
    let mut random = Random::new(1);
    let mut effects: Vec<(Hash, Hash)> = (0..1_000).map(|_| (random.bytes(), random.bytes())).collect();
    effects.sort_unstable();
    Box::new(move |count| {
        for _ in 0..count.div_ceil(1_000) {
            black_box(effects_root(&effects));
        }
    })
}

fn sparse() -> Case {
    let mut random = Random::new(1);
    let mut tree = SparseTree::new(usize::MAX);
    let mut batch = move |count: usize| {
        let mut effects: Vec<(Hash, Hash)> = (0..count).map(|_| (random.bytes(), random.bytes())).collect();
        effects.sort_unstable();
        effects
    };
    tree.apply(&NoPages, &batch(4_000)).unwrap();
    Box::new(move |count| {
        black_box(tree.apply(&NoPages, &batch(count)).unwrap());
    })
}

fn consents() -> SubjectConsents {
    let mut consents = SubjectConsents::default();
    for number in 0..4u8 {
        consents.active.push((assent_core::TransactionId([number; 32]), [number; 32]));
        consents.log.append([number; 32]);
    }
    consents
}

fn record_encode() -> Case {
    each(vec![consents()], |consents| {
        black_box(consents.encode());
    })
}

fn record_decode() -> Case {
    each(vec![consents().encode()], |bytes| {
        black_box(SubjectConsents::decode(bytes).unwrap());
    })
}

fn terms_decode() -> Case {
    let (ledger, messages) = ledger(only("grants"), 20);
    let terms = ledger.decode(&messages).into_iter().filter_map(|transaction| match transaction.act {
        Act::GrantConsent { terms, .. } => Some(terms.encode()),
        _ => None,
    });
    each(terms.collect(), |terms| {
        black_box(ConsentTerms::decode(terms).unwrap());
    })
}

fn log_record(decode: bool) -> Case {
    let (_, output) = group();
    let (record, size) = (output.record, output.record_bytes.len());
    let transactions = record.transactions.len();
    let bytes = bytes::Bytes::from(record.encode());
    assert_eq!(bytes.len(), size);
    Box::new(move |count| {
        for _ in 0..count.div_ceil(transactions) {
            if decode {
                black_box(LogRecord::decode(&bytes).unwrap());
            } else {
                black_box(record.encode());
            }
        }
    })
}

fn range_append() -> Case {
    let mut range = CompactRange::default();
    Box::new(move |count| {
        for _ in 0..count {
            black_box(range.append([7; 32]));
        }
    })
}

const CASES: [Named; 21] = [
    Named("sha-256 of 64 bytes", 2_000, || {
        each(vec![[7u8; 64]], |bytes| {
            black_box(sha256(bytes));
        })
    }),
    Named("tree node", 2_000, || {
        each(vec![[7u8; 32]], |hash| {
            black_box(node_hash(hash, hash));
        })
    }),
    Named("sign", 20, || {
        each(vec![KeyPair::from_seed([3; 32])], |key| {
            black_box(key.sign(&[7; 32]));
        })
    }),
    Named("signature alone", 20, || verify(1)),
    Named("signature of 64", 64, || verify(64)),
    Named("signature of 256", 256, || verify(256)),
    Named("decode a transaction", 200, decode),
    Named("execute a request", 400, || execute("requests=1")),
    Named("execute a grant", 400, || execute("grants=1")),
    Named("execute a day's act", 400, || execute("grants=2,revocations=2,requests=36,records=60")),
    Named("receipts and statement of a group, a receipt", 200, statement),
    Named("read and check a receipt", 200, receipt_check),
    Named("path in a tree of 1,000", 20_000, path),
    Named("tree of 1,000, a leaf", 1_000, tree),
    Named("effects root of 1,000, a key", 1_000, effects),
    Named("state tree, a new key of 4,000", 1_000, sparse),
    Named("append to a compact range", 2_000, range_append),
    Named("encode a consents record", 2_000, record_encode),
    Named("decode a consents record", 2_000, record_decode),
    Named("decode consent terms", 2_000, terms_decode),
    Named("decode a log record, a transaction", 20_000, || log_record(true)),
];

/// What was counted, and where.
#[derive(serde::Serialize, serde::Deserialize)]
struct Counted {
    machine: String,
    instructions: BTreeMap<String, u64>,
}

/// Compiler and processor.
fn machine() -> String {
    let version = Command::new("rustc").arg("-V").output().map(|output| output.stdout).unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(": ").nth(1));
        line.unwrap_or("?").to_owned()
    };
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    format!("{version}, {} family {} model {}", field("vendor_id"), field("cpu family"), field("model\t"))
}

/// Nanoseconds an operation: the best of five runs of a tenth of a second.
fn nanoseconds(ready: fn() -> Case) -> f64 {
    let mut case = ready();
    let mut timed = |count: usize| {
        let begun = Instant::now();
        case(count);
        begun.elapsed()
    };
    timed(1_000);
    let mut count = 1_000;
    while timed(count) < Duration::from_millis(50) {
        count *= 2;
    }
    // What making ready within the case costs is left out by the difference.
    let best = |count: usize, timed: &mut dyn FnMut(usize) -> Duration| {
        (0..5).map(|_| timed(count)).min().unwrap_or_default().as_secs_f64()
    };
    let (short, long) = (best(count, &mut timed), best(2 * count, &mut timed));
    (long - short) * 1e9 / count as f64
}

/// Instructions of a case in a process of its own, as valgrind counts them.
fn counted(name: &str, operations: usize) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--case", name, "--operations", &operations.to_string()])
        .output()
        .expect("valgrind is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let line = text.lines().find_map(|line| line.split("Collected :").nth(1)).expect("a count");
    line.trim().parse().expect("a number")
}

fn main() {
    let mut given = std::env::args().skip(1);
    let (mut instructions, mut against, mut save, mut case, mut operations) = (false, None, None, None, 0);
    while let Some(name) = given.next() {
        let mut value = || given.next().expect("a value");
        match name.as_str() {
            "--instructions" => instructions = true,
            "--against" => against = Some(value()),
            "--save" => save = Some(value()),
            "--case" => case = Some(value()),
            "--operations" => operations = value().parse().expect("a number"),
            // What cargo bench passes on.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    if let Some(name) = case {
        let Named(.., ready) = CASES.into_iter().find(|case| case.0 == name).expect("a case");
        ready()(operations);
        return;
    }
    if !instructions {
        for Named(name, _, ready) in CASES {
            println!("{name:<48} {:>10.0} ns", nanoseconds(ready));
        }
        return;
    }
    let here = machine();
    let known: Option<Counted> =
        against.map(|path| serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON"));
    // Compilers and processors differ in what they need: then the figures are shown, and nothing fails.
    let comparable = known.as_ref().is_none_or(|known| known.machine == here);
    if let Some(known) = known.as_ref().filter(|_| !comparable) {
        println!("not comparable, only shown: counted on {}, this is {here}", known.machine);
    }
    let known = known.map(|known| known.instructions).unwrap_or_default();
    let (mut found, mut slower) = (BTreeMap::new(), Vec::new());
    for Named(name, operations, _) in CASES {
        let (one, two) = (counted(name, operations), counted(name, 2 * operations));
        let each = two.saturating_sub(one) / operations as u64;
        let before = known.get(name).copied();
        let change = before.map(|before| each as f64 / before as f64 - 1.0);
        let shown = change.map_or_else(String::new, |change| format!("{:+.1} %", change * 100.0));
        println!("{name:<48} {each:>10} instructions {shown:>9}");
        let is_more = before.is_some_and(|before| each > before + SLACK);
        if is_more && change.is_some_and(|change| change > TOLERANCE) {
            slower.push(name);
        }
        found.insert(name.to_owned(), each);
    }
    if let Some(path) = save {
        let counted = Counted { machine: here, instructions: found };
        std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(&counted).unwrap())).unwrap();
    }
    if comparable && !slower.is_empty() {
        let percent = TOLERANCE * 100.0;
        eprintln!("more than {percent:.0} % and {SLACK} instructions above: {}", slower.join("; "));
        std::process::exit(1);
    }
}
