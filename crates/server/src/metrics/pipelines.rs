//! Counters and state of each pipeline.

use std::fmt;

use forebay_control::orchestrate::{Phase, Status};
use forebay_core::Timestamp;
use forebay_pipeline::engine::Figures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{MetricFamily, counters, gauge, gauges, histograms};
use crate::state::State;

const PIPELINE: &[&str] = &["pipeline"];

type Read<T> = fn(&Status) -> T;

const COUNTERS: &[(MetricFamily, Read<u64>)] = &[
    (
        MetricFamily::counter(
            "pipeline_source_bytes",
            PIPELINE,
            "Bytes read from the source",
        ),
        |s| s.figures.source.bytes(),
    ),
    (
        MetricFamily::counter(
            "pipeline_payloads",
            PIPELINE,
            "Payloads read from the source",
        ),
        |s| Figures::get(&s.figures.payloads),
    ),
    (
        MetricFamily::counter("pipeline_requests", PIPELINE, "Requests to the source"),
        |s| Figures::get(&s.figures.requests),
    ),
    (
        MetricFamily::counter(
            "pipeline_retries",
            PIPELINE,
            "Requests to the source that were retried",
        ),
        |s| Figures::get(&s.figures.retries),
    ),
    (
        MetricFamily::counter("pipeline_extracted_rows", PIPELINE, "Rows extracted"),
        |s| s.figures.extract.rows(),
    ),
    (
        MetricFamily::counter(
            "pipeline_committed_rows",
            PIPELINE,
            "Rows that commits have made visible",
        ),
        |s| Figures::get(&s.figures.committed),
    ),
    (
        MetricFamily::counter(
            "pipeline_quarantined_records",
            PIPELINE,
            "Records that went to quarantine",
        ),
        |s| Figures::get(&s.figures.quarantined),
    ),
    (
        MetricFamily::counter("pipeline_commits", PIPELINE, "Commits"),
        |s| Figures::get(&s.figures.commits),
    ),
    (
        MetricFamily::counter("pipeline_runs", PIPELINE, "Runs that ended"),
        |s| s.runs,
    ),
    (
        MetricFamily::counter("pipeline_failures", PIPELINE, "Runs that failed"),
        |s| s.failures,
    ),
    (
        MetricFamily::counter(
            "pipeline_changes",
            PIPELINE,
            "Pipeline file changes applied",
        ),
        |s| s.changes,
    ),
];

const GAUGES: &[(MetricFamily, Read<Option<f64>>)] = &[
    (
        MetricFamily::gauge(
            "pipeline_up",
            PIPELINE,
            "1 while the pipeline runs or waits for its schedule, 0 when its last run failed",
        ),
        |s| Some(flag(s.phase != Phase::Failed)),
    ),
    (
        MetricFamily::gauge(
            "pipeline_broken",
            PIPELINE,
            "1 while its file is invalid and an older version is in use",
        ),
        |s| Some(flag(s.broken.is_some())),
    ),
    (
        MetricFamily::gauge(
            "pipeline_splits",
            PIPELINE,
            "Splits assigned to this process",
        ),
        |s| Some(Figures::get(&s.figures.splits) as f64),
    ),
    (
        MetricFamily::gauge(
            "pipeline_last_commit_timestamp_seconds",
            PIPELINE,
            "When it last committed, in seconds since 1970",
        ),
        |s| s.figures.committed_at().map(seconds),
    ),
    (
        MetricFamily::gauge(
            "pipeline_last_success_timestamp_seconds",
            PIPELINE,
            "When it last committed or a run succeeded, in seconds since 1970",
        ),
        |s| s.figures.committed_at().max(s.succeeded_at).map(seconds),
    ),
];

const STATE: MetricFamily = MetricFamily::gauge(
    "pipeline_state",
    &["pipeline", "state"],
    "1 for the state that the pipeline is in",
);
const COMMIT_DURATION: MetricFamily = MetricFamily::histogram(
    "pipeline_commit_duration_seconds",
    PIPELINE,
    "Time of a commit, files written before it not counted",
);
const BROKEN_FILES: MetricFamily =
    MetricFamily::gauge("broken_files", &[], "Pipeline files that were never valid");

/// The families that are collected here.
pub(super) fn families() -> Vec<MetricFamily> {
    let counters = COUNTERS.iter().map(|(family, _)| *family);
    let gauges = GAUGES.iter().map(|(family, _)| *family);
    let others = [STATE, COMMIT_DURATION, BROKEN_FILES];
    counters.chain(gauges).chain(others).collect()
}

const PHASES: [(Phase, &str); 5] = [
    (Phase::Running, "running"),
    (Phase::Waiting, "waiting"),
    (Phase::Failed, "failed"),
    (Phase::Manual, "manual"),
    (Phase::Stopped, "stopped"),
];

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds(at: Timestamp) -> f64 {
    at.micros() as f64 / 1e6
}

/// Reads the metrics of every pipeline on each scrape.
#[derive(Debug)]
pub(super) struct Collected(pub(super) State);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.registry().all();
        let label = |status: &Status| [("pipeline", status.pipeline.as_str().to_owned())];
        for (family, read) in COUNTERS {
            let samples = all.iter().map(|status| (label(status), read(status)));
            counters(&mut encoder, family, samples)?;
        }
        for (family, read) in GAUGES {
            let samples = all.iter();
            let samples = samples.filter_map(|status| Some((label(status), read(status)?)));
            gauges(&mut encoder, family, samples)?;
        }
        let phases = all.iter().flat_map(|status| {
            PHASES.iter().map(|(phase, name)| {
                let [label] = label(status);
                let labels = [label, ("state", (*name).to_owned())];
                (labels, flag(status.phase == *phase))
            })
        });
        gauges(&mut encoder, &STATE, phases)?;
        let commits = all.iter();
        let commits = commits.map(|status| (label(status), &status.figures.commit));
        histograms(&mut encoder, &COMMIT_DURATION, commits)?;
        let broken = self.0.registry().broken().len() as f64;
        gauge(&mut encoder, &BROKEN_FILES, broken)
    }
}
