//! Deletions while a list is read by offset: they move records to places that were read already.
//!
//! Where records have a key, each page is asked for from the last record of the page before on (`overlap`). A page that does not
//! begin with a record that the pass has seen shows that the list has moved: the reader goes back, page by page, until it finds a
//! record that it knows, and reads on from there. Records that it knows are not loaded again.

use forebay_core::{Error, Result};

use super::body::{Outline, Record};
use super::config::{Offset, Paginate};
use super::paginate::At;
use super::reader::Reader;
use super::shift::PageRepeat;

/// Smallest page that overlaps with the one before unless the file says otherwise: one record more or less is a tenth of it at
/// most.
const OVERLAPPING_LIMIT_MIN: u64 = 10;

/// Pages that a pass may go back, all together.
const STEPS_BACK_MAX: u32 = 1_000;

impl Offset {
    /// Records that a page shares with the one before, where records have a key.
    fn shared_records(&self) -> u64 {
        let usual = u64::from(self.limit >= OVERLAPPING_LIMIT_MIN);
        let most = self.limit.saturating_sub(1);
        self.overlap.unwrap_or(usual).min(most)
    }
}

impl Reader {
    fn offset(&self) -> Option<&Offset> {
        match &self.fetcher.config.paginate {
            Some(Paginate::Offset(offset)) => Some(offset),
            _ => None,
        }
    }

    /// Records that the next page shares with the one before.
    pub(super) fn overlap(&self) -> u64 {
        let rounds = self.progress.pass.as_ref().is_some_and(|pass| pass.rounds);
        match self.offset() {
            Some(offset) if self.seen.is_some() && !rounds => offset.shared_records(),
            _ => 0,
        }
    }

    /// Where to go on instead, after a page that was asked for with records of the page before. `is_new` says which of its
    /// records the pass sees for the first time.
    ///
    /// # Errors
    /// `list_moves` when that never ends.
    pub(super) fn turn_back(
        &mut self,
        at: &At,
        outline: Option<&Outline>,
        is_new: &[bool],
        repeat: PageRepeat,
    ) -> Result<Option<At>> {
        let records = outline.map_or(&[][..], |outline| outline.records.as_slice());
        let overlap = self.overlap();
        let bounds = self.offset().map(|offset| (offset.start, offset.limit));
        let (Some(pass), At::Offset(from), Some((start, limit))) =
            (&mut self.progress.pass, at, bounds)
        else {
            return Ok(None);
        };
        let shared = std::mem::take(&mut pass.shared);
        if shared == 0 || *from <= start {
            self.detached.clear();
            return Ok(None);
        }
        if repeat == PageRepeat::Shifted {
            // The server rounds offsets down: nothing can be seen by asking for other ones.
            pass.rounds = true;
            return Ok(from.checked_add(shared).map(At::Offset));
        }
        let is_detached = |record: &Record| self.detached.contains(&record.identity);
        let begins_known =
            is_new.first() == Some(&false) && !records.first().is_some_and(is_detached);
        if begins_known {
            for record in records {
                self.detached.remove(&record.identity);
            }
            return Ok(None);
        }
        let new = records.iter().zip(is_new).filter(|(_, is_new)| **is_new);
        self.detached.extend(new.map(|(record, _)| record.identity));
        pass.steps_back += 1;
        if pass.steps_back > STEPS_BACK_MAX {
            let message = format!("the list moved {STEPS_BACK_MAX} times while it was read");
            return Err(Error::data("list_moves", message).with_hint(
                "sort the list so that it stays, use a cursor of the API, or set `paginate.offset.overlap: 0`",
            ));
        }
        tracing::debug!(offset = *from, "the list has moved; going back");
        let back = from
            .saturating_sub(limit - overlap.min(limit - 1))
            .max(start);
        pass.shared = u64::from(back > start);
        Ok(Some(At::Offset(back)))
    }
}
