//! Rows of a file as the table gets them, and those that it cannot get.

use arrow::array::RecordBatch;

/// Some rows of a file in the table's types.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) records: RecordBatch,
    /// Rows to reject, ascending.
    pub(crate) unrepresentable: Vec<UnrepresentableRow>,
}

/// A row with a value that no column of a table can hold: see `types::unrepresentable_rows`.
#[derive(Debug)]
pub(crate) struct UnrepresentableRow {
    /// Its index among the records of the part.
    pub(crate) row: usize,
    pub(crate) column: String,
    /// The row as in the file.
    pub(crate) record: Vec<u8>,
}

impl Part {
    /// Bytes that it holds in memory, about.
    pub(crate) fn bytes(&self) -> u64 {
        let unrepresentable: usize = self
            .unrepresentable
            .iter()
            .map(|unrepresentable| unrepresentable.record.len())
            .sum();
        (self.records.get_array_memory_size() + unrepresentable) as u64
    }
}
