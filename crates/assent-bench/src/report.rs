//! What a run gave: for people and for machines.

use std::{collections::BTreeMap, fmt, time::Duration};

use assent_core::ChainId;
use serde::Serialize;

use crate::{
    Plan,
    drive::{Sample, Shape},
    processes::Use,
    tiers::{LOOK, Tier, Tiers},
    workload::{Mix, PopulationSize},
};

/// Everything that a report is made from.
pub(crate) struct Measured<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) chain: ChainId,
    pub(crate) set_up_rate: Option<f64>,
    pub(crate) warm_up_rate: f64,
    pub(crate) samples: &'a [Sample],
    pub(crate) sending: Duration,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) reconnects: u64,
    pub(crate) tiers: &'a Tiers,
    pub(crate) used: Vec<(String, Use)>,
    pub(crate) still_granted: Option<String>,
}

/// A measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of the program that measured.
    pub version: &'static str,
    /// Ledger.
    pub chain: String,
    /// Cores of the machine that measured.
    pub cores: usize,
    /// How it was sent.
    pub shape: Shape,
    /// Who there was.
    pub population: PopulationSize,
    /// What they did.
    pub mix: Mix,
    /// Of parties and acts.
    pub seed: u64,
    /// Transactions a second while the population was set up; `None` where it was there already.
    pub set_up_rate: Option<f64>,
    /// Transactions a second in the warm-up.
    pub warm_up_rate: f64,
    /// Seconds in which transactions were sent.
    pub seconds: f64,
    /// Transactions with a receipt that holds.
    pub receipts: usize,
    /// Of them answered while transactions were sent, a second.
    pub rate: f64,
    /// Transactions a second until the last of them was under a checkpoint; `None` without a prover.
    pub checkpointed_rate: Option<f64>,
    /// Batches that were sealed, and not yet checkpointed, when sending ended.
    pub batches_behind: Option<u64>,
    /// From the moment at which sending was meant.
    pub latencies: Vec<Latency>,
    /// What went wrong, by its name.
    pub errors: BTreeMap<String, u64>,
    /// Connections that were made again.
    pub reconnects: u64,
    /// By process.
    pub processes: Vec<ProcessUse>,
    /// What could not be looked at, and why.
    pub problems: Vec<String>,
    /// Why what the run granted could not be revoked afterwards; `None` where it was.
    pub still_granted: Option<String>,
    /// The measured bound and the share of it that was reached, where it was asked for.
    pub limits: Option<crate::limits::Reached>,
}

/// How long it took to a tier, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// `receipt`, or the name of a [`Tier`].
    pub tier: &'static str,
    /// Transactions that reached it.
    pub count: usize,
    /// Half of them took at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// 999 of a thousand.
    pub p999: f64,
    /// All.
    pub max: f64,
}

/// What a process used, from the first measured transaction until the prover was in step.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessUse {
    /// Its role.
    pub name: String,
    /// Seconds of processor time.
    pub cpu_s: f64,
    /// Microseconds of processor time a transaction.
    pub cpu_us_per_transaction: f64,
    /// Bytes written to storage a transaction, whoever wrote them: logs, compaction, everything.
    pub written_per_transaction: f64,
    /// Most memory that it ever had, in bytes.
    pub peak_bytes: u64,
    /// Microseconds of processor time a transaction, by names of threads.
    pub threads_us_per_transaction: BTreeMap<String, f64>,
}

/// Of milliseconds in ascending order: the smallest that at least this share is not above.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

fn latency(tier: &'static str, mut times: Vec<f64>) -> Option<Latency> {
    times.sort_unstable_by(f64::total_cmp);
    let max = *times.last()?;
    let at = |share| percentile(&times, share);
    Some(Latency {
        tier,
        count: times.len(),
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max,
    })
}

