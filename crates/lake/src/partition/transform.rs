//! Partition values of a whole column at once.
//!
//! Times and whole numbers are computed here: the `iceberg` crate puts some instants before 1970 into the wrong day,
//! wraps hours and overflows near the ends of the number range. Buckets, strings and bytes are the crate's.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampNanosecondType,
};
use arrow::error::ArrowError;
use forebay_core::{CivilDate, Error, Result};
use iceberg::spec::Transform;
use iceberg::transform::create_transform_function;

use crate::error::from_iceberg;

const SECONDS_PER_DAY: i64 = 86_400;
const SECONDS_PER_HOUR: i64 = 3_600;

/// The values of `transform`, one per row of `source`; null where the source is null.
///
/// Errors: `Data` when a value has no partition (out of range).
pub(super) fn apply(transform: Transform, source: &ArrayRef) -> Result<ArrayRef> {
    match transform {
        Transform::Identity => Ok(Arc::clone(source)),
        Transform::Year => days(source)?.years(),
        Transform::Month => days(source)?.months(),
        Transform::Day => Ok(Arc::new(days(source)?.0)),
        Transform::Hour => units(source, SECONDS_PER_HOUR).map(|hours| Arc::new(hours) as ArrayRef),
        Transform::Truncate(width) => truncate(source, width),
        other => {
            let function = create_transform_function(&other)
                .map_err(|e| from_iceberg("find a partition transform", e))?;
            function
                .transform(Arc::clone(source))
                .map_err(|e| from_iceberg("compute a partition", e))
        }
    }
}

fn out_of_range(error: ArrowError) -> Error {
    Error::data(
        "no_partition",
        "a value is out of the range that the table's partitions can name",
    )
    .with_source(error)
}

fn days(source: &ArrayRef) -> Result<Days> {
    match source.data_type() {
        DataType::Date32 => Ok(Days(source.as_primitive::<Date32Type>().unary(|day| day))),
        _ => units(source, SECONDS_PER_DAY).map(Days),
    }
}

/// Whole units of `seconds` since 1970, rounded down.
fn units(source: &ArrayRef, seconds: i64) -> Result<Int32Array> {
    let fit =
        |value: i64| i32::try_from(value).map_err(|e| ArrowError::ComputeError(e.to_string()));
    let made = match source.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => source
            .as_primitive::<TimestampMicrosecondType>()
            .try_unary::<_, Int32Type, ArrowError>(|t| fit(t.div_euclid(seconds * 1_000_000))),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => source
            .as_primitive::<TimestampNanosecondType>()
            .try_unary::<_, Int32Type, ArrowError>(|t| fit(t.div_euclid(seconds * 1_000_000_000))),
        other => {
            return Err(Error::bug(
                "bad_partition",
                format!("{other} has no days or hours"),
            ));
        }
    };
    made.map_err(out_of_range)
}

/// Days since 1970-01-01.
struct Days(Int32Array);

impl Days {
    fn years(&self) -> Result<ArrayRef> {
        Ok(Arc::new(
            self.0
                .unary::<_, Int32Type>(|day| year_and_month(day).0 - 1970),
        ))
    }

    fn months(&self) -> Result<ArrayRef> {
        let months = |day| {
            let (year, month) = year_and_month(day);
            (year - 1970) * 12 + month - 1
        };
        Ok(Arc::new(self.0.unary::<_, Int32Type>(months)))
    }
}

/// Year and month (from 1) of a day.
pub(super) fn year_and_month(day: i32) -> (i32, i32) {
    let date = CivilDate::of_day(i64::from(day));
    (
        i32::try_from(date.year).expect("an i32 of days is under six million years"),
        i32::from(date.month),
    )
}

