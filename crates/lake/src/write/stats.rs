//! The statistics of a data file for its manifest, read from the file's own Parquet footer.
//!
//! The `iceberg` crate has a writer that does this too; it forgets truncated bounds of all but one row group, so that
//! readers skip files that hold matching rows. Here a column without trustworthy statistics in any row group gets no
//! bounds at all. Columns inside lists and maps get sizes and counts only, as in the reference implementation.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use forebay_core::{Error, Result};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema,
    Struct,
};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::bound;
use crate::partition::source::field_id;
use crate::scan::FILE_PATH_ID;

/// Facts that are not in the footer.
pub(super) struct Written {
    pub(super) location: String,
    pub(super) bytes: u64,
    pub(super) partition: Struct,
    pub(super) spec_id: i32,
    pub(super) nans: HashMap<i32, u64>,
    pub(super) role: FileRole,
}

/// The purpose of a file in its table.
pub(super) enum FileRole {
    Rows,
    /// Deletes rows of data files; the first and the last of these, by their locations.
    PositionDeletes {
        first: String,
        last: String,
    },
}

#[derive(Default)]
struct Metrics {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
    /// Columns with a row group whose statistics cannot be trusted or expressed.
    no_lower: HashSet<i32>,
    no_upper: HashSet<i32>,
    no_nulls: HashSet<i32>,
}

pub(super) fn data_file(
    schema: &Schema,
    footer: &ParquetMetaData,
    written: Written,
) -> Result<DataFile> {
    let mut metrics = Metrics::default();
    footer
        .row_groups()
        .iter()
        .flat_map(|group| group.columns())
        .for_each(|chunk| metrics.add(schema, chunk));
    metrics.lower.retain(|id, _| !metrics.no_lower.contains(id));
    metrics.upper.retain(|id, _| !metrics.no_upper.contains(id));
    metrics.nulls.retain(|id, _| !metrics.no_nulls.contains(id));
    let mut builder = DataFileBuilder::default();
    builder.content(DataContentType::Data);
    if let FileRole::PositionDeletes { first, last } = written.role {
        builder.content(DataContentType::PositionDeletes);
        if first == last {
            builder.referenced_data_file(Some(first.clone()));
        }
        // Whole, where other bounds are cut: readers find the deletes of a file by them.
        metrics.lower.insert(FILE_PATH_ID, Datum::string(first));
        metrics.upper.insert(FILE_PATH_ID, Datum::string(last));
    }
    builder
        .file_path(written.location)
        .file_format(DataFileFormat::Parquet)
        .partition(written.partition)
        .partition_spec_id(written.spec_id)
        .record_count(u64::try_from(footer.file_metadata().num_rows()).unwrap_or(0))
        .file_size_in_bytes(written.bytes)
        .column_sizes(metrics.sizes)
        .value_counts(metrics.values)
        .null_value_counts(metrics.nulls)
        .nan_value_counts(written.nans)
        .lower_bounds(metrics.lower)
        .upper_bounds(metrics.upper)
        .split_offsets(Some(split_offsets(footer)))
        .build()
        .map_err(|e| Error::bug("bad_data_file", "failed to describe a data file").with_source(e))
}

/// Where each row group begins.
fn split_offsets(footer: &ParquetMetaData) -> Vec<i64> {
    let first = footer
        .row_groups()
        .iter()
        .filter_map(|group| group.columns().first());
    first
        .map(|chunk| i64::try_from(chunk.byte_range().0).unwrap_or(i64::MAX))
        .collect()
}

impl Metrics {
    fn add(&mut self, schema: &Schema, chunk: &ColumnChunkMetaData) {
        let info = chunk.column_descr().self_type().get_basic_info();
        if !info.has_id() {
            return;
        }
        let id = info.id();
        *self.sizes.entry(id).or_default() += u64::try_from(chunk.compressed_size()).unwrap_or(0);
        *self.values.entry(id).or_default() += u64::try_from(chunk.num_values()).unwrap_or(0);
        let field = schema
            .field_by_id(id)
            .and_then(|field| field.field_type.as_primitive_type().cloned());
        if let (0, Some(kind)) = (chunk.column_descr().max_rep_level(), field) {
            self.add_bounds(id, &kind, chunk);
        }
    }

