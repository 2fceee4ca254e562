//! `date_trunc` and `date_bin` in microseconds, for every year that a timestamp can have.
//!
//! The engine's versions go through nanoseconds, which wrap round before 1677 and after 2262.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime};
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};
use crate::types::{local, utc};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 2000-01-03, a Monday; days from the epoch.
const MONDAY: i64 = 10_959;
/// What a moment can be cut to; [`CalendarUnit`] knows shorter names, too.
pub(crate) const UNITS: [&str; 13] = [
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
    "millennium",
];
/// Where bins begin when no origin is given: 1970-01-01T00:00:00.
const DEFAULT_ORIGIN: i64 = 0;

/// `date_trunc(unit, timestamp)`.
pub(crate) fn date_trunc() -> ScalarDefinition {
    ScalarDefinition::new("date_trunc", trunc_returns, trunc_coerces, trunc_kernel)
        .with_alias("datetrunc")
        .with_constant_first()
}

/// Whether [`date_trunc`] knows the unit.
pub(crate) fn is_unit(name: &str) -> bool {
    CalendarUnit::parse(name).is_ok()
}

/// `date_bin(stride, timestamp[, origin])`.
pub(crate) fn date_bin() -> ScalarDefinition {
    ScalarDefinition::new("date_bin", bin_returns, bin_coerces, bin_kernel)
}

/// The type in which a moment is computed; text and dates are timestamps without a zone.
fn moment(kind: &DataType) -> Option<DataType> {
    Some(match kind {
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 | DataType::Null => {
            local()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => local(),
        DataType::Timestamp(_, Some(_)) => utc(),
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        _ => return None,
    })
}

fn trunc_coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let takes = "a unit such as 'day' and a timestamp, date or time";
    match types {
        [unit, value] if unit.is_string() || *unit == DataType::Null => match moment(value) {
            Some(value) => Ok(vec![DataType::Utf8, value]),
            None => Err(wrong_arguments("date_trunc", takes, types)),
        },
        _ => Err(wrong_arguments("date_trunc", takes, types)),
    }
}

fn trunc_returns(types: &[DataType]) -> Result<DataType> {
    Ok(types[1].clone())
}

fn trunc_kernel(args: &[ArrayRef]) -> Result<ArrayRef> {
    let units = args[0].as_string::<i32>();
    if let Some(times) = args[1].as_primitive_opt::<Time64MicrosecondType>() {
        let truncated = truncate_each(units, times, |unit, value| match unit.micros() {
            Some(size) if size < DAY => Ok(value - value.rem_euclid(size)),
            _ => Err(execution("a time of day has no unit above hour")),
        })?;
        return Ok(Arc::new(truncated));
    }
    let stamps = args[1].as_primitive::<TimestampMicrosecondType>();
    let zone = args[1].data_type().clone();
    let truncated = truncate_each(units, stamps, truncate)?;
    Ok(Arc::new(truncated.with_data_type(zone)))
}

fn truncate_each<T: arrow::datatypes::ArrowPrimitiveType<Native = i64>>(
    units: &StringArray,
    values: &PrimitiveArray<T>,
    by: impl Fn(CalendarUnit, i64) -> Result<i64>,
) -> Result<PrimitiveArray<T>> {
    if units.len() == 1 {
        if units.is_null(0) {
            return Ok(PrimitiveArray::new_null(values.len()));
        }
        let unit = CalendarUnit::parse(units.value(0))?;
        return values.try_unary(|value| by(unit, value));
    }
    let mut known: Option<(&str, CalendarUnit)> = None;
    let rows = (0..values.len()).map(|row| {
        if units.is_null(row) || values.is_null(row) {
            return Ok(None);
        }
        let name = units.value(row);
        let unit = match known {
            Some((last, unit)) if last == name => unit,
            _ => CalendarUnit::parse(name)?,
        };
        known = Some((name, unit));
        by(unit, values.value(row)).map(Some)
    });
    rows.collect()
}

#[derive(Debug, Clone, Copy)]
enum CalendarUnit {
    Fixed(i64),
    Week,
    /// So many months from January of year 1, or from `first`.
    Months {
        length: i64,
        first_year: i64,
    },
}

