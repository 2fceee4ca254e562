//! Branches in SQL: a row, whatever the size of the lake.

use async_trait::async_trait;
use forebay_core::{Error, RefName, Result, Timestamp};

use super::error::{Stop, parse};
use super::operation::Operation;
use crate::Branch;
use crate::database::{Sql, query};

pub(crate) fn no_such_branch(name: &RefName) -> Error {
    Error::not_found("no_such_branch", format!("branch {name} not found"))
}

pub(crate) struct CreateBranch {
    pub(crate) name: RefName,
    pub(crate) from: RefName,
}

#[async_trait]
impl Operation for CreateBranch {
    type Answer = Branch;

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<Branch, Stop> {
        if find(sql, &self.name).await?.is_some() {
            return Err(Error::conflict(
                "branch_exists",
                format!("branch {} already exists", self.name),
            )
            .into());
        }
        let inserted = query(
            "INSERT INTO branches (name, base, base_seq, head_seq)
             SELECT $1, id, head_seq, head_seq FROM branches WHERE name = $2 AND dropped_at IS NULL",
        )
        .bind(self.name.as_str())
        .bind(self.from.as_str())
        .execute(sql)
        .await?;
        if inserted != 1 {
            return Err(no_such_branch(&self.from).into());
        }
        find(sql, &self.name)
            .await?
            .ok_or_else(|| no_such_branch(&self.name).into())
    }
}

pub(crate) struct DropBranch(pub(crate) RefName);

#[async_trait]
impl Operation for DropBranch {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<(), Stop> {
        if self.0 == RefName::main() {
            return Err(Error::config("main_stays", "the branch main cannot be dropped").into());
        }
        // The rows stay: the log refers to them, and other branches may be based on this one.
        let dropped =
            query("UPDATE branches SET dropped_at = $1 WHERE name = $2 AND dropped_at IS NULL")
                .bind(now.micros())
                .bind(self.0.as_str())
                .execute(sql)
                .await?;
        if dropped == 1 {
            Ok(())
        } else {
            Err(no_such_branch(&self.0).into())
        }
    }
}

#[derive(sqlx::FromRow)]
struct BranchRow {
    name: String,
    base: Option<String>,
    base_commit: Option<String>,
    head: Option<String>,
}

impl BranchRow {
    fn branch(self) -> Result<Branch> {
        let commit = |id: Option<String>| id.map(|id| parse("a commit id", &id)).transpose();
        let base_commit = commit(self.base_commit)?;
        let base = self
            .base
            .map(|name| Ok::<_, Error>((parse("a branch name", &name)?, base_commit)))
            .transpose()?;
        Ok(Branch {
            name: parse("a branch name", &self.name)?,
            base,
            head: commit(self.head)?,
        })
    }
}

/// The columns of a [`BranchRow`] of live branches; more conditions follow.
macro_rules! branches {
    ($condition:literal) => {
        concat!(
            "SELECT b.name, base.name AS base, base_commit.id AS base_commit, head.id AS head
             FROM branches b
             LEFT JOIN branches base ON base.id = b.base
             LEFT JOIN commits base_commit ON base_commit.seq = b.base_seq
             LEFT JOIN commits head ON head.seq = b.head_seq
             WHERE b.dropped_at IS NULL ",
            $condition
        )
    };
}

async fn find(sql: &mut Sql<'_>, name: &RefName) -> Result<Option<Branch>, Stop> {
    let row: Option<BranchRow> = query(branches!("AND b.name = $1"))
        .bind(name.as_str())
        .fetch_optional(sql)
        .await?;
    Ok(row.map(BranchRow::branch).transpose()?)
}

pub(crate) async fn list(sql: &mut Sql<'_>) -> Result<Vec<Branch>, Stop> {
    let rows: Vec<BranchRow> = query(branches!("ORDER BY b.name")).fetch_all(sql).await?;
    Ok(rows
        .into_iter()
        .map(BranchRow::branch)
        .collect::<Result<_>>()?)
}
