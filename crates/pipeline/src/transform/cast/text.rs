//! Text to values, strictly: a value that a type cannot hold exactly, digit by digit, does not fit.

use std::iter::once;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Timelike};
use forebay_core::{Error, Result};
use serde::de::IgnoredAny;

use forebay_formats::contract::ColumnType;
use forebay_formats::shortest::shortest_forms;

/// `texts` (of type Utf8) as `kind`; values that do not fit are null.
pub(super) fn parse(texts: &ArrayRef, kind: ColumnType) -> Result<ArrayRef> {
    let texts = texts.as_string::<i32>();
    Ok(match kind {
        ColumnType::Boolean => Arc::new(each(texts, boolean).collect::<BooleanArray>()),
        ColumnType::Int => Arc::new(
            each(texts, integer)
                .map(|v| v.and_then(|v| i32::try_from(v).ok()))
                .collect::<Int32Array>(),
        ),
        ColumnType::Long => Arc::new(each(texts, integer).collect::<Int64Array>()),
        ColumnType::Float => Arc::new(each(texts, float32).collect::<Float32Array>()),
        ColumnType::Double => Arc::new(each(texts, float64).collect::<Float64Array>()),
        ColumnType::Decimal(precision, scale) => decimals(texts, precision, scale)?,
        ColumnType::String => Arc::new(texts.clone()),
        ColumnType::Json => Arc::new(each(texts, json).collect::<StringArray>()),
        ColumnType::Date => Arc::new(each(texts, date).collect::<Date32Array>()),
        ColumnType::Timestamp => {
            Arc::new(each(texts, timestamp).collect::<TimestampMicrosecondArray>())
        }
        ColumnType::Timestamptz => {
            let values = each(texts, timestamptz).collect::<TimestampMicrosecondArray>();
            Arc::new(values.with_data_type(kind.arrow()))
        }
        ColumnType::Binary => {
            Arc::new(each(texts, |text| Some(text.as_bytes())).collect::<BinaryArray>())
        }
    })
}

fn each<'a, T>(
    texts: &'a StringArray,
    read: impl Fn(&'a str) -> Option<T>,
) -> impl Iterator<Item = Option<T>> {
    texts.iter().map(move |text| text.and_then(&read))
}

fn decimals(texts: &StringArray, precision: u8, scale: i8) -> Result<ArrayRef> {
    let values = each(texts, |text| decimal(text, precision, scale)).collect::<Decimal128Array>();
    let typed = values.with_precision_and_scale(precision, scale);
    Ok(Arc::new(typed.map_err(|error| {
        Error::bug("decimal", "a decimal type out of its bounds").with_source(error)
    })?))
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    text.eq_ignore_ascii_case("false").then_some(false)
}

fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// Digits, point and exponent of a number in text.
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i32,
}

fn number(text: &str) -> Option<Number<'_>> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match rest.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let only_digits = whole
        .bytes()
        .chain(fraction.bytes())
        .all(|b| b.is_ascii_digit());
    (only_digits && whole.len() + fraction.len() > 0).then_some(Number {
        negative,
        whole,
        fraction,
        exponent,
    })
}

/// The significant digits, without zeros at either end.
fn significant(number: &Number<'_>) -> String {
    let digits = format!("{}{}", number.whole, number.fraction);
    digits.trim_matches('0').to_owned()
}

/// A float fits when it has the digits of the text, to as many places as the text, or when they are a shortest text of it.
fn float64(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    shows(value, text).then_some(value)
}

fn float32(text: &str) -> Option<f32> {
    let value: f32 = text.parse().ok()?;
    shows32(value, text).then_some(value)
}

fn shows(value: f64, text: &str) -> bool {
    fits(text, value == 0.0, value.is_finite(), |places| {
        once(format!("{value:.places$e}")).chain(shortest_forms(value))
    })
}

fn shows32(value: f32, text: &str) -> bool {
    // A float has at most nine digits of its own; its exact value has more, which people do not write.
    fits(text, value == 0.0, value.is_finite(), |_| {
        shortest_forms(value)
    })
}

fn fits<I: Iterator<Item = String>>(
    text: &str,
    is_zero: bool,
    is_finite: bool,
    shown: impl Fn(usize) -> I,
) -> bool {
    let Some(written) = number(text) else {
        return false;
    };
    let digits = significant(&written);
    if digits.is_empty() || !is_finite {
        return digits.is_empty() && is_zero;
    }
    let says = |shown: String| number(&shown).is_some_and(|shown| significant(&shown) == digits);
    shown(digits.len() - 1).any(says)
}

fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let number = number(text)?;
    let digits = significant(&number);
    if digits.is_empty() {
        return Some(0);
    }
    // The power of ten of the last significant digit.
    let all = format!("{}{}", number.whole, number.fraction);
    let dropped = all.len() - all.trim_end_matches('0').len();
    let last = i64::from(number.exponent) - number.fraction.len() as i64 + dropped as i64;
    let zeros = usize::try_from(last + i64::from(scale)).ok()?;
    if digits.len() + zeros > usize::from(precision) {
        return None;
    }
    let unscaled: i128 = format!("{digits}{}", "0".repeat(zeros)).parse().ok()?;
    Some(if number.negative { -unscaled } else { unscaled })
}

fn date(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|_| text.len() == 10)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Decimals of a second beyond microseconds must be zeros: chrono would drop them.
fn is_micros(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit);
    digits.skip(6).all(|digit| digit == b'0')
}

/// A leap second would be moved into the next minute.
fn is_leap(time: &impl Timelike) -> bool {
    time.nanosecond() >= 1_000_000_000
}

fn timestamp(text: &str) -> Option<i64> {
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
    let read = |format: &&str| NaiveDateTime::parse_from_str(text, format).ok();
    let at = formats
        .iter()
        .find_map(read)
        .filter(|at| is_micros(text) && !is_leap(at))?;
    Some(at.and_utc().timestamp_micros())
}

fn timestamptz(text: &str) -> Option<i64> {
    let at = DateTime::parse_from_rfc3339(text)
        .ok()
        .filter(|at| is_micros(text) && !is_leap(at))?;
    Some(at.timestamp_micros())
}

fn json(text: &str) -> Option<&str> {
    serde_json::from_str::<IgnoredAny>(text)
        .is_ok()
        .then_some(text)
}
