//! Numbers for the keys of a commit: both kinds of keyed tables look rows up by them.

use std::fmt;

use ahash::RandomState;
use hashbrown::HashTable;

/// Keys, as bytes in one block, and their numbers in the order that they came in.
#[derive(Default)]
pub(crate) struct KeyNumbers {
    table: HashTable<u32>,
    /// Start and length of each key.
    spans: Vec<(usize, u32)>,
    bytes: Vec<u8>,
    hasher: RandomState,
}

impl fmt::Debug for KeyNumbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyNumbers({})", self.spans.len())
    }
}

impl KeyNumbers {
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(crate) fn key(&self, number: u32) -> &[u8] {
        span(&self.bytes, self.spans[number as usize])
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.table
            .find(hash, |number| self.key(*number) == key)
            .copied()
    }

    /// The number of a key, a new one if it is new. `None` when there are no numbers left.
    pub(crate) fn number(&mut self, key: &[u8]) -> Option<u32> {
        match self.find(key) {
            Some(number) => Some(number),
            None => self.add(key),
        }
    }

    /// The number of a key that is not there. `None` when there are no numbers left.
    pub(crate) fn add(&mut self, key: &[u8]) -> Option<u32> {
        let number = u32::try_from(self.spans.len()).ok()?;
        self.spans
            .push((self.bytes.len(), u32::try_from(key.len()).ok()?));
        self.bytes.extend_from_slice(key);
        let (spans, bytes, hasher) = (&self.spans, &self.bytes, &self.hasher);
        let rehash = |number: &u32| hasher.hash_one(span(bytes, spans[*number as usize]));
        self.table
            .insert_unique(hasher.hash_one(key), number, rehash);
        Some(number)
    }

    /// Whether the keys are the same, whatever their numbers.
    pub(crate) fn has_same(&self, other: &Self) -> bool {
        let mut spans = other.spans.iter();
        self.len() == other.len() && spans.all(|key| self.find(span(&other.bytes, *key)).is_some())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let spans = self.spans.capacity() * size_of::<(usize, u32)>();
        self.bytes.capacity() + spans + self.table.capacity() * size_of::<u32>() * 2
    }

    /// All numbers, by the order of their keys.
    pub(crate) fn sorted(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = (0..self.spans.len() as u32).collect();
        numbers.sort_unstable_by_key(|number| self.key(*number));
        numbers
    }
}

fn span(bytes: &[u8], (start, length): (usize, u32)) -> &[u8] {
    &bytes[start..start + length as usize]
}
