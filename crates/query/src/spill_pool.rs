//! The memory of statements, shared by operators that spill and those that cannot.
//!
//! The engine's fair pool lets operators that spill take all of the memory, and an `ORDER BY … LIMIT` above them, which cannot spill,
//! finds none. And it refuses the memory of the sort by which an operator spills. Here a part is left to those that cannot spill, and
//! one that was refused, and so spills, may take what is free once.
//!
//! Operators register when they begin: the first one would take a share in which no room is left for the later ones. So a plan that spills
//! announces how many it has ([`SpillPool::expect_spillers`]).

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

/// One part in so many is never taken by operators that spill.
const UNSPILLABLE_SHARE: usize = 4;
/// An operator that spills may hold one part in so many while it is free, however many others there are: an aggregate needs some memory to
/// begin with.
const SPILLER_SHARE_MIN: usize = 8;
/// The merges of all sorts together hold one part in so many: each would merge as many files at a time as there is memory for, and with less
/// it merges in several passes.
const MERGE_SHARE: usize = 2;
/// The engine's name of the merge of a spilled sort, and of its rows in memory, whose memory cannot be reduced.
const MERGE: &str = "ExternalSorterMerge[";
/// The buffers of one file are more than one part in so many, a batch in memory is less.
const FILE_BUFFER_SHARE: usize = 160;

/// The pool; see the module.
#[derive(Debug)]
pub(crate) struct SpillPool {
    bytes_max: usize,
    state: Mutex<Reserved>,
}

/// Operators of a plan, once for each of their partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SpillerCount {
    /// All that spill.
    pub(crate) all: usize,
    /// The sorts among them.
    pub(crate) sorts: usize,
}

#[derive(Debug, Default)]
struct Reserved {
    /// Operators that spill.
    spillers: usize,
    /// Operators that spill of the running plans that announced them, begun or not.
    expected: SpillerCount,
    spillable: usize,
    unspillable: usize,
    /// Operators that were refused, by their number, until they have taken what is free.
    refused: HashSet<usize>,
}

