//! Which files can have rows with the keys of a draft.

use forebay_core::Result;

use crate::scan::{Bounds, Prune};
use crate::value::Value;

/// The least and the greatest value of each column of the key; a column is missing when they are not known.
#[derive(Debug)]
pub(crate) struct KeyRange(Vec<(i32, Value, Value)>);

impl KeyRange {
    pub(crate) fn of(ids: impl Iterator<Item = i32>, bounds: &[Bounds]) -> Self {
        let range = |id: i32| {
            let (first, rest) = bounds.split_first()?;
            let mut low = first.lower.get(&id)?;
            let mut high = first.upper.get(&id)?;
            for other in rest {
                let (lower, upper) = (other.lower.get(&id)?, other.upper.get(&id)?);
                low = if lower.is_below(low) { lower } else { low };
                high = if high.is_below(upper) { upper } else { high };
            }
            Some((id, low.clone(), high.clone()))
        };
        Self(ids.filter_map(range).collect())
    }

    pub(crate) fn may_have(&self, bounds: &Bounds) -> bool {
        self.0.iter().all(|(id, low, high)| {
            let is_before = bounds
                .upper
                .get(id)
                .is_some_and(|upper| upper.is_below(low));
            let is_after = bounds
                .lower
                .get(id)
                .is_some_and(|lower| high.is_below(lower));
            !is_before && !is_after
        })
    }
}

impl Prune for KeyRange {
    fn keep(&self, bounds: &[Bounds]) -> Result<Vec<bool>> {
        Ok(bounds.iter().map(|bounds| self.may_have(bounds)).collect())
    }
}
