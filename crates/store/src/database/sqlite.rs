//! The store in a SQLite file: settings of each connection, and the schema.
//!
//! Durability is decided here: write-ahead log with `synchronous=FULL`, so that a commit is on the disk when it is
//! answered. The schema moves forward only, in one transaction, under the write lock.

use std::path::Path;
use std::time::Duration;

use forebay_core::{Clock, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, SqlitePool};

use super::error::{explain, is_busy, too_new};
use super::{Dialect, READERS_MAX};

/// How long SQLite itself waits for another process's lock before it says busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Opening meets short locks that SQLite does not wait for (switching to the write-ahead log, recovery).
const OPEN_ATTEMPTS_MAX: u32 = 20;
const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// The write-ahead log is cut back to this after a checkpoint.
const WAL_BYTES_MAX: &str = "67108864";

/// Each migration once, in order; the file's `user_version` counts those applied.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_catalog.sql"),
    include_str!("../../migrations/sqlite/0002_horizon.sql"),
    include_str!("../../migrations/sqlite/0003_members.sql"),
];

pub(super) const DIALECT: Dialect = Dialect {
    // Never deferred: readers that become writers fail each other.
    begin: "BEGIN IMMEDIATE",
    // Replaced, not updated: the newest rows are those that `prune` keeps.
    mark_and_commit: |id, batch| {
        format!("INSERT OR REPLACE INTO writers (id, batch) VALUES ('{id}', {batch}); COMMIT")
    },
    prune: "DELETE FROM writers WHERE rowid <= (SELECT max(rowid) FROM writers) - 1000",
};

#[derive(Debug)]
pub(crate) struct File {
    writer: SqliteConnectOptions,
    reader: SqliteConnectOptions,
}

enum Opening {
    Sql(sqlx::Error),
    TooNew(i64),
}

impl From<sqlx::Error> for Opening {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl File {
    pub(super) fn new(path: &Path) -> Self {
        let shared = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let reader = shared.clone().pragma("query_only", "1");
        let writer = shared
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // On macOS a plain fsync does not reach the disk; elsewhere these do nothing.
            .pragma("fullfsync", "1")
            .pragma("checkpoint_fullfsync", "1")
            .pragma("journal_size_limit", WAL_BYTES_MAX)
            .thread_name(|_| "forebay-store".to_owned());
        Self { writer, reader }
    }

    pub(super) fn readers(&self) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .connect_lazy_with(self.reader.clone())
    }

    pub(super) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.writer.connect().await
    }

    pub(super) async fn open(&self, clock: &dyn Clock) -> Result<SqliteConnection> {
        let mut attempt = 1;
        loop {
            match self.try_open().await {
                Err(Opening::Sql(error)) if is_busy(&error) && attempt < OPEN_ATTEMPTS_MAX => {
                    attempt += 1;
                    clock.sleep(OPEN_PAUSE).await;
                }
                Err(Opening::Sql(error)) => return Err(explain(error)),
                Err(Opening::TooNew(version)) => return Err(too_new(version, MIGRATIONS.len())),
                Ok(sql) => return Ok(sql),
            }
        }
    }

    async fn try_open(&self) -> Result<SqliteConnection, Opening> {
        let mut sql = self.connect().await?;
        if pending(version(&mut sql).await?)?.is_empty() {
            return Ok(sql);
        }
        sqlx::query(DIALECT.begin).execute(&mut sql).await?;
        // Read again under the lock: another process may have been first. An error drops the connection, and so the
        // transaction.
        for script in pending(version(&mut sql).await?)? {
            sqlx::raw_sql(*script).execute(&mut sql).await?;
        }
        let version = format!("PRAGMA user_version = {}", MIGRATIONS.len());
        sqlx::query(AssertSqlSafe(version))
            .execute(&mut sql)
            .await?;
        sqlx::query("COMMIT").execute(&mut sql).await?;
        Ok(sql)
    }
}

async fn version(sql: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(sql)
        .await
}

fn pending(version: i64) -> Result<&'static [&'static str], Opening> {
    super::pending(MIGRATIONS, version).ok_or(Opening::TooNew(version))
}
