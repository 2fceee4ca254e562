//! Columns whose type the pipeline file declares: the value is made into that type exactly, or the record is refused.
//!
//! | type | takes |
//! |---|---|
//! | string | strings; numbers and booleans as their text |
//! | json | any value, as its text in the record |
//! | boolean | booleans |
//! | int, long | numbers that are whole and in range |
//! | float, double, decimal | numbers that need no rounding; decimal also from strings |
//! | date, timestamp, timestamptz | strings: `2026-01-31`, `2026-01-31T12:00:00[.ffffff]`, the same with an offset (RFC 3339) |
//! | binary | strings, as their UTF-8 bytes |

use chrono::{DateTime, NaiveDate, NaiveDateTime, Timelike};
use simd_json::{Node, StaticNode};

use super::column::{Column, Fixed};
use super::number::Exact;
use super::walk::{Parsed, Stop, brief};
use crate::extract::contract::ColumnType;

/// An empty column of this type.
pub(super) fn column(kind: ColumnType) -> Column {
    match kind {
        ColumnType::Boolean => Column::boolean(),
        ColumnType::Int => Column::Int(Fixed::new()),
        ColumnType::Long => Column::Long(Fixed::new()),
        ColumnType::Float => Column::Float(Fixed::new()),
        ColumnType::Double => Column::Double(Fixed::new()),
        ColumnType::Decimal(precision, scale) => Column::Decimal(Fixed::new(), precision, scale),
        ColumnType::String | ColumnType::Json => Column::text(),
        ColumnType::Date => Column::Date(Fixed::new()),
        ColumnType::Timestamp => Column::Timestamp(Fixed::new(), false),
        ColumnType::Timestamptz => Column::Timestamp(Fixed::new(), true),
        ColumnType::Binary => Column::binary(),
    }
}

/// Writes the value at `at` (not null) into row `row` of `column`.
pub(super) fn push(
    column: &mut Column,
    kind: ColumnType,
    row: usize,
    at: usize,
    parsed: &Parsed<'_>,
    name: &str,
) -> Result<(), Stop> {
    let value = parsed.nodes[at];
    let written = match (column, value) {
        (Column::Text(column), _) if kind == ColumnType::Json => {
            column.push(row, parsed.text(at).ok_or(Stop::Text)?);
            Some(())
        }
        (Column::Text(column) | Column::Binary(column), Node::String(text)) => {
            column.push(row, text.as_bytes());
            Some(())
        }
        (Column::Text(column), Node::Static(_)) => {
            column.push(row, parsed.text(at).ok_or(Stop::Text)?);
            Some(())
        }
        (Column::Boolean(column), Node::Static(StaticNode::Bool(value))) => {
            column.push(row, value);
            Some(())
        }
        (Column::Date(column), Node::String(text)) => date(text).map(|days| column.push(row, days)),
        (Column::Timestamp(column, utc), Node::String(text)) => {
            timestamp(text, *utc).map(|micros| column.push(row, micros))
        }
        (column, Node::Static(value)) if !matches!(value, StaticNode::Bool(_)) => {
            push_number(column, row, value, at, parsed)?
        }
        (Column::Decimal(column, precision, scale), Node::String(text)) => {
            Exact::parse(text.as_bytes())
                .and_then(|number| number.scaled(*precision, *scale))
                .map(|value| column.push(row, value))
        }
        _ => None,
    };
    written.ok_or_else(|| bad_value(kind, at, parsed, name))
}

