//! `[log]` and `[otlp]` of `forebay.toml`: the log on stderr, and the export of traces.

use std::collections::BTreeMap;

use clap::ValueEnum;
use forebay_core::{Error, Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::parsed;

/// How lines of the log look.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line: time, level, target, message, fields, span (the run, the commit).
    Json,
}

/// `[log]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// Format of the log; `--log` overrides it.
    pub(crate) format: LogFormat,
    /// Log level: `info`, or in detail as in `warn,forebay=debug`. Without it warnings, and in JSON also events of Forebay.
    /// `FOREBAY_LOG` and `-v` override it.
    pub(crate) level: Option<String>,
}

impl Log {
    /// `FOREBAY__LOG__LEVEL`; the format is an option of the command line with a variable of its own. Errors: `Config`
    /// `bad_log_level`.
    pub(super) fn over_environment(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<()> {
        if let Some(level) = variable("FOREBAY__LOG__LEVEL") {
            self.level = Some(level);
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        let Some(level) = &self.level else {
            return Ok(());
        };
        EnvFilter::try_new(level).map(drop).map_err(|error| {
            let what = format!("invalid `level = {level:?}` of `[log]`");
            Error::config("bad_log_level", what)
                .with_source(error)
                .with_hint("use error, warn, info, debug or trace")
        })
    }
}

/// `[otlp]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Otlp {
    /// A collector of OpenTelemetry that speaks OTLP over HTTP, such as `http://127.0.0.1:4318`; without it nothing is sent.
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` sets it too.
    pub(crate) endpoint: Option<String>,
    /// Headers of each request to it, such as credentials.
    pub(crate) headers: BTreeMap<String, Secret>,
    /// Sampling ratio of the traces that begin here, 0 to 1.
    pub(crate) ratio: f64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            ratio: 1.0,
        }
    }
}

impl Otlp {
    /// Overridden by the environment, in our names and in those of OpenTelemetry. Errors: `Config` `bad_ratio`.
    pub(crate) fn destination(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Destination>> {
        let ratio = parsed(variable, "FOREBAY__OTLP__RATIO")?.unwrap_or(self.ratio);
        if !(0.0..=1.0).contains(&ratio) {
            let what = format!("`ratio` of `[otlp]` is {ratio}; it must be 0 to 1");
            return Err(Error::config("bad_ratio", what));
        }
        let whole = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let base = variable("FOREBAY__OTLP__ENDPOINT")
            .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"))
            .or_else(|| self.endpoint.clone());
        let more = variable("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        let below = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
        let Some(url) = whole.or(base.map(below)).filter(|url| !url.is_empty()) else {
            return Ok(None);
        };
        let mut headers: Vec<(String, Secret)> = self.headers.clone().into_iter().collect();
        let pairs = more.split(',').filter_map(|pair| pair.split_once('='));
        headers.extend(pairs.map(|(name, value)| {
            let value = Secret::new(value.trim().to_owned());
            (name.trim().to_owned(), value)
        }));
        Ok(Some(Destination {
            url,
            headers,
            ratio,
        }))
    }
}

/// Where traces go, and how many of them.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// The whole address, `…/v1/traces`.
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, Secret)>,
    /// Sampling ratio of the traces that begin here, 0 to 1.
    pub(crate) ratio: f64,
}
