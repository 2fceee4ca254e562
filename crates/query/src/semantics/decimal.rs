//! Decimals of at most 38 digits: the type of each result, and the check that a result keeps within it.
//!
//! Arrow's kernels fail beyond 128 bits, which hold some numbers of 39 digits; those fail here.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, i256};
use arrow::error::ArrowError;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ColumnarValue;

use crate::function::over_arrays;

/// Digits of every decimal.
const DIGITS_MAX: i32 = DECIMAL128_MAX_PRECISION as i32;
/// 10^38, the first number of 39 digits.
const BEYOND: u128 = 10_u128.pow(38);
/// Digits behind the point of a quotient, when there is room.
const QUOTIENT_SCALE: i32 = 16;
/// Digits behind the point that a quotient keeps even when that leaves too little room before it.
const QUOTIENT_SCALE_MIN: i32 = 6;

#[derive(Debug, Clone, Copy)]
pub(super) enum DecimalOperation {
    Sum,
    Product,
    Quotient,
}

/// The type of a result. Errors: `Plan` for a product with more than 38 digits behind the point.
pub(super) fn result_type(
    operation: DecimalOperation,
    left: &DataType,
    right: &DataType,
) -> Result<DataType> {
    let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (left, right) else {
        return plan_err!("{left} and {right} are not decimals");
    };
    let [p1, s1, p2, s2] = [
        i32::from(*p1),
        i32::from(*s1),
        i32::from(*p2),
        i32::from(*s2),
    ];
    let (precision, scale) = match operation {
        DecimalOperation::Sum => {
            let scale = s1.max(s2);
            ((p1 - s1).max(p2 - s2) + scale + 1, scale)
        }
        DecimalOperation::Product => (p1 + p2 + 1, s1 + s2),
        DecimalOperation::Quotient => {
            let whole = p1 - s1 + s2;
            let wanted = QUOTIENT_SCALE.max(s1).max(s2);
            let least = QUOTIENT_SCALE_MIN.max(s1).min(wanted);
            let scale = wanted.min((DIGITS_MAX - whole).max(least));
            (whole + scale, scale)
        }
    };
    if scale > DIGITS_MAX {
        return plan_err!(
            "the product of decimal({p1},{s1}) and decimal({p2},{s2}) has {scale} digits behind the point, more than {DIGITS_MAX}: cast one of them to fewer"
        );
    }
    let precision = precision.clamp(1, DIGITS_MAX);
    Ok(DataType::Decimal128(
        u8::try_from(precision).unwrap_or(DECIMAL128_MAX_PRECISION),
        i8::try_from(scale).unwrap_or(i8::MAX),
    ))
}

/// Errors: `ArithmeticOverflow` when a number has more than 38 digits. A type of fewer digits has room for every result.
pub(super) fn in_digits(made: &ColumnarValue) -> Result<()> {
    if !matches!(made.data_type(), DataType::Decimal128(38, _)) {
        return Ok(());
    }
    match made {
        ColumnarValue::Array(array) => check(array),
        ColumnarValue::Scalar(scalar) => check(&scalar.to_array()?),
    }
}

fn check(array: &ArrayRef) -> Result<()> {
    let numbers = array.as_primitive::<Decimal128Type>();
    // The value of a null slot is arbitrary.
    let is_beyond = |value: i128| value.unsigned_abs() >= BEYOND;
    let found = if numbers.null_count() == 0 {
        numbers
            .values()
            .iter()
            .copied()
            .find(|value| is_beyond(*value))
    } else {
        numbers.iter().flatten().find(|value| is_beyond(*value))
    };
    match found {
        Some(_) => Err(overflow().into()),
        None => Ok(()),
    }
}

fn overflow() -> ArrowError {
    ArrowError::ArithmeticOverflow("the result has more than 38 digits".to_owned())
}

/// The quotient, rounded half away from zero. Errors: `DivideByZero`, `ArithmeticOverflow`.
pub(super) fn divide(
    left: &ColumnarValue,
    right: &ColumnarValue,
    kind: &DataType,
    rows: usize,
) -> Result<ColumnarValue> {
    let args = [left.clone(), right.clone()];
    over_arrays(&args, rows, |args| {
        let left = args[0].as_primitive::<Decimal128Type>();
        let right = args[1].as_primitive::<Decimal128Type>();
        let DataType::Decimal128(precision, scale) = kind else {
            return plan_err!("{kind} is not a decimal");
        };
        let shift = i32::from(*scale) - i32::from(left.scale()) + i32::from(right.scale());
        let quotients = divide_each(left, right, u32::try_from(shift).unwrap_or(0))?;
        Ok(Arc::new(
            quotients.with_precision_and_scale(*precision, *scale)?,
        ))
    })
}