impl SpillPool {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
        }
    }

    /// Announces the operators that spill of a plan which runs as long as the answer is kept.
    pub(crate) fn expect_spillers(self: &Arc<Self>, count: SpillerCount) -> ExpectedSpillers {
        let mut state = self.state();
        state.expected.all += count.all;
        state.expected.sorts += count.sorts;
        drop(state);
        ExpectedSpillers {
            pool: Arc::clone(self),
            count,
        }
    }

    fn state(&self) -> MutexGuard<'_, Reserved> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, state: &Reserved) -> usize {
        let used = state.spillable + state.unspillable;
        self.bytes_max.saturating_sub(used)
    }

    /// What each operator that spills may hold.
    fn share(&self, state: &Reserved) -> usize {
        let left = self.bytes_max - self.bytes_max / UNSPILLABLE_SHARE;
        left.saturating_sub(state.unspillable) / state.spillers.max(state.expected.all).max(1)
    }

    /// Whether a merge of a plan that announced its operators would take the buffers of too many files. It takes two in any case.
    fn is_greedy_merge(
        &self,
        state: &Reserved,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> bool {
        let held = reservation.size();
        let share = self.bytes_max / MERGE_SHARE / state.expected.sorts.max(1);
        state.expected.sorts > 0
            && reservation.consumer().name().starts_with(MERGE)
            && additional > self.bytes_max / FILE_BUFFER_SHARE
            && held > additional
            && held + additional > share
    }

    fn grow_spillable(
        &self,
        state: &mut Reserved,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> Result<()> {
        let operator = reservation.consumer().id();
        let wanted = reservation.size() + additional;
        let is_small =
            wanted <= self.bytes_max / SPILLER_SHARE_MIN && additional <= self.free(state);
        let share = self.share(state);
        if wanted > share && !is_small {
            let is_spilling = state.refused.remove(&operator);
            if !is_spilling || additional > self.free(state) {
                state.refused.insert(operator);
                return Err(exhausted(reservation, additional, share));
            }
        }
        state.spillable += additional;
        Ok(())
    }
}

/// Operators of a running plan; see [`SpillPool::expect_spillers`].
#[derive(Debug)]
pub(crate) struct ExpectedSpillers {
    pool: Arc<SpillPool>,
    count: SpillerCount,
}

impl Drop for ExpectedSpillers {
    fn drop(&mut self) {
        let mut state = self.pool.state();
        state.expected.all = state.expected.all.saturating_sub(self.count.all);
        state.expected.sorts = state.expected.sorts.saturating_sub(self.count.sorts);
    }
}

impl MemoryPool for SpillPool {
    fn register(&self, consumer: &MemoryConsumer) {
        self.state().spillers += usize::from(consumer.can_spill());
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        let count = usize::from(consumer.can_spill());
        state.spillers = state.spillers.saturating_sub(count);
        state.refused.remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut state = self.state();
        match reservation.consumer().can_spill() {
            true => state.spillable += additional,
            false => state.unspillable += additional,
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut state = self.state();
        match reservation.consumer().can_spill() {
            true => state.spillable = state.spillable.saturating_sub(shrink),
            false => state.unspillable = state.unspillable.saturating_sub(shrink),
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state();
        if reservation.consumer().can_spill() {
            return self.grow_spillable(&mut state, reservation, additional);
        }
        let free = self.free(&state);
        if additional > free || self.is_greedy_merge(&state, reservation, additional) {
            return Err(exhausted(reservation, additional, free));
        }
        state.unspillable += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let state = self.state();
        state.spillable + state.unspillable
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}

/// The error in the words of the engine's own pools, which are translated in one place.
fn exhausted(reservation: &MemoryReservation, additional: usize, free: usize) -> DataFusionError {
    DataFusionError::ResourcesExhausted(format!(
        "Failed to allocate additional {} for {} with {} already allocated for this reservation - {} remain available for the total pool",
        human_readable_size(additional),
        reservation.consumer().name(),
        human_readable_size(reservation.size()),
        human_readable_size(free)
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pool() -> Arc<dyn MemoryPool> {
        Arc::new(SpillPool::new(100))
    }

    fn spiller(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
        let consumer = MemoryConsumer::new("ExternalSorter[0]").with_can_spill(true);
        consumer.register(pool)
    }

    #[test]
    fn a_part_is_left_to_operators_that_cannot_spill() {
        let pool = pool();
        let spills = spiller(&pool);
        let fixed = MemoryConsumer::new("TopK[0]").register(&pool);
        assert!(spills.try_grow(75).is_ok());
        assert!(spills.try_grow(1).is_err());
        assert!(fixed.try_grow(25).is_ok());
        assert!(fixed.try_grow(1).is_err());
        drop((spills, fixed));
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn the_merge_of_one_sort_leaves_memory_to_the_others() {
        let pool = Arc::new(SpillPool::new(1_000));
        let _expected = pool.expect_spillers(SpillerCount { all: 5, sorts: 5 });
        let shared: Arc<dyn MemoryPool> = pool;
        let merge = MemoryConsumer::new("ExternalSorterMerge[0]").register(&shared);
        assert!(merge.try_grow(80).is_ok());
        assert!(merge.try_grow(80).is_ok(), "two files in any case");
        assert!(merge.try_grow(80).is_err());
        assert!(merge.try_grow(5).is_ok(), "a batch in memory");
    }

    #[test]
    fn the_first_operator_that_spills_leaves_the_shares_of_those_to_come() {
        let pool = Arc::new(SpillPool::new(100));
        let expected = pool.expect_spillers(SpillerCount { all: 5, sorts: 5 });
        let shared: Arc<dyn MemoryPool> = pool;
        let first = spiller(&shared);
        assert!(first.try_grow(15).is_ok());
        assert!(first.try_grow(2).is_err(), "four more will come");
        drop(expected);
        assert!(first.try_grow(60).is_ok());
    }

    #[test]
    fn an_operator_that_spills_has_an_even_share_and_once_what_is_free() {
        let pool = pool();
        let (one, other) = (spiller(&pool), spiller(&pool));
        assert!(one.try_grow(30).is_ok());
        assert!(other.try_grow(37).is_ok());
        assert!(one.try_grow(10).is_err(), "its share is 37");
        one.free();
        assert!(one.try_grow(60).is_ok(), "the sort by which it spills");
        one.free();
        assert!(one.try_grow(60).is_err());
        assert!(one.try_grow(70).is_err(), "more than is free");
    }
}
