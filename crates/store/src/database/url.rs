//! Where a store is, as the user writes it. Never shows a password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use forebay_core::{Error, Result};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::{Database, postgres, sqlite};

/// The schema of a Postgres database that holds the store, unless the URL has `?schema=NAME`.
const SCHEMA: &str = "forebay";
/// Postgres cuts longer names off.
const SCHEMA_BYTES_MAX: usize = 63;
/// Query parameters of a Postgres URL besides `schema`; others are refused, so that a misspelt one does not
/// pass silently (or into a log with its value).
const PARAMETERS: &[&str] = &[
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "application_name",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
];

/// The place of a store: a SQLite file (`sqlite:PATH`), or a schema of a Postgres database
/// (`postgres://user:password@host:port/database?schema=forebay&sslmode=verify-full`). Missing parts come from
/// libpq's variables (`PGHOST`, `PGPASSWORD`, …) and `~/.pgpass`.
#[derive(Clone)]
pub struct StoreUrl {
    place: Place,
    shown: String,
}

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Postgres(Box<PgConnectOptions>, String),
}

impl StoreUrl {
    pub(crate) fn database(&self) -> Database {
        match &self.place {
            Place::File(path) => Database::Sqlite(Box::new(sqlite::File::new(path))),
            Place::Postgres(options, schema) => {
                let options = PgConnectOptions::clone(options);
                let server = postgres::Server::new(options, schema.clone());
                Database::Postgres(Box::new(server))
            }
        }
    }
}

impl From<&Path> for StoreUrl {
    fn from(path: &Path) -> Self {
        Self {
            place: Place::File(path.to_owned()),
            shown: path.display().to_string(),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    /// Errors: `Config` `bad_store_url`.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(bad("it names no file")),
                path => Ok(Self::from(Path::new(path))),
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return postgres(text);
        }
        Err(bad("it is neither `postgres://…` nor `sqlite:PATH`"))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn postgres(text: &str) -> Result<StoreUrl> {
    let mut url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    let mut schema = SCHEMA.to_owned();
    let mut parameters = Vec::new();
    for (key, value) in url.query_pairs().into_owned() {
        match key.as_str() {
            "schema" => schema = value,
            key if PARAMETERS.contains(&key) => parameters.push((key.to_owned(), value)),
            key => {
                let known = PARAMETERS.join(", ");
                return Err(bad(format!(
                    "it has no parameter `{key}`, but schema, {known}"
                )));
            }
        }
    }
    check_schema(&schema)?;
    url.set_query(None);
    if !parameters.is_empty() {
        url.query_pairs_mut().extend_pairs(parameters);
    }
    let options = PgConnectOptions::from_url(&url).map_err(|error| bad(error.to_string()))?;
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("forebay"),
    };
    let shown = format!(
        "postgres://{}@{}:{}/{}?schema={schema}",
        options.get_username(),
        options.get_host(),
        options.get_port(),
        options.get_database().unwrap_or_default(),
    );
    Ok(StoreUrl {
        place: Place::Postgres(Box::new(options), schema),
        shown,
    })
}

fn check_schema(name: &str) -> Result<()> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let reserved = name.starts_with("pg_") || name == "information_schema";
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts && !reserved && name.len() <= SCHEMA_BYTES_MAX && name.chars().all(letters) {
        return Ok(());
    }
    Err(bad(format!(
        "`{name}` is not a valid schema name: use lower-case letters, digits and `_`, at most {SCHEMA_BYTES_MAX}, not Postgres' own"
    )))
}

fn bad(why: impl fmt::Display) -> Error {
    Error::config(
        "bad_store_url",
        format!("the URL of the store cannot be used: {why}"),
    )
    .with_hint("write it as `postgres://user:password@host:5432/database?schema=forebay`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "postgres://ann:hunter2@db.example:5433/lake?schema=s1&sslmode=require",
            "postgresql://db.example:5433/lake?user=ann&password=hunter2&schema=s1",
        ] {
            let url: StoreUrl = text.parse().unwrap();
            let shown = format!("{url} {url:?} {:?}", url.database());
            assert!(!shown.contains("hunter2"), "{shown}");
            assert_eq!(
                url.to_string(),
                "postgres://ann@db.example:5433/lake?schema=s1"
            );
        }
        for text in [
            "postgres://ann:hunter2@db:notaport/lake",
            "postgres://ann:hunter2@db/lake?sslmode=hardly",
            "postgres://ann@db/lake?pasword=hunter2",
            "postgres://ann:hunter2@db/lake?schema=A;DROP",
            "postgres://ann:hunter2@db/lake?schema=pg_toast",
            "mysql://ann:hunter2@db/lake",
            "sqlite:",
        ] {
            let error = StoreUrl::from_str(text).unwrap_err();
            let shown = format!("{error} {error:?} {:?}", error.hint());
            assert_eq!(error.code(), "bad_store_url", "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_file_is_a_store_too() {
        for text in ["sqlite:/a/b.db", "sqlite:///a/b.db"] {
            assert_eq!(text.parse::<StoreUrl>().unwrap().to_string(), "/a/b.db");
        }
    }
}
