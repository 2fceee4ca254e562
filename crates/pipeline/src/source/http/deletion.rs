//! Lists that move while they are read by offset: what proves that a page goes on where the one before ended.
//!
//! Where records have a key, each page is asked for from the last record of the page before on (`overlap`), and is taken only if it
//! begins with a record that the pass has taken: whatever was on the list all the time and stood before that record had been taken
//! with it. A page that begins with another one is not taken, the list has moved: the reader goes back, page by page, until one
//! begins with a record that it knows. So nothing of what is behind a gap is ever taken for known, also after an interruption.
//!
//! A page that holds nothing but what it shares with the one before is the last, which an empty one behind it must confirm. If there
//! is more, the page is asked for again.

use forebay_core::{Error, Result};

use super::config::{Offset, Paginate};
use super::paginate::{At, Facts};
use super::position::Pass;
use super::reader::Reader;
use super::seen::Joint;
use super::shift::PageRepeat;

/// Pages that a pass may go back, all together.
const STEPS_BACK_MAX: u32 = 1_000;

/// How often a run finds records behind a page that holds nothing but what it shares: then the server hides records that offsets
/// count, or the list grows as fast as it is read. The list is read again instead.
const TAIL_MISSES_MAX: u32 = 3;

impl Offset {
    /// Records that a page shares with the one before, where records have a key.
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

    /// Records that the next page shares with the one before.
    pub(super) fn overlap(&self) -> u64 {
        let rounds = self.progress.pass.as_ref().is_some_and(|pass| pass.rounds);
        match self.offset() {
            Some(offset) if self.seen.is_some() && !rounds => offset.shared_records(),
            _ => 0,
        }
    }

    /// What the page must begin with.
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

    /// Where to read on after a page that does not go on where the one before ended.
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
                "the list moved {STEPS_BACK_MAX} times while it was read"
            )));
        }
        tracing::debug!(offset = *from, "the list has moved; going back");
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

    /// Notes how the page behind this one is to be told from another; where to read on instead of there, if the server rounds
    /// offsets down.
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
            // The list goes on behind an empty page: it hides records.
            0 => pass.unproven = true,
            _ if records > overlap => pass.shared = overlap,
            _ => pass.tail = Some(*from),
        }
        None
    }
}

impl Pass {
    /// Where to read on after a page that is the one before again, although it was asked for from its last records on: the list
    /// has moved by just as much, or the server rounds offsets down. The record before shows which.
    fn check_rounding(&mut self, from: u64, shared: u64) -> Option<At> {
        if let Some(asked) = self.rounding.take() {
            // Nothing can be seen by asking for other offsets.
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

/// The error of a list that changes faster than it can be read.
pub(super) fn list_moves(message: &str) -> Error {
    Error::data("list_moves", message).with_hint(
        "sort the list so that it stays (by the time of the last change, oldest first), ask for larger pages, or use a cursor of the API \
         (`paginate: cursor`); the next run reads on",
    )
}
