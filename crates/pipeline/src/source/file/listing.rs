//! The files that are there now, and the records that a file of a new name may be compared with. It decides nothing: content does.

use std::collections::{HashMap, HashSet};

use super::folder::Found;
use super::taken::{
    INODE, LOOK, MODIFIED, PLACE, State, TakenRecord, VANISHED, inode_hash, look_hash,
    modified_hash, place_hash,
};

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

/// The files that are there now, and those that a new name may stand for.
#[derive(Debug, Default)]
pub(super) struct Listing {
    present: HashSet<([u8; PLACE], [u8; LOOK])>,
    /// The files that are there, by name.
    files: HashMap<[u8; PLACE], PresentFile>,
    by_size: HashMap<u64, Vec<TakenRecord>>,
    by_inode: HashMap<[u8; INODE], Vec<TakenRecord>>,
}

/// A file that is there.
#[derive(Debug, Clone, Copy)]
struct PresentFile {
    size: u64,
    modified: [u8; MODIFIED],
    inode: Option<[u8; INODE]>,
}

impl PresentFile {
    fn of(file: &Found) -> Self {
        Self {
            size: file.stat.size,
            modified: modified_hash(&file.stat),
            inode: inode_hash(&file.stat),
        }
    }
}

impl Listing {
    pub(super) fn new(state: &State, found: &[Found], recognition: Recognition) -> Self {
        let mut listing = Self::default();
        if !(recognition.moved || recognition.copies || recognition.rotated) {
            return listing;
        }
        let present = found
            .iter()
            .map(|file| (place_hash(&file.name), look_hash(&file.stat)));
        listing.present = present.collect();
        let files = found.iter();
        let files = files.map(|file| (place_hash(&file.name), PresentFile::of(file)));
        listing.files = files.collect();
        for record in state.records.iter().filter(|record| record.size > 0) {
            listing
                .by_size
                .entry(record.size)
                .or_default()
                .push(*record);
            listing
                .by_inode
                .entry(record.inode)
                .or_default()
                .push(*record);
        }
        listing
    }

    /// Whether the file of a record is no longer there as it was taken. Of one that had only just changed then, no more is known
    /// than its inode.
    pub(super) fn is_gone(&self, record: &TakenRecord) -> bool {
        if record.look != [0; LOOK] {
            return !self.present.contains(&(record.place, record.look));
        }
        match self.files.get(&record.place) {
            None => true,
            Some(file) => file.inode.is_some_and(|inode| inode != record.inode),
        }
    }

    /// Marks the records of files that have vanished and did not appear under another name at the same time: what appears later
    /// is another file, whatever it holds. Whether there were any.
    pub(super) fn mark_vanished(&self, state: &mut State) -> bool {
        let is_taken = |place: &[u8; PLACE], file: &PresentFile| {
            let records = state.at(place);
            records.iter().any(|record| record.size == file.size)
        };
        // Files that are left for the next run may be those that have vanished.
        let waiting = self
            .files
            .iter()
            .filter(|(place, file)| !is_taken(place, file));
        let waiting: HashSet<(u64, [u8; MODIFIED])> = waiting
            .map(|(_, file)| (file.size, file.modified))
            .collect();
        let mut has_any = false;
        for record in &mut state.records {
            let may_wait = waiting.contains(&(record.size, record.modified));
            if record.modified != VANISHED && !self.files.contains_key(&record.place) && !may_wait {
                record.modified = VANISHED;
                has_any = true;
            }
        }
        state.records.sort_unstable();
        has_any
    }

    pub(super) fn candidates(&self, file: &Found, recognition: Recognition) -> Vec<TakenRecord> {
        let mut candidates = Vec::new();
        let modified = modified_hash(&file.stat);
        for record in self.by_size.get(&file.stat.size).into_iter().flatten() {
            let is_moved = recognition.moved && record.modified == modified && self.is_gone(record);
            if recognition.copies || is_moved {
                candidates.push(*record);
            }
        }
        let inode = inode_hash(&file.stat).filter(|_| recognition.rotated);
        for record in inode
            .and_then(|inode| self.by_inode.get(&inode))
            .into_iter()
            .flatten()
        {
            if record.size < file.stat.size && self.is_gone(record) {
                candidates.push(*record);
            }
        }
        candidates
    }
}
