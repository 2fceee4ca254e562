//! Durations: a histogram that many threads write to without blocking each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets in microseconds: 0.25 ms to 32 s, each twice the one before; longer is in the last bucket.
pub const BOUNDS_US: [u64; 18] = {
    let mut bounds = [250; 18];
    let mut n = 1;
    while n < bounds.len() {
        bounds[n] = bounds[n - 1] * 2;
        n += 1;
    }
    bounds
};

/// Durations, counted.
#[derive(Debug, Default)]
pub struct Timing {
    /// One per bound, and one for longer durations.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// An approximate snapshot of a [`Timing`]: writers continue while it is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub sum_seconds: f64,
    pub count: u64,
    /// Upper bound in seconds and the count of that bucket alone; the last bound is `f64::MAX`.
    pub buckets: Vec<(f64, u64)>,
}

impl Timing {
    pub fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub fn is_used(&self) -> bool {
        self.counts.iter().any(|n| n.load(Ordering::Relaxed) > 0)
    }

    pub fn measured(&self) -> Measured {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6);
        let counts = self.counts.iter().map(|n| n.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::MAX]).zip(counts).collect();
        Measured {
            sum_seconds: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let timing = Timing::default();
        for us in [0, 250, 251, 40_000_000] {
            timing.add(Duration::from_micros(us));
        }
        let Measured {
            sum_seconds,
            count,
            buckets,
        } = timing.measured();
        assert_eq!((count, buckets.len()), (4, 19));
        assert!((sum_seconds - 40.000_501).abs() < 1e-9);
        assert_eq!(buckets[0], (0.000_25, 2));
        assert_eq!(buckets[1], (0.000_5, 1));
        assert_eq!(buckets[18], (f64::MAX, 1));
    }
}
