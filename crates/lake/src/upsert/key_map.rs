//! Keys and the place of their newest row, in one block of bytes.

use ahash::RandomState;
use hashbrown::HashTable;

/// Where a row was written: which file of the draft, and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) position: u64,
}

/// The newest row of a key.
#[derive(Debug)]
pub(super) struct Entry {
    key: (usize, u32),
    order: (usize, u32),
    pub(super) place: Place,
    pub(super) arrival: u64,
}

/// The newest row of each key.
#[derive(Debug, Default)]
pub(super) struct KeyMap {
    table: HashTable<u32>,
    pub(super) entries: Vec<Entry>,
    bytes: Vec<u8>,
    hasher: RandomState,
}

impl KeyMap {
    /// The number of the key's entry.
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let is_equal = |entry: &u32| self.slice(self.entries[*entry as usize].key) == key;
        self.table.find(hash, is_equal).copied()
    }

    pub(super) fn order(&self, entry: u32) -> &[u8] {
        self.slice(self.entries[entry as usize].order)
    }

    /// Adds a key that is not there. `None` when there is no number left for it.
    pub(super) fn add(
        &mut self,
        key: &[u8],
        order: &[u8],
        place: Place,
        arrival: u64,
    ) -> Option<()> {
        let number = u32::try_from(self.entries.len()).ok()?;
        let entry = Entry {
            key: self.keep(key)?,
            order: self.keep(order)?,
            place,
            arrival,
        };
        self.entries.push(entry);
        let hash = self.hasher.hash_one(key);
        let (entries, bytes, hasher) = (&self.entries, &self.bytes, &self.hasher);
        let rehash = |entry: &u32| {
            let (start, length) = entries[*entry as usize].key;
            hasher.hash_one(&bytes[start..start + length as usize])
        };
        self.table.insert_unique(hash, number, rehash);
        Some(())
    }

    /// Another row of the key is the newest.
    pub(super) fn replace(
        &mut self,
        entry: u32,
        order: &[u8],
        place: Place,
        arrival: u64,
    ) -> Option<()> {
        let known = self.entries[entry as usize].order;
        let order = match self.slice(known) == order {
            true => known,
            false => self.keep(order)?,
        };
        let entry = &mut self.entries[entry as usize];
        (entry.order, entry.place, entry.arrival) = (order, place, arrival);
        Some(())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry>();
        self.bytes.capacity() + entries + self.table.capacity() * size_of::<u32>() * 2
    }

    fn keep(&mut self, bytes: &[u8]) -> Option<(usize, u32)> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Some((start, u32::try_from(bytes.len()).ok()?))
    }

    fn slice(&self, (start, length): (usize, u32)) -> &[u8] {
        &self.bytes[start..start + length as usize]
    }
}
