//! The environment of a run, and its result.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, LakeSql, RefName, Result, RunId, SqlEngine};
use forebay_journal::Journals;
use forebay_lake::Lake;
use forebay_objects::AwsVariables;
use forebay_store::RunRecord;
use tokio_util::sync::CancellationToken;

use super::failpoint::{CommitStep, Failpoint};
use super::{Figures, Ids};

/// The environment of a run.
#[derive(Debug, Clone)]
pub struct RunContext {
    pub lake: Lake,
    pub engine: Arc<dyn SqlEngine>,
    /// SQL over the lake.
    pub lake_sql: Arc<dyn LakeSql>,
    pub clock: Arc<dyn Clock>,
    /// Makes ids, and seeds of jitter.
    pub ids: Ids,
    /// The folder of the project: relative paths in pipeline files are relative to it.
    pub project: PathBuf,
    /// Where payloads are decompressed, see [`forebay_lake::SpillFolder`].
    pub spill: PathBuf,
    pub branch: RefName,
    /// Identifies this process in leases.
    pub owner: String,
    /// How long a lease lasts without renewal: the splits of a dead process stay unavailable for this long.
    pub lease: Duration,
    /// The author in the log.
    pub author: String,
    pub cancel: CancellationToken,
    pub figures: Arc<Figures>,
    /// Read everything again, whatever the position.
    pub full: bool,
    /// Wait for more data at the end of a source that can be followed.
    pub follow: bool,
    /// The journals of pushes.
    pub journals: Arc<Journals>,
    /// The caller guarantees that no other process runs this pipeline, so leases that are still held belong to dead
    /// processes.
    pub exclusive: bool,
    /// The process's `AWS_*` variables.
    pub aws: AwsVariables,
    /// Processes that may die while working on one payload alone before it is quarantined; 0: any number.
    pub payload_attempts: u32,
    /// Stops processes in tests.
    pub failpoint: Option<Arc<dyn Failpoint>>,
}

impl RunContext {
    /// Tells the failpoint about a step.
    pub(in crate::engine) async fn reach(&self, step: CommitStep) -> Result<()> {
        match &self.failpoint {
            Some(failpoint) => failpoint.reach(step).await,
            None => Ok(()),
        }
    }
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunReport {
    pub id: RunId,
    pub record: RunRecord,
    /// Whether it was cancelled before the source was exhausted.
    pub interrupted: bool,
}
