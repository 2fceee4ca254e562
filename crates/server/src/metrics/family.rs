//! Families of metrics as data: what `/metrics` writes and the reference lists.

use prometheus_client::metrics::MetricType;

use super::PREFIX;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    pub(super) fn of_prometheus(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// Metrics of one name, which differ in their labels.
#[derive(Debug, Clone, Copy)]
pub struct MetricFamily {
    /// Without prefix and suffix.
    pub(super) name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
    /// Whether its name begins with ours; the names that every process has in Prometheus do not.
    is_own: bool,
}

impl MetricFamily {
    /// The name of its samples: `forebay_pipeline_commits_total`.
    pub fn full_name(&self) -> String {
        let suffix = match self.kind {
            MetricKind::Counter => "_total",
            MetricKind::Gauge | MetricKind::Histogram => "",
        };
        match self.is_own {
            true => format!("{PREFIX}_{}{suffix}", self.name),
            false => format!("{}{suffix}", self.name),
        }
    }

    pub(super) const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, MetricKind::Counter, labels, help)
    }

    pub(super) const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, MetricKind::Gauge, labels, help)
    }

    pub(super) const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self::new(name, MetricKind::Histogram, labels, help)
    }

    /// A family whose name every process has.
    pub(super) const fn of_process(mut self) -> Self {
        self.is_own = false;
        self
    }

    const fn new(
        name: &'static str,
        kind: MetricKind,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            labels,
            help,
            is_own: true,
        }
    }
}
