//! The objects of a journal, oldest first, without listing the storage.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::Timestamp;

use super::super::keys::Keyed;
use super::STAMP_KEPT;

/// Bytes of the newest objects that are kept in memory, so that recent records need not be fetched.
const CACHE_BYTES: usize = 32 << 20;

/// One object of records: `[base, end)` in logical offsets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    pub(super) base: u64,
    pub(super) end: u64,
    /// When it was made, as far as is known.
    pub(super) at: Timestamp,
    /// Whether it only records that the journal was opened here.
    pub(super) is_stamp: bool,
    pub(super) keyed: Vec<Keyed>,
    /// Its content, when it is one of the newest.
    pub(super) bytes: Option<Bytes>,
}

/// An object of the keys of deleted objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) newest: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    objects: VecDeque<Object>,
    cached: usize,
    saved: Vec<Saved>,
}

impl Index {
    pub(super) fn new(objects: Vec<Object>, saved: Vec<Saved>) -> Self {
        let mut index = Self {
            saved,
            ..Self::default()
        };
        objects.into_iter().for_each(|object| index.push(object));
        index
    }

    pub(super) fn push(&mut self, object: Object) {
        self.cached += object.bytes.as_ref().map_or(0, Bytes::len);
        self.objects.push_back(object);
        let mut oldest = self.objects.iter_mut();
        while self.cached > CACHE_BYTES
            && let Some(object) = oldest.next()
        {
            self.cached -= object.bytes.take().map_or(0, |bytes| bytes.len());
        }
    }

    /// Start of the gap-free range up to the journal's end.
    pub(super) fn first(&self) -> u64 {
        let mut first = self.objects.back().map_or(0, |object| object.end);
        for object in self.objects.iter().rev() {
            if object.end != first {
                break;
            }
            first = object.base;
        }
        first
    }

    pub(super) fn after_stamps(&self, offset: u64) -> u64 {
        let mut offset = offset;
        for object in self.objects.range(self.place(offset)..) {
            if !object.is_stamp || object.base > offset {
                break;
            }
            offset = object.end;
        }
        offset
    }

    /// Index of the object that holds `offset`, or of the first after it.
    fn place(&self, offset: u64) -> usize {
        self.objects.partition_point(|object| object.end <= offset)
    }

    /// Objects from the one that holds `offset` on, without a gap, until they have `bytes` or there are `most`.
    pub(super) fn from(&self, offset: u64, bytes: usize, most: usize) -> Vec<Object> {
        let mut next = offset;
        let mut size = 0;
        let mut found = Vec::new();
        for object in self.objects.range(self.place(offset)..) {
            let follows = object.base == next || (found.is_empty() && object.base <= offset);
            if !follows || size >= bytes || found.len() >= most {
                break;
            }
            size += usize::try_from(object.end - object.base).unwrap_or(usize::MAX);
            next = object.end;
            found.push(Object {
                keyed: Vec::new(),
                ..object.clone()
            });
        }
        found
    }

    /// The objects that may be deleted once everything before `offset` is committed.
    pub(super) fn passed(&self, offset: u64, now: Timestamp) -> Vec<Object> {
        let is_kept = |object: &Object| object.is_stamp && now.since(object.at) < STAMP_KEPT;
        let older = self.objects.len().saturating_sub(1);
        let passed = self.objects.iter().take(older);
        passed
            .take_while(|object| object.end <= offset)
            .filter(|object| !is_kept(object))
            .map(|object| Object {
                bytes: None,
                ..object.clone()
            })
            .collect()
    }

    pub(super) fn old_keys(&self, keep: Duration, now: Timestamp) -> Vec<Saved> {
        let is_old = |saved: &&Saved| now.since(saved.newest) >= keep;
        self.saved.iter().filter(is_old).copied().collect()
    }

    pub(super) fn forget(&mut self, passed: &[Object], old: &[Saved], new: Option<Saved>) {
        let cached = &mut self.cached;
        self.objects.retain(|object| {
            let stays = !passed.iter().any(|gone| gone.base == object.base);
            if !stays {
                *cached -= object.bytes.as_ref().map_or(0, Bytes::len);
            }
            stays
        });
        self.saved.retain(|saved| !old.contains(saved));
        self.saved.extend(new);
    }
}
