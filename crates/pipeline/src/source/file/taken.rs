//! What has been taken: the position of the file source.
//!
//! A file costs 26 bytes, so that a position of at most [`Position::BYTES_MAX`] remembers some 30,000 files. Positions of
//! version 0.1.0 (20 bytes for a file, without its size) are read, and written again in the new form as their files are met; a
//! file that is not met keeps its old record. The new form has no key `taken`, so that version 0.1.0 refuses it instead of
//! taking every file again.

use forebay_core::{Error, Position, Result, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest::hex;
use super::folder::{Found, Identity, Stat};
use super::listing::{Listing, Recognition};
use super::older::{self, OlderRecord};
use crate::base64;

/// Bytes of all records of a position: in base64 they leave room for a file in the middle.
const RECORDS_BYTES_MAX: usize = (Position::BYTES_MAX - (32 << 10)) / 4 * 3;

pub(super) const PLACE: usize = 6;
const SIZE: usize = 5;
const CONTENT: usize = 6;
pub(super) const LOOK: usize = 5;
pub(super) const MODIFIED: usize = 2;
pub(super) const INODE: usize = 2;
/// In place of the time of a file that has vanished: no file that appears later was moved from there.
pub(super) const VANISHED: [u8; MODIFIED] = [0; MODIFIED];
const RECORD_BYTES: usize = PLACE + SIZE + CONTENT + LOOK + MODIFIED + INODE;

/// Largest file whose size a record keeps: 1 TiB.
const SIZE_MAX: u64 = (1 << (8 * SIZE)) - 1;

/// A file that was taken, or the part of it that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TakenRecord {
    /// Hash of the name.
    pub(super) place: [u8; PLACE],
    /// Bytes taken.
    pub(super) size: u64,
    /// Digest of those bytes, cut.
    content: [u8; CONTENT],
    /// Hash of all that [`Stat`] says: equal, the file is the same without reading it. Zeros when it says too little.
    pub(super) look: [u8; LOOK],
    /// Hash of the time of the last change of its content, which a move keeps.
    pub(super) modified: [u8; MODIFIED],
    /// Hash of inode and device, which a rename keeps.
    pub(super) inode: [u8; INODE],
}

/// Where the source stands.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Ordered by place.
    pub(super) records: Vec<TakenRecord>,
    /// Of version 0.1.0, ordered.
    older: Vec<OlderRecord>,
    /// The file that is being taken, when a commit fell inside it.
    pub(super) partial: Option<Partial>,
}

/// How far a file has been taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partial {
    pub(super) file: String,
    /// Bytes taken.
    pub(super) offset: u64,
    /// Digest of those bytes, in hex.
    pub(super) sha256: String,
    /// … and of the whole blocks among them, from which the digest goes on.
    pub(super) chain: String,
    /// [`look`] of the file, unless it had changed only just then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) look: Option<String>,
    /// Bytes of the file that a record says were taken, when the file had grown since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grown_from: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// Records of version 0.1.0, as it wrote them.
    #[serde(default, skip_serializing)]
    taken: Option<String>,
    /// The same, kept until their files are met.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    older: String,
    #[serde(default)]
    files: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<Partial>,
}

/// Whether a file has to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing of it was taken.
    New,
    /// As it was when it was taken.
    Same,
    /// Only its content tells: the records with which it may agree, those of the smallest size first.
    Perhaps(Vec<TakenRecord>),
}

impl State {
    pub(super) fn read(position: Position) -> Result<Self> {
        let broken = || {
            Error::data(
                "bad_position",
                "the position of the file source cannot be read",
            )
        };
        let stored: Stored =
            serde_json::from_value(position.0).map_err(|error| broken().with_source(error))?;
        let bytes = base64::decode(&stored.files)
            .filter(|bytes| bytes.len() % RECORD_BYTES == 0)
            .ok_or_else(broken)?;
        let mut records: Vec<TakenRecord> = bytes
            .chunks_exact(RECORD_BYTES)
            .filter_map(TakenRecord::read)
            .collect();
        records.sort_unstable();
        let older = stored.taken.unwrap_or(stored.older);
        Ok(Self {
            records,
            older: older::read(&older).ok_or_else(broken)?,
            partial: stored.partial,
        })
    }

