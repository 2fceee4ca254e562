//! A commit in SQL: compare-and-set by row counts, under the writer's lock.

use std::collections::HashSet;

use async_trait::async_trait;
use forebay_core::{Error, Position, Result, Timestamp};
use sqlx::SqliteConnection;

use super::error::Stop;
use super::log;
use super::operation::Operation;
use super::refs::no_such_branch;
use crate::{Change, Commit, Committed, HeadChange, PositionMove};

/// What can be refused without asking the database.
pub(super) fn validate(commit: &Commit) -> Result<()> {
    let mut tables = HashSet::new();
    if let Some(twice) = commit.heads.iter().find(|head| !tables.insert(&head.table)) {
        return Err(Error::bug(
            "table_twice",
            format!("a commit changes table {} twice", twice.table),
        ));
    }
    if let Some(nothing) = commit
        .heads
        .iter()
        .find(|head| head.expected.is_none() && head.change == Change::Drop)
    {
        return Err(Error::bug(
            "drop_of_nothing",
            format!("a commit drops table {} that it never saw", nothing.table),
        ));
    }
    let mut splits = HashSet::new();
    if let Some(twice) = commit
        .positions
        .iter()
        .find(|moved| !splits.insert((&moved.pipeline, &moved.split)))
    {
        let PositionMove {
            pipeline, split, ..
        } = twice;
        return Err(Error::bug(
            "split_twice",
            format!("a commit moves split {split} of pipeline {pipeline} twice"),
        ));
    }
    commit.positions.iter().try_for_each(check_size)
}

fn check_size(moved: &PositionMove) -> Result<()> {
    let bytes = moved.position.to_string().len();
    if bytes <= Position::BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the position of split {} is {bytes} bytes, more than {}",
        moved.split,
        Position::BYTES_MAX
    );
    Err(Error::bug("position_too_big", message).with_context("pipeline", &moved.pipeline))
}

/// The row of a commit that is being made.
#[derive(Clone, Copy)]
struct Row {
    seq: i64,
    branch: i64,
}

#[async_trait]
impl Operation for Commit {
    type Answer = Committed;

    async fn apply(&self, sql: &mut SqliteConnection, now: Timestamp) -> Result<Committed, Stop> {
        let Some((row, at)) = append(self, sql, now).await? else {
            return found(self, sql).await;
        };
        for head in &self.heads {
            set_head(sql, row, head)
                .await
                .map_err(|stop| on_branch(self, stop))?;
        }
        for moved in &self.positions {
            move_position(sql, row, moved)
                .await
                .map_err(|stop| on_branch(self, stop))?;
        }
        Ok(Committed { id: self.id, at })
    }
}

fn on_branch(commit: &Commit, stop: Stop) -> Stop {
    match stop {
        Stop::Refused(error) => Stop::Refused(error.with_context("branch", &commit.branch)),
        broken @ Stop::Broken(_) => broken,
    }
}

/// Adds the commit to the log; `None` when its id is there already or the branch is not.
async fn append(
    commit: &Commit,
    sql: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<(Row, Timestamp)>, sqlx::Error> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
        "INSERT INTO commits (id, parent, branch, at, author, message, run)
         SELECT ?1, head_seq, id, max(?2, coalesce((SELECT max(at) + 1 FROM commits), ?2)), ?3, ?4, ?5
         FROM branches WHERE name = ?6 AND dropped_at IS NULL
         ON CONFLICT (id) DO NOTHING
         RETURNING seq, branch, at",
    )
    .bind(commit.id.to_string())
    .bind(now.micros())
    .bind(&commit.author)
    .bind(&commit.message)
    .bind(commit.run.map(|run| run.to_string()))
    .bind(commit.branch.as_str())
    .fetch_all(sql)
    .await?;
    Ok(rows
        .first()
        .map(|&(seq, branch, at)| (Row { seq, branch }, Timestamp(at))))
}

/// A commit that was made before, by a caller that did not hear the answer.
async fn found(commit: &Commit, sql: &mut SqliteConnection) -> Result<Committed, Stop> {
    let at: Option<i64> = sqlx::query_scalar("SELECT at FROM commits WHERE id = ?1")
        .bind(commit.id.to_string())
        .fetch_optional(sql)
        .await?;
    match at {
        Some(at) => Ok(Committed {
            id: commit.id,
            at: Timestamp(at),
        }),
        None => Err(no_such_branch(&commit.branch).into()),
    }
}

