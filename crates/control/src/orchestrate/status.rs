//! The status of each pipeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Ident, Timestamp};
use forebay_pipeline::engine::Figures;
use forebay_pipeline::spec::PipelineSpec;
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;

/// The phase of a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A run is under way.
    Running,
    /// The next run has a time.
    Waiting,
    /// The last run failed; it is tried again.
    Failed,
    /// It has no schedule and its source ends: `forebay run` runs it.
    Manual,
    /// The process is shutting down, or the file was removed.
    Stopped,
}

/// One pipeline as it is now.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub pipeline: Ident,
    pub file: String,
    pub phase: Phase,
    /// When it entered this phase.
    pub since: Timestamp,
    /// When the next run or try begins, where that is known.
    pub next_at: Option<Timestamp>,
    /// Why the last run failed; `None` once one has succeeded.
    pub error: Option<String>,
    /// The error of the current file; the previous version is in use.
    pub broken: Option<String>,
    /// When a run last ended well.
    pub succeeded_at: Option<Timestamp>,
    pub runs: u64,
    pub failures: u64,
    /// Changes of the file that were applied.
    pub changes: u64,
    /// Counters of all its runs in this process.
    #[serde(skip)]
    pub figures: Arc<Figures>,
    #[serde(skip)]
    pub spec: Arc<PipelineSpec>,
}

/// Every pipeline of the process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    pipelines: BTreeMap<Ident, Status>,
    /// Files that were never valid, with their errors.
    broken: BTreeMap<String, String>,
}

impl Registry {
    /// All pipelines, by name.
    pub fn all(&self) -> Vec<Status> {
        self.lock().pipelines.values().cloned().collect()
    }

    /// Files that were never valid, with their errors.
    pub fn broken(&self) -> Vec<(String, String)> {
        let inner = self.lock();
        let broken = inner.broken.iter();
        broken
            .map(|(file, why)| (file.clone(), why.clone()))
            .collect()
    }

    /// The version of a pipeline that is at work.
    pub fn spec(&self, pipeline: &str) -> Option<Arc<PipelineSpec>> {
        let pipeline: Ident = pipeline.parse().ok()?;
        let inner = self.lock();
        let status = inner.pipelines.get(&pipeline)?;
        (status.phase != Phase::Stopped).then(|| status.spec.clone())
    }

    pub(super) fn put(&self, status: Status) {
        let mut inner = self.lock();
        inner.broken.remove(&status.file);
        inner.pipelines.insert(status.pipeline.clone(), status);
    }

    pub(super) fn remove(&self, pipeline: &Ident) {
        self.lock().pipelines.remove(pipeline);
    }

    pub(super) fn set_broken(&self, file: String, why: Option<String>) {
        let mut inner = self.lock();
        match why {
            Some(why) => inner.broken.insert(file, why),
            None => inner.broken.remove(&file),
        };
    }

    pub(super) fn change(&self, pipeline: &Ident, change: impl FnOnce(&mut Status)) {
        if let Some(status) = self.lock().pipelines.get_mut(pipeline) {
            change(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }
}
