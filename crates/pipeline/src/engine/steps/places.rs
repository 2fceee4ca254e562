//! Rows found by their place in a payload, and child rows by the key of the row that they hang from.

use std::collections::HashSet;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use forebay_core::{Batch, Error, Origins, ROOT_ID, ROW_ID, Rejected, Result};

use crate::engine::reprocess::ledger::RowPlace;
use crate::transform::keep;

/// Payload and offset of a record.
pub(super) type Place = (u64, u64);

pub(super) fn places_of(rejected: &[Rejected]) -> HashSet<Place> {
    let places = rejected.iter();
    places
        .filter_map(|refused| refused.payload.zip(refused.offset))
        .collect()
}

pub(super) fn places(origins: &Origins) -> impl Iterator<Item = Place> {
    let payloads = origins.payloads.iter().copied();
    payloads.zip(origins.offsets.iter().copied())
}

/// The main rows before the steps: keys by origin, also after a step that drops the keys.
pub(super) struct OriginalRows {
    origins: Option<Origins>,
    keys: Option<StringArray>,
}

impl OriginalRows {
    pub(super) fn new(batch: &Batch) -> Self {
        let keys = keys(&batch.records, ROW_ID).cloned();
        Self {
            origins: batch.origins.clone().filter(|_| keys.is_some()),
            keys,
        }
    }

    pub(super) fn keys_at(&self, wanted: &HashSet<Place>) -> Vec<String> {
        let (Some(origins), Some(keys)) = (&self.origins, &self.keys) else {
            return Vec::new();
        };
        places(origins)
            .zip(keys)
            .filter(|(place, _)| wanted.contains(place))
            .filter_map(|(_, key)| key.map(str::to_owned))
            .collect()
    }
}

pub(super) fn without_places(batch: Batch, refused: &HashSet<Place>) -> Result<Batch> {
    let Some(origins) = &batch.origins else {
        return Ok(batch);
    };
    let kept: Vec<bool> = places(origins)
        .map(|place| !refused.contains(&place))
        .collect();
    if kept.iter().all(|kept| *kept) {
        return Ok(batch);
    }
    keep(batch, &kept)
}

pub(super) fn keys<'a>(records: &'a RecordBatch, column: &str) -> Option<&'a StringArray> {
    records.column_by_name(column)?.as_string_opt::<i32>()
}

pub(super) fn filter(records: &RecordBatch, keep: &BooleanArray) -> Result<RecordBatch> {
    arrow::compute::filter_record_batch(records, keep)
        .map_err(|error| Error::bug("filter_rows", "failed to leave rows out").with_source(error))
}

/// Main rows at wanted places of their payload, and the children that hang from them.
#[derive(Debug, Default)]
pub(in crate::engine) struct Wanted {
    roots: HashSet<String>,
}

impl Wanted {
    /// Keeps the wanted rows of a batch, in the order an extractor gives them.
    pub(in crate::engine) fn keep(
        &mut self,
        batch: Batch,
        is_wanted: &mut dyn FnMut(RowPlace) -> bool,
    ) -> Result<Batch> {
        if !batch.child.is_empty() {
            let keep: BooleanArray = match keys(&batch.records, ROOT_ID) {
                Some(roots) => roots
                    .iter()
                    .map(|root| Some(root.is_some_and(|root| self.roots.contains(root))))
                    .collect(),
                None => vec![false; batch.records.num_rows()].into(),
            };
            return Ok(Batch {
                records: filter(&batch.records, &keep)?,
                ..batch
            });
        }
        let origins = batch
            .origins
            .as_ref()
            .ok_or_else(|| Error::bug("no_origins", "extracted rows without their places"))?;
        let places = origins.offsets.iter().zip(&origins.lengths);
        let chosen: Vec<bool> = places
            .map(|(offset, length)| {
                is_wanted(RowPlace {
                    offset: *offset,
                    length: u64::from(*length),
                })
            })
            .collect();
        let kept = keep(batch, &chosen)?;
        self.roots = keys(&kept.records, ROW_ID)
            .map(|ids| ids.iter().flatten().map(str::to_owned).collect())
            .unwrap_or_default();
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn rows(child: &str, column: &str, keys: &[&str]) -> Batch {
        let keys: arrow::array::ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        Batch {
            child: child.to_owned(),
            records: RecordBatch::try_from_iter([(column, keys)]).unwrap(),
            origins: None,
        }
    }

    #[test]
    fn children_follow_the_rows_they_hang_from() {
        let mut main = rows("", ROW_ID, &["a", "b", "c"]);
        main.origins = Some(Origins {
            payloads: vec![0; 3],
            offsets: vec![0, 10, 20],
            lengths: vec![5; 3],
            ..Origins::default()
        });
        let mut wanted = Wanted::default();
        let kept = wanted.keep(main, &mut |row| row.offset == 10).unwrap();
        assert_eq!(kept.origins.unwrap().offsets, [10]);
        let children = wanted
            .keep(rows("items", ROOT_ID, &["a", "b", "b", "c"]), &mut |_| {
                false
            })
            .unwrap();
        assert_eq!(children.records.num_rows(), 2);
    }
}