impl CalendarUnit {
    fn parse(name: &str) -> Result<Self> {
        let years = |length: i64, first_year: i64| Self::Months {
            length: 12 * length,
            first_year,
        };
        Ok(match name.trim().to_ascii_lowercase().as_str() {
            "microsecond" | "microseconds" | "us" => Self::Fixed(1),
            "millisecond" | "milliseconds" | "ms" => Self::Fixed(1_000),
            "second" | "seconds" => Self::Fixed(SECOND),
            "minute" | "minutes" => Self::Fixed(60 * SECOND),
            "hour" | "hours" => Self::Fixed(3_600 * SECOND),
            "day" | "days" => Self::Fixed(DAY),
            "week" | "weeks" => Self::Week,
            "month" | "months" => Self::Months {
                length: 1,
                first_year: 0,
            },
            "quarter" | "quarters" => Self::Months {
                length: 3,
                first_year: 0,
            },
            "year" | "years" => years(1, 0),
            "decade" | "decades" => years(10, 0),
            "century" | "centuries" => years(100, 1),
            "millennium" | "millennia" => years(1_000, 1),
            other => {
                let units = UNITS.join(", ");
                return Err(execution(format!(
                    "date_trunc() has no unit '{other}'; the units are {units}"
                )));
            }
        })
    }

    fn micros(self) -> Option<i64> {
        match self {
            Self::Fixed(size) => Some(size),
            _ => None,
        }
    }
}

fn truncate(unit: CalendarUnit, value: i64) -> Result<i64> {
    match unit {
        CalendarUnit::Fixed(size) => value
            .checked_sub(value.rem_euclid(size))
            .ok_or_else(|| out_of_range(value)),
        CalendarUnit::Week => {
            let day = value.div_euclid(DAY);
            (day - (day - MONDAY).rem_euclid(7))
                .checked_mul(DAY)
                .ok_or_else(|| out_of_range(value))
        }
        CalendarUnit::Months { length, first_year } => {
            let date = civil(value)?.date();
            let months = (i64::from(date.year()) - first_year) * 12 + i64::from(date.month0());
            start_of_month(months - months.rem_euclid(length) + first_year * 12)
        }
    }
}

fn civil(micros: i64) -> Result<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros)
        .map(|at| at.naive_utc())
        .ok_or_else(|| out_of_range(micros))
}

/// The first microsecond of the month that is this many months from January of year 0.
fn start_of_month(months: i64) -> Result<i64> {
    let year = i32::try_from(months.div_euclid(12)).unwrap_or(i32::MAX);
    let month = u32::try_from(months.rem_euclid(12)).unwrap_or(0) + 1;
    NaiveDate::from_ymd_opt(year, month, 1)
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map(|at| at.and_utc().timestamp_micros())
        .ok_or_else(|| execution(format!("year {year} is out of range for a timestamp")))
}

fn out_of_range(micros: i64) -> datafusion::common::DataFusionError {
    execution(format!(
        "the timestamp {micros} (microseconds since 1970) is out of range"
    ))
}

fn bin_coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let takes = "an interval, a timestamp, date or time, and an origin of the same type";
    let wrong = || wrong_arguments("date_bin", takes, types);
    let stride = types.first().ok_or_else(wrong)?;
    if !matches!(stride, DataType::Interval(_) | DataType::Null) && !stride.is_string() {
        return Err(wrong());
    }
    let kind = types.get(1).and_then(moment).ok_or_else(wrong)?;
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    match types.len() {
        2 => Ok(vec![interval, kind]),
        3 => Ok(vec![interval, kind.clone(), kind]),
        _ => Err(wrong()),
    }
}

fn bin_returns(types: &[DataType]) -> Result<DataType> {
    Ok(types[1].clone())
}

