//! What a journal has done since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::timing::Timing;

/// Counters of one journal.
#[derive(Debug, Default)]
pub struct Figures {
    records: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    /// Time of each flush to the disk; many records share one.
    pub flush: Timing,
}

impl Figures {
    /// Records made durable.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Bytes made durable, with the heads of the records.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes and flushes that the disk refused.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn took(&self, offsets: &[Vec<u64>], bytes: u64) {
        let records: usize = offsets.iter().map(Vec::len).sum();
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}
