//! Lists that change while they are read: which records of a page were loaded before.
//!
//! An insertion moves records to a later page, where they appear again; a page with hidden records makes the next
//! offset overlap with it. Duplicates are skipped, by key if there is one. A record that a deletion moves to an earlier
//! page is found by offset (see [`super::deletion`]); by page number the list is read again (see [`super::walk`]).

use std::sync::Arc;

use forebay_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::body::{Outline, Record};
use super::config::Paginate;
use super::cursor::{self, Edge, Identity, Mark, UNPLACED_RECORDS_MAX, parse_identity};
use super::end::EndRule;
use super::paginate::{self, At, Facts};
use super::position::Progress;
use super::reader::Reader;

/// Most consecutive pages that may repeat the previous one, if records have a key: an insertion of a whole page does that once.
const REPEATS_MAX: u32 = 3;

/// Records at the end of a short page that are compared with the next page.
const OVERLAP_RECORDS_MAX: usize = 1_000;

/// State of the previous page, when it was short and the next one may overlap with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Overlap {
    /// Its last records, as many as a full page would have more.
    #[serde(default)]
    tail: Vec<String>,
    /// The page after a full one, for a server that rounds offsets down.
    pub(super) full_step: At,
}

/// Whether a page repeats the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageRepeat {
    Other,
    /// The list has shifted by a page.
    Shifted,
    /// The server rounds offsets down.
    Rounded,
    /// That is how the list ends.
    Last,
}

impl Overlap {
    /// How many records at the beginning of `records` are the last of the previous page.
    fn shared(&self, records: &[Record]) -> usize {
        let tail: Vec<Identity> = self
            .tail
            .iter()
            .filter_map(|text| parse_identity(text))
            .collect();
        let lengths = (1..=tail.len().min(records.len())).rev();
        let is_shared = |length: &usize| {
            let end = &tail[tail.len() - length..];
            let beginning = records[..*length].iter().map(|record| &record.legacy);
            end.iter().eq(beginning)
        };
        lengths.into_iter().find(is_shared).unwrap_or(0)
    }
}

impl Reader {
    /// Detects repeated pages: a server that does not know the page parameter sends the same page forever.
    ///
    /// # Errors
    /// `pagination_repeats`.
    pub(super) fn page_repeat(
        &mut self,
        outline: Option<&Outline>,
        overlap: Option<&Overlap>,
    ) -> Result<PageRepeat> {
        let config = &self.fetcher.config;
        let counted = matches!(
            config.paginate,
            Some(Paginate::Page(_) | Paginate::Offset(_))
        );
        let digest = outline.and_then(|outline| outline.digest);
        let before = self.progress.pass.as_ref().and_then(|pass| pass.last_page);
        if digest.is_none() || digest != before {
            self.repeats = 0;
            return Ok(PageRepeat::Other);
        }
        if overlap.is_some() {
            return Ok(PageRepeat::Rounded);
        }
        // A token or link may lead through several empty pages.
        let may_end = counted || outline.is_some_and(|outline| outline.count > 0);
        if may_end && config.end.has(&EndRule::RepeatedPage) {
            return Ok(PageRepeat::Last);
        }
        if !counted {
            return Ok(PageRepeat::Other);
        }
        self.repeats += 1;
        if config.key().is_none() || self.repeats > REPEATS_MAX {
            let what = "has the same records as the page before";
            let error = paginate::repeats(self.page(), what);
            return Err(error.with_hint(paginate::repeat_hint(config)));
        }
        Ok(PageRepeat::Shifted)
    }

    /// Whether the token or link of a page leads to the page itself, where that is how the list ends.
    pub(super) fn ends_at_itself(&self, at: &At, next: Option<&At>) -> bool {
        let is_request = |next: &At| match (self.page_url(at), self.page_url(next)) {
            (Ok(this), Ok(next)) => this == next,
            _ => false,
        };
        self.fetcher.config.end.has(&EndRule::RepeatedPage) && next.is_some_and(is_request)
    }

    /// The overlap to expect on the next page. The next offset counts the records received; if the server hides some,
    /// the next page begins before the end of this one.
    pub(super) fn overlap_after(
        &self,
        at: &At,
        outline: Option<&Outline>,
        facts: &Facts,
    ) -> Option<Overlap> {
        let config = &self.fetcher.config;
        let limit = match &config.paginate {
            Some(Paginate::Offset(offset)) => offset.limit,
            _ => return None,
        };
        let outline = outline?;
        let is_short = facts.full_seen && (1..limit).contains(&facts.records);
        if !is_short || facts.is_last {
            return None;
        }
        let missing = usize::try_from(limit - facts.records).unwrap_or(usize::MAX);
        let count = missing.min(outline.records.len()).min(OVERLAP_RECORDS_MAX);
        let tail = match config.key() {
            Some(_) => &[],
            None => &outline.records[outline.records.len() - count..],
        };
        Some(Overlap {
            tail: tail
                .iter()
                .map(|record| hex::encode(record.legacy))
                .collect(),
            full_step: at.ahead(config.paginate.as_ref())?,
        })
    }

