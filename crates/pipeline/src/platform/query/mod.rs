//! A statement over the lake: the rows of a curated table, made of other tables.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! A run reads all tables as of one commit, and its whole result is one payload, so that it is loaded in one commit. `${new:a.b}` means
//! the rows of a table that were added since the last run. The result is kept in the raw zone as it was made: the tables may have
//! changed, and the statement may use the time, when it is replayed or rebuilt. A reader that follows waits until one of its tables has
//! changed, runs once and ends. Never writes a table itself.

mod position;
mod reader;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use forebay_config::{Component, Document};
use forebay_connectors::source::{SourceCapabilities, SplitReader};
use forebay_core::{Ident, NamedTables, Position, Result, SqlEngine};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

pub use self::position::noted_definition;
pub(crate) use self::position::read_property;
use crate::platform::table::Changes;
use crate::platform::{PlatformContext, PlatformSource, PlatformSourceKind};

/// `source: {query: …}`.
#[derive(Debug)]
pub struct Kind;

/// The statement, alone or with settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum QueryConfig {
    Statement(String),
    Settings(QuerySettings),
}

/// A statement over tables of the lake.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuerySettings {
    /// One `SELECT`. `${new:namespace.table}` means the rows of a table that were added since the last run.
    pub sql: String,
    /// What to do when a table of `${new:…}` has changed in another way than by an append.
    #[serde(default)]
    pub changes: Changes,
}

impl From<QueryConfig> for QuerySettings {
    fn from(config: QueryConfig) -> Self {
        match config {
            QueryConfig::Settings(settings) => settings,
            QueryConfig::Statement(sql) => Self {
                sql,
                changes: Changes::default(),
            },
        }
    }
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "query"
    }

    fn summary(&self) -> &'static str {
        "a statement over tables of the lake, at one commit"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<QueryConfig>()
    }
}

impl PlatformSourceKind for Kind {
    fn build(
        &self,
        config: &Document,
        engine: &Arc<dyn SqlEngine>,
    ) -> Result<Box<dyn PlatformSource>> {
        let settings: QuerySettings = config.parse::<QueryConfig>()?.into();
        let place = config.get("sql").unwrap_or_else(|| config.clone());
        let tables = engine
            .named_tables(&settings.sql)
            .map_err(|error| place.sql_error(&error))?;
        Ok(Box::new(LakeQuery { settings, tables }))
    }

    fn own_reference(&self) -> Option<&'static str> {
        Some("new")
    }
}

/// The configured source.
#[derive(Debug)]
struct LakeQuery {
    settings: QuerySettings,
    tables: NamedTables,
}

#[async_trait]
impl PlatformSource for LakeQuery {
    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Box<dyn SplitReader>> {
        let statement = (self.settings.clone(), self.tables.clone());
        let watch = watch::TableWatch::new(statement, position, context.clone())?;
        Ok(Box::new(reader::Reader::open(watch, context)?))
    }

    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities {
            is_continuous: true,
            is_by_pass: true,
            ..SourceCapabilities::default()
        }
    }

    fn repeats_rows(&self) -> bool {
        self.tables.new.is_empty() || self.settings.changes == Changes::Full
    }

    fn tables(&self) -> Option<&NamedTables> {
        Some(&self.tables)
    }
}
