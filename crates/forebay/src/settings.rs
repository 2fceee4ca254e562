//! Settings of the process: `forebay.toml`, over it the environment, over it the command line.
//!
//! A setting `memory` in `[sql]` is `FOREBAY__SQL__MEMORY` in the environment. This is the only place that reads the
//! environment. Settings are data; the objects that they describe are made in `wire.rs`.

mod log;
mod run;
mod server;
mod variables;

pub(crate) use log::{Destination, Log, LogFormat, Otlp};
pub(crate) use run::Run;
pub(crate) use variables::OTHER_VARIABLES;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use forebay_config::{Document, SECRET_VARIABLE_PREFIX, Variables, resolve, validate};
use forebay_core::unit::{Size, Span};
use forebay_core::{Error, Result, Secret, Timestamp};
use forebay_lake::CleanRequest;
use forebay_objects::{AwsVariables, RETRY_FOR, S3Options, StorageUrl};
use forebay_store::StoreUrl;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use self::server::{Server, ServerTls};

/// Name of the file, in the project's folder.
pub(crate) const FILE: &str = "forebay.toml";

/// A file with every section, for the reference.
pub(crate) const EXAMPLE: &str = include_str!("settings/example.toml");

/// `forebay.toml`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Where catalog, positions and runs are kept.
    pub(crate) store: Store,
    /// How pipelines run.
    pub(crate) run: Run,
    /// How queries run.
    pub(crate) sql: Sql,
    /// The HTTP server of `forebay serve`.
    pub(crate) server: Server,
    /// Storage of the raw zone and the tables.
    pub(crate) storage: Storage,
    /// Retention.
    pub(crate) lake: Lake,
    /// The log on stderr.
    pub(crate) log: Log,
    /// Export of traces.
    pub(crate) otlp: Otlp,
}

/// A query reads one state for as long as it runs.
const KEEP_MIN: Duration = Duration::from_secs(3_600);

/// `[lake]`: retention, applied by `forebay tables clean`, and compaction.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lake {
    /// How long every state of the lake can be read with `FOR SYSTEM_TIME AS OF` and `--as-of`; at least 1h.
    pub(crate) keep: Span,
    /// How long the records of commits and runs are kept.
    pub(crate) keep_log: Span,
    /// Unreferenced files are kept for this long, since a run may be about to commit them; at least 36h.
    pub(crate) safe_age: Span,
    /// How often `forebay serve` runs `forebay tables clean --delete`; without it never.
    pub(crate) clean_every: Option<Span>,
    /// How often `forebay serve` looks for tables whose small files are worth compacting; `0s` never.
    pub(crate) compact_every: Span,
    /// Size of the files that a compaction makes, of tables without a property `write.target-file-size-bytes`; at least 1KiB.
    pub(crate) compact_file_size: Size,
}

impl Default for Lake {
    fn default() -> Self {
        let days = |days: u64| Span(Duration::from_secs(days * 24 * 3_600));
        Self {
            keep: days(30),
            keep_log: days(2 * 365),
            safe_age: days(3),
            clean_every: None,
            compact_every: Span(Duration::from_secs(600)),
            compact_file_size: Size(256 << 20),
        }
    }
}

impl Lake {
    /// Errors: `Config` `keep_too_short`.
    pub(crate) fn check(&self) -> Result<()> {
        if self.keep.0 < KEEP_MIN {
            let what = format!(
                "states must be kept for an hour at least, not {}",
                self.keep
            );
            return Err(Error::config("keep_too_short", what).with_hint(
                "set `keep` to 1h or more: a running query reads the state of its start",
            ));
        }
        Ok(())
    }

    /// The clean-up for this retention.
    ///
    /// Errors: `Config` `keep_too_short`.
    pub(crate) fn clean_request(&self, now: Timestamp) -> Result<CleanRequest> {
        self.check()?;
        let before = |span: Duration| {
            let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
            Timestamp(now.micros().saturating_sub(micros))
        };
        Ok(CleanRequest {
            keep_from: before(self.keep.0),
            log_from: before(self.keep_log.0.max(self.keep.0)),
            safe_age: self.safe_age.0,
            unknown_tables: false,
            dry_run: false,
        })
    }

