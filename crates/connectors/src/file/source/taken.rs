//! The loaded files: the position of the file source.
//!
//! A position lists some hundred files itself and names objects that hold the others (`taken_files.rs`). Positions that
//! list all of their files are read. One that names objects has `"files": null`: versions without objects fail on it
//! instead of loading every file again. Positions of version 0.1.0 (20 bytes for a file, without its size) are read;
//! the records of files that are found again are converted to the new form, the others are kept. No form has a key
//! `taken`, so that version 0.1.0 refuses them.

use std::collections::BTreeSet;

use forebay_core::{Error, Position, PositionObject, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::folder::{Found, Stat};
use super::listing::{Listing, Recognition, Renamed, earlier_places};
use super::older::{self, OlderRecord};
use super::record::{LOOK, Presence, TakenRecord, look_hash, modified_hash, place_hash};
use super::taken_files::{Delta, TakenFiles, read_records, record_bytes};
use crate::source::PositionStorage;
use forebay_formats::base64;

/// The position of the source.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) files: TakenFiles,
    /// Records of version 0.1.0, ordered.
    older: Vec<OlderRecord>,
    /// The file that is being loaded, when a commit fell inside it.
    pub(super) partial: Option<Partial>,
}

/// How far a file has been loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partial {
    pub(super) file: String,
    /// Bytes loaded.
    pub(super) offset: u64,
    /// Digest of those bytes, in hex.
    pub(super) sha256: String,
    /// … and of the whole blocks among them, from which the digest resumes.
    pub(super) chain: String,
    /// [`super::record::look`] of the file, unless it had only just changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) look: Option<String>,
    /// Bytes of the file that were loaded before according to a record, when the file had grown since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grown_from: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
struct Stored {
    /// Records of version 0.1.0, as it wrote them.
    #[serde(default, skip_serializing)]
    taken: Option<String>,
    /// The same, kept until their files are found again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    older: String,
    /// All records; `null` when there are objects.
    #[serde(default)]
    files: Option<String>,
    /// [`Position::OBJECTS_KEY`]: where most records are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    objects: Vec<PositionObject>,
    /// Records that the objects do not have yet, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    added: String,
    /// … and those that they should no longer have.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    removed: String,
    /// Records in all, when there are objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<Partial>,
}

/// Whether a file has to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing of it was loaded.
    New,
    /// Unchanged since it was loaded.
    Same,
    /// Its content must be compared with these records, ordered by size.
    Perhaps(Vec<TakenRecord>),
}

/// The result of comparing the look of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Its content has to be compared.
    Unknown,
    /// It is unchanged since it was loaded.
    Known,
    /// … but the position does not record that yet.
    News,
}

impl State {
    /// Errors: `Data` `bad_position`, and those of reading the objects that it names.
    pub(super) async fn read(
        position: Position,
        storage: Option<&dyn PositionStorage>,
    ) -> Result<Self> {
        let stored: Stored =
            serde_json::from_value(position.0).map_err(|error| broken().with_source(error))?;
        let added = stored.files.as_ref().unwrap_or(&stored.added);
        let listed = Delta {
            added: decoded(added)?,
            removed: decoded(&stored.removed)?,
        };
        let files = TakenFiles::read(stored.objects, listed, storage).await?;
        if stored.count.is_some_and(|count| count != files.len()) {
            return Err(broken());
        }
        let older = stored.taken.unwrap_or(stored.older);
        Ok(Self {
            files,
            older: older::read(&older).ok_or_else(broken)?,
            partial: stored.partial,
        })
    }

    /// Moves records that are too many for the position into the storage.
    pub(super) async fn settle(&mut self, storage: &dyn PositionStorage) -> Result<()> {
        self.files.settle(storage).await
    }

    pub(super) fn position(&self) -> Result<Position> {
        let Delta { added, removed } = self.files.unwritten();
        let mut stored = Stored {
            older: encoded(self.older.as_flattened()),
            partial: self.partial.clone(),
            ..Stored::default()
        };
        if self.files.objects().is_empty() {
            stored.files = Some(encoded(&record_bytes(added.iter())));
            return Position::of(&stored);
        }
        stored.objects = self.files.objects().to_vec();
        stored.added = encoded(&record_bytes(added.iter()));
        stored.removed = encoded(&record_bytes(removed.iter()));
        stored.count = Some(self.files.len());
        Position::of(&stored)
    }

    /// Number of loaded files.
    pub(super) fn count(&self) -> usize {
        self.files.len() + self.older.len()
    }

    /// Whether a commit fell inside the file.
    pub(super) fn is_left(&self, file: &Found) -> bool {
        let partial = self.partial.as_ref();
        partial.is_some_and(|partial| partial.file == file.name)
    }

