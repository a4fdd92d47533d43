//! What execution costs more when there are more consents: a small and a large ledger in memory, in turn and in one process, so
//! that a machine whose speed changes changes it for both.
//!
//! ```console
//! $ cargo bench --workspace --bench growth                            # ten thousand and a million: half a minute to make them
//! $ cargo bench --workspace --bench growth -- --patients 25000 --rounds 20
//! ```
//!
//! Beside execution a running sequencer decodes, checks signatures and stores on the same processors, and its caches are less
//! its own than here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by doing so")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use assent_bench::{
    ledger::{MemoryLedger, messages},
    workload::{Mix, PopulationSize},
};
use assent_core::machine::LOOK_AHEAD;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Patients of the small ledger.
const FEW_PATIENTS: u32 = 2_500;
/// Of each patient.
const CONSENTS: u32 = 4;
/// As a sequencer has it by default: a million consents fit.
const CACHE_BYTES: u64 = 1_536 << 20;
/// Of a sequencer at full load.
const GROUP: usize = 512;
/// Groups of a batch: half a second at 50,000 a second.
const GROUPS: usize = 48;

struct Ledger(MemoryLedger);

impl Ledger {
    fn new(patients: u32) -> Self {
        let population = PopulationSize { patients, clinics: 500, consents: CONSENTS };
        let mut ledger = MemoryLedger::new(population, Mix::default()).unwrap();
        ledger.machine = ledger.machine.with_cache(CACHE_BYTES).without_appends().without_details();
        ledger.set_up().unwrap();
        Self(ledger)
    }

    /// Executes a batch. Gives what executing its transactions took, and ending its groups.
    fn batch(&mut self) -> (Duration, Duration) {
        let Self(ledger) = self;
        let messages = messages(ledger.workload.day(GROUPS * GROUP, 1, |_, _| {}));
        let transactions = ledger.decode(&messages);
        let (mut executing, mut ending) = (Duration::ZERO, Duration::ZERO);
        for (number, group) in transactions.chunks(GROUP).enumerate() {
            let start = ledger.start();
            let begun = Instant::now();
            ledger.machine.begin_group(start).unwrap();
            let ids: Vec<_> = group.iter().map(|transaction| transaction.id).collect();
            ledger.machine.look_up(&ledger.state, &ids).unwrap();
            for transactions in group.chunks(LOOK_AHEAD) {
                ledger.machine.look_ahead(transactions.iter());
                for transaction in transactions {
                    ledger.machine.execute(&ledger.state, transaction).unwrap().unwrap();
                }
            }
            executing += begun.elapsed();
            let begun = Instant::now();
            let output = ledger.machine.close_group(number + 1 == GROUPS).unwrap();
            ending += begun.elapsed();
            // A sequencer's other threads do this.
            if let Some(closed) = &output.closed {
                ledger.state.apply(&Arc::clone(closed).seal([0; 32]));
            }
        }
        (executing, ending)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut given = std::env::args().skip(1);
    let (mut patients, mut rounds) = (250_000, 30);
    while let Some(name) = given.next() {
        let mut value = || given.next().expect("a value").parse().expect("a number");
        match name.as_str() {
            "--patients" => patients = value(),
            "--rounds" => rounds = value(),
            // What cargo bench passes on.
            "--bench" => {}
            other => panic!("unknown argument {other}"),
        }
    }
    assert!(patients > 0 && rounds > 0, "patients and rounds are 1 at least");
    let (few, many) = (CONSENTS * FEW_PATIENTS, CONSENTS * patients);
    eprintln!("making {few} and {many} consents");
    let mut ledgers = [Ledger::new(FEW_PATIENTS), Ledger::new(patients)];
    let mut found = [const { (Vec::new(), Vec::new()) }; 2];
    for _ in 0..rounds {
        for (ledger, (executing, ending)) in ledgers.iter_mut().zip(&mut found) {
            let (one, other) = ledger.batch();
            executing.push(one);
            ending.push(other);
        }
    }
    println!("{:<32} {few:>11} {many:>11} {:>6}", "consents", "ratio");
    let [few, many] = found;
    let show = |name: &str, few: &[Duration], many: &[Duration]| {
        let each = |batches: &[Duration]| {
            let nanoseconds = |batch: &Duration| batch.as_secs_f64() * 1e9 / (GROUPS * GROUP) as f64;
            batches.iter().map(nanoseconds).collect()
        };
        let (few, many): (Vec<f64>, Vec<f64>) = (each(few), each(many));
        let ratios = few.iter().zip(&many).map(|(few, many)| many / few).collect();
        println!("{name:<32} {:>8.0} ns {:>8.0} ns {:>6.2}", median(few), median(many), median(ratios));
    };
    show("executing, a transaction", &few.0, &many.0);
    show("ending groups, a transaction", &few.1, &many.1);
}
