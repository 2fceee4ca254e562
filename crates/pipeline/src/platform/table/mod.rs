//! A table of the lake, read by snapshot: first all of it, then the appended rows.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! A run reads the table as of one commit of the catalog, and the position holds snapshot, file and row group, so that
//! an interrupted run resumes inside the snapshot. The raw bytes of such rows are the table's own files, which never
//! change: the raw zone stores a small entry with commit, snapshot, files, row groups and deleted rows, and its
//! extractor (see [`forebay_formats::table`]) can read it again as long as these files exist. Rows keep their types. A compaction
//! brings no rows; those that were not read before it are read from the state before it. Any
//! other change that is not an append (a rollback, an overwrite, a recreated table) is detected and never
//! read as one.

pub(in crate::platform) mod follow;
mod lineage;
pub(in crate::platform) mod plan;
mod reader;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Ident, NamedTables, Position, Result, SqlEngine, TableName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::platform::{PlatformContext, PlatformSource, PlatformSourceKind};
use forebay_config::{Component, Document};
use forebay_connectors::source::{SourceCapabilities, SplitReader};

/// `source: {table: …}`.
#[derive(Debug)]
pub struct Kind;

/// Reads a table of the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// `namespace.table`, on the branch that the run writes to.
    #[schemars(
        with = "String",
        regex(pattern = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    )]
    pub name: TableName,
    /// Start position of the first run.
    #[serde(default)]
    pub start: Start,
    /// What to do when the table has changed in another way than by an append.
    #[serde(default)]
    pub changes: Changes,
}

/// Start position of the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The whole table, then the appended rows.
    #[default]
    All,
    /// Only rows that are appended from now on.
    Now,
}

/// What to do when the table has changed in another way than by an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Changes {
    /// Fail and report the change.
    #[default]
    Stop,
    /// Read the whole table again; rows that were read before are loaded again.
    Full,
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "table"
    }

    fn summary(&self) -> &'static str {
        "a table of the lake, by snapshot, then its appended rows"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<TableConfig>()
    }
}

impl PlatformSourceKind for Kind {
    fn build(&self, config: &Document, _: &Arc<dyn SqlEngine>) -> Result<Box<dyn PlatformSource>> {
        let table: TableConfig = config.parse()?;
        let names = BTreeSet::from([table.name.clone()]);
        let tables = NamedTables {
            all: names.clone(),
            new: names,
            ..NamedTables::default()
        };
        Ok(Box::new(LakeTable { table, tables }))
    }
}

/// The configured source.
#[derive(Debug)]
struct LakeTable {
    table: TableConfig,
    tables: NamedTables,
}

#[async_trait]
impl PlatformSource for LakeTable {
    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Box<dyn SplitReader>> {
        let position = position.filter(|_| !context.full);
        let reader = reader::Reader::open(self.table.clone(), position, context)?;
        Ok(Box::new(reader))
    }

    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities {
            is_continuous: true,
            ..SourceCapabilities::default()
        }
    }

    fn tables(&self) -> Option<&NamedTables> {
        Some(&self.tables)
    }
}
