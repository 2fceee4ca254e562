//! `[run]` of `forebay.toml`: how pipelines run. Their files define the rest.

use forebay_core::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// `[run]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Run {
    /// A payload at which this many processes in a row have died is quarantined; 0: never. Raise it where
    /// processes are killed often.
    pub(crate) payload_attempts: u32,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            payload_attempts: 3,
        }
    }
}

impl Run {
    pub(super) fn over_environment(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<()> {
        const NAME: &str = "FOREBAY__RUN__PAYLOAD_ATTEMPTS";
        let Some(text) = variable(NAME) else {
            return Ok(());
        };
        self.payload_attempts = text.parse().map_err(|error: std::num::ParseIntError| {
            Error::config("bad_setting", format!("invalid value for {NAME}: {text:?}"))
                .with_source(error)
        })?;
        Ok(())
    }
}