    fn add_bounds(&mut self, id: i32, kind: &PrimitiveType, chunk: &ColumnChunkMetaData) {
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        match nulls {
            Some(count) => *self.nulls.entry(id).or_default() += count,
            None => drop(self.no_nulls.insert(id)),
        }
        if nulls.is_some_and(|count| i64::try_from(count) == Ok(chunk.num_values())) {
            return;
        }
        match statistics.and_then(|s| lower(kind, s)) {
            Some(value) => keep(&mut self.lower, id, value, |new, old| new < old),
            None => drop(self.no_lower.insert(id)),
        }
        match statistics.and_then(|s| upper(kind, s)) {
            Some(value) => keep(&mut self.upper, id, value, |new, old| new > old),
            None => drop(self.no_upper.insert(id)),
        }
    }
}

fn keep(
    bounds: &mut HashMap<i32, Datum>,
    id: i32,
    value: Datum,
    better: fn(&Datum, &Datum) -> bool,
) {
    match bounds.get_mut(&id) {
        Some(old) if !better(&value, old) => {}
        Some(old) => *old = value,
        None => drop(bounds.insert(id, value)),
    }
}

fn lower(kind: &PrimitiveType, statistics: &Statistics) -> Option<Datum> {
    let bytes = statistics.min_bytes_opt()?;
    match kind {
        PrimitiveType::String => Some(Datum::string(bound::lower_text(
            std::str::from_utf8(bytes).ok()?,
        ))),
        PrimitiveType::Binary => Some(Datum::binary(bound::lower_bytes(bytes))),
        PrimitiveType::Fixed(_) => None,
        _ => footer_datum(kind, statistics, bytes),
    }
}

fn upper(kind: &PrimitiveType, statistics: &Statistics) -> Option<Datum> {
    let bytes = statistics.max_bytes_opt()?;
    match kind {
        PrimitiveType::String => Some(Datum::string(bound::upper_text(
            std::str::from_utf8(bytes).ok()?,
        )?)),
        PrimitiveType::Binary => Some(Datum::binary(bound::upper_bytes(bytes)?)),
        PrimitiveType::Fixed(_) => None,
        _ => footer_datum(kind, statistics, bytes),
    }
}

/// Parquet's and Iceberg's bytes of a number are the same, except for decimals: Iceberg's are always big-endian.
pub(crate) fn footer_datum(
    kind: &PrimitiveType,
    statistics: &Statistics,
    bytes: &[u8],
) -> Option<Datum> {
    let swapped: Vec<u8>;
    let bytes = match (kind, statistics) {
        (PrimitiveType::Decimal { .. }, Statistics::Int32(_) | Statistics::Int64(_)) => {
            swapped = bytes.iter().rev().copied().collect();
            &swapped
        }
        _ => bytes,
    };
    Datum::try_from_bytes(bytes, kind.clone())
        .ok()
        .filter(|datum| !datum.is_nan())
}

/// Adds the NaNs of every float column that is not inside a list or map.
pub(super) fn count_nans(records: &RecordBatch, counts: &mut HashMap<i32, u64>) {
    for (field, column) in records.schema().fields().iter().zip(records.columns()) {
        count_column_nans(field, column, None, counts);
    }
}

fn count_column_nans(
    field: &Field,
    column: &ArrayRef,
    parent: Option<&NullBuffer>,
    counts: &mut HashMap<i32, u64>,
) {
    let valid = NullBuffer::union(parent, column.nulls());
    let present = |row: usize| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
    let nans = match column.data_type() {
        DataType::Struct(fields) => {
            for (field, member) in fields.iter().zip(column.as_struct().columns()) {
                count_column_nans(field, member, valid.as_ref(), counts);
            }
            return;
        }
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            values
                .iter()
                .enumerate()
                .filter(|(row, value)| value.is_nan() && present(*row))
                .count()
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            values
                .iter()
                .enumerate()
                .filter(|(row, value)| value.is_nan() && present(*row))
                .count()
        }
        _ => return,
    };
    if let Some(id) = field_id(field) {
        *counts.entry(id).or_default() += nans as u64;
    }
}
