//! What JSON has no form for: NaN and infinities become the texts `"NaN"`, `"Infinity"` and `"-Infinity"`, keys of maps that
//! are not text become text. Everything else is Arrow's own JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, MapArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Fields, Float32Type, Float64Type,
};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder};

/// Encoders for floats; see the module.
#[derive(Debug)]
pub(super) struct FloatEncoders;

impl EncoderFactory for FloatEncoders {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>())),
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for Floats<'_, T>
where
    T::Native: Into<f64> + serde::Serialize,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        let wide: f64 = value.into();
        if wide.is_finite() {
            // A finite number is always written.
            let _ = serde_json::to_writer(&mut *out, &value);
        } else if wide.is_nan() {
            out.extend_from_slice(b"\"NaN\"");
        } else if wide > 0.0 {
            out.extend_from_slice(b"\"Infinity\"");
        } else {
            out.extend_from_slice(b"\"-Infinity\"");
        }
    }
}

/// The column with text as the keys of its maps, at any depth of lists and structs.
pub(super) fn with_text_keys(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !has_other_keys(column.data_type()) {
        return Ok(column.clone());
    }
    match column.data_type() {
        DataType::Map(..) => map(column.as_map()),
        DataType::List(field) => {
            let list = column.as_list::<i32>();
            let items = with_text_keys(list.values())?;
            let field = Arc::new(
                field
                    .as_ref()
                    .clone()
                    .with_data_type(items.data_type().clone()),
            );
            let nulls = list.nulls().cloned();
            let offsets = list.offsets().clone();
            Ok(Arc::new(arrow::array::ListArray::try_new(
                field, offsets, items, nulls,
            )?))
        }
        DataType::Struct(fields) => {
            let structs = column.as_struct();
            let columns = structs.columns().iter().map(with_text_keys);
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let fields: Fields = fields
                .iter()
                .zip(&columns)
                .map(|(field, column)| {
                    field
                        .as_ref()
                        .clone()
                        .with_data_type(column.data_type().clone())
                })
                .collect();
            let nulls = structs.nulls().cloned();
            Ok(Arc::new(arrow::array::StructArray::try_new(
                fields, columns, nulls,
            )?))
        }
        _ => Ok(column.clone()),
    }
}

fn has_other_keys(kind: &DataType) -> bool {
    match kind {
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => {
                fields[0].data_type() != &DataType::Utf8
                    || fields.iter().any(|field| has_other_keys(field.data_type()))
            }
            _ => false,
        },
        DataType::List(item) => has_other_keys(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_other_keys(field.data_type())),
        _ => false,
    }
}

fn map(map: &MapArray) -> Result<ArrayRef, ArrowError> {
    let keys = cast(map.keys(), &DataType::Utf8)?;
    let values = with_text_keys(map.values())?;
    let (key_field, value_field) = map.entries_fields();
    let fields = Fields::from(vec![
        Field::new(key_field.name(), DataType::Utf8, false),
        Field::new(
            value_field.name(),
            values.data_type().clone(),
            value_field.is_nullable(),
        ),
    ]);
    let entries = arrow::array::StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let field = Arc::new(Field::new("entries", DataType::Struct(fields), false));
    let nulls = map.nulls().cloned();
    Ok(Arc::new(MapArray::try_new(
        field,
        map.offsets().clone(),
        entries,
        nulls,
        false,
    )?))
}
