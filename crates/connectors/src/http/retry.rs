//! Classifies a status, and computes the wait before the next attempt.
//!
//! Pure: a status and headers in, a verdict out. The waits are full jitter under an exponential ceiling, unless the
//! server requests a wait.

use std::time::Duration;

use backon::BackoffBuilder;
use chrono::{DateTime, NaiveDateTime};
use forebay_core::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::config::Retry;

/// Ceiling of the first wait.
const DELAY_MIN: Duration = Duration::from_millis(500);

/// Error code for a page that is not found.
pub(super) const SOURCE_NOT_FOUND: &str = "source_not_found";

/// The verdict on a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The body is a page.
    Take,
    /// A page without records.
    Empty,
    Redirect,
    /// Transient.
    Retry,
    /// Unauthorized or forbidden.
    Denied,
    /// Not found.
    Missing,
    /// A partial or unexpected response.
    Unexpected,
    /// The request is wrong.
    Wrong,
}

pub(super) fn verdict(status: u16) -> Verdict {
    match status {
        200 | 201 | 203 => Verdict::Take,
        204 | 205 => Verdict::Empty,
        301 | 302 | 303 | 307 | 308 => Verdict::Redirect,
        401 | 403 | 407 => Verdict::Denied,
        404 | 410 => Verdict::Missing,
        // 501 and 505 mean that the server will never support this.
        408 | 425 | 429 | 500 | 502..=504 | 506..=599 => Verdict::Retry,
        400..=599 => Verdict::Wrong,
        _ => Verdict::Unexpected,
    }
}

/// `Retry-After`: seconds or an HTTP date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = seconds(text) {
        return Some(seconds);
    }
    Some(http_date(text)?.since(now))
}

/// The wait requested by a server that reports "0 requests remaining": `X-RateLimit-*`, `X-Rate-Limit-*`, `RateLimit-*`
/// and `RateLimit: …;r=0;t=30`. A reset of over 10^9 is a time in seconds since 1970, over 10^12 in milliseconds, and
/// less is seconds from now.
pub(super) fn exhausted(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    for prefix in ["x-ratelimit", "x-rate-limit", "ratelimit"] {
        let Some(remaining) = text(&format!("{prefix}-remaining")) else {
            continue;
        };
        let reset = text(&format!("{prefix}-reset"))?;
        return (number(remaining)? <= 0.0)
            .then(|| until(reset, now))
            .flatten();
    }
    let draft = text("ratelimit")?;
    let value = |key: &str| {
        draft
            .split([';', ','])
            .filter_map(|part| part.trim().split_once('='))
            .find(|(k, _)| *k == key)
    };
    let (_, remaining) = value("r")?;
    (number(remaining)? <= 0.0)
        .then(|| seconds(value("t")?.1))
        .flatten()
}

fn until(reset: &str, now: Timestamp) -> Option<Duration> {
    let Some(value) = number(reset) else {
        return Some(Timestamp::parse(reset)?.since(now));
    };
    let now = now.micros() as f64 / 1e6;
    let wait = if value > 1e12 {
        value / 1e3 - now
    } else if value > 1e9 {
        value - now
    } else {
        value
    };
    Duration::try_from_secs_f64(wait.max(0.0)).ok()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(number(text)?).ok()
}

/// The three forms of RFC 9110.
fn http_date(text: &str) -> Option<Timestamp> {
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(Timestamp(date.timestamp_micros()));
    }
    let old = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let date = old
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    Some(Timestamp(date.and_utc().timestamp_micros()))
}

/// The waits of one request.
#[derive(Debug)]
pub(super) struct Waits {
    ceilings: backon::ExponentialBackoff,
    random: StdRng,
    total: Duration,
    spent: Duration,
}

impl Waits {
    pub(super) fn new(retry: &Retry, seed: u64) -> Self {
        // The crate's own jitter is between one and two ceilings; ours is below one, so that many clients spread out.
        let ceilings = backon::ExponentialBuilder::new()
            .with_min_delay(DELAY_MIN.min(retry.max_delay.0))
            .with_max_delay(retry.max_delay.0)
            .with_max_times(retry.attempts.saturating_sub(1) as usize)
            .build();
        Self {
            ceilings,
            random: StdRng::seed_from_u64(seed),
            total: retry.total.0,
            spent: Duration::ZERO,
        }
    }

    /// The wait before the next attempt; `None` when there is none. `asked` is the wait requested by the server.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let ceiling = self.ceilings.next()?;
        let wait = match asked {
            // A little later than requested, to spread out clients.
            Some(asked) => asked + DELAY_MIN.mul_f64(self.random.random()),
            None => ceiling.mul_f64(self.random.random()),
        };
        self.spent = self.spent.checked_add(wait)?;
        (self.spent <= self.total).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use forebay_core::unit::Span;
    use proptest::prelude::*;
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    /// 1994-11-06T08:49:00Z.
    const NOW: Timestamp = Timestamp(784_111_740_000_000);

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (text, expected) in [
            ("37", Some(37)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("1e300", None),
        ] {
            let found = retry_after(&headers(&[("retry-after", text)]), NOW);
            assert_eq!(found, expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn an_exhausted_budget_is_read_from_the_headers() {
        for (pairs, expected) in [
            (
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "12")][..],
                Some(12),
            ),
            (
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")],
                Some(12),
            ),
            (
                &[
                    ("x-rate-limit-remaining", "0"),
                    ("x-rate-limit-reset", "1994-11-06T08:49:12Z"),
                ],
                Some(12),
            ),
            (&[("ratelimit", "\"default\";r=0;t=12")], Some(12)),
            (&[("ratelimit", "\"default\";r=3;t=12")], None),
            (
                &[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "12")],
                None,
            ),
            (&[("x-ratelimit-remaining", "0")], None),
            (
                &[
                    ("x-ratelimit-remaining", "none"),
                    ("x-ratelimit-reset", "12"),
                ],
                None,
            ),
        ] {
            assert_eq!(
                exhausted(&headers(pairs), NOW),
                expected.map(Duration::from_secs),
                "{pairs:?}"
            );
        }
        let now = Timestamp(1_767_225_600_000_000);
        for (reset, wait) in [("1767225612", 12), ("1767225612000", 12), ("1767225000", 0)] {
            let pairs = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", reset)];
            assert_eq!(
                exhausted(&headers(&pairs), now),
                Some(Duration::from_secs(wait))
            );
        }
    }

    proptest! {
        #[test]
        fn waits_are_bounded_each_and_together(
            seed: u64, attempts in 1_u32..12, max_ms in 1_u64..5_000, total_ms in 1_u64..20_000,
            asked in prop::collection::vec(prop::option::of(0_u64..4_000), 12)
        ) {
            let span = |ms| Span(Duration::from_millis(ms));
            let mut waits = Waits::new(&Retry { attempts, max_delay: span(max_ms), total: span(total_ms) }, seed);
            let mut spent = Duration::ZERO;
            let mut count = 0;
            for asked in asked {
                let asked = asked.map(Duration::from_millis);
                let Some(wait) = waits.next(asked) else { break };
                match asked {
                    Some(asked) => prop_assert!(wait >= asked),
                    None => prop_assert!(wait <= Duration::from_millis(max_ms)),
                }
                spent += wait;
                count += 1;
            }
            prop_assert!(spent <= Duration::from_millis(total_ms));
            prop_assert!(count < attempts);
        }
    }
}
