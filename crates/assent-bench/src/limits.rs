//! What no design avoids, measured on the machine at hand, and the rate that follows from it.
//!
//! Each term is the processor time that one transaction needs of one thing, on average over the acts of a hospital's day, with
//! all cores at it, as they are under load: alone on a machine, a core does the same work faster. The bound is the number of
//! cores over the sum of the terms: no program that does these things can take more transactions a second.

use std::{
    fmt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use assent_client::ReceiptChecker;
use assent_core::{
    batch::GroupReceipts,
    codec::sha256,
    machine::{GroupOutput, SealedBatch},
    signature::{SignedHash, verify_all},
    transaction::Transaction,
};
use assent_merkle::sparse::{NoPages, SparseTree};
use assent_proto::v1 as proto;
use assent_store::{Commit, LedgerStore, Role};
use bytes::Bytes;
use prost::Message;
use serde::Serialize;

use crate::{
    BenchError, Progress,
    drive::Mode,
    echo,
    ledger::{MemoryLedger, messages},
    processes,
    workload::{Mix, PopulationSize},
};

/// Transactions of one group, as under full load.
const GROUP: usize = 512;
/// Groups of one batch.
const GROUPS: usize = 16;
/// Signatures that the sequencer checks together, and that a prover does.
const SEQUENCER_BATCH: usize = 2_048;
const PROVER_BATCH: usize = 4_096;
/// How long each term is measured.
const TIME: Duration = Duration::from_secs(2);
/// Connections, and calls or messages under way, of the empty calls.
const CONNECTIONS: usize = 8;
const UNARY_CALLS: usize = 1_024;
const STREAMED: usize = 8_192;

/// Processor time of one thing, in microseconds a transaction.
#[derive(Clone, Debug, Serialize)]
pub struct Term {
    /// What it is.
    pub name: &'static str,
    /// Microseconds of processor time a transaction.
    pub us: f64,
}

/// The terms, and the bounds that follow.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// Cores of the machine.
    pub cores: usize,
    /// Of everything with a sequencer alone, transport aside.
    pub sequencer: Vec<Term>,
    /// What a prover beside it adds.
    pub prover: Vec<Term>,
    /// Carrying a transaction in a stream, there and back.
    pub streamed: Term,
    /// Carrying it in a call of its own.
    pub unary: Term,
    /// Bytes of SHA-256 a second, of all cores.
    pub sha256_bytes_per_second: f64,
    /// Milliseconds until a synced write of one group returned: half of them.
    pub sync_ms: f64,
}

impl Limits {
    /// Transactions a second at most.
    #[must_use]
    pub fn bound(&self, mode: Mode, with_prover: bool) -> f64 {
        let transport = if mode == Mode::Unary { &self.unary } else { &self.streamed };
        let prover = if with_prover { self.prover.as_slice() } else { &[] };
        let sum: f64 = self.sequencer.iter().chain(prover).chain([transport]).map(|term| term.us).sum();
        self.cores as f64 * 1e6 / sum
    }

    /// The share of the bound that a rate is.
    #[must_use]
    pub fn reached(&self, rate: f64, mode: Mode, with_prover: bool) -> Reached {
        let bound = self.bound(mode, with_prover);
        Reached { bound, share: rate / bound, with_prover }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Processor time of one transaction, in microseconds, with all {} cores at it:\n",
            self.cores
        )?;
        let mut line = |term: &Term| writeln!(f, "  {:<58} {:>8.1}", term.name, term.us);
        for term in self.sequencer.iter().chain(&self.prover).chain([&self.streamed, &self.unary]) {
            line(term)?;
        }
        writeln!(f, "\nTransactions a second at most: {} cores over the sum of the terms\n", self.cores)?;
        for (name, mode, with_prover) in [
            ("streamed, sequencer alone", Mode::Stream, false),
            ("streamed, with a prover beside it", Mode::Stream, true),
            ("unary, sequencer alone", Mode::Unary, false),
            ("unary, with a prover beside it", Mode::Unary, true),
        ] {
            writeln!(f, "  {name:<58} {:>8.0}", self.bound(mode, with_prover))?;
        }
        writeln!(
            f,
            "\nSHA-256 on all cores: {:.0} MB a second. Synced write of a group of {GROUP}: {:.1} ms.",
            self.sha256_bytes_per_second / 1e6,
            self.sync_ms
        )
    }
}

