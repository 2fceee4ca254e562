//! The least and the greatest value of a column in some batches.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType,
};

use crate::partition::source::column_of;
use crate::value::Value;

/// `None` when they are not known: then no file is left out for this column.
pub(super) fn of_column(batches: &[RecordBatch], id: i32) -> Option<(Value, Value)> {
    let mut bounds: Option<(Value, Value)> = None;
    for batch in batches {
        let (low, high) = of_array(column_of(batch, id)?)?;
        bounds = Some(match bounds {
            None => (low, high),
            Some((least, greatest)) => (
                if low.is_below(&least) { low } else { least },
                if greatest.is_below(&high) {
                    high
                } else {
                    greatest
                },
            ),
        });
    }
    bounds
}

fn of_array(array: &ArrayRef) -> Option<(Value, Value)> {
    macro_rules! primitive {
        ($kind:ty, $value:expr) => {{
            let array = array.as_primitive::<$kind>();
            ($value(min(array)?), $value(max(array)?))
        }};
    }
    Some(match array.data_type() {
        DataType::Int32 => primitive!(Int32Type, Value::Int),
        DataType::Int64 => primitive!(Int64Type, Value::Long),
        DataType::Date32 => primitive!(Date32Type, Value::Date),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, _) => {
            primitive!(TimestampMicrosecondType, Value::Timestamp)
        }
        DataType::Decimal128(..) => primitive!(Decimal128Type, Value::Decimal),
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            let text = |text: &str| Value::String(text.to_owned());
            (text(min_string(array)?), text(max_string(array)?))
        }
        _ => return None,
    })
}
