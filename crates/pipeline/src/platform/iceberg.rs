//! The lake itself as a sink: rows, position, quarantine and raw index in one commit.
//!
//! ```yaml
#![doc = include_str!("iceberg.example.yaml")]
//! ```
//!
//! `mode: upsert` keeps one row for each key; without it rows are appended.
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
    /// With `mode: upsert`: the columns that identify a row. No record may have a null in one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// With `mode: upsert`: the column that says which of two rows of a key is newer. Null is the oldest; of equal values the row
    /// that came last stays. Without it the row that came last stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
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
    /// A row replaces the one with the same `key`.
    Upsert,
}

impl IcebergTarget {
    /// Whether rows replace those of the same key.
    pub(crate) fn is_upsert(&self) -> bool {
        self.mode == Mode::Upsert
    }

    /// Errors: `Config` `bad_upsert`.
    fn check_key(&self, config: &Document) -> Result<()> {
        let wrong = |key: &str, what: &str| {
            let place = config.get(key).unwrap_or_else(|| config.clone());
            Err(place.error("bad_upsert", what))
        };
        let repeats = |name: &String| self.key.iter().filter(|other| *other == name).count() > 1;
        match self.mode {
            Mode::Append if !self.key.is_empty() => wrong(
                "key",
                "`key` is for `mode: upsert`: appended rows replace none",
            ),
            Mode::Append if self.order.is_some() => wrong(
                "order",
                "`order` is for `mode: upsert`: appended rows replace none",
            ),
            Mode::Upsert if self.key.is_empty() => wrong(
                "mode",
                "`mode: upsert` needs `key`, the columns that identify a row",
            ),
            Mode::Upsert if self.key.iter().any(repeats) => {
                wrong("key", "`key` names a column twice")
            }
            _ => Ok(()),
        }
    }

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
        "a table of the lake, exactly once: rows are appended, or replace those of the same key"
    }

    fn example(&self) -> &'static str {
        include_str!("iceberg.example.yaml")
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
        target.check_key(config)?;
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
    fn a_key_belongs_to_an_upsert() {
        let code = |text: &str| {
            let config = Document::from_yaml(text).unwrap();
            Kind.build(&config).map_err(|error| error.code()).err()
        };
        assert_eq!(
            code("{table: a.b, mode: upsert, key: [id], order: at}"),
            None
        );
        for wrong in [
            "{table: a.b, mode: upsert}",
            "{table: a.b, mode: upsert, key: [id, id]}",
            "{table: a.b, key: [id]}",
            "{table: a.b, mode: append, order: at}",
        ] {
            assert_eq!(code(wrong), Some("bad_upsert"), "{wrong}");
        }
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
