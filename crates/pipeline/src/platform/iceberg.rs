//! The lake itself as a sink: rows, position, quarantine and raw index in one commit.
//!
//! ```yaml
//! load:
//!   iceberg: {table: quakes.events, partition: [day(at)]}
//! ```
//!
//! This file only defines the configuration; the run makes the commit.

use forebay_core::unit::Size;
use forebay_core::{Result, TableName};
use forebay_lake::PartitionField;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use forebay_config::{Component, Document};

/// The component.
#[derive(Debug)]
pub struct Kind;

/// `load: iceberg:`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IcebergTarget {
    /// `namespace.table`; created at the first commit.
    #[schemars(
        with = "String",
        regex(pattern = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    )]
    pub table: TableName,
    /// How rows are combined with existing ones.
    #[serde(default)]
    pub mode: Mode,
    /// Partition fields of the main table: `column`, `year|month|day|hour(column)`, `bucket(n, column)`,
    /// `truncate(n, column)`. Used when the table is created.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub partition: Vec<PartitionField>,
    /// A data file is closed when it has grown to this size.
    #[serde(default = "file_bytes")]
    pub file_bytes: Size,
}

/// How rows are combined with existing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every row is added.
    #[default]
    Append,
}

impl IcebergTarget {
    /// Table and partitioning for the rows of a child; only the main table (`child` is empty) is partitioned.
    pub(crate) fn place(&self, child: &str) -> Result<(TableName, &[PartitionField])> {
        if child.is_empty() {
            return Ok((self.table.clone(), &self.partition));
        }
        Ok((self.table.child(child)?, &[]))
    }
}

fn file_bytes() -> Size {
    Size(256 << 20)
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "iceberg"
    }

    fn summary(&self) -> &'static str {
        "append to a table of the lake, exactly once"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<IcebergTarget>()
    }
}

impl Kind {
    /// Checks a configuration.
    pub fn build(&self, config: &Document) -> Result<IcebergTarget> {
        let target: IcebergTarget = config.parse()?;
        for reserved in ["raw", "quarantine", "audit", "lake", "information_schema"] {
            if target.table.namespace.as_str() == reserved {
                let place = config.get("table").unwrap_or_else(|| config.clone());
                return Err(place.error(
                    "reserved_namespace",
                    format!("the namespace `{reserved}` belongs to Forebay itself: choose another"),
                ));
            }
        }
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_forebay_itself_is_refused_with_its_place() {
        let config = Document::from_yaml("table: raw.events").unwrap();
        let error = Kind.build(&config).unwrap_err();
        assert_eq!(error.code(), "reserved_namespace");
    }

    #[test]
    fn partitions_are_read() {
        let config =
            Document::from_yaml("{table: a.b, partition: [day(at), 'bucket(4, id)']}").unwrap();
        let target = Kind.build(&config).unwrap();
        assert_eq!(target.partition.len(), 2);
        assert_eq!(target.table.to_string(), "a.b");
    }
}
