//! Deleting rows of the log that no kept state needs, a page a transaction, so that commits never wait long.

use std::ops::RangeInclusive;

use async_trait::async_trait;
use forebay_core::{Result, Timestamp};

use super::error::Stop;
use super::horizon::{self, Kept, PAGE_ROWS};
use super::operation::Operation;
use crate::database::{Sql, query};
use crate::horizon::PlaceCursor;

/// Commits, or runs, that one transaction deletes.
const DELETED_AT_ONCE: i64 = 500;

/// The oldest commits that nothing refers to: `$1` instant, `$2` the horizon's commit, `$3` how many.
macro_rules! old_commits {
    () => {
        "SELECT c.seq FROM commits c
         WHERE c.at < $1 AND c.seq < $2
             AND NOT EXISTS (SELECT 1 FROM heads h WHERE h.seq = c.seq)
             AND NOT EXISTS (SELECT 1 FROM positions p WHERE p.seq = c.seq)
             AND NOT EXISTS (SELECT 1 FROM branches b WHERE b.base_seq = c.seq OR b.head_seq = c.seq)
         ORDER BY c.at LIMIT $3"
    };
}

/// The oldest runs that ended: `$1` instant, `$2` how many.
macro_rules! old_runs {
    () => {
        "SELECT id FROM runs WHERE started_at < $1 AND ended_at < $1 ORDER BY started_at, id LIMIT $2"
    };
}

/// One of the two tables of the log with earlier states.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Log {
    Changes,
    Moves,
}

impl Log {
    /// A page of rows from a key on.
    fn page(self) -> &'static str {
        match self {
            Self::Changes => {
                "SELECT branch, namespace, name, seq FROM changes
                 WHERE (branch, namespace, name, seq) >= ($1, $2, $3, $4)
                 ORDER BY branch, namespace, name, seq LIMIT $5"
            }
            Self::Moves => {
                "SELECT branch, pipeline, split, seq FROM moves
                 WHERE (branch, pipeline, split, seq) >= ($1, $2, $3, $4)
                 ORDER BY branch, pipeline, split, seq LIMIT $5"
            }
        }
    }

    /// Rows about one thing from one commit to another.
    fn delete(self) -> &'static str {
        match self {
            Self::Changes => {
                "DELETE FROM changes WHERE branch = $1 AND namespace = $2 AND name = $3 AND seq BETWEEN $4 AND $5"
            }
            Self::Moves => {
                "DELETE FROM moves WHERE branch = $1 AND pipeline = $2 AND split = $3 AND seq BETWEEN $4 AND $5"
            }
        }
    }
}

/// Deletes the unneeded rows of one page; returns their number, and where the next page begins.
pub(crate) struct ForgetPage {
    pub(crate) log: Log,
    pub(crate) from: PlaceCursor,
}

type Key = (i64, String, String, i64);

#[async_trait]
impl Operation for ForgetPage {
    type Answer = (u64, Option<PlaceCursor>);

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<Self::Answer, Stop> {
        // The horizon as of this transaction: it covers branches created since.
        let Some(horizon) = horizon::current(sql).await? else {
            return Ok((0, None));
        };
        let kept = Kept::read(sql, horizon).await?;
        let rows: Vec<Key> = query(self.log.page())
            .bind(self.from.branch)
            .bind(self.from.names.0.as_str())
            .bind(self.from.names.1.as_str())
            .bind(self.from.seq)
            .bind(PAGE_ROWS as i64 + 1)
            .fetch_all(sql)
            .await?;
        let mut deleted = 0;
        for (key, seqs) in not_needed(&rows, &kept) {
            deleted += query(self.log.delete())
                .bind(key.0)
                .bind(key.1.as_str())
                .bind(key.2.as_str())
                .bind(*seqs.start())
                .bind(*seqs.end())
                .execute(sql)
                .await?;
        }
        let next = rows.get(PAGE_ROWS).map(|row| PlaceCursor {
            branch: row.0,
            names: (row.1.clone(), row.2.clone()),
            seq: row.3,
        });
        Ok((deleted, next))
    }
}