    /// The ordinals of records that were loaded before; remembers the others at the edge. `is_new` marks the records
    /// that are new to this pass, if they have a key.
    pub(super) fn sift(
        &mut self,
        outline: &Outline,
        is_new: &[bool],
        overlap: Option<&Overlap>,
    ) -> Result<Vec<u64>> {
        let config = Arc::clone(&self.fetcher.config);
        self.check_comparable(&outline.records)?;
        self.warn_of_keyless(outline);
        let shared = overlap.map_or(0, |overlap| overlap.shared(&outline.records));
        let is_seen = |n: usize| n < shared || is_new.get(n) == Some(&false);
        if config.cursor.is_none() {
            let records = 0..outline.records.len();
            return Ok(records.filter(|n| is_seen(*n)).map(|n| n as u64).collect());
        }
        // Records that appear while the list is read again may hide others; the next pass requests them.
        if self
            .progress
            .pass
            .as_ref()
            .is_some_and(|pass| pass.walks == 0)
        {
            self.move_newest(&outline.records);
        }
        let floor = self.progress.floor(&config);
        let Progress {
            edge,
            legacy_edge,
            pass: Some(pass),
            ..
        } = &mut self.progress
        else {
            return Ok(Vec::new());
        };
        let mut skips = Vec::new();
        for (n, record) in outline.records.iter().enumerate() {
            let is_known = is_seen(n)
                || edge.contains(&record.mark, &record.identity)
                || legacy_edge.contains(&record.mark, &record.legacy)
                || pass.taken.contains(&record.mark, &record.identity);
            let is_old = !is_known && is_before(record, pass.from.as_ref());
            if let (true, Some(mark), Some(from)) = (is_old, &record.mark, &pass.from)
                && config.is_cursor_raw()
                && !mark.is_order_universal(from)
            {
                return Err(cursor_order(mark, from));
            }
            if is_known || is_old {
                skips.push(n as u64);
            } else if !is_before(record, floor.as_ref()) {
                pass.taken.insert(record.mark.clone(), record.identity);
            }
        }
        if let Some(floor) = &floor {
            pass.taken.forget_before(floor);
        }
        let unplaced = pass.taken.unplaced();
        Edge::check(edge.len() + legacy_edge.len() + pass.taken.len())?;
        if unplaced >= UNPLACED_RECORDS_MAX
            && !std::mem::replace(&mut self.has_warned_of_unplaced, true)
        {
            tracing::warn!(
                records = unplaced,
                "too many records without a readable cursor value; further ones are loaded again when the API returns them again"
            );
        }
        Ok(skips)
    }

    /// Errors: `Data` `cursor_mixed` when the order of two values is not known: one of them would be taken for older than the
    /// other, and its record dropped.
    fn check_comparable(&self, records: &[Record]) -> Result<()> {
        let mut known = self.progress.newest.as_ref();
        for mark in records.iter().filter_map(|record| record.mark.as_ref()) {
            let before = *known.get_or_insert(mark);
            if !before.is_comparable(mark) {
                let shown = [before, mark].map(|mark| cursor::Format::Raw.show(mark));
                let what = format!(
                    "the cursor has the value {:?} after {:?}: numbers and other texts of different lengths have no order",
                    shown[1], shown[0]
                );
                return Err(Error::data("cursor_mixed", what).with_hint(
                    "choose a field that has only numbers, only times or only texts; `format` says which",
                ));
            }
        }
        Ok(())
    }

    fn warn_of_keyless(&mut self, outline: &Outline) {
        if outline.keyless > 0 && !std::mem::replace(&mut self.has_warned_of_keyless, true) {
            tracing::warn!(
                records = outline.keyless,
                page = self.page(),
                "records without a key: equal ones on different pages are loaded once"
            );
        }
    }

    /// Moves the cursor to the newest value of the page. A value from the far future would hide every later record.
    fn move_newest(&mut self, records: &[Record]) {
        let fetcher = Arc::clone(&self.fetcher);
        let Some(cursor) = &fetcher.config.cursor else {
            return;
        };
        let now_us = fetcher.context.clock.now().micros();
        let is_far =
            |mark: &&Mark| cursor::is_in_far_future(cursor.format, mark, now_us, cursor.lag.0);
        let marks = || records.iter().filter_map(|record| record.mark.as_ref());
        if let Some(mark) = marks().find(is_far)
            && !std::mem::replace(&mut self.has_warned_of_future, true)
        {
            tracing::warn!(
                value = cursor.format.show(mark),
                field = cursor.field,
                "cursor value in the future: the record is loaded and the cursor is kept"
            );
        }
        let newest = marks().filter(|mark| !is_far(mark)).max();
        if newest > self.progress.newest.as_ref() {
            self.progress.newest = newest.cloned();
        }
    }
}

/// Whether such a record was read by an earlier pass, or is a new one in the order of the server, cannot be known.
fn cursor_order(mark: &Mark, from: &Mark) -> Error {
    let [mark, from] = [mark, from].map(|mark| cursor::Format::Raw.show(mark));
    let what = format!(
        "the server returned the cursor value {mark:?} for the lower bound {from:?}, which is greater in the order of bytes: \
         the record may be a new one"
    );
    Error::data("cursor_order", what).with_hint(
        "set `cursor.field` to a time or a whole number; if the server ignores `cursor.param`, correct its name",
    )
}

fn is_before(record: &Record, bound: Option<&Mark>) -> bool {
    record.mark.is_some() && record.mark.as_ref() < bound
}
