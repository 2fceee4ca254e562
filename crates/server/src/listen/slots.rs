//! Which connections are served: a bounded number, of which one peer has a part, and a few beside them for health checks.
//!
//! When all usual slots are taken, a further connection gets a reserved one: it serves health checks at once, and waits for a usual
//! slot with everything else.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Error, Result};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::peers::{Peer, PeerKey, PeerShare, PeerShares};

/// Connections that are taken when all usual slots are.
const RESERVED: usize = 16;

/// Those of one peer.
const RESERVED_PER_PEER: usize = 4;

/// The part of the usual slots that one peer may have.
const PEER_PART: usize = 4;

/// Usual slots that a peer may have in any case.
const PEER_MIN: usize = 64;

/// How long a request waits in a reserved slot for a usual one.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Paths that a reserved slot answers.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The slots of a port.
pub(super) struct Slots {
    usual: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
    usual_shares: PeerShares,
    reserved_shares: PeerShares,
    per_peer: usize,
}

/// A slot for the next connection of any peer.
pub(super) enum Seat {
    Usual(OwnedSemaphorePermit),
    Reserved(OwnedSemaphorePermit),
}

/// The slot of a connection.
pub(super) struct Slot {
    usual: Arc<Semaphore>,
    usual_shares: PeerShares,
    per_peer: usize,
    peer: PeerKey,
    is_reserved: bool,
    held: Mutex<Held>,
}

struct Held {
    is_reserved: bool,
    _permit: OwnedSemaphorePermit,
    _share: PeerShare,
}

impl Slots {
    pub(super) fn new(connections: usize) -> Self {
        Self {
            usual: Arc::new(Semaphore::new(connections)),
            reserved: Arc::new(Semaphore::new(RESERVED)),
            usual_shares: PeerShares::default(),
            reserved_shares: PeerShares::default(),
            per_peer: (connections / PEER_PART).max(PEER_MIN),
        }
    }

    /// Waits until one more connection may be taken.
    pub(super) async fn wait(&self) -> Seat {
        let usual = self.usual.clone();
        let reserved = self.reserved.clone();
        let usual = usual.acquire_owned();
        let reserved = reserved.acquire_owned();
        // Neither is ever closed.
        let found = tokio::select! {
            biased;
            Ok(permit) = usual => Some(Seat::Usual(permit)),
            Ok(permit) = reserved => Some(Seat::Reserved(permit)),
            else => None,
        };
        match found {
            Some(seat) => seat,
            None => std::future::pending().await,
        }
    }

    /// `None` when the peer has too many connections.
    pub(super) fn seat(&self, seat: Seat, peer: Peer) -> Option<Slot> {
        let peer = PeerKey::of(Some(peer));
        let (is_reserved, permit, share) = match seat {
            Seat::Usual(permit) => (
                false,
                permit,
                self.usual_shares.take(peer, 1, self.per_peer)?,
            ),
            Seat::Reserved(permit) => {
                let share = self.reserved_shares.take(peer, 1, RESERVED_PER_PEER)?;
                (true, permit, share)
            }
        };
        Some(Slot {
            usual: self.usual.clone(),
            usual_shares: self.usual_shares.clone(),
            per_peer: self.per_peer,
            peer,
            is_reserved,
            held: Mutex::new(Held {
                is_reserved,
                _permit: permit,
                _share: share,
            }),
        })
    }
}

impl Slot {
    /// Whether it was reserved when the connection was accepted.
    pub(super) fn was_reserved(&self) -> bool {
        self.is_reserved
    }

    /// Waits until a request for this path may be served.
    ///
    /// Errors: `Unavailable` `server_full`.
    pub(super) async fn admit(&self, path: &str) -> Result<()> {
        if !self.is_reserved || HEALTH.contains(&path) {
            return Ok(());
        }
        let mut held = self.held.lock().await;
        if !held.is_reserved {
            return Ok(());
        }
        let usual = self.usual.clone().acquire_owned();
        let permit = tokio::time::timeout(WAIT_MAX, usual).await;
        let share = self.usual_shares.take(self.peer, 1, self.per_peer);
        let (Ok(Ok(permit)), Some(share)) = (permit, share) else {
            let what = "all connections of this server are in use";
            return Err(Error::unavailable("server_full", what).with_hint("try again later"));
        };
        *held = Held {
            is_reserved: false,
            _permit: permit,
            _share: share,
        };
        Ok(())
    }
}