    /// Whether a file has the look that it had when it was loaded.
    pub(super) fn has_look(&self, file: &Found) -> bool {
        let look = look_hash(&file.stat);
        let mut at_place = self.files.at(place_hash(&file.name));
        at_place.any(|record| record.has_look(&look))
    }

    pub(super) fn known(
        &mut self,
        file: &Found,
        listing: &Listing,
        recognition: Recognition,
    ) -> Known {
        if self.has_look(file) {
            return Known::Same;
        }
        let look = look_hash(&file.stat);
        let mut candidates = self.candidates_at_path(file, recognition);
        candidates.extend(listing.candidates(file, recognition));
        if recognition.renamed == Renamed::Any {
            candidates.extend(self.log_before_it_was_cut(file));
        }
        candidates.sort_by_key(TakenRecord::size);
        match older::known(self.older_of(file), file) {
            older::Known::Same(older) => {
                // Its content is not read again: only its unchanged look is known.
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

    /// Records of the current content at the path of a file. Content that the path had before other content is no
    /// reason to skip it.
    fn candidates_at_path(&self, file: &Found, recognition: Recognition) -> Vec<TakenRecord> {
        let at_place = self.files.at(place_hash(&file.name));
        let may_lie_there = |record: &&TakenRecord| match record.presence() {
            Presence::Current => record.size() <= file.stat.size,
            Presence::Vanished if recognition.copies => record.size() <= file.stat.size,
            Presence::Vanished => record.may_have_returned(file),
            Presence::Replaced | Presence::Superseded | Presence::Base => false,
        };
        at_place.filter(may_lie_there).copied().collect()
    }

    /// Records of the log of which a file may be, by its name, the copy made before the truncation (`copytruncate`).
    /// The log may be truncated in this very listing, or not yet.
    fn log_before_it_was_cut(&self, file: &Found) -> impl Iterator<Item = TakenRecord> {
        let size = file.stat.size;
        let lay_there = move |record: &&TakenRecord| {
            record.may_be_renamed() && (1..=size).contains(&record.size())
        };
        let places = earlier_places(file).into_iter();
        places.flat_map(move |place| self.files.at(place).filter(lay_there).copied())
    }

    /// Records of version 0.1.0 that a file may have: none once a later version has recorded its path.
    fn older_of(&self, file: &Found) -> &[OlderRecord] {
        let is_met = self.files.at(place_hash(&file.name)).next().is_some();
        if is_met { &[] } else { &self.older }
    }

    /// Whether version 0.1.0 loaded a file of this name, size and content.
    pub(super) fn has_older(&self, file: &Found, sha256: &[u8; 32]) -> bool {
        older::has_content(self.older_of(file), file, sha256)
    }

    /// Converts a record of version 0.1.0 to the current form.
    fn renew(&mut self, file: &Found, older: &OlderRecord, look: &[u8; LOOK]) {
        let mut record = TakenRecord::of(file, file.stat.size, &older::content(older));
        record.look = *look;
        self.older.retain(|one| one != older);
        self.files.insert(record);
    }

    /// Records that `size` bytes of a file were loaded, or its current look; returns whether anything changed. A file
    /// that changed about `now` may change again with the same look, since clocks of file systems are coarse: its look
    /// is not recorded. `instead` is a record that the new one replaces.
    pub(super) fn add(
        &mut self,
        file: &Found,
        size: u64,
        sha256: &[u8; 32],
        now: Timestamp,
        instead: Option<&TakenRecord>,
    ) -> bool {
        let mut record = TakenRecord::of(file, size, sha256);
        if !file.stat.is_fresh(now) {
            record.look = look_hash(&file.stat);
        }
        let is_new = !self.files.contains(&record);
        if is_new {
            self.put(record, instead);
        }
        self.replace_others(&record) || is_new
    }

    fn put(&mut self, record: TakenRecord, instead: Option<&TakenRecord>) {
        if let Some(instead) = instead {
            self.files.remove(instead);
            self.files.remove(&instead.replaced());
        }
        let at_place = self.files.at(record.place);
        let is_same = |other: &&TakenRecord| other.is_same_content(&record);
        let same: Vec<TakenRecord> = at_place.filter(is_same).copied().collect();
        for record in &same {
            self.files.remove(record);
        }
        self.files.insert(record);
    }

    /// Marks other records of a path as replaced. Returns whether there were any.
    fn replace_others(&mut self, current: &TakenRecord) -> bool {
        let at_place = self.files.at(current.place);
        let lies_there = |record: &&TakenRecord| {
            matches!(record.presence(), Presence::Current | Presence::Vanished)
        };
        let is_other = |record: &&TakenRecord| lies_there(record) && *record != current;
        let others: Vec<TakenRecord> = at_place.filter(is_other).copied().collect();
        for record in &others {
            self.files.remove(record);
            self.files.insert(record.replaced());
        }
        !others.is_empty()
    }

    /// Records that a file is present and unchanged since it was loaded, and that its path has no other content.
    /// Positions of earlier versions do not record which content was the last. Returns whether the look is known, and
    /// whether a record changed.
    pub(super) fn meet(&mut self, file: &Found) -> Meeting {
        let look = look_hash(&file.stat);
        let found = self
            .files
            .at(place_hash(&file.name))
            .find(|record| record.has_look(&look))
            .copied();
        let Some(found) = found else {
            return Meeting::Unknown;
        };
        let record = found.met(file);
        if record != found {
            self.files.remove(&found);
            self.files.insert(record);
        }
        match self.replace_others(&record) || record != found {
            true => Meeting::News,
            false => Meeting::Known,
        }
    }

    /// Records of a file of this name with the modification time of `stat`.
    pub(super) fn of_time(&self, name: &str, stat: &Stat) -> impl Iterator<Item = TakenRecord> {
        let modified = modified_hash(stat);
        let records = self.files.at(place_hash(name)).copied();
        records.filter(move |record| record.may_be_renamed() && record.modified == modified)
    }

    /// The record of the first `size` bytes of a file of this name.
    pub(super) fn taken_at(&self, name: &str, size: u64) -> Option<TakenRecord> {
        let mut records = self.files.at(place_hash(name));
        let is_it = |record: &&TakenRecord| record.is_current() && record.size() == size;
        records.find(is_it).copied()
    }
}

fn broken() -> Error {
    let what = "failed to read the position of the file source";
    Error::data("bad_position", what)
}

/// Records in base64.
fn decoded(text: &str) -> Result<BTreeSet<TakenRecord>> {
    let bytes = base64::decode(text).ok_or_else(broken)?;
    read_records(&bytes).ok_or_else(broken)
}

fn encoded(bytes: &[u8]) -> String {
    base64::encode(bytes).trim_end_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::folder::Identity;
    use super::super::listing::PresentFile;
    use super::*;

    /// Long after every file of these tests changed.
    const LATER: Timestamp = Timestamp(1_000_000_000_000);
    const MOVES: Recognition = Recognition {
        moved: true,
        copies: false,
        renamed: Renamed::Never,
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

    fn add(state: &mut State, file: &Found, sha256: [u8; 32], now: Timestamp) -> bool {
        state.add(file, file.stat.size, &sha256, now, None)
    }

    fn known(state: &mut State, file: &Found) -> Known {
        let present = vec![PresentFile::of(file)];
        let listing = Listing::new(&state.files, present, MOVES);
        state.known(file, &listing, MOVES)
    }

    async fn read(position: Position) -> Result<State> {
        State::read(position, None).await
    }

    #[tokio::test]
    async fn a_file_is_known_by_name_content_and_look() {
        let mut state = State::default();
        let one = file("a", 10, 1);
        add(&mut state, &one, [1; 32], LATER);
        assert_eq!(known(&mut state, &one), Known::Same);
        let touched = file("a", 10, 2);
        let Known::Perhaps(candidates) = known(&mut state, &touched) else {
            panic!("its content must be compared");
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
        add(&mut state, &touched, [1; 32], LATER);
        assert_eq!(
            (known(&mut state, &touched), state.count()),
            (Known::Same, 1)
        );
        let fresh = file("fresh", 1, 1);
        add(&mut state, &fresh, [3; 32], Timestamp(2_000_000));
        assert!(matches!(known(&mut state, &fresh), Known::Perhaps(_)));
        let broken = Position(serde_json::json!({"files": "x!"}));
        assert_eq!(read(broken).await.unwrap_err().code(), "bad_position");
    }

    #[tokio::test]
    async fn positions_of_the_first_version_are_read_and_not_by_it() {
        let one = file("a", 10, 1);
        let record = older::record(&one, &[1; 32]);
        let stored = serde_json::json!({"taken": base64::encode(&record)});
        let mut state = read(Position(stored)).await.unwrap();
        assert_eq!(known(&mut state, &file("a", 11, 1)), Known::New);
        assert!(matches!(
            known(&mut state, &file("a", 10, 2)),
            Known::Perhaps(_)
        ));
        assert!(state.has_older(&file("a", 10, 2), &[1; 32]));
        // The record of an unchanged file is written in the new form, and the file may grow from then on.
        let written = state.position().unwrap();
        assert!(written.0.get("taken").is_none() && written.0.get("older").is_some());
        let mut state = read(written).await.unwrap();
        assert_eq!(known(&mut state, &one), Known::Same);
        let written = state.position().unwrap();
        assert!(written.0.get("older").is_none(), "{written}");
        let mut state = read(written).await.unwrap();
        assert!(matches!(
            known(&mut state, &file("a", 11, 1)),
            Known::Perhaps(_)
        ));
    }
}
