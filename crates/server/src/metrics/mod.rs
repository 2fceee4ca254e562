//! `/metrics`: metrics of pipelines, journals, HTTP and the process, for Prometheus.
//!
//! One encoder, two formats: OpenMetrics on request, the classic text format otherwise.

mod classic;
mod family;
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
use prometheus_client::registry::Registry;

use crate::answer::{Refusal, text};
use crate::state::State;

pub use family::{MetricFamily, MetricKind};

/// Prefix of the names of our own metrics.
const PREFIX: &str = "forebay";

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
    let mut own = Registry::with_prefix(PREFIX);
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

/// Every family of `/metrics`, in the order of the reference.
pub fn metric_families() -> impl Iterator<Item = MetricFamily> {
    let own = [
        pipelines::families(),
        journals::FAMILIES.to_vec(),
        http::FAMILIES.to_vec(),
    ];
    let own = own.into_iter().flatten();
    own.chain(process::FAMILIES.iter().copied())
}

/// One sample with its labels.
type Sample<L, V> = (L, V);

fn counters<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    samples: impl IntoIterator<Item = Sample<L, u64>>,
) -> fmt::Result {
    each(encoder, family, samples.into_iter(), |n, m| {
        m.encode_counter::<NoLabelSet, _, u64>(&n, None)
    })
}

fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    samples: impl IntoIterator<Item = Sample<L, f64>>,
) -> fmt::Result {
    each(encoder, family, samples.into_iter(), |n, m| {
        m.encode_gauge(&n)
    })
}

fn histograms<'t, L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    samples: impl IntoIterator<Item = Sample<L, &'t Timing>>,
) -> fmt::Result {
    each(encoder, family, samples.into_iter(), |timing, m| {
        let all = timing.measured();
        m.encode_histogram::<NoLabelSet>(all.sum_seconds, all.count, &all.buckets, None)
    })
}

/// Metrics without labels, such as those of the process.
fn gauge(encoder: &mut DescriptorEncoder<'_>, family: &MetricFamily, value: f64) -> fmt::Result {
    begin(encoder, family)?.encode_gauge(&value)
}

/// A metric without a sample is left out.
fn each<L: EncodeLabelSet, V>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &MetricFamily,
    samples: impl Iterator<Item = Sample<L, V>>,
    write: impl Fn(V, &mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut metric = begin(encoder, family)?;
    for (labels, value) in samples {
        write(value, &mut metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn begin<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    family: &MetricFamily,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    let kind = family.kind.of_prometheus();
    encoder.encode_descriptor(family.name, family.help, None, kind)
}
