//! Columns that are there and have no type yet: nothing but nulls has come.
//!
//! In a batch they are of Arrow's type Null and stand behind the others, so that checks and statements may name them. No table has
//! them: what leaves the last step untyped is taken out, until a value gives it a type.

use std::sync::Arc;

use arrow::array::{ArrayRef, NullArray, RecordBatch};
use arrow::datatypes::{DataType, Field};
use forebay_core::{Error, Result};

/// The column without a type.
pub(super) fn untyped_column(name: &str, rows: usize) -> (Field, ArrayRef) {
    let field = Field::new(name, DataType::Null, true);
    (field, Arc::new(NullArray::new(rows)))
}

/// The rows without columns that have no type.
pub(crate) fn drop_untyped(records: RecordBatch) -> Result<RecordBatch> {
    let fields = records.schema_ref().fields().iter().enumerate();
    let typed: Vec<usize> = fields
        .filter(|(_, field)| *field.data_type() != DataType::Null)
        .map(|(index, _)| index)
        .collect();
    if typed.len() == records.num_columns() {
        return Ok(records);
    }
    records.project(&typed).map_err(|error| {
        Error::bug("untyped_columns", "failed to take columns out of rows").with_source(error)
    })
}
