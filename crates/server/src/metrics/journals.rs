//! The journals of pushes: their backlog, and the latency of the disk or the storage.

use std::fmt;

use forebay_core::Ident;
use forebay_journal::Journal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Named, counters, gauges, histograms};
use crate::state::State;

#[derive(Debug)]
pub(super) struct Collected(pub(super) State);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let journals = self.0.journals();
        let all = journals.all();
        let now = self.0.clock().now();
        let label = |(name, _): &(Ident, Journal)| [("pipeline", name.as_str().to_owned())];
        gauges(
            &mut encoder,
            Named(
                "pipeline_backlog_bytes",
                "Bytes pushed and not committed yet",
            ),
            all.iter().map(|one| {
                let left = journals.left(&one.0);
                let bytes = left.iter().map(Journal::backlog).sum::<u64>();
                (label(one), (one.1.backlog() + bytes) as f64)
            }),
        )?;
        gauges(
            &mut encoder,
            Named(
                "pipeline_lag_seconds",
                "Age of the oldest uncommitted push, 0 without one",
            ),
            all.iter().map(|one| {
                let left = journals.left(&one.0);
                let lags = left.iter().map(|journal| journal.lag(now));
                let longest = lags.chain([one.1.lag(now)]).max();
                (label(one), longest.unwrap_or_default().as_secs_f64())
            }),
        )?;
        gauges(
            &mut encoder,
            Named(
                "journal_lost_bytes",
                "Bytes of acknowledged pushes that are missing from the journal, until the loss is accepted",
            ),
            all.iter().map(|one| {
                let left = journals.left(&one.0);
                let bytes = left.iter().map(Journal::lost_bytes).sum::<u64>() + one.1.lost_bytes();
                (label(one), bytes as f64)
            }),
        )?;
        let figures = |read: fn(&Journal) -> u64| {
            all.iter()
                .map(move |one| (label(one), read(&one.1)))
                .collect::<Vec<_>>()
        };
        counters(
            &mut encoder,
            Named("journal_records", "Records made durable"),
            figures(|journal| journal.figures().records()),
        )?;
        counters(
            &mut encoder,
            Named("journal_bytes", "Bytes made durable"),
            figures(|journal| journal.figures().bytes()),
        )?;
        counters(
            &mut encoder,
            Named(
                "journal_failures",
                "Writes or flushes that the disk or the storage refused",
            ),
            figures(|journal| journal.figures().failures()),
        )?;
        histograms(
            &mut encoder,
            Named(
                "journal_fsync_duration_seconds",
                "Time of one flush to the disk, or PUT to the storage, which many pushes share",
            ),
            all.iter().map(|one| (label(one), &one.1.figures().flush)),
        )
    }
}
