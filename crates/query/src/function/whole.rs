//! `ceil` and `floor` of decimals: the engine keeps the type of its argument, in which the next whole number may have no place.
//! `factorial`, which the engine makes 1 of a negative number.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::compute::kernels::arity::unary;
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type};
use arrow::error::ArrowError;
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};

/// `ceil(x)`, the next whole number that is not smaller.
pub(crate) fn ceil() -> ScalarDefinition {
    let define = ScalarDefinition::new("ceil", returns, coerces, |args| {
        rounded(&args[0], f64::ceil, f32::ceil, |value, one| {
            // Toward zero is up for negative ones.
            value / one + i128::from(value % one > 0)
        })
    });
    define.with_alias("ceiling")
}

/// `floor(x)`, the next whole number that is not greater.
pub(crate) fn floor() -> ScalarDefinition {
    ScalarDefinition::new("floor", returns, coerces, |args| {
        rounded(&args[0], f64::floor, f32::floor, i128::div_euclid)
    })
}

/// `factorial(n)` of 0 to 20.
pub(crate) fn factorial() -> ScalarDefinition {
    let number = |_: &[DataType]| Ok(DataType::Int64);
    let numbers = |types: &[DataType]| match types {
        [kind] if kind.is_integer() || *kind == DataType::Null => Ok(vec![DataType::Int64]),
        _ => Err(wrong_arguments("factorial", "a whole number", types)),
    };
    ScalarDefinition::new("factorial", number, numbers, |args| {
        let numbers = args[0].as_primitive::<Int64Type>();
        let made: Int64Array = numbers.try_unary(factorial_of)?;
        Ok(Arc::new(made))
    })
}

fn factorial_of(number: i64) -> Result<i64> {
    if number < 0 {
        return Err(execution(format!("factorial({number}) is not defined")));
    }
    (1..=number)
        .try_fold(1_i64, i64::checked_mul)
        .ok_or_else(|| {
            ArrowError::ArithmeticOverflow(format!("Overflow on factorial({number})")).into()
        })
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [kind @ (DataType::Decimal128(..) | DataType::Float32 | DataType::Float64)] => {
            Ok(vec![kind.clone()])
        }
        [kind] if kind.is_numeric() || *kind == DataType::Null => Ok(vec![DataType::Float64]),
        _ => Err(wrong_arguments("ceil and floor", "a number", types)),
    }
}

/// One digit more before the point, none behind.
fn returns(types: &[DataType]) -> Result<DataType> {
    Ok(match &types[0] {
        DataType::Decimal128(digits, scale @ 1..) => {
            DataType::Decimal128(digits.saturating_sub(scale.unsigned_abs()) + 1, 0)
        }
        other => other.clone(),
    })
}

fn rounded(
    array: &ArrayRef,
    of_double: fn(f64) -> f64,
    of_real: fn(f32) -> f32,
    of_decimal: fn(i128, i128) -> i128,
) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Decimal128(_, scale @ 1..) => {
            let one = 10_i128.pow(u32::from(scale.unsigned_abs()));
            let values: Decimal128Array =
                unary::<_, _, Decimal128Type>(array.as_primitive::<Decimal128Type>(), |value| {
                    of_decimal(value, one)
                });
            let kind = returns(std::slice::from_ref(array.data_type()))?;
            Arc::new(values.with_data_type(kind))
        }
        DataType::Float64 => {
            let doubles = array.as_primitive::<Float64Type>();
            Arc::new(unary::<_, _, Float64Type>(doubles, of_double))
        }
        DataType::Float32 => {
            let reals = array.as_primitive::<Float32Type>();
            Arc::new(unary::<_, _, Float32Type>(reals, of_real))
        }
        _ => array.clone(),
    })
}
