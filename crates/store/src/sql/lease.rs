//! Leases and positions in SQL.
//!
//! Time is that of the requesting process, on Postgres too: a lease is a hint, and the epoch fences out others. So
//! clocks of several machines that differ cost work done twice (a live holder is fenced early) or waiting, never data;
//! they should differ by less than a third of a lease, after which it is renewed.
//!
//! A clock that jumps must not lock a split for ever: a lease that would last longer than twice its length
//! was written under another time, and counts as expired. Its holder, if alive, is fenced like any other.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Error, Ident, Position, RefName, Result, Timestamp};

use super::checksum::PositionRow;
use super::error::{Stop, corrupt, parse};
use super::log::{self, Level, live_branch};
use super::operation::Operation;
use super::refs;
use crate::database::{Sql, query};
use crate::{Lease, LeaseRequest};

pub(crate) struct Take {
    pub(crate) request: LeaseRequest,
    pub(crate) steal: bool,
}

#[async_trait]
impl Operation for Take {
    type Answer = Lease;

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<Lease, Stop> {
        let request = &self.request;
        let (branch, head) = live_branch(sql, &request.branch).await?;
        if refs::find(sql, &request.branch)
            .await?
            .is_some_and(|found| found.is_tag)
        {
            return Err(refs::tag_is_fixed(&request.branch).into());
        }
        if !self.steal {
            check_free(sql, branch, request, now).await?;
        }
        hold(sql, branch, request, now).await?;
        if let Some(lease) = next_epoch(sql, branch, request).await? {
            return Ok(lease);
        }
        first_epoch(sql, branch, head, request).await
    }
}

async fn check_free(
    sql: &mut Sql<'_>,
    branch: i64,
    request: &LeaseRequest,
    now: Timestamp,
) -> Result<(), Stop> {
    let held: Option<(String, i64, i64)> = query(
        "SELECT owner, until, duration_us FROM leases
         WHERE branch = $1 AND pipeline = $2 AND split = $3 AND owner IS NOT NULL",
    )
    .bind(branch)
    .bind(request.pipeline.as_str())
    .bind(request.split.as_str())
    .fetch_optional(sql)
    .await?;
    let Some((owner, until, duration_us)) = held else {
        return Ok(());
    };
    let left_us = until.saturating_sub(now.micros());
    if owner == request.owner || left_us <= 0 || left_us > duration_us.saturating_mul(2) {
        return Ok(());
    }
    let message = format!(
        "split {} of pipeline {} is held by {owner} until {}",
        request.split,
        request.pipeline,
        Timestamp(until)
    );
    Err(Error::conflict("leased", message)
        .with_context("branch", &request.branch)
        .with_hint("wait until it ends, or steal it when that process is dead")
        .into())
}

async fn hold(
    sql: &mut Sql<'_>,
    branch: i64,
    request: &LeaseRequest,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO leases (branch, pipeline, split, owner, until, duration_us) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (branch, pipeline, split) DO UPDATE SET
             owner = excluded.owner, until = excluded.until, duration_us = excluded.duration_us",
    )
    .bind(branch)
    .bind(request.pipeline.as_str())
    .bind(request.split.as_str())
    .bind(request.owner.as_str())
    .bind(now.plus(request.duration).micros())
    .bind(micros(request.duration))
    .execute(sql)
    .await
    .map(drop)
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The current row of a split on a branch.
#[derive(sqlx::FromRow)]
struct StoredPosition {
    epoch: i64,
    sequence: i64,
    position: Option<String>,
    seq: Option<i64>,
    checksum: Option<i64>,
}

impl StoredPosition {
    fn row<'a>(&'a self, branch: i64, pipeline: &'a str, split: &'a str) -> PositionRow<'a> {
        PositionRow {
            branch,
            pipeline,
            split,
            epoch: self.epoch,
            sequence: self.sequence,
            position: self.position.as_deref(),
            seq: self.seq,
        }
    }
}

async fn next_epoch(
    sql: &mut Sql<'_>,
    branch: i64,
    request: &LeaseRequest,
) -> Result<Option<Lease>, Stop> {
    let pipeline = request.pipeline.as_str();
    let split = request.split.as_str();
    let stored: Option<StoredPosition> = query(
        "SELECT epoch, sequence, position, seq, checksum FROM positions
         WHERE branch = $1 AND pipeline = $2 AND split = $3",
    )
    .bind(branch)
    .bind(pipeline)
    .bind(split)
    .fetch_optional(sql)
    .await?;
    let Some(mut current) = stored else {
        return Ok(None);
    };
    current
        .row(branch, pipeline, split)
        .check(current.checksum)?;
    if let Some(newest) = newest_move(sql, branch, request).await? {
        let logged = (newest.seq, newest.sequence, &newest.position);
        if logged != (current.seq, current.sequence, &current.position) {
            return Err(older_than_log(request, &current, &newest).into());
        }
    }
    current.epoch += 1;
    let checksum = current.row(branch, pipeline, split).checksum();
    query(
        "UPDATE positions SET epoch = $4, checksum = $5 WHERE branch = $1 AND pipeline = $2 AND split = $3",
    )
    .bind(branch)
    .bind(pipeline)
    .bind(split)
    .bind(current.epoch)
    .bind(checksum)
    .execute(sql)
    .await?;
    Ok(Some(Lease {
        epoch: current.epoch,
        sequence: current.sequence,
        position: read_from(current.position)?,
    }))
}

