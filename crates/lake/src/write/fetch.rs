//! Reads single rows of a data file, with the columns that its table has now.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use forebay_core::{Context, Error, Result};
use futures::StreamExt;
use iceberg::spec::PartitionSpecRef;
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use tokio::runtime::Handle;

use super::adapt;
use super::rewrite::{by_id, check_identity};
use crate::Table;
use crate::checked_file::CheckedFile;
use crate::error::unreadable;
use crate::scan::ScanFile;
use crate::schema::WidenedFields;
use crate::snapshot::unknown_spec;
use crate::storage::LakeStorage;

/// A data file of a table.
pub(crate) struct FetchedFile {
    arrow: SchemaRef,
    storage: Arc<LakeStorage>,
    spec: PartitionSpecRef,
    path: Path,
    bytes: u64,
}

impl FetchedFile {
    pub(crate) fn new(table: &Table, file: &ScanFile) -> Result<Self> {
        let spec = table.metadata().partition_spec_by_id(file.spec_id);
        Ok(Self {
            arrow: table.schema(),
            storage: Arc::clone(table.storage()),
            spec: Arc::clone(spec.ok_or_else(|| unknown_spec(file.spec_id))?),
            path: file.path.clone(),
            bytes: file.bytes,
        })
    }
}

/// The rows at `positions`, which ascend, with exactly the columns of the table. Blocks.
pub(crate) fn fetch_rows(
    file: &FetchedFile,
    positions: &[u64],
    runtime: &Handle,
) -> Result<RecordBatch> {
    fetched(file, positions, runtime).context("file", &file.path)
}

fn fetched(file: &FetchedFile, positions: &[u64], runtime: &Handle) -> Result<RecordBatch> {
    let objects = Arc::clone(file.storage.objects());
    let reader = CheckedFile::new(objects, file.path.clone(), file.bytes);
    let builder = runtime.block_on(ParquetRecordBatchStreamBuilder::new(reader));
    let builder = builder.map_err(unreadable)?;
    check_identity(&file.spec, builder.schema())?;
    let selection = selection(positions)?;
    let mut batches = builder
        .with_row_selection(selection)
        .build()
        .map_err(unreadable)?;
    let mut rows = Vec::new();
    while let Some(batch) = runtime.block_on(batches.next()) {
        let named = by_id(
            &batch.map_err(unreadable)?,
            &file.arrow,
            &WidenedFields::new(),
        )?;
        rows.push(adapt::batch(&named, &file.arrow)?);
    }
    concat_batches(&file.arrow, &rows)
        .map_err(|e| Error::bug("bad_batch", "failed to join rows of a data file").with_source(e))
}

fn selection(positions: &[u64]) -> Result<RowSelection> {
    let mut selectors = Vec::with_capacity(positions.len() * 2);
    let mut next = 0_usize;
    for position in positions {
        let position = usize::try_from(*position)
            .map_err(|e| Error::bug("bad_position", "a row has no position").with_source(e))?;
        if position > next {
            selectors.push(RowSelector::skip(position - next));
        }
        selectors.push(RowSelector::select(1));
        next = position + 1;
    }
    Ok(selectors.into())
}
