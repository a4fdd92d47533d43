//! What processes use: processor time, memory, bytes written. From `/proc`, so on Linux, and of processes of the same user.

use std::collections::BTreeMap;

use procfs::{
    Current, Meminfo,
    process::{Process, all_processes},
};

/// The roles that a program named `assent` may run.
const ROLES: [&str; 5] = ["node", "sequencer", "prover", "validator", "mockchain"];

/// A process at one moment.
#[derive(Clone, Debug, Default)]
pub struct Use {
    /// Seconds of processor time.
    pub cpu_s: f64,
    /// Bytes that it caused to be written to storage.
    pub written: u64,
    /// Most memory that it had at a time, in bytes.
    pub peak_bytes: u64,
    /// Seconds of processor time by the names of its threads, numbers at their ends left out.
    pub threads: BTreeMap<String, f64>,
}

/// A process that is looked at.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What it is, such as `sequencer`.
    pub name: String,
    /// Its number.
    pub pid: i32,
}

/// This process.
#[must_use]
pub fn ourselves() -> Watched {
    Watched { name: "bench".into(), pid: i32::try_from(std::process::id()).unwrap_or(0) }
}

/// Processes on this machine that run a role of a ledger.
#[must_use]
pub fn roles() -> Vec<Watched> {
    let Ok(processes) = all_processes() else { return Vec::new() };
    let mut found: Vec<Watched> = processes
        .flatten()
        .filter_map(|process| {
            let command = process.cmdline().ok()?;
            let program = command.first()?.rsplit('/').next()?;
            let role = command.iter().skip(1).find(|word| ROLES.contains(&word.as_str()))?;
            (program == "assent").then(|| Watched { name: role.clone(), pid: process.pid })
        })
        .collect();
    found.sort_by_key(|watched| watched.pid);
    found
}

/// What a process has used until now; `None` where it is gone or belongs to somebody else.
#[must_use]
pub fn of(pid: i32) -> Option<Use> {
    let process = Process::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let per_second = procfs::ticks_per_second().max(1) as f64;
    let mut threads = BTreeMap::new();
    for task in process.tasks().ok()?.flatten() {
        let Ok(stat) = task.stat() else { continue };
        let name =
            stat.comm.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-' || c == ':').to_owned();
        *threads.entry(name).or_default() += (stat.utime + stat.stime) as f64 / per_second;
    }
    Some(Use {
        cpu_s: (stat.utime + stat.stime) as f64 / per_second,
        written: process.io().map_or(0, |io| io.write_bytes),
        peak_bytes: process.status().ok()?.vmhwm.unwrap_or(0) * 1024,
        threads,
    })
}

/// What was used between two moments.
#[must_use]
pub fn between(before: &Use, after: &Use) -> Use {
    let threads = after
        .threads
        .iter()
        .map(|(name, seconds)| (name.clone(), seconds - before.threads.get(name).copied().unwrap_or(0.0)));
    Use {
        cpu_s: after.cpu_s - before.cpu_s,
        written: after.written.saturating_sub(before.written),
        peak_bytes: after.peak_bytes,
        threads: threads.filter(|(_, seconds)| *seconds > 0.0).collect(),
    }
}

/// Bytes of memory that programs can have without anything being swapped out.
pub(crate) fn available_memory() -> Option<u64> {
    Meminfo::current().ok()?.mem_available
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_use_ourselves_is_found() {
        let pid = ourselves().pid;
        let before = of(pid).unwrap();
        let mut sum = 0u64;
        while of(pid).unwrap().cpu_s - before.cpu_s < 0.02 {
            sum = (0..1_000_000u64).fold(sum, u64::wrapping_add);
        }
        let used = between(&before, &of(pid).unwrap());
        assert!(used.cpu_s >= 0.02 && used.peak_bytes > 0, "{used:?} {sum}");
        assert!(of(-1).is_none());
        assert!(available_memory().unwrap() > 1 << 20);
    }
}
