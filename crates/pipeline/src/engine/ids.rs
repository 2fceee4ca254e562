//! Ids and random numbers of a run: all of them come from one seed, so that a run in a test can be repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::{Clock, CommitId, Ident, RunId};
use ulid::Ulid;

/// A source of ids that no other source with another seed makes. Clones share it.
#[derive(Debug, Clone)]
pub struct Ids {
    seed: u64,
    made: Arc<AtomicU64>,
}

impl Ids {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            made: Arc::default(),
        }
    }

    /// A source of its own for one split.
    pub(in crate::engine) fn of_split(&self, split: &Ident) -> Self {
        let name = u64::from(crc32fast::hash(split.as_str().as_bytes()));
        Self::new(mix(self.seed, name))
    }

    /// A seed for somebody with random numbers of their own; another one each time.
    pub(in crate::engine) fn make_seed(&self) -> u64 {
        mix(self.seed, self.made.fetch_add(1, Ordering::Relaxed))
    }

    pub(in crate::engine) fn make_run(&self, clock: &dyn Clock) -> RunId {
        RunId::new(clock.now(), self.make_number())
    }

    pub(in crate::engine) fn make_commit(&self, clock: &dyn Clock) -> CommitId {
        CommitId::new(clock.now(), self.make_number())
    }

    /// A name for an object, in lower case.
    pub(in crate::engine) fn make_object(&self) -> String {
        Ulid::from(self.make_number()).to_string().to_lowercase()
    }

    fn make_number(&self) -> u128 {
        (u128::from(self.make_seed()) << 64) | u128::from(self.make_seed())
    }
}

/// The nth number of a seed (splitmix64, Steele et al. 2014).
pub(in crate::engine) fn mix(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_and_never_one_twice() {
        let numbers = |seed| {
            let ids = Ids::new(seed);
            let shared = ids.clone();
            let made = (0..1_000).map(|n| {
                if n % 2 == 0 {
                    ids.make_number()
                } else {
                    shared.make_number()
                }
            });
            made.collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        let all: HashSet<u128> = numbers(7).into_iter().chain(numbers(8)).collect();
        assert_eq!(all.len(), 2_000);
    }

    #[test]
    fn splits_make_ids_of_their_own() {
        let ids = Ids::new(7);
        let one = ids.of_split(&"one".parse().unwrap()).make_number();
        let other = ids.of_split(&"other".parse().unwrap()).make_number();
        assert!(one != other && one != Ids::new(7).make_number());
    }
}
