//! Columns that are there and have no type yet: nothing but nulls has come.
//!
//! In a batch they are of Arrow's type Null and stand behind the others, so that checks and statements may name them. No table has
//! them: what leaves the last step untyped is taken out, until a value gives it a type. Nor does what a step has made of such nulls
//! alone give a column its type.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, NullArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use forebay_core::{Error, Result};

/// Types that a column may be given so that a statement that names it can be planned, in this order.
pub(crate) const STAND_INS: [DataType; 4] = [
    DataType::Null,
    DataType::Utf8,
    DataType::Float64,
    DataType::Timestamp(TimeUnit::Microsecond, None),
];

/// The column without a type.
pub(super) fn untyped_column(name: &str, rows: usize) -> (Field, ArrayRef) {
    let field = Field::new(name, DataType::Null, true);
    (field, Arc::new(NullArray::new(rows)))
}

/// The rows with further columns, of these types, that have no value.
pub(crate) fn with_nulls(
    records: RecordBatch,
    columns: impl Iterator<Item = (String, DataType)>,
) -> Result<RecordBatch> {
    let mut fields = records.schema_ref().fields().to_vec();
    let mut arrays = records.columns().to_vec();
    for (name, kind) in columns {
        arrays.push(new_null_array(&kind, records.num_rows()));
        fields.push(Arc::new(Field::new(name, kind, true)));
    }
    if arrays.len() == records.num_columns() {
        return Ok(records);
    }
    let schema = Schema::new_with_metadata(fields, records.schema_ref().metadata().clone());
    RecordBatch::try_new(Arc::new(schema), arrays).map_err(failed)
}

/// Columns without a type.
pub(crate) fn untyped(records: &RecordBatch) -> impl Iterator<Item = &str> {
    let fields = records.schema_ref().fields().iter();
    let untyped = fields.filter(|field| *field.data_type() == DataType::Null);
    untyped.map(|field| field.name().as_str())
}

/// The rows with this type where a column has none.
pub(crate) fn with_stand_in(records: &RecordBatch, stand_in: &DataType) -> Result<RecordBatch> {
    let rows = records.num_rows();
    let fields = records.schema_ref().fields().iter().zip(records.columns());
    let columns = fields.map(|(field, array)| match field.data_type() {
        DataType::Null => {
            let field = field.as_ref().clone().with_data_type(stand_in.clone());
            (Arc::new(field), new_null_array(stand_in, rows))
        }
        _ => (Arc::clone(field), Arc::clone(array)),
    });
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.unzip();
    let schema = Schema::new_with_metadata(fields, records.schema_ref().metadata().clone());
    RecordBatch::try_new(Arc::new(schema), arrays).map_err(failed)
}

/// The rows without columns that have no type.
pub(crate) fn drop_untyped(records: RecordBatch) -> Result<RecordBatch> {
    drop_columns(records, |_, array| *array.data_type() == DataType::Null)
}

/// The rows without those of these columns that have no value.
pub(crate) fn drop_empty(records: RecordBatch, names: &BTreeSet<String>) -> Result<RecordBatch> {
    drop_columns(records, |name, array| {
        names.contains(name) && array.logical_null_count() == array.len()
    })
}

fn drop_columns(
    records: RecordBatch,
    is_dropped: impl Fn(&str, &ArrayRef) -> bool,
) -> Result<RecordBatch> {
    let fields = records.schema_ref().fields().iter();
    let columns = fields.zip(records.columns()).enumerate();
    let kept = columns.filter(|(_, (field, array))| !is_dropped(field.name(), array));
    let kept: Vec<usize> = kept.map(|(index, _)| index).collect();
    match kept.len() {
        all if all == records.num_columns() => Ok(records),
        // Rows without any value still are rows: the first column becomes text.
        0 if records.num_rows() > 0 => {
            with_stand_in(&records.project(&[0]).map_err(failed)?, &DataType::Utf8)
        }
        _ => records.project(&kept).map_err(failed),
    }
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("untyped_columns", "failed to change columns of rows").with_source(error)
}
