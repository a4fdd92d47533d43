//! Runs one workload over one authenticated key-value tree and reports time, CPU time, memory and disk space.
//!
//! Phase 1 ("load") inserts the keys in batches. Phase 2 ("mixed") applies batches of which nine tenths update
//! existing keys and one tenth inserts new ones. Every batch is one version of the tree.
//!
//! Run each tree in a process of its own: peak memory is that of the whole process up to the end of the phase.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;

mod assent_tree;
mod jmt_tree;
mod measure;
#[cfg(feature = "nomt")]
mod nomt_tree;
mod rocks;
mod sha256;
mod workload;

use workload::{Update, Workload};

/// Keys in a batch of the load phase.
const LOAD_BATCH: u64 = 20_000;

/// Keys in a batch, for each mixed phase.
const MIXED_BATCHES: [u64; 2] = [2_000, 20_000];

/// An authenticated key-value tree that keeps only its newest version.
trait Tree {
    /// Applies one batch of distinct keys as the given version, stores it and returns the new root.
    ///
    /// Versions count up from 0. On return the batch must be stored as atomically and durably as one RocksDB
    /// WriteBatch that is not fsynced.
    fn apply(&mut self, version: u64, updates: &[Update]) -> anyhow::Result<[u8; 32]>;

    /// Waits for background work that earlier batches caused. Its CPU time is reported, its wall time is not.
    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

#[derive(Parser)]
#[command(about = "Compares authenticated key-value trees on one workload")]
struct Args {
    /// The tree: assent, jmt (one insertion per key), jmt-batch (one insertion per batch) or nomt (feature "nomt").
    #[arg(long)]
    tree: String,

    /// Keys to load.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,

    /// Empty or missing directory for the store, which is kept. Default: a temporary one, which is removed.
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Batches in each mixed phase.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    batches: u64,

    /// Print one JSON object per phase and line instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let dir = args.dir.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("state-trees-{}-{}", args.tree, std::process::id()))
    });
    fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    ensure!(fs::read_dir(&dir)?.next().is_none(), "{} is not empty", dir.display());

    let result = run(&args, &dir);
    if args.dir.is_none() {
        fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    result
}

fn run(args: &Args, dir: &Path) -> anyhow::Result<()> {
    let mut tree: Box<dyn Tree> = match args.tree.as_str() {
        "assent" => Box::new(assent_tree::AssentTree::open(dir)?),
        "jmt" => Box::new(jmt_tree::JmtTree::open(dir, jmt_tree::Insertion::PerKey)?),
        "jmt-batch" => Box::new(jmt_tree::JmtTree::open(dir, jmt_tree::Insertion::PerBatch)?),
        #[cfg(feature = "nomt")]
        "nomt" => Box::new(nomt_tree::NomtTree::open(dir, args.keys)?),
        other => bail!("unknown tree {other:?}, or one whose feature is off"),
    };

    let mut workload = Workload::new();
    let mut version = 0;
    if !args.json {
        println!("{}", Phase::table_header());
    }

    let mut left = args.keys;
    let load = run_phase("load".to_owned(), &mut *tree, &mut version, dir, |version| {
        let size = left.min(LOAD_BATCH);
        left -= size;
        (size > 0).then(|| workload.inserts(size, version))
    })?;
    load.print(args);

    for size in MIXED_BATCHES {
        let mut left = args.batches;
        let mixed = run_phase(format!("mixed-{size}"), &mut *tree, &mut version, dir, |version| {
            left = left.checked_sub(1)?;
            Some(workload.mixed(size, version))
        })?;
        mixed.print(args);
    }
    Ok(())
}

