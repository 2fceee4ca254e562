//! The files present now, and the records to compare a file of a new name with. It only proposes candidates: the content decides.

use std::collections::HashSet;

use forebay_core::{Error, Result};

use super::folder::Found;
use super::record::{
    INODE, LOOK, MODIFIED, PLACE, Presence, TakenRecord, inode_hash, look_hash, modified_hash,
    place_hash,
};
use super::rotation::earlier_names;
use super::taken::{Meeting, State};
use super::taken_files::TakenFiles;

/// Most files that one pattern may match.
const FILES_MAX: usize = 10_000_000;

/// Most of them that are new at a time. Each costs some 300 bytes of memory.
const NEW_FILES_MAX: usize = 1_000_000;

/// The files collected during a listing.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) state: State,
    pub(super) present: Vec<PresentFile>,
    /// Files that do not have the look that they had when they were loaded.
    pub(super) unknown: Vec<Found>,
    /// Whether the state has changed since the position.
    pub(super) has_news: bool,
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
        if !self.state.is_left(&found) && self.is_known(&found) {
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

    fn is_known(&mut self, found: &Found) -> bool {
        let meeting = self.state.meet(found);
        self.has_news |= meeting == Meeting::News;
        meeting != Meeting::Unknown
    }
}

fn too_many(what: String) -> Error {
    Error::config("too_many_files", what)
}

/// Which records a file is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Recognition {
    /// A file of another name and the same content, when that file was removed.
    pub(super) moved: bool,
    /// Any file of the same content.
    pub(super) copies: bool,
    /// A file that was renamed and has grown, by its inode.
    pub(super) renamed: Renamed,
}

/// To which name a file that has grown may have been renamed. An inode is reused for another file as soon as one is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Renamed {
    #[default]
    Never,
    /// To one that programs make when they rotate a log.
    Rotated,
    Any,
}

/// The files present now, and the records that a new name may belong to: 24 bytes for each file, and 78 for each record
/// of a removed one.
#[derive(Debug, Default)]
pub(super) struct Listing {
    recognition: Recognition,
    /// The files that are present, by place.
    present: Vec<PresentFile>,
    /// Records that a file of another name may have, by size.
    by_size: Vec<TakenRecord>,
    /// Records of removed files, by modification time and size.
    by_time: Vec<TakenRecord>,
    /// Records of removed files, by inode.
    by_inode: Vec<TakenRecord>,
}

