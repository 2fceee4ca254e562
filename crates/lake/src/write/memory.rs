//! Memory that the unfinished row groups of all writers of a lake hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::storage::LakeStorage;

/// What one writer may hold.
const WRITER_BYTES_MAX: usize = 128 << 20;
/// What all writers may hold: a writer that grows beyond it writes its row groups out early.
const LAKE_BYTES_MAX: usize = 192 << 20;
/// What a writer may hold in any case: smaller row groups would cost every reader.
const WRITER_BYTES_MIN: usize = 4 << 20;

/// What all writers hold.
#[derive(Debug, Default)]
pub(crate) struct WriteMemory(AtomicUsize);

/// What one writer holds of it, until it is dropped.
#[derive(Debug)]
pub(super) struct HeldMemory {
    storage: Arc<LakeStorage>,
    bytes: usize,
}

impl HeldMemory {
    pub(super) fn new(storage: Arc<LakeStorage>) -> Self {
        Self { storage, bytes: 0 }
    }

    /// Notes what the writer holds now; whether that is too much.
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
