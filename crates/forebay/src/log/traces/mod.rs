//! Traces over OTLP, the protocol of OpenTelemetry, in its JSON encoding over HTTP.
//!
//! `request` with `append` for each push, `run` with `split`, and `commit` as a trace of its own that links to the run it belongs to: a run that
//! follows its source never ends, and a trace of months would help nobody. Spans go through a bounded queue to one thread;
//! when the collector is slow, spans are lost and pushes are not. No record is ever part of a span.

mod export;
mod json;
mod layer;

use std::sync::Arc;

use forebay_connectors::telemetry::Collector;
use forebay_core::{Clock, Result};
use serde_json::Value;

use crate::settings::Destination;

pub(crate) use export::Exporter;
pub(super) use layer::Traces;

/// Names of a span: which trace it is of, and which span of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    trace: u128,
    span: u64,
}

/// A span that has ended.
#[derive(Debug)]
struct Finished {
    place: Place,
    parent: Option<u64>,
    /// The span that this one follows from, in another trace.
    link: Option<Place>,
    name: &'static str,
    begun_us: i64,
    ended_us: i64,
    attributes: Vec<(&'static str, Value)>,
    /// Its error.
    error: Option<String>,
}

/// Begins to send traces. Errors: `Config` `bad_collector`.
pub(super) fn start(
    destination: &Destination,
    clock: Arc<dyn Clock>,
) -> Result<(Traces, Exporter)> {
    let collector = Collector::new(&destination.url, &destination.headers)?;
    let (sender, exporter) = export::start(collector, clock.clone())?;
    Ok((Traces::new(clock, sender, destination.ratio), exporter))
}
