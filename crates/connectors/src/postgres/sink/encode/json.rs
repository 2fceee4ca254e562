//! Nested values as JSON text: a column of a batch at once, one buffer for all of its rows.

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use arrow::json::writer::make_encoder;
use forebay_core::{Error, Result};

use super::Misfit;
use forebay_formats::text::{NullFields, encoder_options};

/// The texts of a column, one after the other.
#[derive(Debug)]
pub(super) struct Texts {
    text: Vec<u8>,
    /// Start of each row's text; one more than there are rows.
    ends: Vec<usize>,
    /// Rows with a number that JSON cannot represent.
    endless: Vec<bool>,
}

impl Texts {
    pub(super) fn of(array: &ArrayRef) -> Result<Self> {
        let failed = |error| {
            Error::bug("row_as_json", "failed to write a column as JSON").with_source(error)
        };
        let field = std::sync::Arc::new(Field::new("value", array.data_type().clone(), true));
        let options = encoder_options(NullFields::Written);
        let mut encoder = make_encoder(&field, array, &options).map_err(failed)?;
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(array.len() + 1);
        ends.push(0);
        for row in 0..array.len() {
            if array.is_valid(row) {
                encoder.encode(row, &mut text);
            }
            ends.push(text.len());
        }
        let endless = if has_endless(array.as_ref()) {
            (0..array.len())
                .map(|row| has_endless(array.slice(row, 1).as_ref()))
                .collect()
        } else {
            Vec::new()
        };
        Ok(Self {
            text,
            ends,
            endless,
        })
    }

    pub(super) fn get(&self, row: usize) -> Result<&[u8], Misfit> {
        if self.endless.get(row).copied().unwrap_or(false) {
            let reason = "a nested number is infinite or NaN, which JSON cannot represent";
            return Err(Misfit::new("not_a_json_number", reason));
        }
        Ok(&self.text[self.ends[row]..self.ends[row + 1]])
    }
}

/// Whether a value at any depth is infinite or not a number.
fn has_endless(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            values.iter().flatten().any(|value| !value.is_finite())
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            values.iter().flatten().any(|value| !value.is_finite())
        }
        DataType::Struct(_) => in_struct(array.as_struct()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let first = list.value_offsets()[0];
            let last = list.value_offsets()[list.len()];
            let values = list.values().slice(first as usize, (last - first) as usize);
            has_endless(values.as_ref())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let first = list.value_offsets()[0];
            let last = list.value_offsets()[list.len()];
            let values = list.values().slice(first as usize, (last - first) as usize);
            has_endless(values.as_ref())
        }
        DataType::FixedSizeList(_, _) => has_endless(array.as_fixed_size_list().values().as_ref()),
        DataType::Map(_, _) => {
            let map = array.as_map();
            let first = map.value_offsets()[0];
            let last = map.value_offsets()[map.len()];
            let entries = map.entries().slice(first as usize, (last - first) as usize);
            in_struct(&entries)
        }
        _ => false,
    }
}

fn in_struct(array: &StructArray) -> bool {
    array
        .columns()
        .iter()
        .any(|column| has_endless(column.as_ref()))
}
