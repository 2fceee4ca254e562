//! `to_timestamp` and its siblings: text, with or without a format, and numbers as instants in microseconds.
//!
//! Text without a zone is UTC. Digits below a microsecond are cut. Values out of range are errors, never other instants.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampMicrosecondArray};
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use chrono::format::{Parsed, StrftimeItems};
use chrono::{DateTime, TimeZone, Utc};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;

use super::{ScalarDefinition, execution, wrong_arguments};
use crate::types::utc;

/// Formats that one call may name.
const FORMATS_MAX: usize = 16;

/// `to_timestamp` alone.
pub(crate) fn to_timestamp() -> Arc<ScalarUDF> {
    let seconds: super::Kernel = |args| kernel(args, NumberUnit::Second);
    ScalarDefinition::new("to_timestamp", returns, coerces, seconds).shared()
}

/// `to_timestamp`, `to_timestamp_seconds`, `_millis`, `_micros` and `_nanos`.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    let define = |name, kernel| ScalarDefinition::new(name, returns, coerces, kernel).shared();
    vec![
        to_timestamp(),
        define("to_timestamp_seconds", |args| {
            kernel(args, NumberUnit::Second)
        }),
        define("to_timestamp_millis", |args| {
            kernel(args, NumberUnit::Millisecond)
        }),
        define("to_timestamp_micros", |args| {
            kernel(args, NumberUnit::Microsecond)
        }),
        define("to_timestamp_nanos", |args| {
            kernel(args, NumberUnit::Nanosecond)
        }),
    ]
}

/// The unit of a number.
#[derive(Debug, Clone, Copy)]
enum NumberUnit {
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

impl NumberUnit {
    fn micros(self, value: i64) -> Option<i64> {
        match self {
            Self::Second => value.checked_mul(1_000_000),
            Self::Millisecond => value.checked_mul(1_000),
            Self::Microsecond => Some(value),
            Self::Nanosecond => Some(value.div_euclid(1_000)),
        }
    }

    fn micros_of_float(self, value: f64) -> Option<i64> {
        let micros = match self {
            Self::Second => value * 1e6,
            Self::Millisecond => value * 1e3,
            Self::Microsecond => value,
            Self::Nanosecond => value / 1e3,
        };
        // 2^63 is the first value that does not fit.
        (micros.is_finite() && micros.abs() < 9.223_372_036_854_775e18)
            .then(|| micros.round() as i64)
    }
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let takes = "text and formats, a number, a date or a timestamp";
    let wrong = || wrong_arguments("to_timestamp", takes, types);
    let first = types.first().ok_or_else(wrong)?;
    if types.len() > FORMATS_MAX + 1 {
        return Err(wrong());
    }
    if first.is_string() {
        return Ok(vec![DataType::Utf8; types.len()]);
    }
    if types.len() > 1 {
        return Err(wrong());
    }
    Ok(vec![match first {
        DataType::Null => DataType::Utf8,
        kind if kind.is_integer() => DataType::Int64,
        kind if kind.is_floating() => DataType::Float64,
        DataType::Decimal32(..) | DataType::Decimal64(..) => DataType::Float64,
        DataType::Decimal128(..) | DataType::Decimal256(..) => DataType::Float64,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => utc(),
        _ => return Err(wrong()),
    }])
}

fn returns(_: &[DataType]) -> Result<DataType> {
    Ok(utc())
}

fn kernel(args: &[ArrayRef], unit: NumberUnit) -> Result<ArrayRef> {
    let stamps: TimestampMicrosecondArray = match args[0].data_type() {
        DataType::Int64 => each(args[0].as_primitive::<Int64Type>().iter(), |value| {
            unit.micros(value)
                .ok_or_else(|| execution(format!("{value} is out of range for a timestamp")))
        })?,
        DataType::Float64 => each(args[0].as_primitive::<Float64Type>().iter(), |value| {
            unit.micros_of_float(value)
                .ok_or_else(|| execution(format!("{value} is out of range for a timestamp")))
        })?,
        DataType::Utf8 => texts(args)?,
        _ => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            return Ok(cast_with_options(&args[0], &utc(), &options)?);
        }
    };
    Ok(Arc::new(stamps.with_timezone("+00:00")))
}

fn each<T>(
    values: impl Iterator<Item = Option<T>>,
    micros: impl Fn(T) -> Result<i64>,
) -> Result<TimestampMicrosecondArray> {
    values.map(|value| value.map(&micros).transpose()).collect()
}

fn texts(args: &[ArrayRef]) -> Result<TimestampMicrosecondArray> {
    let texts = args[0].as_string::<i32>();
    let formats: Vec<&StringArray> = args[1..]
        .iter()
        .map(|format| format.as_string::<i32>())
        .collect();
    let rows = (0..texts.len()).map(|row| {
        if texts.is_null(row) {
            return Ok(None);
        }
        let text = texts.value(row);
        if formats.is_empty() {
            return plain(text).map(Some);
        }
        let mut last = None;
        for format in formats.iter().filter(|format| format.is_valid(row)) {
            match formatted(text, format.value(row)) {
                Ok(micros) => return Ok(Some(micros)),
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(None), Err)
    });
    rows.collect()
}

fn plain(text: &str) -> Result<i64> {
    string_to_datetime(&Utc, text.trim())
        .map(|at| at.timestamp_micros())
        .map_err(|error| DataFusionError::ArrowError(Box::new(error), None))
}

/// Reads text by a format of strftime; `%Z` at its end takes the name of a zone.
fn formatted(text: &str, format: &str) -> Result<i64> {
    let wrong = |why: String| {
        execution(format!(
            "'{text}' does not fit the format '{format}': {why}"
        ))
    };
    let (text_left, format_left, zone) = match format.trim_end().strip_suffix(" %Z") {
        Some(format) => {
            let (text, name) = text
                .trim_end()
                .rsplit_once(' ')
                .ok_or_else(|| wrong("the zone is missing".to_owned()))?;
            let zone: Tz = name
                .parse()
                .map_err(|_| wrong(format!("unknown time zone '{name}'")))?;
            (text, format, Some(zone))
        }
        None => (text, format, None),
    };
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text_left, StrftimeItems::new(format_left))
        .map_err(|error| wrong(error.to_string()))?;
    if zone.is_none()
        && let Ok(at) = parsed.to_datetime()
    {
        return Ok(at.timestamp_micros());
    }
    let local = parsed
        .to_naive_datetime_with_offset(0)
        .or_else(|_| parsed.to_naive_date().map(|date| date.into()))
        .map_err(|error| wrong(error.to_string()))?;
    match zone {
        None => Ok(local.and_utc().timestamp_micros()),
        Some(zone) => zone
            .from_local_datetime(&local)
            .earliest()
            .map(|at: DateTime<Tz>| at.timestamp_micros())
            .ok_or_else(|| wrong("this local time does not exist in the zone".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_in_every_year() {
        let at = |text, format| formatted(text, format).map_err(|error| error.to_string());
        assert_eq!(at("31/01/24", "%d/%m/%y"), Ok(1_706_659_200_000_000));
        assert_eq!(
            at("31.12.9999 23:59", "%d.%m.%Y %H:%M"),
            Ok(253_402_300_740_000_000)
        );
        assert_eq!(
            at("2024-07-01 12:00 Europe/Berlin", "%Y-%m-%d %H:%M %Z"),
            Ok(1_719_828_000_000_000)
        );
        assert!(at("x", "%Y").unwrap_err().contains("does not fit"));
    }
}
