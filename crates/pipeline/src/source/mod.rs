//! Sources: where payloads come from.
//!
//! A source reads one or more splits. It yields chunks in order and says where it could resume; it never writes, and
//! never moves a position: the run does that when the data is committed.

pub mod file;
mod heading;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod push;
pub mod raw;
pub mod table;

pub use heading::{FileHeading, RecordScan};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Chunk, Clock, Error, Ident, Position, RefName, Result, Timestamp};
use forebay_lake::Lake;
use forebay_lake::storage::AwsVariables;
use schemars::Schema;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::extract::file_columns::FileRules;
use crate::extract::message::MessageRules;
use crate::file::Document;
use crate::journal::Journals;
use crate::position_objects::PositionObjects;

/// Every source there is, in the order of the reference.
pub const SOURCES: &[&dyn SourceKind] = &[
    &http::Kind,
    &file::Kind,
    &push::Kind,
    #[cfg(feature = "kafka")]
    &kafka::Kind,
    &table::Kind,
    &raw::Kind,
];

/// A kind of source: what a pipeline file may write under `source:`.
pub trait SourceKind: fmt::Debug + Send + Sync {
    /// The key in the pipeline file.
    fn name(&self) -> &'static str;
    /// One line for `forebay components`.
    fn summary(&self) -> &'static str;
    /// JSON Schema of its configuration.
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> Schema;
    /// Checks a configuration (already valid by schema) without any I/O and makes the source. `config` knows the place
    /// of each value, so that an error can point at it.
    fn build(&self, config: &Document) -> Result<Box<dyn Source>>;
}

/// How an extractor wants a payload cut, so that a source may offer positions inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Records are lines: a chunk may end after any `\n`.
    Lines,
    /// Only the end of the payload is a boundary.
    Whole,
    /// JSON that has lines where the payload's name, media type or first line says so (see [`crate::extract::json`]).
    Detected,
}

/// What a source may use besides its own configuration.
#[derive(Clone)]
pub struct SourceContext {
    pub pipeline: Ident,
    /// The branch of the catalog that the run writes to; positions are its own.
    pub branch: RefName,
    pub clock: Arc<dyn Clock>,
    /// Seeds the source's own generator (jitter).
    pub seed: u64,
    /// Folder that relative paths in the pipeline file are relative to.
    pub project: std::path::PathBuf,
    pub framing: Framing,
    /// What records further on in a file need of its beginning.
    pub heading: FileHeading,
    /// Whether a payload may pack many messages; otherwise each is a payload of its own.
    pub packs: bool,
    /// Records that a chunk with a position should have at most: a commit can only be made behind a chunk. `None` when any will do.
    pub chunk_records: Option<usize>,
    pub cancel: CancellationToken,
    /// Where each request and its outcome goes; the run writes them to `audit.requests` in its next commit.
    pub requests: Arc<dyn RequestLog>,
    /// Read everything again, whatever the position says.
    pub full: bool,
    /// Wait for more when everything there is has been read, instead of ending.
    pub follow: bool,
    /// Where pushes wait.
    pub journals: Arc<Journals>,
    /// The last position of this split that a commit of this run has made safe.
    pub committed: watch::Receiver<Option<Position>>,
    /// The process's `AWS_*` variables, for what a source's own options leave open.
    pub aws: AwsVariables,
    /// The lake that the run writes to; `None` outside of a run.
    pub lake: Option<Lake>,
    /// Where a source puts what is too large for its position; `None` outside of a run.
    pub position_objects: Option<PositionObjects>,
}

/// Forgets what it is told.
struct NoLog;

impl RequestLog for NoLog {
    fn record(&self, _: RequestRecord) {}
}

impl SourceContext {
    /// A context outside of a run: nothing is logged, cancelled or committed, and journals live below `project`.
    pub fn alone(
        clock: Arc<dyn Clock>,
        project: &std::path::Path,
        framing: Framing,
    ) -> Result<Self> {
        let journals = Journals::new(project.join("journal"), clock.clone());
        Ok(Self {
            pipeline: "alone".parse()?,
            branch: RefName::main(),
            clock,
            seed: 0,
            project: project.to_owned(),
            framing,
            heading: FileHeading::default(),
            packs: false,
            chunk_records: None,
            cancel: CancellationToken::new(),
            requests: Arc::new(NoLog),
            full: false,
            follow: false,
            journals: Arc::new(journals),
            committed: watch::channel(None).1,
            aws: AwsVariables::default(),
            lake: None,
            position_objects: None,
        })
    }
}

