//! The first records, held back until the shape is learned from all of them together.

use super::rows::Place;

/// Number of records to learn the shape from, if there are that many.
const RECORDS_MAX: usize = 1_000;
/// A sample is full when it has this many bytes.
const BYTES_MAX: usize = 8 << 20;

/// Records one after another.
#[derive(Debug, Default)]
pub(super) struct Sample {
    bytes: Vec<u8>,
    records: Vec<(Place, usize)>,
}

impl Sample {
    pub(super) fn add(&mut self, place: Place, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.records.push((place, self.bytes.len()));
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX || self.bytes.len() >= BYTES_MAX
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &[u8])> {
        let starts = std::iter::once(0).chain(self.records.iter().map(|(_, end)| *end));
        self.records
            .iter()
            .zip(starts)
            .map(|((place, end), start)| (place, &self.bytes[start..*end]))
    }
}
