//! Sinks: where rows end.
//!
//! Promise of a sink: what [`Sink::commit`] returned Ok for is durable and visible; what it returned an error for is
//! not, except after an error of the connection, when it may be. The `iceberg` sink moves the position in the same
//! commit. A *transactional* sink (`postgres`) keeps a position of its own beside its rows, with an outbox: what the lake
//! has yet to learn. The run compares that [`Standing`] with the catalog before it reads anything, so that rows land
//! once wherever a process died. Other sinks say so when they give less.

pub mod file;
pub mod iceberg;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod postgres;
pub mod stdout;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Batch, Clock, Error, Ident, Position, RefName, Rejected, Result};
use schemars::Schema;
use tokio_util::sync::CancellationToken;

use crate::file::Document;

/// Every sink there is, in the order of the reference.
pub const SINKS: &[&dyn SinkKind] = &[
    &iceberg::Kind,
    &postgres::Kind,
    #[cfg(feature = "kafka")]
    &kafka::Kind,
    &stdout::Kind,
    &file::Kind,
];

/// The stage of what a sink refuses.
pub const STAGE: &str = "load";

/// Code of the error that a sink gives when its target does not answer: the run goes on from its last commit once it
/// does, within a limit.
pub const TARGET_GONE: &str = "target_unavailable";

/// A kind of sink: what a pipeline file may write under `load:`.
pub trait SinkKind: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn summary(&self) -> &'static str;
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> Schema;
    fn build(&self, config: &Document) -> Result<Box<dyn Target>>;
}

/// A configured sink.
#[async_trait]
pub trait Target: fmt::Debug + Send + Sync {
    /// Where rows go, for people: `quakes.events`.
    fn describe(&self) -> String;

    /// The lake table that the rows are appended to, when the sink is the lake itself: the run then puts rows,
    /// position, quarantine and raw index in one commit.
    fn lake(&self) -> Option<&iceberg::IcebergTarget> {
        None
    }

    /// Whether a run makes the whole content of the target anew. Such a run reads its source from the beginning and
    /// ends, also where the source could be followed.
    fn replaces(&self) -> bool {
        false
    }

    /// Whether its sink keeps positions of its own, so that a record can be sent to it again and lands once.
    fn is_transactional(&self) -> bool {
        false
    }

    /// Opens the sink for one split of a run (not called when [`Self::lake`] is given).
    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        let _ = context;
        Err(Error::bug("no_sink", "this target writes through the lake"))
    }
}

/// What a sink may know of the run that opens it.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Relative paths in the pipeline file are relative to it.
    pub project: PathBuf,
    pub pipeline: Ident,
    pub branch: RefName,
    pub split: Ident,
    /// Of the lease: a transactional sink refuses every writer with a smaller one.
    pub epoch: i64,
    /// Everything is read again: what the target knows of earlier runs does not count.
    pub full: bool,
    /// Rows of a replay are added to what is there, whatever a run of the pipeline does with it.
    pub replay: bool,
    /// Set when the run is to end: a sink then waits for its target no longer than a last commit takes.
    pub cancel: CancellationToken,
    pub clock: Arc<dyn Clock>,
}

impl SinkContext {
    /// A context outside of a run.
    pub fn alone(clock: Arc<dyn Clock>, project: &Path) -> Result<Self> {
        Ok(Self {
            project: project.to_owned(),
            pipeline: "alone".parse()?,
            branch: RefName::main(),
            split: "all".parse()?,
            epoch: 1,
            full: false,
            replay: false,
            cancel: CancellationToken::new(),
            clock,
        })
    }
}

/// Where a transactional sink stands, as its own target says.
#[derive(Debug, Clone)]
pub struct Standing {
    /// How many commits of this split the target holds, counted as the catalog does; `None`: it has never heard of it.
    pub sequence: Option<i64>,
    /// What the last of them brought.
    pub last: Option<Delivered>,
}

/// What stands beside the rows of a commit in the target.
#[derive(Debug, Clone)]
pub struct Delivered {
    pub position: Position,
    /// What the lake has to learn of the commit; opaque to the sink.
    pub outbox: Vec<u8>,
}

/// Takes batches and makes them durable at each commit.
///
/// A record is refused as a whole: when the target takes a row of it and refuses another, none of them stays.
#[async_trait]
pub trait Sink: Send {
    /// Takes rows, in the order an extractor gives them. What the target refuses may be told now or later.
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>>;

    /// Tells what the target refuses of everything written so far; after it nothing else of that is refused.
    async fn flush(&mut self) -> Result<Vec<Rejected>> {
        Ok(Vec::new())
    }

    /// Makes durable what was written since the last commit. A transactional sink keeps `delivered` in the same
    /// transaction and takes `sequence` (how many commits came before) as a condition; others pass both over.
    ///
    /// Errors: `Conflict` `stale_epoch` when another process has taken the split; `Unavailable` [`TARGET_GONE`] when
    /// the answer was lost: the next [`Self::standing`] tells.
    async fn commit(&mut self, sequence: i64, delivered: Delivered) -> Result<()>;

    /// Where the target stands; `None` when the sink keeps no positions. Asked once, before anything is written.
    fn standing(&mut self) -> Option<Standing> {
        None
    }

    /// Makes the target stand at `sequence`, whatever it said.
    async fn adopt(&mut self, sequence: i64) -> Result<()> {
        let _ = sequence;
        Ok(())
    }

    /// The source has been read to its end, and all of it is committed.
    async fn end(&mut self) -> Result<()> {
        Ok(())
    }

    /// Marks a place among the rows that are not committed; [`Self::undo`] takes back what was written after it.
    async fn mark(&mut self) -> Result<()> {
        Err(Error::bug("no_mark", "this sink cannot take rows back"))
    }

    async fn undo(&mut self) -> Result<()> {
        Err(Error::bug("no_mark", "this sink cannot take rows back"))
    }
}

/// The kind of this name.
pub fn find(name: &str) -> Result<&'static dyn SinkKind> {
    SINKS
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| Error::config("unknown_component", format!("there is no sink `{name}`")))
}
