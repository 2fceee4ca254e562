//! Makes a batch look like the table: columns by name, in the table's order, with its types and field ids.
//!
//! Nothing is lost here: a column or value that has no exact place in the table is an error, never dropped or rounded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, ListArray, MapArray, RecordBatch,
    RecordBatchOptions, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use forebay_core::{Error, Result};

use super::cast::exact;
use crate::schema::source_name;

/// `records` with exactly the columns of `schema`.
pub(crate) fn batch(records: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let source = records.schema();
    let columns = columns(
        source.fields(),
        records.columns(),
        schema.fields(),
        records.num_rows(),
        None,
        "",
    )?;
    let options = RecordBatchOptions::new().with_row_count(Some(records.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|e| {
        Error::bug("bad_batch", "failed to fit a batch to the table's schema").with_source(e)
    })
}

/// The columns or struct members `to`, found among `from` by their names in the data; `parent` says which rows exist at all.
fn columns(
    from: &Fields,
    arrays: &[ArrayRef],
    to: &Fields,
    rows: usize,
    parent: Option<&NullBuffer>,
    path: &str,
) -> Result<Vec<ArrayRef>> {
    let places = index_names(from, path)?;
    refuse_unknown(from, arrays, to, path)?;
    to.iter()
        .map(|field| {
            let nulls = || new_null_array(field.data_type(), rows);
            let array = places.get(source_name(field)).map(|place| &arrays[*place]);
            let array = array.map_or_else(nulls, Arc::clone);
            if field.is_nullable() && array.data_type() == field.data_type() {
                return Ok(array);
            }
            let path = join(path, field.name());
            let array = adapt(&array, field, &path)?;
            refuse_null(array.as_ref(), field, parent, &path)?;
            Ok(array)
        })
        .collect()
}

/// The places of fields by name. A table may have thousands of columns, and this runs for every batch.
fn index_names<'f>(fields: &'f Fields, path: &str) -> Result<HashMap<&'f str, usize>> {
    let mut places = HashMap::with_capacity(fields.len());
    for (place, field) in fields.iter().enumerate() {
        if places.insert(field.name().as_str(), place).is_some() {
            let path = join(path, field.name());
            let what = format!("column {path} comes twice in a batch");
            return Err(Error::bug("double_column", what));
        }
    }
    Ok(places)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A column that the table lacks may only come when it says nothing.
fn refuse_unknown(from: &Fields, arrays: &[ArrayRef], to: &Fields, path: &str) -> Result<()> {
    let known: HashSet<&str> = to.iter().map(|field| source_name(field)).collect();
    let unknown = from.iter().zip(arrays).find(|(field, array)| {
        !known.contains(field.name().as_str()) && array.logical_null_count() < array.len()
    });
    let Some((field, _)) = unknown else {
        return Ok(());
    };
    let path = join(path, field.name());
    let what = format!("column {path} of a batch is not a column of the table");
    Err(Error::bug("unknown_column", what)
        .with_hint("evolve the draft to the batch's schema before writing"))
}

/// Errors when a required column has a null in a row that exists.
fn refuse_null(
    array: &dyn Array,
    field: &Field,
    parent: Option<&NullBuffer>,
    path: &str,
) -> Result<()> {
    if field.is_nullable() || array.logical_null_count() == 0 {
        return Ok(());
    }
    let nulls = array.logical_nulls().expect("the array has nulls");
    let exists = |row: usize| parent.is_none_or(|parent| parent.is_valid(row));
    match (0..array.len()).find(|row| nulls.is_null(*row) && exists(*row)) {
        None => Ok(()),
        Some(row) => {
            let message =
                format!("column {path} is required and row {row} of the batch has no value for it");
            Err(Error::data("required_null", message))
        }
    }
}

