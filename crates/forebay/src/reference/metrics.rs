//! The page about metrics.

use forebay_server::{MetricFamily, metric_families};

use super::{Page, table};

pub(super) fn page() -> Page {
    let row = |family: MetricFamily| {
        let labels = family.labels.iter().map(|label| format!("`{label}`"));
        let labels: Vec<String> = labels.collect();
        vec![
            format!("`{}`", family.full_name()),
            family.kind.as_str().to_owned(),
            labels.join(", "),
            format!("{}.", family.help),
        ]
    };
    let families = table(
        &["metric", "type", "labels", "meaning"],
        metric_families().map(row),
    );
    let body = format!(
        "`GET /metrics` of `forebay serve`, in the text format of Prometheus or in OpenMetrics. A metric without a sample is left out. A histogram has the suffixes `_bucket`, `_sum` and `_count`. [Operate](../guides/operate.md#metrics) shows which to alert on.\n\n{families}"
    );
    Page::new("metrics.md", "Metrics", &body)
}
