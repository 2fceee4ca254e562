//! The files that are there now, and the records that a file of a new name may be compared with. It decides nothing: content does.

use std::collections::HashSet;

use forebay_core::{Error, Result};

use super::folder::Found;
use super::record::{
    INODE, LOOK, MODIFIED, PLACE, TakenRecord, VANISHED, inode_hash, look_hash, modified_hash,
    place_hash,
};
use super::taken::State;
use super::taken_files::TakenFiles;

/// Most files that one pattern may match.
const FILES_MAX: usize = 10_000_000;

/// Most of them that are new at a time. Each costs some 300 bytes of memory.
const NEW_FILES_MAX: usize = 1_000_000;

/// What is kept of the files that are there while they are listed.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) state: State,
    pub(super) present: Vec<PresentFile>,
    /// Those that do not look as they did when they were taken.
    pub(super) unknown: Vec<Found>,
}

impl Listed {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// Adds a file.
    ///
    /// Errors: `Config` `too_many_files`.
    pub(super) fn take(&mut self, found: Found) -> Result<()> {
        if self.present.len() >= FILES_MAX {
            let what = format!("`path` matches more than {FILES_MAX} files");
            return Err(too_many(what).with_hint("narrow `source.file.path`"));
        }
        self.present.push(PresentFile::of(&found));
        if !self.state.is_left(&found) && self.state.has_look(&found) {
            return Ok(());
        }
        if self.unknown.len() >= NEW_FILES_MAX {
            let what = format!("`path` matches more than {NEW_FILES_MAX} new files");
            return Err(too_many(what)
                .with_hint("narrow `source.file.path`, run, and widen it again part by part"));
        }
        self.unknown.push(found);
        Ok(())
    }
}

fn too_many(what: String) -> Error {
    Error::config("too_many_files", what)
}

/// Which records a file is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recognition {
    /// A file of another name and the same content, when that file is gone.
    pub(super) moved: bool,
    /// Any file of the same content.
    pub(super) copies: bool,
    /// A file that was renamed and has grown.
    pub(super) rotated: bool,
}

/// The files that are there now, and those that a new name may stand for: 24 bytes for each file, and 52 for each record of one that
/// is gone.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files that are there, by place.
    present: Vec<PresentFile>,
    /// Records that a file of another name may have, by size.
    by_size: Vec<TakenRecord>,
    /// Records of files that are gone, by time of change and size.
    by_time: Vec<TakenRecord>,
    /// Records of files that are gone, by inode.
    by_inode: Vec<TakenRecord>,
}

/// A file that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct PresentFile {
    place: [u8; PLACE],
    size: u64,
    look: [u8; LOOK],
    modified: [u8; MODIFIED],
    inode: Option<[u8; INODE]>,
}

impl PresentFile {
    pub(super) fn of(file: &Found) -> Self {
        Self {
            place: place_hash(&file.name),
            size: file.stat.size,
            look: look_hash(&file.stat),
            modified: modified_hash(&file.stat),
            inode: inode_hash(&file.stat),
        }
    }
}

impl Listing {
    pub(super) fn new(
        taken: &TakenFiles,
        present: Vec<PresentFile>,
        recognition: Recognition,
    ) -> Self {
        let mut listing = Self::default();
        if !(recognition.moved || recognition.copies || recognition.rotated) {
            return listing;
        }
        listing.present = present;
        listing.present.sort_unstable_by_key(|file| file.place);
        for record in taken.iter().filter(|record| record.size() > 0) {
            let is_gone = listing.is_gone(record);
            let may_have_moved = recognition.moved && is_gone && record.modified != VANISHED;
            if recognition.copies || may_have_moved {
                listing.by_size.push(*record);
            }
            if may_have_moved {
                listing.by_time.push(*record);
            }
            if recognition.rotated && is_gone {
                listing.by_inode.push(*record);
            }
        }
        listing.by_size.sort_unstable_by_key(TakenRecord::size);
        let by_time = |record: &TakenRecord| (record.modified, record.size());
        listing.by_time.sort_unstable_by_key(by_time);
        listing.by_inode.sort_unstable_by_key(|record| record.inode);
        listing
    }

