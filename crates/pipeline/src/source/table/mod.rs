//! A table of the lake, read by snapshot: first all of it, then what is appended.
//!
//! ```yaml
//! pipeline: orders_out
//! source:
//!   table: {name: sales.orders}
//! extract:
//!   table: {}
//! load:
//!   stdout: {}
//! ```
//!
//! A run reads the table as of one commit of the catalog, and the position remembers snapshot, file and row group, so
//! that a run that is cut off goes on inside. The raw bytes of such rows are the table's own files, which never change: the
//! raw zone keeps a small entry that names commit, snapshot, files, row groups and deleted rows, and what reads it (see
//! [`crate::extract::table`]) can read it again as long as these files are there. Rows keep their types. Anything that is
//! not an append (a rollback, an overwrite, files that were put in place of others, a table made anew) is noticed and
//! never read as if it were one.

pub(in crate::source) mod follow;
mod lineage;
pub(in crate::source) mod plan;
mod reader;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use forebay_core::{Ident, Position, Result, TableName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::file::Document;
use crate::source::{Source, SourceContext, SourceKind, SplitReader};

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
    /// What the first run reads.
    #[serde(default)]
    pub start: Start,
    /// What to do when the table has changed in another way than by an append.
    #[serde(default)]
    pub changes: Changes,
}

/// What the first run reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The whole table, then what is appended.
    #[default]
    All,
    /// Only what is appended from now on.
    Now,
}

/// What to do when the table has changed in another way than by an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Changes {
    /// Fail and say what has changed.
    #[default]
    Stop,
    /// Read the whole table again; rows that were read before come a second time.
    Full,
}

impl SourceKind for Kind {
    fn name(&self) -> &'static str {
        "table"
    }

    fn summary(&self) -> &'static str {
        "a table of the lake, by snapshot, then what is appended"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<TableConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Source>> {
        let table: TableConfig = config.parse()?;
        Ok(Box::new(LakeTable(table)))
    }
}

/// The configured source.
#[derive(Debug)]
struct LakeTable(TableConfig);

#[async_trait]
impl Source for LakeTable {
    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let position = position.filter(|_| !context.full);
        let reader = reader::Reader::open(self.0.clone(), position, context)?;
        Ok(Box::new(reader))
    }

    fn is_continuous(&self) -> bool {
        true
    }
}
