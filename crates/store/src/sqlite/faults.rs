//! Faults that tests put into the writer.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, SqliteConnection};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommitFault {
    /// COMMIT is done and the answer lost.
    AnswerLost,
    /// COMMIT never arrives.
    RequestLost,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// What happens to the next COMMITs.
    pub(super) commits: Mutex<VecDeque<CommitFault>>,
    /// `max_page_count` of the file, a full disk; 0 is no limit.
    pub(super) pages_max: AtomicU32,
}

impl Faults {
    pub(super) async fn commit(&self, sql: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let fault = self.commits.lock().unwrap().pop_front();
        if fault != Some(CommitFault::RequestLost) {
            sqlx::query("COMMIT").execute(sql).await?;
        }
        match fault {
            Some(_) => Err(sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into())),
            None => Ok(()),
        }
    }

    pub(super) async fn limit_pages(&self, sql: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let pages = match self.pages_max.load(Ordering::Relaxed) {
            0 => 1 << 30,
            pages => pages,
        };
        sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
            .execute(sql)
            .await
            .map(drop)
    }
}