impl Report {
    pub(crate) fn new(measured: Measured<'_>) -> Self {
        let Measured { plan, samples, sending, tiers, .. } = measured;
        let sending_us = u64::try_from(sending.as_micros()).unwrap_or(u64::MAX);
        let within = samples.iter().filter(|sample| sample.answered_us <= sending_us).count();
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e3;
        let receipts = samples.iter().map(|s| ms(s.intended_us, s.answered_us)).collect();
        let mut latencies: Vec<Latency> = latency("receipt", receipts).into_iter().collect();
        for (tier, growth) in Tier::ALL.into_iter().zip(&tiers.growth) {
            let times = samples
                .iter()
                .filter_map(|s| growth.reached_us(s.batch).map(|at| ms(s.intended_us, at)))
                .collect();
            latencies.extend(latency(tier.name(), times));
        }
        let checkpointed = &tiers.growth[1];
        let last = samples.iter().map(|sample| checkpointed.reached_us(sample.batch));
        let last = last.collect::<Option<Vec<u64>>>().and_then(|times| times.into_iter().max());
        let behind = |at: u64| {
            let count = |growth: &crate::tiers::Growth| growth.at(at);
            count(&tiers.growth[0]).saturating_sub(count(checkpointed))
        };
        let count = samples.len().max(1) as f64;
        let processes = measured.used.into_iter().map(|(name, used)| ProcessUse {
            name,
            cpu_s: used.cpu_s,
            cpu_us_per_transaction: used.cpu_s * 1e6 / count,
            written_per_transaction: used.written as f64 / count,
            peak_bytes: used.peak_bytes,
            threads_us_per_transaction: used
                .threads
                .into_iter()
                .map(|(name, seconds)| (name, seconds * 1e6 / count))
                .collect(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            chain: measured.chain.to_string(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            shape: plan.shape,
            population: plan.population,
            mix: plan.mix,
            seed: plan.seed,
            set_up_rate: measured.set_up_rate,
            warm_up_rate: measured.warm_up_rate,
            seconds: sending.as_secs_f64(),
            receipts: samples.len(),
            rate: within as f64 / sending.as_secs_f64().max(f64::MIN_POSITIVE),
            checkpointed_rate: last.map(|last| samples.len() as f64 * 1e6 / last.max(1) as f64),
            batches_behind: (checkpointed.newest() > 0).then(|| behind(sending_us)),
            latencies,
            errors: measured.errors,
            reconnects: measured.reconnects,
            processes: processes.collect(),
            problems: tiers.problems.clone(),
            still_granted: measured.still_granted,
            limits: None,
        }
    }
}

impl Report {
    /// The rate that a share of the bound is told of, and whether it is one with a prover: until everything was checkpointed,
    /// where there is a prover.
    #[must_use]
    pub fn sustained(&self) -> (f64, bool) {
        self.checkpointed_rate.map_or((self.rate, false), |rate| (rate, true))
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { mode, connections, concurrency, many, rate } = &self.shape;
        let how = match rate {
            Some(rate) => format!("open loop, {rate:.0} a second"),
            None => "closed loop".to_owned(),
        };
        let many = if *mode == crate::drive::Mode::Many { format!(" of {many}") } else { String::new() };
        let PopulationSize { patients, clinics, consents } = self.population;
        writeln!(
            f,
            "{mode:?}{many}, {how}, {connections} connections, at most {concurrency} under way; {} cores",
            self.cores
        )?;
        writeln!(
            f,
            "{patients} patients with {consents} consents each, {clinics} clinics; {}; seed {}",
            self.mix, self.seed
        )?;
        if let Some(rate) = self.set_up_rate {
            writeln!(f, "population set up at {rate:.0} transactions a second")?;
        }
        writeln!(
            f,
            "\n  {:.0} transactions a second: {} receipts, each checked, in {:.1} s",
            self.rate, self.receipts, self.seconds
        )?;
        if let (Some(rate), Some(behind)) = (self.checkpointed_rate, self.batches_behind) {
            writeln!(
                f,
                "  {rate:.0} a second until all were checkpointed; {behind} batches behind when sending ended"
            )?;
        }
        if let Some(reached) = &self.limits {
            writeln!(f, "  {reached}")?;
        }
        let errors: Vec<String> = self.errors.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let errors = if errors.is_empty() { "none".to_owned() } else { errors.join(", ") };
        writeln!(f, "  errors: {errors}; connections made again: {}", self.reconnects)?;
        writeln!(
            f,
            "\n  milliseconds to    {:>9} {:>9} {:>9} {:>9} {:>9}",
            "p50", "p90", "p99", "p99.9", "max"
        )?;
        for Latency { tier, p50, p90, p99, p999, max, count } in &self.latencies {
            write!(f, "  {tier:<17} {p50:>9.1} {p90:>9.1} {p99:>9.1} {p999:>9.1} {max:>9.1}")?;
            if *count < self.receipts { writeln!(f, "  {count} of them")? } else { writeln!(f)? }
        }
        writeln!(
            f,
            "  From the moment at which sending was meant; above receipts to within {} ms.",
            LOOK.as_millis()
        )?;
        if !self.processes.is_empty() {
            writeln!(
                f,
                "\n  {:<12} {:>12} {:>8} {:>14} {:>12}   most of it in",
                "process", "µs CPU a tx", "CPU s", "written a tx", "peak memory"
            )?;
            for used in &self.processes {
                let mut threads: Vec<_> = used.threads_us_per_transaction.iter().collect();
                threads.sort_by(|a, b| b.1.total_cmp(a.1));
                let threads: Vec<String> =
                    threads.iter().take(5).map(|(name, us)| format!("{name} {us:.1}")).collect();
                writeln!(
                    f,
                    "  {:<12} {:>12.1} {:>8.1} {:>12.0} B {:>8.0} MiB   {}",
                    used.name,
                    used.cpu_us_per_transaction,
                    used.cpu_s,
                    used.written_per_transaction,
                    mib(used.peak_bytes),
                    threads.join(", ")
                )?;
            }
        }
        for problem in &self.problems {
            writeln!(f, "  not measured: {problem}")?;
        }
        if let Some(error) = &self.still_granted {
            writeln!(f, "  what the run granted is still in force: {error}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact() {
        let times: Vec<f64> = (1..=1000).rev().map(f64::from).collect();
        let found = latency("receipt", times).unwrap();
        assert_eq!(
            [found.p50, found.p90, found.p99, found.p999, found.max],
            [500.0, 900.0, 990.0, 999.0, 1000.0]
        );
        assert_eq!(latency("receipt", vec![7.0]).unwrap().p999, 7.0);
        assert!(latency("receipt", Vec::new()).is_none());
    }
}
