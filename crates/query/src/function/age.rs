//! `age(end, start)`: the years, months, days and time between two moments by the calendar, as in Postgres.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimestampMicrosecondType};
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime};
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};
use crate::types::{local, utc};

const MICROS_OF_DAY: i64 = 86_400_000_000;

pub(crate) fn age() -> ScalarDefinition {
    let interval = |_: &[DataType]| Ok(DataType::Interval(IntervalUnit::MonthDayNano));
    ScalarDefinition::new("age", interval, coerces, |args| {
        let [ends, starts] = [0, 1].map(|at| args[at].as_primitive::<TimestampMicrosecondType>());
        let rows = ends.iter().zip(starts).map(|row| match row {
            (Some(end), Some(start)) => between(end, start).map(Some),
            _ => Ok(None),
        });
        let ages = rows.collect::<Result<IntervalMonthDayNanoArray>>()?;
        Ok(Arc::new(ages) as ArrayRef)
    })
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let is_moment = |kind: &DataType| {
        matches!(
            kind,
            DataType::Date32 | DataType::Timestamp(..) | DataType::Null
        ) || kind.is_string()
    };
    let has_zone = |kind: &DataType| matches!(kind, DataType::Timestamp(_, Some(_)));
    match types {
        [_, _] if types.iter().all(is_moment) => Ok(match types.iter().any(has_zone) {
            true => vec![utc(), utc()],
            false => vec![local(), local()],
        }),
        _ => Err(wrong_arguments("age", "2 dates or timestamps", types)),
    }
}

fn between(end: i64, start: i64) -> Result<IntervalMonthDayNano> {
    let sign: i32 = if end < start { -1 } else { 1 };
    let earlier = moment(end.min(start))?;
    let later = moment(end.max(start))?;
    let mut months = (later.year() - earlier.year()) * 12 + later.month0().cast_signed()
        - earlier.month0().cast_signed();
    let mut days = later.day().cast_signed() - earlier.day().cast_signed();
    let mut micros = time_of_day(end.max(start)) - time_of_day(end.min(start));
    if micros < 0 {
        micros += MICROS_OF_DAY;
        days -= 1;
    }
    if days < 0 {
        // The days that are left of the earlier month.
        days += days_of_month(earlier.date())?;
        months -= 1;
    }
    Ok(IntervalMonthDayNano {
        months: months * sign,
        days: days * sign,
        nanoseconds: micros * 1_000 * i64::from(sign),
    })
}

fn moment(micros: i64) -> Result<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros)
        .map(|moment| moment.naive_utc())
        .ok_or_else(|| execution("age() of a timestamp out of range"))
}

fn time_of_day(micros: i64) -> i64 {
    micros.rem_euclid(MICROS_OF_DAY)
}

fn days_of_month(date: NaiveDate) -> Result<i32> {
    let first = date.with_day(1);
    let next = first.and_then(|first| first.checked_add_months(Months::new(1)));
    let days = first
        .zip(next)
        .map(|(first, next)| (next - first).num_days());
    days.and_then(|days| i32::try_from(days).ok())
        .ok_or_else(|| execution("age() of a timestamp out of range"))
}
