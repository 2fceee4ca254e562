//! The store in a SQLite file: settings of each connection, and the schema.
//!
//! Durability is decided here: write-ahead log with `synchronous=FULL`, so that a commit is on the disk when it is
//! answered. The schema moves forward only, in one transaction, under the write lock. A file that is older than its
//! mark is not opened.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use forebay_core::{Clock, Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, SqliteConnection, SqlitePool};

use super::error::{damaged, explain, is_busy, is_read_only, mark_unreadable, read_only, too_new};
use super::mark::StoredMark;
use super::{CatalogMark, CatalogProgress, Dialect, READERS_MAX, Sql};

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
    include_str!("../../migrations/sqlite/0004_checksums.sql"),
    include_str!("../../migrations/sqlite/0005_transactions.sql"),
    include_str!("../../migrations/sqlite/0006_namespaces.sql"),
    include_str!("../../migrations/sqlite/0007_merges.sql"),
];

pub(super) const DIALECT: Dialect = Dialect {
    // Never deferred: readers that become writers fail each other.
    begin: "BEGIN IMMEDIATE",
    // Replaced, not updated: the ordinal grows, and the newest rows are those that `prune` keeps.
    mark_and_commit: |id, batch| {
        format!(
            "INSERT OR REPLACE INTO writers (ordinal, id, batch)
             VALUES ((SELECT coalesce(max(ordinal), 0) + 1 FROM writers), '{id}', {batch}); COMMIT"
        )
    },
    prune: "DELETE FROM writers WHERE ordinal <= (SELECT max(ordinal) FROM writers) - 1000",
};

#[derive(Debug)]
pub(crate) struct File {
    writer: SqliteConnectOptions,
    reader: SqliteConnectOptions,
    /// How all connections are made where nothing can be written, once that is known.
    read_only: OnceLock<SqliteConnectOptions>,
    path: PathBuf,
    mark: CatalogMark,
}

enum Opening {
    Sql(sqlx::Error),
    TooNew(i64),
    /// The faults that SQLite reports for the file.
    Damaged(String),
    /// The file is older than its mark.
    Behind(Error),
}

impl From<sqlx::Error> for Opening {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl Opening {
    fn explain(self) -> Error {
        match self {
            Self::Sql(error) => explain(error),
            Self::TooNew(version) => too_new(version, MIGRATIONS.len()),
            Self::Damaged(what) => damaged(&what),
            Self::Behind(error) => error,
        }
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
        Self {
            writer,
            reader,
            read_only: OnceLock::new(),
            path: path.to_owned(),
            mark: CatalogMark::beside(path),
        }
    }

    pub(super) fn mark(&self) -> &CatalogMark {
        &self.mark
    }

    pub(super) fn readers(&self) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .test_before_acquire(false)
            .connect_lazy_with(self.read_only.get().unwrap_or(&self.reader).clone())
    }

