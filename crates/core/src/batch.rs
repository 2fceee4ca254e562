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

/// The place of each row in its payload, column-wise; each column has one value per row of the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    /// [`crate::PayloadHead::ordinal`] of the payload.
    pub payloads: Vec<u64>,
    /// Byte offset of the record in the decompressed payload.
    pub offsets: Vec<u64>,
    /// Length of the record in bytes.
    pub lengths: Vec<u32>,
    /// 1-based line in the payload, 0 where it is not known; empty when it is known of no row.
    pub lines: Vec<u64>,
}

impl Origins {
    pub fn push(&mut self, payload: u64, offset: u64, length: u32) {
        self.payloads.push(payload);
        self.offsets.push(offset);
        self.lengths.push(length);
        if !self.lines.is_empty() {
            self.lines.push(0);
        }
    }

    /// As [`Self::push`], for formats that have lines.
    pub fn push_on_line(&mut self, payload: u64, offset: u64, length: u32, line: u64) {
        self.lines.resize(self.payloads.len(), 0);
        self.payloads.push(payload);
        self.offsets.push(offset);
        self.lengths.push(length);
        self.lines.push(line);
    }

    /// As [`Self::push`], with the line where it is known.
    pub fn push_with_line(&mut self, payload: u64, offset: u64, length: u32, line: Option<u64>) {
        match line {
            Some(line) => self.push_on_line(payload, offset, length, line),
            None => self.push(payload, offset, length),
        }
    }

    /// The line on which the record of a row begins.
    pub fn line(&self, row: usize) -> Option<u64> {
        self.lines.get(row).copied().filter(|line| *line > 0)
    }

    /// The record of a row, as a refusal names it.
    ///
    /// Panics if a row is out of range.
    pub fn extent(&self, row: usize) -> Extent {
        Extent::record(self.offsets[row], u64::from(self.lengths[row]))
    }

    /// Whether two rows are of one record.
    ///
    /// Panics if a row is out of range.
    pub fn is_same(&self, row: usize, other: usize) -> bool {
        (self.payloads[row], self.offsets[row]) == (self.payloads[other], self.offsets[other])
    }

    /// The places of these rows, in this order; a row may be repeated.
    ///
    /// Panics if a row is out of range.
    #[must_use]
    pub fn of(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let mut places = Self::default();
        for row in rows {
            let payload = self.payloads[row];
            let offset = self.offsets[row];
            let length = self.lengths[row];
            places.push_with_line(payload, offset, length, self.line(row));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_its_line() {
        let mut places = Origins::default();
        places.push(0, 0, 5);
        places.push_on_line(1, 0, 5, 2);
        places.push(2, 0, 5);
        let lines = |places: &Origins| (0..places.len()).map(|row| places.line(row)).collect();
        let found: Vec<Option<u64>> = lines(&places);
        assert_eq!(found, [None, Some(2), None]);
        let found: Vec<Option<u64>> = lines(&places.of([2, 1, 1]));
        assert_eq!(found, [None, Some(2), Some(2)]);
    }
}
