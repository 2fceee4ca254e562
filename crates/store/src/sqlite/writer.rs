//! The one task that writes: takes what is queued, does it in one SQL transaction, answers.
//!
//! In a group every operation has a SAVEPOINT of its own, so that one that is refused leaves the others. An error of the
//! database gives up the transaction with its connection; COMMIT is never sent after a failed statement. An error
//! of COMMIT itself leaves the result unknown: a new connection then looks for the mark that the transaction wrote,
//! so that callers get a definite answer. The task ends when every handle of the store is gone.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, Result, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::error::{explain, is_busy};
#[cfg(test)]
use super::faults::Faults;
use super::operation::Job;

/// Operations waiting for the writer; a caller waits for room.
pub(super) const QUEUE_MAX: usize = 1024;
/// Operations in one SQL transaction.
const GROUP_MAX: usize = 64;
/// How often a group is tried when the file is locked or COMMIT failed and left nothing.
const ATTEMPTS_MAX: u32 = 6;
/// How often the store is asked what became of a COMMIT, and the first pause between two times (it doubles).
const SETTLE_ATTEMPTS_MAX: u32 = 7;
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// Marks of writers long gone that are kept, see `writers` in the schema.
const WRITERS_MAX: i64 = 1000;

pub(super) struct Writer {
    options: SqliteConnectOptions,
    clock: Arc<dyn Clock>,
    id: String,
    batch: i64,
    sql: Option<SqliteConnection>,
    #[cfg(test)]
    pub(super) faults: Arc<Faults>,
}

/// Where a group's SQL transaction failed.
enum Failed {
    /// Before COMMIT was sent: nothing of it is there.
    Before(sqlx::Error),
    /// In COMMIT: it may be there.
    Committing(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Before(error)
    }
}

