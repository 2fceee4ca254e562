//! From partition values back to the range of the source column.

use iceberg::spec::{PrimitiveLiteral, PrimitiveType, Transform};

use super::transform::first_day;
use crate::bound::{after_bytes, after_prefix};
use crate::value::Value;

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const HOURS_PER_DAY: i64 = 24;

/// Inclusive limits of a column's values, nulls aside; `None` where nothing is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Range {
    pub(crate) lower: Option<Value>,
    pub(crate) upper: Option<Value>,
}

/// The range of a column of type `source` in rows whose partition values are between `low` and `high`.
///
/// Never narrower than the truth. The two ends may come from different files, so both are inverted on their own.
pub(crate) fn range(
    transform: Transform,
    low: &PrimitiveLiteral,
    high: &PrimitiveLiteral,
    source: &PrimitiveType,
) -> Range {
    let value = |literal| Value::of(literal, source);
    match transform {
        Transform::Identity => Range {
            lower: value(low).and_then(Value::into_lower),
            upper: value(high).and_then(Value::into_upper),
        },
        Transform::Truncate(width) => Range {
            lower: value(low),
            upper: value(high).and_then(|v| truncated_end(v, width)),
        },
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
            time_range(transform, low, high, source)
        }
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => Range::default(),
    }
}

/// The greatest value that is cut to `value`.
fn truncated_end(value: Value, width: u32) -> Option<Value> {
    let rest = width.checked_sub(1)?;
    match value {
        Value::Int(v) => v.checked_add(i32::try_from(rest).ok()?).map(Value::Int),
        Value::Long(v) => v.checked_add(i64::from(rest)).map(Value::Long),
        Value::Decimal(v) => v.checked_add(i128::from(rest)).map(Value::Decimal),
        Value::String(v) if v.chars().count() < width as usize => Some(Value::String(v)),
        Value::String(v) => after_prefix(v.chars().collect()).map(Value::String),
        Value::Binary(v) if v.len() < width as usize => Some(Value::Binary(v)),
        Value::Binary(v) => after_bytes(v).map(Value::Binary),
        _ => None,
    }
}

fn time_range(
    transform: Transform,
    low: &PrimitiveLiteral,
    high: &PrimitiveLiteral,
    source: &PrimitiveType,
) -> Range {
    let (PrimitiveLiteral::Int(low), PrimitiveLiteral::Int(high)) = (low, high) else {
        return Range::default();
    };
    // Older writers rounded times before 1970 towards zero: their rows may belong one partition further back.
    let low = i64::from(*low) - i64::from(*low <= 0);
    let past = i64::from(*high) + 1;
    let at = |hour: i64, back: i64| match source {
        PrimitiveType::Date => i32::try_from(hour / HOURS_PER_DAY - back)
            .ok()
            .map(Value::Date),
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz => hour
            .checked_mul(MICROS_PER_HOUR)?
            .checked_sub(back)
            .map(Value::Timestamp),
        _ => None,
    };
    Range {
        lower: at(first_hour(transform, low), 0),
        upper: at(first_hour(transform, past), 1),
    }
}

/// Hours since 1970 of the beginning of a year, month, day or hour; whole days for all but hours.
fn first_hour(transform: Transform, unit: i64) -> i64 {
    match transform {
        Transform::Year => first_day(unit * 12) * HOURS_PER_DAY,
        Transform::Month => first_day(unit) * HOURS_PER_DAY,
        Transform::Day => unit * HOURS_PER_DAY,
        _ => unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(value: i32) -> PrimitiveLiteral {
        PrimitiveLiteral::Int(value)
    }

    #[test]
    fn a_month_is_its_first_to_its_last_microsecond() {
        let range = range(
            Transform::Month,
            &int(1),
            &int(1),
            &PrimitiveType::Timestamp,
        );
        let day = 24 * MICROS_PER_HOUR;
        assert_eq!(range.lower, Some(Value::Timestamp(31 * day)));
        assert_eq!(range.upper, Some(Value::Timestamp(59 * day - 1)));
    }

    #[test]
    fn dates_and_negative_years_are_inverted_with_room_for_old_writers() {
        let range = range(Transform::Year, &int(-1), &int(-1), &PrimitiveType::Date);
        assert_eq!(
            range.lower,
            Some(Value::Date(-365 * 2 - 1)),
            "1968 was a leap year"
        );
        assert_eq!(range.upper, Some(Value::Date(-1)));
    }

    #[test]
    fn a_widened_column_is_inverted_in_its_present_type() {
        let range = range(
            Transform::Truncate(10),
            &int(20),
            &int(30),
            &PrimitiveType::Long,
        );
        assert_eq!(
            range,
            Range {
                lower: Some(Value::Long(20)),
                upper: Some(Value::Long(39))
            }
        );
    }

    #[test]
    fn a_cut_string_reaches_to_the_next_prefix() {
        let text = |t: &str| PrimitiveLiteral::String(t.to_owned());
        let range = |t: &str| {
            range(
                Transform::Truncate(2),
                &text(t),
                &text(t),
                &PrimitiveType::String,
            )
            .upper
        };
        assert_eq!(range("ab"), Some(Value::String("ac".to_owned())));
        assert_eq!(range("a"), Some(Value::String("a".to_owned())));
    }

    #[test]
    fn far_years_give_no_range_rather_than_a_wrong_one() {
        let range = range(
            Transform::Hour,
            &int(i32::MIN),
            &int(i32::MAX),
            &PrimitiveType::Timestamptz,
        );
        assert_eq!(
            range.upper,
            Some(Value::Timestamp(
                (i64::from(i32::MAX) + 1) * MICROS_PER_HOUR - 1
            ))
        );
        let range = super::range(
            Transform::Year,
            &int(i32::MIN),
            &int(i32::MAX),
            &PrimitiveType::Timestamptz,
        );
        assert_eq!(range, Range::default());
    }
}
