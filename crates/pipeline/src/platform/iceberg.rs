//! The lake itself as a sink: rows, position, quarantine and raw index in one commit.
//!
//! ```yaml
#![doc = include_str!("iceberg.example.yaml")]
//! ```
//!
//! `mode: replace` has the rows of the last run only, `mode: upsert` keeps one row for each key; without it rows are appended.
//!
//! `mode: bitemporal` keeps every row, with the time when it is true and the time when the lake believed it:
//!
//! ```yaml
//! load:
//!   iceberg: {table: bonds.rates, mode: bitemporal, key: [bond], valid_from: effective}
//! ```
//!
//! This file only defines the configuration; the run makes the commit.

use forebay_core::unit::Size;
use forebay_core::{Result, TableName};
use forebay_lake::PartitionField;
use forebay_lake::bitemporal::{Bitemporal, PeriodColumns, Until, VALID_FROM, VALID_TO};
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
    /// With `mode: upsert` and `mode: bitemporal`: the columns that identify a row. No record may have a null in one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// With `mode: upsert`: the column that says which of two rows of a key is newer. Null is the oldest; of equal values the row
    /// that came last stays. Without it the row that came last stays. With `mode: bitemporal`: the order in which records of one commit are
    /// applied; it is no part of what a row says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// With `mode: bitemporal`: the column with the start of a row's valid time. The table has it as `valid_from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<String>,
    /// With `mode: bitemporal`: the column with the end of a row's valid time, exclusive. The table has it as `valid_to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<String>,
    /// With `mode: bitemporal`: the end of the valid time of a record that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UntilOption>,
    /// With `mode: bitemporal`: the column that says `upsert` or `delete`; null is `upsert`. The table does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// With `mode: bitemporal`: whether rows whose valid times touch and that say the same become one; yes unless it is `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coalesce: Option<bool>,
    /// Partition fields of the main table: `column`, `year|month|day|hour(column)`, `bucket(n, column)`,
    /// `truncate(n, column)`. Used when the table is created.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub partition: Vec<PartitionField>,
    /// A data file is closed when it has grown to this size.
    #[serde(default = "file_bytes")]
    pub file_bytes: Size,
}

const BITEMPORAL: &str = "`mode: bitemporal`";

/// How rows are combined with existing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every row is added.
    #[default]
    Append,
    /// The rows of each run replace all rows of the table, in one commit at its end.
    Replace,
    /// A row replaces the one with the same `key`.
    Upsert,
    /// A row says what is true of its `key` in a period; what was believed before is kept.
    Bitemporal,
}

/// The end of the valid time of a record that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UntilOption {
    /// The next start that is known for the key.
    Next,
    /// The end of time.
    End,
}

impl IcebergTarget {
    /// Whether rows have a key.
    pub(crate) fn is_keyed(&self) -> bool {
        matches!(self.mode, Mode::Upsert | Mode::Bitemporal)
    }

    /// The columns that its configuration names, each with the key that names it. Those of periods that it does not name are optional.
    pub(crate) fn named_columns(&self) -> Vec<(&'static str, &str)> {
        let key = self.key.iter().map(|column| ("key", column.as_str()));
        let others = [
            ("order", &self.order),
            ("valid_from", &self.valid_from),
            ("valid_to", &self.valid_to),
            ("operation", &self.operation),
        ];
        let others = others
            .into_iter()
            .filter_map(|(key, column)| Some((key, column.as_deref()?)));
        key.chain(others).collect()
    }

    /// Whether a row that comes late leaves newer ones alone: rows are only added, or have an order.
    pub(crate) fn knows_the_newer_row(&self) -> bool {
        match self.mode {
            Mode::Append | Mode::Replace => true,
            Mode::Upsert => self.order.is_some(),
            Mode::Bitemporal => false,
        }
    }

    /// Whether every row is added to those that are there.
    pub(crate) fn only_adds(&self) -> bool {
        self.mode == Mode::Append
    }

    /// Whether a run replaces all rows.
    pub(crate) fn replaces(&self) -> bool {
        self.mode == Mode::Replace
    }

