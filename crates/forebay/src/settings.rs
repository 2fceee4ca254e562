//! Settings of the process: `forebay.toml`, over it the environment, over it the command line.
//!
//! A setting `memory` in `[sql]` is `FOREBAY__SQL__MEMORY` in the environment. This is the only place that reads the
//! environment. Settings are data; the objects that they describe are made in [`crate::wire`].

use std::path::Path;

use forebay_core::unit::Size;
use forebay_core::{Error, Result};
use forebay_pipeline::file::{Document, Variables, resolve, validate};
use forebay_store::StoreUrl;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Name of the file, in the project's folder.
pub(crate) const FILE: &str = "forebay.toml";

/// `forebay.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Where catalog, positions and runs are kept.
    pub(crate) store: Store,
    /// How queries run.
    pub(crate) sql: Sql,
    /// The HTTP server of `forebay serve`.
    pub(crate) server: Server,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// `[store]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// `postgres://user@host:5432/database?schema=forebay&sslmode=verify-full`, or `sqlite:PATH`. Without it the store
    /// is the file `store.db` of the workspace. A password need not stand in the file: write `${secret:NAME}` for the
    /// whole URL, set `FOREBAY__STORE__URL`, or let `PGPASSWORD` or `~/.pgpass` hold it.
    pub(crate) url: Option<Private>,
}

/// A text that is never shown, since a password may stand in it.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Private(String);

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Private {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Store {
    /// `None`: the file of the workspace.
    pub(crate) fn place(&self) -> Result<Option<StoreUrl>> {
        self.url.as_ref().map(|url| url.0.parse()).transpose()
    }
}

/// `[sql]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
        if let Some(memory) = variable("FOREBAY__SQL__MEMORY") {
            settings.sql.memory = memory
                .parse()
                .map_err(|error: Error| error.with_context("variable", "FOREBAY__SQL__MEMORY"))?;
        }
        if let Some(listen) = variable("FOREBAY__SERVER__LISTEN") {
            settings.server.listen = listen;
        }
        Ok(settings)
    }

    fn parse(path: &str, text: &str) -> Result<Self> {
        let written = Document::from_toml(path, text)?;
        let resolved = resolve(&written, &ProcessVariables::default());
        if !resolved.diagnostics.0.is_empty() {
            let wrong = resolved.diagnostics.to_string();
            return Err(Error::config("bad_settings", wrong));
        }
        let document = resolved.document;
        let wrong = validate(&document, &schemars::schema_for!(Self));
        if !wrong.0.is_empty() {
            return Err(Error::config("bad_settings", wrong.to_string()));
        }
        document.parse()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_strict_and_have_defaults() {
        assert_eq!(
            Settings::parse("forebay.toml", "").unwrap(),
            Settings::default()
        );
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
}
