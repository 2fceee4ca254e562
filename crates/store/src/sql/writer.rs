//! The one task that writes: takes the queued requests, applies them in one SQL transaction, answers.
//!
//! In a group a refused operation does not affect the others. A database error discards the transaction with its
//! connection; COMMIT is never sent after a failed statement (Postgres would answer it with success, having rolled
//! back). An error of COMMIT itself (or a timeout) leaves the result unknown: a new connection then looks for the mark
//! that the transaction wrote, so that callers get a definite answer. The task ends when every handle of the store is dropped.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, Result};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

#[cfg(test)]
use super::faults::Faults;
use super::group;
use super::operation::Job;
use crate::database::{
    CatalogMark, CatalogProgress, Connection, Database, Sql, explain, is_busy, is_cut, query,
};

/// Operations waiting for the writer; a caller waits for room.
pub(crate) const QUEUE_MAX: usize = 1024;
/// Operations in one SQL transaction.
const GROUP_MAX: usize = 64;
/// How often a group is tried when the store is locked, the connection was cut before COMMIT, or COMMIT failed and left
/// nothing; and the first pause between two times (it doubles).
const ATTEMPTS_MAX: u32 = 6;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(20);
/// How often the outcome of a COMMIT is looked up, the first pause between attempts (it doubles), and the last.
const SETTLE_ATTEMPTS_MAX: u32 = 16;
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(3);

pub(crate) struct Writer {
    database: Database,
    clock: Arc<dyn Clock>,
    id: Uuid,
    batch: i64,
    connection: Option<Connection>,
    mark: Option<WriterMark>,
    #[cfg(test)]
    pub(crate) faults: Arc<Faults>,
}

/// The mark of the catalog, and its content after the current transaction.
struct WriterMark {
    mark: CatalogMark,
    next: CatalogProgress,
    has_failed: bool,
}

impl WriterMark {
    fn new(mark: CatalogMark) -> Self {
        Self {
            mark,
            next: CatalogProgress::default(),
            has_failed: false,
        }
    }

    /// Takes the ordinal for a transaction that holds the write lock. The catalog then has everything that the mark can know.
    async fn prepare(&mut self, sql: &mut Sql<'_>) -> Result<(), Failed> {
        // An unreadable mark is written, or reported, after the commit.
        let stored = self.mark.read().ok();
        let progress = CatalogProgress::read(sql).await?;
        let marked = stored.as_ref().and_then(|stored| stored.whole());
        if let Some(marked) = marked.filter(|marked| progress.is_behind(marked)) {
            let error = progress.loss_error(marked, self.mark.path());
            return Err(Failed::Behind(error));
        }
        self.next = progress;
        self.next.transaction += 1;
        Ok(())
    }

    /// After COMMIT. A failure leaves an older mark and fails nothing.
    fn advance(&mut self) {
        match self.mark.advance(&self.next) {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                let path = self.mark.path().display();
                tracing::warn!(%error, file = %path, "failed to write catalog mark");
                self.has_failed = true;
            }
            Err(_) => {}
        }
    }
}

