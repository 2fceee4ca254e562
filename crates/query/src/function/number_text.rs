//! The number in a quoted literal: what it means without quotes.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

/// Digits of the largest decimal.
const DIGITS_MAX: usize = 38;

/// The number in the text: a float beside a float, else a whole number or a decimal with all its digits; `None` for no number.
pub(crate) fn read(text: &str, beside: &DataType) -> Option<ScalarValue> {
    let text = text.trim();
    match beside {
        DataType::Float32 | DataType::Float16 => {
            return text
                .parse()
                .ok()
                .map(|value| ScalarValue::Float32(Some(value)));
        }
        DataType::Float64 => {
            return text
                .parse()
                .ok()
                .map(|value| ScalarValue::Float64(Some(value)));
        }
        _ => {}
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Some(ScalarValue::Int64(Some(whole)));
    }
    match text.contains(['e', 'E']) {
        true => double(text),
        false => decimal(text),
    }
}

/// `1e3`, not `Infinity`.
fn double(text: &str) -> Option<ScalarValue> {
    let value: f64 = text.parse().ok()?;
    value
        .is_finite()
        .then_some(ScalarValue::Float64(Some(value)))
}

fn decimal(text: &str) -> Option<ScalarValue> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = [whole, fraction].concat();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let significant = digits.trim_start_matches('0').len();
    let precision = significant.max(fraction.len()).max(1);
    if !is_number || precision > DIGITS_MAX {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    let (precision, scale) = (
        u8::try_from(precision).ok()?,
        i8::try_from(fraction.len()).ok()?,
    );
    Some(ScalarValue::Decimal128(Some(value), precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_number_or_nothing() {
        let shown = |text: &str| read(text, &DataType::Int64).map(|value| value.to_string());
        for (text, expected) in [
            ("9", Some("9")),
            (" -9 ", Some("-9")),
            ("+9", Some("9")),
            ("010", Some("10")),
            ("10.5", Some("10.5")),
            ("-.50", Some("-0.50")),
            ("5.", Some("5")),
            ("9223372036854775808", Some("9223372036854775808")),
            ("1e3", Some("1000")),
            ("", None),
            ("-", None),
            (".", None),
            ("1 2", None),
            ("abc", None),
            ("inf", None),
            ("1e999", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(
            read("0.1", &DataType::Float64),
            Some(ScalarValue::Float64(Some(0.1)))
        );
        assert!(read("NaN", &DataType::Float64).is_some());
    }
}