/// Days since 1970-01-01 of the first day of a month, counted from January 1970.
pub(super) fn first_day(months: i64) -> i64 {
    let year = 1970 + months.div_euclid(12);
    let month = months.rem_euclid(12) + 1;
    let year = year - i64::from(month <= 2);
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5;
    let year_of_era = year.rem_euclid(400);
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

fn truncate(source: &ArrayRef, width: u32) -> Result<ArrayRef> {
    let low = |e: Option<i64>| {
        e.ok_or_else(|| ArrowError::ComputeError("below the smallest number".to_owned()))
    };
    match source.data_type() {
        DataType::Int32 => {
            let cut = |v: i32| {
                let wide = i64::from(v) - i64::from(v).rem_euclid(i64::from(width));
                low(Some(wide)).and_then(|wide| {
                    i32::try_from(wide).map_err(|e| ArrowError::ComputeError(e.to_string()))
                })
            };
            let made = source
                .as_primitive::<Int32Type>()
                .try_unary::<_, Int32Type, ArrowError>(cut);
            Ok(Arc::new(made.map_err(out_of_range)?))
        }
        DataType::Int64 => {
            let cut = |v: i64| low(v.checked_sub(v.rem_euclid(i64::from(width))));
            let made = source
                .as_primitive::<Int64Type>()
                .try_unary::<_, Int64Type, ArrowError>(cut);
            Ok(Arc::new(made.map_err(out_of_range)?))
        }
        DataType::Decimal128(precision, scale) => {
            let cut = |v: i128| v - v.rem_euclid(i128::from(width));
            let made = source
                .as_primitive::<Decimal128Type>()
                .unary::<_, Decimal128Type>(cut);
            let made = made
                .with_precision_and_scale(*precision, *scale)
                .map_err(out_of_range)?;
            made.validate_decimal_precision(*precision)
                .map_err(out_of_range)?;
            Ok(Arc::new(made))
        }
        DataType::LargeBinary => truncate(
            &cast(source, &DataType::Binary).map_err(out_of_range)?,
            width,
        ),
        _ => {
            let function = create_transform_function(&Transform::Truncate(width));
            let function = function.map_err(|e| from_iceberg("find a partition transform", e))?;
            function
                .transform(Arc::clone(source))
                .map_err(|e| from_iceberg("compute a partition", e))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, TimestampMicrosecondArray};
    use chrono::{DateTime, Datelike, NaiveDate};
    use proptest::prelude::*;

    use super::*;

    fn one(transform: Transform, micros: i64) -> i32 {
        let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![micros]));
        apply(transform, &column)
            .unwrap()
            .as_primitive::<Int32Type>()
            .value(0)
    }

    proptest! {
        #[test]
        fn times_fall_into_the_calendar_s_partitions(micros in -8_000_000_000_000_000_000_i64..8_000_000_000_000_000_000) {
            let Some(instant) = DateTime::from_timestamp_micros(micros) else { return Ok(()) };
            let day = instant.date_naive().signed_duration_since(NaiveDate::default()).num_days();
            prop_assert_eq!(i64::from(one(Transform::Day, micros)), day);
            prop_assert_eq!(one(Transform::Year, micros), instant.year() - 1970);
            prop_assert_eq!(one(Transform::Month, micros), (instant.year() - 1970) * 12 + instant.month0() as i32);
            let months = i64::from(one(Transform::Month, micros));
            prop_assert!(first_day(months) <= day && day < first_day(months + 1));
        }

        #[test]
        fn whole_numbers_are_cut_downwards(value: i64, width in 1_u32..1_000_000) {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
            match truncate(&column, width) {
                Ok(cut) => {
                    let cut = cut.as_primitive::<Int64Type>().value(0);
                    prop_assert!(cut <= value && i128::from(value) - i128::from(cut) < i128::from(width));
                    prop_assert_eq!(cut.rem_euclid(i64::from(width)), 0);
                }
                Err(error) => {
                    prop_assert_eq!(error.code(), "no_partition");
                    prop_assert!(i128::from(value) - i128::from(width) < i128::from(i64::MIN));
                }
            }
        }
    }

    #[test]
    fn half_a_second_before_midnight_before_1970_is_the_day_before() {
        // iceberg 0.10.1 says -1.
        assert_eq!(one(Transform::Day, -86_400_500_000), -2);
        assert_eq!(one(Transform::Hour, -1), -1);
        let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]));
        assert_eq!(
            apply(Transform::Hour, &far).unwrap_err().code(),
            "no_partition"
        );
    }
}
