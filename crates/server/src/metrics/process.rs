//! The process itself, under the names that every Prometheus client library gives.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};

use super::{MetricFamily, begin, gauge, gauges};

const BUILD: MetricFamily = MetricFamily::gauge(
    "forebay_build_info",
    &["version"],
    "The running version, as a label",
)
.of_process();
const CPU: MetricFamily =
    MetricFamily::counter("process_cpu_seconds", &[], "User and system time spent").of_process();
const RESIDENT: MetricFamily =
    MetricFamily::gauge("process_resident_memory_bytes", &[], "Resident memory").of_process();
const VIRTUAL: MetricFamily =
    MetricFamily::gauge("process_virtual_memory_bytes", &[], "Virtual memory").of_process();
const OPEN_FDS: MetricFamily =
    MetricFamily::gauge("process_open_fds", &[], "Open file handles").of_process();
const MAX_FDS: MetricFamily =
    MetricFamily::gauge("process_max_fds", &[], "Limit of open file handles").of_process();
const THREADS: MetricFamily = MetricFamily::gauge("process_threads", &[], "Threads").of_process();
const START: MetricFamily = MetricFamily::gauge(
    "process_start_time_seconds",
    &[],
    "Start time of the process, in seconds since 1970",
)
.of_process();

pub(super) const FAMILIES: &[MetricFamily] = &[
    BUILD, CPU, RESIDENT, VIRTUAL, OPEN_FDS, MAX_FDS, THREADS, START,
];

#[derive(Debug)]
pub(super) struct Collected;

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let build = [([("version", env!("CARGO_PKG_VERSION"))], 1.0)];
        gauges(&mut encoder, &BUILD, build)?;
        let Some(now) = Process::read() else {
            return Ok(());
        };
        begin(&mut encoder, &CPU)?.encode_counter::<NoLabelSet, _, u64>(&now.cpu_seconds, None)?;
        for (family, value) in [
            (&RESIDENT, now.resident_bytes),
            (&VIRTUAL, now.virtual_bytes),
            (&OPEN_FDS, now.open_fds),
            (&MAX_FDS, now.max_fds),
            (&THREADS, now.threads),
            (&START, now.start_seconds),
        ] {
            gauge(&mut encoder, family, value)?;
        }
        Ok(())
    }
}

/// The figures in `/proc`; `None` without it.
struct Process {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    open_fds: f64,
    max_fds: f64,
    threads: f64,
    start_seconds: f64,
}

/// Ticks of a second in `/proc/self/stat`: USER_HZ, which is 100 on every system that Linux runs on today.
const TICKS: f64 = 100.0;

impl Process {
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program is in brackets and may hold anything; fields 3 and on follow it.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "));
        let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
        let files = limits
            .lines()
            .find(|line| line.starts_with("Max open files"));
        let files = files.and_then(|line| line.split_whitespace().nth(3)?.parse().ok());
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS,
            resident_bytes: status("VmRSS:")?,
            virtual_bytes: status("VmSize:")?,
            open_fds: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
            max_fds: files.unwrap_or(f64::INFINITY),
            threads: field(20)?,
            start_seconds: boot?.trim().parse::<f64>().ok()? + field(22)? / TICKS,
        })
    }
}

/// A size of `/proc/self/status`, in bytes.
fn status(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}
