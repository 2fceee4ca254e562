//! Data files of a scan as the engine takes them: path, statistics, and which rows to read.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, ParquetFileReaderFactory};
use datafusion::object_store::ObjectMeta;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use forebay_lake::scan::ScanFile;
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringTreemap;

use super::checked::CheckedReaders;
use super::columns::{Columns, field_id};
use super::deleted::access_plan;
use super::value::{bounds_are_exact, scalar};

/// Footers read at once while a scan over files with deletes is planned.
const FOOTERS_AT_ONCE: usize = 8;

/// Statistics of the whole scan.
pub(super) fn merged_statistics(columns: &Columns, files: &[ScanFile]) -> Result<Statistics> {
    let each: Vec<Statistics> = files.iter().map(|file| statistics(columns, file)).collect();
    Statistics::try_merge_iter(each.iter(), columns.schema())
}

/// The files in the order of the scan.
pub(super) async fn partitioned(
    columns: &Columns,
    files: Vec<ScanFile>,
    reader: &CheckedReaders,
) -> Result<Vec<PartitionedFile>> {
    let each = files
        .into_iter()
        .map(|file| partitioned_file(columns, file, reader));
    stream::iter(each)
        .buffered(FOOTERS_AT_ONCE)
        .try_collect()
        .await
}

/// One partition reads the files in the order of the scan; several share them out by path.
pub(super) fn groups(files: Vec<PartitionedFile>, partitions: usize) -> Vec<FileGroup> {
    let group = FileGroup::new(files);
    match partitions {
        0 | 1 => vec![group],
        _ => group.split_files(partitions),
    }
}

async fn partitioned_file(
    columns: &Columns,
    file: ScanFile,
    reader: &CheckedReaders,
) -> Result<PartitionedFile> {
    let meta = ObjectMeta {
        location: file.path.clone(),
        // Data files never change, so a cached footer never goes stale.
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: file.bytes,
        e_tag: None,
        version: None,
    };
    let partitioned =
        PartitionedFile::new_from_meta(meta).with_statistics(Arc::new(statistics(columns, &file)));
    match file
        .deleted
        .as_deref()
        .filter(|deleted| !deleted.is_empty())
    {
        Some(deleted) => with_deletes(partitioned, deleted, reader).await,
        None => Ok(partitioned),
    }
}

async fn with_deletes(
    file: PartitionedFile,
    deleted: &RoaringTreemap,
    reader: &CheckedReaders,
) -> Result<PartitionedFile> {
    let metrics = ExecutionPlanMetricsSet::new();
    let mut reader = reader.create_reader(0, file.clone(), None, &metrics)?;
    let footer = reader
        .get_metadata(None)
        .await
        .map_err(|error| DataFusionError::ParquetError(Box::new(error)))?;
    let rows: Vec<u64> = footer
        .row_groups()
        .iter()
        .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
        .collect();
    Ok(file.with_extensions(Arc::new(access_plan(&rows, deleted))))
}

/// The statistics of a file. The engine also reads a column from here, without opening it, when its lowest and highest value
/// are exact and equal: so an identity partition replaces a column that the file lacks.
fn statistics(columns: &Columns, file: &ScanFile) -> Statistics {
    // A position after the last row deletes nothing.
    let last = file.rows.saturating_sub(1);
    let deleted = file.deleted.as_ref();
    let deleted = deleted.map_or(0, |deleted| deleted.rank(last).min(file.rows));
    Statistics {
        num_rows: Precision::Exact(size(file.rows.saturating_sub(deleted))),
        total_byte_size: Precision::Inexact(size(file.bytes)),
        column_statistics: columns
            .schema()
            .fields()
            .iter()
            .map(|field| column(field, file, deleted > 0))
            .collect(),
    }
}

fn column(field: &arrow::datatypes::Field, file: &ScanFile, has_deletes: bool) -> ColumnStatistics {
    let mut known = ColumnStatistics::new_unknown();
    let Some(id) = field_id(field) else {
        return known;
    };
    let kind = field.data_type();
    if let Some(value) = file
        .identity
        .get(&id)
        .filter(|_| !kind.is_floating())
        .and_then(|value| scalar(value, kind))
    {
        known.min_value = Precision::Exact(value.clone());
        known.max_value = Precision::Exact(value);
        known.null_count = Precision::Exact(0);
        return known;
    }
    let nulls = file.bounds.nulls.get(&id);
    if let Some(nulls) = nulls {
        known.null_count = precision(!has_deletes, size(*nulls));
    }
    // Bounds that come from the partition are wider than the column.
    let is_measured = nulls.is_some() && file.bounds.measured.contains(&id);
    let exact = !has_deletes && is_measured && bounds_are_exact(kind);
    let bound = |value| {
        scalar(value, kind)
            .filter(fits_estimates)
            .map(|value| precision(exact, value))
            .unwrap_or_default()
    };
    known.min_value = file.bounds.lower.get(&id).map(bound).unwrap_or_default();
    known.max_value = file.bounds.upper.get(&id).map(bound).unwrap_or_default();
    known
}

/// Whether the engine can estimate with a bound: it counts the values between two of them in 64 bits.
fn fits_estimates(bound: &ScalarValue) -> bool {
    match bound {
        ScalarValue::Int64(Some(value)) => value.unsigned_abs() <= 1 << 62,
        _ => true,
    }
}

fn precision<T: Debug + Clone + PartialEq + Eq + PartialOrd>(
    exact: bool,
    value: T,
) -> Precision<T> {
    if exact {
        Precision::Exact(value)
    } else {
        Precision::Inexact(value)
    }
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
