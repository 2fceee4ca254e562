//! The files that are there now, and the records that a file of a new name may be compared with. It decides nothing: content does.

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

/// What is kept of the files that are there while they are listed.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) state: State,
    pub(super) present: Vec<PresentFile>,
    /// Those that do not look as they did when they were taken.
    pub(super) unknown: Vec<Found>,
    /// Whether the state says more by now than the position did.
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
    /// A file of another name and the same content, when that file is gone.
    pub(super) moved: bool,
    /// Any file of the same content.
    pub(super) copies: bool,
    /// A file that was renamed and has grown, by its inode.
    pub(super) renamed: Renamed,
}

/// To which name a file may have been renamed that has grown. An inode is used again for another file as soon as one is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Renamed {
    #[default]
    Never,
    /// To one that programs make when they rotate a log.
    Rotated,
    Any,
}

/// The files that are there now, and those that a new name may stand for: 24 bytes for each file, and 78 for each record of one that
/// is gone.
#[derive(Debug, Default)]
pub(super) struct Listing {
    recognition: Recognition,
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
        let mut listing = Self {
            recognition,
            present,
            ..Self::default()
        };
        listing.present.sort_unstable_by_key(|file| file.place);
        for record in taken.iter().filter(|record| record.size() > 0) {
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

    /// Marks the records of files that have vanished or were replaced, and did not appear under another name at the same time: what
    /// appears later is another file, whatever it holds. Whether there were any.
    pub(super) fn settle_absent(&self, taken: &mut TakenFiles) -> bool {
        let is_absent = |record: &&TakenRecord| match record.presence() {
            Presence::Current => self.at(record.place).is_empty(),
            Presence::Replaced => true,
            Presence::Superseded | Presence::Vanished => false,
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

    /// The files that are left for the next run: they may be those that have vanished.
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

    /// Records of files of other names that are gone, had the same inode and were smaller.
    fn smaller_of_inode(&self, file: &Found) -> impl Iterator<Item = TakenRecord> {
        let (place, size) = (place_hash(&file.name), file.stat.size);
        let same_inode = match inode_hash(&file.stat) {
            Some(inode) => equal_range(&self.by_inode, &inode, |record| record.inode),
            None => &[],
        };
        let is_smaller = move |record: &&TakenRecord| record.place != place && record.size() < size;
        same_inode.iter().filter(is_smaller).copied()
    }

    /// Records of files that are gone with whose content a file that is loaded as a whole may begin: it was renamed and has grown, or
    /// is the copy that was made of a log before that was cut. By their sizes.
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

/// The places of the files that may have been renamed to this one when a log was rotated.
fn earlier_places(file: &Found) -> Vec<[u8; PLACE]> {
    let names = earlier_names(&file.name);
    names.iter().map(|name| place_hash(name)).collect()
}

/// What is known of files that were not looked at.
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
