//! Requests: how many, how they ended, how long they took.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{MetricFamily, counters, gauge, histograms};
use crate::state::State;

const REQUESTS: MetricFamily = MetricFamily::counter(
    "http_requests",
    &["path", "status"],
    "Requests answered, by route and status",
);
const DURATION: MetricFamily = MetricFamily::histogram(
    "http_request_duration_seconds",
    &["path"],
    "Time to answer, by route",
);
const BODIES: MetricFamily = MetricFamily::gauge(
    "http_bodies_bytes",
    &[],
    "Bytes of bodies that are being read or made durable",
);

pub(super) const FAMILIES: &[MetricFamily] = &[REQUESTS, DURATION, BODIES];

#[derive(Debug)]
pub(super) struct Collected(pub(super) State);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let requests = self.0.requests();
        counters(&mut encoder, &REQUESTS, requests.answered())?;
        histograms(&mut encoder, &DURATION, requests.times())?;
        gauge(&mut encoder, &BODIES, self.0.bodies().bytes() as f64)
    }
}
