//! Time as the schedule wants it: short pauses pass at once, longer ones never.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Clock, Timestamp};

/// Pauses between two tries are shorter; intervals of renewals are longer.
const SHORT: Duration = Duration::from_secs(19);

#[derive(Debug, Default)]
pub(super) struct ScheduleClock {
    passed_us: AtomicU64,
}

impl ScheduleClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap();
        self.passed_us.fetch_add(micros, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for ScheduleClock {
    fn now(&self) -> Timestamp {
        // Each look takes a microsecond, so that no two commits have the same time.
        let passed = self.passed_us.fetch_add(1, Ordering::SeqCst);
        Timestamp(1_767_225_600_000_000 + i64::try_from(passed).unwrap())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.passed_us.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::task::yield_now().await;
        if duration >= SHORT {
            // A lease is not renewed.
            std::future::pending::<()>().await;
        }
        self.advance(duration);
    }
}