impl fmt::Debug for SourceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceContext")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// Reads payloads. One value serves every split of the pipeline.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// The independently read parts, at least one, with stable names. What is read in one piece is `all`.
    async fn splits(&self, context: &SourceContext) -> Result<Vec<Ident>> {
        let _ = context;
        Ok(vec!["all".parse()?])
    }

    /// Starts reading a split after `position`.
    async fn open(
        &self,
        split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>>;

    /// Whether the processes that run a pipeline share its splits, and one process may read several at a time. Otherwise each
    /// process has splits of its own, and reads one after the other.
    fn is_shared(&self) -> bool {
        true
    }

    /// How its splits come to be, when that may change from run to run.
    fn division(&self) -> Option<&dyn Division> {
        None
    }

    /// Whether it goes on for ever when it [follows](SourceContext::follow).
    fn is_continuous(&self) -> bool {
        false
    }

    /// The setting by which it looks for something in bodies, which must be JSON then.
    fn json_key(&self) -> Option<&'static str> {
        None
    }

    /// What the pipeline says of messages, for a source whose payloads [pack](forebay_core::PayloadHead::messages) them.
    fn messages(&self) -> Option<&MessageRules> {
        None
    }

    /// Whether its messages may bring the schemas of a registry.
    fn has_registry(&self) -> bool {
        false
    }

    /// What the pipeline says of files, for a source whose payloads are such.
    fn file_rules(&self) -> Option<&FileRules> {
        None
    }

    /// How callers push, when they do.
    fn push(&self) -> Option<&push::PushConfig> {
        None
    }
}

/// A source whose splits may be others than before. The names of splits of two divisions must differ.
#[async_trait]
pub trait Division: Send + Sync {
    /// What positions must become before the splits of now are read, in one commit; empty when they are right. `positions` are
    /// those of every split that has one.
    async fn rearranged(
        &self,
        positions: &[(Ident, Position)],
        context: &SourceContext,
    ) -> Result<Vec<(Ident, Position)>>;

    /// Whether [`Self::rearranged`] made the position, and nothing has been read since.
    fn is_rearranged(&self, position: &Position) -> bool;
}

/// Code of the error that [`Source::open`] gives when the pipeline is divided into other splits by now.
pub const REARRANGED: &str = "rearranged";

/// Yields the chunks of one split.
///
/// Order is the source's own. After a failure the run opens the split again at the last committed position, so a
/// reader need not undo anything.
#[async_trait]
pub trait SplitReader: Send {
    /// The next chunk, or `None` when everything there was has been read. Retries transient failures itself, within
    /// its limits; what it returns as an error ends the run.
    async fn next(&mut self) -> Result<Option<Chunk>>;

    /// The run is to end. `true` says that [`Self::next`] goes on with what has come until now, and then ends by itself;
    /// otherwise the reader is dropped as it is.
    fn drain(&mut self) -> bool {
        false
    }

    /// A position to commit once [`Self::next`] has returned `None`, when it differs from the last chunk's: for a
    /// source that learns at the end that a pass is complete.
    fn end_position(&self) -> Option<Position> {
        None
    }
}

/// One request to a third party, for `audit.requests`.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRecord {
    pub at: Timestamp,
    pub method: String,
    /// Without secrets.
    pub url: String,
    /// HTTP status; `None` when no answer came.
    pub status: Option<u16>,
    pub attempt: u32,
    pub duration_us: u64,
    /// Bytes of the body as received.
    pub bytes: u64,
    /// `ok`, `retry`, `failed`.
    pub outcome: &'static str,
    /// What went wrong, or how long it waited and why.
    pub detail: Option<String>,
    /// Time spent waiting for the request budget before it was sent.
    pub waited_us: u64,
}

/// Takes request records. Must not block: it is called between requests.
pub trait RequestLog: Send + Sync {
    fn record(&self, record: RequestRecord);
}

/// The kind of this name.
pub fn find(name: &str) -> Result<&'static dyn SourceKind> {
    SOURCES
        .iter()
        .copied()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| Error::config("unknown_component", format!("there is no source `{name}`")))
}
