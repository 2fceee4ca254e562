//! `min` and `max` of lists and structs, in the one order that comparisons and `ORDER BY` have.
//!
//! The engine's put a null field before or after values as the rows come, and cannot compare lists of lists. Values that are null do not
//! count.

use std::any::Any;
use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, ReversedUDAF, SetMonotonicity,
    Signature,
};

use super::recomputed::recomputed;
use crate::function::nested::ordered_values;

/// `min` and `max`.
pub(crate) fn nested_extremes() -> [Arc<AggregateUDF>; 2] {
    [min_udaf(), max_udaf()].map(|function| {
        recomputed(Arc::new(AggregateUDF::new_from_impl(NestedExtreme(
            function,
        ))))
    })
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NestedExtreme(Arc<AggregateUDF>);

impl AggregateUDFImpl for NestedExtreme {
    delegate_description!();

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Extreme {
            wanted: match self.name() {
                "max" => Ordering::Greater,
                _ => Ordering::Less,
            },
            value: ScalarValue::try_from(args.return_field.data_type())?,
        }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_udf()
    }
}

/// The value so far; null before the first.
#[derive(Debug)]
struct Extreme {
    wanted: Ordering,
    value: ScalarValue,
}

impl Extreme {
    fn take(&mut self, values: &ArrayRef) -> Result<()> {
        let compare = ordered_values(values, values)?;
        let mut places = (0..values.len()).filter(|place| values.is_valid(*place));
        let Some(first) = places.next() else {
            return Ok(());
        };
        let best = places.fold(first, |best, place| {
            match compare(place, best) == self.wanted {
                true => place,
                false => best,
            }
        });
        if !self.value.is_null() {
            let known = self.value.to_array()?;
            if ordered_values(values, &known)?(best, 0) != self.wanted {
                return Ok(());
            }
        }
        self.value = ScalarValue::try_from_array(values, best)?.compacted();
        Ok(())
    }
}

impl Accumulator for Extreme {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.first().map_or(Ok(()), |values| self.take(values))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() - size_of_val(&self.value)
    }
}
