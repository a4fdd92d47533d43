//! CPU time, peak memory and disk usage of this process, from the Linux kernel.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

/// Length of the clock tick in /proc: USER_HZ is 100 on Linux.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of this process, ended ones included.
pub fn cpu_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The command name, in parentheses, may itself contain spaces. After it comes field 3.
    let (_, rest) = stat.rsplit_once(')').context("unexpected /proc/self/stat")?;
    let mut fields = rest.split_whitespace().skip(14 - 3);
    let mut ticks =
        || -> anyhow::Result<u32> { Ok(fields.next().context("unexpected /proc/self/stat")?.parse()?) };
    let (utime, stime) = (ticks()?, ticks()?);
    Ok(TICK * (utime + stime))
}

/// Peak resident memory since the process started, in bytes.
pub fn peak_memory() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmHWM in /proc/self/status")?
        .parse()?;
    Ok(kib * 1024)
}

/// Bytes allocated on disk for everything in a directory. Holes in sparse files do not count.
pub fn disk_usage(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // The store may remove a file meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += disk_usage(&entry.path())?;
        }
    }
    Ok(bytes)
}