    /// How rows with periods are combined, and which columns say what about time; `None` for other modes.
    pub(crate) fn bitemporal(&self) -> Option<(Bitemporal, PeriodColumns)> {
        if self.mode != Mode::Bitemporal {
            return None;
        }
        let rules = Bitemporal {
            key: self.key.clone(),
            order: self.order.clone(),
            until: match self.until {
                None | Some(UntilOption::Next) => Until::Next,
                Some(UntilOption::End) => Until::End,
            },
            coalesce: self.coalesce.unwrap_or(true),
        };
        let name =
            |column: &Option<String>, own: &str| column.clone().unwrap_or_else(|| own.to_owned());
        let columns = PeriodColumns {
            valid_from: name(&self.valid_from, VALID_FROM),
            valid_to: name(&self.valid_to, VALID_TO),
            operation: self.operation.clone(),
        };
        Some((rules, columns))
    }

    /// Errors: `Config` `bad_mode`.
    fn check_mode(&self, config: &Document) -> Result<()> {
        let wrong = |key: &str, what: String| {
            let place = config.get(key).unwrap_or_else(|| config.clone());
            Err(place.error("bad_mode", what))
        };
        if let Some((key, mode)) = self.key_of_other_mode() {
            return wrong(key, format!("`{key}` is for {mode}"));
        }
        if !self.is_keyed() {
            return Ok(());
        }
        let repeats = |name: &String| self.key.iter().filter(|other| *other == name).count() > 1;
        if self.key.is_empty() {
            return wrong(
                "mode",
                "this mode needs `key`, the columns that identify a row".to_owned(),
            );
        }
        if self.key.iter().any(repeats) {
            return wrong("key", "`key` names a column twice".to_owned());
        }
        match self.column_said_twice() {
            Some(name) => wrong(
                "key",
                format!(
                    "`{name}` has two meanings: key, valid time and operation are different columns"
                ),
            ),
            None => Ok(()),
        }
    }

    /// A key of the configuration that has no meaning in this mode, and the mode in which it has one.
    fn key_of_other_mode(&self) -> Option<(&'static str, &'static str)> {
        let keyed = [
            ("key", !self.key.is_empty()),
            ("order", self.order.is_some()),
        ];
        let periods = [
            ("valid_from", self.valid_from.is_some()),
            ("valid_to", self.valid_to.is_some()),
            ("until", self.until.is_some()),
            ("operation", self.operation.is_some()),
            ("coalesce", self.coalesce.is_some()),
        ];
        let first = |keys: &[(&'static str, bool)]| {
            keys.iter().find(|(_, is_set)| *is_set).map(|(key, _)| *key)
        };
        match self.mode {
            Mode::Append | Mode::Replace => first(&keyed)
                .map(|key| (key, "`mode: upsert` and `mode: bitemporal`"))
                .or_else(|| first(&periods).map(|key| (key, BITEMPORAL))),
            Mode::Upsert => first(&periods).map(|key| (key, BITEMPORAL)),
            Mode::Bitemporal => None,
        }
    }

    fn column_said_twice(&self) -> Option<String> {
        let (rules, columns) = self.bitemporal()?;
        let PeriodColumns {
            valid_from,
            valid_to,
            operation,
        } = columns;
        let mut names: Vec<String> = [valid_from, valid_to]
            .into_iter()
            .chain(operation)
            .chain(rules.order)
            .collect();
        names.extend(rules.key);
        let repeats = |name: &&String| names.iter().filter(|other| other == name).count() > 1;
        names.iter().find(repeats).cloned()
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
        "a table of the lake, exactly once: rows are appended, replace all others or those of the same key, or say what is true of it in a period"
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
        target.check_mode(config)?;
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
        assert_eq!(
            code(
                "{table: a.b, mode: bitemporal, key: [id], valid_from: at, until: end, operation: op}"
            ),
            None
        );
        for wrong in [
            "{table: a.b, mode: upsert}",
            "{table: a.b, mode: upsert, key: [id, id]}",
            "{table: a.b, key: [id]}",
            "{table: a.b, mode: append, order: at}",
            "{table: a.b, mode: replace, key: [id]}",
            "{table: a.b, valid_from: at}",
            "{table: a.b, mode: upsert, key: [id], coalesce: false}",
            "{table: a.b, mode: bitemporal}",
            "{table: a.b, mode: bitemporal, key: [valid_from]}",
            "{table: a.b, mode: bitemporal, key: [id], valid_to: op, operation: op}",
        ] {
            assert_eq!(code(wrong), Some("bad_mode"), "{wrong}");
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