/// A file that is present.
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
        let mut listing = Self {
            recognition,
            present,
            ..Self::default()
        };
        listing.present.sort_unstable_by_key(|file| file.place);
        let may_match =
            |record: &&TakenRecord| record.size() > 0 && record.presence() != Presence::Base;
        for record in taken.iter().filter(may_match) {
            let may_be_renamed = record.may_be_renamed() && listing.is_gone(record);
            let may_have_moved = recognition.moved && may_be_renamed;
            if recognition.copies || may_have_moved {
                listing.by_size.push(*record);
            }
            if may_have_moved {
                listing.by_time.push(*record);
            }
            if recognition.renamed != Renamed::Never && may_be_renamed {
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

    /// Whether the file of a record is no longer there as it was loaded. If it had only just changed then, only its
    /// inode is known.
    pub(super) fn is_gone(&self, record: &TakenRecord) -> bool {
        let files = self.at(record.place);
        if record.look != [0; LOOK] {
            return !files.iter().any(|file| file.look == record.look);
        }
        let is_another = |file: &PresentFile| file.inode.is_some_and(|inode| inode != record.inode);
        files.iter().all(is_another)
    }

    /// Marks the records of files that were removed or replaced, and did not appear under another name at the same
    /// time: a file that appears later is a new file, whatever its content. Returns whether there were any.
    pub(super) fn settle_absent(&self, taken: &mut TakenFiles) -> bool {
        let is_absent = |record: &&TakenRecord| match record.presence() {
            Presence::Current => self.at(record.place).is_empty(),
            Presence::Replaced => true,
            Presence::Superseded | Presence::Vanished | Presence::Base => false,
        };
        let mut absent: Vec<TakenRecord> = taken.iter().filter(is_absent).copied().collect();
        if absent.is_empty() {
            return false;
        }
        let waiting = self.waiting(taken);
        absent.retain(|record| !waiting.may_have(record));
        for record in &absent {
            taken.remove(record);
            taken.insert(record.settled());
        }
        !absent.is_empty()
    }

    /// The files that are left for the next run: they may be the removed ones.
    fn waiting(&self, taken: &TakenFiles) -> WaitingFiles {
        let is_taken = |file: &PresentFile| {
            let mut records = taken.at(file.place);
            records.any(|record| record.is_current() && record.size() == file.size)
        };
        let mut waiting = WaitingFiles::default();
        for file in self.present.iter().filter(|file| !is_taken(file)) {
            if self.recognition.moved {
                waiting.moved.insert((file.size, file.modified));
            }
            if self.recognition.renamed != Renamed::Never {
                waiting.renamed.extend(file.inode);
            }
        }
        waiting
    }

    /// Records of removed files with the same modification time.
    pub(super) fn gone_of_time(&self, file: &Found) -> &[TakenRecord] {
        let modified = modified_hash(&file.stat);
        equal_range(&self.by_time, &modified, |record| record.modified)
    }

    /// Records of which a file of this size may be a copy, whatever its name.
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

    /// Records of other names that a file may have.
    pub(super) fn candidates(&self, file: &Found, recognition: Recognition) -> Vec<TakenRecord> {
        let modified = modified_hash(&file.stat);
        let place = place_hash(&file.name);
        let same_size = equal_range(&self.by_size, &file.stat.size, TakenRecord::size);
        let same_size = same_size
            .iter()
            .filter(|record| recognition.copies || record.modified == modified)
            .filter(|record| record.place != place);
        let mut candidates: Vec<TakenRecord> = same_size.copied().collect();
        match recognition.renamed {
            Renamed::Never => {}
            Renamed::Any => candidates.extend(self.smaller_of_inode(file)),
            Renamed::Rotated => {
                let places = earlier_places(file);
                let renamed = self.smaller_of_inode(file);
                candidates.extend(renamed.filter(|record| places.contains(&record.place)));
            }
        }
        candidates
    }

    /// Records of removed files of other names that had the same inode and were smaller.
    fn smaller_of_inode(&self, file: &Found) -> impl Iterator<Item = TakenRecord> {
        let place = place_hash(&file.name);
        let size = file.stat.size;
        let same_inode = match inode_hash(&file.stat) {
            Some(inode) => equal_range(&self.by_inode, &inode, |record| record.inode),
            None => &[],
        };
        let is_smaller = move |record: &&TakenRecord| record.place != place && record.size() < size;
        same_inode.iter().filter(is_smaller).copied()
    }

    /// Records of removed files whose content may be the beginning of a file that is loaded as a whole: it was renamed
    /// and has grown, or is a copy of a log made before its truncation. Ordered by size.
    pub(super) fn repeated(&self, file: &Found, taken: &TakenFiles) -> Vec<TakenRecord> {
        let mut repeated: Vec<TakenRecord> = Vec::new();
        if self.recognition.renamed != Renamed::Never {
            repeated.extend(self.smaller_of_inode(file));
            let is_gone = |record: &&TakenRecord| record.may_be_renamed() && self.is_gone(record);
            for place in earlier_places(file) {
                repeated.extend(taken.at(place).filter(is_gone));
            }
        }
        let at_place = taken.at(place_hash(&file.name));
        repeated.extend(at_place.filter(|record| record.presence() == Presence::Vanished));
        repeated.retain(|record| (1..=file.stat.size).contains(&record.size()));
        repeated.sort_unstable_by_key(TakenRecord::size);
        repeated
    }
}

/// The places of the files that may have been renamed or copied to this one when a log was rotated.
pub(super) fn earlier_places(file: &Found) -> Vec<[u8; PLACE]> {
    let names = earlier_names(&file.name);
    names.iter().map(|name| place_hash(name)).collect()
}

/// What is known of files that were not checked.
#[derive(Debug, Default)]
struct WaitingFiles {
    /// Sizes and times.
    moved: HashSet<(u64, [u8; MODIFIED])>,
    renamed: HashSet<[u8; INODE]>,
}

impl WaitingFiles {
    /// Whether one of them may have the content of a record.
    fn may_have(&self, record: &TakenRecord) -> bool {
        self.moved.contains(&(record.size(), record.modified))
            || self.renamed.contains(&record.inode)
    }
}

/// The part of a sorted slice that has a key.
fn equal_range<'a, T, K: Ord>(sorted: &'a [T], key: &K, key_of: impl Fn(&T) -> K) -> &'a [T] {
    let from = sorted.partition_point(|item| key_of(item) < *key);
    let to = sorted[from..].partition_point(|item| key_of(item) <= *key);
    &sorted[from..from + to]
}
