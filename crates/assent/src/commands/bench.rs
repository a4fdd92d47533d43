//! `assent bench`: load, and what the machine could do at most.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use assent_bench::{
    MAX_CONNECTIONS, Plan,
    drive::{Mode, Shape},
    processes::{self, Watched},
    workload::{Mix, PopulationSize},
};
use clap::{Args, Subcommand, ValueEnum};

use super::ClientArgs;
use crate::output::{self, Outcome};

/// Seconds between two lines of progress where they do not replace each other.
const PROGRESS: Duration = Duration::from_secs(10);

/// How transactions are submitted.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// One call each
    Unary,
    /// SubmitMany
    Many,
    /// SubmitStream
    Stream,
}

const BENCH_HELP: &str = "\
The first run on a ledger sets up its population: accounts and the consents that are in force from the beginning; later \
runs with the same seed find it there. What a run grants it revokes afterwards, unless it is interrupted. One account \
may submit limit.account_rate transactions a second (1,000 unless changed), so at high rates use many clinics, or start \
the node with a higher limit.

Use a ledger made for it: what is measured is sequenced and stays.

  assent init bench-ledger && assent node bench-ledger &
  ASSENT_TOKEN_FILE=bench-ledger/keys/operator.token assent bench --mode stream --duration 60
  … assent bench --mode unary --rate 2000      latencies at a fixed rate
  … assent bench --patients 250000             a million consents";

/// Arguments of `assent bench`.
#[derive(Args)]
#[command(after_help = BENCH_HELP, args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    /// How transactions are submitted
    #[arg(long, value_enum, default_value = "stream")]
    mode: ModeArg,
    /// Transactions a second, whatever the answers do (open loop); without it, as fast as answers come (closed loop)
    #[arg(long, value_name = "RATE", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Measured time, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    duration: u64,
    /// Time before it, in seconds
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    warm_up: u64,
    /// Connections
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_CONNECTIONS)))]
    connections: u16,
    /// Transactions under way at once, over all connections [default: 8192 in streams, 4096 in SubmitMany, 1024 in unary calls]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: Option<u32>,
    /// Transactions of one SubmitMany
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    many: u16,
    /// Patients
    #[arg(long, default_value_t = 2_500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    patients: u32,
    /// Consents of each patient that are in force from the beginning
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=16))]
    consents: u32,
    /// Clinics
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clinics: u32,
    /// Shares of the acts
    #[arg(long, default_value_t = Mix::default(), value_name = "NAME=SHARE,…")]
    mix: Mix,
    /// Of parties and acts
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Process to look at, where it is not found by itself: those named assent that run a role on this machine are
    #[arg(long = "process", value_name = "NAME=PID")]
    processes: Vec<String>,
    /// Measure the limits of this machine first, and tell which share of the bound was reached
    #[arg(long)]
    limits: bool,
    /// Folder for the synced writes of the limits, on the disk that a ledger would be on [default: the system's for temporary
    /// files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    command: Option<BenchCommand>,
}

/// `assent bench …`
#[derive(Subcommand)]
enum BenchCommand {
    /// Measure what no design avoids on this machine (signatures, hashes, synced writes, empty calls, execution, state tree), and
    /// the rate that follows. Needs no node; takes half a minute; let nothing else run
    Limits {
        /// Folder for synced writes, on the disk that a ledger would be on [default: the system's for temporary files]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn watched(given: &[String]) -> anyhow::Result<Vec<Watched>> {
    let mut found = vec![processes::ourselves()];
    if given.is_empty() {
        found.extend(processes::roles());
        return Ok(found);
    }
    for text in given {
        let (name, pid) = text.split_once('=').with_context(|| format!("{text:?} is not NAME=PID"))?;
        let pid = pid.parse().with_context(|| format!("{pid:?} is no process number"))?;
        ensure!(processes::of(pid).is_some(), "process {pid} is not there, or belongs to another user");
        found.push(Watched { name: name.to_owned(), pid });
    }
    Ok(found)
}

/// Tells progress: in one line on a terminal, now and then in a new one elsewhere.
pub struct Teller {
    last: Mutex<Option<Instant>>,
}

impl Teller {
    /// Nothing told yet.
    pub fn new() -> Self {
        Self { last: Mutex::new(None) }
    }

    /// Tells.
    pub fn tell(&self, text: &str) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{text}");
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.is_none_or(|at| at.elapsed() >= PROGRESS) {
            *last = Some(Instant::now());
            eprintln!("{text}");
        }
    }

    /// Clears the line.
    pub fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

async fn measure_limits(
    dir: Option<&Path>,
    population: PopulationSize,
    mix: Mix,
    teller: &Teller,
) -> anyhow::Result<assent_bench::limits::Limits> {
    let usual = std::env::temp_dir();
    let dir = dir.unwrap_or(&usual);
    let limits = assent_bench::limits::measure(dir, population, mix, &|text| teller.tell(text)).await;
    teller.end();
    limits.with_context(|| format!("with synced writes in {}", dir.display()))
}

/// Runs it. Exit code 1 where nothing was sequenced.
pub async fn run(args: BenchArgs) -> anyhow::Result<Outcome> {
    let teller = Teller::new();
    if let Some(BenchCommand::Limits { dir, json }) = &args.command {
        let population = PopulationSize { patients: 2_500, clinics: 500, consents: 4 };
        let limits = measure_limits(dir.as_deref(), population, Mix::default(), &teller).await?;
        output::print(*json, || limits.to_string(), || serde_json::json!(limits));
        return Ok(Outcome::Done);
    }
    let mode = match args.mode {
        ModeArg::Unary => Mode::Unary,
        ModeArg::Many => Mode::Many,
        ModeArg::Stream => Mode::Stream,
    };
    let usual = match mode {
        Mode::Unary => 1_024,
        Mode::Many => 4_096,
        // As many as a sequencer's queue holds.
        Mode::Stream => 8_192,
    };
    let plan = Plan {
        client: args.client.config()?,
        population: PopulationSize {
            patients: args.patients,
            clinics: args.clinics,
            consents: args.consents,
        },
        mix: args.mix,
        seed: args.seed,
        shape: Shape {
            mode,
            connections: args.connections.into(),
            concurrency: args.concurrency.unwrap_or(usual) as usize,
            many: args.many.into(),
            rate: args.rate.map(f64::from),
        },
        warm_up: Duration::from_secs(args.warm_up),
        duration: Duration::from_secs(args.duration),
        processes: watched(&args.processes)?,
    };
    let limits = if args.limits {
        // A population larger than memory likes would measure the making of it.
        let population = PopulationSize { patients: args.patients.min(10_000), ..plan.population };
        Some(measure_limits(args.dir.as_deref(), population, args.mix, &teller).await?)
    } else {
        None
    };
    let report = assent_bench::run(&plan, &|text| teller.tell(text)).await;
    teller.end();
    let mut report = report.map_err(|error| match error {
        assent_bench::BenchError::Client(error) => super::with_hint(error),
        other => other.into(),
    })?;
    if let Some(limits) = limits {
        if !args.client.json {
            output::print_text(&limits.to_string());
        }
        let (rate, with_prover) = report.sustained();
        report.limits = Some(limits.reached(rate, mode, with_prover));
    }
    output::print(args.client.json, || report.to_string(), || serde_json::json!(report));
    ensure!(report.receipts > 0, "nothing was sequenced in the measured time");
    Ok(Outcome::Done)
}