    pub(super) fn position(&self) -> Result<Position> {
        let mut bytes = Vec::with_capacity(self.records.len() * RECORD_BYTES);
        for record in &self.records {
            record.write(&mut bytes);
        }
        let stored = Stored {
            taken: None,
            older: encoded(self.older.as_flattened()),
            files: encoded(&bytes),
            partial: self.partial.clone(),
        };
        Position::of(&stored)
    }

    /// Files that have been taken.
    pub(super) fn count(&self) -> usize {
        self.records.len() + self.older.len()
    }

    pub(super) fn known(
        &mut self,
        file: &Found,
        listing: &Listing,
        recognition: Recognition,
    ) -> Known {
        let look = look_hash(&file.stat);
        let at_place = self.at(&place_hash(&file.name));
        if at_place.iter().any(|record| record.look == look) {
            return Known::Same;
        }
        let mut candidates: Vec<TakenRecord> = at_place
            .iter()
            .filter(|record| record.size <= file.stat.size)
            .copied()
            .collect();
        candidates.extend(listing.candidates(file, recognition));
        candidates.sort_by_key(|record| record.size);
        match older::known(&self.older, file) {
            older::Known::Same(older) => {
                // Its content is not read again: only the look of a file that is the same is known.
                self.renew(file, &older, &look);
                return Known::Same;
            }
            older::Known::Touched => return Known::Perhaps(candidates),
            older::Known::New => {}
        }
        if candidates.is_empty() {
            return Known::New;
        }
        Known::Perhaps(candidates)
    }

    /// Whether version 0.1.0 took a file of this name, size and content.
    pub(super) fn has_older(&self, file: &Found, sha256: &[u8; 32]) -> bool {
        older::has_content(&self.older, file, sha256)
    }

    /// Turns a record of version 0.1.0 into one of now, if there is room.
    fn renew(&mut self, file: &Found, older: &OlderRecord, look: &[u8; LOOK]) {
        let mut record = TakenRecord::of(file, file.stat.size, &older::content(older));
        record.look = *look;
        if self.has_room() {
            self.older.retain(|one| one != older);
            self.insert(record);
        }
    }

    /// Remembers that `size` bytes of a file were taken, or what it looks like now; returns whether that is news. A file that
    /// changed about `now` may change again without looking different, for clocks of file systems are coarse: its look is not
    /// remembered. `instead` is a record that the new one takes the place of.
    ///
    /// Errors: `Config` `too_many_files` when the position is full.
    pub(super) fn add(
        &mut self,
        file: &Found,
        size: u64,
        sha256: &[u8; 32],
        now: Timestamp,
        instead: Option<&TakenRecord>,
    ) -> Result<bool> {
        let mut record = TakenRecord::of(file, size, sha256);
        if !file.stat.is_fresh(now) {
            record.look = look_hash(&file.stat);
        }
        if self.records.binary_search(&record).is_ok() {
            return Ok(false);
        }
        if let Some(at) = instead.and_then(|instead| self.records.binary_search(instead).ok()) {
            self.records.remove(at);
        }
        let from = self
            .records
            .partition_point(|other| other.place < record.place);
        let same = self
            .at(&record.place)
            .iter()
            .position(|other| (other.size, other.content) == (record.size, record.content));
        if let Some(at) = same {
            self.records.remove(from + at);
        }
        if !self.has_room() {
            return Err(full(self.count()));
        }
        self.insert(record);
        Ok(true)
    }

    fn insert(&mut self, record: TakenRecord) {
        let at = self.records.partition_point(|other| *other < record);
        self.records.insert(at, record);
    }

    fn has_room(&self) -> bool {
        let older = self.older.as_flattened().len();
        (self.records.len() + 1) * RECORD_BYTES + older <= RECORDS_BYTES_MAX
    }

    pub(super) fn at(&self, place: &[u8; PLACE]) -> &[TakenRecord] {
        let from = self.records.partition_point(|record| record.place < *place);
        let to = self
            .records
            .partition_point(|record| record.place <= *place);
        &self.records[from..to]
    }

    /// The record of the first `size` bytes of a file of this name.
    pub(super) fn taken_at(&self, name: &str, size: u64) -> Option<TakenRecord> {
        let records = self.at(&place_hash(name));
        records.iter().find(|record| record.size == size).copied()
    }
}

