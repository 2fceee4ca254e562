//! Columns without a type so far: all their values were null.
//!
//! In a batch they have Arrow's type Null and come after the others, so that checks and statements may name them. No table
//! has them: columns still untyped after the last step are dropped, until a value gives them a type. A result that a step
//! computes only from such nulls has no type either.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, NullArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use forebay_core::{Error, Result};

/// Types that a column may be given so that a statement that names it can be planned, in this order.
pub const STAND_INS: [DataType; 4] = [
    DataType::Null,
    DataType::Utf8,
    DataType::Float64,
    DataType::Timestamp(TimeUnit::Microsecond, None),
];

/// Error code of records without any value, before a record has brought a column: a table counts rows by its columns.
pub const NO_VALUES: &str = "no_values";

pub const NO_VALUES_REASON: &str =
    "no record has had a value yet, so there is no column to put it into";

/// Whether rows have no column with a type.
pub fn has_no_column(records: &RecordBatch) -> bool {
    untyped(records).count() == records.num_columns()
}

/// The column without a type.
pub(super) fn untyped_column(name: &str, rows: usize) -> (Field, ArrayRef) {
    let field = Field::new(name, DataType::Null, true);
    (field, Arc::new(NullArray::new(rows)))
}

/// The rows with further columns, of these types, that have no value.
pub fn with_nulls(
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
pub fn untyped(records: &RecordBatch) -> impl Iterator<Item = &str> {
    let fields = records.schema_ref().fields().iter();
    let untyped = fields.filter(|field| *field.data_type() == DataType::Null);
    untyped.map(|field| field.name().as_str())
}

/// The rows with this type where a column has none.
pub fn with_stand_in(records: &RecordBatch, stand_in: &DataType) -> Result<RecordBatch> {
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
pub fn drop_untyped(records: RecordBatch) -> Result<RecordBatch> {
    drop_columns(records, |_, array| *array.data_type() == DataType::Null)
}

/// The rows without those of these columns that have no value.
pub fn drop_empty(records: RecordBatch, names: &BTreeSet<String>) -> Result<RecordBatch> {
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
        // Rows are counted by a column: the first stays, without a type.
        0 if records.num_rows() > 0 && records.num_columns() > 0 => {
            let first = records.project(&[0]).map_err(failed)?;
            let name = first.schema_ref().field(0).name().clone();
            let (field, nulls) = untyped_column(&name, first.num_rows());
            RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![nulls]).map_err(failed)
        }
        _ => records.project(&kept).map_err(failed),
    }
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::bug("untyped_columns", "failed to change columns of rows").with_source(error)
}
