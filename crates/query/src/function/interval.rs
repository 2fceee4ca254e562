//! Intervals as lengths: a month is 30 days and a day 24 hours where they are compared, as in Postgres. Beside a time of day only
//! their hours count.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, IntervalMonthDayNanoArray, Time64MicrosecondArray,
};
use arrow::compute::{binary, cast};
use arrow::datatypes::{
    DataType, DurationMicrosecondType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit,
};
use arrow::error::ArrowError;
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};

const DAYS_OF_MONTH: i32 = 30;
const SECONDS_OF_YEAR: i64 = 31_557_600;
const NANOS_OF_DAY: i64 = 86_400_000_000_000;
const MICROS_OF_DAY: i64 = 86_400_000_000;
/// Microseconds whose nanoseconds have 64 bits.
const MICROS_MAX: f64 = 9.2e15;

/// The interval times a number; a part of a month becomes days, a part of a day time.
pub(crate) fn times() -> ScalarDefinition {
    ScalarDefinition::new("interval_times", interval_type, with_number, |args| {
        scaled(args, Ok)
    })
}

/// The interval by a number.
pub(crate) fn divided() -> ScalarDefinition {
    ScalarDefinition::new("interval_divided", interval_type, with_number, |args| {
        scaled(args, |divisor| match divisor == 0.0 {
            true => Err(execution("an interval is divided by zero")),
            false => Ok(1.0 / divisor),
        })
    })
}

/// The time of day that is an interval later, modulo 24 hours; months and days of the interval have no effect.
pub(crate) fn later() -> ScalarDefinition {
    ScalarDefinition::new("time_later", time_type, with_time, |args| {
        shifted(args, |time, micros| time + micros)
    })
}

/// The same, earlier.
pub(crate) fn earlier() -> ScalarDefinition {
    ScalarDefinition::new("time_earlier", time_type, with_time, |args| {
        shifted(args, |time, micros| time - micros)
    })
}

/// The difference of two timestamps as days and the time that is left.
pub(crate) fn days_and_time() -> ScalarDefinition {
    let one = |types: &[DataType]| Ok(vec![own(&types[0]).unwrap_or_else(|| types[0].clone())]);
    ScalarDefinition::new("days_and_time", interval_type, one, |args| {
        Ok(Arc::new(intervals(&args[0])))
    })
}

/// The seconds of an interval as Postgres counts them: a year has 365.25 days, a month that is left 30.
pub(crate) fn epoch() -> ScalarDefinition {
    let double = |_: &[DataType]| Ok(DataType::Float64);
    let one = |types: &[DataType]| Ok(vec![own(&types[0]).unwrap_or_else(|| types[0].clone())]);
    ScalarDefinition::new("interval_epoch", double, one, |args| {
        let seconds: Float64Array = intervals(&args[0]).unary(seconds_of);
        Ok(Arc::new(seconds))
    })
}

#[expect(clippy::cast_precision_loss, reason = "seconds are a double")]
fn seconds_of(interval: IntervalMonthDayNano) -> f64 {
    // A quarter of a day is whole seconds.
    let days =
        i64::from(interval.days) + i64::from(interval.months % 12) * i64::from(DAYS_OF_MONTH);
    let whole = i64::from(interval.months / 12) * SECONDS_OF_YEAR + days * 86_400;
    whole as f64 + interval.nanoseconds as f64 / 1e9
}

/// Differences of timestamps as [`days_and_time`] has them.
pub(crate) fn of_difference(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let micros = cast(array, &DataType::Duration(TimeUnit::Microsecond))?;
    Ok(Arc::new(intervals(&micros)))
}

/// Intervals of equal length in one form, whose parts order as the lengths do.
pub(crate) fn canonical(array: &ArrayRef) -> ArrayRef {
    let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
    Arc::new(intervals.unary::<_, IntervalMonthDayNanoType>(canonical_one))
}

fn canonical_one(interval: IntervalMonthDayNano) -> IntervalMonthDayNano {
    let carried = interval.nanoseconds.div_euclid(NANOS_OF_DAY);
    let days = i64::from(interval.days) + carried;
    let month = i64::from(DAYS_OF_MONTH);
    let months = i64::from(interval.months) + days.div_euclid(month);
    // Beyond 178 million years all are equal.
    let bounded = months.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
    IntervalMonthDayNano {
        months: i32::try_from(bounded).unwrap_or_default(),
        days: i32::try_from(days.rem_euclid(month)).unwrap_or_default(),
        nanoseconds: interval.nanoseconds.rem_euclid(NANOS_OF_DAY),
    }
}

fn interval_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Interval(IntervalUnit::MonthDayNano))
}

fn time_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Time64(TimeUnit::Microsecond))
}

fn with_time(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [DataType::Time32(_) | DataType::Time64(_), span] if own(span).is_some() => {
            let kinds = [Some(time_type(types)?), own(span)];
            Ok(kinds.into_iter().flatten().collect())
        }
        _ => Err(wrong_arguments("time", "a time and an interval", types)),
    }
}

fn shifted(args: &[ArrayRef], shift: fn(i64, i64) -> i64) -> Result<ArrayRef> {
    let times = args[0].as_primitive::<Time64MicrosecondType>();
    let times: Time64MicrosecondArray = binary(times, &intervals(&args[1]), |time, interval| {
        let micros = interval.nanoseconds.div_euclid(1_000);
        shift(time, micros).rem_euclid(MICROS_OF_DAY)
    })?;
    Ok(Arc::new(times))
}

