//! Batches that go to the server together, and the records in them.
//!
//! A group is the unit for finding rejected records: it is sent inside a savepoint, and when the server rejects it, in
//! smaller parts until each rejected record is alone. A record is a row of the main table, with all rows that a transform
//! has made of it, and the rows of child tables that hang from it; the extractor hands these on together, so no record is
//! split between two groups.

use std::collections::HashMap;
use std::ops::Range;

use arrow::array::{Array, AsArray, StringArray};
use forebay_core::{Batch, ROOT_ID, ROW_ID, Rejected, Result};

use super::encode::Unfit;
use crate::sink::STAGE;
use forebay_formats::text::rows_as_json;

/// Bytes of Arrow that are sent as one, about.
pub(super) const GROUP_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) batches: Vec<Batch>,
    bytes: usize,
}

impl Group {
    pub(super) fn push(&mut self, batch: Batch) {
        // An upper bound of its memory, which other batches may share.
        self.bytes += batch.records.get_array_memory_size();
        self.batches.push(batch);
    }

    /// Whether the group has to be sent, before the next main rows.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= GROUP_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether a row is the only one of its record.
    pub(super) fn is_alone(&self, batch: usize, row: usize) -> bool {
        if self.batches.iter().any(|batch| !batch.child.is_empty()) {
            return false;
        }
        let Some(origins) = &self.batches[batch].origins else {
            return true;
        };
        let place = |row: usize| (origins.payloads[row], origins.offsets[row]);
        let before = row.checked_sub(1).map(place);
        let after = (row + 1 < origins.len()).then(|| place(row + 1));
        before != Some(place(row)) && after != Some(place(row))
    }

    /// A row, with its record, in the form for the quarantine.
    pub(super) fn rejected(&self, place: (usize, usize), why: &Why) -> Result<Rejected> {
        let batch = &self.batches[place.0];
        let record = rows_as_json(&batch.records.slice(place.1, 1))?.pop();
        let origin = batch.origins.as_ref();
        Ok(Rejected {
            payload: origin.map(|origins| origins.payloads[place.1]),
            extent: origin.map(|origins| origins.extent(place.1)),
            offset: origin.map(|origins| origins.offsets[place.1]),
            line: origin.and_then(|origins| origins.line(place.1)),
            stage: STAGE.to_owned(),
            code: why.code.to_owned(),
            reason: why.reason.clone(),
            record: record.unwrap_or_default(),
        })
    }
}

/// Why a record is rejected.
#[derive(Debug, Clone)]
pub(super) struct Why {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

impl From<&Unfit> for Why {
    fn from(unfit: &Unfit) -> Self {
        let code = unfit.code;
        let reason = unfit.reason.clone();
        Self { code, reason }
    }
}

/// The record of each row of a group.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The record of each row of each batch.
    of: Vec<Vec<u32>>,
    /// The first row of each record: batch and row.
    first: Vec<(usize, usize)>,
    pub(super) refused: Vec<bool>,
}

impl Records {
    pub(super) fn new(group: &Group) -> Self {
        let mut records = Self::default();
        let mut roots: HashMap<String, u32> = HashMap::new();
        for (at, batch) in group.batches.iter().enumerate() {
            let of = if batch.child.is_empty() {
                records.main(at, batch, &mut roots)
            } else {
                records.children(at, batch, &mut roots)
            };
            records.of.push(of);
        }
        records.refused = vec![false; records.first.len()];
        records
    }

    fn main(&mut self, at: usize, batch: &Batch, roots: &mut HashMap<String, u32>) -> Vec<u32> {
        let keys = keys(batch, ROW_ID);
        let mut of = Vec::with_capacity(batch.records.num_rows());
        let mut last = None;
        for row in 0..batch.records.num_rows() {
            let place = batch
                .origins
                .as_ref()
                .map(|origins| (origins.payloads[row], origins.offsets[row]));
            let record = match last {
                Some((before, record)) if before == place && place.is_some() => record,
                _ => self.begin(at, row),
            };
            last = Some((place, record));
            of.push(record);
            if let Some(keys) = keys.filter(|keys| !keys.is_empty()) {
                roots.insert(keys.value(row).to_owned(), record);
            }
        }
        of
    }

    fn children(&mut self, at: usize, batch: &Batch, roots: &mut HashMap<String, u32>) -> Vec<u32> {
        let keys = keys(batch, ROOT_ID);
        let rows = 0..batch.records.num_rows();
        rows.map(|row| match keys {
            Some(keys) => match roots.get(keys.value(row)) {
                Some(record) => *record,
                // A transform has dropped the key of its main row: the rows of one root are a record of their own.
                None => {
                    let record = self.begin(at, row);
                    roots.insert(keys.value(row).to_owned(), record);
                    record
                }
            },
            None => self.begin(at, row),
        })
        .collect()
    }

    fn begin(&mut self, batch: usize, row: usize) -> u32 {
        self.first.push((batch, row));
        (self.first.len() - 1) as u32
    }

    pub(super) fn all(&self) -> Range<usize> {
        0..self.first.len()
    }

    pub(super) fn of(&self, batch: usize, row: usize) -> usize {
        self.of[batch][row] as usize
    }

    pub(super) fn first(&self, record: usize) -> (usize, usize) {
        self.first[record]
    }

    /// The records of a range that are not rejected.
    pub(super) fn left(&self, range: &Range<usize>) -> Vec<usize> {
        range.clone().filter(|at| !self.refused[*at]).collect()
    }
}

/// Some records of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick<'a> {
    pub(super) records: &'a Records,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Pick<'_> {
    fn has(&self, batch: usize, row: usize) -> bool {
        let record = self.records.of(batch, row);
        (self.from..self.to).contains(&record) && !self.records.refused[record]
    }
}

/// The rows of a batch to send: all, or those of the picked records.
pub(super) fn rows(
    group: &Group,
    batch: usize,
    pick: Option<Pick<'_>>,
) -> impl Iterator<Item = usize> {
    let rows = 0..group.batches[batch].records.num_rows();
    rows.filter(move |row| pick.is_none_or(|pick| pick.has(batch, *row)))
}

fn keys<'a>(batch: &'a Batch, column: &str) -> Option<&'a StringArray> {
    batch.records.column_by_name(column)?.as_string_opt::<i32>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch};
    use forebay_core::Origins;

    use super::*;

    fn batch(child: &str, column: &str, keys: &[&str], offsets: &[u64]) -> Batch {
        let array: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        let mut origins = Origins::default();
        offsets
            .iter()
            .for_each(|offset| origins.push(0, *offset, 0));
        Batch {
            child: child.to_owned(),
            records: RecordBatch::try_from_iter([(column, array)]).unwrap(),
            origins: (!offsets.is_empty()).then_some(origins),
        }
    }

    #[test]
    fn rows_of_one_record_and_its_children_belong_together() {
        let mut group = Group::default();
        group.push(batch("", ROW_ID, &["a", "b", "b2", "c"], &[0, 10, 10, 20]));
        group.push(batch("items", ROOT_ID, &["a", "c", "c", "z"], &[]));
        let records = Records::new(&group);
        assert_eq!(records.of, [vec![0, 1, 1, 2], vec![0, 2, 2, 3]]);
        assert!(!group.is_alone(0, 0), "it has children");
        let mut plain = Group::default();
        plain.push(batch("", ROW_ID, &["a", "b", "b2", "c"], &[0, 10, 10, 20]));
        let alone: Vec<bool> = (0..4).map(|row| plain.is_alone(0, row)).collect();
        assert_eq!(alone, [true, false, false, true]);
    }
}
