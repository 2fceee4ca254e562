//! Aggregates over a moving frame that are recomputed for each row, from the rows of its frame.
//!
//! The engine's take a value away from a variance, which leaves NaN for ever when the frame was empty once or held an infinity,
//! and has nothing at all for `bool_and`. The values of a frame are kept, and counted as memory; the engine's own do the rest.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};

const NAMES: [&str; 20] = [
    "var",
    "var_pop",
    "stddev",
    "stddev_pop",
    "covar_samp",
    "covar_pop",
    "corr",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
];

/// The function, in its form for moving frames where its own is wrong or missing.
pub(crate) fn over_frames(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match NAMES.contains(&function.name()) {
        true => recomputed(function),
        false => function,
    }
}

pub(super) fn recomputed(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(Recomputed(function)))
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Recomputed(Arc<AggregateUDF>);

impl AggregateUDFImpl for Recomputed {
    delegate_to_inner!();

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(KeptFrame::new(&self.0, &args)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_udf()
    }
}

/// The rows of a frame.
#[derive(Debug)]
struct KeptFrame {
    maker: AccumulatorMaker,
    chunks: VecDeque<Vec<ArrayRef>>,
    /// Rows of the first chunk that have left the frame.
    left: usize,
}

impl KeptFrame {
    fn new(function: &Arc<AggregateUDF>, args: &AccumulatorArgs) -> Self {
        Self {
            maker: AccumulatorMaker::new(function, args),
            chunks: VecDeque::new(),
            left: 0,
        }
    }
}

fn rows(chunk: &[ArrayRef]) -> usize {
    chunk.first().map_or(0, |column| column.len())
}

impl Accumulator for KeptFrame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if rows(values) > 0 {
            self.chunks.push_back(values.to_vec());
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.left += rows(values);
        while let Some(first) = self.chunks.front()
            && rows(first) <= self.left
        {
            self.left -= rows(first);
            self.chunks.pop_front();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut inner = self.maker.make()?;
        let mut left = self.left;
        for chunk in &self.chunks {
            let count = rows(chunk) - left;
            let kept: Vec<ArrayRef> = chunk
                .iter()
                .map(|column| column.slice(left, count))
                .collect();
            inner.update_batch(&kept)?;
            left = 0;
        }
        inner.evaluate()
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("the rows of a frame are never merged")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("the rows of a frame are never merged")
    }

    fn size(&self) -> usize {
        let columns = self.chunks.iter().flatten();
        let bytes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
        size_of_val(self) + bytes.sum::<usize>()
    }
}

/// The arguments of an accumulator.
#[derive(Debug)]
struct AccumulatorMaker {
    function: Arc<AggregateUDF>,
    return_field: FieldRef,
    schema: Schema,
    ignore_nulls: bool,
    order_bys: Vec<PhysicalSortExpr>,
    is_reversed: bool,
    name: String,
    is_distinct: bool,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
}

impl AccumulatorMaker {
    fn new(function: &Arc<AggregateUDF>, args: &AccumulatorArgs) -> Self {
        Self {
            function: function.clone(),
            return_field: args.return_field.clone(),
            schema: args.schema.clone(),
            ignore_nulls: args.ignore_nulls,
            order_bys: args.order_bys.to_vec(),
            is_reversed: args.is_reversed,
            name: args.name.to_owned(),
            is_distinct: args.is_distinct,
            exprs: args.exprs.to_vec(),
            expr_fields: args.expr_fields.to_vec(),
        }
    }

    fn make(&self) -> Result<Box<dyn Accumulator>> {
        self.function.accumulator(AccumulatorArgs {
            return_field: self.return_field.clone(),
            schema: &self.schema,
            ignore_nulls: self.ignore_nulls,
            order_bys: &self.order_bys,
            is_reversed: self.is_reversed,
            name: &self.name,
            is_distinct: self.is_distinct,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })
    }
}
