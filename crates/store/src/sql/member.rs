//! Members in SQL: the processes that currently work on a pipeline. Time is that of the requesting process, as with leases.

use async_trait::async_trait;
use forebay_core::Timestamp;

use super::error::Stop;
use super::lease::micros;
use super::log::live_branch;
use super::operation::Operation;
use crate::Member;
use crate::database::{Sql, query};

/// Registers or renews; returns all members.
pub(crate) struct Attend(pub(crate) Member);

#[async_trait]
impl Operation for Attend {
    type Answer = Vec<String>;

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<Vec<String>, Stop> {
        let Member {
            branch,
            pipeline,
            owner,
            duration,
        } = &self.0;
        let (branch, _) = live_branch(sql, branch).await?;
        query(
            "INSERT INTO members (branch, pipeline, owner, until, duration_us) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (branch, pipeline, owner) DO UPDATE SET
                 until = excluded.until, duration_us = excluded.duration_us",
        )
        .bind(branch)
        .bind(pipeline.as_str())
        .bind(owner.as_str())
        .bind(now.plus(*duration).micros())
        .bind(micros(*duration))
        .execute(sql)
        .await?;
        query(
            "DELETE FROM members WHERE branch = $1 AND pipeline = $2
                 AND (until <= $3 OR until - $3 > duration_us * 2)",
        )
        .bind(branch)
        .bind(pipeline.as_str())
        .bind(now.micros())
        .execute(sql)
        .await?;
        let all: Vec<(String,)> =
            query("SELECT owner FROM members WHERE branch = $1 AND pipeline = $2 ORDER BY owner")
                .bind(branch)
                .bind(pipeline.as_str())
                .fetch_all(sql)
                .await?;
        Ok(all.into_iter().map(|(owner,)| owner).collect())
    }
}

/// Goes.
pub(crate) struct Leave(pub(crate) Member);

#[async_trait]
impl Operation for Leave {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<(), Stop> {
        let (branch, _) = live_branch(sql, &self.0.branch).await?;
        query("DELETE FROM members WHERE branch = $1 AND pipeline = $2 AND owner = $3")
            .bind(branch)
            .bind(self.0.pipeline.as_str())
            .bind(self.0.owner.as_str())
            .execute(sql)
            .await?;
        Ok(())
    }
}
