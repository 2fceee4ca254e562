//! One process, every pipeline of a project: the continuous ones always, the scheduled ones when they are due.
//!
//! Each pipeline has a task of its own, so one that fails, hangs or is broken leaves the others alone. A changed file is
//! checked, and the pipeline goes over to it at a commit; a file that does not check leaves the old version at work.
//! Failed runs are tried again with growing pauses, for ever. Nothing here moves data.

mod pipeline;
mod status;
mod supervisor;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Ident, Result, Timestamp};
use forebay_pipeline::engine::Figures;
use forebay_pipeline::spec::PipelineSpec;
use tokio_util::sync::CancellationToken;

pub use status::{Phase, Registry, Status};
pub use supervisor::Supervisor;

/// The last run of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRun {
    pub begun: Timestamp,
    /// SHA-256 of the pipeline's file when it last read something; `None` where its source does not note it.
    pub digest: Option<String>,
}

/// The supervisor's interface to its process.
#[async_trait]
pub trait Site: Send + Sync + 'static {
    /// The pipeline files that there are now.
    fn files(&self) -> Result<Vec<PathBuf>>;

    /// A stamp of the state of a file, without reading it: any change changes it.
    fn stamp(&self, file: &Path) -> Result<String>;

    /// Reads and checks a file. The error has all faults.
    fn load(&self, file: &Path) -> Result<PipelineSpec>;

    /// The last run of a pipeline, in whichever process.
    async fn last_run(&self, pipeline: &Ident) -> Result<Option<LastRun>>;

    /// Runs a pipeline until its source ends, or until `cancel`, and then to its last complete commit.
    async fn run(
        &self,
        spec: Arc<PipelineSpec>,
        figures: Arc<Figures>,
        cancel: CancellationToken,
    ) -> Result<()>;
}
