//! A partition as people read it: `at_day=2026-01-01/region=eu`.

use std::fmt::Write;

use chrono::{DateTime, NaiveDate};
use iceberg::spec::{Literal, PartitionSpec, PrimitiveType, Schema, Struct, Transform};

use super::transform::year_and_month;
use crate::value::Value;

/// Empty for a table without partitions.
pub(crate) fn partition_text(spec: &PartitionSpec, partition: &Struct, schema: &Schema) -> String {
    let mut text = String::new();
    for (field, literal) in spec.fields().iter().zip(partition.fields()) {
        let separator = if text.is_empty() { "" } else { "/" };
        let kind = schema
            .field_by_id(field.source_id)
            .and_then(|source| source.field_type.as_primitive_type());
        let value = value_text(field.transform, literal.as_ref(), kind);
        write!(text, "{separator}{}={value}", field.name).expect("writing to a string cannot fail");
    }
    text
}

fn value_text(
    transform: Transform,
    literal: Option<&Literal>,
    kind: Option<&PrimitiveType>,
) -> String {
    let Some(Literal::Primitive(literal)) = literal else {
        return "null".to_owned();
    };
    let unit = match literal {
        iceberg::spec::PrimitiveLiteral::Int(unit) => Some(*unit),
        _ => None,
    };
    match (transform, unit) {
        (Transform::Year, Some(year)) => format!("{:04}", i64::from(year) + 1970),
        (Transform::Month, Some(month)) => format!(
            "{:04}-{:02}",
            1970 + month.div_euclid(12),
            month.rem_euclid(12) + 1
        ),
        (Transform::Day, Some(day)) => date(day),
        (Transform::Hour, Some(hour)) => {
            format!("{}-{:02}", date(hour.div_euclid(24)), hour.rem_euclid(24))
        }
        (Transform::Bucket(_), Some(bucket)) => bucket.to_string(),
        _ => match kind.and_then(|kind| Some((kind, Value::of(literal, kind)?))) {
            Some((kind, value)) => show(&value, kind),
            None => "?".to_owned(),
        },
    }
}

fn show(value: &Value, kind: &PrimitiveType) -> String {
    match value {
        Value::Boolean(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Long(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Double(v) => v.to_string(),
        Value::Date(v) => date(*v),
        Value::Timestamp(v) => instant(*v, *kind == PrimitiveType::Timestamptz),
        Value::Decimal(v) => match kind {
            PrimitiveType::Decimal { scale, .. } => decimal(*v, *scale as usize),
            _ => v.to_string(),
        },
        Value::String(v) => v.clone(),
        Value::Binary(v) => v
            .iter()
            .fold(String::from("0x"), |text, byte| format!("{text}{byte:02x}")),
    }
}

fn date(day: i32) -> String {
    match NaiveDate::from_epoch_days(day) {
        Some(date) => date.to_string(),
        // Beyond chrono's calendar: the month is known all the same.
        None => format!("{:04}-{:02}", year_and_month(day).0, year_and_month(day).1),
    }
}

fn instant(micros: i64, zoned: bool) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(instant) if zoned => forebay_core::Timestamp(instant.timestamp_micros()).to_string(),
        Some(instant) => instant
            .naive_utc()
            .format("%Y-%m-%dT%H:%M:%S%.f")
            .to_string(),
        None => format!("{micros}us"),
    }
}

fn decimal(unscaled: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{rest}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_values_read_like_dates_and_numbers() {
        let show =
            |transform, literal: Literal, kind| value_text(transform, Some(&literal), Some(&kind));
        assert_eq!(
            show(Transform::Month, Literal::int(-1), PrimitiveType::Date),
            "1969-12"
        );
        assert_eq!(
            show(Transform::Hour, Literal::int(25), PrimitiveType::Timestamp),
            "1970-01-02-01"
        );
        assert_eq!(
            show(
                Transform::Day,
                Literal::date(20_454),
                PrimitiveType::Timestamptz
            ),
            "2026-01-01"
        );
        let money = PrimitiveType::Decimal {
            precision: 9,
            scale: 2,
        };
        assert_eq!(
            show(Transform::Identity, Literal::decimal(-5), money),
            "-0.05"
        );
        assert_eq!(
            show(
                Transform::Truncate(2),
                Literal::string("ab"),
                PrimitiveType::String
            ),
            "ab"
        );
        assert_eq!(
            value_text(Transform::Identity, None, Some(&PrimitiveType::String)),
            "null"
        );
    }
}