    pub(super) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = self.read_only.get().unwrap_or(&self.writer);
        options.connect().await
    }

    pub(super) async fn open(&self, clock: &dyn Clock) -> Result<SqliteConnection> {
        // Before the catalog: a commit in between must not look like a loss.
        let stored = self.read_mark()?;
        if let Some(marked) = stored.whole() {
            self.check_untouched(marked).await?;
        }
        let mut sql = self.open_marked(clock, stored.whole()).await?;
        self.report_mark(&mut sql).await?;
        Ok(sql)
    }

    /// Sets the mark to the state of the catalog, even if that is older; returns the problem found.
    pub(super) async fn accept_loss(&self, clock: &dyn Clock) -> Result<Option<String>> {
        let stored = self.read_mark()?;
        let mut sql = self.open_marked(clock, None).await?;
        let progress = progress(&mut sql).await.map_err(explain)?;
        let written = match stored.whole() {
            Some(marked) if progress.is_behind(marked) => self.mark.replace(&progress),
            Some(_) => return Ok(None),
            None => self.mark.advance(&progress),
        };
        written.map_err(|error| mark_unreadable(error, self.mark.path()))?;
        let path = self.mark.path();
        let loss = stored.whole().map(|marked| progress.loss(marked, path));
        Ok(loss.or_else(|| progress.mark_problem(&stored, path)))
    }

    async fn open_marked(
        &self,
        clock: &dyn Clock,
        marked: Option<&CatalogProgress>,
    ) -> Result<SqliteConnection> {
        let mut attempt = 1;
        loop {
            match self.try_open(marked).await {
                Err(Opening::Sql(error)) if is_busy(&error) && attempt < OPEN_ATTEMPTS_MAX => {
                    attempt += 1;
                    clock.sleep(OPEN_PAUSE).await;
                }
                Err(Opening::Sql(error)) if is_read_only(&error) && self.cannot_be_written() => {
                    return self.open_read_only(error, marked).await;
                }
                opened => return opened.map_err(Opening::explain),
            }
        }
    }

    fn read_mark(&self) -> Result<StoredMark> {
        let stored = self.mark.read();
        stored.map_err(|error| mark_unreadable(error, self.mark.path()))
    }

    /// Compares the catalog with its mark and changes nothing: a writable connection would truncate the part that SQLite does not
    /// read of a damaged write-ahead log, and delete the log of an empty file. Read errors are left to later connections.
    async fn check_untouched(&self, marked: &CatalogProgress) -> Result<()> {
        let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let found = match bytes {
            0 => self.compare(&CatalogProgress::default(), marked),
            // Nothing can be changed, and it is compared all the same.
            _ if self.cannot_be_written() => Ok(()),
            _ => self.compare_read_only(marked).await,
        };
        match found {
            Err(Opening::Behind(error)) => Err(error),
            _ => Ok(()),
        }
    }

    async fn compare_read_only(&self, marked: &CatalogProgress) -> Result<(), Opening> {
        let options = self.reader.clone().read_only(true);
        let mut sql = options.connect().await?;
        let progress = progress(&mut sql).await;
        // Its locks must be released before the next connection opens.
        sql.close().await?;
        self.compare(&progress?, marked)
    }

    fn compare(&self, progress: &CatalogProgress, marked: &CatalogProgress) -> Result<(), Opening> {
        if !progress.is_behind(marked) {
            return Ok(());
        }
        let error = progress.loss_error(marked, self.mark.path());
        Err(Opening::Behind(error))
    }

    /// An unreadable mark is written with the next change of the catalog.
    async fn report_mark(&self, sql: &mut SqliteConnection) -> Result<()> {
        let stored = self.read_mark()?;
        if stored.whole().is_some() {
            return Ok(());
        }
        let progress = progress(sql).await.map_err(explain)?;
        if let Some(problem) = progress.mark_problem(&stored, self.mark.path()) {
            tracing::warn!("{problem}");
        }
        Ok(())
    }

    /// Whether there is a store that we may read and not write: not one that fails for another reason.
    fn cannot_be_written(&self) -> bool {
        use rustix::fs::{Access, access};
        let is_there = std::fs::metadata(&self.path).is_ok_and(|file| file.len() > 0);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let may_write = access(&self.path, Access::WRITE_OK).is_ok()
            && access(folder, Access::WRITE_OK).is_ok();
        is_there && !may_write
    }

    /// Opens a store that cannot be written: a disk that is read-only, or a user without the right. Whatever writes then fails
    /// with `store_read_only`.
    ///
    /// Errors: `Unavailable` `store_read_only` when the write-ahead log cannot be read without writing.
    async fn open_read_only(
        &self,
        refused: sqlx::Error,
        marked: Option<&CatalogProgress>,
    ) -> Result<SqliteConnection> {
        let shared = self.reader.clone().read_only(true);
        // With the log of another process, if that can be read; without one nobody writes, and the file alone is all.
        for (options, ignores_log) in [(shared.clone(), false), (shared.immutable(true), true)] {
            if ignores_log && !self.is_log_empty() {
                return Err(read_only(
                    "the store has commits in its write-ahead log (store.db-wal), which cannot be read where nothing can be written",
                )
                .with_source(refused));
            }
            let Ok(mut sql) = options.connect().await else {
                continue;
            };
            let Ok(found) = version(&mut sql).await else {
                continue;
            };
            match pending(found) {
                Ok([]) => {}
                Ok(_) => {
                    return Err(read_only(
                        "the store is of an older version, which is brought up to date when it is first opened, and cannot be written",
                    ));
                }
                Err(_) => return Err(too_new(found, MIGRATIONS.len())),
            }
            let checked = self.check(&mut sql, marked).await;
            checked.map_err(Opening::explain)?;
            let _ = self.read_only.set(options);
            return Ok(sql);
        }
        Err(explain(refused))
    }

    fn is_log_empty(&self) -> bool {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        std::fs::metadata(PathBuf::from(log)).map_or(0, |log| log.len()) == 0
    }

    async fn try_open(
        &self,
        marked: Option<&CatalogProgress>,
    ) -> Result<SqliteConnection, Opening> {
        let mut sql = self.connect().await?;
        self.check(&mut sql, marked).await?;
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
        // A store of an older version has no mark.
        self.advance_mark(&progress(&mut sql).await?);
        Ok(sql)
    }

    fn advance_mark(&self, progress: &CatalogProgress) {
        let path = self.mark.path().display();
        if let Err(error) = self.mark.advance(progress) {
            tracing::warn!(%error, file = %path, "failed to write catalog mark");
        }
    }
}

/// A file up to this size is checked wholly, with its indexes, whenever it is opened: some 20 ms.
const CHECKED_BYTES_MAX: u64 = 8 << 20;
/// Up to this size its pages are; a larger one only by `forebay verify`.
const QUICKLY_CHECKED_BYTES_MAX: u64 = 64 << 20;

impl File {
    /// A damaged page, and a catalog that is older than its mark, is found before anything is read from it.
    async fn check(
        &self,
        sql: &mut SqliteConnection,
        marked: Option<&CatalogProgress>,
    ) -> Result<(), Opening> {
        self.check_pages(sql).await?;
        match marked {
            Some(marked) => self.compare(&progress(sql).await?, marked),
            None => Ok(()),
        }
    }

    async fn check_pages(&self, sql: &mut SqliteConnection) -> Result<(), Opening> {
        let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        let statement = if bytes <= CHECKED_BYTES_MAX {
            "PRAGMA integrity_check(1)"
        } else if bytes <= QUICKLY_CHECKED_BYTES_MAX {
            "PRAGMA quick_check(1)"
        } else {
            return Ok(());
        };
        let found: String = sqlx::query_scalar(statement).fetch_one(sql).await?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(Opening::Damaged(found)),
        }
    }
}

/// How far the catalog has come; a file without our tables has not begun.
async fn progress(sql: &mut SqliteConnection) -> Result<CatalogProgress, sqlx::Error> {
    match version(sql).await? {
        0 => Ok(CatalogProgress::default()),
        _ => CatalogProgress::read(&mut Sql::Sqlite(sql)).await,
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
