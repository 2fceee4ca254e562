//! Reads a few columns of one data file, found by their field ids.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use forebay_core::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use tokio::runtime::Handle;

use crate::checked_file::CheckedFile;
use crate::error::unreadable;
use crate::partition::source::field_id;
use crate::scan::ScanFile;
use crate::schema::with_field_id;
use crate::storage::LakeStorage;
use crate::{DataFile, Table};

/// The columns to read, each by its name and its id.
pub(crate) struct WantedColumns {
    /// A file without one of these has no row that is wanted.
    pub(crate) needed: Vec<(String, i32)>,
    pub(crate) others: Vec<(String, i32)>,
}

/// A data file to read columns of.
#[derive(Debug, Clone)]
pub(crate) struct FileToSearch {
    storage: Arc<LakeStorage>,
    /// Whether the file may lack columns that its partition names.
    has_identity: bool,
    path: Path,
    bytes: u64,
}

impl FileToSearch {
    pub(crate) fn new(table: &Table, file: &ScanFile) -> Self {
        Self {
            storage: Arc::clone(table.storage()),
            has_identity: !file.identity.is_empty(),
            path: file.path.clone(),
            bytes: file.bytes,
        }
    }

    /// A file of a draft.
    pub(crate) fn of_draft(storage: &Arc<LakeStorage>, file: &DataFile) -> Self {
        Self {
            storage: Arc::clone(storage),
            has_identity: false,
            path: file.path.clone(),
            bytes: file.bytes,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives batches of all rows, deleted ones too, with the place of the first row of each. Blocks.
    pub(crate) fn read(
        &self,
        runtime: &Handle,
        wanted: &WantedColumns,
        mut take: impl FnMut(&RecordBatch, u64) -> Result<()>,
    ) -> Result<()> {
        let objects = Arc::clone(self.storage.objects());
        let reader = CheckedFile::new(objects, self.path.clone(), self.bytes);
        let builder = runtime.block_on(ParquetRecordBatchStreamBuilder::new(reader));
        let builder = builder.map_err(unreadable)?;
        let Some(columns) = self.find(builder.schema(), wanted)? else {
            return Ok(());
        };
        let roots: Vec<usize> = columns.iter().map(|(root, _)| *root).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let mut batches = builder.with_projection(mask).build().map_err(unreadable)?;
        let mut position = 0;
        while let Some(batch) = runtime.block_on(batches.next()) {
            let batch = with_ids(&batch.map_err(unreadable)?, &columns)?;
            take(&batch, position)?;
            position += batch.num_rows() as u64;
        }
        Ok(())
    }

    /// The columns' places in the file, with their ids, in the order of the file; `None` when it lacks a needed one.
    fn find(&self, own: &Schema, wanted: &WantedColumns) -> Result<Option<Vec<(usize, i32)>>> {
        let has_ids = own.fields().iter().any(|field| field_id(field).is_some());
        let find = |(name, id): &(String, i32)| {
            own.fields().iter().position(|field| match has_ids {
                true => field_id(field) == Some(*id),
                false => field.name() == name,
            })
        };
        if wanted.needed.iter().any(|column| find(column).is_none()) {
            return match self.has_identity {
                false => Ok(None),
                true => Err(Error::unsupported(
                    "upsert_unsupported",
                    "the file lacks a column of the key, which its partition may name",
                )),
            };
        }
        let all = wanted.needed.iter().chain(&wanted.others);
        let mut columns: Vec<(usize, i32)> = all
            .filter_map(|column| Some((find(column)?, column.1)))
            .collect();
        columns.sort_unstable();
        columns.dedup();
        Ok(Some(columns))
    }
}

/// Runs searches of files on blocking threads, as many at once as the machine has cores; what they find is in their order.
pub(crate) async fn search_files<F, T>(searches: Vec<F>) -> Result<Vec<T>>
where
    F: FnOnce(&Handle) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    let searches = searches.into_iter().map(|search| async move {
        let runtime = Handle::current();
        let searched = tokio::task::spawn_blocking(move || search(&runtime)).await;
        searched.unwrap_or_else(|error| {
            Err(Error::bug("lookup_panicked", "the look-up of rows panicked").with_source(error))
        })
    });
    let at_once = available_parallelism().map_or(1, NonZero::get);
    stream::iter(searches).buffered(at_once).try_collect().await
}

/// The batch with the ids of the table's columns.
fn with_ids(batch: &RecordBatch, columns: &[(usize, i32)]) -> Result<RecordBatch> {
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(columns).map(|(field, (_, id))| {
        let field = field.as_ref().clone();
        with_field_id(field, *id)
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let named = RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options);
    named.map_err(|e| Error::bug("key_failed", "failed to read the key of rows").with_source(e))
}
