//! Settings of the process: `forebay.toml`, over it the environment, over it the command line.
//!
//! A setting `memory` in `[sql]` is `FOREBAY__SQL__MEMORY` in the environment. This is the only place that reads the
//! environment. Settings are data; the objects that they describe are made in [`crate::wire`].

use std::ffi::OsString;
use std::path::Path;

use forebay_core::unit::{Size, Span};
use forebay_core::{Error, Result, Secret};
use forebay_lake::storage::{AwsVariables, RETRY_FOR, S3Options};
use forebay_pipeline::file::{Document, Variables, resolve, validate};
use forebay_store::StoreUrl;
use schemars::JsonSchema;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::log::Format;

/// Name of the file, in the project's folder.
pub(crate) const FILE: &str = "forebay.toml";

/// `forebay.toml`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Where catalog, positions and runs are kept.
    pub(crate) store: Store,
    /// How queries run.
    pub(crate) sql: Sql,
    /// The HTTP server of `forebay serve`.
    pub(crate) server: Server,
    /// Where the raw zone and the tables lie.
    pub(crate) storage: Storage,
    /// What is written to stderr.
    pub(crate) log: Log,
}

/// `[log]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `json` for one object a line.
    pub(crate) format: Format,
    /// What is worth a line: `info`, or in detail as in `warn,forebay=debug`. Without it warnings, and in JSON also what Forebay
    /// does. `FOREBAY_LOG` and `-v` go over it.
    pub(crate) level: Option<String>,
}

impl Log {
    fn check(&self) -> Result<()> {
        let Some(level) = &self.level else {
            return Ok(());
        };
        EnvFilter::try_new(level).map(drop).map_err(|error| {
            let what = format!("`level = {level:?}` of `[log]` says no level");
            Error::config("bad_log_level", what)
                .with_source(error)
                .with_hint("error, warn, info, debug and trace are levels")
        })
    }
}

/// `[server]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Address and port. Beyond this machine only with `auth` on every pipeline that takes pushes.
    pub(crate) listen: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7400".to_owned(),
        }
    }
}

/// `[storage]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Storage {
    /// `s3://BUCKET/PREFIX`, or `file:///FOLDER`; the workspace's own folder when absent.
    pub(crate) url: Option<String>,
    /// How to reach the store of an `s3://` address.
    pub(crate) s3: S3Options,
    /// How long a request that fails is tried again before the run ends.
    pub(crate) retry_for: Span,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            url: None,
            s3: S3Options::default(),
            retry_for: Span(RETRY_FOR),
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// `postgres://user@host:5432/database?schema=forebay&sslmode=verify-full`, or `sqlite:PATH`. Without it the store
    /// is the file `store.db` of the workspace. A password need not stand in the file: write `${secret:NAME}` for the
    /// whole URL, set `FOREBAY__STORE__URL`, or let `PGPASSWORD` or `~/.pgpass` hold it.
    pub(crate) url: Option<Private>,
}

/// A text that is never shown, since a password may stand in it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Private(String);

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Store {
    /// `None`: the file of the workspace.
    pub(crate) fn place(&self) -> Result<Option<StoreUrl>> {
        self.url.as_ref().map(|url| url.0.parse()).transpose()
    }
}

impl Storage {
    /// `FOREBAY__STORAGE__URL`, `FOREBAY__STORAGE__RETRY_FOR`, `FOREBAY__STORAGE__S3__ENDPOINT` and so on.
    fn over_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        let text = |into: &mut Option<String>, name: &str| {
            if let Some(value) = variable(name) {
                *into = Some(value);
            }
        };
        text(&mut self.url, "FOREBAY__STORAGE__URL");
        text(&mut self.s3.endpoint, "FOREBAY__STORAGE__S3__ENDPOINT");
        text(&mut self.s3.region, "FOREBAY__STORAGE__S3__REGION");
        text(
            &mut self.s3.access_key_id,
            "FOREBAY__STORAGE__S3__ACCESS_KEY_ID",
        );
        let secret = |into: &mut Option<Secret>, name: &str| {
            if let Some(value) = variable(name) {
                *into = Some(Secret::new(value));
            }
        };
        secret(
            &mut self.s3.secret_access_key,
            "FOREBAY__STORAGE__S3__SECRET_ACCESS_KEY",
        );
        secret(
            &mut self.s3.session_token,
            "FOREBAY__STORAGE__S3__SESSION_TOKEN",
        );
        if let Some(span) = parsed(variable, "FOREBAY__STORAGE__RETRY_FOR")? {
            self.retry_for = span;
        }
        if let Some(flag) = parsed::<bool>(variable, "FOREBAY__STORAGE__S3__VIRTUAL_HOSTED")? {
            self.s3.virtual_hosted = Some(flag);
        }
        if let Some(flag) = parsed::<bool>(variable, "FOREBAY__STORAGE__S3__ALLOW_HTTP")? {
            self.s3.allow_http = Some(flag);
        }
        Ok(())
    }
}

/// A variable's value, if it is set. Errors: `Config` `bad_variable` naming it.
fn parsed<T: std::str::FromStr>(
    variable: &dyn Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<T>> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|_| Error::config("bad_variable", format!("{text:?} is no value for {name}")))
}

