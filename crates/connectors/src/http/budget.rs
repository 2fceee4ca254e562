//! The request budget: limits the rate and concurrency of a source's requests before the server has to.
//!
//! One budget serves every reader of a source. It never sends anything and never retries: it only decides when the next
//! request may be sent.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::Clock;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::config::{Rate, Window};

/// A permit for one request in flight; released when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _slot: OwnedSemaphorePermit,
    /// How long the request waited for the budget.
    pub(super) waited: Duration,
}

#[derive(Debug)]
pub(super) struct Budget {
    slots: Arc<Semaphore>,
    rate: Option<Rate>,
    /// Held while waiting, so that requests are sent in order of arrival.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Monotonic times of the last requests, at most as many as the rate allows in a window (sliding).
    sent: VecDeque<Duration>,
    /// The current window of the wall clock, and its count (fixed).
    window: i64,
    count: u32,
    /// The server reported an exhausted limit until then (monotonic).
    closed_until: Duration,
}

impl Budget {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let concurrency = rate.as_ref().map_or(1, |rate| rate.concurrency);
        Self {
            slots: Arc::new(Semaphore::new(concurrency)),
            rate,
            state: Mutex::default(),
        }
    }

    /// How many requests may be in flight.
    pub(super) fn concurrency(&self) -> usize {
        self.rate.as_ref().map_or(1, |rate| rate.concurrency)
    }

    /// Waits until a request may be sent, and counts it.
    pub(super) async fn acquire(&self, clock: &Arc<dyn Clock>) -> Permit {
        let start = clock.monotonic();
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .expect("the budget's semaphore is never closed");
        let mut state = self.state.lock().await;
        while let Some(wait) = state.wait(self.rate.as_ref(), clock.as_ref()) {
            clock.sleep(wait).await;
        }
        Permit {
            _slot: slot,
            waited: clock.monotonic().saturating_sub(start),
        }
    }

    /// Blocks requests for `wait`: the server's limit is exhausted until then.
    pub(super) async fn close_for(&self, wait: Duration, clock: &Arc<dyn Clock>) {
        let until = clock.monotonic() + wait;
        let mut state = self.state.lock().await;
        state.closed_until = state.closed_until.max(until);
    }
}

impl State {
    /// `None` when the request may be sent now, which also counts it; else how long to wait before the next check.
    fn wait(&mut self, rate: Option<&Rate>, clock: &dyn Clock) -> Option<Duration> {
        let now = clock.monotonic();
        if now < self.closed_until {
            return Some(self.closed_until - now);
        }
        match rate {
            None => None,
            Some(rate) if rate.window == Window::Sliding => self.wait_sliding(rate, now),
            Some(rate) => self.wait_fixed(rate, clock.now().micros()),
        }
    }

    fn wait_sliding(&mut self, rate: &Rate, now: Duration) -> Option<Duration> {
        while self
            .sent
            .front()
            .is_some_and(|sent| *sent + rate.per.0 <= now)
        {
            self.sent.pop_front();
        }
        if self.sent.len() >= rate.requests as usize {
            return self.sent.front().map(|sent| *sent + rate.per.0 - now);
        }
        self.sent.push_back(now);
        None
    }

