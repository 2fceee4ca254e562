//! The types that a table can hold: the result of a statement is cast to them, or refused.
//!
//! Strings become `Utf8`, instants microseconds (UTC when they have a zone), lists `List`, dictionaries plain values, small and
//! unsigned integers the next signed type that holds every value. Nothing is rounded except instants finer than a microsecond,
//! which lose anything finer.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use forebay_core::{Error, Result};

use crate::types::sql_name;

/// The schema a table would have for these columns.
///
/// Errors: `Config` for a type that no table can hold.
pub(crate) fn schema(schema: &Schema) -> Result<SchemaRef> {
    let fields = schema
        .fields()
        .iter()
        .map(|field| canonical_field(field))
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// Casts a batch to its canonical schema.
pub(crate) fn cast(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            cast_with_options(column, field.data_type(), &options).map_err(|error| {
                Error::data(
                    "bad_cast",
                    format!(
                        "a value of column {} does not fit {}: {error}",
                        field.name(),
                        field.data_type()
                    ),
                )
            })
        });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|error| {
        Error::bug(
            "sql_output",
            "the SQL engine gave a batch that does not fit its schema",
        )
        .with_source(error)
    })
}

fn canonical_field(field: &Field) -> Result<FieldRef> {
    let kind = canonical_type(field.data_type()).ok_or_else(|| {
        Error::config(
            "unsupported_type",
            format!(
                "column {} has type {}, which no table can hold",
                field.name(),
                sql_name(field.data_type())
            ),
        )
        .with_hint("cast it in the statement")
    })?;
    Ok(Arc::new(field.clone().with_data_type(kind)))
}

fn canonical_type(kind: &DataType) -> Option<DataType> {
    let utc = || Some(Arc::from("+00:00"));
    Some(match kind {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().and_then(|_| utc()))
        }
        DataType::Dictionary(_, value) => canonical_type(value)?,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            DataType::List(canonical_field(item).ok()?)
        }
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| canonical_field(field).ok())
                .collect::<Option<Vec<_>>>()?
                .into(),
        ),
        DataType::Map(entries, sorted) => DataType::Map(canonical_field(entries).ok()?, *sorted),
        DataType::Null => DataType::Null,
        DataType::Boolean
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64 => kind.clone(),
        DataType::Date32 | DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) => {
            kind.clone()
        }
        DataType::Decimal128(..) => kind.clone(),
        _ => return None,
    })
}