/// A measured bound, and the share of it that a run reached.
#[derive(Clone, Debug, Serialize)]
pub struct Reached {
    /// Transactions a second at most.
    pub bound: f64,
    /// Of it reached.
    pub share: f64,
    /// Whether the bound counts a prover's work too.
    pub with_prover: bool,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whom = if self.with_prover { "sequencer and prover" } else { "a sequencer alone" };
        write!(f, "{:.0} % of the bound for {whom}, {:.0} a second", self.share * 100.0, self.bound)
    }
}

/// Microseconds of this process' time an operation. `work` does operations until the moment that it is given, and says how
/// many.
fn on_all_cores(cores: usize, work: impl Fn(Instant) -> u64 + Sync) -> f64 {
    let done = AtomicU64::new(0);
    let used = cpu_of(|| {
        thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| done.fetch_add(work(Instant::now() + TIME), Ordering::Relaxed));
            }
        });
    });
    used / done.load(Ordering::Relaxed).max(1) as f64
}

/// Microseconds of this process' time.
fn cpu_of(work: impl FnOnce()) -> f64 {
    let cpu = || processes::of(processes::ourselves().pid).map_or(0.0, |used| used.cpu_s);
    let before = cpu();
    work();
    (cpu() - before) * 1e6
}

/// Repeats until a moment. Operations that are done at a time count one by one.
fn until(end: Instant, at_a_time: usize, mut work: impl FnMut()) -> u64 {
    let mut count = 0;
    while Instant::now() < end {
        work();
        count += at_a_time as u64;
    }
    count
}

/// What a day gives: a ledger with its population, and a batch of executed groups.
struct Day {
    ledger: MemoryLedger,
    messages: Vec<proto::SignedTransaction>,
    checks: Vec<SignedHash>,
    outputs: Vec<GroupOutput>,
}

fn failed(error: impl fmt::Display) -> BenchError {
    BenchError::Limits(error.to_string())
}

fn day(population: PopulationSize, mix: Mix) -> Result<Day, BenchError> {
    let mut ledger = MemoryLedger::new(population, mix).map_err(failed)?;
    ledger.set_up().map_err(failed)?;
    let messages = messages(ledger.workload.day(GROUP * GROUPS, 1, |_, _| {}));
    let transactions = ledger.decode(&messages);
    let checks = transactions.iter().flat_map(Transaction::signature_check).collect();
    let mut outputs = Vec::new();
    for (number, group) in transactions.chunks(GROUP).enumerate() {
        let seal = (number + 1) * GROUP >= transactions.len();
        outputs.extend(ledger.group(group, seal).map_err(failed)?);
    }
    Ok(Day { ledger, messages, checks, outputs })
}

/// An answer to each transaction of a group, encoded, with its id.
fn answers(day: &Day) -> Option<Vec<(assent_core::TransactionId, Bytes)>> {
    let output = day.outputs.first()?;
    let receipts =
        GroupReceipts::new(day.ledger.manifest.chain_id(), output.record.position, output.receipts());
    let signature = day.ledger.sequencer.sign(&receipts.statement.signing_hash());
    let encode = |(index, executed): (usize, &assent_core::outcome::Executed)| {
        let sequenced = proto::SequencedTransaction {
            receipt: Some(proto::SignedReceipt {
                receipt: receipts.encoded.get(index)?.clone(),
                group_statement: receipts.statement.encode().into(),
                index: u32::try_from(index).ok()?,
                path: receipts.path(index).map(|hash| hash.to_vec().into()).collect(),
                signature: signature.to_vec().into(),
            }),
            outcome_leaves: executed.outcome.encoded_leaves().collect(),
            already_sequenced: false,
        };
        Some((executed.entry.transaction_id, sequenced.encode_to_vec().into()))
    };
    output.executed.iter().enumerate().map(encode).collect()
}

