//! `lake.commits`: the log of the branch up to the state that is read, newest first.

use std::sync::Arc;

use arrow::array::{
    ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::Result;
use forebay_store::{AsOf, CommitRecord};

use super::{SystemTable, batch, instant, text};
use crate::pinned::Pinned;

/// Commits that the table shows at most.
const COMMITS_MAX: u32 = 100_000;

#[derive(Debug)]
pub(super) struct Commits;

#[async_trait]
impl SystemTable for Commits {
    fn name(&self) -> &'static str {
        "commits"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("id"),
            text("parent"),
            instant("at"),
            text("branch"),
            text("author"),
            text("message"),
            text("run"),
            Field::new(
                "tables",
                DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
                true,
            ),
        ]))
    }

    async fn rows(&self, pinned: &Pinned) -> Result<RecordBatch> {
        let log = pinned.lake.store().log(&pinned.branch, COMMITS_MAX).await?;
        let rows = until(log, &pinned.as_of);
        let required = |value: fn(&CommitRecord) -> String| {
            Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
        };
        let optional = |value: fn(&CommitRecord) -> Option<String>| {
            Arc::new(StringArray::from_iter(rows.iter().map(value)))
        };
        let at = TimestampMicrosecondArray::from_iter_values(
            rows.iter().map(|commit| commit.at.micros()),
        );
        let mut tables = ListBuilder::new(StringBuilder::new());
        for commit in &rows {
            commit
                .changes
                .iter()
                .for_each(|(table, ..)| tables.values().append_value(table.to_string()));
            tables.append(true);
        }
        batch(
            self.schema(),
            vec![
                required(|commit| commit.id.to_string()),
                optional(|commit| commit.parent.map(|parent| parent.to_string())),
                Arc::new(at.with_timezone("+00:00")),
                required(|commit| commit.branch.to_string()),
                required(|commit| commit.author.clone()),
                required(|commit| commit.message.clone()),
                optional(|commit| commit.run.map(|run| run.to_string())),
                Arc::new(tables.finish()),
            ],
        )
    }
}

/// The commits that the pinned state contains.
fn until(log: Vec<CommitRecord>, as_of: &AsOf) -> Vec<CommitRecord> {
    match as_of {
        AsOf::Head(_) => log,
        AsOf::Time(_, at) => log.into_iter().filter(|commit| commit.at <= *at).collect(),
        AsOf::Commit(id) => match log.iter().position(|commit| commit.id == *id) {
            Some(from) => log.into_iter().skip(from).collect(),
            // A commit of another branch: its own log is another table.
            None => Vec::new(),
        },
    }
}
