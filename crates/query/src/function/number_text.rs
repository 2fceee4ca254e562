//! Numbers written as text: which texts are valid, and the number that a quoted literal means.

use std::borrow::Cow;
use std::str::FromStr;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

/// Digits of the largest decimal.
const DIGITS_MAX: usize = 38;
/// Largest exponent: no decimal has that many digits.
const EXPONENT_MAX: i32 = 100;

/// The number in the text: a float beside a float, else a whole number or a decimal with all its digits; `None` for no number.
pub(crate) fn read(text: &str, beside: &DataType) -> Option<ScalarValue> {
    match beside {
        DataType::Float32 | DataType::Float16 => parse::<f32>(text).map(ScalarValue::from),
        DataType::Float64 => parse::<f64>(text).map(ScalarValue::from),
        _ => exact(&digits(text)?),
    }
}

fn parse<T: FromStr>(text: &str) -> Option<T> {
    text.trim().parse().ok()
}

fn exact(digits: &str) -> Option<ScalarValue> {
    match digits.parse::<i64>() {
        Ok(whole) => Some(ScalarValue::from(whole)),
        Err(_) => decimal(digits),
    }
}

fn decimal(text: &str) -> Option<ScalarValue> {
    let unsigned = text.trim_start_matches(['-', '+']);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0').len();
    let precision = significant.max(fraction.len()).max(1);
    if precision > DIGITS_MAX {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    let precision = u8::try_from(precision).ok()?;
    let scale = i8::try_from(fraction.len()).ok()?;
    Some(ScalarValue::Decimal128(Some(value), precision, scale))
}

/// The number without blanks around it and without an exponent; `None` for other text.
pub(super) fn digits(text: &str) -> Option<Cow<'_, str>> {
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

    #[test]
    fn a_quoted_number_keeps_all_its_digits() {
        let decimal =
            |value, precision, scale| Some(ScalarValue::Decimal128(Some(value), precision, scale));
        for (text, expected) in [
            ("9", Some(ScalarValue::from(9_i64))),
            (" -9 ", Some(ScalarValue::from(-9_i64))),
            ("+9", Some(ScalarValue::from(9_i64))),
            ("010", Some(ScalarValue::from(10_i64))),
            ("1e3", Some(ScalarValue::from(1000_i64))),
            ("10.5", decimal(105, 3, 1)),
            ("-.50", decimal(-50, 2, 2)),
            ("5.", decimal(5, 1, 0)),
            ("9223372036854775808", decimal(1 << 63, 19, 0)),
            ("1e39", None),
            ("", None),
            ("abc", None),
            ("inf", None),
        ] {
            assert_eq!(read(text, &DataType::Int64), expected, "{text:?}");
        }
        assert_eq!(
            read("0.1", &DataType::Float64),
            Some(ScalarValue::from(0.1_f64))
        );
        assert_eq!(
            read(" 0.1", &DataType::Float32),
            Some(ScalarValue::from(0.1_f32))
        );
        assert!(read("NaN", &DataType::Float64).is_some());
    }
}
