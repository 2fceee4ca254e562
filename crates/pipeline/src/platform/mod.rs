//! Components of the platform itself: sources that read the lake and the journals of pushes, and the lake as a target.
//!
//! Only they see more of a run than a connector does ([`PlatformContext`]). A source is one folder plus one line in
//! [`SOURCES`].

pub mod iceberg;
pub mod push;
pub mod query;
pub mod raw;
pub mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_config::{Component, Document};
use forebay_connectors::source::{SourceCapabilities, SourceContext, SplitReader};
use forebay_core::{Ident, LakeSql, NamedTables, Position, RefName, Result, SqlEngine, TableName};
use forebay_journal::Journals;
use forebay_lake::Lake;

use push::PushConfig;

/// The sources of the platform, in the order of the reference.
pub const SOURCES: &[&dyn PlatformSourceKind] =
    &[&push::Kind, &table::Kind, &raw::Kind, &query::Kind];

/// A kind of source of the platform, configured under `source:` in a pipeline file.
pub trait PlatformSourceKind: Component {
    /// Checks a configuration (already valid by schema) without any I/O and makes the source.
    fn build(
        &self,
        config: &Document,
        engine: &Arc<dyn SqlEngine>,
    ) -> Result<Box<dyn PlatformSource>>;

    /// The kind of references (`new` of `${new:…}`) that it resolves itself.
    fn own_reference(&self) -> Option<&'static str> {
        None
    }
}

/// The table that a pipeline loads, as its source sees it.
#[derive(Debug, Clone)]
pub struct LoadedTable {
    pub name: TableName,
    /// Whether a row that is read twice is there twice.
    pub only_adds: bool,
    /// Columns with a declared type, whatever a result has.
    pub declared: Arc<BTreeSet<String>>,
}

/// The runtime context of a source of the platform.
#[derive(Clone)]
pub struct PlatformContext {
    pub source: SourceContext,
    /// The branch of the catalog that the run writes to; positions are its own.
    pub branch: RefName,
    /// Journals that hold the pushes.
    pub journals: Arc<Journals>,
    /// The lake that the run writes to; `None` outside of a run.
    pub lake: Option<Lake>,
    /// SHA-256 of the pipeline's file; empty outside of a run.
    pub definition: String,
    /// The table that the run loads; `None` outside of a run, and for a target outside of the lake.
    pub target: Option<LoadedTable>,
    /// SQL over that lake; `None` outside of a run.
    pub sql: Option<Arc<dyn LakeSql>>,
}

impl PlatformContext {
    /// A context outside of a run, with journals below the project.
    pub fn alone(source: SourceContext) -> Self {
        let journals = Journals::new(source.project.join("journal"), source.clock.clone());
        Self {
            source,
            branch: RefName::main(),
            journals: Arc::new(journals),
            lake: None,
            definition: String::new(),
            target: None,
            sql: None,
        }
    }

    /// The same for a reader that follows, or does not.
    #[must_use]
    pub fn following(mut self, follow: bool) -> Self {
        self.source.follow = follow;
        self
    }
}

impl Deref for PlatformContext {
    type Target = SourceContext;

    fn deref(&self) -> &SourceContext {
        &self.source
    }
}

impl fmt::Debug for PlatformContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlatformContext")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// As [`Source`](forebay_connectors::source::Source), with the context of the platform.
#[async_trait]
pub trait PlatformSource: fmt::Debug + Send + Sync {
    fn capabilities(&self) -> SourceCapabilities<'_>;

    /// The independently read parts, at least one, with stable names.
    async fn splits(&self, context: &PlatformContext) -> Result<Vec<Ident>> {
        let _ = context;
        Ok(vec!["all".parse()?])
    }

    /// Starts reading a split after `position`.
    async fn open(
        &self,
        split: &Ident,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Box<dyn SplitReader>>;

    /// The tables of the lake that it reads, for a source whose rows are those of the lake.
    fn tables(&self) -> Option<&NamedTables> {
        None
    }

    /// Whether its rows may be those of an earlier run once more, without `--full`.
    fn repeats_rows(&self) -> bool {
        false
    }

    /// Push settings, for a source that accepts pushes.
    fn push(&self) -> Option<&PushConfig> {
        None
    }
}