    /// Windows begin at multiples of their length since 1970, as servers count them. If the wall clock steps back, no
    /// window is granted twice: counting continues.
    fn wait_fixed(&mut self, rate: &Rate, now_us: i64) -> Option<Duration> {
        let length = i64::try_from(rate.per.0.as_micros())
            .unwrap_or(i64::MAX)
            .max(1);
        let window = now_us.div_euclid(length);
        if window > self.window || self.count == 0 {
            (self.window, self.count) = (window, 0);
        }
        if self.count >= rate.requests {
            // After the clock stepped back the old window may be far ahead: wait only for the end of the current window.
            let rest = length - now_us.rem_euclid(length);
            if window < self.window {
                (self.window, self.count) = (window, rate.requests);
            }
            return Some(Duration::from_micros(u64::try_from(rest).unwrap_or(0)));
        }
        self.count += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use forebay_core::Timestamp;
    use forebay_core::unit::Span;
    use forebay_testkit::FakeClock;
    use proptest::prelude::*;

    use super::*;

    fn rate(requests: u32, per_ms: u64, window: Window, concurrency: usize) -> Rate {
        Rate {
            requests,
            per: Span(Duration::from_millis(per_ms)),
            window,
            concurrency,
        }
    }

    /// When each of a series of requests was sent, given the pause before each.
    fn run(rate: &Rate, start_us: i64, pauses_ms: &[u64]) -> Vec<i64> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let clock: Arc<dyn Clock> = FakeClock::auto(Timestamp(start_us));
            let budget = Budget::new(Some(rate.clone()));
            let mut sent = Vec::new();
            for pause in pauses_ms {
                clock.sleep(Duration::from_millis(*pause)).await;
                let _permit = budget.acquire(&clock).await;
                sent.push(clock.now().micros());
            }
            sent
        })
    }

    proptest! {
        #[test]
        fn a_sliding_window_never_holds_more_than_allowed(
            requests in 1_u32..6, per in 1_u64..50, pauses in prop::collection::vec(0_u64..30, 1..60)
        ) {
            let sent = run(&rate(requests, per, Window::Sliding, 1), 7, &pauses);
            for pair in sent.windows(requests as usize + 1) {
                prop_assert!(pair[requests as usize] - pair[0] >= per as i64 * 1_000, "{sent:?}");
            }
        }

        #[test]
        fn a_fixed_window_never_holds_more_than_allowed(
            requests in 1_u32..6, per in 1_u64..50, start in 0_i64..1_000_000,
            pauses in prop::collection::vec(0_u64..30, 1..60)
        ) {
            let sent = run(&rate(requests, per, Window::Fixed, 1), start, &pauses);
            let mut counts = std::collections::HashMap::<i64, u32>::new();
            for at in &sent {
                *counts.entry(at.div_euclid(per as i64 * 1_000)).or_default() += 1;
            }
            prop_assert!(counts.values().all(|count| *count <= requests), "{counts:?}");
        }

        #[test]
        fn no_request_waits_without_need(requests in 1_u32..6, per in 1_u64..50) {
            let free = vec![per; 20];
            let sent = run(&rate(requests, per, Window::Sliding, 1), 0, &free);
            prop_assert_eq!(sent, (1..=20).map(|n| n * per as i64 * 1_000).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn windows_are_aligned_and_survive_a_clock_that_goes_back() {
        let fake = FakeClock::auto(Timestamp(900_000));
        let clock: Arc<dyn Clock> = fake.clone();
        let budget = Budget::new(Some(rate(2, 1_000, Window::Fixed, 1)));
        for expected in [900, 900, 1_000, 1_000, 2_000] {
            let permit = budget.acquire(&clock).await;
            assert_eq!(clock.monotonic(), Duration::from_millis(expected - 900));
            drop(permit);
        }
        fake.skew(-3_600_000_000);
        let before = clock.monotonic();
        for _ in 0..3 {
            budget.acquire(&clock).await;
        }
        assert!(
            clock.monotonic() - before <= Duration::from_secs(2),
            "an hour back must not stop us for an hour"
        );
    }

    #[tokio::test]
    async fn a_server_that_has_nothing_left_is_left_alone() {
        let clock: Arc<dyn Clock> = FakeClock::auto(Timestamp(0));
        let budget = Budget::new(None);
        budget.close_for(Duration::from_secs(30), &clock).await;
        assert_eq!(budget.acquire(&clock).await.waited, Duration::from_secs(30));
        assert_eq!(budget.acquire(&clock).await.waited, Duration::ZERO);
    }

    #[tokio::test]
    async fn concurrency_is_bounded() {
        let clock: Arc<dyn Clock> = FakeClock::auto(Timestamp(0));
        let budget = Arc::new(Budget::new(Some(rate(1_000, 1, Window::Sliding, 3))));
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let budget = Arc::clone(&budget);
            let clock = Arc::clone(&clock);
            let running = Arc::clone(&running);
            let most = Arc::clone(&most);
            tasks.spawn(async move {
                let _permit = budget.acquire(&clock).await;
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while tasks.join_next().await.is_some() {}
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }
}