    fn over_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        for (span, name) in [
            (&mut self.keep, "FOREBAY__LAKE__KEEP"),
            (&mut self.keep_log, "FOREBAY__LAKE__KEEP_LOG"),
            (&mut self.safe_age, "FOREBAY__LAKE__SAFE_AGE"),
        ] {
            if let Some(value) = parsed(variable, name)? {
                *span = value;
            }
        }
        if let Some(every) = parsed(variable, "FOREBAY__LAKE__CLEAN_EVERY")? {
            self.clean_every = Some(every);
        }
        if let Some(every) = parsed(variable, "FOREBAY__LAKE__COMPACT_EVERY")? {
            self.compact_every = every;
        }
        if let Some(size) = parsed(variable, "FOREBAY__LAKE__COMPACT_FILE_SIZE")? {
            self.compact_file_size = size;
        }
        Ok(())
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

/// How long others wait for a dead process; short enough that nobody is paged, and long enough for a machine that
/// stutters.
const LEASE: Duration = Duration::from_secs(30);

/// With a shorter lease the store would be busy with renewals only.
const LEASE_MIN: Duration = Duration::from_secs(2);

/// `[store]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// `postgres://user@host:5432/database?schema=forebay&sslmode=verify-full`, or `sqlite:PATH`. Without it the store
    /// is the file `store.db` of the workspace. To keep a password out of the file write `${secret:NAME}` for the
    /// whole URL, set `FOREBAY__STORE__URL`, or let `PGPASSWORD` or `~/.pgpass` hold it.
    pub(crate) url: Option<Private>,
    /// For how long a dead process keeps its leases, where several share a store: then the others take its work
    /// over. At least 2s.
    pub(crate) lease: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: None,
            lease: Span(LEASE),
        }
    }
}

/// A text that is never shown, since it may contain a password.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Private(String);

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Store {
    /// `FOREBAY__STORE__URL`, `FOREBAY__STORE__LEASE`.
    fn over_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        if let Some(url) = variable("FOREBAY__STORE__URL") {
            self.url = Some(Private(url));
        }
        if let Some(lease) = parsed(variable, "FOREBAY__STORE__LEASE")? {
            self.lease = lease;
        }
        self.place()?;
        if self.lease.0 < LEASE_MIN {
            let what = format!(
                "`lease` of `[store]` is {}; it must be at least 2s",
                self.lease
            );
            return Err(Error::config("bad_lease", what));
        }
        Ok(())
    }

    /// `None`: the file of the workspace.
    pub(crate) fn place(&self) -> Result<Option<StoreUrl>> {
        self.url.as_ref().map(|url| url.0.parse()).transpose()
    }
}

impl Storage {
    /// Where raw zone and tables are; `None` for the workspace's own folder.
    ///
    /// Errors: `Config` `bad_storage_url`, `bad_s3_options`.
    pub(crate) fn place(&self) -> Result<Option<StorageUrl>> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        let place = StorageUrl::parse(url).map_err(|what| {
            Error::config("bad_storage_url", what)
                .with_hint("correct `url` of `[storage]` in forebay.toml, or FOREBAY__STORAGE__URL")
        })?;
        if let StorageUrl::S3 { .. } = place {
            self.s3.check_with(&aws_variables()).map_err(|what| {
                Error::config("bad_s3_options", what)
                    .with_hint("correct `[storage.s3]` in forebay.toml, or FOREBAY__STORAGE__S3__…")
            })?;
        }
        Ok(Some(place))
    }

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
        for (into, name) in [
            (
                &mut self.s3.secret_access_key,
                "FOREBAY__STORAGE__S3__SECRET_ACCESS_KEY",
            ),
            (
                &mut self.s3.session_token,
                "FOREBAY__STORAGE__S3__SESSION_TOKEN",
            ),
        ] {
            if let Some(value) = secret(variable, name)? {
                *into = Some(value);
            }
        }
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
    text.parse().map(Some).map_err(|_| {
        Error::config(
            "bad_variable",
            format!("invalid value for {name}: {text:?}"),
        )
    })
}

/// A variable that holds a secret, if it is set. Errors: `Config` `empty_secret` naming it.
fn secret(variable: &dyn Fn(&str) -> Option<String>, name: &str) -> Result<Option<Secret>> {
    let Some(text) = variable(name) else {
        return Ok(None);
    };
    if text.trim().is_empty() {
        return Err(Error::config("empty_secret", format!("{name} is empty"))
            .with_hint("unset it, or check the command that sets it"));
    }
    Ok(Some(Secret::new(text)))
}

/// `[sql]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sql {
    /// Memory that queries may use before they spill to disk; without it half of the memory of the machine, or of the control
    /// group when that has less.
    pub(crate) memory: Option<Size>,
    /// Time limit of a statement; without it none. `forebay sql --timeout` sets it too.
    pub(crate) timeout: Option<Span>,
}

impl Sql {
    pub(crate) fn memory_bytes(&self) -> u64 {
        let memory = self.memory.map(|memory| memory.0);
        memory.unwrap_or_else(|| crate::machine::memory_bytes() / 2)
    }

