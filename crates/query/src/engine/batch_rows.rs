//! How many rows an operator may put into one batch.
//!
//! A join repeats the values of its input, so what one of its batches holds is the number of rows times the widest row of the
//! input. The engine counts rows only.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;

/// Most bytes of the input's values in a batch, about.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// The rows of a batch for this input, at most `most`.
pub(super) fn rows_within_bytes(input: &RecordBatch, most: usize) -> usize {
    let widest: usize = input.columns().iter().map(widest_value).sum();
    (BATCH_BYTES_MAX / widest.max(1)).clamp(1, most)
}

/// Bytes of the column's widest value.
fn widest_value(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8 => longest(column.as_string::<i32>().offsets()),
        DataType::LargeUtf8 => longest(column.as_string::<i64>().offsets()),
        DataType::Binary => longest(column.as_binary::<i32>().offsets()),
        DataType::LargeBinary => longest(column.as_binary::<i64>().offsets()),
        DataType::Boolean | DataType::Null => 1,
        flat if flat.primitive_width().is_some() => flat.primitive_width().unwrap_or_default(),
        _ => (0..column.len())
            .map(|row| value_bytes(column, row))
            .max()
            .unwrap_or(0),
    }
}

fn longest<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> usize {
    offsets.lengths().max().unwrap_or(0)
}

fn value_bytes(column: &ArrayRef, row: usize) -> usize {
    let value = column.slice(row, 1).to_data();
    value
        .get_slice_memory_size()
        .unwrap_or_else(|_| value.get_array_memory_size())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn the_widest_row_decides() {
        let long = "x".repeat(BATCH_BYTES_MAX / 4);
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", long.as_str()]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let element = Some(vec![Some(1); BATCH_BYTES_MAX / 64]);
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([None, element]);
        for (column, expected) in [
            (texts, 4),
            (numbers, 8_192),
            (Arc::new(lists) as ArrayRef, 7),
        ] {
            let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
            assert_eq!(rows_within_bytes(&batch, 8_192), expected);
        }
    }
}
