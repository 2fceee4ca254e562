//! `sum` and `avg` of floats over a moving frame, without taking values away again.
//!
//! The engine's subtract values that leave the frame: `1e300` absorbs every smaller value, and after an infinity or NaN every
//! result is NaN. Here the values of the frame are on two stacks with running sums: values are pushed to one, leave
//! from the other, and when that is empty all are moved over. Each value is added twice, whatever the length of the frame.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameResult {
    Sum,
    Average,
}

#[derive(Debug)]
pub(super) struct FloatFrame {
    result: FrameResult,
    /// Values added since the last move, and their sum.
    arrived: Vec<f64>,
    arrived_sum: f64,
    /// For each value that will leave, the next one last, the sum from it to the newest of these.
    leaving: Vec<f64>,
}

impl FloatFrame {
    pub(super) fn new(result: FrameResult) -> Self {
        Self {
            result,
            arrived: Vec::new(),
            arrived_sum: 0.0,
            leaving: Vec::new(),
        }
    }

    fn push(&mut self, value: f64) {
        self.arrived.push(value);
        self.arrived_sum += value;
    }

    fn pop(&mut self) {
        if self.leaving.is_empty() {
            let mut sum = 0.0;
            for value in self.arrived.drain(..).rev() {
                sum += value;
                self.leaving.push(sum);
            }
            self.arrived_sum = 0.0;
        }
        self.leaving.pop();
    }

    fn value(&self) -> Option<f64> {
        let count = self.arrived.len() + self.leaving.len();
        let sum = self.leaving.last().map_or(0.0, |sum| *sum) + self.arrived_sum;
        (count > 0).then_some(match self.result {
            FrameResult::Sum => sum,
            FrameResult::Average => sum / count as f64,
        })
    }
}

/// The values that are not NULL.
fn present(values: &[ArrayRef]) -> Result<Vec<f64>> {
    let wide = cast(&values[0], &DataType::Float64)?;
    Ok(wide
        .as_primitive::<Float64Type>()
        .iter()
        .flatten()
        .collect())
}

impl Accumulator for FloatFrame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in present(values)? {
            self.push(value);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for _ in present(values)? {
            self.pop();
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("the values of a frame are never merged")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("the values of a frame are never merged")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.value()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + (self.arrived.capacity() + self.leaving.capacity()) * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Small whole numbers: their sums are exact in any order.
        #[test]
        fn the_frame_has_the_sum_of_its_values(values in prop::collection::vec(-1000i32..1000, 1..60), width in 1usize..9) {
            let mut frame = FloatFrame::new(FrameResult::Sum);
            for (row, value) in values.iter().enumerate() {
                frame.push(f64::from(*value));
                if row >= width {
                    frame.pop();
                }
                let first = (row + 1).saturating_sub(width);
                let expected: f64 = values[first..=row].iter().map(|value| f64::from(*value)).sum();
                prop_assert_eq!(frame.value(), Some(expected));
            }
        }
    }
}
