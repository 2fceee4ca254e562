//! The steps of a commit at which a test stops, pauses or fails a process.
//!
//! Nothing happens here outside of tests: a context has no [`Failpoint`] unless it is given one.

use std::fmt;

use async_trait::async_trait;
use forebay_core::Result;

/// A step that has just been made, in the order of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitStep {
    LeaseTaken,
    Reconciled,
    RawStored,
    FilesSealed,
    TargetCommitted,
    CatalogCommitted,
    RunRecorded,
}

/// Decides what happens to a process after a step.
#[async_trait]
pub trait Failpoint: fmt::Debug + Send + Sync {
    /// # Errors
    /// What the step shall seem to have failed with.
    async fn reach(&self, step: CommitStep) -> Result<()>;
}
