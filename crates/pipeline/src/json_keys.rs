//! Columns in a form that JSON can be written from: every key of a map is a text.
//!
//! JSON has no other keys, and Arrow's writers refuse them. Numbers, booleans and times become their usual text, bytes become
//! hex. Only keys change; a batch without such maps is returned as it is, without a copy.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    RecordBatch, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;

/// A batch whose maps have keys of text.
pub(crate) fn with_text_keys(records: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let fields = records.schema_ref().fields();
    if !fields.iter().any(|field| has_other_keys(field.data_type())) {
        return Ok(records.clone());
    }
    let columns: Vec<ArrayRef> = records
        .columns()
        .iter()
        .map(column_with_text_keys)
        .collect::<Result<_, _>>()?;
    let fields: Vec<FieldRef> = fields
        .iter()
        .zip(&columns)
        .map(|(field, column)| retyped(field, column))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// A column whose maps, at any depth, have keys of text.
pub(crate) fn column_with_text_keys(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_other_keys(column.data_type()) {
        return Ok(column.clone());
    }
    Ok(match column.data_type() {
        DataType::Map(entries, is_sorted) => Arc::new(map(column.as_map(), entries, *is_sorted)?),
        DataType::Struct(_) => Arc::new(structure(column.as_struct())?),
        DataType::List(field) => Arc::new(list(column.as_list::<i32>(), field)?),
        DataType::LargeList(field) => Arc::new(list(column.as_list::<i64>(), field)?),
        DataType::FixedSizeList(field, length) => {
            let values = column_with_text_keys(column.as_fixed_size_list().values())?;
            let field = retyped(field, &values);
            let nulls = column.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new(field, *length, values, nulls)?)
        }
        _ => column.clone(),
    })
}

fn has_other_keys(kind: &DataType) -> bool {
    match kind {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                let is_text = fields.first().is_some_and(|key| is_text(key.data_type()));
                !is_text || fields.iter().any(|field| has_other_keys(field.data_type()))
            }
            _ => false,
        },
        DataType::Struct(fields) => fields.iter().any(|field| has_other_keys(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            has_other_keys(field.data_type())
        }
        _ => false,
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn map(map: &MapArray, entries: &FieldRef, is_sorted: bool) -> Result<MapArray, ArrowError> {
    let keys = texts(map.keys())?;
    let values = column_with_text_keys(map.values())?;
    let fields = vec![
        Arc::new(Field::new(
            map.entries().fields()[0].name(),
            DataType::Utf8,
            false,
        )),
        retyped(&map.entries().fields()[1], &values),
    ];
    let pairs = StructArray::try_new(fields.into(), vec![keys, values], None)?;
    let entries = Field::new(entries.name(), pairs.data_type().clone(), false);
    let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
    MapArray::try_new(Arc::new(entries), offsets, pairs, nulls, is_sorted)
}

fn structure(array: &StructArray) -> Result<StructArray, ArrowError> {
    let columns: Vec<ArrayRef> = array
        .columns()
        .iter()
        .map(column_with_text_keys)
        .collect::<Result<_, _>>()?;
    let fields: Vec<FieldRef> = array
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| retyped(field, column))
        .collect();
    StructArray::try_new(fields.into(), columns, array.nulls().cloned())
}

fn list<O: OffsetSizeTrait>(
    array: &GenericListArray<O>,
    field: &FieldRef,
) -> Result<GenericListArray<O>, ArrowError> {
    let values = column_with_text_keys(array.values())?;
    let field = retyped(field, &values);
    GenericListArray::try_new(
        field,
        array.offsets().clone(),
        values,
        array.nulls().cloned(),
    )
}

fn retyped(field: &FieldRef, column: &ArrayRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(column.data_type().clone()))
}

/// Keys as text.
///
/// Errors: for keys that are lists or objects.
fn texts(keys: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let bytes = match keys.data_type() {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => cast(keys, &DataType::Binary)?,
        _ => return cast(keys, &DataType::Utf8),
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let texts = bytes.as_binary::<i32>().iter();
    let texts: StringArray = texts
        .map(|key| key.map(|key| -> String { hex(key) }))
        .collect();
    Ok(Arc::new(texts))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int32Builder, MapBuilder, StringBuilder};

    use super::*;

    #[test]
    fn maps_with_any_keys_can_be_written_as_json() {
        let mut builder = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        builder.keys().append_value(7);
        builder.values().append_value("x");
        builder.append(true).unwrap();
        builder.append(false).unwrap();
        let map: ArrayRef = Arc::new(builder.finish());
        let inner = StructArray::from(vec![(
            Arc::new(Field::new("m", map.data_type().clone(), true)),
            map.clone(),
        )]);
        let plain: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let columns = [
            ("map", map),
            ("inner", Arc::new(inner) as ArrayRef),
            ("n", plain),
        ];
        let records = RecordBatch::try_from_iter(columns).unwrap();
        let lines = crate::transform::rows_as_json(&records).unwrap();
        let text: Vec<&str> = lines
            .iter()
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        assert_eq!(
            text,
            [
                r#"{"map":{"7":"x"},"inner":{"m":{"7":"x"}},"n":1}"#,
                r#"{"map":null,"inner":{"m":null},"n":2}"#
            ]
        );
    }
}
