//! `lake.tables`: every table with its place and size.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::{Result, TableName};
use forebay_lake::Table;

use super::{SystemTable, batch, each_table, text, whole};
use crate::pinned::Pinned;

#[derive(Debug)]
pub(super) struct Tables;

#[async_trait]
impl SystemTable for Tables {
    fn name(&self) -> &'static str {
        "tables"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("table"),
            text("namespace"),
            text("name"),
            text("uuid"),
            whole("columns"),
            text("partition"),
            whole("snapshot_id"),
            whole("snapshots"),
            whole("rows"),
            whole("files"),
            whole("bytes"),
            text("metadata_location"),
            // Why the table cannot be read: then all else but its name is null.
            text("problem"),
        ]))
    }

    async fn rows(&self, pinned: &Pinned) -> Result<RecordBatch> {
        let tables = each_table(pinned).await?;
        let name = |value: fn(&TableName) -> String| -> ArrayRef {
            let names = tables.iter().map(|(name, _)| value(name));
            Arc::new(StringArray::from_iter_values(names))
        };
        let text = |value: fn(&Table) -> String| -> ArrayRef {
            let values = tables
                .iter()
                .map(|(_, table)| table.as_ref().ok().map(value));
            Arc::new(StringArray::from_iter(values))
        };
        let whole = |value: fn(&Table) -> Option<i64>| -> ArrayRef {
            let values = tables
                .iter()
                .map(|(_, table)| table.as_ref().ok().and_then(value));
            Arc::new(Int64Array::from_iter(values))
        };
        let problems = tables.iter().map(|(_, table)| table.as_ref().err());
        let problems: ArrayRef = Arc::new(StringArray::from_iter(
            problems.map(|problem| problem.map(ToString::to_string)),
        ));
        batch(
            self.schema(),
            vec![
                name(ToString::to_string),
                name(|name| name.namespace.to_string()),
                name(|name| name.name.to_string()),
                text(|table| table.uuid().to_string()),
                whole(|table| i64::try_from(table.schema().fields().len()).ok()),
                text(|table| {
                    table
                        .partition()
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                }),
                whole(Table::snapshot_id),
                whole(|table| i64::try_from(table.snapshots().len()).ok()),
                whole(row_count),
                whole(|table| total(table, "total-data-files")),
                whole(|table| total(table, "total-files-size")),
                text(|table| table.metadata_location().to_owned()),
                problems,
            ],
        )
    }
}

/// Rows that are not deleted; `None` when another program deletes rows by their values.
fn row_count(table: &Table) -> Option<i64> {
    let deleted = |key| total(table, key).unwrap_or(0);
    (deleted("total-equality-deletes") == 0).then_some(())?;
    Some(total(table, "total-records")?.saturating_sub(deleted("total-position-deletes")))
}

/// A running total of the current snapshot; zero for a table without one.
fn total(table: &Table, key: &str) -> Option<i64> {
    let current = table.snapshot_id();
    match table
        .snapshots()
        .iter()
        .find(|snapshot| Some(snapshot.id) == current)
    {
        Some(snapshot) => snapshot.summary.get(key)?.parse().ok(),
        None => Some(0),
    }
}