fn divide_each(
    left: &Decimal128Array,
    right: &Decimal128Array,
    shift: u32,
) -> Result<Decimal128Array> {
    let narrow = 10_i128.checked_pow(shift);
    let rows = left.iter().zip(right.iter()).map(|pair| match pair {
        (Some(_), Some(0)) => Err(ArrowError::DivideByZero),
        (Some(left), Some(right)) => {
            let shifted = narrow.and_then(|factor| left.checked_mul(factor));
            match shifted {
                Some(shifted) => Ok(Some(rounded(shifted, right))),
                None => rounded_wide(left, shift, right).map(Some),
            }
        }
        _ => Ok(None),
    });
    let quotients: Decimal128Array = rows.collect::<std::result::Result<_, ArrowError>>()?;
    match quotients
        .iter()
        .flatten()
        .find(|value| value.unsigned_abs() >= BEYOND)
    {
        Some(_) => Err(overflow().into()),
        None => Ok(quotients),
    }
}

fn rounded(dividend: i128, divisor: i128) -> i128 {
    let quotient = dividend / divisor;
    let rest = (dividend % divisor).unsigned_abs();
    if rest >= divisor.unsigned_abs() - rest {
        quotient
            + if (dividend < 0) == (divisor < 0) {
                1
            } else {
                -1
            }
    } else {
        quotient
    }
}

fn rounded_wide(left: i128, shift: u32, right: i128) -> std::result::Result<i128, ArrowError> {
    let factor = i256::from_i128(10)
        .checked_pow(shift)
        .ok_or_else(overflow)?;
    let dividend = i256::from_i128(left)
        .checked_mul(factor)
        .ok_or_else(overflow)?;
    let divisor = i256::from_i128(right);
    let quotient = dividend.checked_div(divisor).ok_or_else(overflow)?;
    let rest = dividend
        .checked_rem(divisor)
        .ok_or_else(overflow)?
        .wrapping_abs();
    let quotient = if rest >= divisor.wrapping_abs().wrapping_sub(rest) {
        let step = if (left < 0) == (right < 0) { 1 } else { -1 };
        quotient.wrapping_add(i256::from_i128(step))
    } else {
        quotient
    };
    quotient.to_i128().ok_or_else(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotient_is_rounded_half_away_from_zero() {
        assert_eq!([rounded(5, 2), rounded(-5, 2), rounded(5, -2)], [3, -3, -3]);
        assert_eq!([rounded(7, 5), rounded(8, 5), rounded(0, 5)], [1, 2, 0]);
        assert_eq!(rounded_wide(i128::MAX, 1, i128::MAX).unwrap(), 10);
        assert_eq!(
            rounded_wide(2, 38, -3).unwrap(),
            -66666666666666666666666666666666666667
        );
    }

    #[test]
    fn types_keep_the_digits_that_there_is_room_for() {
        let of = |operation, left: (u8, i8), right: (u8, i8)| {
            let kind = |(precision, scale)| DataType::Decimal128(precision, scale);
            result_type(operation, &kind(left), &kind(right)).map_err(|error| error.to_string())
        };
        use DecimalOperation::{Product, Quotient, Sum};
        assert_eq!(of(Sum, (10, 2), (1, 1)), Ok(DataType::Decimal128(11, 2)));
        assert_eq!(of(Sum, (38, 0), (38, 0)), Ok(DataType::Decimal128(38, 0)));
        assert_eq!(
            of(Product, (10, 2), (10, 2)),
            Ok(DataType::Decimal128(21, 4))
        );
        assert!(of(Product, (38, 20), (38, 20)).is_err());
        assert_eq!(
            of(Quotient, (10, 2), (2, 1)),
            Ok(DataType::Decimal128(25, 16))
        );
        assert_eq!(
            of(Quotient, (38, 0), (38, 0)),
            Ok(DataType::Decimal128(38, 6))
        );
    }
}
