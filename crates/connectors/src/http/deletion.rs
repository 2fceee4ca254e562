//! Lists that shift while they are read by offset: proves that a page continues where the previous one ended.
//!
//! If records have a key, each page is requested from the last record of the previous page on (`overlap`). It is
//! accepted only if it begins with a record that the pass has read: then every record that was on the list all the time
//! and before that record has been read, too. A page that begins with another record is rejected, since the list has
//! shifted: the reader goes back, page by page, until one begins with a known record. So no record after a gap is ever
//! treated as known, also after an interruption.
//!
//! A page with no records beyond those shared with the previous page is the last one, which an empty page after it must
//! confirm. If there are more records, the page is requested again.

use forebay_core::{Error, Result};

use super::config::{Offset, Paginate};
use super::paginate::{At, Facts};
use super::position::Pass;
use super::reader::Reader;
use super::seen::Joint;
use super::shift::PageRepeat;

/// Most pages that a pass may go back in total.
const STEPS_BACK_MAX: u32 = 1_000;

/// How often a run may find records after a page with only shared records: beyond that, the server hides records that
/// offsets count, or the list grows as fast as it is read. The list is read again instead.
const TAIL_MISSES_MAX: u32 = 3;

impl Offset {
    /// Records that a page shares with the previous one, if records have a key.
    fn shared_records(&self) -> u64 {
        let most = self.limit.saturating_sub(1);
        let usual = u64::from(!self.stable);
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

    /// Records that the next page shares with the previous one.
    pub(super) fn overlap(&self) -> u64 {
        let rounds = self.progress.pass.as_ref().is_some_and(|pass| pass.rounds);
        match self.offset() {
            Some(offset) if self.seen.is_some() && !rounds => offset.shared_records(),
            _ => 0,
        }
    }

    /// The required beginning of the page.
    pub(super) fn joint(&self, at: &At) -> Joint {
        let (Some(pass), At::Offset(from), Some(offset)) = (&self.progress.pass, at, self.offset())
        else {
            return Joint::Free;
        };
        match pass {
            _ if self.seen.is_none() || *from <= offset.start => Joint::Free,
            Pass { tail: Some(_), .. } if self.tail_misses < TAIL_MISSES_MAX => Joint::Nothing,
            Pass { shared: 0, .. } => Joint::Free,
            _ => Joint::Known,
        }
    }

    /// Where to continue after a page that does not continue where the previous one ended.
    ///
    /// # Errors
    /// `list_moves` when that never ends.
    pub(super) fn go_back(&mut self, at: &At) -> Result<At> {
        let overlap = self.overlap();
        let bounds = self.offset().map(|offset| (offset.start, offset.limit));
        let (Some(pass), At::Offset(from), Some((start, limit))) =
            (&mut self.progress.pass, at, bounds)
        else {
            return Ok(at.clone());
        };
        pass.steps_back += 1;
        if pass.steps_back > STEPS_BACK_MAX {
            return Err(list_moves(&format!(
                "the list shifted {STEPS_BACK_MAX} times while it was read"
            )));
        }
        tracing::debug!(offset = *from, "the list has shifted, going back");
        let step = limit - overlap.min(limit - 1);
        let tail = pass.tail.take();
        self.tail_misses += u32::from(tail.is_some());
        let back = tail.unwrap_or(from.saturating_sub(step)).max(start);
        pass.shared = u64::from(back > start);
        pass.last_page = None;
        pass.rounding = None;
        pass.overlap = None;
        Ok(At::Offset(back))
    }

    /// Records the required beginning of the page after this one. Returns where to continue instead, if the server
    /// rounds offsets down.
    pub(super) fn note_joint(&mut self, at: &At, facts: &Facts, repeat: PageRepeat) -> Option<At> {
        let records = facts.records;
        let overlap = self.overlap();
        let (Some(pass), At::Offset(from)) = (&mut self.progress.pass, at) else {
            return None;
        };
        let shared = std::mem::take(&mut pass.shared);
        let is_unjoined = pass.tail.take().is_some() && records > 0;
        if overlap == 0 || facts.is_last {
            return None;
        }
        pass.unproven |= is_unjoined;
        if repeat == PageRepeat::Shifted && shared > 0 {
            return pass.check_rounding(*from, shared);
        }
        pass.rounding = None;
        match records {
            // The list continues after an empty page: it hides records.
            0 => pass.unproven = true,
            _ if records > overlap => pass.shared = overlap,
            _ => pass.tail = Some(*from),
        }
        None
    }
}

impl Pass {
    /// Where to continue after a page that repeats the previous one, although it was requested from that page's last
    /// records on: the list has shifted by exactly that much, or the server rounds offsets down. The record before
    /// shows which.
    fn check_rounding(&mut self, from: u64, shared: u64) -> Option<At> {
        if let Some(asked) = self.rounding.take() {
            // Requesting other offsets would show nothing.
            self.rounds = true;
            self.unproven = true;
            return asked.checked_add(shared).map(At::Offset);
        }
        self.rounding = Some(from);
        self.shared = shared;
        // The request may have been made before.
        self.steps_back += 1;
        from.checked_sub(1).map(At::Offset)
    }
}

/// The error for a list that changes faster than it can be read.
pub(super) fn list_moves(message: &str) -> Error {
    Error::data("list_moves", message).with_hint(
        "sort the list so that it does not shift (by time of last change, oldest first), request larger pages, or use a cursor of the API \
         (`paginate: cursor`); the next run resumes",
    )
}
