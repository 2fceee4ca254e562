//! A lake table as the engine reads it: planned by `lake`, read by the engine's own Parquet reader.
//!
//! Columns are found by Iceberg field id at every depth, never by name or place, so that files written before a rename or an
//! added column read right. Deleted rows are skipped before they are decoded. Statistics are given as exact only where they
//! are (whole numbers, dates, instants and booleans of files without deletes): the engine answers `count`, `min` and
//! `max` from them.

mod adapter;
mod checked;
mod columns;
mod deleted;
mod files;
mod nested;
pub(crate) mod placed;
mod prune;
mod pushdown;
mod uuid;
mod value;

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use forebay_lake::Table;
use forebay_lake::scan::{Prune, ScanFile};

use crate::address::LAKE_URL;
use crate::error::external;
use adapter::ByFieldId;
use checked::CheckedReaders;
use columns::Columns;
use prune::Predicate;

/// One table in one state of the lake.
#[derive(Debug)]
pub(crate) struct LakeTable {
    table: Table,
    columns: Arc<Columns>,
    /// Only some of its rows, which may be those of earlier states; `None` for all.
    only: Option<Vec<StateRows>>,
}

/// The rows of a table that were added after a snapshot, in one of its states.
#[derive(Debug)]
pub(crate) struct StateRows {
    pub(crate) table: Table,
    /// Files with a greater sequence number are new.
    pub(crate) after: i64,
}

impl LakeTable {
    pub(crate) fn new(table: Table) -> Self {
        let columns = Arc::new(Columns::of(&table.schema()));
        Self {
            table,
            columns,
            only: None,
        }
    }

    /// Only these rows of it.
    pub(crate) fn with_rows(self, rows: Vec<StateRows>) -> Self {
        Self {
            only: Some(rows),
            ..self
        }
    }

    async fn files(&self, prune: Option<&dyn Prune>) -> Result<Vec<ScanFile>> {
        let Some(states) = &self.only else {
            return Ok(self.table.scan(prune).await.map_err(external)?.files);
        };
        let mut files = Vec::new();
        for state in states {
            let plan = state.table.scan(prune).await.map_err(external)?;
            let is_new = |file: &ScanFile| file.sequence > state.after;
            files.extend(plan.files.into_iter().filter(is_new));
        }
        Ok(files)
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        self.columns.schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Filters choose files and row groups; the rows themselves are filtered again above, or in the reader.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let predicate = Predicate::new(session, &self.columns, filters)?;
        let prune = predicate.as_ref().map(|predicate| predicate as &dyn Prune);
        let mut files = self.files(prune).await?;
        files.sort_by_key(|file| file.sequence);
        if files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema().project(columns)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let url = ObjectStoreUrl::parse(LAKE_URL)?;
        let runtime = session.runtime_env();
        let reader = Arc::new(CheckedReaders::new(
            runtime.object_store(&url)?,
            runtime.cache_manager.get_file_metadata_cache(),
        ));
        let statistics = files::merged_statistics(&self.columns, &files)?;
        let early = pushdown::pays(&self.columns, filters, &statistics);
        let files = files::partitioned(&self.columns, files, &reader).await?;
        let groups = files::groups(files, session.config().target_partitions());
        let mut source = ParquetSource::new(self.schema())
            .with_table_parquet_options(session.table_options().parquet.clone())
            .with_parquet_file_reader_factory(reader)
            .with_pushdown_filters(early);
        if let Some(implied) = prune::implied(session, &self.columns, filters)? {
            source = source.with_predicate(implied);
        }
        let scan = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_statistics(statistics)
            .with_expr_adapter(Some(Arc::new(ByFieldId)))
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}
