//! The store in a schema of a Postgres database: settings of each session, and the schema.
//!
//! Many processes write; they take turns by an advisory lock. Each statement sees the state committed when it begins (READ
//! COMMITTED), so the holder of the lock sees everything done under it before. The lock ends with the transaction, and
//! the server ends a transaction whose process has stopped or can no longer be reached. Nothing outside of the one
//! schema is touched.

use std::time::Duration;

use forebay_core::{Error, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};

use super::error::{explain, sqlstate, too_new};
use super::{Dialect, READERS_MAX};

/// How long a server may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that gives no answer for this long is taken for dead. Longer than it waits for locks.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// A read connection that was idle this long is pinged before it is used.
const REST_MAX: Duration = Duration::from_secs(1);

/// Each migration once, in order; the table `migrations` lists those applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/postgres/0001_catalog.sql"),
    include_str!("../../migrations/postgres/0002_horizon.sql"),
    include_str!("../../migrations/postgres/0003_members.sql"),
    include_str!("../../migrations/postgres/0004_checksums.sql"),
    include_str!("../../migrations/postgres/0005_namespaces.sql"),
    include_str!("../../migrations/postgres/0006_merges.sql"),
];

pub(super) const DIALECT: Dialect = Dialect {
    // Each schema has a lock of its own. `session` has set it, also before the schema exists.
    begin: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
        SELECT pg_advisory_xact_lock(hashtextextended('forebay store ' || current_setting('search_path'), 0))",
    // Postgres does not come to COMMIT when the first fails.
    mark_and_commit: |id, batch| {
        format!(
            "INSERT INTO writers (id, batch) VALUES ('{id}', {batch})
             ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, marked_at = now();
             COMMIT"
        )
    },
    prune: "DELETE FROM writers WHERE id IN (
        SELECT id FROM writers WHERE marked_at < now() - interval '7 days' FOR UPDATE SKIP LOCKED)",
};

/// The answer to one message, or an error in its time: a connection may die without a word.
pub(super) async fn answered<T>(
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    within(ANSWER_TIMEOUT, asked).await
}

async fn within<T>(
    time: Duration,
    asked: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    tokio::time::timeout(time, asked)
        .await
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

#[derive(Clone)]
pub(crate) struct Server {
    options: PgConnectOptions,
    schema: String,
}

impl std::fmt::Debug for Server {
    /// The options hold the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres schema {}", self.schema)
    }
}

impl Server {
    /// The name of the schema is an identifier: [`super::StoreUrl`] has seen to it.
    pub(super) fn new(options: PgConnectOptions, schema: String) -> Self {
        let options = options.disable_statement_logging();
        Self { options, schema }
    }

    /// Settings of a session. A stopped process loses its transaction before others lose patience with its lock; a
    /// commit is on the disk when it is answered, whatever the database's default is.
    fn session(&self) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!(
            "SET search_path TO \"{}\";
             SET idle_in_transaction_session_timeout TO '10s';
             SET lock_timeout TO '20s';
             SET client_min_messages TO warning;
             SET jit TO off; SET enable_seqscan TO off; SET enable_hashjoin TO off; SET enable_mergejoin TO off;
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
            self.schema
        ))
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let connecting = async {
            let mut sql = self.options.connect().await?;
            sqlx::raw_sql(self.session()).execute(&mut sql).await?;
            Ok(sql)
        };
        within(CONNECT_TIMEOUT, connecting).await
    }

    pub(super) fn readers(&self) -> PgPool {
        let server = self.clone();
        PgPoolOptions::new()
            .max_connections(READERS_MAX)
            .acquire_timeout(CONNECT_TIMEOUT)
            .test_before_acquire(false)
            .after_connect(move |sql, _| {
                let session = server.session();
                Box::pin(async move {
                    sqlx::raw_sql(session).execute(&mut *sql).await?;
                    let read_only = "SET default_transaction_read_only TO on";
                    sqlx::raw_sql(read_only).execute(sql).await.map(drop)
                })
            })
            .before_acquire(|sql, about| {
                Box::pin(async move { Ok(about.idle_for < REST_MAX || sql.ping().await.is_ok()) })
            })
            .connect_lazy_with(self.options.clone())
    }

    pub(super) async fn open(&self) -> Result<PgConnection> {
        let mut sql = self.connect().await.map_err(explain)?;
        warn_of_a_forgetful_server(&mut sql)
            .await
            .map_err(explain)?;
        if pending(version(&mut sql).await.map_err(explain)?)?.is_empty() {
            return Ok(sql);
        }
        self.migrate(&mut sql).await?;
        Ok(sql)
    }

    /// An error drops the connection, and so the transaction.
    async fn migrate(&self, sql: &mut PgConnection) -> Result<()> {
        sqlx::raw_sql(DIALECT.begin)
            .execute(&mut *sql)
            .await
            .map_err(explain)?;
        self.prepare(sql).await.map_err(explain)?;
        // Read under the lock: another process may have been first.
        let done = version(sql).await.map_err(explain)?;
        for (number, script) in (done + 1..).zip(pending(done)?) {
            let applied = async {
                sqlx::raw_sql(*script).execute(&mut *sql).await?;
                sqlx::query("INSERT INTO migrations (version) VALUES ($1)")
                    .bind(number)
                    .execute(&mut *sql)
                    .await
            };
            applied.await.map_err(|error| self.not_ours(error))?;
        }
        let done = sqlx::raw_sql("COMMIT").execute(sql).await;
        done.map(drop).map_err(explain)
    }

    /// Creates the schema, which needs a privilege that is not needed when an administrator has created it.
    async fn prepare(&self, sql: &mut PgConnection) -> Result<(), sqlx::Error> {
        let there: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_namespace WHERE nspname = $1")
            .bind(&self.schema)
            .fetch_one(&mut *sql)
            .await?;
        if there == 0 {
            let create = AssertSqlSafe(format!("CREATE SCHEMA \"{}\"", self.schema));
            sqlx::raw_sql(create).execute(&mut *sql).await?;
        }
        let table = "CREATE TABLE IF NOT EXISTS migrations (
            version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())";
        sqlx::raw_sql(table).execute(sql).await.map(drop)
    }

    fn not_ours(&self, error: sqlx::Error) -> Error {
        // duplicate_table, duplicate_object, duplicate_function
        if !matches!(
            sqlstate(&error).as_deref(),
            Some("42P07" | "42710" | "42723")
        ) {
            return explain(error);
        }
        let message = format!(
            "the schema {} holds tables that are not Forebay's",
            self.schema
        );
        Error::config("not_a_store", message)
            .with_source(error)
            .with_hint("name a schema of its own with `?schema=NAME` in the URL of the store")
    }
}

/// The number of migrations applied; 0 without a store.
async fn version(sql: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('migrations') IS NOT NULL")
        .fetch_one(&mut *sql)
        .await?;
    if !there {
        return Ok(0);
    }
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM migrations")
        .fetch_one(sql)
        .await
}

fn pending(version: i64) -> Result<&'static [&'static str]> {
    super::pending(MIGRATIONS, version).ok_or_else(|| too_new(version, MIGRATIONS.len()))
}

async fn warn_of_a_forgetful_server(sql: &mut PgConnection) -> Result<(), sqlx::Error> {
    let fsync: String = sqlx::query_scalar("SELECT current_setting('fsync')")
        .fetch_one(sql)
        .await?;
    if fsync != "on" {
        tracing::warn!(
            "the Postgres server runs with fsync off: a power cut can lose committed data"
        );
    }
    Ok(())
}
