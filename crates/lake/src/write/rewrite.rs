//! Data files written again, as one, for the table's newest schema: the same rows without those that are deleted, in the same order or sorted.
//!
//! Columns are found by their field ids, as readers do. Blocks on the object store; holds one batch and one row group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, RecordBatch, RecordBatchOptions,
    StructArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema as ArrowSchema};
use arrow::error::ArrowError;
use forebay_core::{Context, Error, Result};
use futures::StreamExt;
use iceberg::spec::{PartitionSpecRef, SchemaRef, Struct, Transform};
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::ParquetRecordBatchStream;
use roaring::RoaringTreemap;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::file::{self, OpenFile};
use super::sort::SortedRun;
use super::{DataFile, Target, WriterOptions, adapt};
use crate::checked_file::CheckedFile;
use crate::error::unreadable;
use crate::partition::source::field_id;
use crate::schema::{self, WidenedFields, source_name};
use crate::storage::LakeStorage;

/// Cells of a batch that is read.
const BATCH_CELLS_MAX: usize = 1 << 18;
const BATCH_ROWS_MAX: usize = 8_192;

/// The purpose of a rewrite.
#[derive(Debug)]
pub(crate) struct RewriteTarget {
    /// Of the table.
    pub(crate) uuid: Uuid,
    pub(crate) schema: SchemaRef,
    pub(crate) folder: Path,
    pub(crate) storage: Arc<LakeStorage>,
    pub(crate) widened: WidenedFields,
}

/// A file that is to be written again.
#[derive(Debug, Clone)]
pub(crate) struct OldFile {
    pub(crate) path: Path,
    pub(crate) bytes: u64,
    pub(crate) spec: PartitionSpecRef,
    pub(crate) partition: Struct,
    pub(crate) deleted: Option<Arc<RoaringTreemap>>,
}

/// How files are written again.
#[derive(Debug, Clone, Default)]
pub(crate) struct RewriteOrder {
    /// Sorts by these columns of the table; none: the order of the files, and of the rows in them.
    pub(crate) sort: Vec<String>,
    /// Ends the work when it becomes true.
    pub(crate) stop: Arc<AtomicBool>,
}

/// Writes the rows of a file again, in its partition; `None` when all of them are deleted. Call it from a blocking thread.
///
/// Errors: `Data` `inexact_value` when a value has no exact place in its new column.
pub(crate) fn rewrite_file(target: &RewriteTarget, old: &OldFile) -> Result<Option<DataFile>> {
    rewrite_files(target, std::slice::from_ref(old), &RewriteOrder::default())
}

/// The same for several files of one partition, which become one file.
pub(crate) fn rewrite_files(
    target: &RewriteTarget,
    files: &[OldFile],
    order: &RewriteOrder,
) -> Result<Option<DataFile>> {
    let Some(first) = files.first() else {
        return Ok(None);
    };
    let runtime = Handle::try_current().map_err(|e| {
        Error::bug("no_runtime", "a file is written outside of the runtime").with_source(e)
    })?;
    let arrow = schema::to_arrow(&target.schema)?;
    let open = Target {
        width: arrow.flattened_fields().len(),
        arrow,
        schema: Arc::clone(&target.schema),
        spec: Arc::clone(&first.spec),
        uuid: target.uuid,
        folder: target.folder.clone(),
        storage: Arc::clone(&target.storage),
    };
    let mut rewriting = Rewriting {
        target: &open,
        widened: &target.widened,
        partition: &first.partition,
        run: SortedRun::new(&order.sort),
        file: None,
    };
    for old in files {
        let added = rewriting.add(old, &runtime, &order.stop);
        added.context("file", &old.path)?;
    }
    rewriting.close()
}

struct Rewriting<'a> {
    target: &'a Target,
    widened: &'a WidenedFields,
    partition: &'a Struct,
    run: SortedRun<'a>,
    file: Option<OpenFile>,
}