/// Who executes: a sequencer's machine puts out less than a prover's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Executes {
    Sequencer,
    Prover,
}

/// Executes a day again and again until a moment, decoding first, sealing a batch after so many groups.
fn execute(
    who: Executes,
    population: PopulationSize,
    mix: Mix,
    end: impl Fn() -> Instant,
) -> Result<u64, BenchError> {
    let mut ledger = MemoryLedger::new(population, mix).map_err(failed)?;
    if who == Executes::Sequencer {
        ledger.machine = ledger.machine.without_appends().without_details();
    }
    ledger.set_up().map_err(failed)?;
    let messages = messages(ledger.workload.day(GROUP * GROUPS * 8, 1, |_, _| {}));
    let end = end();
    let mut count = 0;
    // Each transaction is new to the ledger once.
    for (number, group) in messages.chunks(GROUP).enumerate() {
        if Instant::now() >= end {
            break;
        }
        let transactions = ledger.decode(group);
        let output = ledger.group(&transactions, (number + 1) % GROUPS == 0).map_err(failed)?;
        if let Some(sealed) = output.and_then(|output| output.sealed) {
            ledger.apply(&sealed);
        }
        count += transactions.len() as u64;
    }
    Ok(count)
}

/// Measures every term. `dir` is where synced writes go: on the disk that a ledger would be on.
///
/// # Errors
/// [`BenchError::Limits`] where a folder, a port or RocksDB cannot be had.
pub async fn measure(
    dir: &Path,
    population: PopulationSize,
    mix: Mix,
    tell: Progress<'_>,
) -> Result<Limits, BenchError> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    tell("limits: making a day's transactions");
    let day = day(population, mix)?;
    let sealed =
        day.outputs.last().and_then(|output| output.sealed.clone()).ok_or_else(|| failed("no batch"))?;

    tell("limits: SHA-256");
    let block = vec![7u8; 1 << 16];
    let us = on_all_cores(cores, |end| {
        until(end, 1, || {
            std::hint::black_box(sha256(&block));
        })
    });
    let sha256_bytes_per_second = cores as f64 * block.len() as f64 * 1e6 / us;

    let mut sequencer = Vec::new();
    tell("limits: the client");
    let given = answers(&day).ok_or_else(|| failed("no answers"))?;
    let checker = ReceiptChecker::new(&day.ledger.manifest);
    let us = on_all_cores(cores, |end| {
        until(end, given.len(), || {
            for (id, answer) in &given {
                let answer = proto::SequencedTransaction::decode(answer.clone()).unwrap_or_default();
                let _ = std::hint::black_box(checker.check(*id, answer));
            }
        })
    });
    sequencer.push(Term { name: "client: the answer is read and checked", us });

    tell("limits: signatures");
    let verify = |size: usize| {
        on_all_cores(cores, |end| {
            let batch = &day.checks[..size.min(day.checks.len())];
            until(end, batch.len(), || drop(std::hint::black_box(verify_all(batch))))
        })
    };
    let (once, again) = (verify(SEQUENCER_BATCH), verify(PROVER_BATCH));
    sequencer
        .push(Term { name: "sequencer: the signature is checked (Ed25519, in batches of 2,048)", us: once });
    let mut prover =
        vec![Term { name: "prover: the signature is checked again (in batches of 4,096)", us: again }];

    tell("limits: execution");
    let us = execution(Executes::Sequencer, cores, population, mix)?;
    sequencer.push(Term { name: "sequencer: decoded, executed, sealed", us });
    let us = execution(Executes::Prover, cores, population, mix)?;
    prover.push(Term { name: "prover: decoded, executed, sealed again", us });

    tell("limits: synced writes");
    let (us, sync_ms) = synced(dir, &day)?;
    sequencer.push(Term { name: "sequencer: synced write of the log, in groups of 512", us });

    tell("limits: the state tree");
    prover.push(Term { name: "prover: state tree", us: state_tree(cores, &sealed) });

    tell("limits: empty calls");
    let request = day.messages.first().cloned().unwrap_or_default();
    let request = Bytes::from(proto::SubmitRequest { transaction: Some(request) }.encode_to_vec());
    let answer = given.into_iter().next().map(|(_, answer)| answer).unwrap_or_default();
    let mut transport = Vec::new();
    for (streamed, concurrency) in [(true, STREAMED), (false, UNARY_CALLS)] {
        let cpu = || processes::of(processes::ourselves().pid).map_or(0.0, |used| used.cpu_s);
        let before = cpu();
        let calls =
            echo::calls(request.clone(), answer.clone(), streamed, CONNECTIONS, concurrency, 2 * TIME)
                .await
                .map_err(failed)?;
        transport.push((cpu() - before) * 1e6 / calls.max(1) as f64);
    }
    Ok(Limits {
        cores,
        sequencer,
        prover,
        streamed: Term { name: "transport: an empty message in a stream and its answer", us: transport[0] },
        unary: Term { name: "transport: an empty call of its own", us: transport[1] },
        sha256_bytes_per_second,
        sync_ms,
    })
}

