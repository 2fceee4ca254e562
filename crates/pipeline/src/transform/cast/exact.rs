//! Values to values of another type, exactly or not at all. Text is read in [`super::text`].

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array,
};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, can_cast_types, cast_with_options, nullif};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use forebay_core::{Error, Result};

use super::text;
use forebay_formats::contract::ColumnType;
use forebay_formats::text::rows_as_json;

/// Arrow's own cast, which returns null for values it cannot convert.
pub(super) fn arrow_cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast_with_options(
        array,
        to,
        &CastOptions {
            safe: true,
            ..CastOptions::default()
        },
    )
    .map_err(|error| {
        Error::bug(
            "cast",
            format!("failed to cast {} to {to}", array.data_type()),
        )
        .with_source(error)
    })
}

pub(super) fn convert(array: &ArrayRef, kind: ColumnType) -> Result<ArrayRef> {
    let from = array.data_type();
    let to = kind.arrow();
    if from.is_null() {
        return Ok(new_null_array(&to, array.len()));
    }
    match kind {
        ColumnType::Json => as_json(array),
        _ if *from == to => Ok(array.clone()),
        ColumnType::String | ColumnType::Binary
            if !from.is_nested()
                && can_cast_types(from, &to)
                && !is_number_to_bytes(from, kind) =>
        {
            arrow_cast(array, &to)
        }
        // By way of text, because a float times a power of ten rounds.
        ColumnType::Decimal(..) if from.is_floating() => text::parse(&shortest(array), kind),
        ColumnType::Float | ColumnType::Double if is_decimal(from) => {
            text::parse(&arrow_cast(array, &DataType::Utf8)?, kind)
        }
        _ if is_pair(from, &to) && can_cast_types(from, &to) && can_cast_types(&to, from) => {
            there_and_back(array, &to)
        }
        _ => Err(unsupported(from, kind)),
    }
}

/// The bytes of a number in memory are not its value.
fn is_number_to_bytes(from: &DataType, kind: ColumnType) -> bool {
    kind == ColumnType::Binary
        && !matches!(
            from,
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
        )
}

fn is_decimal(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

/// Numbers go to numbers, times to times: the number of a time depends on units, which SQL makes explicit.
fn is_pair(from: &DataType, to: &DataType) -> bool {
    let number = |kind: &DataType| kind.is_numeric() || matches!(kind, DataType::Boolean);
    let time = |kind: &DataType| {
        matches!(
            kind,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)
        )
    };
    number(from) && number(to) || time(from) && time(to)
}

fn unsupported(from: &DataType, kind: ColumnType) -> Error {
    let hint = match kind {
        ColumnType::Timestamp | ColumnType::Timestamptz | ColumnType::Date if from.is_numeric() => {
            "set the unit of the number: `- sql: SELECT to_timestamp_millis(column) AS column, … FROM input`"
        }
        _ if from.is_nested() => "cast nested values to `json`, or take a part of them with `sql`",
        _ => "write the conversion as a step `sql`",
    };
    let shown = String::from(kind);
    Error::config(
        "no_cast",
        format!("a column of type {from} cannot be cast to {shown}"),
    )
    .with_hint(hint)
}

/// Values that change in a round trip become null.
fn there_and_back(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let there = arrow_cast(array, to)?;
    let back = arrow_cast(&there, array.data_type())?;
    let changed = distinct(&without_negative_zero(&back), &without_negative_zero(array)).map_err(
        |error| Error::bug("cast", "failed to compare a cast with its source").with_source(error),
    )?;
    nullif(&there, &changed)
        .map_err(|error| Error::bug("cast", "failed to take out inexact values").with_source(error))
}

/// -0.0 and 0 are the same number, which a comparison of floats denies.
fn without_negative_zero(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|value| value + 0.0),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|value| value + 0.0),
        ),
        _ => array.clone(),
    }
}

/// The shortest text that reads back as the same float.
fn shortest(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(
            array
                .as_primitive::<Float64Type>()
                .iter()
                .map(|v| v.map(|v| v.to_string()))
                .collect::<StringArray>(),
        ),
        DataType::Float32 => Arc::new(
            array
                .as_primitive::<Float32Type>()
                .iter()
                .map(|v| v.map(|v| v.to_string()))
                .collect::<StringArray>(),
        ),
        _ => new_null_array(&DataType::Utf8, array.len()),
    }
}

/// Each value as JSON text. JSON has no NaN and no infinity, so they do not fit.
fn as_json(array: &ArrayRef) -> Result<ArrayRef> {
    const HEAD: usize = r#"{"v":"#.len();
    let records = RecordBatch::try_from_iter_with_nullable([("v", array.clone(), true)]).map_err(
        |error| Error::bug("as_json", "failed to make a batch of one column").with_source(error),
    )?;
    let lines = rows_as_json(&records)?;
    let nulls = array.logical_nulls();
    let texts: StringArray = lines
        .iter()
        .enumerate()
        .map(|(row, line)| {
            let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let text = line
                .get(HEAD..line.len().saturating_sub(1))
                .filter(|_| valid)?;
            std::str::from_utf8(text).ok()
        })
        .collect();
    let texts: ArrayRef = Arc::new(texts);
    nullif(&texts, &not_finite(array))
        .map_err(|error| Error::bug("as_json", "failed to take out NaN").with_source(error))
}

fn not_finite(array: &ArrayRef) -> BooleanArray {
    let flag = |value: Option<f64>| Some(value.is_some_and(|value| !value.is_finite()));
    match array.data_type() {
        DataType::Float64 => array
            .as_primitive::<Float64Type>()
            .iter()
            .map(flag)
            .collect(),
        DataType::Float32 => array
            .as_primitive::<Float32Type>()
            .iter()
            .map(|v| flag(v.map(f64::from)))
            .collect(),
        _ => BooleanArray::from(vec![false; array.len()]),
    }
}
