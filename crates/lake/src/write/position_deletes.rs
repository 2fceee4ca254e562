//! Position delete files (Iceberg v2): which rows of which data files are gone.
//!
//! One file for each partition whose rows a commit deletes, sorted by file and position, as the specification asks. Equality
//! deletes are never written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use forebay_core::{Context, Error, Result};
use iceberg::spec::{NestedField, PrimitiveType, Schema, Struct, TableMetadata, Type};
use object_store::path::Path;
use roaring::RoaringTreemap;

use super::file::{FileRole, OpenFile};
use super::{DataFile, Target, WriterOptions};
use crate::delete_format::check_row_deletes;
use crate::scan::{FILE_PATH_ID, POSITION_ID};
use crate::schema::with_field_id;
use crate::snapshot::unknown_spec;
use crate::storage::LakeStorage;
use crate::upsert::RowDeletes;

/// Rows that are encoded at once.
const BATCH_ROWS: usize = 8_192;

/// The deletes of one partition by the location of the data file.
type Files = BTreeMap<String, RoaringTreemap>;

/// Writes the files for `deletes` below the folder of a table. Blocks; needs a Tokio runtime.
///
/// Errors: `Unsupported` `row_deletes_unsupported`.
pub(crate) fn write_position_deletes(
    table: &TableMetadata,
    storage: &Arc<LakeStorage>,
    folder: &Path,
    deletes: Vec<RowDeletes>,
) -> Result<Vec<DataFile>> {
    check_row_deletes(table)?;
    let mut partitions: HashMap<(i32, Struct), Files> = HashMap::new();
    for delete in deletes {
        let files = partitions.entry((delete.spec_id, delete.partition));
        *files.or_default().entry(delete.location).or_default() |= delete.rows;
    }
    let write = |((spec_id, partition), files): ((i32, Struct), Files)| {
        let spec = table.partition_spec_by_id(spec_id);
        let target = Target {
            arrow: arrow_schema(),
            width: 2,
            schema: Arc::new(iceberg_schema()?),
            spec: Arc::clone(spec.ok_or_else(|| unknown_spec(spec_id))?),
            uuid: table.uuid(),
            folder: folder.clone(),
            storage: Arc::clone(storage),
        };
        write_file(&target, partition, &files)
    };
    partitions.into_iter().map(write).collect()
}

fn write_file(target: &Target, partition: Struct, files: &Files) -> Result<DataFile> {
    let mut partition = Some(partition);
    let mut open: Option<OpenFile> = None;
    for (location, rows) in files {
        let mut rows = rows.iter().peekable();
        while rows.peek().is_some() {
            let batch = batch(location, rows.by_ref().take(BATCH_ROWS))?;
            let file = match &mut open {
                Some(file) => file,
                none => {
                    let options = WriterOptions::default();
                    let partition = partition.take().unwrap_or_else(Struct::empty);
                    none.insert(OpenFile::open(target, &options, partition, &batch)?)
                }
            };
            let path = file.path().clone();
            file.write(&batch, 0).context("file", path)?;
        }
    }
    let (Some(file), Some((first, _)), Some((last, _))) =
        (open, files.first_key_value(), files.last_key_value())
    else {
        return Err(Error::bug("no_deletes", "a delete file has no rows"));
    };
    let path = file.path().clone();
    let role = FileRole::PositionDeletes {
        first: first.clone(),
        last: last.clone(),
    };
    file.close_as(target, role).context("file", path)
}

fn batch(location: &str, rows: impl Iterator<Item = u64>) -> Result<RecordBatch> {
    let rows: Result<Vec<i64>, _> = rows.map(i64::try_from).collect();
    let rows =
        rows.map_err(|e| Error::bug("bad_position", "a row has no position").with_source(e))?;
    let paths = StringArray::from_iter_values(std::iter::repeat_n(location, rows.len()));
    let columns: Vec<ArrayRef> = vec![Arc::new(paths), Arc::new(Int64Array::from(rows))];
    RecordBatch::try_new(arrow_schema(), columns)
        .map_err(|e| Error::bug("bad_batch", "failed to list deleted rows").with_source(e))
}

fn arrow_schema() -> Arc<ArrowSchema> {
    let path = Field::new("file_path", DataType::Utf8, false);
    let position = Field::new("pos", DataType::Int64, false);
    Arc::new(ArrowSchema::new(vec![
        with_field_id(path, FILE_PATH_ID),
        with_field_id(position, POSITION_ID),
    ]))
}

fn iceberg_schema() -> Result<Schema> {
    let field = |id: i32, name: &str, kind: PrimitiveType| {
        Arc::new(NestedField::required(id, name, Type::Primitive(kind)))
    };
    let fields = [
        field(FILE_PATH_ID, "file_path", PrimitiveType::String),
        field(POSITION_ID, "pos", PrimitiveType::Long),
    ];
    let schema = Schema::builder().with_fields(fields).build();
    schema.map_err(|e| Error::bug("bad_schema", "failed to describe a delete file").with_source(e))
}
