//! The start-up message of `forebay serve`: every pipeline with its schedule, or its URL for pushes.

use forebay_control::orchestrate::Registry;
use forebay_pipeline::spec::PipelineSpec;

use crate::say;

/// Pipelines that are named; more are counted.
const LISTED_MAX: usize = 100;

pub(super) fn say(registry: &Registry, url: &str) {
    let all = registry.all();
    let width = all.iter().map(|status| status.pipeline.as_str().len());
    let width = width.max().unwrap_or_default();
    for status in all.iter().take(LISTED_MAX) {
        let name = status.pipeline.as_str();
        say::line(format_args!("  {name:width$}  {}", when(&status.spec, url)));
    }
    if all.len() > LISTED_MAX {
        say::line(format_args!("  and {} more", all.len() - LISTED_MAX));
    }
    if all.is_empty() {
        say::line("  no pipelines yet: add files to pipelines/, they are loaded automatically");
    }
    say::line(format_args!("  status page {url}/"));
}

fn when(spec: &PipelineSpec, url: &str) -> String {
    if spec.source.push().is_some() {
        return format!("POST {url}/v1/ingest/{}", spec.name);
    }
    match &spec.schedule {
        Some(schedule) => format!("every {}", schedule.every),
        None if spec.is_continuous() => "continuous".to_owned(),
        None => "manual: forebay run".to_owned(),
    }
}
