//! Bounds of the lake as values of the engine.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use forebay_lake::scan::Value;

use super::uuid;

/// The value as a scalar of `kind`; `None` when it cannot be one, which only makes pruning weaker.
pub(super) fn scalar(value: &Value, kind: &DataType) -> Option<ScalarValue> {
    Some(match (value, kind) {
        (Value::Boolean(v), DataType::Boolean) => ScalarValue::Boolean(Some(*v)),
        (Value::Int(v), DataType::Int32) => ScalarValue::Int32(Some(*v)),
        (Value::Int(v), DataType::Int64) => ScalarValue::Int64(Some(i64::from(*v))),
        (Value::Int(v), DataType::Date32) => ScalarValue::Date32(Some(*v)),
        (Value::Long(v), DataType::Int64) => ScalarValue::Int64(Some(*v)),
        (Value::Long(v), DataType::Time64(TimeUnit::Microsecond)) => {
            ScalarValue::Time64Microsecond(Some(*v))
        }
        (Value::Float(v), DataType::Float32) => ScalarValue::Float32(Some(*v)),
        (Value::Float(v), DataType::Float64) => ScalarValue::Float64(Some(f64::from(*v))),
        (Value::Double(v), DataType::Float64) => ScalarValue::Float64(Some(*v)),
        (Value::Date(v), DataType::Date32) => ScalarValue::Date32(Some(*v)),
        (
            Value::Timestamp(v) | Value::Long(v),
            DataType::Timestamp(TimeUnit::Microsecond, zone),
        ) => ScalarValue::TimestampMicrosecond(Some(*v), zone.clone()),
        (Value::Decimal(v), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*v), *precision, *scale)
        }
        (Value::String(v), DataType::Utf8View) => ScalarValue::Utf8View(Some(v.clone())),
        (Value::String(v), DataType::Utf8) => ScalarValue::Utf8(Some(v.clone())),
        // Of bytes only UUIDs are text.
        (Value::Binary(v), DataType::Utf8View) => ScalarValue::Utf8View(Some(uuid::text(v)?)),
        (Value::Binary(v), DataType::Utf8) => ScalarValue::Utf8(Some(uuid::text(v)?)),
        (Value::Binary(v), DataType::Binary) => ScalarValue::Binary(Some(v.clone())),
        (Value::Binary(v), DataType::FixedSizeBinary(size))
            if usize::try_from(*size) == Ok(v.len()) =>
        {
            ScalarValue::FixedSizeBinary(*size, Some(v.clone()))
        }
        _ => return None,
    })
}

/// Whether the lowest and highest value in the lake are exactly those in the file: strings are cut, floats leave out NaN,
/// decimals and bytes depend on the writer.
pub(super) fn bounds_are_exact(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}