async fn set_head(sql: &mut SqliteConnection, row: Row, head: &HeadChange) -> Result<(), Stop> {
    if head.expected.is_some() && update_head(sql, row, head).await? {
        return Ok(());
    }
    // The table is new, or the branch has it from its base, or it moved.
    let lineage = log::lineage(sql, row.branch, row.seq - 1).await?;
    let now = log::place(sql, &lineage, &head.table)
        .await?
        .map(|(_, location)| location);
    if now != head.expected {
        return Err(stale_head(head, now.as_deref()).into());
    }
    insert_head(sql, row, head).await?;
    Ok(())
}

/// The usual case: the branch has the table itself, where the caller saw it.
async fn update_head(
    sql: &mut SqliteConnection,
    row: Row,
    head: &HeadChange,
) -> Result<bool, sqlx::Error> {
    let updated = sqlx::query(
        "UPDATE heads SET table_uuid = ?1, metadata_location = ?2, previous_metadata_location = metadata_location, seq = ?3
         WHERE branch = ?4 AND namespace = ?5 AND name = ?6 AND metadata_location = ?7",
    )
    .bind(head.uuid.to_string())
    .bind(location(&head.change))
    .bind(row.seq)
    .bind(row.branch)
    .bind(head.table.namespace.as_str())
    .bind(head.table.name.as_str())
    .bind(&head.expected)
    .execute(sql)
    .await?;
    Ok(updated.rows_affected() == 1)
}

async fn insert_head(
    sql: &mut SqliteConnection,
    row: Row,
    head: &HeadChange,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO heads (table_uuid, metadata_location, previous_metadata_location, seq, branch, namespace, name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (branch, namespace, name) DO UPDATE SET
             table_uuid = excluded.table_uuid,
             metadata_location = excluded.metadata_location,
             previous_metadata_location = excluded.previous_metadata_location,
             seq = excluded.seq",
    )
    .bind(head.uuid.to_string())
    .bind(location(&head.change))
    .bind(&head.expected)
    .bind(row.seq)
    .bind(row.branch)
    .bind(head.table.namespace.as_str())
    .bind(head.table.name.as_str())
    .execute(sql)
    .await
    .map(drop)
}

fn location(change: &Change) -> Option<&str> {
    match change {
        Change::Set(location) => Some(location),
        Change::Drop => None,
    }
}

fn stale_head(head: &HeadChange, now: Option<&str>) -> Error {
    let show = |location: Option<&str>| location.unwrap_or("no such table").to_owned();
    Error::conflict(
        "stale_head",
        format!("table {} moved since it was read", head.table),
    )
    .with_context("now", show(now))
    .with_context("read", show(head.expected.as_deref()))
    .with_hint("reload the table, make the change again upon it, and commit that")
}

async fn move_position(
    sql: &mut SqliteConnection,
    row: Row,
    moved: &PositionMove,
) -> Result<(), Stop> {
    let updated = sqlx::query(
        "UPDATE positions SET sequence = sequence + 1, position = ?1, seq = ?2
         WHERE branch = ?3 AND pipeline = ?4 AND split = ?5 AND epoch = ?6 AND sequence = ?7",
    )
    .bind(moved.position.to_string())
    .bind(row.seq)
    .bind(row.branch)
    .bind(moved.pipeline.as_str())
    .bind(moved.split.as_str())
    .bind(moved.epoch)
    .bind(moved.sequence)
    .execute(&mut *sql)
    .await?;
    if updated.rows_affected() == 1 {
        return Ok(());
    }
    let stands: Option<(i64, i64)> = sqlx::query_as(
        "SELECT epoch, sequence FROM positions WHERE branch = ?1 AND pipeline = ?2 AND split = ?3",
    )
    .bind(row.branch)
    .bind(moved.pipeline.as_str())
    .bind(moved.split.as_str())
    .fetch_optional(sql)
    .await?;
    Err(stale_epoch(moved, stands).into())
}

fn stale_epoch(moved: &PositionMove, stands: Option<(i64, i64)>) -> Error {
    let PositionMove {
        pipeline,
        split,
        epoch,
        sequence,
        ..
    } = moved;
    let message = match stands {
        None => format!("split {split} of pipeline {pipeline} was never taken"),
        Some((now, _)) if now != *epoch => {
            format!(
                "split {split} of pipeline {pipeline} was taken by another process: epoch {now}, ours is {epoch}"
            )
        }
        Some((_, now)) => {
            format!(
                "split {split} of pipeline {pipeline} moved to sequence {now}, this commit was made at {sequence}"
            )
        }
    };
    Error::conflict("stale_epoch", message)
        .with_hint("stop this writer; take the lease again to go on where the other one is")
}
