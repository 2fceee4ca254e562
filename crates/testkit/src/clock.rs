//! A clock controlled by the test.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Clock, Timestamp};
use tokio::sync::Notify;

/// Virtual time. [`FakeClock::auto`] jumps to the end of every sleep at once; [`FakeClock::manual`] is stopped
/// until [`FakeClock::advance`].
#[derive(Debug)]
pub struct FakeClock {
    start: Timestamp,
    auto: bool,
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    passed: Duration,
    /// Added to the wall clock only: a correction by hand or by NTP.
    skew_us: i64,
    sleeps: Vec<Duration>,
}

impl FakeClock {
    /// Starts at `start` and jumps over sleeps.
    pub fn auto(start: Timestamp) -> Arc<Self> {
        Arc::new(Self::new(start, true))
    }

    /// Starts at `start`; sleepers wait for [`Self::advance`].
    pub fn manual(start: Timestamp) -> Arc<Self> {
        Arc::new(Self::new(start, false))
    }

    fn new(start: Timestamp, auto: bool) -> Self {
        Self {
            start,
            auto,
            state: Mutex::default(),
            moved: Notify::new(),
        }
    }

    /// Advances time and wakes the sleepers that are due.
    pub fn advance(&self, by: Duration) {
        self.lock().passed += by;
        self.moved.notify_waiters();
    }

    /// Sets the wall clock forward or back; monotonic time does not notice.
    pub fn skew(&self, micros: i64) {
        self.lock().skew_us += micros;
    }

    /// The requested length of each sleep so far, in the order in which they began.
    pub fn sleeps(&self) -> Vec<Duration> {
        self.lock().sleeps.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the clock")
    }
}

#[async_trait]
impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        let state = self.lock();
        Timestamp(self.start.plus(state.passed).0 + state.skew_us)
    }

    fn monotonic(&self) -> Duration {
        self.lock().passed
    }

    async fn sleep(&self, duration: Duration) {
        let until = {
            let mut state = self.lock();
            state.sleeps.push(duration);
            let until = state.passed + duration;
            if self.auto {
                state.passed = until;
            }
            until
        };
        tokio::task::yield_now().await;
        loop {
            let moved = self.moved.notified();
            if self.lock().passed >= until {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_automatic_clock_jumps_over_sleeps() {
        let clock = FakeClock::auto(Timestamp(1_000_000));
        clock.sleep(Duration::from_secs(3_600)).await;
        assert_eq!(clock.monotonic(), Duration::from_secs(3_600));
        assert_eq!(clock.now(), Timestamp(3_601_000_000));
        clock.skew(-1_000_000);
        assert_eq!(clock.now(), Timestamp(3_600_000_000));
        assert_eq!(clock.monotonic(), Duration::from_secs(3_600));
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_sleepers_when_their_time_has_come() {
        let clock = FakeClock::manual(Timestamp(0));
        let sleeper = {
            let clock = Arc::clone(&clock);
            tokio::spawn(async move { clock.sleep(Duration::from_secs(2)).await })
        };
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("the sleeper wakes");
    }
}