/// `[sql]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sql {
    /// What queries may hold in memory before they spill to disk.
    pub(crate) memory: Size,
}

impl Default for Sql {
    fn default() -> Self {
        Self {
            memory: Size(256 << 20),
        }
    }
}

impl Settings {
    /// Reads the settings of the project in `folder`; a project without a file has the defaults.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let mut settings = match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&path.display().to_string(), &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                return Err(Error::config(
                    "unreadable_settings",
                    format!("failed to read {}", path.display()),
                )
                .with_source(error));
            }
        };
        if let Some(url) = variable("FOREBAY__STORE__URL") {
            settings.store.url = Some(Private(url));
        }
        settings.store.place()?;
        settings.storage.over_environment(&variable)?;
        if let Some(memory) = variable("FOREBAY__SQL__MEMORY") {
            settings.sql.memory = memory
                .parse()
                .map_err(|error: Error| error.with_context("variable", "FOREBAY__SQL__MEMORY"))?;
        }
        if let Some(listen) = variable("FOREBAY__SERVER__LISTEN") {
            settings.server.listen = listen;
        }
        if let Some(level) = variable("FOREBAY__LOG__LEVEL") {
            settings.log.level = Some(level);
        }
        settings.log.check()?;
        Ok(settings)
    }

    fn parse(path: &str, text: &str) -> Result<Self> {
        let document = Document::from_toml(path, text)?;
        let resolved = resolve(&document, &ProcessVariables::default());
        let mut wrong = resolved.diagnostics.clone();
        if wrong.0.is_empty() {
            wrong = validate(&resolved.document, &schemars::schema_for!(Self));
        }
        if !wrong.0.is_empty() {
            return Err(Error::config("bad_settings", wrong.to_string()));
        }
        resolved.document.parse()
    }
}

/// References of pipeline files: the environment, secrets from it, and parameters of the command line.
#[derive(Debug, Default, Clone)]
pub(crate) struct ProcessVariables {
    pub(crate) params: Vec<(String, String)>,
}

impl Variables for ProcessVariables {
    fn env(&self, name: &str) -> Option<String> {
        variable(name)
    }

    /// A secret `quakes_token` is the environment's `FOREBAY_SECRET_QUAKES_TOKEN`.
    fn secret(&self, name: &str) -> Option<String> {
        variable(&format!("FOREBAY_SECRET_{}", name.to_ascii_uppercase()))
    }

    fn param(&self, name: &str) -> Option<String> {
        self.params
            .iter()
            .find(|(param, _)| param == name)
            .map(|(_, value)| value.clone())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the environment says about access to AWS and what speaks like it; each client picks what it knows.
pub(crate) fn aws_variables() -> AwsVariables {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_strict_and_have_defaults() {
        let settings = Settings::parse("forebay.toml", "").unwrap();
        assert_eq!(settings.sql.memory, Sql::default().memory);
        assert_eq!(settings.storage.url, None);
        let settings = Settings::parse("forebay.toml", "[sql]\nmemory = \"1GiB\"\n").unwrap();
        assert_eq!(settings.sql.memory, Size(1 << 30));
        let text = "[store]\nurl = \"postgres://ann:hunter2@db/lake\"\n";
        let settings = Settings::parse("forebay.toml", text).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let place = settings.store.place().unwrap().unwrap();
        assert_eq!(
            place.to_string(),
            "postgres://ann@db:5432/lake?schema=forebay"
        );
        let error = Settings::parse("forebay.toml", "[sql]\nmemori = \"1GiB\"\n").unwrap_err();
        assert!(error.to_string().contains("forebay.toml:2:1"), "{error}");
        assert!(error.to_string().contains("memory"), "{error}");
    }

    #[test]
    fn the_environment_goes_over_the_file_and_a_secret_is_a_reference() {
        let text =
            "[storage]\nurl = \"s3://a/b\"\nretry_for = \"5s\"\n[storage.s3]\nregion = \"eu\"\n";
        let mut settings = Settings::parse("forebay.toml", text).unwrap();
        let set = |name: &str| match name {
            "FOREBAY__STORAGE__URL" => Some("s3://c".to_owned()),
            "FOREBAY__STORAGE__S3__SECRET_ACCESS_KEY" => Some("hunter2".to_owned()),
            "FOREBAY__STORAGE__S3__ALLOW_HTTP" => Some("true".to_owned()),
            _ => None,
        };
        settings.storage.over_environment(&set).unwrap();
        assert_eq!(settings.storage.url.as_deref(), Some("s3://c"));
        assert_eq!(settings.storage.s3.region.as_deref(), Some("eu"));
        assert_eq!(settings.storage.s3.allow_http, Some(true));
        assert_eq!(settings.storage.retry_for.0.as_secs(), 5);
        assert!(!format!("{settings:?}").contains("hunter2"));
        let no = |name: &str| (name == "FOREBAY__STORAGE__RETRY_FOR").then(|| "soon".to_owned());
        assert_eq!(
            settings.storage.over_environment(&no).unwrap_err().code(),
            "bad_variable"
        );

        let text = "[storage.s3]\nsecret_access_key = \"hunter2\"\n";
        let error = Settings::parse("forebay.toml", text)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("forebay.toml:2:21") && !error.contains("hunter2\" "),
            "{error}"
        );
    }
}
