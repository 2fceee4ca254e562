//! Records of runs in SQL.

use async_trait::async_trait;
use forebay_core::{Ident, RefName, Result, RunId, Timestamp};

use super::error::{Stop, corrupt, parse};
use super::log::live_branch;
use super::operation::Operation;
use crate::database::{Sql, query};
use crate::{RunRecord, RunStatus, StepRecord};

fn word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "running",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Lost => "lost",
    }
}

fn status(word: &str) -> Result<RunStatus> {
    match word {
        "running" => Ok(RunStatus::Running),
        "succeeded" => Ok(RunStatus::Succeeded),
        "failed" => Ok(RunStatus::Failed),
        "lost" => Ok(RunStatus::Lost),
        other => Err(corrupt("the status of a run", other)),
    }
}

/// Whole numbers of the database are signed; no figure of a run is beyond them.
fn signed(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

fn unsigned(figure: i64) -> u64 {
    u64::try_from(figure).unwrap_or(0)
}

pub(crate) struct Record(pub(crate) RunRecord);

#[async_trait]
impl Operation for Record {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<(), Stop> {
        let run = &self.0;
        query(
            "INSERT INTO runs (id, pipeline, branch, status, started_at, ended_at, error)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET
                 pipeline = excluded.pipeline, branch = excluded.branch, status = excluded.status,
                 started_at = excluded.started_at, ended_at = excluded.ended_at, error = excluded.error",
        )
        .bind(run.id.to_string())
        .bind(run.pipeline.as_str())
        .bind(run.branch.as_str())
        .bind(word(run.status))
        .bind(run.started_at.micros())
        .bind(run.ended_at.map(Timestamp::micros))
        .bind(run.error.as_deref())
        .execute(sql)
        .await?;
        query("DELETE FROM steps WHERE run = $1")
            .bind(run.id.to_string())
            .execute(sql)
            .await?;
        for (ordinal, step) in (0_i64..).zip(&run.steps) {
            insert_step(sql, run.id, ordinal, step).await?;
        }
        Ok(())
    }
}

async fn insert_step(
    sql: &mut Sql<'_>,
    run: RunId,
    ordinal: i64,
    step: &StepRecord,
) -> Result<(), sqlx::Error> {
    query(
        "INSERT INTO steps (run, ordinal, step, rows, bytes, cpu_us, wall_us, memory_bytes_max, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(run.to_string())
    .bind(ordinal)
    .bind(step.step.as_str())
    .bind(signed(step.rows))
    .bind(signed(step.bytes))
    .bind(signed(step.cpu_us))
    .bind(signed(step.wall_us))
    .bind(signed(step.memory_bytes_max))
    .bind(step.detail.to_string())
    .execute(sql)
    .await
    .map(drop)
}

pub(crate) struct MarkLost {
    pub(crate) branch: RefName,
    pub(crate) pipeline: Ident,
    pub(crate) except: RunId,
    /// Nothing is marked while somebody else than this owner holds a split.
    pub(crate) unless_held: Option<String>,
}

#[async_trait]
impl Operation for MarkLost {
    type Answer = Vec<RunId>;

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<Vec<RunId>, Stop> {
        if let Some(owner) = &self.unless_held
            && self.held_by_another(owner, sql, now).await?
        {
            return Ok(Vec::new());
        }
        let mut ids: Vec<(String,)> = query(
            "UPDATE runs SET status = 'lost', ended_at = CASE WHEN started_at > $1 THEN started_at ELSE $1 END,
                 error = 'the process crashed or was killed'
             WHERE pipeline = $2 AND branch = $3 AND status = 'running' AND id <> $4
             RETURNING id",
        )
        .bind(now.micros())
        .bind(self.pipeline.as_str())
        .bind(self.branch.as_str())
        .bind(self.except.to_string())
        .fetch_all(sql)
        .await?;
        ids.sort_unstable();
        Ok(ids
            .iter()
            .map(|(id,)| parse("a run id", id))
            .collect::<Result<_>>()?)
    }
}

impl MarkLost {
    /// A lease that would last longer than twice its length counts as expired, as where it is taken.
    async fn held_by_another(
        &self,
        owner: &str,
        sql: &mut Sql<'_>,
        now: Timestamp,
    ) -> Result<bool, Stop> {
        let (branch, _) = live_branch(sql, &self.branch).await?;
        let held: Option<(i64,)> = query(
            "SELECT branch FROM leases WHERE branch = $1 AND pipeline = $2 AND owner <> $3
                 AND until > $4 AND until - $4 <= duration_us * 2 LIMIT 1",
        )
        .bind(branch)
        .bind(self.pipeline.as_str())
        .bind(owner)
        .bind(now.micros())
        .fetch_optional(sql)
        .await?;
        Ok(held.is_some())
    }
}

#[derive(sqlx::FromRow)]
struct RunRow {
    id: String,
    pipeline: String,
    branch: String,
    status: String,
    started_at: i64,
    ended_at: Option<i64>,
    error: Option<String>,
}

#[derive(sqlx::FromRow)]
struct StepRow {
    step: String,
    rows: i64,
    bytes: i64,
    cpu_us: i64,
    wall_us: i64,
    memory_bytes_max: i64,
    detail: String,
}

impl StepRow {
    fn record(self) -> Result<StepRecord> {
        Ok(StepRecord {
            step: self.step,
            rows: unsigned(self.rows),
            bytes: unsigned(self.bytes),
            cpu_us: unsigned(self.cpu_us),
            wall_us: unsigned(self.wall_us),
            memory_bytes_max: unsigned(self.memory_bytes_max),
            detail: serde_json::from_str(&self.detail)
                .map_err(|_| corrupt("figures of a step", &self.detail))?,
        })
    }
}

async fn with_steps(sql: &mut Sql<'_>, row: RunRow) -> Result<RunRecord, Stop> {
    let steps: Vec<StepRow> = query(
        "SELECT step, rows, bytes, cpu_us, wall_us, memory_bytes_max, detail FROM steps WHERE run = $1 ORDER BY ordinal",
    )
    .bind(row.id.as_str())
    .fetch_all(sql)
    .await?;
    Ok(RunRecord {
        id: parse("a run id", &row.id)?,
        pipeline: parse("a pipeline", &row.pipeline)?,
        branch: parse("a branch name", &row.branch)?,
        status: status(&row.status)?,
        started_at: Timestamp(row.started_at),
        ended_at: row.ended_at.map(Timestamp),
        error: row.error,
        steps: steps
            .into_iter()
            .map(StepRow::record)
            .collect::<Result<_>>()?,
    })
}

pub(crate) async fn find(sql: &mut Sql<'_>, id: RunId) -> Result<Option<RunRecord>, Stop> {
    let row: Option<RunRow> = query("SELECT * FROM runs WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(sql)
        .await?;
    match row {
        Some(row) => Ok(Some(with_steps(sql, row).await?)),
        None => Ok(None),
    }
}

pub(crate) async fn list(
    sql: &mut Sql<'_>,
    pipeline: Option<&Ident>,
    limit: u32,
) -> Result<Vec<RunRecord>, Stop> {
    let text = match pipeline {
        Some(_) => {
            "SELECT * FROM runs WHERE pipeline = $2 ORDER BY started_at DESC, id DESC LIMIT $1"
        }
        None => "SELECT * FROM runs ORDER BY started_at DESC, id DESC LIMIT $1",
    };
    let mut statement = query(text).bind(i64::from(limit));
    if let Some(pipeline) = pipeline {
        statement = statement.bind(pipeline.as_str());
    }
    let rows: Vec<RunRow> = statement.fetch_all(sql).await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        records.push(with_steps(sql, row).await?);
    }
    Ok(records)
}
