//! `lake.lineage`: the tables that each table is made of, and the pipeline that makes it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::Result;

use super::{SystemTable, batch, each_table, text};
use crate::pinned::Pinned;

#[derive(Debug)]
pub(super) struct Lineage;

#[async_trait]
impl SystemTable for Lineage {
    fn name(&self) -> &'static str {
        "lineage"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("table"),
            text("pipeline"),
            text("reads"),
        ]))
    }

    async fn rows(&self, pinned: &Pinned) -> Result<RecordBatch> {
        let tables = each_table(pinned).await?;
        let mut rows = Vec::new();
        for (name, table) in &tables {
            let edges = table.as_ref().map(forebay_lake::Table::lineage);
            // `lake.tables` has the reason for one that cannot be read.
            let edges = edges.unwrap_or_default().into_iter();
            rows.extend(edges.map(|edge| [name.to_string(), edge.pipeline, edge.reads]));
        }
        let column = |at: usize| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(
                rows.iter().map(|row| &row[at]),
            ))
        };
        batch(self.schema(), vec![column(0), column(1), column(2)])
    }
}
