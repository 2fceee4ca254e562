//! The system time of a commit: files of bitemporal tables name it, so it is chosen before they are written.
//!
//! The catalog takes a commit only when its time is after that of every other. A first attempt takes the time of the clock. When another commit
//! was made while the files were written, the next attempt names a time that is still to come, by twice as long as the
//! last one took, and waits for it: others may commit before, and nobody sees a time that is not there yet.

use std::time::Duration;

use forebay_core::{Result, Timestamp};

use super::stack::Prepared;
use crate::Lake;
use crate::bitemporal::PeriodUpdate;

/// The shortest time that an attempt is thought to take.
const LEAD_MIN: Duration = Duration::from_millis(2);
const LEAD_MAX: Duration = Duration::from_secs(600);

pub(super) struct SystemTime {
    is_needed: bool,
    lead: Duration,
    begun: Timestamp,
    chosen: Timestamp,
}

impl SystemTime {
    pub(super) fn of(changes: &[Prepared]) -> Self {
        let mut periods = changes.iter().filter_map(|change| change.periods.as_ref());
        Self {
            is_needed: periods.any(PeriodUpdate::needs_system_time),
            lead: Duration::ZERO,
            begun: Timestamp(0),
            chosen: Timestamp(0),
        }
    }

    /// The time of the next attempt.
    pub(super) async fn choose(&mut self, lake: &Lake) -> Result<Timestamp> {
        self.begun = lake.clock().now();
        self.chosen = self.begun;
        if self.is_needed {
            let newest = lake.store().newest_time().await?;
            let lead = i64::try_from(self.lead.as_micros()).unwrap_or(i64::MAX);
            let first = newest.map_or(i64::MIN, |newest| newest.micros() + 1);
            self.chosen = Timestamp(self.begun.micros().max(first).saturating_add(lead));
        }
        Ok(self.chosen)
    }

    /// What the catalog is asked for.
    pub(super) fn of_commit(&self) -> Option<Timestamp> {
        self.is_needed.then_some(self.chosen)
    }

    /// Waits until the time has come, if the clock has not jumped back behind the newest commit.
    pub(super) async fn wait(&self, lake: &Lake) {
        let left = self
            .chosen
            .micros()
            .saturating_sub(lake.clock().now().micros());
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        if !left.is_zero() {
            lake.clock().sleep(left.min(self.lead)).await;
        }
    }

    /// Another commit was first.
    pub(super) fn was_passed(&mut self, lake: &Lake) {
        let took = lake
            .clock()
            .now()
            .micros()
            .saturating_sub(self.begun.micros());
        let took = Duration::from_micros(u64::try_from(took).unwrap_or(0));
        self.lead = (took.saturating_sub(self.lead) * 2)
            .max(self.lead * 2)
            .clamp(LEAD_MIN, LEAD_MAX);
    }
}
