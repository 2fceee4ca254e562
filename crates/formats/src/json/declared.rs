//! Columns whose type the pipeline file declares: the value is made into that type exactly, or the record is refused.
//!
//! | type | takes |
//! |---|---|
//! | string | strings; numbers and booleans as their text |
//! | json | any value, as its text in the record |
//! | boolean | booleans |
//! | int, long | numbers that are whole and in range |
//! | float, double, decimal | numbers that need no rounding; decimal also from strings |
//! | date, timestamp, timestamptz | strings: `2026-01-31`, `2026-01-31T12:00:00[.ffffff]`, the same with an offset, else UTC |
//! | binary | strings, as their UTF-8 bytes |

use simd_json::{Node, StaticNode};

use super::column::{Column, Fixed};
use super::number::Exact;
use super::walk::{Parsed, Stop, brief};
use crate::contract::ColumnType;
use crate::iso_time;

/// Characters of `2026-01-31`.
const DATE_CHARS: usize = 10;

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
        (Column::Date(column), Node::String(text)) => {
            iso_time::date(text).map(|days| column.push(row, days))
        }
        (Column::Timestamp(column, utc), Node::String(text)) => match utc {
            true => iso_time::timestamptz(text, false),
            false => iso_time::timestamp(text, false),
        }
        // A date alone is no moment: a day may have begun anywhere.
        .filter(|_| text.len() > DATE_CHARS)
        .map(|micros| column.push(row, micros)),
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
