//! The memory that bodies may take: all of them together, and those of one peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_core::{Error, Result};

use crate::peers::{PeerKey, PeerShare, PeerShares};

/// A bound that all requests share; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: AtomicUsize,
    bytes_max: usize,
    shares: PeerShares,
    share_max: usize,
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Room,
    share: PeerShare,
    bytes: usize,
}

impl Room {
    /// Bytes for all, and for one peer.
    pub(super) fn new(bytes_max: usize, share_max: usize) -> Self {
        Self(Arc::new(Inner {
            bytes: AtomicUsize::new(0),
            bytes_max,
            shares: PeerShares::default(),
            share_max,
        }))
    }

    /// Errors: `Unavailable` `server_busy`. This never waits: a caller that held room while waiting for more could wait for ever.
    pub(super) fn take(&self, peer: PeerKey, bytes: usize) -> Result<Held> {
        let share = self.0.shares.take(peer, 0, self.0.share_max);
        let mut held = Held {
            room: self.clone(),
            share: share.ok_or_else(busy)?,
            bytes: 0,
        };
        held.grow(bytes)?;
        Ok(held)
    }

    pub(super) fn held(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Errors: `Unavailable` `server_busy`.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<()> {
        let room = &self.room.0;
        let fits = |taken: usize| {
            let taken = taken.checked_add(bytes)?;
            (taken <= room.bytes_max).then_some(taken)
        };
        let order = Ordering::Relaxed;
        let load = Ordering::Relaxed;
        room.bytes
            .fetch_update(order, load, fits)
            .map_err(|_| busy())?;
        self.bytes += bytes;
        if self.share.grow(bytes, room.share_max) {
            Ok(())
        } else {
            Err(busy())
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn busy() -> Error {
    Error::unavailable("server_busy", "the memory for request bodies is full")
        .with_hint("send it again a little later, or in smaller parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_peer_holds_leaves_room_for_another() {
        let room = Room::new(10, 6);
        let a = PeerKey::from(std::net::IpAddr::from([10, 0, 0, 1]));
        let b = PeerKey::from(std::net::IpAddr::from([10, 0, 0, 2]));
        let first = room.take(a, 6).unwrap();
        assert!(room.take(a, 1).is_err());
        let second = room.take(b, 4).unwrap();
        assert!(room.take(b, 1).is_err());
        assert_eq!(room.held(), 10);
        drop((first, second));
        assert_eq!(room.held(), 0);
        assert!(room.take(a, 6).is_ok());
    }
}
