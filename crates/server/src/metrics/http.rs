//! Requests: how many, how they ended, how long they took.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Named, counters, gauge, histograms};
use crate::state::State;

#[derive(Debug)]
pub(super) struct Collected(pub(super) State);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let requests = self.0.requests();
        counters(
            &mut encoder,
            Named("http_requests", "Requests answered, by route and status"),
            requests.answered(),
        )?;
        histograms(
            &mut encoder,
            Named("http_request_duration_seconds", "Time to answer, by route"),
            requests.times(),
        )?;
        let help = "Bytes of bodies that are being read or made durable";
        let held = self.0.bodies().bytes() as f64;
        gauge(&mut encoder, Named("http_bodies_bytes", help), held)
    }
}
