//! `/metrics`: counters of pipelines, requests and the process, in the OpenMetrics text format.

use std::fmt;

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use forebay_control::orchestrate::{Phase, Status};
use forebay_core::Error;
use forebay_pipeline::run::Figures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::answer::{Refusal, text};
use crate::state::State;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latency buckets in seconds: 0.5 ms to 8 s.
const SECONDS: [f64; 15] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048,
    4.096, 8.192,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    path: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    path: String,
}

/// Requests answered so far.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    answered: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            answered: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
        }
    }
}

/// Counts every request under its route, never under what the caller wrote.
pub(crate) async fn count(
    Shared(state): Shared<State>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let path = path.map_or("other".to_owned(), |path| path.as_str().to_owned());
    let begun = state.clock().monotonic();
    let response = next.run(request).await;
    let took = state.clock().monotonic().saturating_sub(begun);
    let requests = state.requests();
    requests
        .seconds
        .get_or_create(&Route { path: path.clone() })
        .observe(took.as_secs_f64());
    let status = response.status().as_u16();
    requests
        .answered
        .get_or_create(&Answered { path, status })
        .inc();
    response
}

pub(crate) async fn metrics(Shared(state): Shared<State>) -> Response {
    let mut registry = Registry::with_prefix("forebay");
    let requests = state.requests();
    registry.register(
        "http_requests",
        "Requests answered",
        requests.answered.clone(),
    );
    registry.register_with_unit(
        "http_request_duration",
        "Time to answer",
        Unit::Seconds,
        requests.seconds.clone(),
    );
    registry.register_collector(Box::new(Pipelines(state.clone())));
    let mut body = String::new();
    match prometheus_client::encoding::text::encode(&mut body, &registry) {
        Ok(()) => text(OPEN_METRICS, body),
        Err(error) => {
            let bug = Error::bug("metrics", "failed to write the metrics").with_source(error);
            Refusal(bug).into_response()
        }
    }
}

/// Reads the figures of every pipeline when it is asked.
struct Pipelines(State);

impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pipelines")
    }
}

type Read = fn(&Status) -> u64;

/// Name, help and value of each counter of a pipeline.
const COUNTERS: &[(&str, &str, Read)] = &[
    (
        "pipeline_source_bytes",
        "Bytes taken from the source",
        |s| s.figures.source.bytes(),
    ),
    ("pipeline_payloads", "Payloads taken from the source", |s| {
        Figures::get(&s.figures.payloads)
    }),
    ("pipeline_requests", "Requests to the source", |s| {
        Figures::get(&s.figures.requests)
    }),
    (
        "pipeline_retries",
        "Requests to the source that were repeated",
        |s| Figures::get(&s.figures.retries),
    ),
    ("pipeline_extracted_rows", "Rows extracted", |s| {
        s.figures.extract.rows()
    }),
    (
        "pipeline_committed_rows",
        "Rows that commits have made visible",
        |s| Figures::get(&s.figures.committed),
    ),
    (
        "pipeline_quarantined_records",
        "Records that went to quarantine",
        |s| Figures::get(&s.figures.quarantined),
    ),
    ("pipeline_commits", "Commits", |s| {
        Figures::get(&s.figures.commits)
    }),
    ("pipeline_runs", "Runs that ended", |s| s.runs),
    ("pipeline_failures", "Runs that failed", |s| s.failures),
    (
        "pipeline_changes",
        "Changed files that were taken over",
        |s| s.changes,
    ),
];

/// Name, help and value of each gauge of a pipeline.
const GAUGES: &[(&str, &str, Read)] = &[
    (
        "pipeline_up",
        "1 while the pipeline works or waits for its time, 0 when its last run failed",
        |s| u64::from(s.phase != Phase::Failed),
    ),
    (
        "pipeline_broken",
        "1 while its file does not check and an older version is at work",
        |s| u64::from(s.broken.is_some()),
    ),
];

impl Collector for Pipelines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all = self.0.registry().all();
        for (name, help, read) in COUNTERS {
            each(&mut encoder, (name, help), &all, |status| {
                ConstCounter::new(read(status))
            })?;
        }
        for (name, help, read) in GAUGES {
            each(&mut encoder, (name, help), &all, |status| {
                gauge(read(status))
            })?;
        }
        let help = "Bytes pushed and not committed yet";
        let journals = self.0.journals();
        each(
            &mut encoder,
            ("pipeline_backlog_bytes", help),
            &all,
            |status| {
                let journal = journals.find(&status.pipeline);
                gauge(journal.map_or(0, |journal| journal.backlog()))
            },
        )?;
        let broken = self.0.registry().broken().len() as u64;
        gauge(broken).encode(encoder.encode_descriptor(
            "broken_files",
            "Pipeline files that have never checked",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?)
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// One sample a pipeline.
fn each<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    all: &[Status],
    value: impl Fn(&Status) -> M,
) -> Result<(), fmt::Error> {
    let Some(first) = all.first() else {
        return Ok(());
    };
    let kind = value(first).metric_type();
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for status in all {
        let label = [("pipeline", status.pipeline.as_str())];
        value(status).encode(metric.encode_family(&label)?)?;
    }
    Ok(())
}
