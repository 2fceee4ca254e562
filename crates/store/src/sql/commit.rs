//! Commits in SQL: each is compared with the current state, and those that apply are written together.
//!
//! All of it happens under the writer's lock, so the state that was read stays valid. The statements that write compare again and
//! their row counts are checked: if anybody writes without the lock, the transaction is aborted.

pub(super) mod rows;
pub(super) mod state;

use std::collections::HashSet;

use forebay_core::{Error, Position, Result, Timestamp};

use self::rows::Rows;
use self::state::{At, State};
use super::error::Stop;
use super::log;
use super::refs::{no_such_branch, tag_is_fixed};
use crate::database::Sql;
use crate::{Change, Commit, Committed, HeadChange, PositionMove};

/// Checks that need no database.
pub(crate) fn validate(commit: &Commit) -> Result<()> {
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
    commit.positions.iter().try_for_each(check_move)
}

fn check_move(moved: &PositionMove) -> Result<()> {
    if moved.sequence_after <= moved.sequence {
        let what = format!("the sequence of split {} does not grow", moved.split);
        return Err(Error::bug("sequence_must_grow", what));
    }
    check_size(moved)
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

/// Makes those of the commits that may be made, in their order. They must not touch each other: no id, table of a
/// branch, or split of a branch is in two of them.
pub(crate) async fn apply(
    commits: &[&Commit],
    sql: &mut Sql<'_>,
    now: Timestamp,
) -> Result<Vec<Result<Committed>>, sqlx::Error> {
    let state = State::read(commits, sql).await?;
    let mut rows = Rows::after(state.end, now);
    let mut results = Vec::with_capacity(commits.len());
    for (commit, at) in commits.iter().zip(&state.commits) {
        results.push(match check(commit, at, sql).await {
            Ok(Checked::Made(committed)) => Ok(committed),
            Ok(Checked::May { branch, head }) => rows.add(commit, branch, head),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Broken(error)) => return Err(error),
        });
    }
    rows.write(sql).await?;
    Ok(results)
}

enum Checked {
    /// By a caller that got no answer and retries.
    Made(Committed),
    May {
        branch: i64,
        head: Option<i64>,
    },
}

async fn check(commit: &Commit, found: &At, sql: &mut Sql<'_>) -> Result<Checked, Stop> {
    if let Some(at) = found.made_at {
        let id = commit.id;
        let at = Timestamp(at);
        return Ok(Checked::Made(Committed { id, at }));
    }
    let Some(branch) = &found.branch else {
        return Err(no_such_branch(&commit.branch).into());
    };
    if branch.is_tag {
        return Err(tag_is_fixed(&commit.branch).into());
    }
    let on_branch = |error: Error| error.with_context("branch", &commit.branch);
    for (change, own) in commit.heads.iter().zip(&found.heads) {
        let now = match own {
            Some(location) => location.clone(),
            None if branch.base.is_none() => None,
            None => inherited(sql, branch, change).await?,
        };
        if now != change.expected {
            return Err(on_branch(stale_head(change, now.as_deref())).into());
        }
    }
    for (moved, current) in commit.positions.iter().zip(&found.splits) {
        if *current != Some((moved.epoch, moved.sequence)) {
            return Err(on_branch(stale_epoch(moved, *current)).into());
        }
    }
    let (branch, head) = (branch.id, branch.head);
    Ok(Checked::May { branch, head })
}

/// Where a table is that the branch has not touched itself.
async fn inherited(
    sql: &mut Sql<'_>,
    branch: &state::Branch,
    change: &HeadChange,
) -> Result<Option<String>, Stop> {
    let lineage = log::lineage(sql, branch.id, branch.head.unwrap_or(0)).await?;
    let place = log::place(sql, &lineage, &change.table).await?;
    Ok(place.map(|(_, location)| location))
}

fn stale_head(head: &HeadChange, now: Option<&str>) -> Error {
    let show = |location: Option<&str>| location.unwrap_or("no such table").to_owned();
    Error::conflict(
        "stale_head",
        format!("table {} moved since it was read", head.table),
    )
    .with_context("now", show(now))
    .with_context("read", show(head.expected.as_deref()))
    .with_hint("reload the table, redo the change and commit again")
}

fn stale_epoch(moved: &PositionMove, current: Option<(i64, i64)>) -> Error {
    let PositionMove {
        pipeline,
        split,
        epoch,
        sequence,
        ..
    } = moved;
    let message = match current {
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
        .with_hint("stop this writer; take the lease again to resume from the newest commit")
}
