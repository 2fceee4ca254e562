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
            lower: value(low)
                .filter(|_| !value(high).is_some_and(|high| may_be_wrapped(&high, width))),
            upper: value(high).and_then(|v| truncated_end(v, width)),
        },
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
            time_range(transform, low, high, source)
        }
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => Range::default(),
    }
}

/// Whether the partition may hold the smallest numbers: cut downwards they leave the range, and come back at its other end where a
/// writer does not check for that. The column may have been narrower when it was written.
fn may_be_wrapped(highest: &Value, width: u32) -> bool {
    let is_near = |value: i64, end: i64| value <= end && value > end - i64::from(width);
    match highest {
        Value::Int(v) => is_near(i64::from(*v), i64::from(i32::MAX)),
        Value::Long(v) => is_near(*v, i64::from(i32::MAX)) || is_near(*v, i64::MAX),
        _ => false,
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
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, AsArray, BinaryArray, Decimal128Array, Int32Array, Int64Array, StringArray,
    };
    use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};
    use proptest::prelude::*;

    use super::super::transform::apply;
    use super::*;

    /// A value of a column, and the column with it alone.
    fn column() -> impl Strategy<Value = (Value, ArrayRef, PrimitiveType)> {
        let near = |end: i64| (end.saturating_sub(40)..=end).boxed();
        let whole = prop_oneof![
            -40_i64..40,
            any::<i64>(),
            near(i64::MIN + 40),
            near(i64::MAX),
            near(i64::from(i32::MIN) + 40),
            near(i64::from(i32::MAX)),
        ];
        let text = "[aé水🦀\u{D7FF}\u{10FFFF}]{0,6}";
        let bytes = prop::collection::vec(prop_oneof![Just(255_u8), any::<u8>()], 0..6);
        let long = whole.clone().prop_map(|v| {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![v]));
            (Value::Long(v), column, PrimitiveType::Long)
        });
        let int = whole.clone().prop_filter_map("of 32 bits", |v| {
            let v = i32::try_from(v).ok()?;
            let column: ArrayRef = Arc::new(Int32Array::from(vec![v]));
            Some((Value::Int(v), column, PrimitiveType::Int))
        });
        let decimal = whole.prop_map(|v| {
            let v = i128::from(v);
            let column = Decimal128Array::from(vec![v]).with_precision_and_scale(25, 2);
            let column: ArrayRef = Arc::new(column.unwrap());
            let kind = PrimitiveType::Decimal {
                precision: 25,
                scale: 2,
            };
            (Value::Decimal(v), column, kind)
        });
        let text = text.prop_map(|v| {
            let column: ArrayRef = Arc::new(StringArray::from(vec![v.as_str()]));
            (Value::String(v), column, PrimitiveType::String)
        });
        let binary = bytes.prop_map(|v| {
            let column: ArrayRef = Arc::new(BinaryArray::from(vec![&v[..]]));
            (Value::Binary(v), column, PrimitiveType::Binary)
        });
        prop_oneof![long, int, decimal, text, binary]
    }

    fn literal(column: &ArrayRef) -> PrimitiveLiteral {
        if let Some(array) = column.as_primitive_opt::<Int32Type>() {
            return PrimitiveLiteral::Int(array.value(0));
        }
        if let Some(array) = column.as_primitive_opt::<Int64Type>() {
            return PrimitiveLiteral::Long(array.value(0));
        }
        if let Some(array) = column.as_primitive_opt::<Decimal128Type>() {
            return PrimitiveLiteral::Int128(array.value(0));
        }
        if let Some(array) = column.as_string_opt::<i32>() {
            return PrimitiveLiteral::String(array.value(0).to_owned());
        }
        PrimitiveLiteral::Binary(column.as_binary::<i32>().value(0).to_vec())
    }

    proptest! {
        /// Each value, evaluated, is in the range of the partition that it is in.
        #[test]
        fn a_truncated_partition_has_the_values_that_are_cut_to_it(
            (value, column, kind) in column(),
            width in prop_oneof![1_u32..12, Just(i32::MAX.cast_unsigned())],
        ) {
            let transform = Transform::Truncate(width);
            // Below the smallest multiple there is no partition: other writers wrap around.
            let partition = match (apply(transform, &column), &value) {
                (Ok(partition), _) => literal(&partition),
                (Err(_), Value::Int(v)) => {
                    let rest = i64::from(*v).rem_euclid(i64::from(width));
                    PrimitiveLiteral::Int(v.wrapping_sub(i32::try_from(rest).unwrap()))
                }
                (Err(_), Value::Long(v)) => PrimitiveLiteral::Long(v.wrapping_sub(v.rem_euclid(i64::from(width)))),
                (Err(error), value) => panic!("{value:?}: {error}"),
            };
            let range = range(transform, &partition, &partition, &kind);
            prop_assert!(!range.lower.is_some_and(|lower| value.is_below(&lower)));
            prop_assert!(!range.upper.is_some_and(|upper| upper.is_below(&value)));
        }
    }

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
