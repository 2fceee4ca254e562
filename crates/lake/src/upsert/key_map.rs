//! Keys and the place of their newest row.

use super::key_numbers::KeyNumbers;

/// Where a row was written: which file of the draft, and its number in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) position: u64,
}

/// The newest row of a key.
#[derive(Debug)]
pub(super) struct Entry {
    order: (usize, u32),
    pub(super) place: Place,
    pub(super) arrival: u64,
}

/// The newest row of each key.
#[derive(Debug, Default)]
pub(super) struct KeyMap {
    keys: KeyNumbers,
    /// By the number of the key.
    pub(super) entries: Vec<Entry>,
    /// The values of the order column.
    orders: Vec<u8>,
}

impl KeyMap {
    /// The number of the key's entry.
    pub(super) fn find(&self, key: &[u8]) -> Option<u32> {
        self.keys.find(key)
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
        let entry = Entry {
            order: self.keep(order)?,
            place,
            arrival,
        };
        self.keys.add(key)?;
        self.entries.push(entry);
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
        self.keys.memory_bytes() + entries + self.orders.capacity()
    }

    fn keep(&mut self, bytes: &[u8]) -> Option<(usize, u32)> {
        let start = self.orders.len();
        self.orders.extend_from_slice(bytes);
        Some((start, u32::try_from(bytes.len()).ok()?))
    }

    fn slice(&self, (start, length): (usize, u32)) -> &[u8] {
        &self.orders[start..start + length as usize]
    }
}