fn with_number(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [span, _] => {
            let wrong = || wrong_arguments("interval", "an interval and a number", types);
            Ok(vec![own(span).ok_or_else(wrong)?, DataType::Float64])
        }
        _ => Err(wrong_arguments(
            "interval",
            "an interval and a number",
            types,
        )),
    }
}

/// The type that a kernel takes.
fn own(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Duration(_) => Some(DataType::Duration(TimeUnit::Microsecond)),
        DataType::Interval(_) => Some(DataType::Interval(IntervalUnit::MonthDayNano)),
        _ => None,
    }
}

fn intervals(array: &ArrayRef) -> IntervalMonthDayNanoArray {
    match array.as_primitive_opt::<DurationMicrosecondType>() {
        Some(differences) => differences.unary(|micros| IntervalMonthDayNano {
            months: 0,
            // 64 bits of microseconds have fewer days than 32 bits.
            days: i32::try_from(micros / MICROS_OF_DAY).unwrap_or_default(),
            nanoseconds: micros % MICROS_OF_DAY * 1_000,
        }),
        None => array.as_primitive::<IntervalMonthDayNanoType>().clone(),
    }
}

fn scaled(args: &[ArrayRef], factor: impl Fn(f64) -> Result<f64>) -> Result<ArrayRef> {
    let intervals = intervals(&args[0]);
    let numbers: &Float64Array = args[1].as_primitive::<Float64Type>();
    let rows = intervals.iter().zip(numbers).map(|row| match row {
        (Some(interval), Some(number)) => scale(interval, factor(number)?).map(Some),
        _ => Ok(None),
    });
    Ok(Arc::new(
        rows.collect::<Result<IntervalMonthDayNanoArray>>()?,
    ))
}

/// As Postgres does it.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
#[expect(clippy::cast_precision_loss, reason = "an interval has microseconds")]
fn scale(interval: IntervalMonthDayNano, factor: f64) -> Result<IntervalMonthDayNano> {
    let wide_months = f64::from(interval.months) * factor;
    let days_left = (wide_months - wide_months.trunc()) * f64::from(DAYS_OF_MONTH);
    let wide_days = f64::from(interval.days) * factor + rounded(days_left);
    let time_left = rounded(wide_days - wide_days.trunc()) * MICROS_OF_DAY as f64;
    let wide_micros = (interval.nanoseconds as f64 / 1e3 * factor + time_left).round();
    // More hours than 64 bits of nanoseconds have become days.
    let carried_days = match wide_micros.abs() < MICROS_MAX {
        true => 0.0,
        false => (wide_micros / MICROS_OF_DAY as f64).trunc(),
    };
    let wide_days = wide_days.trunc() + carried_days;
    let micros = wide_micros - carried_days * MICROS_OF_DAY as f64;
    let fits = |value: f64, most: f64| value.is_finite() && value.abs() < most;
    let parts = [wide_months, wide_days].map(|value| fits(value, f64::from(i32::MAX)));
    if parts.contains(&false) || !fits(micros, MICROS_MAX) {
        return Err(execution("an interval times this number is out of range"));
    }
    Ok(IntervalMonthDayNano {
        months: wide_months as i32,
        days: wide_days as i32,
        nanoseconds: micros as i64 * 1_000,
    })
}

/// To a microsecond of a day, which a binary fraction misses by a little.
fn rounded(days: f64) -> f64 {
    let micros = 86_400_000_000.0;
    (days * micros).round() / micros
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn interval(months: i32, days: i32, hours: i64) -> IntervalMonthDayNano {
        IntervalMonthDayNano {
            months,
            days,
            nanoseconds: hours * 3_600_000_000_000,
        }
    }

    #[test]
    fn equal_lengths_have_one_form_and_order() {
        let same = |one, other| canonical_one(one) == canonical_one(other);
        assert!(same(interval(0, 1, 0), interval(0, 0, 24)));
        assert!(same(interval(1, 0, 0), interval(0, 30, 0)));
        assert!(same(interval(0, 1, -24), interval(0, 0, 0)));
        assert!(same(interval(-1, 0, 0), interval(0, -30, 0)));
        assert!(canonical_one(interval(0, 0, 30)) > canonical_one(interval(0, 1, 0)));
        assert!(canonical_one(interval(0, -1, 0)) < canonical_one(interval(0, 0, -23)));
        assert!(canonical_one(interval(1, -1, 0)) < canonical_one(interval(0, 30, 0)));
    }

    #[test]
    fn parts_of_months_are_days() {
        let scaled = |interval, factor| scale(interval, factor).unwrap();
        assert_eq!(scaled(interval(0, 1, 0), 3.0), interval(0, 3, 0));
        assert_eq!(scaled(interval(0, 1, 0), 0.5), interval(0, 0, 12));
        assert_eq!(scaled(interval(1, 0, 0), 1.5), interval(1, 15, 0));
        assert_eq!(scaled(interval(1, 1, 1), -2.0), interval(-2, -2, -2));
        assert_eq!(scaled(interval(0, 10, 0), 0.1), interval(0, 1, 0));
        assert!(scale(interval(0, 1, 0), 1e10).is_err());
    }
}
