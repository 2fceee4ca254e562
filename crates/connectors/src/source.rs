//! The contract of a source: where payloads come from.
//!
//! A source reads one or more splits. It yields chunks in order, with positions from which it can resume. It never
//! writes, never moves a position (the run does that when it commits the data), and never reaches the lake, its catalog or the
//! journals of pushes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_config::{Component, Document};
use forebay_core::{Chunk, Clock, Ident, PayloadHead, Position, PositionObject, Result, Timestamp};
use forebay_formats::file_columns::FileRules;
use forebay_formats::framing::{FileHeading, Framing};
use forebay_formats::message::MessageRules;
use forebay_objects::AwsVariables;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A kind of source, configured under `source:` in a pipeline file.
pub trait SourceKind: Component {
    /// Checks a configuration (already valid by schema) without any I/O and makes the source. `config` knows the place
    /// of each value, so that an error can point at it.
    fn build(&self, config: &Document) -> Result<Box<dyn Source>>;

    /// The value of `paginate` that a first response without one shows, as YAML, by the fields of its body.
    fn proposed_paginate(&self, _body: &[u8]) -> Option<String> {
        None
    }
}

/// The runtime context of a source, besides its own configuration.
#[derive(Clone)]
pub struct SourceContext {
    pub pipeline: Ident,
    pub clock: Arc<dyn Clock>,
    /// Seeds the source's own generator (jitter).
    pub seed: u64,
    /// Folder that relative paths in the pipeline file are relative to.
    pub project: PathBuf,
    pub framing: Framing,
    /// Whether payloads must be JSON: a source of documents may then refuse a body that is something else.
    pub is_json: bool,
    /// The beginning of a file that its later records need.
    pub heading: FileHeading,
    /// Whether a payload may pack many messages; otherwise each is a payload of its own.
    pub packs: bool,
    /// Most records that a chunk with a position should have, since a commit can only follow a chunk; `None` for no limit.
    pub chunk_records: Option<usize>,
    pub cancel: CancellationToken,
    /// Receives each request and its outcome; the run writes them to `audit.requests` in its next commit.
    pub requests: Arc<dyn RequestLog>,
    /// Read everything again, regardless of the position.
    pub full: bool,
    /// Wait for more when everything there is has been read, instead of ending.
    pub follow: bool,
    /// The last position of this split that this run has committed.
    pub committed: watch::Receiver<Option<Position>>,
    /// The process's `AWS_*` variables, as defaults for a source's own options.
    pub aws: AwsVariables,
    /// Storage for state that is too large for a position; `None` outside of a run.
    pub position_storage: Option<Arc<dyn PositionStorage>>,
    /// The payloads of the pipeline that earlier runs have stored; `None` outside of a run.
    pub stored: Option<Arc<dyn StoredPayloads>>,
    /// The URL of the lake's own files, which are never read as a source's; `None` outside of a run.
    pub lake_root: Option<String>,
}

/// Stores parts of positions that are too large for the position itself.
#[async_trait]
pub trait PositionStorage: fmt::Debug + Send + Sync {
    /// Creates an object; durable on return.
    async fn create(&self, bytes: Vec<u8>, entries: u64) -> Result<PositionObject>;

    /// The bytes of an object, compared with its checksum.
    async fn read(&self, object: &PositionObject) -> Result<Vec<u8>>;
}

/// The payloads that a pipeline has stored as received.
#[async_trait]
pub trait StoredPayloads: Send + Sync {
    /// Those that have this attribute with this value, in the order in which they were stored.
    async fn with_attribute(&self, name: &str, value: &str) -> Result<Box<dyn PayloadReader>>;
}

/// Yields complete payloads.
#[async_trait]
pub trait PayloadReader: Send {
    /// The next one, or `None` after the last.
    async fn next(&mut self) -> Result<Option<StoredPayload>>;
}

/// A complete payload.
#[derive(Debug, Clone)]
pub struct StoredPayload {
    pub head: Arc<PayloadHead>,
    /// As received.
    pub bytes: Bytes,
}

/// Discards request records.
struct NoLog;

impl RequestLog for NoLog {
    fn record(&self, _: RequestRecord) {}
}

