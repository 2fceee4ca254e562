//! Decides which refusals of a payload land when it is extracted again, by the outcome of everything in the extent of each.
//!
//! A refusal lands as a whole: every row that begins in its extent, while records rejected again inside it become refusals
//! of their own. Where the row boundaries differ from the first time (a row crosses the edge of an extent), or where the
//! extent of a refusal is unknown, it stays open: a row may land once, never twice.

use forebay_core::Rejected;
use forebay_core::quarantine::{Extent, Scope};

use crate::quarantine::Event;

/// Why a refusal stays open though nothing was refused again.
const MOVED: &str =
    "the record is no longer at its position: the extractor's settings have changed";

/// The place of a row in its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct RowPlace {
    pub(in crate::engine) offset: u64,
    /// Bytes; 0 for rows that are known by their number.
    pub(in crate::engine) length: u64,
}

impl RowPlace {
    fn end(self) -> u64 {
        self.offset.saturating_add(self.length.max(1))
    }
}

/// An open refusal of the payload.
#[derive(Debug)]
struct Tracked {
    event: Event,
    extent: Extent,
    /// The record of a refusal without a length.
    record: Option<Extent>,
    /// Length of the record, for a refusal that kept nothing else.
    record_bytes: Option<u64>,
    has_rows: bool,
    /// Why it stays open.
    blocked: Option<String>,
}

impl Tracked {
    fn new(event: Event) -> Option<Self> {
        let mut extent = event.rejected.extent?;
        let mut record_bytes = None;
        if extent.scope == Scope::Unsized {
            record_bytes = Some(extent.end - extent.start);
            extent.end = extent.start.saturating_add(1);
        }
        Some(Self {
            event,
            extent,
            record: None,
            record_bytes,
            has_rows: false,
            blocked: None,
        })
    }

    /// Records a row that overlaps the extent; returns whether it belongs to it.
    fn row(&mut self, row: RowPlace, is_csv: bool) -> bool {
        if let Some(bytes) = self.record_bytes {
            let is_its_own = self.is_the_record(row, bytes, is_csv);
            if is_its_own {
                self.record = Some(Extent::record(row.offset, row.length));
                self.has_rows = true;
            }
            return is_its_own;
        }
        if row.offset < self.extent.start || row.end() > self.extent.end {
            self.blocked.get_or_insert_with(|| MOVED.to_owned());
            return false;
        }
        self.has_rows = true;
        true
    }

    /// Whether a row is the record of a refusal that kept a position and the record's length: the one around the position
    /// with that length. A step after the extractor kept the start of the record; so did CSV, with the header before the
    /// record.
    fn is_the_record(&self, row: RowPlace, bytes: u64, is_csv: bool) -> bool {
        let begins_there = row.offset == self.extent.start;
        let rejected = &self.event.rejected;
        if rejected.stage != "extract" || row.length == 0 {
            return begins_there;
        }
        if is_csv {
            let is_piece = ["unbalanced_quote", "record_too_long"].contains(&&*rejected.code);
            return begins_there && !is_piece && row.length <= bytes;
        }
        row.length == bytes
    }

    /// The extent of everything that lands with it.
    fn whole(&self) -> &Extent {
        self.record.as_ref().unwrap_or(&self.extent)
    }

    fn lands(&self) -> bool {
        let may_be_empty = matches!(self.extent.scope, Scope::Payload | Scope::Document);
        self.blocked.is_none() && (self.has_rows || may_be_empty)
    }
}

/// The open refusals of one payload.
#[derive(Debug)]
pub(in crate::engine) struct Ledger {
    /// Sorted by start.
    tracked: Vec<Tracked>,
    /// The greatest end of this one and those before it.
    ends: Vec<u64>,
    is_csv: bool,
    /// Why none of them lands.
    blocked: Option<String>,
    /// Inner refusals so far.
    further: usize,
}

impl Ledger {
    /// Events without an extent are left out.
    pub(in crate::engine) fn new(events: Vec<Event>, is_csv: bool) -> Self {
        let mut tracked: Vec<Tracked> = events.into_iter().filter_map(Tracked::new).collect();
        tracked.sort_by_key(|tracked| tracked.extent.start);
        let ends = tracked.iter().scan(0, |greatest, tracked| {
            *greatest = tracked.extent.end.max(*greatest);
            Some(*greatest)
        });
        Self {
            ends: ends.collect(),
            tracked,
            is_csv,
            blocked: None,
            further: 0,
        }
    }

    /// Indexes of the refusals that a piece of the payload may touch, the last first.
    fn near(&self, start: u64, end: u64) -> impl Iterator<Item = usize> + use<> {
        let behind = self
            .tracked
            .partition_point(|tracked| tracked.extent.start < end);
        let first = self.ends[..behind].partition_point(|greatest| *greatest <= start);
        (first..behind).rev()
    }

    /// Records an accepted row; returns whether it belongs to a refusal.
    pub(in crate::engine) fn row(&mut self, row: RowPlace) -> bool {
        let mut belongs = false;
        for i in self.near(row.offset, row.end()) {
            if self.tracked[i].extent.end > row.offset {
                belongs |= self.tracked[i].row(row, self.is_csv);
            }
        }
        belongs
    }

    /// Records a record that is rejected again.
    pub(in crate::engine) fn refuse(&mut self, rejected: &Rejected) {
        let Some(extent) = rejected.extent else {
            self.blocked
                .get_or_insert_with(|| rejected.shown_reason().into_owned());
            return;
        };
        for i in self.near(extent.start, extent.end) {
            let tracked = &mut self.tracked[i];
            if tracked.extent.overlaps(&extent) && !tracked.extent.holds_part(&extent) {
                tracked
                    .blocked
                    .get_or_insert_with(|| rejected.shown_reason().into_owned());
            }
        }
    }

