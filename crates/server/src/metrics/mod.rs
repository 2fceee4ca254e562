//! `/metrics`: metrics of pipelines, journals, HTTP and the process, for Prometheus.
//!
//! One encoder, two formats: OpenMetrics on request, the classic text format otherwise.

mod classic;
mod http;
mod journals;
mod pipelines;
mod process;

use std::fmt;

use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use forebay_core::Error;
use forebay_core::timing::Timing;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::answer::{Refusal, text};
use crate::state::State;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn metrics(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let open = accepts.is_some_and(|value| value.contains("application/openmetrics-text"));
    match encoded(&state) {
        Ok(body) if open => text(OPEN_METRICS, body),
        Ok(body) => text(CLASSIC, classic::of(&body)),
        Err(error) => {
            let bug = Error::bug("metrics", "failed to write the metrics").with_source(error);
            Refusal(bug).into_response()
        }
    }
}

fn encoded(state: &State) -> Result<String, fmt::Error> {
    let mut own = Registry::with_prefix("forebay");
    own.register_collector(Box::new(http::Collected(state.clone())));
    own.register_collector(Box::new(pipelines::Collected(state.clone())));
    own.register_collector(Box::new(journals::Collected(state.clone())));
    // The names that every process has in Prometheus have no prefix.
    let mut common = Registry::default();
    common.register_collector(Box::new(process::Collected));
    let mut body = String::new();
    encode_registry(&mut body, &own)?;
    encode_registry(&mut body, &common)?;
    encode_eof(&mut body)?;
    Ok(body)
}

/// Name and help of a metric.
#[derive(Debug, Clone, Copy)]
struct Named(&'static str, &'static str);

/// One sample with its labels.
type Sample<L, V> = (L, V);

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    Named(name, help): Named,
    samples: impl IntoIterator<Item = Sample<L, u64>>,
) -> fmt::Result {
    let samples = samples.into_iter();
    each(
        encoder,
        (name, help, MetricType::Counter),
        samples,
        |n, m| m.encode_counter::<NoLabelSet, _, u64>(&n, None),
    )
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    Named(name, help): Named,
    samples: impl IntoIterator<Item = Sample<L, f64>>,
) -> fmt::Result {
    let samples = samples.into_iter();
    each(encoder, (name, help, MetricType::Gauge), samples, |n, m| {
        m.encode_gauge(&n)
    })
}

fn histograms<'t, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    Named(name, help): Named,
    samples: impl IntoIterator<Item = Sample<L, &'t Timing>>,
) -> fmt::Result {
    let samples = samples.into_iter();
    let kind = (name, help, MetricType::Histogram);
    each(encoder, kind, samples, |timing, m| {
        let all = timing.measured();
        m.encode_histogram::<NoLabelSet>(all.sum_seconds, all.count, &all.buckets, None)
    })
}

/// Metrics without labels, such as those of the process.
fn gauge(encoder: &mut DescriptorEncoder<'_>, Named(name, help): Named, value: f64) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    metric.encode_gauge(&value)
}

/// A metric without a sample is left out.
fn each<L: EncodeLabelSet, V>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    samples: impl Iterator<Item = Sample<L, V>>,
    write: impl Fn(V, &mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        write(value, &mut metric.encode_family(&labels)?)?;
    }
    Ok(())
}
