//! Texts as decimals: the engine takes a text without a digit for zero, and none with an exponent. Decimals as the nearest double: the
//! engine rounds twice.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type};
use arrow::error::ArrowError;
use datafusion::common::Result;

use super::number_text::digits;
use super::{ScalarDefinition, execution};

/// Characters of a wrong text that a message shows.
const SHOWN_MAX: usize = 100;

/// The text in the form that the engine reads. Errors: for text that is not a number.
pub(crate) fn decimal_text() -> ScalarDefinition {
    ScalarDefinition::new("decimal_text", text_type, text_types, |args| {
        let texts = args[0].as_string::<i32>().iter().map(|text| match text {
            None => Ok(None),
            Some(text) => match digits(text) {
                Some(digits) => Ok(Some(digits)),
                None => Err(no_number(text)),
            },
        });
        Ok(Arc::new(texts.collect::<Result<StringArray, ArrowError>>()?) as ArrayRef)
    })
}

/// The same, with null for text that is not a number.
pub(crate) fn try_decimal_text() -> ScalarDefinition {
    ScalarDefinition::new("try_decimal_text", text_type, text_types, |args| {
        let texts = args[0].as_string::<i32>().iter();
        Ok(Arc::new(texts.map(|text| digits(text?)).collect::<StringArray>()) as ArrayRef)
    })
}

/// The double that is nearest to a decimal.
pub(crate) fn nearest_double() -> ScalarDefinition {
    let double = |_: &[DataType]| Ok(DataType::Float64);
    let same = |types: &[DataType]| Ok(types.to_vec());
    ScalarDefinition::new("nearest_double", double, same, |args| {
        nearest::<Float64Type>(&args[0])
    })
}

/// The real that is nearest to a decimal.
pub(crate) fn nearest_real() -> ScalarDefinition {
    let real = |_: &[DataType]| Ok(DataType::Float32);
    let same = |types: &[DataType]| Ok(types.to_vec());
    ScalarDefinition::new("nearest_real", real, same, |args| {
        nearest::<Float32Type>(&args[0])
    })
}

/// Through the text of the number, in one buffer: its parser rounds once.
fn nearest<T>(array: &ArrayRef) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: FromStr,
{
    let decimals = array.as_primitive::<Decimal128Type>();
    let scale = decimals.scale();
    let mut text = String::new();
    let values = decimals.values().iter().map(|value| {
        text.clear();
        let written = write!(text, "{value}e{}", -i16::from(scale));
        let parsed = written.ok().and_then(|()| text.parse().ok());
        parsed.ok_or_else(|| execution(format!("failed to read {text} as a double")))
    });
    let values = values.collect::<Result<ScalarBuffer<T::Native>>>()?;
    let made = PrimitiveArray::<T>::new(values, decimals.nulls().cloned());
    Ok(Arc::new(made))
}

fn text_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn text_types(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(vec![DataType::Utf8; types.len()])
}

fn no_number(text: &str) -> ArrowError {
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    ArrowError::CastError(format!(
        "Cannot cast string '{shown}' to value of decimal type"
    ))
}