impl SourceContext {
    /// A context outside of a run: nothing is logged, cancelled or committed.
    pub fn alone(clock: Arc<dyn Clock>, project: &Path, framing: Framing) -> Result<Self> {
        Ok(Self {
            pipeline: "alone".parse()?,
            clock,
            seed: 0,
            project: project.to_owned(),
            framing,
            is_json: false,
            heading: FileHeading::default(),
            packs: false,
            chunk_records: None,
            cancel: CancellationToken::new(),
            requests: Arc::new(NoLog),
            full: false,
            follow: false,
            committed: watch::channel(None).1,
            aws: AwsVariables::default(),
            position_storage: None,
            stored: None,
            lake_root: None,
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

/// What a configured source is and has, for the run and for checks.
#[derive(Debug, Clone, Copy)]
pub struct SourceCapabilities<'a> {
    /// Whether the processes that run a pipeline share its splits and one process may read several at a time. Otherwise
    /// each process has its own splits and reads them one after the other.
    pub is_shared: bool,
    /// Whether it never ends when it [follows](SourceContext::follow).
    pub is_continuous: bool,
    /// Whether a reader that follows waits for something new, reads it to its end and ends: each of its passes is a run, which may
    /// replace the target.
    pub is_by_pass: bool,
    /// The setting that reads values from bodies, which must then be JSON.
    pub json_key: Option<&'static str>,
    /// Message settings of the pipeline, for a source whose payloads [pack](forebay_core::PayloadHead::messages) messages.
    pub messages: Option<&'a MessageRules>,
    /// Whether its messages may use schemas of a registry.
    pub has_registry: bool,
    /// File settings of the pipeline, for a source whose payloads are files.
    pub file_rules: Option<&'a FileRules>,
}

impl Default for SourceCapabilities<'_> {
    fn default() -> Self {
        Self {
            is_shared: true,
            is_continuous: false,
            is_by_pass: false,
            json_key: None,
            messages: None,
            has_registry: false,
            file_rules: None,
        }
    }
}

/// Reads payloads. One value serves every split of the pipeline.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities::default()
    }

    /// Checks the options that come from the environment, without any I/O.
    fn check_environment(&self, aws: &AwsVariables) -> Result<()> {
        let _ = aws;
        Ok(())
    }

    /// The independently read parts, at least one, with stable names. An undivided source has the one split `all`.
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

    /// How the source is divided into splits, when that may change from run to run.
    fn division(&self) -> Option<&dyn Division> {
        None
    }
}

/// A source whose splits may change. Split names of two divisions must differ.
#[async_trait]
pub trait Division: Send + Sync {
    /// New positions to commit together before the current splits are read; empty when no change is needed. `positions`
    /// are those of every split that has one.
    async fn rearranged(
        &self,
        positions: &[(Ident, Position)],
        context: &SourceContext,
    ) -> Result<Vec<(Ident, Position)>>;

    /// Whether [`Self::rearranged`] made the position, and nothing has been read since.
    fn is_rearranged(&self, position: &Position) -> bool;
}

/// Error code of [`Source::open`] when the pipeline has been repartitioned into other splits.
pub const REARRANGED: &str = "rearranged";

/// Yields the chunks of one split.
///
/// Order is the source's own. After a failure the run opens the split again at the last committed position, so a
/// reader need not undo anything.
#[async_trait]
pub trait SplitReader: Send {
    /// The next chunk, or `None` when everything has been read. Retries transient failures itself, within its limits;
    /// an error that it returns ends the run.
    async fn next(&mut self) -> Result<Option<Chunk>>;

    /// Asks the reader to finish. `true` means that [`Self::next`] returns everything received so far and then ends;
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
    /// HTTP status; `None` without a response.
    pub status: Option<u16>,
    pub attempt: u32,
    pub duration_us: u64,
    /// Bytes of the body as received.
    pub bytes: u64,
    /// `ok`, `retry`, `failed`.
    pub outcome: &'static str,
    /// The failure, or the wait and its reason.
    pub detail: Option<String>,
    /// Time spent waiting for the request budget before it was sent.
    pub waited_us: u64,
}

/// Receives request records. Must not block: it is called between requests.
pub trait RequestLog: Send + Sync {
    fn record(&self, record: RequestRecord);
}
