//! Names of requests, the caller's own or one that is made here.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderValue;
use forebay_core::Clock;

/// The header that carries a request's name, both ways.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Makes names of requests: the same nowhere else, and cheap.
#[derive(Debug)]
pub(crate) struct Ids {
    process: u64,
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        let process = clock.now().micros().cast_unsigned();
        let next = AtomicU64::new(0);
        Self { process, next }
    }

    pub(crate) fn next(&self) -> String {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:014x}-{n:08x}", self.process)
    }
}

/// A request's name.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) HeaderValue);