impl Rewriting<'_> {
    fn add(&mut self, old: &OldFile, runtime: &Handle, stop: &AtomicBool) -> Result<()> {
        let mut rows = runtime.block_on(self.open(old))?;
        let mut at = 0;
        while let Some(batch) = runtime.block_on(rows.next()) {
            if stop.load(Ordering::Relaxed) {
                let what = "writing files again was stopped";
                return Err(Error::unavailable("stopped", what));
            }
            let left = undeleted(old, batch.map_err(unreadable)?, &mut at)?;
            if left.num_rows() == 0 {
                continue;
            }
            let named = by_id(&left, &self.target.arrow, self.widened)?;
            let fitted = adapt::batch(&named, &self.target.arrow)?;
            match self.run.is_sorting() {
                true => self.collect(fitted)?,
                false => self.write(&fitted)?,
            }
        }
        Ok(())
    }

    fn collect(&mut self, rows: RecordBatch) -> Result<()> {
        if let Some(sorted) = self.run.add(rows)? {
            self.write(&sorted)?;
        }
        Ok(())
    }

    fn close(mut self) -> Result<Option<DataFile>> {
        if let Some(rest) = self.run.finish()? {
            self.write(&rest)?;
        }
        let Some(file) = self.file else {
            return Ok(None);
        };
        file.close(self.target).map(Some)
    }

    async fn open(&self, old: &OldFile) -> Result<ParquetRecordBatchStream<CheckedFile>> {
        let objects = Arc::clone(self.target.storage.objects());
        let reader = CheckedFile::new(objects, old.path.clone(), old.bytes);
        // Types of Parquet only: lists of other engines may be large ones in Arrow's own words, and their elements have field ids too.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await;
        let builder = builder.map_err(unreadable)?;
        check_identity(&old.spec, builder.schema())?;
        let rows = (BATCH_CELLS_MAX / self.target.width.max(1)).clamp(1, BATCH_ROWS_MAX);
        builder.with_batch_size(rows).build().map_err(unreadable)
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let step = file::chunk_rows(rows);
        for start in (0..rows.num_rows()).step_by(step) {
            let chunk = rows.slice(start, step.min(rows.num_rows() - start));
            let file = match &mut self.file {
                Some(file) => file,
                none => {
                    let options = WriterOptions::default();
                    let partition = self.partition.clone();
                    none.insert(OpenFile::open(self.target, &options, partition, &chunk)?)
                }
            };
            file.write(&chunk, 0)?;
        }
        Ok(())
    }
}

/// The rows of a batch that are not deleted; `at` is the place of its first row, and after it of the next.
fn undeleted(old: &OldFile, batch: RecordBatch, at: &mut u64) -> Result<RecordBatch> {
    let from = *at;
    *at += batch.num_rows() as u64;
    let Some(deleted) = &old.deleted else {
        return Ok(batch);
    };
    if deleted.range_cardinality(from..*at) == 0 {
        return Ok(batch);
    }
    let kept: BooleanArray = (from..*at)
        .map(|row| Some(!deleted.contains(row)))
        .collect();
    filter_record_batch(&batch, &kept).map_err(broken)
}

/// A file of a table migrated from Hive may lack the columns that its folders name.
///
/// Errors: `Unsupported` `rewrite_unsupported`.
pub(super) fn check_identity(spec: &PartitionSpecRef, own: &ArrowSchema) -> Result<()> {
    let has = |id: i32| {
        own.flattened_fields()
            .iter()
            .any(|field| field_id(field) == Some(id))
    };
    let identity = spec.fields().iter();
    let mut identity = identity.filter(|field| field.transform == Transform::Identity);
    match identity.find(|field| !has(field.source_id)) {
        None => Ok(()),
        Some(field) => {
            let what = format!(
                "the file lacks the column of its partition `{}`",
                field.name
            );
            Err(Error::unsupported("rewrite_unsupported", what))
        }
    }
}

/// The columns of a file under the names that the table's columns have in the data; those that the table lacks are left out.
pub(super) fn by_id(
    rows: &RecordBatch,
    table: &ArrowSchema,
    widened: &WidenedFields,
) -> Result<RecordBatch> {
    let own = rows.schema();
    let naming = Naming {
        widened,
        has_ids: own.fields().iter().any(|field| field_id(field).is_some()),
    };
    let (fields, arrays) = naming.members(own.fields(), rows.columns(), table.fields())?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(ArrowSchema::new(fields));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(broken)
}

struct Naming<'a> {
    widened: &'a WidenedFields,
    /// A file without any ids is read by names.
    has_ids: bool,
}

/// The places of fields. A table may have thousands of columns.
struct Places<'f> {
    by_id: HashMap<i32, usize>,
    by_name: HashMap<&'f str, usize>,
}

impl<'f> Places<'f> {
    fn of(fields: &'f Fields) -> Self {
        let ids = fields.iter().enumerate();
        let ids = ids.filter_map(|(at, field)| Some((field_id(field)?, at)));
        let names = fields.iter().enumerate();
        Self {
            by_id: ids.collect(),
            by_name: names
                .map(|(at, field)| (field.name().as_str(), at))
                .collect(),
        }
    }
}