/// Runs of rows of one table or split that are not needed. The row after the page only marks the end of the last one.
fn not_needed<'a>(rows: &'a [Key], kept: &Kept) -> Vec<(&'a Key, RangeInclusive<i64>)> {
    let mut runs: Vec<(&Key, RangeInclusive<i64>)> = Vec::new();
    let mut goes_on = false;
    for (at, row) in rows.iter().enumerate().take(PAGE_ROWS) {
        let about = |row: &'a Key| (row.0, &row.1, &row.2);
        let next = rows.get(at + 1).filter(|next| about(next) == about(row));
        if kept.needs(row.0, row.3, next.map(|next| next.3)) {
            goes_on = false;
            continue;
        }
        match runs.last_mut() {
            Some((first, seqs)) if goes_on && about(first) == about(row) => {
                *seqs = *seqs.start()..=row.3;
            }
            _ => runs.push((row, row.3..=row.3)),
        }
        goes_on = true;
    }
    runs
}

/// Deletes the rows of branches dropped before the horizon; their names stay in the log.
pub(crate) struct ForgetBranches;

#[async_trait]
impl Operation for ForgetBranches {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<(), Stop> {
        let Some(horizon) = horizon::current(sql).await? else {
            return Ok(());
        };
        let kept = Kept::read(sql, horizon).await?;
        let dropped: Vec<(i64,)> =
            query("SELECT id FROM branches WHERE dropped_at < $1 AND EXISTS (SELECT 1 FROM heads WHERE branch = branches.id UNION ALL SELECT 1 FROM positions WHERE branch = branches.id)")
                .bind(horizon.at.micros())
                .fetch_all(sql)
                .await?;
        for (branch,) in dropped.into_iter().filter(|(id,)| !kept.has_branch(*id)) {
            for delete in [
                "DELETE FROM leases WHERE branch = $1",
                "DELETE FROM positions WHERE branch = $1",
                "DELETE FROM heads WHERE branch = $1",
            ] {
                query(delete).bind(branch).execute(sql).await?;
            }
        }
        Ok(())
    }
}

/// Deletes the records of some unreferenced commits from before an instant. The oldest that is left of
/// a branch then has no parent.
pub(crate) struct ForgetCommits(pub(crate) Timestamp);

#[async_trait]
impl Operation for ForgetCommits {
    type Answer = u64;

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<u64, Stop> {
        let Some(horizon) = horizon::current(sql).await? else {
            return Ok(0);
        };
        let until = self.0.min(horizon.at);
        query(concat!(
            "UPDATE commits SET parent = NULL WHERE parent IN (",
            old_commits!(),
            ")"
        ))
        .bind(until.micros())
        .bind(horizon.seq)
        .bind(DELETED_AT_ONCE)
        .execute(sql)
        .await?;
        Ok(query(concat!(
            "DELETE FROM commits WHERE seq IN (",
            old_commits!(),
            ")"
        ))
        .bind(until.micros())
        .bind(horizon.seq)
        .bind(DELETED_AT_ONCE)
        .execute(sql)
        .await?)
    }
}

/// Deletes the records of some runs that ended before an instant.
pub(crate) struct ForgetRuns(pub(crate) Timestamp);

#[async_trait]
impl Operation for ForgetRuns {
    type Answer = u64;

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<u64, Stop> {
        query(concat!(
            "DELETE FROM steps WHERE run IN (",
            old_runs!(),
            ")"
        ))
        .bind(self.0.micros())
        .bind(DELETED_AT_ONCE)
        .execute(sql)
        .await?;
        Ok(
            query(concat!("DELETE FROM runs WHERE id IN (", old_runs!(), ")"))
                .bind(self.0.micros())
                .bind(DELETED_AT_ONCE)
                .execute(sql)
                .await?,
        )
    }
}
