//! The machine's clock, set back, so that the first commits of the demo have times of last month.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Clock, SystemClock, Timestamp};

/// A clock that is behind the machine's by the same time always.
#[derive(Debug)]
pub(crate) struct ShiftedClock {
    machine: SystemClock,
    behind: Duration,
}

impl ShiftedClock {
    pub(crate) fn behind(behind: Duration) -> Arc<dyn Clock> {
        Arc::new(Self {
            machine: SystemClock::new(),
            behind,
        })
    }
}

#[async_trait]
impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        self.machine.now().minus(self.behind)
    }

    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.machine.sleep(duration).await;
    }
}
