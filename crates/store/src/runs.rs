//! The history of runs.

use forebay_core::{Ident, RefName, RunId, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunStatus {
    Running,
    Succeeded,
    Failed,
    /// The process ended without saying so; found when the next run takes the lease.
    Lost,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    pub id: RunId,
    pub pipeline: Ident,
    pub branch: RefName,
    pub status: RunStatus,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Short text of the error that ended it.
    pub error: Option<String>,
    pub steps: Vec<StepRecord>,
}

/// Figures of one stage of a run, written when the run ends and at each commit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepRecord {
    /// `source`, `raw`, `extract`, `transform`, `load`.
    pub step: String,
    pub rows: u64,
    pub bytes: u64,
    pub cpu_us: u64,
    pub wall_us: u64,
    pub memory_bytes_max: u64,
    /// Small extra figures as JSON: requests, retries, commits, quarantined.
    pub detail: serde_json::Value,
}
