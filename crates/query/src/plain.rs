//! What leaves the engine has plain strings and bytes: views are the engine's own business.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use forebay_core::{Error, Result};

/// The schema with plain strings.
pub(crate) fn schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        DataType::BinaryView => Arc::new(field.as_ref().clone().with_data_type(DataType::Binary)),
        _ => field.clone(),
    };
    let fields: Vec<Arc<Field>> = schema.fields().iter().map(plain).collect();
    Arc::new(Schema::new(with_own_names(fields)))
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
        .map(|(column, field)| match column.data_type() {
            kind if kind == field.data_type() => Ok(column.clone()),
            _ => cast(column, field.data_type()),
        });
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(broken)?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(broken)
}
