//! `count(DISTINCT x)` of rows, lists and maps, whose values are kept as bytes.
//!
//! The engine keeps each value as a slice of the batch that it came in, and counts, or copies, the whole batch for it: 20,000
//! rows take gigabytes. Bytes of equal values are equal (see [`arrow::row`]).

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, new_empty_array};
use arrow::datatypes::{DataType, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{
    AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs,
};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

/// `count` for values that have members.
pub(crate) fn count_of_nested() -> Arc<AggregateUDF> {
    let count = datafusion::functions_aggregate::count::count_udaf();
    Arc::new(AggregateUDF::new_from_impl(CountedRows(count)))
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CountedRows(Arc<AggregateUDF>);

impl AggregateUDFImpl for CountedRows {
    delegate_description!();

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.expr_fields.first().filter(|_| args.is_distinct) {
            Some(value) => Ok(Box::new(DistinctRows::new(value.data_type())?)),
            None => self.0.accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct && self.0.groups_accumulator_supported(args)
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

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }
}

/// The values of one group, each once.
#[derive(Debug)]
struct DistinctRows {
    kind: DataType,
    converter: RowConverter,
    seen: HashSet<Box<[u8]>>,
    /// Of all values together.
    bytes: usize,
}

impl DistinctRows {
    fn new(kind: &DataType) -> Result<Self> {
        Ok(Self {
            kind: kind.clone(),
            converter: RowConverter::new(vec![SortField::new(kind.clone())])?,
            seen: HashSet::new(),
            bytes: 0,
        })
    }

    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        let rows = self
            .converter
            .convert_columns(std::slice::from_ref(values))?;
        let nulls = values.logical_nulls();
        for (at, row) in rows.iter().enumerate() {
            let is_value = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(at));
            if is_value && !self.seen.contains(row.data()) {
                self.bytes += row.data().len();
                self.seen.insert(row.data().into());
            }
        }
        Ok(())
    }
}

impl Accumulator for DistinctRows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.first().map_or(Ok(()), |values| self.add(values))
    }

    /// One list of values for each group that is merged.
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first() else {
            return Ok(());
        };
        let mut lists = lists.as_list::<i32>().iter().flatten();
        lists.try_for_each(|values| self.add(&values))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let parser = self.converter.parser();
        let rows = self.seen.iter().map(|bytes| parser.parse(bytes));
        let values = match self.seen.is_empty() {
            true => new_empty_array(&self.kind),
            false => self.converter.convert_rows(rows)?.swap_remove(0),
        };
        Ok(vec![
            SingleRowListArrayBuilder::new(values).build_list_scalar(),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let count = i64::try_from(self.seen.len()).unwrap_or(i64::MAX);
        Ok(ScalarValue::Int64(Some(count)))
    }

    fn size(&self) -> usize {
        let entry = size_of::<Box<[u8]>>() + 16;
        size_of::<Self>() + self.bytes + self.seen.capacity() * entry + self.converter.size()
    }
}
