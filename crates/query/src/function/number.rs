//! Texts as decimals: the engine takes a text without a digit for zero, and none with an exponent.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::Result;

use super::ScalarDefinition;

/// Largest exponent: no decimal has so many digits.
const EXPONENT_MAX: i32 = 100;
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

/// The number without blanks around it and without an exponent; `None` for what is no number.
fn digits(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        None => (unsigned, 0),
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    let is_number = !all.is_empty() && all.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || exponent.abs() > EXPONENT_MAX {
        return None;
    }
    if exponent == 0 && mantissa.len() == unsigned.len() {
        return Some(Cow::Borrowed(text));
    }
    let sign = if text.starts_with('-') { "-" } else { "" };
    let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    Some(Cow::Owned(format!("{sign}{}", with_point(&all, point))))
}

fn with_point(digits: &str, point: i32) -> String {
    match usize::try_from(point) {
        Ok(point) if point >= digits.len() => format!("{digits:0<point$}"),
        Ok(point) => format!("{}.{}", &digits[..point], &digits[point..]),
        Err(_) => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_or_nothing() {
        for (text, expected) in [
            ("1.5", Some("1.5")),
            (" -0 ", Some("-0")),
            (".5", Some(".5")),
            ("5.", Some("5.")),
            ("1e3", Some("1000")),
            ("-1.25E1", Some("-12.5")),
            ("125e-4", Some("0.0125")),
            ("1.5e0", Some("1.5")),
            ("", None),
            (" ", None),
            ("-", None),
            (".", None),
            ("e1", None),
            ("1e", None),
            ("1e999", None),
            ("+-1", None),
            ("1 2", None),
            ("NaN", None),
            ("１", None),
        ] {
            assert_eq!(digits(text).as_deref(), expected, "{text:?}");
        }
    }
}
