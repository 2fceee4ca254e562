//! The log, on stderr: text for people, one JSON object a line for machines.
//!
//! Nobody who sends something can forge a line or colour a terminal: control characters are escaped in both.

mod json;
mod text;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use forebay_core::SystemClock;
use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{self, Settings, variable};

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line: time, level, target, message, fields, span (the run, the commit).
    Json,
}

/// Whether machines read what is said.
static IS_JSON: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// What the command line says about the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) format: Option<Format>,
    pub(crate) verbose: u8,
    pub(crate) project: &'a Path,
}

/// Begins the log of this process: the command line goes over the environment, that over `[log]` of `forebay.toml`.
pub(crate) fn start(wanted: Wanted<'_>) {
    let settings = settings(wanted.project);
    let format = wanted.format.unwrap_or(settings.format);
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
    let filter = filter(wanted.verbose, format, settings.level.as_deref());
    match format {
        Format::Text => text::subscriber(filter, wanted.verbose > 1).init(),
        Format::Json => tracing_subscriber::registry()
            .with(filter)
            .with(json::Lines::new(SystemClock::shared(), std::io::stderr))
            .init(),
    }
}

/// A file that is wrong is told by the command that reads it, in text.
fn settings(project: &Path) -> settings::Log {
    Settings::load(project).map_or_else(|_| settings::Log::default(), |settings| settings.log)
}

/// `-v` shows what Forebay does, `-vv` also what its libraries do; `FOREBAY_LOG` says it in detail.
fn filter(verbose: u8, format: Format, level: Option<&str>) -> EnvFilter {
    let default = match (verbose, format) {
        (0, Format::Text) => "warn",
        (0, Format::Json) => "warn,forebay=info",
        (1, _) => "info,forebay=debug",
        _ => "debug",
    };
    let detailed = variable("FOREBAY_LOG");
    let detailed = detailed.as_deref().or(level.filter(|_| verbose == 0));
    detailed
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default))
}
