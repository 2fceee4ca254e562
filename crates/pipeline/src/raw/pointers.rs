//! Entries for payloads already in the raw zone: an index without an object of its own.
//!
//! A pipeline that reads another one's raw zone references the same bytes in its own index, so that its tables can be
//! rebuilt and its quarantine replayed like those of any other. The bytes are never copied, and never read.

use std::sync::Arc;

use forebay_core::{Chunk, Error, Ident, Kept, Result};
use object_store::path::Path;
use ulid::Ulid;

use crate::raw::write::messages_of;
use crate::raw::{RawEntry, RawObject};

/// Entries since the last seal.
#[derive(Debug)]
pub(super) struct Pointers {
    ulid: Ulid,
    folder: String,
    /// The location in the last entry, while more chunks of it may come.
    open: Option<Arc<Kept>>,
    entries: Vec<RawEntry>,
    /// Entries that were taken before these.
    taken: usize,
}

impl Pointers {
    /// An index in `folder`.
    pub(super) fn new(ulid: Ulid, folder: String) -> Self {
        Self {
            ulid,
            folder,
            open: None,
            entries: Vec::new(),
            taken: 0,
        }
    }

    /// Takes the next chunk of a payload that is stored already; returns the number of messages in its entry.
    pub(super) fn push(&mut self, split: &Ident, chunk: &Chunk, kept: &Arc<Kept>) -> usize {
        let is_new = !self
            .open
            .as_ref()
            .is_some_and(|open| Arc::ptr_eq(open, kept));
        if is_new {
            let id = format!("{}-{}", self.ulid, self.taken + self.entries.len());
            let kept = Kept::clone(kept);
            self.entries
                .push(RawEntry::new(id, split, &chunk.head, kept));
        }
        if let Some(entry) = self.entries.last_mut() {
            entry.position.clone_from(&chunk.position);
        }
        self.open = (!chunk.last).then(|| Arc::clone(kept));
        if is_new { messages_of(&chunk.head) } else { 0 }
    }

    /// Path of the index.
    pub(super) fn index(&self) -> Path {
        RawEntry::index_path(&self.folder, self.ulid)
    }

    /// The entries so far, except an open one.
    pub(super) fn take(&mut self) -> Vec<RawEntry> {
        let open = usize::from(self.open.is_some());
        let complete = self.entries.len() - open.min(self.entries.len());
        self.taken += complete;
        self.entries.drain(..complete).collect()
    }

    /// The object that holds the last entry.
    pub(super) fn last_path(&self) -> Option<Path> {
        let last = self.entries.last()?;
        Some(Path::from(last.object.as_str()))
    }

    /// Errors: `Bug` when a payload has not ended.
    pub(super) fn seal(self) -> Result<RawObject> {
        if self.open.is_some() {
            let what = "a commit fell inside a payload of another raw zone";
            return Err(Error::bug("raw_payload_open", what));
        }
        Ok(RawObject {
            path: None,
            index: self.index(),
            entries: self.entries,
            bytes: 0,
        })
    }
}
