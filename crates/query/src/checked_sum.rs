//! `sum` over integers that fails when the result does not fit, instead of wrapping round silently.
//!
//! The engine's own `sum` does the work, over decimals without a fraction: 128 bits hold the sum of any number of 64-bit
//! integers there can be, in any order. Only the result is brought back to 64 bits. Other types are the engine's alone.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::compute::kernels::arity::{try_unary, unary};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type, UInt64Type};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, not_impl_err};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

/// What integers are added up as.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// The function; see the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckedSum(Sum);

impl CheckedSum {
    pub(crate) fn new() -> Self {
        Self(Sum::new())
    }
}

fn is_wrapping(kind: &DataType) -> bool {
    matches!(kind, DataType::Int64 | DataType::UInt64)
}

fn wide(field: &Field) -> FieldRef {
    Arc::new(field.clone().with_data_type(WIDE))
}

impl AggregateUDFImpl for CheckedSum {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        with_wide(
            args,
            |args| self.0.accumulator(args),
            |inner, kind| Box::new(Checked { inner, kind }),
        )
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("sum(DISTINCT …) over a moving window");
        }
        with_wide(
            args,
            |args| self.0.create_sliding_accumulator(args),
            |inner, kind| Box::new(Checked { inner, kind }),
        )
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        with_wide(
            args,
            |args| self.0.create_groups_accumulator(args),
            |inner, kind| Box::new(CheckedGroups { inner, kind }),
        )
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if is_wrapping(args.return_field.data_type()) {
            let return_field = wide(&args.return_field);
            self.0.state_fields(StateFieldsArgs {
                return_field,
                ..args
            })
        } else {
            self.0.state_fields(args)
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(kind)
    }
}

/// Makes the engine's own over the wide type, and `checked` of it; for types that do not wrap, the engine's own alone.
fn with_wide<T>(
    args: AccumulatorArgs,
    make: impl Fn(AccumulatorArgs) -> Result<T>,
    checked: impl Fn(T, DataType) -> T,
) -> Result<T> {
    let kind = args.return_field.data_type().clone();
    if !is_wrapping(&kind) {
        return make(args);
    }
    let inner = make(AccumulatorArgs {
        return_field: wide(&args.return_field),
        ..args
    })?;
    Ok(checked(inner, kind))
}

/// Integers as wide decimals.
fn widen(values: &[ArrayRef]) -> Vec<ArrayRef> {
    let widen = |array: &ArrayRef| match array.data_type() {
        DataType::Int64 => widened(array.as_primitive::<Int64Type>()),
        DataType::UInt64 => widened(array.as_primitive::<UInt64Type>()),
        _ => array.clone(),
    };
    values.iter().map(widen).collect()
}

fn widened<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>) -> ArrayRef
where
    i128: From<T::Native>,
{
    let wide: PrimitiveArray<Decimal128Type> = unary(array, i128::from);
    Arc::new(wide.with_data_type(WIDE))
}

/// Wide decimals as integers of this type, when each fits.
fn narrow(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    let array = array.as_primitive::<Decimal128Type>();
    Ok(match kind {
        DataType::UInt64 => narrowed::<UInt64Type>(array)?,
        _ => narrowed::<Int64Type>(array)?,
    })
}

fn narrowed<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<Decimal128Type>,
) -> Result<ArrayRef, ArrowError>
where
    T::Native: TryFrom<i128>,
{
    let fits = |value: i128| {
        T::Native::try_from(value).map_err(|_| {
            ArrowError::ArithmeticOverflow(format!("the sum {value} does not fit {}", T::DATA_TYPE))
        })
    };
    let narrow: PrimitiveArray<T> = try_unary(array, fits)?;
    Ok(Arc::new(narrow))
}

/// One sum.
#[derive(Debug)]
struct Checked {
    inner: Box<dyn Accumulator>,
    kind: DataType,
}

impl Accumulator for Checked {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&widen(values))
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&widen(values))
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
        ScalarValue::try_from_array(&narrow(&sum, &self.kind)?, 0)
    }

    fn size(&self) -> usize {
        self.inner.size() + size_of_val(self)
    }
}

/// A sum for each group.
struct CheckedGroups {
    inner: Box<dyn GroupsAccumulator>,
    kind: DataType,
}

impl GroupsAccumulator for CheckedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.inner
            .update_batch(&widen(values), group_indices, filter, groups)
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
        narrow(&self.inner.evaluate(emit_to)?, &self.kind)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&widen(values), filter)
    }

    fn supports_convert_to_state(&self) -> bool {
        self.inner.supports_convert_to_state()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