fn bin_kernel(args: &[ArrayRef]) -> Result<ArrayRef> {
    let strides = args[0].as_primitive::<IntervalMonthDayNanoType>();
    let kind = args[1].data_type().clone();
    let is_time = matches!(kind, DataType::Time64(_));
    let as_micros = |array: &ArrayRef| -> Result<ArrayRef> { Ok(cast(array, &DataType::Int64)?) };
    let values = as_micros(&args[1])?;
    let values = values.as_primitive::<arrow::datatypes::Int64Type>();
    let origins = args.get(2).map(as_micros).transpose()?;
    let origins = origins
        .as_ref()
        .map(|array| array.as_primitive::<arrow::datatypes::Int64Type>());
    let rows = (0..values.len()).map(|row| {
        let origin = match origins {
            Some(origins) if origins.is_null(row) => return Ok(None),
            Some(origins) => origins.value(row),
            None => DEFAULT_ORIGIN,
        };
        if strides.is_null(row) || values.is_null(row) {
            return Ok(None);
        }
        let stride = strides.value(row);
        let value = values.value(row);
        let binned = if stride.months != 0 {
            if is_time || stride.days != 0 || stride.nanoseconds != 0 {
                return Err(execution(
                    "date_bin takes months alone, or days and smaller units",
                ));
            }
            bin_months(i64::from(stride.months), value, origin)?
        } else {
            bin_fixed(fixed(stride.days, stride.nanoseconds)?, value, origin)?
        };
        Ok(Some(binned))
    });
    let binned: arrow::array::Int64Array = rows.collect::<Result<_>>()?;
    Ok(cast(&binned, &kind)?)
}

fn fixed(days: i32, nanoseconds: i64) -> Result<i64> {
    if nanoseconds % 1_000 != 0 {
        return Err(execution(
            "the stride of date_bin must be whole microseconds",
        ));
    }
    i64::from(days)
        .checked_mul(DAY)
        .and_then(|days| days.checked_add(nanoseconds / 1_000))
        .filter(|stride| *stride > 0)
        .ok_or_else(|| execution("the stride of date_bin must be positive"))
}

fn bin_fixed(stride: i64, value: i64, origin: i64) -> Result<i64> {
    let offset = i128::from(value) - i128::from(origin);
    let binned = offset - offset.rem_euclid(i128::from(stride)) + i128::from(origin);
    i64::try_from(binned).map_err(|_| out_of_range(value))
}

fn bin_months(stride: i64, value: i64, origin: i64) -> Result<i64> {
    if stride < 0 {
        return Err(execution("the stride of date_bin must be positive"));
    }
    let from = civil(origin)?;
    let at = civil(value)?;
    let apart = (i64::from(at.year()) - i64::from(from.year())) * 12 + i64::from(at.month0())
        - i64::from(from.month0());
    let mut step = apart.div_euclid(stride) * stride;
    let mut start = add_months(from, step).ok_or_else(|| out_of_range(value))?;
    if start > at {
        step -= stride;
        start = add_months(from, step).ok_or_else(|| out_of_range(value))?;
    }
    Ok(start.and_utc().timestamp_micros())
}

fn add_months(from: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let count = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months >= 0 {
        from.checked_add_months(count)
    } else {
        from.checked_sub_months(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
            .unwrap()
            .and_utc()
            .timestamp_micros()
    }

    #[test]
    fn every_unit_is_right_from_year_1_to_9999() {
        for (unit, value, expected) in [
            ("month", "9999-12-31 23:59:59", "9999-12-01 00:00:00"),
            ("year", "0001-05-06 07:08:09", "0001-01-01 00:00:00"),
            ("week", "9999-12-31 23:59:59", "9999-12-27 00:00:00"),
            ("week", "2000-01-02 00:00:00", "1999-12-27 00:00:00"),
            ("quarter", "1600-12-31 01:00:00", "1600-10-01 00:00:00"),
            ("hour", "0001-01-01 07:08:09", "0001-01-01 07:00:00"),
            ("decade", "1999-06-01 00:00:00", "1990-01-01 00:00:00"),
            ("century", "2000-06-01 00:00:00", "1901-01-01 00:00:00"),
            ("millennium", "2001-06-01 00:00:00", "2001-01-01 00:00:00"),
        ] {
            let unit = CalendarUnit::parse(unit).unwrap();
            assert_eq!(truncate(unit, at(value)).unwrap(), at(expected), "{value}");
        }
    }

    #[test]
    fn bins_of_months_begin_at_the_origin() {
        let origin = at("2000-01-15 00:00:00");
        let binned = bin_months(3, at("2000-04-14 23:00:00"), origin).unwrap();
        assert_eq!(binned, origin);
        let binned = bin_months(3, at("1999-12-31 00:00:00"), origin).unwrap();
        assert_eq!(binned, at("1999-10-15 00:00:00"));
    }
}
