//! Timestamps and dates of every year: those that Arrow cannot display (beyond the year 262143) are displayed by the same
//! rules. A time of day that no clock shows has no text: it is an error, never a value.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, StringArray};
use arrow::datatypes::{
    DataType, Date32Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use forebay_core::CivilDate;

const DAY_MICROS: i64 = 86_400_000_000;
/// Days from 1970 within which Arrow shows a date.
const SHOWN_DAYS_MAX: i64 = 365 * 260_000;

/// The column as text when Arrow cannot show a value of it, else the column.
pub fn shown(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let stamps = column.as_primitive::<TimestampMicrosecondType>();
            let is_far = |micros: i64| (micros / DAY_MICROS).abs() > SHOWN_DAYS_MAX;
            if !stamps.iter().flatten().any(is_far) {
                return Ok(column.clone());
            }
            let zone = if zone.is_some() { "Z" } else { "" };
            let texts = stamps.iter().map(|micros| Some(timestamp(micros?) + zone));
            Arc::new(texts.collect::<StringArray>())
        }
        DataType::Date32 => {
            let dates = column.as_primitive::<Date32Type>();
            let is_far = |days: i32| i64::from(days).abs() > SHOWN_DAYS_MAX;
            if !dates.iter().flatten().any(is_far) {
                return Ok(column.clone());
            }
            let texts = dates.iter().map(|days| Some(date(i64::from(days?))));
            Arc::new(texts.collect::<StringArray>())
        }
        _ => column.clone(),
    })
}

/// Errors: `CastError` for a column with a time of day before 0:00 or after 24 hours.
pub(super) fn check_times(column: &dyn Array) -> Result<(), ArrowError> {
    let is_shown = match column.data_type() {
        DataType::Time32(TimeUnit::Second) => are_in_day::<Time32SecondType>(column, 1),
        DataType::Time32(_) => are_in_day::<Time32MillisecondType>(column, 1_000),
        DataType::Time64(TimeUnit::Microsecond) => {
            are_in_day::<Time64MicrosecondType>(column, 1_000_000)
        }
        DataType::Time64(_) => are_in_day::<Time64NanosecondType>(column, 1_000_000_000),
        _ => true,
    };
    match is_shown {
        true => Ok(()),
        false => Err(ArrowError::CastError(
            "a time of day is not between 00:00 and 24:00".to_owned(),
        )),
    }
}

fn are_in_day<T>(column: &dyn Array, per_second: i64) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let day = 0..86_400 * per_second;
    let mut times = column.as_primitive::<T>().iter().flatten();
    times.all(|time| day.contains(&time.into()))
}

fn timestamp(micros: i64) -> String {
    let days = micros.div_euclid(DAY_MICROS);
    let rest = micros.rem_euclid(DAY_MICROS);
    let seconds = rest / 1_000_000;
    let fraction = rest % 1_000_000;
    let time = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    let date = date(days);
    if fraction == 0 {
        format!("{date}T{time}")
    } else {
        format!("{date}T{time}.{fraction:06}")
    }
}

fn date(days: i64) -> String {
    let CivilDate { year, month, day } = CivilDate::of_day(days);
    let sign = match year {
        10_000.. => "+",
        _ => "",
    };
    format!("{sign}{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_beyond_arrow_are_shown() {
        assert_eq!(timestamp(i64::MAX), "+294247-01-10T04:00:54.775807");
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(date(11_016), "2000-02-29");
    }
}
