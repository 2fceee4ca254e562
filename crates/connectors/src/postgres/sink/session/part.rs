//! The part of a group that one COPY takes, or that cannot be sent at all.

use std::ops::Range;

use crate::postgres::sink::encode::Unfit;
use crate::postgres::sink::fit::BarredColumn;
use crate::postgres::sink::group::{Group, Pick, Why, rows};
use crate::postgres::sink::table::Place;

/// Consecutive batches of a group that are one COPY.
pub(super) struct Part {
    pub(super) child: String,
    pub(super) places: Vec<Place>,
    /// Columns of the rows that the table cannot have.
    pub(super) barred: Vec<BarredColumn>,
    pub(super) batches: Range<usize>,
    /// Why none of the rows can be sent.
    pub(super) refusal: Option<Why>,
}

impl Part {
    /// Whether the rows of `next`, which come right after, can be in the same COPY.
    pub(super) fn is_one_with(&self, next: &Self) -> bool {
        self.child == next.child
            && self.places == next.places
            && self.barred == next.barred
            && self.refusal.is_some() == next.refusal.is_some()
    }

    /// The rows, each rejected.
    pub(super) fn refused(
        &self,
        group: &Group,
        pick: Option<Pick<'_>>,
        why: &Why,
    ) -> Vec<(usize, Unfit)> {
        let places = self
            .batches
            .clone()
            .flat_map(|at| rows(group, at, pick).map(move |row| (at, row)));
        places
            .map(|(at, row)| {
                let unfit = Unfit {
                    row,
                    code: why.code,
                    reason: why.reason.clone(),
                };
                (at, unfit)
            })
            .collect()
    }

    /// The rows have no column that the table can have.
    pub(super) fn no_columns(barred: &[BarredColumn]) -> Why {
        let first = barred.first();
        Why {
            code: first.map_or("no_columns", |column| column.code),
            reason: first.map_or_else(
                || "the row has no column".to_owned(),
                |column| column.reason.clone(),
            ),
        }
    }
}