/// The newest position of the split in the log of the branch itself.
async fn newest_move(
    sql: &mut Sql<'_>,
    branch: i64,
    request: &LeaseRequest,
) -> Result<Option<StoredPosition>, Stop> {
    let pipeline = request.pipeline.as_str();
    let split = request.split.as_str();
    let newest: Option<StoredPosition> = query(
        "SELECT epoch, sequence, position, seq, checksum FROM moves
         WHERE branch = $1 AND pipeline = $2 AND split = $3 ORDER BY seq DESC LIMIT 1",
    )
    .bind(branch)
    .bind(pipeline)
    .bind(split)
    .fetch_optional(sql)
    .await?;
    if let Some(newest) = &newest {
        newest.row(branch, pipeline, split).check(newest.checksum)?;
    }
    Ok(newest)
}

/// For example a page of the file was not written: the row is valid, but later data would be loaded again.
fn older_than_log(
    request: &LeaseRequest,
    current: &StoredPosition,
    newest: &StoredPosition,
) -> Error {
    let message = format!(
        "split {} of pipeline {} is at commit {} in the catalog, but at {} in its log",
        request.split, request.pipeline, current.sequence, newest.sequence
    );
    Error::bug("store_corrupt", message).with_hint(
        "stop every process, keep a copy of the store and restore it from a backup; `forebay verify` lists the damage",
    )
}

