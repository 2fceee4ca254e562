//! Casts that round as SQL does, where the engine cuts or gives infinity: to whole numbers to the nearest one, to `real` an error
//! for a double that has no place there. A text without a digit is no decimal.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array};
use arrow::compute::kernels::arity::unary;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, ScalarUDF, TryCast};

use crate::function::{ScalarDefinition, execution, interval, number};

/// Most digits of a decimal.
const DIGITS_MAX: i16 = 38;

/// The functions that casts go through, each made once.
#[derive(Debug)]
pub(super) struct RoundedCasts {
    nearest: Arc<ScalarUDF>,
    to_real: Arc<ScalarUDF>,
    try_to_real: Arc<ScalarUDF>,
    unordered: Arc<ScalarUDF>,
    days_and_time: Arc<ScalarUDF>,
    decimal_text: Arc<ScalarUDF>,
    try_decimal_text: Arc<ScalarUDF>,
}

impl RoundedCasts {
    pub(super) fn new() -> Self {
        let same = |types: &[DataType]| Ok(types.to_vec());
        let real = |_: &[DataType]| Ok(DataType::Float32);
        let float = |types: &[DataType]| Ok(types[0].clone());
        Self {
            unordered: super::float::unordered(),
            days_and_time: interval::days_and_time().shared(),
            decimal_text: number::decimal_text().shared(),
            try_decimal_text: number::try_decimal_text().shared(),
            nearest: ScalarDefinition::new("nearest", float, same, |args| Ok(nearest(&args[0])))
                .shared(),
            to_real: ScalarDefinition::new("to_real", real, same, |args| to_real(&args[0]))
                .shared(),
            try_to_real: ScalarDefinition::new("try_to_real", real, same, |args| {
                Ok(try_to_real(&args[0]))
            })
            .shared(),
        }
    }

    /// The cast in place of the engine's; `None` where the engine's is right.
    pub(super) fn rounded(&self, expr: &Expr, schema: &DFSchema) -> Option<Expr> {
        let (inner, to, is_try) = match expr {
            Expr::Cast(Cast { expr, data_type }) => (expr, data_type, false),
            Expr::TryCast(TryCast { expr, data_type }) => (expr, data_type, true),
            _ => return None,
        };
        let from = inner.get_type(schema).ok()?;
        let inner = inner.as_ref().clone();
        let rounded = match (&from, to) {
            (DataType::Float16 | DataType::Float32 | DataType::Float64, to) if to.is_integer() => {
                self.nearest.call(vec![inner])
            }
            (DataType::Decimal128(digits, scale @ 1..), to) if to.is_integer() => {
                let whole = (i16::from(*digits) - i16::from(*scale) + 1).min(DIGITS_MAX);
                let whole = DataType::Decimal128(u8::try_from(whole).ok()?, 0);
                // A cast that rounds must not be taken out of a comparison.
                self.unordered.call(vec![cast(inner, whole, is_try)])
            }
            (DataType::Float64, DataType::Float32) => {
                let function = if is_try {
                    &self.try_to_real
                } else {
                    &self.to_real
                };
                return Some(function.call(vec![inner]));
            }
            (DataType::Duration(_), to) if to.is_string() => self.days_and_time.call(vec![inner]),
            (from, DataType::Decimal128(..)) if from.is_string() => {
                let function = match is_try {
                    true => &self.try_decimal_text,
                    false => &self.decimal_text,
                };
                function.call(vec![cast(inner, DataType::Utf8, is_try)])
            }
            _ => return None,
        };
        Some(cast(rounded, to.clone(), is_try))
    }
}

fn cast(expr: Expr, to: DataType, is_try: bool) -> Expr {
    match is_try {
        true => Expr::TryCast(TryCast::new(Box::new(expr), to)),
        false => Expr::Cast(Cast::new(Box::new(expr), to)),
    }
}

/// Halves go to the even number, as in Postgres.
fn nearest(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => Arc::new(unary::<_, _, Float64Type>(
            array.as_primitive::<Float64Type>(),
            f64::round_ties_even,
        )),
        DataType::Float32 => Arc::new(unary::<_, _, Float32Type>(
            array.as_primitive::<Float32Type>(),
            f32::round_ties_even,
        )),
        _ => array.clone(),
    }
}

/// The nearest `real`; `None` for a number beyond all of them.
#[expect(clippy::cast_possible_truncation, reason = "that is the cast")]
fn real(value: f64) -> Option<f32> {
    let real = value as f32;
    (real.is_finite() || !value.is_finite()).then_some(real)
}

fn to_real(array: &ArrayRef) -> Result<ArrayRef> {
    let doubles = array.as_primitive::<Float64Type>();
    let reals = doubles.iter().map(|value| match value {
        None => Ok(None),
        Some(value) => match real(value) {
            Some(real) => Ok(Some(real)),
            None => Err(execution(format!("{value:e} is out of range for real"))),
        },
    });
    Ok(Arc::new(reals.collect::<Result<Float32Array>>()?))
}

fn try_to_real(array: &ArrayRef) -> ArrayRef {
    let doubles = array.as_primitive::<Float64Type>();
    Arc::new(
        doubles
            .iter()
            .map(|value| real(value?))
            .collect::<Float32Array>(),
    )
}
