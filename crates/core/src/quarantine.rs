//! A rejected record, with everything needed to replay it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::text::{MESSAGE_BYTES_MAX, shortened};

/// Largest part of a record that is kept in the quarantine table itself; the whole stays in the raw zone.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// A record that a stage refused. It lands in the pipeline's quarantine table in the commit that moves the
/// position past it, and `forebay quarantine replay` sends it through `stage` again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// [`crate::PayloadHead::ordinal`] of the payload it came in; `None` where that is not known.
    pub payload: Option<u64>,
    /// All that was refused with it; `None` where that is not known.
    pub extent: Option<Extent>,
    /// Byte offset of the fault in the decompressed payload, for people. It may be inside the extent.
    pub offset: Option<u64>,
    /// 1-based line in the payload, for formats that have lines.
    pub line: Option<u64>,
    /// The stage that refused it and where a replay begins: `extract`, `transform[1]`.
    pub stage: String,
    /// Stable reason code, such as `number_out_of_range`.
    pub code: String,
    /// Explanation for people: names the field, never repeats more of the record than needed.
    pub reason: String,
    /// The record as received (`extract`), or the row as one JSON object (a transform).
    pub record: Vec<u8>,
}

impl Rejected {
    /// The reason as it is stored and shown: a value of the record, or a statement, may be repeated in it.
    pub fn shown_reason(&self) -> Cow<'_, str> {
        shortened(&self.reason, MESSAGE_BYTES_MAX)
    }
}

/// The scope of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Everything in the payload.
    Payload,
    /// A piece of the payload that may hold any number of records, also none: a document, a message, a cut line.
    Document,
    /// One record, which has a row or more once it lands.
    Record,
    /// A refusal of an older Forebay, which kept an offset and the record's bytes only: `start` is a place in or at the
    /// begin of the record, `end` that many bytes behind it.
    Unsized,
}

/// A part of a payload, as offsets in its decompressed stream in which the [`Origins`](crate::Origins) of rows are counted: bytes,
/// or row numbers for formats that have no stream. Holds whatever begins in `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Extent {
    pub scope: Scope,
    pub start: u64,
    /// [`u64::MAX`] is the end of the payload.
    pub end: u64,
}

impl Extent {
    /// All of the payload.
    pub const PAYLOAD: Self = Self {
        scope: Scope::Payload,
        start: 0,
        end: u64::MAX,
    };

    pub fn document(start: u64, length: u64) -> Self {
        Self {
            scope: Scope::Document,
            start,
            end: start.saturating_add(length.max(1)),
        }
    }

    /// Everything from `start` to the end of the payload.
    pub fn rest(start: u64) -> Self {
        Self {
            scope: Scope::Document,
            start,
            end: u64::MAX,
        }
    }

    /// A record of `length` bytes; one without bytes of its own is known by its number.
    pub fn record(start: u64, length: u64) -> Self {
        Self {
            scope: Scope::Record,
            start,
            end: start.saturating_add(length.max(1)),
        }
    }

    /// Whether it contains what begins at `offset`.
    pub fn contains(&self, offset: u64) -> bool {
        self.start <= offset && (offset < self.end || self.end == u64::MAX)
    }

    /// Whether `other` is a proper part of it.
    pub fn holds_part(&self, other: &Self) -> bool {
        let is_inside = self.start <= other.start && other.end <= self.end;
        let is_all = self.start == other.start && self.end == other.end;
        is_inside && !is_all && other.scope != Scope::Payload
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_less_than_the_whole() {
        let document = Extent::document(10, 20);
        assert!(document.holds_part(&Extent::record(10, 5)));
        assert!(document.holds_part(&Extent::record(25, 5)));
        assert!(!document.holds_part(&Extent::record(10, 20)));
        assert!(!document.holds_part(&Extent::record(25, 6)));
        assert!(!document.holds_part(&Extent::PAYLOAD));
        assert!(Extent::PAYLOAD.holds_part(&document));
        assert!(Extent::PAYLOAD.holds_part(&Extent::rest(1)));
        assert!(!Extent::PAYLOAD.holds_part(&Extent::rest(0)));
        assert!(Extent::rest(7).contains(u64::MAX));
        assert!(!document.contains(30));
    }
}
