//! `percentile_cont` (`quantile_cont`) that weighs the two values around the place exactly.
//!
//! The engine cuts the weight to six digits: the 95th percentile of 1, 2, 3 and 10 is 8.949993 there, not 8.95. Its accumulator
//! of many groups also panics when it passes its rows on unaggregated. Its accumulator of one group keeps the values; only the result is
//! computed here, as the standard says: at `share * (count - 1)`, linear between neighbours.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, ReversedUDAF,
    SetMonotonicity, Signature,
};

/// The function, in its exact form where it is such a percentile.
pub(crate) fn with_exact_weight(function: Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match function.name() == "percentile_cont" {
        true => Arc::new(AggregateUDF::new_from_impl(Interpolated(function))),
        false => function,
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Interpolated(Arc<AggregateUDF>);

impl AggregateUDFImpl for Interpolated {
    delegate_description!();

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let share = share(&args)?;
        let values = self.0.accumulator(args)?;
        Ok(Box::new(KeptValues { values, share }))
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.0.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.0.reverse_udf()
    }
}

/// The share of the values that come before the result. The engine refuses one that is no number from 0 to 1.
fn share(args: &AccumulatorArgs) -> Result<f64> {
    let Some(expr) = args.exprs.get(1) else {
        return exec_err!("percentile_cont() needs a share from 0 to 1");
    };
    let empty = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
    let share = match expr.evaluate(&empty) {
        Ok(ColumnarValue::Scalar(share)) => share.cast_to(&DataType::Float64)?,
        _ => ScalarValue::Float64(None),
    };
    let is_descending = args
        .order_bys
        .first()
        .is_some_and(|key| key.options.descending);
    match share {
        ScalarValue::Float64(Some(share)) if is_descending => Ok(1.0 - share),
        ScalarValue::Float64(Some(share)) => Ok(share),
        _ => exec_err!("the share of percentile_cont() must be a number from 0 to 1"),
    }
}

/// The engine's accumulator, which keeps all values in its state.
#[derive(Debug)]
struct KeptValues {
    values: Box<dyn Accumulator>,
    share: f64,
}

impl Accumulator for KeptValues {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.update_batch(values)
    }

    /// One by one: of several states the engine's takes the first.
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, |state| state.len());
        (0..rows).try_for_each(|row| {
            let state: Vec<ArrayRef> = states.iter().map(|state| state.slice(row, 1)).collect();
            self.values.merge_batch(&state)
        })
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.values.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.values.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.values.state()
    }

    fn size(&self) -> usize {
        self.values.size()
    }

    /// The state is taken out, and put back: a moving frame asks again.
    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.values.state()?;
        let [ScalarValue::List(list)] = state.as_slice() else {
            return self.values.evaluate();
        };
        let kind = list.value_type();
        let values = cast(list.values(), &DataType::Float64)?;
        let mut values: Vec<f64> = values
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .collect();
        let result = ScalarValue::Float64(percentile(&mut values, self.share));
        let kept: ArrayRef = Arc::clone(list) as ArrayRef;
        self.values.merge_batch(&[kept])?;
        result.cast_to(&kind)
    }
}

/// `None` without values.
fn percentile(values: &mut [f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = share * last as f64;
    let below = (place.floor() as usize).min(last);
    let (_, low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let (low, weight) = (*low, place - below as f64);
    let high = above.iter().copied().min_by(f64::total_cmp);
    match high {
        // Two infinities have no distance.
        Some(high) if weight > 0.0 && high != low => Some(low + (high - low) * weight),
        _ => Some(low),
    }
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn the_weight_has_all_its_digits() {
        let exact = percentile(&mut [10.0, 1.0, 3.0, 2.0], 0.95).unwrap();
        assert!((exact - 8.95).abs() < 1e-12, "{exact}");
        assert_eq!(
            percentile(&mut [0.0, 1e9], 0.333_333_3),
            Some(333_333_300.0)
        );
        assert_eq!(percentile(&mut [], 0.5), None);
        assert_eq!(
            percentile(&mut [f64::INFINITY; 3], 0.3),
            Some(f64::INFINITY)
        );
        assert_eq!(percentile(&mut [1.0, 2.0], 1.0), Some(2.0));
    }
}
