//! The memory of statements, shared by operators that spill and those that cannot.
//!
//! The engine's fair pool lets operators that spill take all of the memory, and an `ORDER BY … LIMIT` above them, which cannot spill,
//! finds none. And it refuses the memory of the sort by which an operator spills. Here a part is left to those that cannot spill, and
//! one that was refused, and so spills, may take what is free once.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

/// One part in so many is never taken by operators that spill.
const UNSPILLABLE_SHARE: usize = 4;

/// The pool; see the module.
#[derive(Debug)]
pub(crate) struct SpillPool {
    bytes_max: usize,
    state: Mutex<Reserved>,
}

#[derive(Debug, Default)]
struct Reserved {
    /// Operators that spill.
    spillers: usize,
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
        left.saturating_sub(state.unspillable) / state.spillers.max(1)
    }

    fn grow_spillable(
        &self,
        state: &mut Reserved,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> Result<()> {
        let operator = reservation.consumer().id();
        let share = self.share(state);
        if reservation.size() + additional > share {
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
        if additional > free {
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