fn execution(who: Executes, cores: usize, population: PopulationSize, mix: Mix) -> Result<f64, BenchError> {
    // Populations are made before the time begins, and all begin together.
    let barrier = std::sync::Barrier::new(cores + 1);
    let (mut counts, mut used) = (Vec::new(), 0.0);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    execute(who, population, mix, || {
                        barrier.wait();
                        Instant::now() + TIME
                    })
                })
            })
            .collect();
        barrier.wait();
        used = cpu_of(|| {
            counts.extend(parts.into_iter().map(|part| part.join()));
        });
    });
    let mut sum = 0;
    for count in counts {
        sum += count.map_err(|_| failed("a thread panicked"))??;
    }
    Ok(used / sum.max(1) as f64)
}

/// Microseconds a transaction, and the median milliseconds of a group.
fn synced(dir: &Path, day: &Day) -> Result<(f64, f64), BenchError> {
    let folder = tempfile::Builder::new().prefix("assent-bench-").tempdir_in(dir).map_err(failed)?;
    let chain = day.ledger.manifest.chain_id();
    let store = LedgerStore::open(folder.path(), Role::Sequencer, &chain).map_err(failed)?;
    let epoch = store.begin_epoch().map_err(failed)?;
    let (mut times, mut position, mut problem) = (Vec::new(), 0, None);
    let used = cpu_of(|| {
        let end = Instant::now() + 2 * TIME;
        for output in day.outputs.iter().cycle() {
            let begun = Instant::now();
            if begun >= end {
                break;
            }
            match store.commit(epoch, position, &output.record_bytes, &[7; 64]) {
                Commit::Committed => times.push(begun.elapsed()),
                other => {
                    problem = Some(format!("{other:?}"));
                    break;
                }
            }
            position += 1;
        }
    });
    if let Some(problem) = problem {
        return Err(failed(problem));
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    Ok((used / (position * GROUP as u64).max(1) as f64, median))
}

/// Taking a batch's effects into a tree that has many keys already, for each transaction of the batch.
fn state_tree(cores: usize, sealed: &SealedBatch) -> f64 {
    on_all_cores(cores, |end| {
        let mut tree = SparseTree::new(usize::MAX);
        let mut effects = sealed.effects.clone();
        until(end, sealed.header.entry_count as usize, || {
            // The same keys with other values: every node above them changes.
            for (_, value) in &mut effects {
                value[0] = value[0].wrapping_add(1);
            }
            let _ = std::hint::black_box(tree.apply(&NoPages, &effects));
        })
    })
}
