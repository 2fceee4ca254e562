//! Casts that round as SQL does, where the engine cuts or gives infinity: to whole numbers to the nearest one, to `real` an error
//! for a double out of range; from decimals to the nearest double. A text without a digit is not a decimal, one without `:` not a time.
//! Lists, structs and maps follow with what is in them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array};
use arrow::compute::kernels::arity::unary;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, ScalarUDF, TryCast};

use super::nested_cast::{has_rounded_leaf, nested_cast};
use crate::function::{ScalarDefinition, execution, interval, nested, number, time_text};

/// Most digits of a decimal.
const DIGITS_MAX: i16 = 38;

/// Digits of whole numbers that a double has for certain.
const DOUBLE_DIGITS: u8 = 15;

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
    nearest_double: Arc<ScalarUDF>,
    nearest_real: Arc<ScalarUDF>,
    time_text: Arc<ScalarUDF>,
    try_time_text: Arc<ScalarUDF>,
    nested_text: Arc<ScalarUDF>,
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
            nearest_double: number::nearest_double().shared(),
            nearest_real: number::nearest_real().shared(),
            time_text: time_text::time_text().shared(),
            try_time_text: time_text::try_time_text().shared(),
            nested_text: nested::nested_text(),
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
                return Some(self.hidden(self.nearest.call(vec![inner]), to, is_try));
            }
            (DataType::Decimal128(digits, scale @ 1..), to) if to.is_integer() => {
                let whole = (i16::from(*digits) - i16::from(*scale) + 1).min(DIGITS_MAX);
                let whole = DataType::Decimal128(u8::try_from(whole).ok()?, 0);
                return Some(self.hidden(self.hidden(inner, &whole, is_try), to, is_try));
            }
            (DataType::Float64, DataType::Float32) => {
                let function = if is_try {
                    &self.try_to_real
                } else {
                    &self.to_real
                };
                return Some(function.call(vec![inner]));
            }
            // Those of fewer digits the engine divides exactly.
            (DataType::Decimal128(digits, _), DataType::Float64) if *digits > DOUBLE_DIGITS => {
                return Some(self.nearest_double.call(vec![inner]));
            }
            (DataType::Decimal128(..), DataType::Float32) => {
                return Some(self.nearest_real.call(vec![inner]));
            }
            (from, DataType::Time32(_) | DataType::Time64(_)) if from.is_string() => {
                let function = match is_try {
                    true => &self.try_time_text,
                    false => &self.time_text,
                };
                function.call(vec![cast(inner, DataType::Utf8, is_try)])
            }
            (from, to) if from.is_nested() && has_rounded_leaf(from, to) => {
                return Some(nested_cast(to, is_try).call(vec![inner]));
            }
            (from, to) if from.is_nested() && to.is_string() => self.nested_text.call(vec![inner]),
            (DataType::Duration(_), to) if to.is_string() => self.days_and_time.call(vec![inner]),
            // The engine's interval has nanoseconds only, which end after 292 years.
            (DataType::Duration(_), DataType::Interval(_)) => {
                let micros = DataType::Duration(TimeUnit::Microsecond);
                let micros = match from == micros {
                    true => inner,
                    false => cast(inner, micros, is_try),
                };
                return Some(self.days_and_time.call(vec![micros]));
            }
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

    /// A cast that is not taken out of a comparison: it rounds, and fails or gives NULL for what does not fit.
    fn hidden(&self, expr: Expr, to: &DataType, is_try: bool) -> Expr {
        self.unordered.call(vec![cast(expr, to.clone(), is_try)])
    }
}

fn cast(expr: Expr, to: DataType, is_try: bool) -> Expr {
    match is_try {
        true => Expr::TryCast(TryCast::new(Box::new(expr), to)),
        false => Expr::Cast(Cast::new(Box::new(expr), to)),
    }
}

/// Whether [`leaf`] gives something else than the engine's cast.
pub(super) fn is_rounded(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (from, to) if from.is_floating() && to.is_integer() => true,
        (DataType::Decimal128(_, 1..), to) if to.is_integer() => true,
        (DataType::Decimal128(..), DataType::Float32)
        | (DataType::Float64, DataType::Float32)
        | (DataType::Duration(_), DataType::Utf8 | DataType::Utf8View | DataType::Interval(_)) => {
            true
        }
        (DataType::Decimal128(digits, _), DataType::Float64) => *digits > DOUBLE_DIGITS,
        (from, DataType::Time32(_) | DataType::Time64(_) | DataType::Decimal128(..)) => {
            from.is_string()
        }
        (from, to) => from.is_nested() && to.is_string(),
    }
}

/// A column of scalars, or one that becomes texts, cast as [`RoundedCasts::rounded`] casts an expression.
pub(super) fn leaf(array: &ArrayRef, to: &DataType, is_try: bool) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: is_try,
        ..CastOptions::default()
    };
    let from = array.data_type();
    let prepared = match (from, to) {
        _ if !is_rounded(from, to) => Arc::clone(array),
        (DataType::Float64, DataType::Float32) if is_try => try_to_real(array),
        (DataType::Float64, DataType::Float32) => to_real(array)?,
        (from, to) if from.is_floating() && to.is_integer() => nearest(array),
        (DataType::Decimal128(digits, scale), to) if to.is_integer() => {
            let whole = (i16::from(*digits) - i16::from(*scale) + 1).min(DIGITS_MAX);
            let whole = DataType::Decimal128(u8::try_from(whole).unwrap_or(38), 0);
            cast_with_options(array, &whole, &options)?
        }
        _ => {
            let definition = match (from, to) {
                (DataType::Decimal128(..), DataType::Float64) => number::nearest_double(),
                (DataType::Decimal128(..), _) => number::nearest_real(),
                (DataType::Duration(_), _) => interval::days_and_time(),
                (_, DataType::Decimal128(..)) if is_try => number::try_decimal_text(),
                (_, DataType::Decimal128(..)) => number::decimal_text(),
                (_, DataType::Time32(_) | DataType::Time64(_)) if is_try => {
                    time_text::try_time_text()
                }
                (_, DataType::Time32(_) | DataType::Time64(_)) => time_text::time_text(),
                _ => nested::shown_as_text(),
            };
            let own = (definition.coerces)(std::slice::from_ref(from))?;
            (definition.kernel)(&[cast_with_options(array, &own[0], &options)?])?
        }
    };
    Ok(cast_with_options(&prepared, to, &options)?)
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
