//! Timestamps of the legacy type INT96: a day and nanoseconds of it, with a larger range than 64 bits of nanoseconds.
//!
//! They are read as microseconds. Values finer than that are found by reading the same columns as nanoseconds too: those
//! may have wrapped around, and the part below the microseconds has wrapped with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use ::parquet::basic::Type as PhysicalType;
use arrow::array::{Array, ArrayData, PrimitiveArray, RecordBatch, make_array};
use arrow::datatypes::{
    DataType, Field, FieldRef, Schema, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::error::ArrowError;

use super::input::ObjectFile;
use super::plan::Refusal;
use super::types::unrepresentable_rows;
use super::{corrupt, refused};

const NANOS_PER_MICRO: i64 = 1_000;

/// The indexes of the columns with such timestamps, at any depth.
pub(super) fn find_columns(metadata: &ArrowReaderMetadata) -> Vec<usize> {
    let columns = metadata.parquet_schema();
    let leaves = 0..columns.num_columns();
    let old = leaves.filter(|leaf| columns.column(*leaf).physical_type() == PhysicalType::INT96);
    let mut roots: Vec<usize> = old.map(|leaf| columns.get_column_root_idx(leaf)).collect();
    roots.dedup();
    roots
}

/// The footer with these timestamps as microseconds.
pub(super) fn with_micros(metadata: &ArrowReaderMetadata) -> Result<ArrowReaderMetadata, Refusal> {
    let columns = metadata.parquet_schema();
    let mut old = (0..columns.num_columns())
        .map(|leaf| columns.column(leaf).physical_type() == PhysicalType::INT96);
    let schema = metadata.schema();
    let fields = schema.fields().iter();
    let fields: Vec<FieldRef> = fields.map(|field| micros_field(field, &mut old)).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options).map_err(refused)
}

/// `old` returns for each leaf whether it is one of these timestamps.
fn micros_field(field: &FieldRef, old: &mut dyn Iterator<Item = bool>) -> FieldRef {
    let kind = micros_type(field.data_type(), old);
    Arc::new(Field::clone(field).with_data_type(kind))
}

fn micros_type(kind: &DataType, old: &mut dyn Iterator<Item = bool>) -> DataType {
    use DataType as D;
    match kind {
        D::Struct(fields) => D::Struct(
            fields
                .iter()
                .map(|field| micros_field(field, old))
                .collect(),
        ),
        D::List(field) => D::List(micros_field(field, old)),
        D::LargeList(field) => D::LargeList(micros_field(field, old)),
        D::ListView(field) => D::ListView(micros_field(field, old)),
        D::LargeListView(field) => D::LargeListView(micros_field(field, old)),
        D::FixedSizeList(field, size) => D::FixedSizeList(micros_field(field, old), *size),
        D::Map(entries, sorted) => D::Map(micros_field(entries, old), *sorted),
        leaf => match (old.next(), leaf) {
            (Some(true), D::Timestamp(TimeUnit::Nanosecond, zone)) => {
                D::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            _ => leaf.clone(),
        },
    }
}

/// The same columns as nanoseconds, read in step with the others.
pub(super) struct NanosReader {
    reader: ParquetRecordBatchReader,
    /// Their indexes in the batches of microseconds.
    places: Vec<usize>,
}

impl NanosReader {
    /// `metadata` gives nanoseconds; `kept` are the columns of the file that are read.
    pub(super) fn open(
        input: &ObjectFile,
        metadata: ArrowReaderMetadata,
        kept: &[usize],
        batch_rows: usize,
    ) -> Result<Option<Self>, Refusal> {
        let mut roots = find_columns(&metadata);
        roots.retain(|root| kept.contains(root));
        if roots.is_empty() {
            return Ok(None);
        }
        let places = roots
            .iter()
            .filter_map(|root| kept.iter().position(|kept| kept == root))
            .collect();
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input.clone(), metadata);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
            .map_err(refused)?;
        Ok(Some(Self { reader, places }))
    }

    /// The rows of `micros`, the next batch, that have a time finer than one microsecond, and the column of each.
    pub(super) fn unrepresentable_rows(
        &mut self,
        micros: &RecordBatch,
    ) -> Result<BTreeMap<usize, String>, Refusal> {
        let nanos = self
            .reader
            .next()
            .transpose()
            .map_err(|error| corrupt(&error.to_string()))?
            .filter(|nanos| nanos.num_rows() == micros.num_rows())
            .ok_or_else(|| corrupt("the number of rows of its INT96 columns differs"))?;
        let mut finer = BTreeMap::new();
        for (from, place) in self.places.iter().enumerate() {
            let nanos = nanos.column(from);
            let micros_column = micros.column(*place);
            let rest = remainders(&nanos.to_data(), &micros_column.to_data())
                .map_err(|error| corrupt(&error.to_string()))?;
            let rows = unrepresentable_rows(&make_array(rest)).unwrap_or_default();
            let name = micros.schema_ref().field(*place).name();
            for row in (0..rows.len()).filter(|row| rows[*row]) {
                finer.entry(row).or_insert_with(|| name.clone());
            }
        }
        Ok(finer)
    }
}

/// The nanoseconds below the microseconds, at every depth; other values unchanged.
fn remainders(nanos: &ArrayData, micros: &ArrayData) -> Result<ArrayData, ArrowError> {
    if let (
        DataType::Timestamp(TimeUnit::Nanosecond, _),
        DataType::Timestamp(TimeUnit::Microsecond, _),
    ) = (nanos.data_type(), micros.data_type())
    {
        let zone = nanos.data_type().clone();
        let nanos = PrimitiveArray::<TimestampNanosecondType>::from(nanos.clone());
        let micros = PrimitiveArray::<TimestampMicrosecondType>::from(micros.clone());
        let both = nanos.values().iter().zip(micros.values());
        let rest =
            both.map(|(nanos, micros)| nanos.wrapping_sub(micros.wrapping_mul(NANOS_PER_MICRO)));
        let rest =
            PrimitiveArray::<TimestampNanosecondType>::new(rest.collect(), nanos.nulls().cloned());
        return Ok(rest.with_data_type(zone).into_data());
    }
    let children = nanos.child_data().iter().zip(micros.child_data());
    let children: Result<Vec<ArrayData>, ArrowError> = children
        .map(|(nanos, micros)| remainders(nanos, micros))
        .collect();
    nanos.clone().into_builder().child_data(children?).build()
}
