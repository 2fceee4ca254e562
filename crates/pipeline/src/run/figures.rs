//! The figures of a run, counted while it goes; read by progress bars and written to the run record.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use forebay_core::Timestamp;
use forebay_store::StepRecord;

use crate::timing::Timing;

/// Counters of one stage.
#[derive(Debug, Default)]
pub struct Stage {
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    cpu_us: AtomicU64,
    wall_us: AtomicU64,
}

impl Stage {
    pub fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds the time that `work` took on this thread.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let (cpu, wall) = (thread_cpu(), wall());
        let result = work();
        let micros = |from: Duration, to: Duration| {
            u64::try_from((to.saturating_sub(from)).as_micros()).unwrap_or(0)
        };
        self.cpu_us
            .fetch_add(micros(cpu, thread_cpu()), Ordering::Relaxed);
        self.wall_us
            .fetch_add(micros(wall, self::wall()), Ordering::Relaxed);
        result
    }
}

/// Counters of a run.
#[derive(Debug, Default)]
pub struct Figures {
    pub requests: AtomicU64,
    pub retries: AtomicU64,
    /// Microseconds spent waiting for the request budget or for the server to be ready.
    pub waited_us: AtomicU64,
    pub payloads: AtomicU64,
    pub raw_objects: AtomicU64,
    pub commits: AtomicU64,
    pub quarantined: AtomicU64,
    /// Rows that a commit has made visible, of all tables of the pipeline.
    pub committed: AtomicU64,
    /// Splits that are worked on now.
    pub splits: AtomicU64,
    /// Time of each commit, from the first manifest to the store's answer.
    pub commit: Timing,
    /// Microseconds since 1970; 0 before the first commit.
    committed_at: AtomicI64,
    /// What the contract or a table learned, for people.
    pub changes: std::sync::Mutex<Vec<String>>,
    pub source: Stage,
    pub raw: Stage,
    pub extract: Stage,
    pub transform: Stage,
    pub load: Stage,
}

impl Figures {
    /// Adds to a counter.
    pub fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Counts a split as worked on, until what this gives is dropped.
    pub(super) fn at_work(&self) -> impl Drop {
        struct AtWork<'f>(&'f AtomicU64);
        impl Drop for AtWork<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.splits.fetch_add(1, Ordering::Relaxed);
        AtWork(&self.splits)
    }

    /// When the last commit was made.
    pub fn committed_at(&self) -> Option<Timestamp> {
        let at = self.committed_at.load(Ordering::Relaxed);
        (at != 0).then_some(Timestamp(at))
    }

    pub(crate) fn set_committed_at(&self, at: Timestamp) {
        self.committed_at.store(at.micros(), Ordering::Relaxed);
    }

    /// One record a stage, in flow order.
    pub fn steps(&self) -> Vec<StepRecord> {
        let peak = memory_peak();
        let get = Self::get;
        let source = serde_json::json!({
            "requests": get(&self.requests), "retries": get(&self.retries), "waited_us": get(&self.waited_us),
            "payloads": get(&self.payloads),
        });
        let load = serde_json::json!({
            "commits": get(&self.commits), "committed": get(&self.committed), "quarantined": get(&self.quarantined),
        });
        [
            ("source", &self.source, source),
            (
                "raw",
                &self.raw,
                serde_json::json!({ "objects": get(&self.raw_objects) }),
            ),
            ("extract", &self.extract, serde_json::json!({})),
            ("transform", &self.transform, serde_json::json!({})),
            ("load", &self.load, load),
        ]
        .into_iter()
        .map(|(step, stage, detail)| StepRecord {
            step: step.to_owned(),
            rows: stage.rows(),
            bytes: stage.bytes(),
            cpu_us: get(&stage.cpu_us),
            wall_us: get(&stage.wall_us),
            memory_bytes_max: peak,
            detail,
        })
        .collect()
    }
}

fn thread_cpu() -> Duration {
    clock(rustix::time::ClockId::ThreadCPUTime)
}

fn wall() -> Duration {
    clock(rustix::time::ClockId::Monotonic)
}

fn clock(id: rustix::time::ClockId) -> Duration {
    let at = rustix::time::clock_gettime(id);
    let nanos = u32::try_from(at.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(at.tv_sec).unwrap_or(0), nanos)
}

/// Peak resident memory of the process in bytes; 0 where the system does not tell (`/proc` is Linux's).
fn memory_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
