//! The contract of a sink: the target of rows outside of the lake.
//!
//! Rows of a successful [`Sink::commit`] are durable and visible; rows of a failed one are not, except
//! after a connection error, when they may be. A *transactional*
//! sink (`postgres`) keeps its own position beside its rows, with an outbox: the lake's part of the commit. The run
//! compares that [`Standing`] with the catalog before it reads anything, so that rows land once wherever a process died.
//! A sink that can recognize rows of a commit that the catalog does not have (`file`) removes them when it is opened.
//! Other sinks document weaker guarantees. A sink never reaches the lake.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use forebay_config::{Component, Document};
use forebay_core::{Batch, Clock, Error, Ident, Position, RefName, Rejected, Result, RunId};
use tokio_util::sync::CancellationToken;

/// The stage of records rejected by a sink.
pub const STAGE: &str = "load";

/// Error code of a sink whose target does not answer: the run resumes from its last commit once it does, within a limit.
pub const TARGET_GONE: &str = "target_unavailable";

/// A kind of sink: the configuration under `load:` in a pipeline file.
pub trait SinkKind: Component {
    /// Checks a configuration without any I/O and makes the target.
    fn build(&self, config: &Document) -> Result<Box<dyn Target>>;
}

/// A configured sink.
#[async_trait]
pub trait Target: fmt::Debug + Send + Sync {
    /// The target, for display: `quakes.events`.
    fn describe(&self) -> String;

    /// Whether a run replaces the whole content of the target. Such a run reads its source from the beginning and ends,
    /// also where the source could be followed.
    fn replaces(&self) -> bool {
        false
    }

    /// Whether its sink keeps its own positions, so that a record can be sent to it again and lands once.
    fn is_transactional(&self) -> bool {
        false
    }

    /// Opens the sink for one split of a run.
    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>>;
}

/// The parts of a run's context that a sink may use.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Relative paths in the pipeline file are relative to it.
    pub project: PathBuf,
    pub pipeline: Ident,
    pub branch: RefName,
    pub split: Ident,
    /// Of the lease: a transactional sink refuses every writer with a smaller one.
    pub epoch: i64,
    /// Commits of the split that the catalog has.
    pub sequence: i64,
    pub run: RunId,
    /// The newest runs of the pipeline on this branch that have not succeeded, `run` included: only they may have left rows of a
    /// commit that the catalog does not have.
    pub unfinished_runs: Vec<RunId>,
    /// Everything is read again: the target's position from earlier runs does not count.
    pub full: bool,
    /// Rows of a replay are appended, whatever the mode of the pipeline.
    pub replay: bool,
    /// Set when the run has to end: a sink then waits for its target no longer than a last commit takes.
    pub cancel: CancellationToken,
    pub clock: Arc<dyn Clock>,
}

impl SinkContext {
    /// A context outside of a run.
    pub fn alone(clock: Arc<dyn Clock>, project: &Path) -> Result<Self> {
        let run = RunId::new(clock.now(), 0);
        Ok(Self {
            project: project.to_owned(),
            pipeline: "alone".parse()?,
            branch: RefName::main(),
            split: "all".parse()?,
            epoch: 1,
            sequence: 0,
            run,
            unfinished_runs: vec![run],
            full: false,
            replay: false,
            cancel: CancellationToken::new(),
            clock,
        })
    }
}

/// The position of a transactional sink in its own target.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Number of commits of this split in the target, counted as in the catalog; `None`: the target has no position.
    pub sequence: Option<i64>,
    /// The data stored with the last of them.
    pub last: Option<Delivered>,
}

/// The data stored beside the rows of a commit in the target.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub position: Position,
    /// The lake's part of the commit; opaque to the sink.
    pub outbox: Vec<u8>,
}

/// Takes batches and makes them durable at each commit.
///
/// A record is rejected as a whole: when the target accepts a row of it and rejects another, none of them stays.
#[async_trait]
pub trait Sink: Send {
    /// Takes rows, in extractor order. Rejected records may be returned now or later.
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>>;

    /// Returns the rejected records of everything written so far; after it nothing else of that is rejected.
    async fn flush(&mut self) -> Result<Vec<Rejected>> {
        Ok(Vec::new())
    }

    /// Makes durable all rows written since the last commit, right after a [`Self::flush`]. A transactional sink stores `delivered` in the same
    /// transaction and takes `sequence` (the number of earlier commits) as a condition; others may name the rows by it.
    ///
    /// Errors: `Conflict` `stale_epoch` when another process has taken the split; `Unavailable` [`TARGET_GONE`] when the
    /// answer was lost: the next [`Self::standing`] shows the outcome.
    async fn commit(&mut self, sequence: i64, delivered: Delivered) -> Result<()>;

    /// Removes the rows of the last [`Self::commit`], where a sink can: the catalog has refused them. Never called after another commit
    /// of the run to the catalog.
    async fn withdraw(&mut self) -> Result<()> {
        Ok(())
    }

    /// The position of the target; `None` when the sink keeps no positions. Called once, before anything is written.
    fn standing(&mut self) -> Option<Standing> {
        None
    }

    /// Sets the position of the target to `sequence`, whatever it was.
    async fn adopt(&mut self, sequence: i64) -> Result<()> {
        let _ = sequence;
        Ok(())
    }

    /// The source has been read to its end, and all of it is committed.
    async fn end(&mut self) -> Result<()> {
        Ok(())
    }

    /// Marks a position among the uncommitted rows, right after a [`Self::flush`] or before the first of them; [`Self::undo`] takes
    /// back the rows written after the last mark.
    async fn mark(&mut self) -> Result<()> {
        Err(Error::bug("no_mark", "this sink cannot take rows back"))
    }

    async fn undo(&mut self) -> Result<()> {
        Err(Error::bug("no_mark", "this sink cannot take rows back"))
    }
}