/// Applies the batches that `next` makes for each version until it returns `None`.
fn run_phase(
    name: String,
    tree: &mut dyn Tree,
    version: &mut u64,
    dir: &Path,
    mut next: impl FnMut(u64) -> Option<Vec<Update>>,
) -> anyhow::Result<Phase> {
    let cpu_before = measure::cpu_time()?;
    let mut generating = Duration::ZERO;
    let mut batches = Vec::new();
    let mut root = [0; 32];
    loop {
        let start = Instant::now();
        let Some(updates) = next(*version) else { break };
        generating += start.elapsed();

        let start = Instant::now();
        root = tree.apply(*version, &updates).with_context(|| format!("applying version {version}"))?;
        batches.push(Batch { keys: updates.len(), time: start.elapsed() });
        *version += 1;
    }
    tree.settle()?;

    // Making a batch is a loop of hashing on this thread, so its wall time is close to its CPU time.
    let cpu = measure::cpu_time()?.saturating_sub(cpu_before).saturating_sub(generating);
    let peak_memory = measure::peak_memory()?;
    let disk = measure::disk_usage(dir)?;
    Ok(Phase { name, batches, cpu, peak_memory, disk, root })
}

struct Batch {
    keys: usize,
    time: Duration,
}

/// What was measured in one phase.
struct Phase {
    name: String,
    batches: Vec<Batch>,
    cpu: Duration,
    peak_memory: u64,
    disk: u64,
    root: [u8; 32],
}

impl Phase {
    fn table_header() -> String {
        format!(
            "{:<10} {:<12} {:>7} {:>10} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10} {:>9} {:>9}  {}",
            "tree",
            "phase",
            "batches",
            "keys",
            "us/key",
            "median",
            "last 10%",
            "CPU us",
            "ms/batch",
            "median",
            "peak MiB",
            "disk MiB",
            "root",
        )
    }

    fn print(&self, args: &Args) {
        let keys = self.keys();
        let us_mean = us_per_key(&self.batches);
        let us_median = median(self.batches.iter().map(|b| us_per_key(std::slice::from_ref(b))).collect());
        let us_last = us_per_key(&self.batches[self.batches.len() * 9 / 10..]);
        let us_cpu = self.cpu.as_secs_f64() * 1e6 / keys as f64;
        let times: Vec<f64> = self.batches.iter().map(|b| b.time.as_secs_f64() * 1e3).collect();
        let ms_mean = times.iter().sum::<f64>() / times.len() as f64;
        let ms_median = median(times);
        let root: String = self.root.iter().map(|byte| format!("{byte:02x}")).collect();

        if args.json {
            println!(
                "{{\"tree\":\"{}\",\"phase\":\"{}\",\"batches\":{},\"keys\":{keys},\
                 \"us_per_key_mean\":{us_mean:.3},\"us_per_key_median\":{us_median:.3},\
                 \"us_per_key_last_tenth\":{us_last:.3},\"cpu_us_per_key\":{us_cpu:.3},\
                 \"batch_ms_mean\":{ms_mean:.3},\"batch_ms_median\":{ms_median:.3},\
                 \"peak_memory_bytes\":{},\"disk_bytes\":{},\"root\":\"{root}\"}}",
                args.tree,
                self.name,
                self.batches.len(),
                self.peak_memory,
                self.disk,
            );
        } else {
            println!(
                "{:<10} {:<12} {:>7} {keys:>10} {us_mean:>9.2} {us_median:>9.2} {us_last:>9.2} {us_cpu:>9.2} \
                 {ms_mean:>10.2} {ms_median:>10.2} {:>9.1} {:>9.1}  {}",
                args.tree,
                self.name,
                self.batches.len(),
                self.peak_memory as f64 / MIB,
                self.disk as f64 / MIB,
                &root[..16],
            );
        }
    }

    fn keys(&self) -> usize {
        self.batches.iter().map(|batch| batch.keys).sum()
    }
}

const MIB: f64 = 1024.0 * 1024.0;

fn us_per_key(batches: &[Batch]) -> f64 {
    let time: Duration = batches.iter().map(|batch| batch.time).sum();
    let keys: usize = batches.iter().map(|batch| batch.keys).sum();
    time.as_secs_f64() * 1e6 / keys as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
