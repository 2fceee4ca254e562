//! The peer of a connection, its share of common limits, and its failed attempts to authenticate.
//!
//! A peer is an IPv4 address or the /64 of an IPv6 address, the addresses that one machine can choose from. No header is trusted:
//! callers behind one proxy are one peer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Error, Result};
use parking_lot::{Mutex, MutexGuard};

/// Failed attempts of one peer within a window after which it is answered without checking its credentials.
const FAILED_ATTEMPTS_MAX: u32 = 100;

/// How long failed attempts count.
const FAILED_WINDOW: Duration = Duration::from_secs(60);

/// Peers whose failed attempts are counted at once.
const FAILED_PEERS_MAX: usize = 10_000;

/// The address of the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The unit of limits per peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct PeerKey(u128);

impl PeerKey {
    /// A request without a connection has the peer `::`.
    pub(crate) fn of(peer: Option<Peer>) -> Self {
        peer.map_or(Self::default(), |Peer(address)| Self::from(address.ip()))
    }
}

impl From<IpAddr> for PeerKey {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
        })
    }
}

/// The usage of each peer; a peer without usage costs nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerShares(Arc<Mutex<HashMap<PeerKey, usize>>>);

/// The usage of one peer, released on drop.
#[derive(Debug)]
pub(crate) struct PeerShare {
    shares: PeerShares,
    peer: PeerKey,
    amount: usize,
}

impl PeerShares {
    /// `None` when the peer would have more than `most`.
    pub(crate) fn take(&self, peer: PeerKey, amount: usize, most: usize) -> Option<PeerShare> {
        let mut share = PeerShare {
            shares: self.clone(),
            peer,
            amount: 0,
        };
        share.grow(amount, most).then_some(share)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerKey, usize>> {
        self.0.lock()
    }
}

impl PeerShare {
    /// Whether there was as much left of `most`.
    pub(crate) fn grow(&mut self, amount: usize, most: usize) -> bool {
        let mut shares = self.shares.lock();
        let taken = shares.get(&self.peer).copied().unwrap_or_default();
        let fits = taken.saturating_add(amount) <= most;
        if fits && amount > 0 {
            shares.insert(self.peer, taken + amount);
            self.amount += amount;
        }
        fits
    }
}

impl Drop for PeerShare {
    fn drop(&mut self) {
        let mut shares = self.shares.lock();
        let left = shares.get(&self.peer).copied().unwrap_or_default();
        match left.saturating_sub(self.amount) {
            0 => shares.remove(&self.peer),
            left => shares.insert(self.peer, left),
        };
    }
}

/// Failed attempts to authenticate, by peer.
#[derive(Debug, Default)]
pub(crate) struct FailedAttempts(Mutex<HashMap<PeerKey, Attempts>>);

/// Failed attempts since a window began.
#[derive(Debug, Clone, Copy)]
struct Attempts {
    count: u32,
    /// Monotonic.
    since: Duration,
}

impl FailedAttempts {
    /// Errors: `Unavailable` `too_many_failures`: the peer failed too often, so its requests are not checked any more.
    pub(crate) fn check(&self, peer: PeerKey, now: Duration) -> Result<()> {
        let peers = self.lock();
        let attempts = peers.get(&peer).filter(|found| !found.is_over(now));
        match attempts {
            Some(found) if found.count >= FAILED_ATTEMPTS_MAX => Err(too_many_failures()),
            _ => Ok(()),
        }
    }

    /// Counts one more.
    pub(crate) fn count(&self, peer: PeerKey, now: Duration) {
        let mut peers = self.lock();
        if peers.len() >= FAILED_PEERS_MAX && !peers.contains_key(&peer) {
            peers.retain(|_, found| !found.is_over(now));
            if peers.len() >= FAILED_PEERS_MAX {
                return;
            }
        }
        let fresh = Attempts {
            count: 0,
            since: now,
        };
        let found = peers.entry(peer).or_insert(fresh);
        if found.is_over(now) {
            *found = fresh;
        }
        found.count = found.count.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerKey, Attempts>> {
        self.0.lock()
    }
}

impl Attempts {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= FAILED_WINDOW
    }
}

pub(crate) fn too_many_failures() -> Error {
    let what = format!(
        "more than {FAILED_ATTEMPTS_MAX} attempts of this address failed to authenticate within {} s",
        FAILED_WINDOW.as_secs()
    );
    Error::unavailable("too_many_failures", what).with_hint("check the credentials, then wait")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> PeerKey {
        PeerKey::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_peer_is_an_address_or_a_network_of_64_bits() {
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
    }

    #[test]
    fn a_share_is_bounded_and_given_back() {
        let shares = PeerShares::default();
        let a = key("10.0.0.1");
        let b = key("10.0.0.2");
        let held = shares.take(a, 3, 4).unwrap();
        assert!(shares.take(a, 2, 4).is_none());
        assert!(shares.take(b, 2, 4).is_some());
        drop(held);
        assert!(shares.take(a, 4, 4).is_some());
        assert!(shares.lock().is_empty());
    }

    #[test]
    fn attempts_that_failed_count_for_a_minute_and_for_their_peer_alone() {
        let failed = FailedAttempts::default();
        let second = Duration::from_secs(1);
        let a = key("10.0.0.1");
        let b = key("10.0.0.2");
        for _ in 0..FAILED_ATTEMPTS_MAX {
            failed.check(a, second).unwrap();
            failed.count(a, second);
        }
        assert_eq!(
            failed.check(a, second).unwrap_err().code(),
            "too_many_failures"
        );
        failed.check(b, second).unwrap();
        failed.check(a, second + FAILED_WINDOW).unwrap();
        for n in 0..2 * FAILED_PEERS_MAX {
            failed.count(PeerKey(n as u128), second);
        }
        assert!(failed.lock().len() <= FAILED_PEERS_MAX);
    }
}