    /// `FOREBAY__SQL__MEMORY`, `FOREBAY__SQL__TIMEOUT`.
    fn over_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        const MEMORY: &str = "FOREBAY__SQL__MEMORY";
        if let Some(memory) = variable(MEMORY) {
            let memory = memory.parse();
            let memory = memory.map_err(|error: Error| error.with_context("variable", MEMORY))?;
            self.memory = Some(memory);
        }
        if let Some(timeout) = parsed(variable, "FOREBAY__SQL__TIMEOUT")? {
            self.timeout = Some(timeout);
        }
        Ok(())
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
        settings.over_environment(&variable)?;
        Ok(settings)
    }

    fn over_environment(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        self.store.over_environment(variable)?;
        self.storage.over_environment(variable)?;
        self.lake.over_environment(variable)?;
        self.run.over_environment(variable)?;
        self.sql.over_environment(variable)?;
        self.server.over_environment(variable)?;
        self.log.over_environment(variable)
    }

    /// Names of the environment variables that override a setting, found by watching which ones are read.
    pub(crate) fn variables() -> Result<BTreeSet<String>> {
        let read = RefCell::new(BTreeSet::new());
        let variable = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            None
        };
        let mut settings = Self::default();
        settings.over_environment(&variable)?;
        settings.otlp.destination(&variable)?;
        let mut read = read.into_inner();
        // The parser of the command line reads this one.
        read.insert("FOREBAY__LOG__FORMAT".to_owned());
        Ok(read)
    }

    fn parse(path: &str, text: &str) -> Result<Self> {
        Self::parse_with(path, text, &ProcessVariables::default())
    }

    /// Settings whose references have the values of `variables`.
    pub(crate) fn parse_with(path: &str, text: &str, variables: &dyn Variables) -> Result<Self> {
        let document = Document::from_toml(path, text)?;
        let resolved = resolve(&document, variables, &[]);
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
        variable(&format!(
            "{SECRET_VARIABLE_PREFIX}{}",
            name.to_ascii_uppercase()
        ))
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

/// Environment variables for access to AWS and compatible stores; each client picks those it knows.
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
        assert_eq!(settings.sql.memory, None);
        assert!(settings.sql.memory_bytes() > 0);
        assert_eq!(settings.storage.url, None);
        let settings = Settings::parse("forebay.toml", "[sql]\nmemory = \"1GiB\"\n").unwrap();
        assert_eq!(settings.sql.memory_bytes(), 1 << 30);
        let text = "[store]\nurl = \"postgres://ann:hunter2@db/lake\"\n";
        let settings = Settings::parse("forebay.toml", text).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        let place = settings.store.place().unwrap().unwrap();
        assert_eq!(
            place.to_string(),
            "postgres://ann@db:5432/lake?schema=forebay"
        );
        let text = "[lake]\nkeep = \"7d\"\n";
        let mut settings = Settings::parse("forebay.toml", text).unwrap();
        let set = |name: &str| match name {
            "FOREBAY__LAKE__SAFE_AGE" | "FOREBAY__LAKE__CLEAN_EVERY" => Some("2d".to_owned()),
            "FOREBAY__LAKE__COMPACT_EVERY" => Some("0s".to_owned()),
            "FOREBAY__LAKE__COMPACT_FILE_SIZE" => Some("1GiB".to_owned()),
            "FOREBAY__STORE__LEASE" => Some("1s".to_owned()),
            _ => None,
        };
        settings.lake.over_environment(&set).unwrap();
        let Lake {
            keep,
            keep_log,
            safe_age,
            clean_every,
            compact_every,
            compact_file_size,
        } = settings.lake.clone();
        let days = |span: Span| span.0.as_secs() / 86_400;
        assert_eq!((days(keep), days(keep_log), days(safe_age)), (7, 730, 2));
        assert_eq!(clean_every.map(days), Some(2));
        assert_eq!(compact_every.0.as_secs(), 0);
        assert_eq!(compact_file_size.0, 1 << 30);
        let error = settings.store.over_environment(&set).unwrap_err();
        assert_eq!(error.code(), "bad_lease");
        settings.lake.keep = "30m".parse().unwrap();
        let error = settings.lake.clean_request(Timestamp(0)).unwrap_err();
        assert_eq!(error.code(), "keep_too_short");
        let error = Settings::parse("forebay.toml", "[sql]\nmemori = \"1GiB\"\n").unwrap_err();
        assert!(error.to_string().contains("forebay.toml:2:1"), "{error}");
        assert!(error.to_string().contains("memory"), "{error}");
    }

    #[test]
    fn traces_go_where_the_file_or_opentelemetry_says() {
        let text = "[otlp]\nendpoint = \"http://a:4318/\"\nratio = 0.5\n";
        let settings = Settings::parse("forebay.toml", text).unwrap();
        let none = |_: &str| None;
        let to = settings.otlp.destination(&none).unwrap().unwrap();
        assert_eq!(
            (to.url.as_str(), to.ratio),
            ("http://a:4318/v1/traces", 0.5)
        );
        let set = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => Some("http://b/traces".to_owned()),
            "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-key=hunter2, x-b=c".to_owned()),
            _ => None,
        };
        let to = Otlp::default().destination(&set).unwrap().unwrap();
        assert_eq!((to.url.as_str(), to.headers.len()), ("http://b/traces", 2));
        assert!(!format!("{to:?}").contains("hunter2"));
        assert!(Otlp::default().destination(&none).unwrap().is_none());
        let much = |name: &str| (name == "FOREBAY__OTLP__RATIO").then(|| "2".to_owned());
        assert_eq!(
            Otlp::default().destination(&much).unwrap_err().code(),
            "bad_ratio"
        );
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
