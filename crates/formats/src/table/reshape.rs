//! Converts a batch of a data file to the current schema of the table: columns and fields found by field id, at every
//! depth.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
    new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use forebay_core::{Error, Result};

/// Where Parquet and Arrow keep an Iceberg field id.
const FIELD_ID: &str = "PARQUET:field_id";

fn id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}

/// The rows with the columns of `schema`; one that the file lacks is null.
pub(super) fn batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let have = batch.schema();
    let rows = batch.num_rows();
    let arrays = columns(have.fields(), batch.columns(), schema.fields(), rows)?;
    // A file may be older than the `required` rule of a column.
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .zip(&arrays)
        .map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(failed)
}

/// Rejects a file that stores the values of a column only in its partition.
pub(super) fn check_identity(file: &SchemaRef, table: &SchemaRef, identity: &[i32]) -> Result<()> {
    let has = |wanted: i32| file.fields().iter().any(|field| id(field) == Some(wanted));
    let lacks = table
        .fields()
        .iter()
        .find(|field| id(field).is_some_and(|wanted| identity.contains(&wanted) && !has(wanted)));
    match lacks {
        None => Ok(()),
        Some(field) => Err(Error::unsupported(
            "identity_column",
            format!(
                "a data file of the table has no values of `{}`, only its partition has",
                field.name()
            ),
        )),
    }
}

fn columns(
    have: &Fields,
    arrays: &[ArrayRef],
    want: &Fields,
    rows: usize,
) -> Result<Vec<ArrayRef>> {
    // A file from outside without any ids is read by name, as Iceberg's name mapping does.
    let by_id = have.iter().any(|field| id(field).is_some());
    let is = |have: &FieldRef, want: &FieldRef| {
        if by_id {
            id(want).is_some() && id(have) == id(want)
        } else {
            have.name() == want.name()
        }
    };
    want.iter()
        .map(|want| match have.iter().position(|have| is(have, want)) {
            Some(at) => adapt(&arrays[at], want),
            None => Ok(new_null_array(want.data_type(), rows)),
        })
        .collect()
}

fn adapt(array: &ArrayRef, want: &FieldRef) -> Result<ArrayRef> {
    match (array.data_type(), want.data_type()) {
        (have, wanted) if have == wanted => Ok(array.clone()),
        (DataType::Struct(have), DataType::Struct(wanted)) => {
            let inner = array.as_struct();
            let arrays = columns(have, inner.columns(), wanted, array.len())?;
            let fields = loose(wanted, &arrays);
            let made = StructArray::try_new_with_length(
                fields,
                arrays,
                array.nulls().cloned(),
                array.len(),
            );
            Ok(Arc::new(made.map_err(failed)?))
        }
        (DataType::List(_), DataType::List(element)) => {
            let list = array.as_list::<i32>();
            let values = adapt(list.values(), element)?;
            let element = field_of(element, &values);
            let made = ListArray::try_new(
                element,
                list.offsets().clone(),
                values,
                array.nulls().cloned(),
            );
            Ok(Arc::new(made.map_err(failed)?))
        }
        (DataType::Map(_, _), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let DataType::Struct(wanted) = entries.data_type() else {
                return Err(Error::bug("map_entries", "a map without entries"));
            };
            let have = map.entries().fields();
            let arrays = columns(have, map.entries().columns(), wanted, map.entries().len())?;
            let fields: Fields = wanted
                .iter()
                .zip(&arrays)
                .map(|(field, array)| {
                    field
                        .as_ref()
                        .clone()
                        .with_data_type(array.data_type().clone())
                })
                .collect();
            let inner = StructArray::try_new(fields.clone(), arrays, None).map_err(failed)?;
            let entries = entries
                .as_ref()
                .clone()
                .with_data_type(DataType::Struct(fields));
            let made = MapArray::try_new(
                Arc::new(entries),
                map.offsets().clone(),
                inner,
                array.nulls().cloned(),
                *sorted,
            );
            Ok(Arc::new(made.map_err(failed)?))
        }
        (_, wanted) => cast(array, wanted).map_err(failed),
    }
}

/// The fields with the types that the arrays have, all of which may be null.
fn loose(fields: &Fields, arrays: &[ArrayRef]) -> Fields {
    let fields = fields.iter().zip(arrays);
    fields
        .map(|(field, array)| field_of(field, array))
        .collect()
}

fn field_of(field: &FieldRef, array: &ArrayRef) -> FieldRef {
    let field = field
        .as_ref()
        .clone()
        .with_data_type(array.data_type().clone());
    Arc::new(field.with_nullable(true))
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::data(
        "table_value",
        "failed to bring a file of the table to its columns",
    )
    .with_source(error)
}