impl Writer {
    pub(super) fn new(
        options: SqliteConnectOptions,
        clock: Arc<dyn Clock>,
        sql: SqliteConnection,
    ) -> Self {
        Self {
            options,
            clock,
            id: Uuid::now_v7().to_string(),
            batch: 0,
            sql: Some(sql),
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Box<dyn Job>>,
        closing: Arc<Notify>,
    ) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            tokio::select! {
                biased;
                taken = queue.recv_many(&mut group, GROUP_MAX) => {
                    if taken == 0 {
                        break;
                    }
                    self.serve(std::mem::take(&mut group)).await;
                }
                // What is queued already is still done.
                () = closing.notified() => queue.close(),
            }
        }
        self.disconnect().await;
    }

    async fn serve(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let result = self.attempt(&mut jobs).await;
        // One operation may be what the database cannot take (too big for the disk): the others must not fail with it.
        if result
            .as_ref()
            .is_err_and(|error| error.code() == "store_full")
            && jobs.len() > 1
        {
            for job in jobs {
                let mut alone = [job];
                let result = self.attempt(&mut alone).await;
                reply(alone, result);
            }
        } else {
            reply(jobs, result);
        }
    }

    /// Commits the jobs; after an error nothing of them is there, unless its code is `commit_unknown`.
    async fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<()> {
        let mut attempt = 1;
        loop {
            let error = match self.transact(jobs).await {
                Ok(()) => return Ok(()),
                Err(Failed::Before(error)) => {
                    self.disconnect().await;
                    if !is_busy(&error) {
                        return Err(explain(error));
                    }
                    error
                }
                Err(Failed::Committing(error)) => {
                    // Who asked gets the error in the end, and tells of it once.
                    tracing::debug!(%error, "COMMIT failed, looking for what became of it");
                    if self.settle().await? {
                        return Ok(());
                    }
                    error
                }
            };
            if attempt == ATTEMPTS_MAX {
                return Err(explain(error));
            }
            attempt += 1;
        }
    }

    async fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        let now = self.clock.now();
        self.batch += 1;
        let (id, batch) = (self.id.clone(), self.batch);
        #[cfg(test)]
        let faults = Arc::clone(&self.faults);
        let sql = self.connection().await?;
        #[cfg(test)]
        faults.limit_pages(sql).await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *sql).await?;
        let accepted = match jobs {
            // Alone it needs no savepoint: refused, it ends the transaction.
            [job] => job.apply(sql, now).await?,
            jobs => apply_each(jobs, sql, now).await?,
        };
        if !accepted {
            sqlx::query("ROLLBACK").execute(&mut *sql).await?;
            return Ok(());
        }
        // Replaced, not updated: the newest rows are those that `prune` keeps.
        sqlx::query("INSERT OR REPLACE INTO writers (id, batch) VALUES (?1, ?2)")
            .bind(id)
            .bind(batch)
            .execute(&mut *sql)
            .await?;
        #[cfg(test)]
        faults.commit(sql).await.map_err(Failed::Committing)?;
        #[cfg(not(test))]
        sqlx::query("COMMIT")
            .execute(sql)
            .await
            .map_err(Failed::Committing)?;
        Ok(())
    }

    /// Whether the last transaction is there.
    async fn settle(&mut self) -> Result<bool> {
        let mut pause = SETTLE_PAUSE;
        for _ in 1..SETTLE_ATTEMPTS_MAX {
            match self.look().await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    tracing::debug!(%error, "the store does not say what became of a commit");
                }
            }
            self.clock.sleep(pause).await;
            pause *= 2;
        }
        self.look()
            .await
            .map_err(|error| unknown().with_source(error))
    }

    async fn look(&mut self) -> Result<bool, sqlx::Error> {
        // The old connection must be gone before anybody asks, or it might still finish.
        self.disconnect().await;
        let (id, batch) = (self.id.clone(), self.batch);
        let sql = self.connection().await?;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *sql).await?;
        let last: Option<i64> = sqlx::query_scalar("SELECT batch FROM writers WHERE id = ?1")
            .bind(&id)
            .fetch_optional(&mut *sql)
            .await?;
        // A write that failed in fsync may lie complete in the log behind its end, and a crash would bring it back.
        // This one overwrites it.
        sqlx::query(
            "INSERT INTO writers (id, batch, fence) VALUES (?1, -1, 1) ON CONFLICT (id) DO UPDATE SET fence = fence + 1",
        )
        .bind(&id)
        .execute(&mut *sql)
        .await?;
        sqlx::query("COMMIT").execute(sql).await?;
        Ok(last == Some(batch))
    }

    async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        let sql = match self.sql.take() {
            Some(sql) => sql,
            None => self.options.connect().await?,
        };
        Ok(self.sql.insert(sql))
    }

    /// Ends the connection and whatever transaction it has.
    async fn disconnect(&mut self) {
        if let Some(Err(error)) =
            futures::future::OptionFuture::from(self.sql.take().map(Connection::close)).await
        {
            tracing::debug!(%error, "closing a connection of the store");
        }
    }
}

/// Forgets writers that are long gone; called when a store is opened.
pub(super) async fn prune(sql: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM writers WHERE rowid <= (SELECT max(rowid) FROM writers) - ?1")
        .bind(WRITERS_MAX)
        .execute(sql)
        .await
        .map(drop)
}

/// Applies each job so that it leaves nothing when it is refused; whether any was accepted.
async fn apply_each(
    jobs: &mut [Box<dyn Job>],
    sql: &mut SqliteConnection,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let mut any = false;
    for job in jobs {
        sqlx::query("SAVEPOINT job").execute(&mut *sql).await?;
        let accepted = job.apply(sql, now).await?;
        if !accepted {
            sqlx::query("ROLLBACK TO job").execute(&mut *sql).await?;
        }
        sqlx::query("RELEASE job").execute(&mut *sql).await?;
        any |= accepted;
    }
    Ok(any)
}

fn reply(jobs: impl IntoIterator<Item = Box<dyn Job>>, result: Result<()>) {
    match result {
        Ok(()) => jobs.into_iter().for_each(|job| job.answer()),
        Err(error) => jobs.into_iter().for_each(|job| job.fail(copy(&error))),
    }
}

/// The same error for each of a group.
fn copy(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.code(), error.to_string());
    match error.hint() {
        Some(hint) => copy.with_hint(hint),
        None => copy,
    }
}

/// The one answer that is not definite.
pub(super) fn unknown() -> Error {
    Error::unavailable("commit_unknown", "the store failed while it committed and does not say what became of it")
        .with_hint("when the store answers again look for the commit id before trying again, and delete no file")
}