/// Where a group's SQL transaction failed.
enum Failed {
    /// The catalog is older than its mark: nothing is written to it.
    Behind(Error),
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
    pub(crate) fn new(database: Database, clock: Arc<dyn Clock>, connection: Connection) -> Self {
        let mark = database.mark().map(WriterMark::new);
        Self {
            database,
            clock,
            mark,
            id: Uuid::now_v7(),
            batch: 0,
            connection: Some(connection),
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Job>, closing: Arc<Notify>) {
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
                // Queued requests are still applied.
                () = closing.notified() => queue.close(),
            }
        }
        self.disconnect().await;
    }

    async fn serve(&mut self, mut jobs: Vec<Job>) {
        let result = self.attempt(&mut jobs).await;
        // The database may reject one operation (too big for the disk, for an index): the others must not
        // fail with it.
        let one_spoils_all = |error: &Error| ["store_full", "store_sql"].contains(&error.code());
        if result.as_ref().is_err_and(one_spoils_all) && jobs.len() > 1 {
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
    async fn attempt(&mut self, jobs: &mut [Job]) -> Result<()> {
        let mut pause = ATTEMPT_PAUSE;
        let mut attempt = 1;
        loop {
            let error = match self.transact(jobs).await {
                Ok(()) => return Ok(()),
                Err(Failed::Behind(error)) => {
                    self.disconnect().await;
                    return Err(error);
                }
                Err(Failed::Before(error)) => {
                    self.disconnect().await;
                    if !is_busy(&error) && !is_cut(&error) {
                        return Err(explain(error));
                    }
                    error
                }
                Err(Failed::Committing(error)) => {
                    // The caller gets the final error and logs it once.
                    tracing::debug!(%error, "COMMIT failed, looking up its outcome");
                    if self.settle().await? {
                        self.advance_mark();
                        return Ok(());
                    }
                    error
                }
            };
            if attempt == ATTEMPTS_MAX {
                return Err(explain(error));
            }
            attempt += 1;
            self.clock.sleep(pause).await;
            pause *= 2;
        }
    }

    async fn transact(&mut self, jobs: &mut [Job]) -> Result<(), Failed> {
        if !self.prepare(jobs).await? {
            return Ok(());
        }
        self.prepare_mark().await?;
        self.commit().await.map_err(Failed::Committing)?;
        self.advance_mark();
        Ok(())
    }

    async fn prepare_mark(&mut self) -> Result<(), Failed> {
        let (Some(mark), Some(prepared)) = (&mut self.mark, &mut self.connection) else {
            return Ok(());
        };
        mark.prepare(&mut prepared.sql()).await
    }

    fn advance_mark(&mut self) {
        if let Some(mark) = &mut self.mark {
            mark.advance();
        }
    }

    /// Everything up to COMMIT; `false` when nothing was accepted and the transaction is over.
    async fn prepare(&mut self, jobs: &mut [Job]) -> Result<bool, sqlx::Error> {
        let now = self.clock.now();
        self.batch += 1;
        #[cfg(test)]
        let faults = Arc::clone(&self.faults);
        let sql = &mut self.sql().await?;
        #[cfg(test)]
        faults.limit_pages(sql).await?;
        sql.begin().await?;
        let accepted = group::apply(jobs, sql, now).await?;
        if !accepted {
            sql.command("ROLLBACK").await?;
        }
        Ok(accepted)
    }

    async fn commit(&mut self) -> Result<(), sqlx::Error> {
        let prepared = self.connection.as_mut();
        let mut sql = prepared
            .expect("a prepared transaction has its connection")
            .sql();
        #[cfg(test)]
        return self.faults.commit(&mut sql, &self.id, self.batch).await;
        #[cfg(not(test))]
        sql.mark_and_commit(&self.id, self.batch).await
    }

    /// Whether the last transaction is there.
    async fn settle(&mut self) -> Result<bool> {
        let mut pause = SETTLE_PAUSE;
        for _ in 1..SETTLE_ATTEMPTS_MAX {
            match self.look().await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    tracing::debug!(%error, "failed to look up the outcome of a commit");
                }
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(SETTLE_PAUSE_MAX);
        }
        self.look()
            .await
            .map_err(|error| unknown().with_source(error))
    }

    async fn look(&mut self) -> Result<bool, sqlx::Error> {
        // The old connection must be closed before the look-up, or it might still finish. On Postgres the server may
        // not have noticed, or not be done: its transaction holds the lock until it is over, and `begin` waits for that.
        self.disconnect().await;
        let id = self.id.to_string();
        let batch = self.batch;
        let sql = &mut self.sql().await?;
        sql.begin().await?;
        let last: Option<(i64,)> = query("SELECT batch FROM writers WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(sql)
            .await?;
        // A write of SQLite that failed in fsync may lie complete in the log behind its end, and a crash would bring it
        // back. This one overwrites it.
        query(
            "INSERT INTO writers (id, batch, fence) VALUES ($1, -1, 1)
             ON CONFLICT (id) DO UPDATE SET fence = writers.fence + 1",
        )
        .bind(id)
        .execute(sql)
        .await?;
        sql.command("COMMIT").await?;
        Ok(last == Some((batch,)))
    }

    async fn sql(&mut self) -> Result<Sql<'_>, sqlx::Error> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.database.connect().await?,
        };
        Ok(self.connection.insert(connection).sql())
    }

    /// Ends the connection and whatever transaction it has.
    async fn disconnect(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "closing a connection of the store");
        }
    }
}

fn reply(jobs: impl IntoIterator<Item = Job>, result: Result<()>) {
    match result {
        Ok(()) => jobs.into_iter().for_each(Job::answer),
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
pub(crate) fn unknown() -> Error {
    Error::unavailable(
        "commit_unknown",
        "the store failed during COMMIT and its outcome is unknown",
    )
    .with_hint(
        "when the store answers again, look up the commit id before you retry, and delete no file",
    )
}
