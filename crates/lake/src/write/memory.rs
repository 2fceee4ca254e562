//! Memory that the unfinished row groups of all writers of a lake hold together.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::storage::LakeStorage;

/// Memory limit of one writer.
const WRITER_BYTES_MAX: usize = 128 << 20;
/// Memory limit of all writers: a writer that grows beyond it writes its row groups out early.
const LAKE_BYTES_MAX: usize = 192 << 20;
/// Memory that a writer may always hold: smaller row groups would cost every reader.
const WRITER_BYTES_MIN: usize = 4 << 20;

/// The share of one writer, until it is dropped.
#[derive(Debug)]
pub(super) struct HeldMemory {
    storage: Arc<LakeStorage>,
    bytes: usize,
}

impl HeldMemory {
    pub(super) fn new(storage: Arc<LakeStorage>) -> Self {
        Self { storage, bytes: 0 }
    }

    /// Records the memory that the writer holds; returns whether it is too much.
    pub(super) fn exceeds(&mut self, bytes: usize) -> bool {
        let all = &self.storage.write_memory().0;
        all.fetch_add(bytes, Ordering::Relaxed);
        let before = all.fetch_sub(self.bytes, Ordering::Relaxed);
        let lake = before.saturating_sub(self.bytes);
        self.bytes = bytes;
        bytes > WRITER_BYTES_MAX || (lake > LAKE_BYTES_MAX && bytes > WRITER_BYTES_MIN)
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        let all = &self.storage.write_memory().0;
        all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
