//! Metrics of a journal since it was opened.

use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::timing::Timing;

/// Counters of one journal.
#[derive(Debug, Default)]
pub struct Figures {
    records: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    /// Time of each flush to the disk, or PUT to the storage; many records share one.
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

    /// Writes and flushes that the disk refused, or PUTs that the storage did.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn took(&self, records: usize, bytes: u64) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }
}
