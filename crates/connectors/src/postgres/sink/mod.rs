//! Loads rows to a table of a Postgres database, exactly once.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! Rows are sent by `COPY … (FORMAT binary)`, made directly from Arrow. Rows and position are one transaction of Postgres:
//! the table `forebay_positions` in the schema of the target holds the position and the epoch of each split, and carries
//! the lake's part of the commit. A missing table is created and missing columns are added; existing columns of a table
//! made by somebody else are never changed. A row that Postgres rejects for its values (SQLSTATE classes 22, 23, 54 and
//! errors raised by triggers), or that has a value in a column that no table can have, is quarantined with its record; the
//! others land.

mod copy;
mod encode;
mod fit;
mod group;
mod modes;
mod positions;
mod replace;
mod session;
mod table;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use forebay_core::{Error, Result, Secret, TableName};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::postgres::url::Server;
use crate::sink::{Sink, SinkContext, SinkKind, Target};
use forebay_config::{Component, Document};

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
    /// How rows are combined with existing ones.
    #[serde(default)]
    pub mode: Mode,
    /// Key columns, for `upsert` and `delete`.
    #[serde(default)]
    pub key: Vec<String>,
}

/// How rows are combined with existing ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Every row is added.
    #[default]
    Append,
    /// A row replaces the one with its key; of several with one key the last stays.
    Upsert,
    /// A row names the key of a row to delete.
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

impl Component for Kind {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn summary(&self) -> &'static str {
        "a table of a Postgres database, exactly once"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<PostgresConfig>()
    }
}

impl SinkKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Target>> {
        let parsed: PostgresConfig = config.parse()?;
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        let keyed = matches!(parsed.mode, Mode::Upsert | Mode::Delete);
        if keyed && parsed.key.is_empty() {
            return Err(at("mode").error(
                "no_key",
                "this mode needs `key: [column, …]`, which is missing",
            ));
        }
        if !keyed && !parsed.key.is_empty() {
            return Err(at("key").error("key_without_use", "only `upsert` and `delete` use a key"));
        }
        if let Some(twice) = doubled(&parsed.key) {
            return Err(at("key").error("double_key", format!("duplicate key column `{twice}`")));
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

/// Postgres truncates longer names silently, and two could become one.
fn check_name(name: &str) -> Result<()> {
    if name.len() <= NAME_BYTES_MAX && !name.is_empty() && !name.contains('\0') {
        return Ok(());
    }
    Err(Error::config(
        "bad_postgres_name",
        format!(
            "{name:?} is not a valid name in Postgres: at most {NAME_BYTES_MAX} bytes, none of them NUL"
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
        Ok(Box::new(session::Session::open(self, context).await?))
    }
}
