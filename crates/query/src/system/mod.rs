//! `lake.*`: the lake's metadata as tables. Rows are made when a query reads them.

mod commits;
mod files;
mod lineage;
mod snapshots;
mod tables;

use std::any::Any;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use forebay_core::TableName;
use forebay_lake::Table;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};

use crate::error::external;
use crate::made_rows;
use crate::pinned::Pinned;

/// The namespace of the system tables.
pub(crate) const NAMESPACE: &str = "lake";
/// Every system table.
pub(crate) const TABLES: [&dyn SystemTable; 6] = [
    &tables::Tables,
    &snapshots::Snapshots,
    &files::Files,
    &files::Partitions,
    &commits::Commits,
    &lineage::Lineage,
];
/// Tables whose metadata is read at once.
const TABLES_AT_ONCE: usize = 8;

/// One table of `lake.*`.
#[async_trait]
pub(crate) trait SystemTable: std::fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn schema(&self) -> SchemaRef;
    /// All rows, in the schema.
    async fn rows(&self, pinned: &Pinned) -> forebay_core::Result<RecordBatch>;
}

/// A system table in one state of the lake.
#[derive(Debug)]
pub(crate) struct System {
    table: &'static dyn SystemTable,
    pinned: Pinned,
}

impl System {
    pub(crate) fn new(table: &'static dyn SystemTable, pinned: Pinned) -> Self {
        Self { table, pinned }
    }
}

#[async_trait]
impl TableProvider for System {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.table.rows(&self.pinned).await.map_err(external)?;
        made_rows::scan(rows, projection)
    }
}

/// Every table of the state, ordered by name.
async fn all_tables(pinned: &Pinned) -> forebay_core::Result<Vec<Table>> {
    let tables = each_table(pinned).await?;
    tables.into_iter().map(|(_, table)| table).collect()
}

/// Every table of the state, ordered by name, or why it cannot be read.
async fn each_table(
    pinned: &Pinned,
) -> forebay_core::Result<Vec<(TableName, forebay_core::Result<Table>)>> {
    let names = pinned.list().await?;
    // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
    let loads: Vec<BoxFuture<'_, _>> = names
        .iter()
        .map(|name| {
            let load = pinned.lake.table(&pinned.as_of, name);
            load.map(|table| (name.clone(), table)).boxed()
        })
        .collect();
    let tables: Vec<(TableName, forebay_core::Result<Option<Table>>)> =
        stream::iter(loads).buffered(TABLES_AT_ONCE).collect().await;
    let there = |(name, table): (TableName, forebay_core::Result<Option<Table>>)| {
        Some((name, table.transpose()?))
    };
    Ok(tables.into_iter().filter_map(there).collect())
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn whole(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn instant(name: &str) -> Field {
    Field::new(
        name,
        DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        true,
    )
}

fn batch(
    schema: SchemaRef,
    columns: Vec<arrow::array::ArrayRef>,
) -> forebay_core::Result<RecordBatch> {
    RecordBatch::try_new(schema, columns).map_err(|error| {
        forebay_core::Error::bug(
            "system_table",
            "a system table's rows do not fit its schema",
        )
        .with_source(error)
    })
}

/// A count as SQL has it.
fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
