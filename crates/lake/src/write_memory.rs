//! Memory of the unfinished row groups of all writers; its limits are in `write/memory.rs`.

use std::sync::atomic::AtomicUsize;

/// Bytes.
#[derive(Debug, Default)]
pub(crate) struct WriteMemory(pub(crate) AtomicUsize);
