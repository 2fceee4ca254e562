//! Rows of one file of an internal table of pipelines (raw index, quarantine): without an engine, in file order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use forebay_core::{Error, Result, TableName};
use forebay_lake::CheckedFile;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;

/// Rows of a batch where they are small.
pub(crate) const BATCH_ROWS: usize = 1_024;

/// A data file of a table.
pub(crate) struct File<'a> {
    pub(crate) table: &'a TableName,
    pub(crate) path: &'a Path,
    pub(crate) bytes: u64,
}

impl File<'_> {
    /// The rows from `skip` on, at most `rows_max` at a time.
    ///
    /// Errors: `Data` `unreadable_file`.
    pub(crate) async fn rows(
        &self,
        objects: &Arc<dyn ObjectStore>,
        skip: usize,
        rows_max: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let table = self.table.clone();
        let path = self.path.clone();
        let failed = move |error: ParquetError| {
            Error::data("unreadable_file", "failed to read a file of the table")
                .with_source(error)
                .with_context("object", &path)
                .with_context("table", &table)
        };
        let reader = CheckedFile::new(Arc::clone(objects), self.path.clone(), self.bytes);
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await;
        let builder = builder.map_err(&failed)?.with_batch_size(rows_max);
        let stream = builder.with_offset(skip).build().map_err(&failed)?;
        Ok(stream.map_err(failed).boxed())
    }
}
