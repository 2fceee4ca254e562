//! Idempotency keys: the push of each key, for as long as the journal's retention of keys.
//!
//! A key is kept as 128 bits of its SHA-256, so memory does not depend on what callers choose. Keys survive a restart: each
//! is in the head of its record, and a full segment has them in a file of its own that outlives the segment.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use forebay_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Keys remembered at once, 50 to 90 bytes each: 2,000 a second for 15 minutes, in at most 160 MB.
pub(super) const KEYS_MAX: usize = 1_800_000;

/// 128 bits of a key's SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Key(pub(super) u64, pub(super) u64);

impl Key {
    pub(super) fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        Self(word(&digest, 0), word(&digest, 8))
    }
}

/// 64 bits of the SHA-256 of all bodies, to detect the reuse of a key for other bodies.
pub(super) fn fingerprint<'b>(bodies: impl Iterator<Item = &'b [u8]>) -> u64 {
    let mut digest = Sha256::new();
    let mut others = false;
    for body in bodies {
        // The boundary between two bodies must count: "ab" and "c" are not "a" and "bc".
        if std::mem::replace(&mut others, true) {
            digest.update((body.len() as u64).to_le_bytes());
        }
        digest.update(body);
    }
    word(&digest.finalize(), 0)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// An accepted push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) offset: u64,
    pub(super) print: u64,
    pub(super) at: Timestamp,
}

/// A key with its push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keyed {
    pub(super) key: Key,
    pub(super) seen: Seen,
}

/// The next step of the caller that holds a key.
#[derive(Debug)]
pub(super) enum Reservation {
    /// It was pushed before, at this offset.
    Taken(u64),
    /// Another one is pushing it now.
    UnderWay(watch::Receiver<()>),
    /// Push it, then settle.
    Mine,
}

/// The keys of one journal.
#[derive(Debug)]
pub(super) struct Keys {
    keep: Duration,
    /// Offset and fingerprint of accepted pushes.
    taken: HashMap<Key, (u64, u64)>,
    /// Fingerprint of pushes in progress, with the sender that is dropped when they are settled.
    under_way: HashMap<Key, (u64, watch::Sender<()>)>,
    /// Keys accepted in each second, by its end.
    ages: VecDeque<(Timestamp, Vec<Key>)>,
}

const SECOND_US: i64 = 1_000_000;

impl Keys {
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            keep,
            taken: HashMap::new(),
            under_way: HashMap::new(),
            ages: VecDeque::new(),
        }
    }

    pub(super) fn keep(&self) -> Duration {
        self.keep
    }

    pub(super) fn set_keep(&mut self, keep: Duration) {
        self.keep = keep;
    }

    pub(super) fn is_full(&self) -> bool {
        self.taken.len() + self.under_way.len() >= KEYS_MAX
    }

    pub(super) fn reserve(&mut self, key: Key, print: u64, now: Timestamp) -> Result<Reservation> {
        self.forget(now);
        if let Some((offset, taken)) = self.taken.get(&key) {
            let same = *taken == print;
            return if same {
                Ok(Reservation::Taken(*offset))
            } else {
                Err(reused())
            };
        }
        if let Some((other, done)) = self.under_way.get(&key) {
            let same = *other == print;
            return if same {
                Ok(Reservation::UnderWay(done.subscribe()))
            } else {
                Err(reused())
            };
        }
        if self.is_full() {
            return Err(full(self.keep));
        }
        let (done, _) = watch::channel(());
        self.under_way.insert(key, (print, done));
        Ok(Reservation::Mine)
    }

    /// Ends a reservation; without `seen` the key is free again. Dropping the sender wakes the waiting callers.
    pub(super) fn settle(&mut self, key: Key, seen: Option<Seen>, now: Timestamp) {
        self.under_way.remove(&key);
        if let Some(seen) = seen {
            self.remember(key, seen, now);
        }
    }

    pub(super) fn remember(&mut self, key: Key, seen: Seen, now: Timestamp) {
        if now.since(seen.at) >= self.keep || self.is_full() {
            return;
        }
        self.taken.insert(key, (seen.offset, seen.print));
        let end = Timestamp((seen.at.micros().div_euclid(SECOND_US) + 1) * SECOND_US);
        match self.ages.back_mut() {
            // A clock that moves backwards keeps a key longer, never shorter.
            Some((last, keys)) if *last >= end => keys.push(key),
            _ => self.ages.push_back((end, vec![key])),
        }
    }

    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((end, keys)) = self.ages.front() {
            if now.since(*end) < self.keep {
                return;
            }
            for key in keys {
                self.taken.remove(key);
            }
            self.ages.pop_front();
        }
    }
}

fn reused() -> Error {
    Error::data(
        "key_reused",
        "this idempotency key was already used with another body",
    )
    .with_hint("send a new push under a new key")
}

fn full(keep: Duration) -> Error {
    let what = format!(
        "the limit of {KEYS_MAX} idempotency keys, kept for {} s each, is reached",
        keep.as_secs()
    );
    Error::unavailable("keys_full", what)
        .with_hint("retry the push later, or set a smaller `keep_keys`")
}

/// Bytes of a key in a file.
const KEYED_BYTES: usize = 40;

/// The keys of one segment as a file: 40 bytes each (key, fingerprint, offset, time; little endian), then a CRC-32.
pub(super) fn to_bytes(keys: &[Keyed]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(keys.len() * KEYED_BYTES + 4);
    for Keyed { key, seen } in keys {
        for word in [key.0, key.1, seen.print, seen.offset] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&seen.at.0.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// `None` when these are not the bytes of [`to_bytes`].
pub(super) fn from_bytes(bytes: &[u8]) -> Option<Vec<Keyed>> {
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(bytes) != u32::from_le_bytes(*crc) || bytes.len() % KEYED_BYTES != 0 {
        return None;
    }
    let keyed = |chunk: &[u8]| {
        let mut words = chunk.chunks_exact(8).map(|word| {
            u64::from_le_bytes([
                word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7],
            ])
        });
        let mut word = || words.next().unwrap_or_default();
        let key = Key(word(), word());
        let print = word();
        let offset = word();
        let at = Timestamp(word().cast_signed());
        Keyed {
            key,
            seen: Seen { offset, print, at },
        }
    };
    Some(bytes.chunks_exact(KEYED_BYTES).map(keyed).collect())
}
