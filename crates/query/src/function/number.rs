//! Texts as decimals: the engine takes a text without a digit for zero, and none with an exponent.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::Result;

use super::ScalarDefinition;
use super::number_text::digits;

/// Characters of a wrong text that a message shows.
const SHOWN_MAX: usize = 100;

/// The text in the form that the engine reads. Errors: for what is no number.
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

/// The same, with null for what is no number.
pub(crate) fn try_decimal_text() -> ScalarDefinition {
    ScalarDefinition::new("try_decimal_text", text_type, text_types, |args| {
        let texts = args[0].as_string::<i32>().iter();
        Ok(Arc::new(texts.map(|text| digits(text?)).collect::<StringArray>()) as ArrayRef)
    })
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
