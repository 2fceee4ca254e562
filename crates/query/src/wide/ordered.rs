//! `array_agg(x ORDER BY y)`, `string_agg(x, ',' ORDER BY y)`, `first_value(x ORDER BY y)` and `last_value(x ORDER BY y)` that look for
//! the order of their values themselves.
//!
//! The engine sorts the input as one of several aggregates wants it and turns the others round, or takes the order that the input has.
//! What it turns round is wrong once groups are merged from several steps. Over sorted rows its `last_value` takes one away from the
//! length of a batch that may have no row, as behind a `FILTER`.

use std::any::Any;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

const NAMES: [&str; 4] = ["array_agg", "string_agg", "first_value", "last_value"];

/// The function, in its form with an order of its own where it has one.
pub(crate) fn with_own_order(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match NAMES.contains(&function.name()) {
        true => Arc::new(AggregateUDF::new_from_impl(Ordered(function))),
        false => function,
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordered(Arc<AggregateUDF>);

impl AggregateUDFImpl for Ordered {
    delegate_to_inner!();

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.0.create_sliding_accumulator(args)
    }

    /// No order of the input is wanted.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    /// None is used either: the accumulator of the engine then sorts.
    fn with_beneficial_ordering(
        self: Arc<Self>,
        _: bool,
    ) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }
}