    fn at(&self, place: [u8; PLACE]) -> &[PresentFile] {
        equal_range(&self.present, &place, |file| file.place)
    }

    /// Whether the file of a record is no longer there as it was taken. Of one that had only just changed then, no more is known
    /// than its inode.
    pub(super) fn is_gone(&self, record: &TakenRecord) -> bool {
        let files = self.at(record.place);
        if record.look != [0; LOOK] {
            return !files.iter().any(|file| file.look == record.look);
        }
        let is_another = |file: &PresentFile| file.inode.is_some_and(|inode| inode != record.inode);
        files.iter().all(is_another)
    }

    /// Marks the records of files that have vanished and did not appear under another name at the same time: what appears later
    /// is another file, whatever it holds. Whether there were any.
    pub(super) fn mark_vanished(&self, taken: &mut TakenFiles) -> bool {
        let absent =
            |record: &&TakenRecord| record.modified != VANISHED && self.at(record.place).is_empty();
        let absent: Vec<TakenRecord> = taken.iter().filter(absent).copied().collect();
        if absent.is_empty() {
            return false;
        }
        let waiting = self.waiting(taken);
        let mut has_any = false;
        for record in absent {
            if !waiting.contains(&(record.size(), record.modified)) {
                taken.remove(&record);
                taken.insert(record.vanished());
                has_any = true;
            }
        }
        has_any
    }

    /// Size and time of the files that are left for the next run: they may be those that have vanished.
    fn waiting(&self, taken: &TakenFiles) -> HashSet<(u64, [u8; MODIFIED])> {
        let is_taken = |file: &PresentFile| {
            let mut records = taken.at(file.place);
            records.any(|record| record.size() == file.size)
        };
        let waiting = self.present.iter().filter(|file| !is_taken(file));
        waiting.map(|file| (file.size, file.modified)).collect()
    }

    /// Records of files that are gone and had the same time of change.
    pub(super) fn gone_of_time(&self, file: &Found) -> &[TakenRecord] {
        let modified = modified_hash(&file.stat);
        equal_range(&self.by_time, &modified, |record| record.modified)
    }

    /// Records of which a file of this size may be a copy, whatever it is called.
    pub(super) fn copies(&self, size: u64, recognition: Recognition) -> &[TakenRecord] {
        match recognition.copies {
            true => equal_range(&self.by_size, &size, TakenRecord::size),
            false => &[],
        }
    }

    /// The size of the largest file of which another may be a copy.
    pub(super) fn largest(&self, recognition: Recognition) -> Option<u64> {
        let largest = self.by_size.last().filter(|_| recognition.copies);
        largest.map(TakenRecord::size)
    }

    pub(super) fn candidates(&self, file: &Found, recognition: Recognition) -> Vec<TakenRecord> {
        let modified = modified_hash(&file.stat);
        let same_size = equal_range(&self.by_size, &file.stat.size, TakenRecord::size);
        let same_size = same_size
            .iter()
            .filter(|record| recognition.copies || record.modified == modified);
        let mut candidates: Vec<TakenRecord> = same_size.copied().collect();
        if let Some(inode) = inode_hash(&file.stat).filter(|_| recognition.rotated) {
            let same_inode = equal_range(&self.by_inode, &inode, |record| record.inode);
            let smaller = same_inode
                .iter()
                .filter(|record| record.size() < file.stat.size);
            candidates.extend(smaller);
        }
        candidates
    }
}

/// The part of a sorted slice that has a key.
fn equal_range<'a, T, K: Ord>(sorted: &'a [T], key: &K, key_of: impl Fn(&T) -> K) -> &'a [T] {
    let from = sorted.partition_point(|item| key_of(item) < *key);
    let to = sorted[from..].partition_point(|item| key_of(item) <= *key);
    &sorted[from..from + to]
}
