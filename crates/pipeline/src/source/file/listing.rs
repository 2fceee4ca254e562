//! The files that are there now, and the records that a file of a new name may be compared with. It decides nothing: content does.

use std::collections::{HashMap, HashSet};

use super::folder::Found;
use super::taken::{
    INODE, LOOK, PLACE, State, TakenRecord, inode_hash, look_hash, modified_hash, place_hash,
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
    by_size: HashMap<u64, Vec<TakenRecord>>,
    by_inode: HashMap<[u8; INODE], Vec<TakenRecord>>,
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

    /// Whether the file of a record is no longer there as it was taken.
    pub(super) fn is_gone(&self, record: &TakenRecord) -> bool {
        !self.present.contains(&(record.place, record.look))
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
