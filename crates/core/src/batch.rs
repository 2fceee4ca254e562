//! Rows on their way from an extractor to a sink.

use arrow::array::RecordBatch;

use crate::quarantine::Extent;

/// Rows of one table, in Arrow.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Which table of the pipeline: empty for the main table, else the path of the list that it came from,
    /// joined with `__` (`items`, `items__discounts`).
    pub child: String,
    pub records: RecordBatch,
    /// Where each row came from; rows that a transform made of one record share its place. `None` once a transform has
    /// made rows that come from more than one record, or from none.
    pub origins: Option<Origins>,
}

impl Batch {
    pub fn main(records: RecordBatch, origins: Option<Origins>) -> Self {
        Self {
            child: String::new(),
            records,
            origins,
        }
    }
}

/// The place of each row in its payload, column-wise; all three have one value per row of the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// [`crate::PayloadHead::ordinal`] of the payload.
    pub payloads: Vec<u64>,
    /// Byte offset of the record in the decompressed payload.
    pub offsets: Vec<u64>,
    /// Length of the record in bytes.
    pub lengths: Vec<u32>,
}

impl Origins {
    pub fn push(&mut self, payload: u64, offset: u64, length: u32) {
        self.payloads.push(payload);
        self.offsets.push(offset);
        self.lengths.push(length);
    }

    /// The record of a row, as a refusal names it.
    ///
    /// Panics when there is no such row.
    pub fn extent(&self, row: usize) -> Extent {
        Extent::record(self.offsets[row], u64::from(self.lengths[row]))
    }

    /// The places of these rows, in this order; a row may come more than once.
    ///
    /// Panics when there is no such row.
    #[must_use]
    pub fn of(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let mut places = Self::default();
        for row in rows {
            places.push(self.payloads[row], self.offsets[row], self.lengths[row]);
        }
        places
    }

    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }
}