impl TakenRecord {
    fn of(file: &Found, size: u64, sha256: &[u8]) -> Self {
        Self {
            place: place_hash(&file.name),
            size: size.min(SIZE_MAX),
            content: first(sha256),
            look: [0; LOOK],
            modified: modified_hash(&file.stat),
            inode: inode_hash(&file.stat).unwrap_or_default(),
        }
    }

    /// Whether the first `size` bytes of a file, with this digest, are what was taken.
    pub(super) fn agrees(&self, size: u64, sha256: &[u8; 32]) -> bool {
        self.size == size.min(SIZE_MAX) && self.content == first::<CONTENT>(sha256)
    }

    /// Whether it is of a file of this name.
    pub(super) fn is_at(&self, name: &str) -> bool {
        self.place == place_hash(name)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.place);
        out.extend_from_slice(&self.size.to_be_bytes()[8 - SIZE..]);
        out.extend_from_slice(&self.content);
        out.extend_from_slice(&self.look);
        out.extend_from_slice(&self.modified);
        out.extend_from_slice(&self.inode);
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (place, bytes) = bytes.split_first_chunk::<PLACE>()?;
        let (size, bytes) = bytes.split_first_chunk::<SIZE>()?;
        let (content, bytes) = bytes.split_first_chunk::<CONTENT>()?;
        let (look, bytes) = bytes.split_first_chunk::<LOOK>()?;
        let (modified, bytes) = bytes.split_first_chunk::<MODIFIED>()?;
        let (inode, _) = bytes.split_first_chunk::<INODE>()?;
        let mut whole_size = [0; 8];
        whole_size[8 - SIZE..].copy_from_slice(size);
        Some(Self {
            place: *place,
            size: u64::from_be_bytes(whole_size),
            content: *content,
            look: *look,
            modified: *modified,
            inode: *inode,
        })
    }
}

fn encoded(bytes: &[u8]) -> String {
    base64::encode(bytes).trim_end_matches('=').to_owned()
}

fn full(count: usize) -> Error {
    let what = format!("the pipeline has taken {count} files, the most it can remember");
    Error::config("too_many_files", what).with_hint(
        "use a pipeline of another name for the next folder, or join small files before they are loaded",
    )
}

pub(super) fn place_hash(name: &str) -> [u8; PLACE] {
    first(&Sha256::digest(name.as_bytes()))
}

pub(super) fn look_hash(stat: &Stat) -> [u8; LOOK] {
    let mut look = first::<LOOK>(&look_digest(stat));
    // Zeros mean that nothing is known.
    look[0] |= 1;
    look
}

pub(super) fn modified_hash(stat: &Stat) -> [u8; MODIFIED] {
    match first(&Sha256::digest(stat.modified.micros().to_be_bytes())) {
        VANISHED => [0, 1],
        hash => hash,
    }
}

/// Objects of a bucket have none.
pub(super) fn inode_hash(stat: &Stat) -> Option<[u8; INODE]> {
    match &stat.identity {
        Identity::Inode { inode, device, .. } => {
            let digest = Sha256::new()
                .chain_update(inode.to_be_bytes())
                .chain_update(device.to_be_bytes());
            Some(first(&digest.finalize()))
        }
        Identity::Tag(_) => None,
    }
}

/// What a file looks like without reading it, in hex.
pub(super) fn look(stat: &Stat) -> String {
    hex(&look_digest(stat))
}

pub(super) fn look_digest(stat: &Stat) -> [u8; 32] {
    let digest = Sha256::new()
        .chain_update(stat.modified.micros().to_be_bytes())
        .chain_update(stat.size.to_be_bytes());
    let digest = match &stat.identity {
        Identity::Inode {
            changed,
            inode,
            device,
        } => digest
            .chain_update(changed.0.to_be_bytes())
            .chain_update(changed.1.to_be_bytes())
            .chain_update(inode.to_be_bytes())
            .chain_update(device.to_be_bytes()),
        Identity::Tag(etag) => digest.chain_update(etag.as_deref().unwrap_or_default()),
    };
    digest.finalize().into()
}

