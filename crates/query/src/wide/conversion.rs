//! Between the types of a statement and those that an aggregate works with.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::compute::kernels::arity::{try_unary, unary};
use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Float64Type, Int64Type, UInt64Type, i256,
};
use arrow::error::ArrowError;
use datafusion::common::Result;

/// From the types of the statement to the wide ones, and back.
#[derive(Debug, Clone)]
pub(super) struct Conversion {
    pub(super) input: DataType,
    pub(super) result: DataType,
}

impl Conversion {
    pub(super) fn widen(&self, values: &[ArrayRef]) -> Vec<ArrayRef> {
        let widen = |array: &ArrayRef| match (array.data_type(), &self.input) {
            (DataType::Int64, DataType::Decimal128(..)) => {
                to_128(array.as_primitive::<Int64Type>(), &self.input)
            }
            (DataType::UInt64, DataType::Decimal128(..)) => {
                to_128(array.as_primitive::<UInt64Type>(), &self.input)
            }
            (DataType::Float16 | DataType::Float32 | DataType::Float64, DataType::Int64) => {
                ranks(array)
            }
            (DataType::Decimal128(..), DataType::Decimal256(..)) => {
                let narrow = array.as_primitive::<Decimal128Type>();
                let wide: PrimitiveArray<Decimal256Type> = unary(narrow, i256::from_i128);
                Arc::new(wide.with_data_type(self.input.clone()))
            }
            _ => array.clone(),
        };
        values.iter().map(widen).collect()
    }

    /// Wide results in the type of the statement, when each fits.
    pub(super) fn narrow(&self, array: &ArrayRef) -> Result<ArrayRef> {
        Ok(match (array.data_type(), &self.result) {
            (DataType::Decimal128(..), DataType::UInt64) => {
                narrowed::<UInt64Type>(array.as_primitive())?
            }
            (DataType::Decimal128(..), DataType::Int64) => {
                narrowed::<Int64Type>(array.as_primitive())?
            }
            (DataType::Int64, DataType::Float16 | DataType::Float32 | DataType::Float64) => {
                let floats: PrimitiveArray<Float64Type> =
                    unary(array.as_primitive::<Int64Type>(), float_of_rank);
                cast(&floats, &self.result)?
            }
            (DataType::Decimal128(_, from), DataType::Decimal128(digits, to)) => {
                let rounding = 10_i128.pow(u32::try_from(from - to).unwrap_or(0));
                let within = 10_i128.pow(u32::from(*digits)).wrapping_sub(1);
                let fit = |value: i128| {
                    let rounded = round(value, rounding);
                    (rounded.abs() <= within)
                        .then_some(rounded)
                        .ok_or_else(overflow)
                };
                let wide = array.as_primitive::<Decimal128Type>();
                let fits: PrimitiveArray<Decimal128Type> = try_unary(wide, fit)?;
                Arc::new(fits.with_data_type(self.result.clone()))
            }
            (DataType::Decimal256(_, from), DataType::Decimal128(digits, to)) => {
                let ten = i256::from_i128(10);
                let rounding = ten.wrapping_pow(u32::try_from(from - to).unwrap_or(0));
                let within = 10_u128.pow(u32::from(*digits));
                let fit = |value: i256| {
                    let rounded = round_wide(value, rounding).to_i128().ok_or_else(overflow)?;
                    (rounded.unsigned_abs() < within)
                        .then_some(rounded)
                        .ok_or_else(overflow)
                };
                let wide = array.as_primitive::<Decimal256Type>();
                let fits: PrimitiveArray<Decimal128Type> = try_unary(wide, fit)?;
                Arc::new(fits.with_data_type(self.result.clone()))
            }
            _ => array.clone(),
        })
    }
}

fn overflow() -> ArrowError {
    ArrowError::ArithmeticOverflow("the result has more than 38 digits".to_owned())
}

fn round(value: i128, unit: i128) -> i128 {
    let whole = value / unit;
    let rest = value % unit;
    if rest.abs() * 2 >= unit && unit > 1 {
        whole + value.signum()
    } else {
        whole
    }
}

fn round_wide(value: i256, unit: i256) -> i256 {
    if unit <= i256::ONE {
        return value;
    }
    let whole = value.wrapping_div(unit);
    let rest = value.wrapping_rem(unit).wrapping_abs();
    if rest.wrapping_add(rest) < unit {
        whole
    } else if value < i256::ZERO {
        whole.wrapping_sub(i256::ONE)
    } else {
        whole.wrapping_add(i256::ONE)
    }
}

fn to_128<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, kind: &DataType) -> ArrayRef
where
    i128: From<T::Native>,
{
    let wide: PrimitiveArray<Decimal128Type> = unary(array, i128::from);
    Arc::new(wide.with_data_type(kind.clone()))
}

fn narrowed<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<Decimal128Type>,
) -> Result<ArrayRef, ArrowError>
where
    T::Native: TryFrom<i128>,
{
    let fits = |value: i128| {
        T::Native::try_from(value).map_err(|_| {
            ArrowError::ArithmeticOverflow(format!(
                "the sum {value} does not fit {}",
                crate::types::sql_name(&T::DATA_TYPE)
            ))
        })
    };
    let narrow: PrimitiveArray<T> = try_unary(array, fits)?;
    Ok(Arc::new(narrow))
}

/// Integers in the order of the floats: numbers by size, every NaN above infinity.
fn ranks(array: &ArrayRef) -> ArrayRef {
    let Ok(wide) = cast(array, &DataType::Float64) else {
        return array.clone();
    };
    let ranks: PrimitiveArray<Int64Type> = unary(wide.as_primitive::<Float64Type>(), rank);
    Arc::new(ranks)
}

fn rank(value: f64) -> i64 {
    let value = if value.is_nan() { f64::NAN } else { value };
    flipped(value.to_bits().cast_signed())
}

fn float_of_rank(rank: i64) -> f64 {
    f64::from_bits(flipped(rank).cast_unsigned())
}

/// The bits of negative floats grow as the numbers fall; turns them round, and back.
fn flipped(bits: i64) -> i64 {
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_keep_the_order_of_floats_and_give_them_back() {
        let ordered = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -5e-324,
            0.0,
            5e-324,
            1.0,
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
        ];
        assert!(ordered.map(rank).is_sorted_by(|one, next| one < next));
        for value in ordered {
            assert_eq!(float_of_rank(rank(value)).to_bits(), value.to_bits());
        }
        assert_eq!(rank(-f64::NAN), rank(f64::NAN));
    }
}
