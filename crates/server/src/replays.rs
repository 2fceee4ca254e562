//! Accepted signatures, for as long as their time is valid: a replayed request gets the first response.
//!
//! A signed request that somebody has seen can be sent again. Within the validity of its time it lands once; after it the time is
//! refused. This is memory of the process: the idempotency keys of the [journal](forebay_journal) survive a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use forebay_core::{Error, Result, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};

/// Signatures that are remembered at once; the oldest are forgotten first.
const SIGNATURES_MAX: usize = 200_000;

/// The signatures taken; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replays(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    taken: HashMap<Print, Taken>,
    /// In order of arrival.
    order: VecDeque<(Print, Timestamp)>,
}

/// The stored entry of a signature.
type Print = [u8; 16];

#[derive(Debug, Clone, Copy)]
enum Taken {
    UnderWay,
    /// The journal's offset of its first record.
    At(u64),
}

/// How a signature is met.
pub(crate) enum Seen {
    First(FirstUse),
    /// Its records are durable from this offset of the journal on.
    Again(u64),
}

/// A signature that was not seen before; forgotten again unless its records become durable.
pub(crate) struct FirstUse {
    replays: Replays,
    print: Print,
    is_kept: bool,
}

impl Replays {
    /// `until` is when the time of the signature stops being valid.
    ///
    /// Errors: `Unavailable` `replay_under_way` while the first one is not durable yet.
    pub(crate) fn begin(&self, signature: &[u8], until: Timestamp, now: Timestamp) -> Result<Seen> {
        let print = print(signature);
        let mut inner = self.lock();
        inner.forget(now);
        match inner.taken.get(&print) {
            Some(Taken::At(offset)) => return Ok(Seen::Again(*offset)),
            Some(Taken::UnderWay) => return Err(under_way()),
            None => {}
        }
        inner.taken.insert(print, Taken::UnderWay);
        inner.order.push_back((print, until));
        Ok(Seen::First(FirstUse {
            replays: self.clone(),
            print,
            is_kept: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock()
    }
}

impl Inner {
    fn forget(&mut self, now: Timestamp) {
        while let Some((print, until)) = self.order.front().copied() {
            if until > now && self.order.len() < SIGNATURES_MAX {
                return;
            }
            self.order.pop_front();
            self.taken.remove(&print);
        }
    }
}

impl FirstUse {
    /// Its records are durable.
    pub(crate) fn keep(mut self, offset: u64) {
        self.is_kept = true;
        let mut inner = self.replays.lock();
        if let Some(taken) = inner.taken.get_mut(&self.print) {
            *taken = Taken::At(offset);
        }
    }
}

impl Drop for FirstUse {
    fn drop(&mut self) {
        if !self.is_kept {
            self.replays.lock().taken.remove(&self.print);
        }
    }
}

fn print(signature: &[u8]) -> Print {
    let mut print = Print::default();
    print.copy_from_slice(&Sha256::digest(signature)[..16]);
    print
}

fn under_way() -> Error {
    let what = "a request with the same signature is in progress";
    Error::unavailable("replay_under_way", what).with_hint("send it again a little later")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(replays: &Replays, signature: &[u8], now: i64) -> Result<Seen> {
        replays.begin(signature, Timestamp(now + 10), Timestamp(now))
    }

    #[test]
    fn a_signature_is_taken_once_while_it_is_valid() {
        let replays = Replays::default();
        let Seen::First(first) = begin(&replays, b"a", 0).unwrap() else {
            panic!("it was never there");
        };
        let error = begin(&replays, b"a", 1).err().unwrap();
        assert_eq!(error.code(), "replay_under_way");
        first.keep(7);
        assert!(matches!(begin(&replays, b"a", 2), Ok(Seen::Again(7))));
        assert!(matches!(begin(&replays, b"b", 2), Ok(Seen::First(_))));
        assert!(matches!(begin(&replays, b"b", 2), Ok(Seen::First(_))));
        assert!(matches!(begin(&replays, b"a", 11), Ok(Seen::First(_))));
    }

    #[test]
    fn the_memory_of_signatures_is_bounded() {
        let replays = Replays::default();
        for n in 0..SIGNATURES_MAX + 10 {
            if let Ok(Seen::First(first)) = begin(&replays, &n.to_be_bytes(), 0) {
                first.keep(0);
            }
        }
        let inner = replays.lock();
        assert!(inner.taken.len() <= SIGNATURES_MAX && inner.order.len() <= SIGNATURES_MAX);
    }
}
