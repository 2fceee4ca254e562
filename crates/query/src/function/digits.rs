//! `trunc`: the engine computes in doubles, which do not hold the digits of a decimal.
//!
//! Doubles go to the engine's own function, unchanged.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array};
use arrow::compute::binary;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int32Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::math;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::{execution, over_arrays, wrong_arguments};

/// `trunc(x)` and `trunc(x, digits)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Truncation {
    signature: Signature,
    of_doubles: Arc<ScalarUDF>,
}

impl Truncation {
    pub(crate) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            of_doubles: math::trunc(),
        }
    }

    fn doubles(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let Some(digits) = args.args.get_mut(1) {
            *digits = digits.cast_to(&DataType::Int64, None)?;
        }
        self.of_doubles.invoke_with_args(args)
    }
}

impl ScalarUDFImpl for Truncation {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &'static str {
        "trunc"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wrong = || wrong_arguments("trunc", "a number and a number of digits", types);
        let value = match types.first() {
            Some(kind @ (DataType::Decimal128(..) | DataType::Float32 | DataType::Float64)) => {
                kind.clone()
            }
            Some(kind) if kind.is_numeric() || kind.is_null() => DataType::Float64,
            _ => return Err(wrong()),
        };
        match types.get(1) {
            None => Ok(vec![value]),
            // As literals are read for `round`: the type of the result is known from the start.
            Some(kind) if types.len() == 2 && (kind.is_integer() || kind.is_null()) => {
                Ok(vec![value, DataType::Int32])
            }
            Some(_) => Err(wrong()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kind = match args.arg_fields[0].data_type() {
            DataType::Decimal128(precision, scale @ 1..) => {
                let scale_kept = match args.scalar_arguments.get(1) {
                    None => 0,
                    Some(Some(digits)) => scale_kept(digits, *scale)?,
                    // Each row has digits of its own.
                    Some(None) => *scale,
                };
                let dropped = (scale - scale_kept).unsigned_abs();
                DataType::Decimal128(precision.saturating_sub(dropped).max(1), scale_kept)
            }
            kind => kind.clone(),
        };
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), kind, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let DataType::Decimal128(precision, scale) = *args.return_field.data_type() else {
            return self.doubles(args);
        };
        let mut operands = args.args;
        if operands.len() == 1 {
            operands.push(ColumnarValue::Scalar(ScalarValue::Int32(Some(0))));
        }
        over_arrays(&operands, args.number_rows, |operands| {
            let cut = truncated(&operands[0], &operands[1], scale)?;
            Ok(Arc::new(cut.with_precision_and_scale(precision, scale)?))
        })
    }
}

/// Digits behind the point that are left of `scale`.
fn scale_kept(digits: &ScalarValue, scale: i8) -> Result<i8> {
    match digits.cast_to(&DataType::Int64)? {
        ScalarValue::Int64(Some(digits)) => {
            let kept = digits.clamp(0, i64::from(scale));
            i8::try_from(kept).map_err(|_| execution("trunc() has digits beyond every decimal"))
        }
        _ => Ok(scale),
    }
}

/// The numbers without the digits behind the kept ones, with `scale_kept` digits behind the point.
fn truncated(numbers: &ArrayRef, digits: &ArrayRef, scale_kept: i8) -> Result<Decimal128Array> {
    let numbers = numbers.as_primitive::<Decimal128Type>();
    let scale = i32::from(numbers.scale());
    let unit = power_of_ten(scale - i32::from(scale_kept)).unwrap_or(1);
    let digits = digits.as_primitive::<Int32Type>();
    Ok(binary(
        numbers,
        digits,
        |number, digits| match power_of_ten(scale.saturating_sub(digits)) {
            Some(step) => number / step * step / unit,
            None => 0,
        },
    )?)
}

/// `None` beyond the digits of every decimal; 1 for a negative power.
fn power_of_ten(power: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(power.max(0)).ok()?)
}
