//! The journals of pushes: their backlog, and the latency of the disk or the storage.

use std::fmt;

use forebay_core::Ident;
use forebay_journal::Journal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{MetricFamily, counters, gauges, histograms};
use crate::state::State;

const PIPELINE: &[&str] = &["pipeline"];

const BACKLOG: MetricFamily = MetricFamily::gauge(
    "pipeline_backlog_bytes",
    PIPELINE,
    "Bytes pushed and not committed yet",
);
const LAG: MetricFamily = MetricFamily::gauge(
    "pipeline_lag_seconds",
    PIPELINE,
    "Age of the oldest uncommitted push, 0 without one",
);
const LOST: MetricFamily = MetricFamily::gauge(
    "journal_lost_bytes",
    PIPELINE,
    "Bytes of acknowledged pushes that are missing from the journal, until the loss is accepted",
);
const RECORDS: MetricFamily =
    MetricFamily::counter("journal_records", PIPELINE, "Records made durable");
const BYTES: MetricFamily = MetricFamily::counter("journal_bytes", PIPELINE, "Bytes made durable");
const FAILURES: MetricFamily = MetricFamily::counter(
    "journal_failures",
    PIPELINE,
    "Writes or flushes that the disk or the storage refused",
);
const FLUSH: MetricFamily = MetricFamily::histogram(
    "journal_fsync_duration_seconds",
    PIPELINE,
    "Time of one flush to the disk, or PUT to the storage, which many pushes share",
);

pub(super) const FAMILIES: &[MetricFamily] = &[BACKLOG, LAG, LOST, RECORDS, BYTES, FAILURES, FLUSH];

#[derive(Debug)]
pub(super) struct Collected(pub(super) State);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let journals = self.0.journals();
        let all = journals.all();
        let now = self.0.clock().now();
        let label = |(name, _): &(Ident, Journal)| [("pipeline", name.as_str().to_owned())];
        let backlogs = all.iter().map(|one| {
            let left = journals.left(&one.0);
            let bytes = left.iter().map(Journal::backlog).sum::<u64>();
            (label(one), (one.1.backlog() + bytes) as f64)
        });
        gauges(&mut encoder, &BACKLOG, backlogs)?;
        let lags = all.iter().map(|one| {
            let left = journals.left(&one.0);
            let lags = left.iter().map(|journal| journal.lag(now));
            let longest = lags.chain([one.1.lag(now)]).max();
            (label(one), longest.unwrap_or_default().as_secs_f64())
        });
        gauges(&mut encoder, &LAG, lags)?;
        let losses = all.iter().map(|one| {
            let left = journals.left(&one.0);
            let bytes = left.iter().map(Journal::lost_bytes).sum::<u64>() + one.1.lost_bytes();
            (label(one), bytes as f64)
        });
        gauges(&mut encoder, &LOST, losses)?;
        let figures = |read: fn(&Journal) -> u64| {
            all.iter()
                .map(move |one| (label(one), read(&one.1)))
                .collect::<Vec<_>>()
        };
        let records = figures(|journal| journal.figures().records());
        counters(&mut encoder, &RECORDS, records)?;
        let bytes = figures(|journal| journal.figures().bytes());
        counters(&mut encoder, &BYTES, bytes)?;
        let failures = figures(|journal| journal.figures().failures());
        counters(&mut encoder, &FAILURES, failures)?;
        let flushes = all.iter();
        let flushes = flushes.map(|one| (label(one), &one.1.figures().flush));
        histograms(&mut encoder, &FLUSH, flushes)
    }
}