/// One column or member as `field` wants it.
fn adapt(array: &ArrayRef, field: &FieldRef, path: &str) -> Result<ArrayRef> {
    if array.data_type() == field.data_type() {
        return Ok(Arc::clone(array));
    }
    match (array.data_type(), field.data_type()) {
        (DataType::Null, to) => Ok(new_null_array(to, array.len())),
        (DataType::Dictionary(_, value), _) => {
            let plain = cast(array, value)
                .map_err(|e| unfit(array.data_type(), field, path).with_source(e))?;
            adapt(&plain, field, path)
        }
        (DataType::Struct(from), DataType::Struct(to)) => {
            structs(array.as_struct(), from, to, path)
        }
        (DataType::List(_), DataType::List(item)) => list(array.as_list(), item, path),
        (DataType::FixedSizeList(_, _), DataType::List(item)) => {
            fixed_list(array.as_fixed_size_list(), item, path)
        }
        (
            DataType::LargeList(item) | DataType::ListView(item) | DataType::LargeListView(item),
            DataType::List(_),
        ) => {
            let small = cast(array, &DataType::List(Arc::clone(item)))
                .map_err(|e| unfit(array.data_type(), field, path).with_source(e))?;
            adapt(&small, field, path)
        }
        (DataType::Map(_, _), DataType::Map(entries, sorted)) => {
            map(array.as_map(), entries, *sorted, path)
        }
        (from, _) => exact(array, field.data_type(), path)?.ok_or_else(|| unfit(from, field, path)),
    }
}

fn unfit(from: &DataType, field: &Field, path: &str) -> Error {
    Error::bug(
        "incompatible_type",
        format!(
            "column {path} is {from} in a batch and {} in the table",
            field.data_type()
        ),
    )
    .with_hint("evolve the draft to the batch's schema, or cast the column in a transform")
}

fn structs(array: &StructArray, from: &Fields, to: &Fields, path: &str) -> Result<ArrayRef> {
    let members = columns(from, array.columns(), to, array.len(), array.nulls(), path)?;
    let made =
        StructArray::try_new_with_length(to.clone(), members, array.nulls().cloned(), array.len());
    Ok(Arc::new(made.map_err(|e| broken(path, e))?))
}

fn list(array: &ListArray, item: &FieldRef, path: &str) -> Result<ArrayRef> {
    // A sliced list carries values outside of its rows; they are not part of the batch.
    let offsets = array.value_offsets();
    let start = offsets[0];
    let end = offsets[array.len()];
    let rebased = offsets.iter().map(|offset| offset - start).collect();
    let values = array.values().slice(start as usize, (end - start) as usize);
    let values = items(&values, item, path)?;
    let made = ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::new(rebased),
        values,
        array.nulls().cloned(),
    );
    Ok(Arc::new(made.map_err(|e| broken(path, e))?))
}

fn fixed_list(array: &FixedSizeListArray, item: &FieldRef, path: &str) -> Result<ArrayRef> {
    let DataType::FixedSizeList(own, _) = array.data_type() else {
        unreachable!("the caller matched the type")
    };
    let listed = cast(array, &DataType::List(Arc::clone(own))).map_err(|e| broken(path, e))?;
    list(listed.as_list(), item, path)
}

fn items(values: &ArrayRef, item: &FieldRef, path: &str) -> Result<ArrayRef> {
    let path = join(path, "[]");
    let values = adapt(values, item, &path)?;
    refuse_null(values.as_ref(), item, None, &path)?;
    Ok(values)
}

fn map(array: &MapArray, entries: &FieldRef, sorted: bool, path: &str) -> Result<ArrayRef> {
    let DataType::Struct(to) = entries.data_type() else {
        return Err(Error::bug(
            "bad_schema",
            format!("column {path} is a map without entries"),
        ));
    };
    let offsets = array.value_offsets();
    let start = offsets[0];
    let end = offsets[array.len()];
    let rebased = offsets.iter().map(|offset| offset - start).collect();
    let own = array
        .entries()
        .slice(start as usize, (end - start) as usize);
    // Key and value are matched by position: writers name them differently (`key`/`keys`, `value`/`values`).
    let members = to
        .iter()
        .zip(own.columns())
        .zip(["key", "value"])
        .map(|((field, column), name)| {
            let path = join(path, name);
            let column = adapt(column, field, &path)?;
            refuse_null(column.as_ref(), field, None, &path)?;
            Ok(column)
        })
        .collect::<Result<Vec<_>>>()?;
    let pairs = StructArray::try_new_with_length(to.clone(), members, None, own.len())
        .map_err(|e| broken(path, e))?;
    let made = MapArray::try_new(
        Arc::clone(entries),
        OffsetBuffer::new(rebased),
        pairs,
        array.nulls().cloned(),
        sorted,
    );
    Ok(Arc::new(made.map_err(|e| broken(path, e))?))
}

fn broken(path: &str, source: arrow::error::ArrowError) -> Error {
    Error::bug(
        "bad_batch",
        format!("failed to fit column {path} to the table"),
    )
    .with_source(source)
}