impl Naming<'_> {
    fn members(
        &self,
        own: &Fields,
        arrays: &[ArrayRef],
        wanted: &Fields,
    ) -> Result<(Vec<FieldRef>, Vec<ArrayRef>)> {
        let places = Places::of(own);
        let found = wanted.iter().filter_map(|field| {
            let at = self.find(&places, field)?;
            Some((field, &arrays[at]))
        });
        let named = found.map(|(field, array)| {
            let array = self.column(array, field)?;
            let name = source_name(field);
            let made = Field::new(name, array.data_type().clone(), true);
            Ok((Arc::new(made), array))
        });
        let named: Vec<(FieldRef, ArrayRef)> = named.collect::<Result<_>>()?;
        Ok(named.into_iter().unzip())
    }

    fn find(&self, places: &Places<'_>, wanted: &Field) -> Option<usize> {
        if !self.has_ids {
            return places.by_name.get(wanted.name().as_str()).copied();
        }
        let wanted = field_id(wanted)?;
        let found = places.by_id.get(&wanted);
        let old = || places.by_id.get(self.widened.get(&wanted)?);
        found.or_else(old).copied()
    }

    fn column(&self, array: &ArrayRef, wanted: &Field) -> Result<ArrayRef> {
        Ok(match (array.data_type(), wanted.data_type()) {
            (DataType::Struct(own), DataType::Struct(members)) => {
                let object = array.as_struct();
                Arc::new(self.object(object, own, members)?)
            }
            (DataType::List(_), DataType::List(element)) => {
                let list = array.as_list::<i32>();
                let values = self.column(list.values(), element)?;
                let field = Arc::new(Field::new("element", values.data_type().clone(), true));
                let offsets = list.offsets().clone();
                let nulls = list.nulls().cloned();
                Arc::new(ListArray::try_new(field, offsets, values, nulls).map_err(broken)?)
            }
            (DataType::Map(entries, sorted), DataType::Map(wanted, _)) => {
                self.map(array.as_map(), entries, *sorted, wanted)?
            }
            _ => Arc::clone(array),
        })
    }

    fn object(&self, object: &StructArray, own: &Fields, wanted: &Fields) -> Result<StructArray> {
        let (fields, arrays) = self.members(own, object.columns(), wanted)?;
        let fields = Fields::from(fields);
        let nulls = object.nulls().cloned();
        StructArray::try_new_with_length(fields, arrays, nulls, object.len()).map_err(broken)
    }

    /// Key and value are found by their place.
    fn map(
        &self,
        map: &MapArray,
        entries: &Field,
        sorted: bool,
        wanted: &Field,
    ) -> Result<ArrayRef> {
        let (DataType::Struct(own), DataType::Struct(pair)) =
            (entries.data_type(), wanted.data_type())
        else {
            return Err(Error::bug("bad_map", "a map is without entries"));
        };
        let columns = map.entries().columns().iter().zip(pair);
        let columns = columns.map(|(array, field)| self.column(array, field));
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let fields = own.iter().zip(&columns).map(|(field, array)| {
            let field = field.as_ref().clone();
            field.with_data_type(array.data_type().clone())
        });
        let fields: Fields = fields.collect();
        let pairs = StructArray::try_new(fields.clone(), columns, None).map_err(broken)?;
        let entries = Field::new(entries.name(), DataType::Struct(fields), false);
        let offsets = map.offsets().clone();
        let nulls = map.nulls().cloned();
        let made = MapArray::try_new(Arc::new(entries), offsets, pairs, nulls, sorted);
        Ok(Arc::new(made.map_err(broken)?))
    }
}

fn broken(error: ArrowError) -> Error {
    Error::bug(
        "bad_batch",
        "failed to fit rows of a data file to the table",
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array};

    use super::*;
    use crate::scan::tests::{RUNTIME, draft, read, storage, write};

    #[test]
    fn rows_that_are_deleted_are_left_out() {
        let (_folder, storage) = storage();
        let column = |array: ArrayRef| {
            let fields = vec![Field::new("v", array.data_type().clone(), true)];
            RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), vec![array]).unwrap()
        };
        let rows = column(Arc::new(Int64Array::from_iter([Some(5), None, Some(7)])));
        let mut draft = draft(&storage, &rows.schema(), &[]);
        let written = write(&draft, WriterOptions::default(), &[rows]).unwrap();
        let doubles = column(Arc::new(Float64Array::from(vec![0.5])));
        draft.widen(&doubles.schema()).unwrap();
        let target = RewriteTarget {
            uuid: draft.uuid(),
            schema: draft.iceberg_schema().unwrap(),
            folder: draft.folder(),
            storage: Arc::clone(&storage),
            widened: draft.widened().clone(),
        };
        let rewritten = |deleted: &[u64]| {
            let old = OldFile {
                path: written[0].path.clone(),
                bytes: written[0].bytes,
                spec: draft.partition_spec().unwrap(),
                partition: written[0].file.partition().clone(),
                deleted: Some(Arc::new(deleted.iter().copied().collect())),
            };
            let _entered = RUNTIME.enter();
            let file = rewrite_file(&target, &old).unwrap()?;
            Some(read(&storage, &file.path).column(0).clone())
        };
        let expected =
            |values: Vec<Option<f64>>| Some(Arc::new(Float64Array::from(values)) as ArrayRef);
        assert_eq!(rewritten(&[]), expected(vec![Some(5.0), None, Some(7.0)]));
        assert_eq!(rewritten(&[0]), expected(vec![None, Some(7.0)]));
        assert_eq!(rewritten(&[0, 1, 2]), None);
    }
}
