//! The records of all loaded files, and where they are stored.
//!
//! A position lists few of them itself. The others are stored in objects that it names ([`PositionStorage`]), oldest
//! first; each lists the records added and removed since the one before. So a commit writes only the changes, however
//! many files there are. Objects of about one size are merged when there are [`MERGED_AT_ONCE`], so that their number
//! grows with the logarithm of the number of files.

use std::collections::BTreeSet;

use forebay_core::{Error, PositionObject, Result};

use super::record::{PLACE, RECORD_BYTES, TakenRecord};
use crate::source::PositionStorage;

/// Records that a position lists itself, at most 18 KB of its JSON; more go to an object.
pub(super) const LISTED_MAX: usize = 512;

/// Objects of one size that are merged into one.
const MERGED_AT_ONCE: usize = 8;

/// Objects that a position may name; more are merged into one.
const OBJECTS_MAX: usize = 64;

/// The first bytes of an object.
const MAGIC: &[u8; 8] = b"fbfiles1";
const HEADER_BYTES: usize = MAGIC.len() + 16;
const LEVEL: i32 = 1;

/// Every record of a position. In memory a record costs 28 to 45 bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct TakenFiles {
    records: BTreeSet<TakenRecord>,
    /// Changes that the objects do not have yet.
    unwritten: Delta,
    /// Oldest first.
    objects: Vec<PositionObject>,
}

/// The changes from one state of the records to a later one. None of `added` was there before, and all of `removed` were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) added: BTreeSet<TakenRecord>,
    pub(super) removed: BTreeSet<TakenRecord>,
}

impl Delta {
    fn len(&self) -> usize {
        self.added.len() + self.removed.len()
    }

    fn insert(&mut self, record: TakenRecord) {
        if !self.removed.remove(&record) {
            self.added.insert(record);
        }
    }

    fn remove(&mut self, record: &TakenRecord) {
        if !self.added.remove(record) {
            self.removed.insert(*record);
        }
    }
}

