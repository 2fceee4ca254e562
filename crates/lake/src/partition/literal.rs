//! One value of an Arrow column as an Iceberg literal.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use forebay_core::{Error, Result};
use iceberg::spec::{Literal, PrimitiveType};

/// `None` for null. `kind` distinguishes a UUID from other bytes.
pub(super) fn literal(
    array: &dyn Array,
    row: usize,
    kind: &PrimitiveType,
) -> Result<Option<Literal>> {
    if array.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match array.data_type() {
        DataType::Boolean => Literal::bool(array.as_boolean().value(row)),
        DataType::Int32 => Literal::int(array.as_primitive::<Int32Type>().value(row)),
        DataType::Date32 => Literal::date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Int64 => Literal::long(array.as_primitive::<Int64Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            Literal::long(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Literal::long(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Literal::long(array.as_primitive::<TimestampNanosecondType>().value(row))
        }
        DataType::Float32 => Literal::float(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Literal::double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => {
            Literal::decimal(array.as_primitive::<Decimal128Type>().value(row))
        }
        DataType::Utf8 => Literal::string(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Literal::string(array.as_string::<i64>().value(row)),
        DataType::Binary => Literal::binary(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Literal::binary(array.as_binary::<i64>().value(row).to_vec()),
        DataType::FixedSizeBinary(_) => fixed(array.as_fixed_size_binary().value(row), kind),
        other => {
            return Err(Error::unsupported(
                "bad_partition",
                format!("a table cannot be partitioned by {other}"),
            ));
        }
    }))
}

fn fixed(bytes: &[u8], kind: &PrimitiveType) -> Literal {
    match (kind, uuid::Uuid::from_slice(bytes)) {
        (PrimitiveType::Uuid, Ok(uuid)) => Literal::uuid(uuid),
        _ => Literal::fixed(bytes.to_vec()),
    }
}
