//! How long the oldest push that is not committed has been waiting.

use std::collections::VecDeque;
use std::time::Duration;

use forebay_core::Timestamp;

/// Pushes received within this time of each other share a mark: ages are as exact as this.
const STEP: Duration = Duration::from_millis(100);

/// Marks kept; when there are more, each two become one.
const MARKS_MAX: usize = 4096;

/// Receive times of the parts of a journal.
#[derive(Debug, Default)]
pub(super) struct Ages(VecDeque<Mark>);

/// Records between the previous mark and `end` were received at `at` or a little later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    end: u64,
    at: Timestamp,
}

impl Ages {
    /// Notes that the journal has grown to `end`.
    pub(super) fn note(&mut self, end: u64, at: Timestamp) {
        match self.0.back_mut() {
            Some(last) if at.since(last.at) < STEP => last.end = end,
            _ => self.0.push_back(Mark { end, at }),
        }
        if self.0.len() > MARKS_MAX {
            self.thin();
        }
    }

    /// Each two marks become one with the time of the older: an age may be too high, never too low.
    fn thin(&mut self) {
        let marks = self.0.make_contiguous();
        let pairs = marks.chunks(2).map(|pair| Mark {
            end: pair[pair.len() - 1].end,
            at: pair[0].at,
        });
        self.0 = pairs.collect();
    }

    /// Drops the marks before the committed offset.
    pub(super) fn release(&mut self, offset: u64) {
        while self.0.front().is_some_and(|mark| mark.end <= offset) {
            self.0.pop_front();
        }
    }

    /// Corrects the receive time of the first part.
    pub(super) fn correct(&mut self, at: Timestamp) {
        if let Some(first) = self.0.front_mut() {
            first.at = at;
        }
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.0.front().map(|mark| mark.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_what_has_not_been_released() {
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let mut ages = Ages::default();
        assert_eq!(ages.oldest(), None);
        for second in 1..=10_i64 {
            ages.note(second.unsigned_abs() * 100, at(second));
        }
        ages.note(1050, at(10).plus(STEP / 2));
        ages.release(250);
        assert_eq!(ages.oldest(), Some(at(3)));
        ages.release(1000);
        assert_eq!(
            ages.oldest(),
            Some(at(10)),
            "the records received with the tenth are not released"
        );
        ages.release(1050);
        assert_eq!(ages.oldest(), None);
    }

    #[test]
    fn many_marks_are_thinned_and_none_gets_younger() {
        let at = |n: u64| Timestamp(i64::try_from(n).unwrap() * 1_000_000);
        let mut ages = Ages::default();
        for n in 1..=20_000_u64 {
            ages.note(n, at(n));
            assert!(ages.0.len() <= MARKS_MAX);
        }
        for n in 1..20_000_u64 {
            ages.release(n);
            assert!(ages.oldest().unwrap() <= at(n + 1));
        }
        ages.release(20_000);
        assert_eq!(ages.oldest(), None);
    }
}
