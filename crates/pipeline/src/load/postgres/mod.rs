//! Rows to a table of a Postgres database, exactly once.
//!
//! ```yaml
//! pipeline: orders_out
//! source:
//!   table: {name: sales.orders}
//! extract:
//!   table: {}
//! load:
//!   postgres: {url: "${secret:warehouse}", table: sales.orders, mode: upsert, key: [id]}
//! ```
//!
//! Rows go by `COPY … (FORMAT binary)`, made straight from Arrow. Rows and position are one transaction of Postgres: the
//! table `forebay_positions` in the schema of the target says how far each split has come and who may write, and carries
//! what the lake has yet to learn of the commit. The table is created when it is not there and gets columns that it lacks;
//! what a table that somebody else made has already is never changed. A row that Postgres refuses for its values
//! (SQLSTATE classes 22, 23, 54 and what triggers raise), or that has a value in a column that no table can have, is quarantined
//! with its record; the others land.

mod client;
mod copy;
mod encode;
mod error;
mod fit;
mod group;
mod modes;
mod positions;
mod replace;
mod sink;
mod table;
mod tls;
mod types;
mod url;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use forebay_core::{Error, Result, Secret, TableName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use self::url::Server;
use crate::file::Document;
use crate::load::{Sink, SinkContext, SinkKind, Target};

/// Longest name that Postgres keeps whole, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// `load: {postgres: …}`.
#[derive(Debug)]
pub struct Kind;

/// `load: postgres:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:5432/database`, as libpq reads it; `sslmode`, `sslrootcert`, `connect_timeout`,
    /// `application_name`, `options`, `host` and `port` may follow after `?`.
    pub url: Secret,
    /// `schema.table`; created when it is not there.
    #[schemars(
        with = "String",
        regex(pattern = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    )]
    pub table: TableName,
    /// How rows meet those that are there.
    #[serde(default)]
    pub mode: Mode,
    /// Columns that tell rows apart, for `upsert` and `delete`.
    #[serde(default)]
    pub key: Vec<String>,
}

/// How rows meet those that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every row is added.
    #[default]
    Append,
    /// A row takes the place of the one with its key; of several with one key the last stays.
    Upsert,
    /// A row names the key of a row to take away.
    Delete,
    /// Each run reads its source from the beginning, and at its end the table holds exactly its rows.
    Replace,
}

/// The configured sink.
#[derive(Debug, Clone)]
struct Postgres {
    server: Server,
    table: TableName,
    mode: Mode,
    key: Vec<String>,
}

impl SinkKind for Kind {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn summary(&self) -> &'static str {
        "a table of a Postgres database, exactly once"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<PostgresConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Target>> {
        let parsed: PostgresConfig = config.parse()?;
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        let keyed = matches!(parsed.mode, Mode::Upsert | Mode::Delete);
        if keyed && parsed.key.is_empty() {
            return Err(at("mode").error(
                "no_key",
                "this mode tells rows apart by `key: [column, …]`, which is missing",
            ));
        }
        if !keyed && !parsed.key.is_empty() {
            return Err(at("key").error("key_without_use", "only `upsert` and `delete` use a key"));
        }
        if let Some(twice) = doubled(&parsed.key) {
            return Err(at("key").error("double_key", format!("`{twice}` stands in the key twice")));
        }
        for name in [&parsed.table.namespace, &parsed.table.name] {
            check_name(name.as_str())
                .map_err(|error| at("table").error(error.code(), error.message()))?;
        }
        if parsed.table.name.as_str() == positions::NAME {
            let what = format!(
                "`{}` keeps the positions of pipelines; choose another name",
                positions::NAME
            );
            return Err(at("table").error("reserved_table", what));
        }
        let server = Server::parse(&parsed.url)
            .map_err(|error| at("url").error(error.code(), error.message()))?;
        Ok(Box::new(Postgres {
            server,
            table: parsed.table,
            mode: parsed.mode,
            key: parsed.key,
        }))
    }
}

fn doubled(key: &[String]) -> Option<&String> {
    (0..key.len())
        .find(|at| key[..*at].contains(&key[*at]))
        .map(|at| &key[at])
}

/// Postgres cuts longer names without a word, and two could become one.
fn check_name(name: &str) -> Result<()> {
    if name.len() <= NAME_BYTES_MAX && !name.is_empty() && !name.contains('\0') {
        return Ok(());
    }
    Err(Error::config(
        "bad_postgres_name",
        format!(
            "{name:?} is no name for Postgres: at most {NAME_BYTES_MAX} bytes, and none of them 0"
        ),
    )
    .with_hint("give it a shorter name with `transform: [rename: {…}]`"))
}

#[async_trait]
impl Target for Postgres {
    fn describe(&self) -> String {
        format!("{} of {}", self.table, self.server)
    }

    fn replaces(&self) -> bool {
        self.mode == Mode::Replace
    }

    fn is_transactional(&self) -> bool {
        true
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(sink::Session::open(self, context).await?))
    }
}
