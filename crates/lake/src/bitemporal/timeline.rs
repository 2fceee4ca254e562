//! The periods of one key, and what a record does to them.
//!
//! A timeline holds the rows of a key that are believed at one system time: their valid periods never overlap. Terms and rules are those of
//! SQL:2011 (ISO/IEC 9075-2:2011, application-time and system-versioned tables). Nothing is read or written here.

use std::collections::BTreeMap;

use super::Until;
use super::periods::END_OF_TIME;

/// Identifies the values of a row: equal for rows with equal attributes.
pub(super) type Digest = u128;

/// Where the attributes of a row are: the number of a batch, and of a row in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowSource {
    pub(super) batch: u32,
    pub(super) row: u32,
}

/// A row, with times in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) from: i64,
    /// Exclusive.
    pub(super) to: i64,
    pub(super) digest: Digest,
    pub(super) source: RowSource,
    pub(super) origin: Origin,
}

/// Since when a row is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is a row of the table: its number among those that were found, and since when it is believed.
    Table { row: u32, since: i64 },
    /// An earlier commit of the same draft made it.
    Draft { since: i64 },
    /// The commit that is being applied made it.
    Fresh,
}

/// A record, as far as time goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    /// `None` only for a delete of everything.
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
    pub(super) is_delete: bool,
    pub(super) digest: Digest,
    pub(super) source: RowSource,
}

/// The rows of a key that are believed.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// By their start.
    segments: BTreeMap<i64, Segment>,
    /// No longer believed after the commit that is being applied.
    closed: Vec<Segment>,
    /// Starts of rows that the commit has made; some may be gone again.
    made: Vec<i64>,
}

/// How records are applied.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) until: Until,
    pub(super) coalesce: bool,
}

impl Timeline {
    /// Starts again with the rows of a key.
    pub(super) fn reset(&mut self, segments: impl Iterator<Item = Segment>) {
        self.segments.clear();
        self.segments
            .extend(segments.map(|segment| (segment.from, segment)));
        self.closed.clear();
        self.made.clear();
    }

    /// Applies a record.
    pub(super) fn apply(&mut self, change: &Change, rules: Rules) {
        let (from, to) = self.period(change, rules.until);
        if from >= to {
            return;
        }
        self.cut(from, to);
        if !change.is_delete {
            let segment = Segment {
                from,
                to,
                digest: change.digest,
                source: change.source,
                origin: Origin::Fresh,
            };
            self.insert(segment);
            if rules.coalesce {
                self.merge(from);
            }
        }
    }

    fn period(&self, change: &Change, until: Until) -> (i64, i64) {
        let Some(from) = change.from else {
            return (i64::MIN, END_OF_TIME);
        };
        let to = change.to.unwrap_or_else(|| match until {
            Until::End => END_OF_TIME,
            Until::Next => self.start_after(from).unwrap_or(END_OF_TIME),
        });
        (from, to)
    }

    fn start_after(&self, from: i64) -> Option<i64> {
        let after = (std::ops::Bound::Excluded(from), std::ops::Bound::Unbounded);
        self.segments.range(after).next().map(|(start, _)| *start)
    }

    /// Removes what is between two times; rests of rows that go beyond them stay.
    fn cut(&mut self, from: i64, to: i64) {
        if let Some((start, segment)) = self.segments.range(..from).next_back()
            && segment.to > from
        {
            let start = *start;
            self.cut_one(start, from, to);
        }
        while let Some((start, _)) = self.segments.range(from..to).next() {
            let start = *start;
            self.cut_one(start, from, to);
        }
    }

    fn cut_one(&mut self, start: i64, from: i64, to: i64) {
        let Some(segment) = self.segments.remove(&start) else {
            return;
        };
        self.close(segment);
        let origin = Origin::Fresh;
        if segment.from < from {
            let left = Segment {
                to: from,
                origin,
                ..segment
            };
            self.insert(left);
        }
        if segment.to > to {
            let right = Segment {
                from: to,
                origin,
                ..segment
            };
            self.insert(right);
        }
    }

    fn insert(&mut self, segment: Segment) {
        self.made.push(segment.from);
        self.segments.insert(segment.from, segment);
    }

    fn close(&mut self, segment: Segment) {
        // What lived for no system time is not kept.
        if segment.origin != Origin::Fresh {
            self.closed.push(segment);
        }
    }

    /// Joins the row that starts at `start` with neighbours that touch it and say the same.
    fn merge(&mut self, start: i64) {
        let Some(mut joined) = self.segments.remove(&start) else {
            return;
        };
        let left = self.segments.range(..start).next_back();
        if let Some((_, left)) = left.map(|(start, segment)| (*start, *segment))
            && left.to == joined.from
            && left.digest == joined.digest
        {
            self.segments.remove(&left.from);
            self.close(left);
            // The earlier one stays, as it does when a record changes nothing.
            joined = Segment {
                to: joined.to,
                origin: Origin::Fresh,
                ..left
            };
        }
        if let Some(right) = self.segments.get(&joined.to).copied()
            && right.digest == joined.digest
        {
            self.segments.remove(&right.from);
            self.close(right);
            joined.to = right.to;
        }
        self.insert(joined);
    }

    /// Ends a commit at system time `at`: gives the rows that it has closed, and keeps those that it has made.
    pub(super) fn end_commit(&mut self, at: i64, mut take_closed: impl FnMut(Segment)) {
        for segment in std::mem::take(&mut self.closed) {
            match self.segments.get_mut(&segment.from) {
                // Closed and made again: the commit does not change it.
                Some(now)
                    if now.origin == Origin::Fresh
                        && (now.to, now.digest) == (segment.to, segment.digest) =>
                {
                    *now = segment;
                }
                _ => take_closed(segment),
            }
        }
        for start in self.made.drain(..) {
            if let Some(segment) = self.segments.get_mut(&start)
                && segment.origin == Origin::Fresh
            {
                segment.origin = Origin::Draft { since: at };
            }
        }
    }

    /// The rows that are believed.
    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }
}

#[cfg(test)]
mod tests;
