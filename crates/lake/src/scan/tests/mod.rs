//! Tables on a temporary disk, without a catalog.

mod foreign;
mod property;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use forebay_core::{Result, Timestamp};
use iceberg::spec::TableMetadata;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::snapshot::Change;
use crate::storage::LakeStorage;
use crate::{DataFile, Draft, Table, WriterOptions};

/// Writers find it entered on the test's own thread, as they do on a blocking thread of a program.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

pub(crate) fn storage() -> (TempDir, Arc<LakeStorage>) {
    let dir = tempfile::tempdir().unwrap();
    let objects = Arc::new(LocalFileSystem::new_with_prefix(dir.path()).unwrap());
    let storage = LakeStorage::new(objects, &format!("file://{}", dir.path().display()));
    (dir, Arc::new(storage))
}

pub(crate) fn draft(storage: &Arc<LakeStorage>, schema: &SchemaRef, partition: &[&str]) -> Draft {
    let mut draft = Draft::new(
        "test.table".parse().unwrap(),
        Arc::clone(storage),
        Timestamp(0),
    );
    let partition: Vec<_> = partition
        .iter()
        .map(|field| field.parse().unwrap())
        .collect();
    draft.create(schema, &partition).unwrap();
    draft
}

pub(crate) fn write(
    draft: &Draft,
    options: WriterOptions,
    batches: &[RecordBatch],
) -> Result<Vec<DataFile>> {
    let _entered = RUNTIME.enter();
    let mut writer = draft.writer(options)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

/// The table with one more snapshot that appends `files`.
pub(crate) fn append(
    storage: &Arc<LakeStorage>,
    metadata: &TableMetadata,
    files: &[DataFile],
) -> TableMetadata {
    RUNTIME.block_on(async {
        let change = Change::append(metadata, storage, files).await.unwrap();
        let snapshot = change
            .on_top_of(metadata, storage, Timestamp(0), &BTreeMap::new())
            .await
            .unwrap();
        let builder = metadata
            .clone()
            .into_builder(None)
            .set_branch_snapshot(snapshot.snapshot, "main")
            .unwrap();
        builder.build().unwrap().metadata
    })
}

pub(crate) fn table(storage: &Arc<LakeStorage>, metadata: TableMetadata) -> Table {
    let name = "test.table".parse().unwrap();
    Table::new(
        name,
        "memory:metadata.json".to_owned(),
        Arc::new(metadata),
        Arc::clone(storage),
    )
    .unwrap()
}

/// All rows of a Parquet file, as one batch.
pub(crate) fn read(storage: &Arc<LakeStorage>, path: &object_store::path::Path) -> RecordBatch {
    let bytes = RUNTIME.block_on(storage.read(path)).unwrap();
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1 << 20).unwrap();
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let batches: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}
