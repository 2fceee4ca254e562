//! A table with the place of each row: the number of its data file and the position in it, for statements that delete rows.
//!
//! Each file is read in order and as a whole, so that positions can be counted: filters choose files, never row groups.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use forebay_lake::Table;
use forebay_lake::scan::{Prune, ScanFile};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use roaring::RoaringTreemap;

use super::adapter::ByFieldId;
use super::checked::CheckedReaders;
use super::columns::Columns;
use super::files;
use super::prune::Predicate;
use crate::address::LAKE_URL;
use crate::error::external;

/// The number of a row's file in [`PlacedTable::files`].
pub(crate) const FILE_COLUMN: &str = "_forebay_file";
/// The position of a row in its file.
pub(crate) const POSITION_COLUMN: &str = "_forebay_position";

/// A table in one state, with two columns more; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct PlacedTable {
    table: Table,
    columns: Arc<Columns>,
    schema: SchemaRef,
    files: Arc<Vec<ScanFile>>,
    numbers: Arc<HashMap<Path, usize>>,
}

impl PlacedTable {
    pub(crate) async fn of(table: Table) -> forebay_core::Result<Self> {
        let files = table.scan(None).await?.files;
        let columns = Arc::new(Columns::of(&table.schema()));
        let numbers = files.iter().enumerate();
        let numbers = numbers.map(|(number, file)| (file.path.clone(), number));
        Ok(Self {
            numbers: Arc::new(numbers.collect()),
            files: Arc::new(files),
            schema: with_places(columns.schema()),
            columns,
            table,
        })
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The data files of the table, by their numbers.
    pub(crate) fn files(&self) -> &[ScanFile] {
        &self.files
    }

    /// The columns of the file that a query reads, without the places.
    fn read_columns(&self, projection: &[usize]) -> Vec<usize> {
        let width = self.columns.schema().fields().len();
        let read = projection.iter().copied();
        read.filter(|column| *column < width).collect()
    }

    fn reader(
        &self,
        session: &dyn Session,
        readers: &Arc<CheckedReaders>,
        file: PartitionedFile,
        columns: Vec<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let factory = Arc::<CheckedReaders>::clone(readers);
        let source = ParquetSource::new(Arc::clone(self.columns.schema()))
            .with_table_parquet_options(session.table_options().parquet.clone())
            .with_parquet_file_reader_factory(factory);
        let url = ObjectStoreUrl::parse(LAKE_URL)?;
        let scan = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(vec![FileGroup::new(vec![file])])
            .with_projection_indices(Some(columns))?
            .with_expr_adapter(Some(Arc::new(ByFieldId)))
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

/// Whether a filter is about places, which no file has.
fn reads_places(filter: &Expr) -> bool {
    let mut columns = filter.column_refs().into_iter();
    columns.any(|column| matches!(column.name.as_str(), FILE_COLUMN | POSITION_COLUMN))
}

fn with_places(columns: &SchemaRef) -> SchemaRef {
    let places = [
        Field::new(FILE_COLUMN, DataType::Int32, false),
        Field::new(POSITION_COLUMN, DataType::Int64, false),
    ];
    let fields = columns.fields().iter().cloned();
    let fields = fields.chain(places.map(Arc::new));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for PlacedTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = filters.iter().map(|filter| match reads_places(filter) {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Inexact,
        });
        Ok(pushed.collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all = (0..self.schema.fields().len()).collect::<Vec<_>>();
        let projection = projection.unwrap_or(&all);
        let predicate = Predicate::new(session, &self.columns, filters)?;
        let prune = predicate.as_ref().map(|predicate| predicate as &dyn Prune);
        let kept = self.table.scan(prune).await.map_err(external)?.files;
        let runtime = session.runtime_env();
        let readers = Arc::new(CheckedReaders::new(
            runtime.object_store(&ObjectStoreUrl::parse(LAKE_URL)?)?,
            runtime.cache_manager.get_file_metadata_cache(),
        ));
        let read = self.read_columns(projection);
        let opened = files::partitioned(&self.columns, kept.clone(), &readers).await?;
        let mut placed = Vec::with_capacity(kept.len());
        for (file, opened) in kept.into_iter().zip(opened) {
            let Some(number) = self.numbers.get(&file.path) else {
                continue;
            };
            placed.push(PlacedFile {
                number: i32::try_from(*number).unwrap_or(i32::MAX),
                deleted: file.deleted,
                reader: self.reader(session, &readers, opened, read.clone())?,
            });
        }
        let threads = session.config().target_partitions();
        let schema = Arc::new(self.schema.project(projection)?);
        Ok(Arc::new(PlacedScan::new(schema, placed, threads)))
    }
}

/// A data file and its number.
#[derive(Debug, Clone)]
struct PlacedFile {
    number: i32,
    deleted: Option<Arc<RoaringTreemap>>,
    reader: Arc<dyn ExecutionPlan>,
}

/// Reads files from begin to end and adds the places of their rows.
#[derive(Debug)]
struct PlacedScan {
    schema: SchemaRef,
    /// The files of each partition.
    partitions: Vec<Vec<PlacedFile>>,
    properties: Arc<PlanProperties>,
}

impl PlacedScan {
    fn new(schema: SchemaRef, files: Vec<PlacedFile>, threads: usize) -> Self {
        let count = threads.min(files.len()).max(1);
        let mut partitions = vec![Vec::new(); count];
        for (at, file) in files.into_iter().enumerate() {
            partitions[at % count].push(file);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(count),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            schema,
            partitions,
            properties: Arc::new(properties),
        }
    }
}

impl DisplayAs for PlacedScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        let files: usize = self.partitions.iter().map(Vec::len).sum();
        write!(f, "PlacedScan: files={files}")
    }
}

impl ExecutionPlan for PlacedScan {
    fn name(&self) -> &str {
        "PlacedScan"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = Arc::clone(&self.schema);
        let rows = stream::iter(self.partitions[partition].clone())
            .map(move |file| rows_of(file, Arc::clone(&schema), &context))
            .try_flatten();
        let schema = Arc::clone(&self.schema);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn rows_of(
    file: PlacedFile,
    schema: SchemaRef,
    context: &Arc<TaskContext>,
) -> Result<SendableRecordBatchStream> {
    let rows = file.reader.execute(0, Arc::clone(context))?;
    let mut places = Places {
        number: file.number,
        deleted: file.deleted,
        next: 0,
    };
    let adapted = Arc::clone(&schema);
    let rows = rows.map(move |batch| places.add_to(&batch?, &adapted));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// Counts the rows of a file.
struct Places {
    number: i32,
    deleted: Option<Arc<RoaringTreemap>>,
    next: u64,
}

impl Places {
    fn add_to(&mut self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let positions: Vec<i64> = (0..rows).map(|_| self.take()).collect();
        let positions: ArrayRef = Arc::new(Int64Array::from(positions));
        let mut read = batch.columns().iter();
        let columns = schema.fields().iter().filter_map(|field| {
            Some(match field.name().as_str() {
                FILE_COLUMN => Arc::new(Int32Array::from(vec![self.number; rows])) as ArrayRef,
                POSITION_COLUMN => Arc::clone(&positions),
                _ => Arc::clone(read.next()?),
            })
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = columns.collect();
        let placed = RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
        Ok(placed)
    }

    /// The position of the next row that is not deleted.
    fn take(&mut self) -> i64 {
        let deleted = self.deleted.as_deref();
        while deleted.is_some_and(|deleted| deleted.contains(self.next)) {
            self.next += 1;
        }
        self.next += 1;
        (self.next - 1).cast_signed()
    }
}
