//! The buffer: when a commit is due.
//!
//! Rows wait in data files that no commit names yet, so the buffer holds no data itself: it only counts.

use std::time::Duration;

use forebay_core::unit::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Payloads of a commit at most, about: each has an entry of the raw index, a name and a position in memory until then,
/// some 8 KiB however few bytes it has.
pub(crate) const PAYLOADS_MAX: u64 = 10_000;

/// `buffer:` in a pipeline file: a commit is made when the first of the three is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BufferSpec {
    /// Rows of all tables of the pipeline.
    #[schemars(range(min = 1))]
    pub rows: u64,
    /// Bytes of payload, uncompressed.
    pub bytes: Size,
    /// Time since the first row in the buffer.
    pub time: Span,
}

impl Default for BufferSpec {
    fn default() -> Self {
        Self {
            rows: 2_000_000,
            bytes: Size(512 << 20),
            time: Span(Duration::from_secs(60)),
        }
    }
}

/// Counts rows and bytes since the last commit.
#[derive(Debug)]
pub struct Buffer {
    spec: BufferSpec,
    rows: u64,
    /// Rows that the extractor holds back.
    pending: u64,
    bytes: u64,
    payloads: u64,
    /// Monotonic time of the first bytes after the last commit.
    since: Option<Duration>,
}

impl Buffer {
    pub fn new(spec: BufferSpec) -> Self {
        Self {
            spec,
            rows: 0,
            pending: 0,
            bytes: 0,
            payloads: 0,
            since: None,
        }
    }

    /// `rows` of all tables and rejected records, `bytes` of payload.
    pub fn add(&mut self, rows: u64, bytes: u64, now: Duration) {
        self.rows += rows;
        self.bytes += bytes;
        self.since.get_or_insert(now);
    }

    /// Counts a payload that begins.
    pub fn add_payload(&mut self) {
        self.payloads += 1;
    }

    /// Sets the number of rows that the extractor holds back.
    pub fn set_pending(&mut self, rows: u64) {
        self.pending = rows;
    }

    pub fn is_empty(&self) -> bool {
        self.since.is_none()
    }

    /// Whether one of the three limits is reached, or there are too many payloads to hold.
    pub fn is_due(&self, now: Duration) -> bool {
        let waited = self
            .since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since));
        !self.is_empty()
            && (self.rows + self.pending >= self.spec.rows
                || self.bytes >= self.spec.bytes.0
                || self.payloads >= PAYLOADS_MAX
                || waited >= self.spec.time.0)
    }

    /// How long until the time limit is reached; `None` while nothing waits.
    pub fn remaining(&self, now: Duration) -> Option<Duration> {
        let since = self.since?;
        Some((since + self.spec.time.0).saturating_sub(now))
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.spec.clone());
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::unit::{Size, Span};

    use super::*;

    fn buffer() -> Buffer {
        Buffer::new(BufferSpec {
            rows: 10,
            bytes: Size(100),
            time: Span(Duration::from_secs(5)),
        })
    }

    #[test]
    fn the_first_of_three_limits_counts() {
        let at = Duration::from_secs(60);
        for (rows, bytes, later, due) in [
            (9, 99, 4, false),
            (10, 0, 0, true),
            (0, 100, 0, true),
            (1, 1, 5, true),
        ] {
            let mut buffer = buffer();
            buffer.add(rows, bytes, at);
            assert_eq!(
                buffer.is_due(at + Duration::from_secs(later)),
                due,
                "{rows} {bytes} {later}"
            );
            buffer.clear();
            assert!(!buffer.is_due(at + Duration::from_secs(100)));
        }
    }

    #[test]
    fn rows_that_the_extractor_holds_back_count() {
        let mut buffer = buffer();
        buffer.add(4, 1, Duration::ZERO);
        buffer.set_pending(6);
        assert!(buffer.is_due(Duration::ZERO));
        buffer.set_pending(5);
        assert!(!buffer.is_due(Duration::ZERO));
    }

    #[test]
    fn many_small_payloads_make_a_commit_due() {
        let mut buffer = buffer();
        buffer.add(1, 1, Duration::ZERO);
        for _ in 1..PAYLOADS_MAX {
            buffer.add_payload();
        }
        assert!(!buffer.is_due(Duration::ZERO));
        buffer.add_payload();
        assert!(buffer.is_due(Duration::ZERO));
        buffer.clear();
        buffer.add(1, 1, Duration::ZERO);
        assert!(!buffer.is_due(Duration::ZERO));
    }

    #[test]
    fn time_counts_from_the_first_bytes() {
        let mut buffer = buffer();
        assert_eq!(buffer.remaining(Duration::from_secs(9)), None);
        buffer.add(1, 1, Duration::from_secs(10));
        buffer.add(1, 1, Duration::from_secs(14));
        assert_eq!(
            buffer.remaining(Duration::from_secs(14)),
            Some(Duration::from_secs(1))
        );
    }
}
