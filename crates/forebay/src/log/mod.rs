//! The log, on stderr: text for people, one JSON object a line for machines.
//!
//! Logged data cannot forge a line, colour a terminal or turn text around: control characters and those that change the
//! direction of text are escaped in both.

mod fields;
mod json;
mod text;
mod traces;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::{Result, SystemClock};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub(crate) use traces::Exporter;

use crate::settings::{Destination, Log, LogFormat, Settings, variable};

/// Whether the log is read by machines.
static IS_JSON: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Log options of the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) format: Option<LogFormat>,
    pub(crate) verbose: u8,
    /// Whether the log is the main output of the command, as for a server.
    pub(crate) is_server: bool,
    pub(crate) project: &'a Path,
}

/// Begins the log of this process: the command line goes over the environment, that over `[log]` of `forebay.toml`. Traces
/// are sent until the exporter is dropped.
///
/// Errors: `Config` when `[otlp]` has no valid destination.
pub(crate) fn start(wanted: Wanted<'_>) -> Result<Option<Exporter>> {
    let (settings, destination) = settings(wanted.project)?;
    let format = wanted.format.unwrap_or(settings.format);
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    let filter = filter(wanted, format, settings.level.as_deref());
    let clock = SystemClock::shared();
    let sent = destination.map(|to| traces::start(&to, clock.clone()));
    let (traces, exporter) = sent.transpose()?.unzip();
    let traced = Targets::new()
        .with_target("forebay", LevelFilter::ERROR)
        .with_target(forebay_server::TRACE, LevelFilter::TRACE);
    let lines = match format {
        LogFormat::Text => text::layer(wanted.verbose > 1).with_filter(filter).boxed(),
        LogFormat::Json => json::Lines::new(clock, std::io::stderr)
            .with_filter(filter)
            .boxed(),
    };
    let traces = traces.map(|traces| traces.with_filter(traced));
    tracing_subscriber::registry()
        .with(lines)
        .with(traces)
        .init();
    Ok(exporter)
}

/// The command that reads an invalid file reports it, in text.
fn settings(project: &Path) -> Result<(Log, Option<Destination>)> {
    let settings = Settings::load(project).unwrap_or_default();
    let destination = settings.otlp.destination(&variable)?;
    Ok((settings.log, destination))
}

/// `-v` shows events of Forebay, `-vv` also of its libraries; `FOREBAY_LOG` sets levels in detail.
fn filter(wanted: Wanted<'_>, format: LogFormat, level: Option<&str>) -> EnvFilter {
    let verbose = wanted.verbose;
    let default = match (verbose, format) {
        (0, LogFormat::Text) if !wanted.is_server => "warn",
        (0, _) => "warn,forebay=info",
        (1, _) => "info,forebay=debug",
        _ => "debug",
    };
    let detailed = variable("FOREBAY_LOG");
    let detailed = detailed.as_deref().or(level.filter(|_| verbose == 0));
    detailed
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default))
}
