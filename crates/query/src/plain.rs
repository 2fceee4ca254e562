//! Results of the engine have plain strings and bytes: views are the engine's own business. A difference of timestamps is an interval
//! with days and a time, as all others.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef};
use arrow::error::ArrowError;
use forebay_core::{Error, Result};

use crate::function::interval;

/// The schema with plain strings.
pub(crate) fn schema(schema: &Schema) -> SchemaRef {
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(plain).collect();
    Arc::new(Schema::new(with_own_names(fields)))
}

fn plain(field: &Arc<Field>) -> Arc<Field> {
    let kind = match field.data_type() {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::List(element) => match has_difference(element.data_type()) {
            true => DataType::List(plain(element)),
            false => return field.clone(),
        },
        _ => return field.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

fn has_difference(kind: &DataType) -> bool {
    match kind {
        DataType::List(element) => has_difference(element.data_type()),
        kind => matches!(kind, DataType::Duration(_)),
    }
}

fn column(column: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    match (column.data_type(), kind) {
        (have, wanted) if have == wanted => Ok(column.clone()),
        (DataType::Duration(_), _) => interval::of_difference(column),
        (DataType::List(_), DataType::List(element)) if has_difference(column.data_type()) => {
            let list = column.as_list::<i32>();
            let values = self::column(list.values(), element.data_type())?;
            let offsets = list.offsets().clone();
            let nulls = list.nulls().cloned();
            let made = ListArray::try_new(element.clone(), offsets, values, nulls)?;
            Ok(Arc::new(made))
        }
        (_, wanted) => cast(column, wanted),
    }
}

/// Columns of two tables may have one name, with which a reader of JSON would lose one: the later gets a number.
fn with_own_names(mut fields: Vec<Arc<Field>>) -> Vec<Arc<Field>> {
    let mut taken: HashSet<String> = fields.iter().map(|field| field.name().clone()).collect();
    let mut seen = HashSet::new();
    for field in &mut fields {
        if seen.insert(field.name().clone()) {
            continue;
        }
        let mut numbered = (2..).map(|number| format!("{}_{number}", field.name()));
        let free = numbered.find(|name| !taken.contains(name));
        let name = free.unwrap_or_default();
        taken.insert(name.clone());
        *field = Arc::new(field.as_ref().clone().with_name(name));
    }
    fields
}

/// The batch in its plain schema.
pub(crate) fn batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let broken = |error| {
        Error::bug(
            "sql_output",
            "the SQL engine gave a batch that does not fit its schema",
        )
        .with_source(error)
    };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(array, field)| column(array, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(broken)
}
