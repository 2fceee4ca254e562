//! The engine's aggregates over other types than the statement's, where its own are silently wrong.
//!
//! `sum` and `avg` fail when the result does not fit, instead of wrapping round: they run over wider decimals. 128 bits hold the
//! sum of any number of 64-bit integers there can be, 256 bits that of decimals. Averages of decimals are rounded, half away
//! from zero. `min` and `max` of floats run over integers of the same order, since the engine's lose infinities and NaN. Only
//! the result is brought back, and fails if it does not fit. Other types are the engine's alone.
//!
//! Over a moving frame the engine's `min` and `max` give the last value, and `avg` divides by zero, when the frame has no value
//! any more: [`framed`] gives NULL. Floats that leave a frame are not subtracted: [`float_frame`], [`recomputed`].
//! The order of the values of one aggregate does not depend on others: [`ordered`]. A percentile has all its digits: [`interpolated`].

/// The methods of an aggregate that are those of the function in its first field. The form around it adds the ones that differ.
///
/// The names of types are those that the place of use imports.
macro_rules! delegate_to_inner {
    () => {
        delegate_description!();

        fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
            self.0.accumulator(args)
        }

        fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
            self.0.groups_accumulator_supported(args)
        }

        fn create_groups_accumulator(
            &self,
            args: AccumulatorArgs,
        ) -> Result<Box<dyn GroupsAccumulator>> {
            self.0.create_groups_accumulator(args)
        }

        fn simplify(&self) -> Option<AggregateFunctionSimplification> {
            self.0.simplify()
        }
    };
}

/// The same without accumulators and simplification, for a function that has its own.
macro_rules! delegate_description {
    () => {
        fn as_any(&self) -> &dyn Any {
            self
        }

        fn name(&self) -> &str {
            self.0.name()
        }

        fn aliases(&self) -> &[String] {
            self.0.aliases()
        }

        fn signature(&self) -> &Signature {
            self.0.signature()
        }

        fn return_type(&self, types: &[DataType]) -> Result<DataType> {
            self.0.return_type(types)
        }

        fn return_field(&self, fields: &[FieldRef]) -> Result<FieldRef> {
            self.0.return_field(fields)
        }

        fn is_nullable(&self) -> bool {
            self.0.is_nullable()
        }

        fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
            self.0.coerce_types(types)
        }

        fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
            self.0.state_fields(args)
        }

        fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
            self.0.default_value(kind)
        }

        fn supports_null_handling_clause(&self) -> bool {
            self.0.supports_null_handling_clause()
        }

        fn documentation(&self) -> Option<&Documentation> {
            self.0.documentation()
        }

        fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
            self.0.inner().set_monotonicity(kind)
        }
    };
}

mod conversion;
mod distinct_rows;
mod float_frame;
mod framed;
mod interpolated;
mod nested_extreme;
mod ordered;
mod recomputed;

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, not_impl_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator,
    ReversedUDAF, SetMonotonicity, Signature,
};

use conversion::Conversion;
pub(crate) use distinct_rows::count_of_nested;
use float_frame::{FloatFrame, FrameResult};
use framed::Framed;
pub(crate) use interpolated::with_exact_weight;
pub(crate) use nested_extreme::nested_extremes;
pub(crate) use ordered::with_own_order;
pub(crate) use recomputed::over_frames;

/// Decimals of up to this many digits can be added up ten thousand million times in 128 bits.
const NARROW_DIGITS_MAX: u8 = 28;
/// Digits of the widest decimal.
const WIDE_DIGITS: u8 = 76;

/// `sum` and `avg`, in place of the engine's.
pub(crate) fn all() -> Vec<Arc<AggregateUDF>> {
    vec![
        Arc::new(AggregateUDF::new_from_impl(Widened {
            inner: Sum::new(),
            widths: widths_of_sum,
            of_floats: Some(FrameResult::Sum),
        })),
        Arc::new(AggregateUDF::new_from_impl(Widened {
            inner: Avg::new(),
            widths: widths_of_avg,
            of_floats: Some(FrameResult::Average),
        })),
    ]
}

/// `min` and `max` of floats, and of all types over moving windows; the engine's own stay for the rest.
///
/// These do not declare their direction, so that no top-k plan compares the values itself.
pub(crate) fn extremes() -> [Arc<AggregateUDF>; 2] {
    [
        Arc::new(AggregateUDF::new_from_impl(Widened {
            inner: Min::new(),
            widths: widths_of_extreme,
            of_floats: None,
        })),
        Arc::new(AggregateUDF::new_from_impl(Widened {
            inner: Max::new(),
            widths: widths_of_extreme,
            of_floats: None,
        })),
    ]
}

/// The types that the engine's function works with.
#[derive(Debug, Clone, PartialEq)]
struct Widths {
    input: DataType,
    result: DataType,
}

/// Widths for an input and a result that could wrap; `None` for the engine's own.
type WidthsOf = fn(&DataType, &DataType) -> Option<Widths>;

fn widths_of_sum(input: &DataType, result: &DataType) -> Option<Widths> {
    let wide = match (input, result) {
        (_, DataType::Int64 | DataType::UInt64) => DataType::Decimal128(38, 0),
        (DataType::Decimal128(digits, _), DataType::Decimal128(_, scale))
            if *digits > NARROW_DIGITS_MAX =>
        {
            DataType::Decimal256(WIDE_DIGITS, *scale)
        }
        _ => return None,
    };
    Some(Widths {
        input: wide.clone(),
        result: wide,
    })
}