    pub(in crate::engine) fn lands_any(&self) -> bool {
        self.blocked.is_none() && self.tracked.iter().any(Tracked::lands)
    }

    /// Whether a row belongs to a refusal that lands.
    pub(in crate::engine) fn lands(&self, row: RowPlace) -> bool {
        self.near(row.offset, row.end()).any(|i| {
            let extent = self.tracked[i].whole();
            let is_inside = extent.start <= row.offset && row.end() <= extent.end;
            is_inside && self.tracked[i].lands()
        })
    }

    /// The landing refusal that contains this one, and a number for the inner one; `None` for any other.
    pub(in crate::engine) fn inner(&mut self, extent: &Extent) -> Option<(Event, usize)> {
        let found = self.near(extent.start, extent.end).find(|i| {
            let tracked = &self.tracked[*i];
            tracked.whole().holds_part(extent) && tracked.lands()
        })?;
        self.further += 1;
        Some((self.tracked[found].event.clone(), self.further))
    }

    /// The refusals that land, and the reasons why the others do not.
    pub(in crate::engine) fn finish(self) -> (Vec<Event>, Vec<String>) {
        let mut landed = Vec::new();
        let mut refused = Vec::new();
        for tracked in self.tracked {
            let lands = tracked.lands();
            match self.blocked.as_ref().or(tracked.blocked.as_ref()) {
                Some(reason) => refused.push(reason.clone()),
                None if lands => landed.push(tracked.event),
                None => refused.push(MOVED.to_owned()),
            }
        }
        (landed, refused)
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::{RunId, Timestamp};

    use super::*;
    use crate::quarantine::EventKind;

    fn rejected(extent: Option<Extent>, code: &str) -> Rejected {
        Rejected {
            payload: Some(0),
            extent,
            offset: extent.map(|extent| extent.start),
            line: None,
            stage: "extract".to_owned(),
            code: code.to_owned(),
            reason: format!("{code} again"),
            record: Vec::new(),
        }
    }

    fn ledger(extents: &[Extent]) -> Ledger {
        let event = |extent: &Extent| Event {
            id: format!("{}", extent.start),
            kind: EventKind::Rejected,
            at: Timestamp(0),
            run: RunId::new(Timestamp(0), 1),
            split: "all".parse().unwrap(),
            payload: None,
            rejected: rejected(Some(*extent), "too_deep"),
        };
        Ledger::new(extents.iter().map(event).collect(), false)
    }

    fn row(offset: u64, length: u64) -> RowPlace {
        RowPlace { offset, length }
    }

    fn landed(ledger: Ledger) -> Vec<String> {
        let (landed, _) = ledger.finish();
        landed.into_iter().map(|event| event.id).collect()
    }

    #[test]
    fn every_row_that_begins_in_a_document_lands_with_it() {
        let mut ledger = ledger(&[Extent::document(10, 30), Extent::record(50, 10)]);
        for (place, belongs) in [(0, false), (11, true), (20, true), (30, true), (40, false)] {
            assert_eq!(ledger.row(row(place, 9)), belongs, "{place}");
        }
        assert!(ledger.lands(row(20, 9)) && !ledger.lands(row(40, 9)));
        assert_eq!(landed(ledger), ["10"], "there was no row at 50");
    }

    #[test]
    fn a_row_that_reaches_over_the_edge_keeps_the_refusal_open() {
        for place in [row(5, 6), row(35, 6), row(0, 100)] {
            let mut ledger = ledger(&[Extent::document(10, 30)]);
            assert!(!ledger.row(place));
            assert!(landed(ledger).is_empty(), "{place:?}");
        }
    }

    #[test]
    fn what_is_refused_inside_of_a_document_becomes_a_refusal_of_its_own() {
        let mut ledger = ledger(&[Extent::PAYLOAD]);
        let inner = Extent::record(20, 5);
        ledger.refuse(&rejected(Some(inner), "missing_column"));
        assert!(ledger.row(row(30, 5)));
        assert!(ledger.inner(&inner).is_some());
        assert_eq!(landed(ledger), ["0"]);
    }

    #[test]
    fn what_is_refused_as_a_whole_again_stays_open() {
        for again in [Some(Extent::PAYLOAD), Some(Extent::record(10, 5)), None] {
            let mut ledger = ledger(&[Extent::record(10, 5)]);
            ledger.row(row(10, 5));
            ledger.refuse(&rejected(again, "too_deep"));
            assert!(!ledger.lands_any());
            let (landed, refused) = ledger.finish();
            assert_eq!(
                (landed.len(), refused.as_slice()),
                (0, &["too_deep again".to_owned()][..])
            );
        }
    }

    #[test]
    fn a_refusal_of_an_older_version_lands_the_record_around_its_place_only() {
        let older = |start, bytes| Extent {
            scope: Scope::Unsized,
            start,
            end: start + bytes,
        };
        // A place inside a record of that length, and one inside a document that was refused as a whole.
        let mut ledger = ledger(&[older(15, 10), older(45, 500)]);
        assert!(ledger.row(row(10, 10)));
        assert!(!ledger.row(row(40, 10)));
        assert!(ledger.lands(row(10, 10)) && !ledger.lands(row(40, 10)));
        assert_eq!(landed(ledger), ["15"]);
    }
}