impl TakenFiles {
    /// From a position: the objects that it names, and the records that it lists itself.
    ///
    /// Errors: `Data` `bad_position`, and those of reading an object.
    pub(super) async fn read(
        objects: Vec<PositionObject>,
        listed: Delta,
        storage: Option<&dyn PositionStorage>,
    ) -> Result<Self> {
        let mut records = BTreeSet::new();
        for object in &objects {
            let storage = storage.ok_or_else(no_storage)?;
            let delta = decode(&storage.read(object).await?)?;
            apply(&mut records, delta);
        }
        apply(&mut records, listed.clone());
        Ok(Self {
            records,
            unwritten: listed,
            objects,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &TakenRecord> {
        self.records.iter()
    }

    pub(super) fn contains(&self, record: &TakenRecord) -> bool {
        self.records.contains(record)
    }

    /// Records of one name.
    pub(super) fn at(&self, place: [u8; PLACE]) -> impl Iterator<Item = &TakenRecord> {
        let from = TakenRecord::first_at(place);
        let records = self.records.range(from..);
        records.take_while(move |record| record.place == place)
    }

    pub(super) fn insert(&mut self, record: TakenRecord) {
        if self.records.insert(record) {
            self.unwritten.insert(record);
        }
    }

    pub(super) fn remove(&mut self, record: &TakenRecord) {
        if self.records.remove(record) {
            self.unwritten.remove(record);
        }
    }

    pub(super) fn objects(&self) -> &[PositionObject] {
        &self.objects
    }

    /// Changes that the objects do not have.
    pub(super) fn unwritten(&self) -> &Delta {
        &self.unwritten
    }

    /// Records that the next position would list itself.
    pub(super) fn listed(&self) -> usize {
        self.unwritten.len()
    }

    /// Writes the records that are too many for a position to an object, and merges objects.
    pub(super) async fn settle(&mut self, storage: &dyn PositionStorage) -> Result<()> {
        if self.unwritten.len() <= LISTED_MAX {
            return Ok(());
        }
        if self.unwritten.len() * 2 >= self.records.len() {
            return self.write_all(storage).await;
        }
        let object = write(storage, &self.unwritten).await?;
        self.objects.push(object);
        self.unwritten = Delta::default();
        while let Some(from) = self.mergeable() {
            if from == 0 {
                return self.write_all(storage).await;
            }
            let merged = self.merged(storage, from).await?;
            self.objects.truncate(from);
            self.objects.push(merged);
        }
        Ok(())
    }

    /// Index of the first of the newest objects that are to be merged.
    fn mergeable(&self) -> Option<usize> {
        let newest = size_class(self.objects.last()?);
        let older = self.objects.iter().rev();
        let alike = older
            .take_while(|object| size_class(object) <= newest)
            .count();
        match (alike >= MERGED_AT_ONCE, self.objects.len() > OBJECTS_MAX) {
            (true, _) => Some(self.objects.len() - alike),
            (false, true) => Some(0),
            (false, false) => None,
        }
    }

    /// Merges all objects from `from` on into one.
    async fn merged(&self, storage: &dyn PositionStorage, from: usize) -> Result<PositionObject> {
        let mut whole = Delta::default();
        for object in &self.objects[from..] {
            let delta = decode(&storage.read(object).await?)?;
            delta.removed.iter().for_each(|record| whole.remove(record));
            delta
                .added
                .into_iter()
                .for_each(|record| whole.insert(record));
        }
        write(storage, &whole).await
    }

    /// Merges all objects into one.
    async fn write_all(&mut self, storage: &dyn PositionStorage) -> Result<()> {
        let bytes = encode(self.records.iter(), std::iter::empty())?;
        let object = storage.create(bytes, self.records.len() as u64).await?;
        self.objects = vec![object];
        self.unwritten = Delta::default();
        Ok(())
    }
}

fn apply(records: &mut BTreeSet<TakenRecord>, delta: Delta) {
    for record in &delta.removed {
        records.remove(record);
    }
    if records.is_empty() {
        *records = delta.added;
    } else {
        records.extend(delta.added);
    }
}

/// Objects of one class differ in size by less than [`MERGED_AT_ONCE`] times.
fn size_class(object: &PositionObject) -> u32 {
    let share = object.entries / LISTED_MAX as u64;
    share.max(1).ilog(MERGED_AT_ONCE as u64)
}

async fn write(storage: &dyn PositionStorage, delta: &Delta) -> Result<PositionObject> {
    let bytes = encode(delta.added.iter(), delta.removed.iter())?;
    storage.create(bytes, delta.len() as u64).await
}

/// The concatenated records, in order.
pub(super) fn record_bytes<'a>(records: impl ExactSizeIterator<Item = &'a TakenRecord>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES);
    for record in records {
        record.write(&mut bytes);
    }
    bytes
}

/// The inverse of [`record_bytes`]; `None` for anything else.
pub(super) fn read_records(bytes: &[u8]) -> Option<BTreeSet<TakenRecord>> {
    let records = bytes.chunks_exact(RECORD_BYTES);
    if !records.remainder().is_empty() {
        return None;
    }
    Some(records.filter_map(TakenRecord::read).collect())
}

/// The content of an object: how many were added and removed, then both.
fn encode<'a>(
    added: impl ExactSizeIterator<Item = &'a TakenRecord>,
    removed: impl ExactSizeIterator<Item = &'a TakenRecord>,
) -> Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(added.len() as u64).to_be_bytes());
    bytes.extend_from_slice(&(removed.len() as u64).to_be_bytes());
    bytes.extend(record_bytes(added));
    bytes.extend(record_bytes(removed));
    zstd::bulk::compress(&bytes, LEVEL).map_err(|error| {
        Error::bug("position_object", "failed to compress the records of files").with_source(error)
    })
}

fn decode(bytes: &[u8]) -> Result<Delta> {
    let bytes = zstd::stream::decode_all(bytes).map_err(|error| bad_object().with_source(error))?;
    parse(&bytes).ok_or_else(bad_object)
}

fn parse(bytes: &[u8]) -> Option<Delta> {
    let (header, records) = bytes.split_at_checked(HEADER_BYTES)?;
    let counts = header.strip_prefix(MAGIC)?;
    let (added, removed) = counts.split_first_chunk::<8>()?;
    let added = usize::try_from(u64::from_be_bytes(*added)).ok()?;
    let removed = usize::try_from(u64::from_be_bytes(removed.try_into().ok()?)).ok()?;
    let (in_added, in_removed) = records.split_at_checked(added.checked_mul(RECORD_BYTES)?)?;
    let delta = Delta {
        added: read_records(in_added)?,
        removed: read_records(in_removed)?,
    };
    ((delta.added.len(), delta.removed.len()) == (added, removed)).then_some(delta)
}

fn bad_object() -> Error {
    let what = "an object of the file source's position does not hold records of files";
    Error::data("bad_position", what)
}

fn no_storage() -> Error {
    let what = "the position of the file source names objects, but no storage is available to read them from";
    Error::bug("no_position_storage", what)
}
