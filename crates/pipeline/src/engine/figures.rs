//! The metrics of a run, counted while it runs; read by progress bars and written to the run record.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use forebay_core::{Rejected, Timestamp};
use forebay_store::StepRecord;
use parking_lot::Mutex;
use serde_json::Value;

use forebay_core::timing::Timing;

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
        let cpu = thread_cpu();
        let wall = wall();
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
    /// Why the first record was refused.
    first_refusal: Mutex<Option<String>>,
    /// Rows that a commit has made visible, of all tables of the pipeline.
    pub committed: AtomicU64,
    /// Those of them that are in child tables.
    pub committed_children: AtomicU64,
    /// Splits in progress.
    pub splits: AtomicU64,
    /// Time of each commit, from the first manifest to the store's answer.
    pub commit: Timing,
    /// Microseconds since 1970; 0 before the first commit.
    committed_at: AtomicI64,
    /// Changes of the contract or of tables, for display.
    pub changes: Mutex<Vec<String>>,
    pub source: Stage,
    pub raw: Stage,
    pub extract: Stage,
    pub transform: Stage,
    pub load: Stage,
    /// The steps at the start of the present run. Under `serve` the counters are those of all runs since the process
    /// started.
    before: Mutex<Vec<StepRecord>>,
}

impl Figures {
    /// From here on [`Self::steps`] counts for a new run.
    pub(in crate::engine) fn begin_run(&self) {
        let now = self.total_steps();
        *self.before.lock() = now;
        *self.first_refusal.lock() = None;
    }

    /// The steps of the present run, one record per stage, in flow order.
    pub fn steps(&self) -> Vec<StepRecord> {
        let mut steps = self.total_steps();
        let before = self.before.lock();
        for (step, before) in steps.iter_mut().zip(before.iter()) {
            subtract(step, before);
        }
        steps
    }

    /// Adds to a counter.
    pub fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Records why a record is rejected, if it is the first.
    pub(in crate::engine) fn note_refusal(&self, rejected: &Rejected) {
        let mut first = self.first_refusal.lock();
        first.get_or_insert_with(|| format!("{}: {}", rejected.code, rejected.shown_reason()));
    }

    /// The number of rejected records and why the first was, when the present run has no other result: every record it
    /// read is in quarantine.
    pub(in crate::engine) fn refused_all(&self) -> Option<(u64, String)> {
        let steps = self.steps();
        let total = |name| {
            let counts = steps
                .iter()
                .filter_map(|step| step.detail.get(name)?.as_u64());
            counts.sum::<u64>()
        };
        let (refused, landed) = (total("quarantined"), total("committed"));
        let first = self.first_refusal.lock();
        let first = first.clone().unwrap_or_default();
        (refused > 0 && landed == 0).then_some((refused, first))
    }

    /// Counts a split as active until the returned guard is dropped.
    pub(in crate::engine) fn at_work(&self) -> impl Drop {
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

    fn total_steps(&self) -> Vec<StepRecord> {
        let peak = memory_peak();
        let get = Self::get;
        let source = serde_json::json!({
            "requests": get(&self.requests), "retries": get(&self.retries), "waited_us": get(&self.waited_us),
            "payloads": get(&self.payloads),
        });
        let load = serde_json::json!({
            "commits": get(&self.commits), "committed": get(&self.committed),
            "committed_children": get(&self.committed_children), "quarantined": get(&self.quarantined),
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

/// Subtracts the counts of earlier runs from a step.
fn subtract(step: &mut StepRecord, before: &StepRecord) {
    step.rows = step.rows.saturating_sub(before.rows);
    step.bytes = step.bytes.saturating_sub(before.bytes);
    step.cpu_us = step.cpu_us.saturating_sub(before.cpu_us);
    step.wall_us = step.wall_us.saturating_sub(before.wall_us);
    let Some(detail) = step.detail.as_object_mut() else {
        return;
    };
    for (name, value) in detail {
        let earlier = before.detail.get(name).and_then(Value::as_u64);
        if let (Some(total), Some(earlier)) = (value.as_u64(), earlier) {
            *value = total.saturating_sub(earlier).into();
        }
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

/// Peak resident memory of the process in bytes; 0 on systems without `/proc` (Linux).
fn memory_peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_a_server_has_counts_of_its_own() {
        let figures = Figures::default();
        figures.begin_run();
        Figures::count(&figures.committed, 5);
        figures.load.add(5, 50);
        assert_eq!(figures.steps()[4].detail["committed"], 5);
        figures.begin_run();
        assert_eq!(figures.steps()[4].detail["committed"], 0);
        assert_eq!(figures.steps()[4].rows, 0);
        Figures::count(&figures.committed, 2);
        assert_eq!(figures.steps()[4].detail["committed"], 2);
        assert_eq!(Figures::get(&figures.committed), 7);
    }
}