fn widths_of_avg(input: &DataType, result: &DataType) -> Option<Widths> {
    let (DataType::Decimal128(digits, scale), DataType::Decimal128(_, result_scale)) =
        (input, result)
    else {
        return None;
    };
    // One digit more, to round by.
    let with_rest = result_scale + 1;
    Some(if *digits > NARROW_DIGITS_MAX || with_rest > 37 {
        Widths {
            input: DataType::Decimal256(WIDE_DIGITS, *scale),
            result: DataType::Decimal256(WIDE_DIGITS, with_rest),
        }
    } else {
        Widths {
            input: input.clone(),
            result: DataType::Decimal128(38, with_rest),
        }
    })
}

fn widths_of_extreme(input: &DataType, _: &DataType) -> Option<Widths> {
    input.is_floating().then_some(Widths {
        input: DataType::Int64,
        result: DataType::Int64,
    })
}

/// One of the engine's functions over wider types; see the module.
#[derive(Debug)]
struct Widened<F> {
    inner: F,
    widths: WidthsOf,
    /// Its implementation over a moving frame of floats, where it differs from the engine's.
    of_floats: Option<FrameResult>,
}

// The function decides the widths.
impl<F: PartialEq> PartialEq for Widened<F> {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl<F: Eq> Eq for Widened<F> {}

impl<F: std::hash::Hash> std::hash::Hash for Widened<F> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

fn with_type(field: &FieldRef, kind: &DataType) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(kind.clone()))
}

impl<F: AggregateUDFImpl> Widened<F> {
    fn widths(&self, inputs: &[FieldRef], result: &DataType) -> Option<Widths> {
        (self.widths)(inputs.first()?.data_type(), result)
    }

    /// Makes the engine's own over the wide types, and `checked` of it; for types that do not wrap, the engine's own alone.
    fn make<T>(
        &self,
        args: AccumulatorArgs,
        make: impl Fn(&F, AccumulatorArgs) -> Result<T>,
        checked: impl Fn(T, Conversion) -> T,
    ) -> Result<T> {
        let result = args.return_field.data_type().clone();
        let Some(widths) = self.widths(args.expr_fields, &result) else {
            return make(&self.inner, args);
        };
        let fields: Vec<FieldRef> = args
            .expr_fields
            .iter()
            .map(|field| with_type(field, &widths.input))
            .collect();
        let inner = make(
            &self.inner,
            AccumulatorArgs {
                return_field: with_type(&args.return_field, &widths.result),
                expr_fields: &fields,
                ..args
            },
        )?;
        let conversion = Conversion {
            input: widths.input,
            result,
        };
        Ok(checked(inner, conversion))
    }
}

impl<F> AggregateUDFImpl for Widened<F>
where
    F: AggregateUDFImpl + PartialEq + Eq + std::hash::Hash + 'static,
{
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.make(args, F::accumulator, |inner, conversion| {
            Box::new(Checked { inner, conversion })
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("{}(DISTINCT …) over a moving window", self.name());
        }
        if let Some(result) = self.of_floats
            && args.return_field.data_type() == &DataType::Float64
        {
            return Ok(Box::new(FloatFrame::new(result)));
        }
        let none = ScalarValue::try_from(args.return_field.data_type())?;
        let inner = self.make(args, F::create_sliding_accumulator, |inner, conversion| {
            Box::new(Checked { inner, conversion })
        })?;
        Ok(Box::new(Framed::new(inner, none)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.make(args, F::create_groups_accumulator, |inner, conversion| {
            Box::new(CheckedGroups { inner, conversion })
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(widths) = self.widths(args.input_fields, args.return_field.data_type()) else {
            return self.inner.state_fields(args);
        };
        let fields: Vec<FieldRef> = args
            .input_fields
            .iter()
            .map(|field| with_type(field, &widths.input))
            .collect();
        self.inner.state_fields(StateFieldsArgs {
            return_field: with_type(&args.return_field, &widths.result),
            input_fields: &fields,
            ..args
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(kind)
    }
}

/// One sum.
#[derive(Debug)]
struct Checked {
    inner: Box<dyn Accumulator>,
    conversion: Conversion,
}

impl Accumulator for Checked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&self.conversion.widen(values))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&self.conversion.widen(values))
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.conversion.narrow(&sum)?, 0)
    }

    fn size(&self) -> usize {
        self.inner.size() + size_of_val(self)
    }
}

/// A sum for each group.
struct CheckedGroups {
    inner: Box<dyn GroupsAccumulator>,
    conversion: Conversion,
}

impl GroupsAccumulator for CheckedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.inner.update_batch(
            &self.conversion.widen(values),
            group_indices,
            filter,
            groups,
        )
    }

    fn merge_batch(
        &mut self,
        states: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.inner
            .merge_batch(states, group_indices, filter, groups)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.conversion.narrow(&self.inner.evaluate(emit_to)?)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner
            .convert_to_state(&self.conversion.widen(values), filter)
    }

    fn supports_convert_to_state(&self) -> bool {
        self.inner.supports_convert_to_state()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

#[cfg(test)]
mod tests;
