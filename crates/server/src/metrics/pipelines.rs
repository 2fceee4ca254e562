//! Counters and state of each pipeline.

use std::fmt;

use forebay_control::orchestrate::{Phase, Status};
use forebay_core::Timestamp;
use forebay_pipeline::engine::Figures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Named, counters, gauge, gauges, histograms};
use crate::state::State;

type Read<T> = fn(&Status) -> T;

const COUNTERS: &[(Named, Read<u64>)] = &[
    (
        Named("pipeline_source_bytes", "Bytes read from the source"),
        |s| s.figures.source.bytes(),
    ),
    (
        Named("pipeline_payloads", "Payloads read from the source"),
        |s| Figures::get(&s.figures.payloads),
    ),
    (Named("pipeline_requests", "Requests to the source"), |s| {
        Figures::get(&s.figures.requests)
    }),
    (
        Named(
            "pipeline_retries",
            "Requests to the source that were retried",
        ),
        |s| Figures::get(&s.figures.retries),
    ),
    (Named("pipeline_extracted_rows", "Rows extracted"), |s| {
        s.figures.extract.rows()
    }),
    (
        Named(
            "pipeline_committed_rows",
            "Rows that commits have made visible",
        ),
        |s| Figures::get(&s.figures.committed),
    ),
    (
        Named(
            "pipeline_quarantined_records",
            "Records that went to quarantine",
        ),
        |s| Figures::get(&s.figures.quarantined),
    ),
    (Named("pipeline_commits", "Commits"), |s| {
        Figures::get(&s.figures.commits)
    }),
    (Named("pipeline_runs", "Runs that ended"), |s| s.runs),
    (Named("pipeline_failures", "Runs that failed"), |s| {
        s.failures
    }),
    (
        Named("pipeline_changes", "Pipeline file changes applied"),
        |s| s.changes,
    ),
];

const GAUGES: &[(Named, Read<Option<f64>>)] = &[
    (
        Named(
            "pipeline_up",
            "1 while the pipeline runs or waits for its schedule, 0 when its last run failed",
        ),
        |s| Some(flag(s.phase != Phase::Failed)),
    ),
    (
        Named(
            "pipeline_broken",
            "1 while its file is invalid and an older version is in use",
        ),
        |s| Some(flag(s.broken.is_some())),
    ),
    (
        Named("pipeline_splits", "Splits assigned to this process"),
        |s| Some(Figures::get(&s.figures.splits) as f64),
    ),
    (
        Named(
            "pipeline_last_commit_timestamp_seconds",
            "When it last committed, in seconds since 1970",
        ),
        |s| s.figures.committed_at().map(seconds),
    ),
    (
        Named(
            "pipeline_last_success_timestamp_seconds",
            "When it last committed or a run succeeded, in seconds since 1970",
        ),
        |s| s.figures.committed_at().max(s.succeeded_at).map(seconds),
    ),
];

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
        for (named, read) in COUNTERS {
            let samples = all.iter().map(|status| (label(status), read(status)));
            counters(&mut encoder, *named, samples)?;
        }
        for (named, read) in GAUGES {
            let samples = all.iter();
            let samples = samples.filter_map(|status| Some((label(status), read(status)?)));
            gauges(&mut encoder, *named, samples)?;
        }
        let phases = all.iter().flat_map(|status| {
            PHASES.iter().map(|(phase, name)| {
                let [label] = label(status);
                let labels = [label, ("state", (*name).to_owned())];
                (labels, flag(status.phase == *phase))
            })
        });
        let help = "1 for the state that the pipeline is in";
        gauges(&mut encoder, Named("pipeline_state", help), phases)?;
        let commits = all.iter();
        let commits = commits.map(|status| (label(status), &status.figures.commit));
        let help = "Time of a commit, files written before it not counted";
        let named = Named("pipeline_commit_duration_seconds", help);
        histograms(&mut encoder, named, commits)?;
        let broken = self.0.registry().broken().len() as f64;
        let help = "Pipeline files that were never valid";
        gauge(&mut encoder, Named("broken_files", help), broken)
    }
}
