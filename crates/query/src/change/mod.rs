//! Statements that change tables: `CREATE TABLE`, `INSERT`, `DELETE`, `UPDATE`, `MERGE`, `TRUNCATE`, `ALTER TABLE`, `DROP TABLE`. Each is one commit of
//! the lake.
//!
//! A statement becomes a query that gives the rows that come and the places of the rows that go ([`statement`]); the lake writes the files and
//! commits ([`apply`]). One whose rows another writer has changed in the meantime is planned again. Only a
//! caller that may change tables makes a [`ChangeSession`].

mod added;
mod alter;
mod apply;
mod declared;
mod fitted;
mod merge;
mod merge_rows;
mod merge_scope;
mod new_names;
mod parts;
mod statement;
mod target;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{CommitId, Error, ErrorKind, Result};
use forebay_lake::Lake;

use crate::session::{Query, QueryOptions};
pub use statement::ChangeStatement;

/// How often a statement is planned again after another writer's commit.
const ATTEMPTS_MAX: u32 = 10;
const PAUSE_FIRST: Duration = Duration::from_millis(5);

/// Permissions and author of a session.
#[derive(Clone)]
pub struct ChangeOptions {
    pub query: QueryOptions,
    pub author: String,
    /// Makes the id of a commit.
    pub commit_id: Arc<dyn Fn() -> CommitId + Send + Sync>,
    /// Changes such a table too.
    pub is_forced: bool,
}

impl fmt::Debug for ChangeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeOptions")
            .field("author", &self.author)
            .field("is_forced", &self.is_forced)
            .finish_non_exhaustive()
    }
}

/// Changes tables of one branch.
#[derive(Debug)]
pub struct ChangeSession {
    lake: Lake,
    options: ChangeOptions,
    query: Query,
}

/// The effect of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeReport {
    /// As Postgres says it: `INSERT 0 5`.
    pub tag: String,
    /// `None` where nothing changed.
    pub commit: Option<CommitId>,
}

impl ChangeSession {
    pub fn new(lake: Lake, options: ChangeOptions) -> Self {
        let query = Query::new(lake.clone(), options.query.clone());
        Self {
            lake,
            options,
            query,
        }
    }

    /// Runs one statement. `sql` is its text, for the places of errors.
    ///
    /// Errors: `Config` `bad_sql`, `table_exists`, `table_in_use` of a table that a pipeline loads, `table_is_bitemporal`, `system_table`; `NotFound`
    /// `no_such_table`; `Data` for a value that does not fit its column, and `merge_rows`; `Conflict` when other writers changed the same rows each
    /// time; those of [`forebay_lake::Draft`] for changed columns.
    pub async fn run(&self, statement: &ChangeStatement, sql: &str) -> Result<ChangeReport> {
        let mut pause = PAUSE_FIRST;
        for _ in 1..ATTEMPTS_MAX {
            match self.attempt(statement, sql).await {
                Err(error) if is_outdated(&error) => {
                    tracing::debug!(%error, "commit conflict, planning the statement again");
                }
                done => return done,
            }
            self.lake.clock().sleep(pause).await;
            pause *= 2;
        }
        self.attempt(statement, sql).await
    }
}

/// Whether a statement fails because its plan is outdated.
fn is_outdated(error: &Error) -> bool {
    let codes = [
        "rows_moved",
        "schema_moved",
        "property_moved",
        "stale_head",
        "draft_too_old",
    ];
    error.kind() == ErrorKind::Conflict && codes.contains(&error.code())
}
