//! An aggregate over a moving frame: NULL while the frame has no value.
//!
//! The engine's `min` and `max` keep returning their last value, and its `avg` divides by a count of zero. Its `sum`
//! is correct, and wrapped all the same, for uniformity.

use arrow::array::ArrayRef;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

#[derive(Debug)]
pub(super) struct Framed {
    inner: Box<dyn Accumulator>,
    /// Values in the frame that are not NULL.
    present: usize,
    none: ScalarValue,
}

impl Framed {
    pub(super) fn new(inner: Box<dyn Accumulator>, none: ScalarValue) -> Self {
        Self {
            inner,
            present: 0,
            none,
        }
    }
}

/// Values of the first argument that are not NULL.
fn present(values: &[ArrayRef]) -> usize {
    values
        .first()
        .map_or(0, |values| values.len() - values.logical_null_count())
}

impl Accumulator for Framed {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.present += present(values);
        self.inner.update_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.present = self.present.saturating_sub(present(values));
        self.inner.retract_batch(values)
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
        if self.present == 0 {
            return Ok(self.none.clone());
        }
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        self.inner.size() + size_of_val(self)
    }
}