fn push_number(
    column: &mut Column,
    row: usize,
    value: StaticNode,
    at: usize,
    parsed: &Parsed<'_>,
) -> Result<Option<()>, Stop> {
    let small = match value {
        _ if !parsed.replaced.is_empty() => None,
        StaticNode::I64(value) => Some(value),
        StaticNode::U64(value) => i64::try_from(value).ok(),
        _ => None,
    };
    // The common ones need no text.
    match (&mut *column, small, value) {
        (Column::Long(column), Some(value), _) => {
            column.push(row, value);
            return Ok(Some(()));
        }
        (Column::Double(column), _, StaticNode::F64(value)) if parsed.spans.is_none() => {
            column.push(row, value);
            return Ok(Some(()));
        }
        _ => {}
    }
    let literal = parsed.text(at).ok_or(Stop::Text)?;
    let Some(number) = Exact::parse(literal) else {
        return Ok(None);
    };
    Ok(match column {
        Column::Int(column) => number
            .long()
            .and_then(|value| i32::try_from(value).ok())
            .map(|value| column.push(row, value)),
        Column::Long(column) => number.long().map(|value| column.push(row, value)),
        Column::Decimal(column, precision, scale) => number
            .scaled(*precision, *scale)
            .map(|value| column.push(row, value)),
        Column::Double(column) => float::<f64>(literal)
            .filter(|value| number.is(*value))
            .map(|value| column.push(row, value)),
        Column::Float(column) => float::<f32>(literal)
            .filter(|value| number.is(*value))
            .map(|value| column.push(row, value)),
        _ => None,
    })
}

fn float<F: std::str::FromStr>(literal: &[u8]) -> Option<F> {
    std::str::from_utf8(literal).ok()?.parse().ok()
}

#[cold]
fn bad_value(kind: ColumnType, at: usize, parsed: &Parsed<'_>, name: &str) -> Stop {
    let what = match parsed.nodes[at] {
        Node::String(_) => "a string".to_owned(),
        Node::Object { .. } => "an object".to_owned(),
        Node::Array { .. } => "a list".to_owned(),
        Node::Static(StaticNode::Bool(_)) => "a boolean".to_owned(),
        Node::Static(_) => parsed.text(at).map_or_else(|| "a number".to_owned(), brief),
    };
    Stop::refuse(
        "bad_value",
        format!(
            "column `{name}`: {what} cannot be made into {} exactly",
            String::from(kind)
        ),
    )
}

/// Days since 1970 of `2026-01-31`.
fn date(text: &str) -> Option<i32> {
    let shaped = text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|_| shaped)?;
    i32::try_from((date - NaiveDate::default()).num_days()).ok()
}

/// Microseconds since 1970; `None` when the text has more than microseconds, a leap second, or the wrong form.
fn timestamp(text: &str, utc: bool) -> Option<i64> {
    let time = if utc {
        DateTime::parse_from_rfc3339(text).ok()?.naive_utc()
    } else {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
            .ok()?
    };
    let exact = time.nanosecond() % 1_000 == 0
        && time.nanosecond() < 1_000_000_000
        && !has_hidden_digits(text);
    exact.then(|| time.and_utc().timestamp_micros())
}

/// Whether the fraction has digits beyond nanoseconds, which the parser drops.
fn has_hidden_digits(text: &str) -> bool {
    let Some((_, fraction)) = text.split_once('.') else {
        return false;
    };
    fraction
        .bytes()
        .take_while(u8::is_ascii_digit)
        .skip(9)
        .any(|digit| digit != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact_or_refused() {
        assert_eq!(timestamp("1970-01-01T00:00:01Z", true), Some(1_000_000));
        assert_eq!(timestamp("1970-01-01T01:00:00.000001+01:00", true), Some(1));
        assert_eq!(timestamp("1970-01-01T00:00:00.5", false), Some(500_000));
        for (text, utc) in [
            ("1970-01-01T00:00:00.0000001Z", true),
            ("1970-01-01T00:00:00.0000000001Z", true),
            ("2016-12-31T23:59:60Z", true),
            ("1970-01-01T00:00:00", true),
            ("1970-01-01T00:00:00Z", false),
            ("1970-02-30T00:00:00Z", true),
            ("yesterday", true),
        ] {
            assert_eq!(timestamp(text, utc), None, "{text}");
        }
        assert_eq!(date("1970-01-31"), Some(30));
        assert_eq!(date("1970-1-31"), None);
        assert_eq!(date("1970-02-29"), None);
    }
}
