//! Rows that a table of the lake cannot hold: found one by one, so that the others land.
//!
//! A value may have no partition (the least `int` under `truncate`, the year 290000 under `hour`), or no exact place in its column.
//! Looked for only after a write has failed; a batch that fits costs nothing. Never writes.

use forebay_core::{ErrorKind, Result, TableName};

use super::tables::Tables;
use crate::transform::Refusal;
use arrow::array::RecordBatch;

/// The rows of `records` that `table`, to which they fit as a whole, does not take, and why.
pub(super) fn misfits(
    tables: &Tables,
    table: &TableName,
    records: &RecordBatch,
) -> Result<Vec<Refusal>> {
    let mut found = Vec::new();
    let mut parts = vec![(0, records.num_rows())];
    while let Some((from, length)) = parts.pop() {
        let error = match tables.check(table, &records.slice(from, length)) {
            Ok(()) => continue,
            Err(error) if error.kind() != ErrorKind::Data => return Err(error),
            Err(error) => error,
        };
        let half = length / 2;
        if half > 0 {
            // The first half comes off the stack first, so rows are found in order.
            parts.push((from + half, length - half));
            parts.push((from, half));
        } else {
            found.push(Refusal {
                row: from,
                code: error.code(),
                reason: error.to_string(),
            });
        }
    }
    Ok(found)
}
