//! Faults that tests put into the writer.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::AssertSqlSafe;

use crate::database::Sql;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// COMMIT is done and the answer lost.
    AnswerLost,
    /// COMMIT never arrives.
    RequestLost,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Faults of the next COMMITs.
    pub(crate) commits: Mutex<VecDeque<CommitFault>>,
    /// `max_page_count` of the file, a full disk; 0 for unlimited.
    pub(crate) pages_max: AtomicU32,
}

impl Faults {
    pub(crate) async fn commit(
        &self,
        sql: &mut Sql<'_>,
        writer: &uuid::Uuid,
        batch: i64,
    ) -> Result<(), sqlx::Error> {
        let fault = self.commits.lock().unwrap().pop_front();
        if fault != Some(CommitFault::RequestLost) {
            sql.mark_and_commit(writer, batch).await?;
        }
        match fault {
            Some(_) => Err(sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into())),
            None => Ok(()),
        }
    }

    pub(crate) async fn limit_pages(&self, sql: &mut Sql<'_>) -> Result<(), sqlx::Error> {
        let Sql::Sqlite(sql) = sql else { return Ok(()) };
        let pages = match self.pages_max.load(Ordering::Relaxed) {
            0 => 1 << 30,
            pages => pages,
        };
        sqlx::query(AssertSqlSafe(format!("PRAGMA max_page_count = {pages}")))
            .execute(&mut **sql)
            .await
            .map(drop)
    }
}