/// The split is new on this branch, or has lost its row: it starts at its logged position, on a new branch at the position of the base when
/// the branch was made.
async fn first_epoch(
    sql: &mut Sql<'_>,
    branch: i64,
    head: i64,
    request: &LeaseRequest,
) -> Result<Lease, Stop> {
    let lineage = log::lineage(sql, branch, head).await?;
    let start = inherited(sql, &lineage, (&request.pipeline, &request.split)).await?;
    // Above every epoch that a deleted row has committed with.
    let own = newest_move(sql, branch, request).await?;
    let epoch = own.as_ref().map_or(1, |own| own.epoch + 1);
    let seq = own.and_then(|own| own.seq);
    let (sequence, position) =
        start.map_or((0, None), |(sequence, position)| (sequence, Some(position)));
    let row = PositionRow {
        branch,
        pipeline: request.pipeline.as_str(),
        split: request.split.as_str(),
        epoch,
        sequence,
        position: position.as_deref(),
        seq,
    };
    query(
        "INSERT INTO positions (branch, pipeline, split, epoch, sequence, position, seq, checksum)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(branch)
    .bind(request.pipeline.as_str())
    .bind(request.split.as_str())
    .bind(epoch)
    .bind(sequence)
    .bind(position.as_deref())
    .bind(seq)
    .bind(row.checksum())
    .execute(sql)
    .await?;
    Ok(Lease {
        epoch,
        sequence,
        position: read_from(position)?,
    })
}

/// Sequence and position of a split in a state; `None` when nothing has moved it.
pub(super) async fn inherited(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    (pipeline, split): (&Ident, &Ident),
) -> Result<Option<(i64, String)>, Stop> {
    let (pipeline, split) = (pipeline.as_str(), split.as_str());
    for level in lineage {
        let found: Option<StoredPosition> = query(
            "SELECT epoch, sequence, position, seq, checksum FROM moves
             WHERE branch = $1 AND pipeline = $2 AND split = $3 AND seq <= $4 ORDER BY seq DESC LIMIT 1",
        )
        .bind(level.branch)
        .bind(pipeline)
        .bind(split)
        .bind(level.upto)
        .fetch_optional(sql)
        .await?;
        if let Some(found) = found {
            found
                .row(level.branch, pipeline, split)
                .check(found.checksum)?;
            return Ok(found.position.map(|position| (found.sequence, position)));
        }
    }
    Ok(None)
}

/// `None` for a split that was never read, or was set back to its start.
fn read_from(json: Option<String>) -> Result<Option<Position>> {
    let position = json.map(|json| read(&json)).transpose()?;
    Ok(position.filter(|position| !position.is_start()))
}

pub(super) fn read(json: &str) -> Result<Position> {
    serde_json::from_str(json)
        .map(Position)
        .map_err(|_| corrupt("a position", json))
}

pub(crate) struct Renew {
    pub(crate) request: LeaseRequest,
    pub(crate) epoch: i64,
}

#[async_trait]
impl Operation for Renew {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<(), Stop> {
        let request = &self.request;
        let (branch, _) = live_branch(sql, &request.branch).await?;
        let renewed = query(
            "UPDATE leases SET until = $1, duration_us = $2
             WHERE branch = $3 AND pipeline = $4 AND split = $5 AND owner = $6 AND $7 = (
                 SELECT epoch FROM positions WHERE branch = $3 AND pipeline = $4 AND split = $5)",
        )
        .bind(now.plus(request.duration).micros())
        .bind(micros(request.duration))
        .bind(branch)
        .bind(request.pipeline.as_str())
        .bind(request.split.as_str())
        .bind(request.owner.as_str())
        .bind(self.epoch)
        .execute(sql)
        .await?;
        if renewed == 1 {
            Ok(())
        } else {
            Err(lost(request, self.epoch).into())
        }
    }
}

pub(crate) struct Release {
    pub(crate) request: LeaseRequest,
    pub(crate) epoch: i64,
}

#[async_trait]
impl Operation for Release {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<(), Stop> {
        let request = &self.request;
        let (branch, _) = live_branch(sql, &request.branch).await?;
        let released = query(
            "UPDATE leases SET owner = NULL, until = 0
             WHERE branch = $1 AND pipeline = $2 AND split = $3 AND $4 = (
                 SELECT epoch FROM positions WHERE branch = $1 AND pipeline = $2 AND split = $3)",
        )
        .bind(branch)
        .bind(request.pipeline.as_str())
        .bind(request.split.as_str())
        .bind(self.epoch)
        .execute(sql)
        .await?;
        if released == 1 {
            Ok(())
        } else {
            Err(lost(request, self.epoch).into())
        }
    }
}

fn lost(request: &LeaseRequest, epoch: i64) -> Error {
    let LeaseRequest {
        pipeline,
        split,
        owner,
        ..
    } = request;
    let message =
        format!("{owner} no longer holds split {split} of pipeline {pipeline} with epoch {epoch}");
    Error::conflict("stale_epoch", message)
        .with_context("branch", &request.branch)
        .with_hint("stop this writer; take the lease again to resume from the newest commit")
}

/// The end of a lease that has not run out.
pub(crate) async fn held_until(
    sql: &mut Sql<'_>,
    (branch, pipeline, split): (&RefName, &Ident, &Ident),
    now: Timestamp,
) -> Result<Option<Timestamp>, Stop> {
    let (branch, _) = live_branch(sql, branch).await?;
    let until: Option<(i64,)> = query(
        "SELECT until FROM leases WHERE branch = $1 AND pipeline = $2 AND split = $3 AND owner IS NOT NULL
             AND until > $4 AND until - $4 <= duration_us * 2",
    )
    .bind(branch)
    .bind(pipeline.as_str())
    .bind(split.as_str())
    .bind(now.micros())
    .fetch_optional(sql)
    .await?;
    Ok(until.map(|(until,)| Timestamp(until)))
}

/// Every split that has a position, nearest branch first.
pub(crate) async fn positions(
    sql: &mut Sql<'_>,
    branch: &RefName,
    pipeline: &Ident,
) -> Result<Vec<(Ident, i64, Position)>, Stop> {
    let (id, head) = live_branch(sql, branch).await?;
    let mut splits: BTreeMap<Ident, (i64, Position)> = BTreeMap::new();
    for level in log::lineage(sql, id, head).await? {
        for found in level_positions(sql, level, pipeline).await? {
            found.check(level.branch, pipeline)?;
            let position = read(&found.position)?;
            splits
                .entry(parse("a split", &found.split)?)
                .or_insert((found.sequence, position));
        }
    }
    Ok(splits
        .into_iter()
        .filter(|(_, (_, position))| !position.is_start())
        .map(|(split, (sequence, position))| (split, sequence, position))
        .collect())
}

#[derive(sqlx::FromRow)]
struct LevelPosition {
    split: String,
    epoch: i64,
    sequence: i64,
    position: String,
    seq: i64,
    checksum: Option<i64>,
}

impl LevelPosition {
    fn check(&self, branch: i64, pipeline: &Ident) -> Result<()> {
        let row = PositionRow {
            branch,
            pipeline: pipeline.as_str(),
            split: &self.split,
            epoch: self.epoch,
            sequence: self.sequence,
            position: Some(&self.position),
            seq: Some(self.seq),
        };
        row.check(self.checksum)
    }
}

/// `positions` lists the splits, the log has the position of each. A split that was only taken has not moved.
async fn level_positions(
    sql: &mut Sql<'_>,
    level: Level,
    pipeline: &Ident,
) -> Result<Vec<LevelPosition>, sqlx::Error> {
    query(LEVEL_POSITIONS)
        .bind(level.branch)
        .bind(pipeline.as_str())
        .bind(level.upto)
        .fetch_all(sql)
        .await
}

/// CROSS JOIN: from the few splits to the many moves, not the other way.
pub(crate) const LEVEL_POSITIONS: &str = "SELECT p.split, m.epoch, m.sequence, m.position, m.seq, m.checksum
     FROM positions p CROSS JOIN moves m
     WHERE p.branch = $1 AND p.pipeline = $2 AND m.branch = p.branch AND m.pipeline = p.pipeline AND m.split = p.split AND m.seq = (
             SELECT max(o.seq) FROM moves o
             WHERE o.branch = p.branch AND o.pipeline = p.pipeline AND o.split = p.split AND o.seq <= $3)";
