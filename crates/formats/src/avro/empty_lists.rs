//! Columns of lists that can only be empty.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};

use crate::parquet::plan::Refusal;

/// The batch with a column without values for each list of nulls that is not declared: a message with such an item is refused, so
/// that the list has no values and no type that a table could learn.
pub(super) fn untyped(
    batch: &RecordBatch,
    is_declared: &dyn Fn(&str) -> bool,
) -> Result<RecordBatch, Refusal> {
    let schema = batch.schema_ref();
    let is_untyped =
        |field: &Field| is_list_of_nulls(field.data_type()) && !is_declared(field.name());
    if !schema.fields().iter().any(|field| is_untyped(field)) {
        return Ok(batch.clone());
    }
    let columns = schema.fields().iter().zip(batch.columns());
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns
        .map(|(field, array)| match is_untyped(field) {
            true => without_values(field.name(), array.len()),
            false => (field.as_ref().clone(), Arc::clone(array)),
        })
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let made = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
    made.map_err(|error| Refusal {
        code: "unsupported_type",
        reason: error.to_string(),
    })
}

fn is_list_of_nulls(kind: &DataType) -> bool {
    matches!(kind, DataType::List(item) if item.data_type().is_null())
}

fn without_values(name: &str, rows: usize) -> (Field, ArrayRef) {
    let field = Field::new(name, DataType::Null, true);
    (field, Arc::new(NullArray::new(rows)))
}
