//! `checks:` of a pipeline file: statements over the tables that must give no row before a run is published.

use std::collections::BTreeMap;

use forebay_config::Document;
use forebay_core::{Error, Ident, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Build;
use super::components::{ConfiguredSource, ConfiguredTarget};

/// Checks of one pipeline; each reads tables at the end of every run.
const CHECKS_MAX: usize = 100;

/// What must hold before rows are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: Ident,
    /// One `SELECT`, of the rows that are wrong.
    pub sql: String,
    pub severity: Severity,
}

/// The consequence of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The run fails, and nothing of it is published.
    #[default]
    Error,
    /// A warning; the run is published.
    Warn,
}

/// `checks:` in a pipeline file: statements by name.
pub(super) type ChecksSpec = BTreeMap<String, CheckConfig>;

/// The statement, alone or with settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum CheckConfig {
    Statement(String),
    Settings(CheckSettings),
}

/// A statement over tables of the lake that gives the rows that are wrong.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckSettings {
    /// One `SELECT`. It passes when it gives no row.
    sql: String,
    /// What a row does.
    #[serde(default)]
    severity: Severity,
}

impl From<CheckConfig> for CheckSettings {
    fn from(config: CheckConfig) -> Self {
        match config {
            CheckConfig::Settings(settings) => settings,
            CheckConfig::Statement(sql) => Self {
                sql,
                severity: Severity::default(),
            },
        }
    }
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
        }
    }
}

impl Build<'_> {
    /// Outer `None`: a check is invalid.
    pub(super) fn build_checks(&mut self) -> Option<Vec<Check>> {
        let Some(all) = self.document.get("checks") else {
            return Some(Vec::new());
        };
        let configured = self.part("checks", |document| {
            let checks: ChecksSpec = document.parse()?;
            if checks.len() > CHECKS_MAX {
                let what = format!("more than {CHECKS_MAX} checks");
                return Err(document.error("too_many_checks", what));
            }
            Ok(checks)
        })?;
        let checks = configured.into_iter().map(|(name, config)| {
            let place = all.get(&name)?;
            let made = self.build_check(&name, config.into(), &place);
            self.made(&place, made)
        });
        checks.collect::<Vec<_>>().into_iter().collect()
    }

    fn build_check(&self, name: &str, settings: CheckSettings, place: &Document) -> Result<Check> {
        let text = place.get("sql").unwrap_or_else(|| place.clone());
        self.engine
            .named_tables(&settings.sql)
            .map_err(|error| text.sql_error(&error))?;
        Ok(Check {
            name: name.parse()?,
            sql: settings.sql,
            severity: settings.severity,
        })
    }

    /// A load is checked on a branch: targets outside of the lake have none, and the journal of pushes waits for `main`.
    pub(super) fn check_publishable(
        &mut self,
        source: Option<&ConfiguredSource>,
        load: Option<&ConfiguredTarget>,
    ) {
        if source.is_some_and(|source| source.push().is_some()) {
            self.part("checks", |document| {
                let what = "pushes wait in their journal until `main` has them, which a failed check would fill";
                let hint = "load them without `checks`, and check a table that is made of theirs with `source: {table: …}` or `{query: …}`";
                Err::<(), Error>(document.error("checks_of_pushes", what).with_hint(hint))
            });
        }
        let Some(target) = load.filter(|target| target.lake().is_none()) else {
            return;
        };
        let what = format!(
            "{} is outside of the lake, so its rows cannot be checked before they are published",
            target.describe()
        );
        self.part("checks", |document| {
            let hint =
                "load into the lake, and from there into the target with `source: {table: …}`";
            Err::<(), Error>(document.error("checks_need_lake", what).with_hint(hint))
        });
    }
}

/// The warning for a pipeline that `forebay serve` would follow without end.
pub(super) fn warn_of_missing_schedule(name: &Ident, source: &ConfiguredSource) -> Option<String> {
    source.capabilities().is_continuous.then(|| {
        format!(
            "{name}: `checks` are made at the end of a run, and `forebay serve` follows the source without end: give the pipeline a `schedule`; \
             without one only `forebay run` runs it"
        )
    })
}