/// The first bytes of a hash.
pub(super) fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut short = [0; N];
    let length = N.min(digest.len());
    short[..length].copy_from_slice(&digest[..length]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long after every file of these tests changed.
    const LATER: Timestamp = Timestamp(1_000_000_000_000);
    const MOVES: Recognition = Recognition {
        moved: true,
        copies: false,
        rotated: false,
    };

    fn file(name: &str, size: u64, inode: u64) -> Found {
        let stat = Stat {
            size,
            modified: Timestamp(1),
            identity: Identity::Inode {
                changed: (2, 3),
                inode,
                device: 5,
            },
        };
        Found {
            path: name.into(),
            name: name.to_owned(),
            stat,
        }
    }

    fn add(state: &mut State, file: &Found, sha256: [u8; 32], now: Timestamp) -> Result<bool> {
        state.add(file, file.stat.size, &sha256, now, None)
    }

    fn known(state: &mut State, file: &Found) -> Known {
        let listing = Listing::new(state, std::slice::from_ref(file), MOVES);
        state.known(file, &listing, MOVES)
    }

    #[test]
    fn a_full_position_fits() {
        let mut state = State::default();
        let mut count = 0;
        let error = loop {
            let digest = Sha256::digest(u64::to_be_bytes(count));
            let one = file(&count.to_string(), count, count);
            match add(&mut state, &one, digest.into(), LATER) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "too_many_files");
        assert!(count > 29_000, "{count}");
        state.partial = Some(Partial {
            file: "x".repeat(4_096),
            offset: 1,
            sha256: "0".repeat(64),
            chain: "0".repeat(64),
            look: Some("0".repeat(64)),
            grown_from: Some(u64::MAX),
        });
        let position = state.position().unwrap();
        assert!(position.to_string().len() < Position::BYTES_MAX);
        let read = State::read(position).unwrap();
        assert_eq!((read.records, read.partial), (state.records, state.partial));
    }

    #[test]
    fn a_file_is_known_by_name_content_and_look() {
        let mut state = State::default();
        let one = file("a", 10, 1);
        add(&mut state, &one, [1; 32], LATER).unwrap();
        assert_eq!(known(&mut state, &one), Known::Same);
        let touched = file("a", 10, 2);
        let Known::Perhaps(candidates) = known(&mut state, &touched) else {
            panic!("its content has to tell");
        };
        assert!(candidates[0].agrees(10, &[1; 32]) && !candidates[0].agrees(10, &[2; 32]));
        // It may have grown, or may be the same file under another name.
        assert!(matches!(
            known(&mut state, &file("a", 11, 1)),
            Known::Perhaps(_)
        ));
        assert!(matches!(
            known(&mut state, &file("b", 10, 1)),
            Known::Perhaps(_)
        ));
        assert_eq!(known(&mut state, &file("a", 9, 1)), Known::New);
        assert_eq!(known(&mut state, &file("b", 11, 1)), Known::New);
        add(&mut state, &touched, [1; 32], LATER).unwrap();
        assert_eq!(
            (known(&mut state, &touched), state.count()),
            (Known::Same, 1)
        );
        let fresh = file("fresh", 1, 1);
        add(&mut state, &fresh, [3; 32], Timestamp(2_000_000)).unwrap();
        assert!(matches!(known(&mut state, &fresh), Known::Perhaps(_)));
        let broken = Position(serde_json::json!({"files": "x!"}));
        assert_eq!(State::read(broken).unwrap_err().code(), "bad_position");
    }

    #[test]
    fn positions_of_the_first_version_are_read_and_not_by_it() {
        let one = file("a", 10, 1);
        let record = older::record(&one, &[1; 32]);
        let stored = serde_json::json!({"taken": base64::encode(&record)});
        let mut state = State::read(Position(stored)).unwrap();
        assert_eq!(known(&mut state, &file("a", 11, 1)), Known::New);
        assert!(matches!(
            known(&mut state, &file("a", 10, 2)),
            Known::Perhaps(_)
        ));
        assert!(state.has_older(&file("a", 10, 2), &[1; 32]));
        // A file that is met as it was is written in the new form, and may grow from then on.
        let written = state.position().unwrap();
        assert!(written.0.get("taken").is_none() && written.0.get("older").is_some());
        let mut state = State::read(written).unwrap();
        assert_eq!(known(&mut state, &one), Known::Same);
        let written = state.position().unwrap();
        assert!(written.0.get("older").is_none(), "{written}");
        let mut state = State::read(written).unwrap();
        assert!(matches!(
            known(&mut state, &file("a", 11, 1)),
            Known::Perhaps(_)
        ));
    }
}
