//! The process itself, under the names that Prometheus' own clients use.

use std::fmt;

use procfs::CurrentSI;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Where /proc cannot be read there is nothing to show.
        let Ok(process) = procfs::process::Process::myself() else { return Ok(()) };
        let Ok(stat) = process.stat() else { return Ok(()) };
        let ticks = procfs::ticks_per_second();
        let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks as f64);
        let help = "Processor time used";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        let mut gauge = |name, help, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let resident = stat.rss.saturating_mul(procfs::page_size());
        gauge("process_resident_memory_bytes", "Memory in use", signed(resident))?;
        gauge("process_threads", "Threads", stat.num_threads)?;
        if let Ok(count) = process.fd_count() {
            gauge("process_open_fds", "Open file handles", signed(count as u64))?;
        }
        if let Ok(kernel) = procfs::KernelStats::current() {
            let started = kernel.btime + stat.starttime / ticks.max(1);
            gauge("process_start_time_seconds", "When it started", signed(started))?;
        }
        Ok(())
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
