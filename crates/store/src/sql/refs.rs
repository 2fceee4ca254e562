//! Branches and tags in SQL: a row, whatever the size of the lake.

use async_trait::async_trait;
use forebay_core::{CommitId, Error, RefName, Result, Timestamp};

use super::error::{Stop, parse};
use super::horizon;
use super::log::{self, Level};
use super::operation::Operation;
use crate::database::{Sql, query};
use crate::{AsOf, Branch};

pub(crate) fn no_such_branch(name: &RefName) -> Error {
    Error::not_found("no_such_branch", format!("branch {name} not found"))
}

pub(crate) fn tag_is_fixed(name: &RefName) -> Error {
    let what = format!("{name} is a tag: nothing can be committed to it");
    Error::unsupported("tag_is_fixed", what).with_hint(format!(
        "create a branch from it and change that: forebay branch create NAME --from {name}"
    ))
}

pub(crate) struct CreateBranch {
    pub(crate) name: RefName,
    pub(crate) from: AsOf,
    pub(crate) is_tag: bool,
}

#[async_trait]
impl Operation for CreateBranch {
    type Answer = Branch;

    async fn apply(&self, sql: &mut Sql<'_>, _now: Timestamp) -> Result<Branch, Stop> {
        check_name(&self.name)?;
        if let Some(found) = find(sql, &self.name).await? {
            return Err(exists(&found).into());
        }
        let base = start(sql, &self.from).await?;
        // Inside of the transaction that makes it a kept state.
        horizon::check(sql, &self.from).await?;
        let seq = (base.upto > 0).then_some(base.upto);
        query("INSERT INTO branches (name, base, base_seq, head_seq, is_tag) VALUES ($1, $2, $3, $3, $4)")
            .bind(self.name.as_str())
            .bind(base.branch)
            .bind(seq)
            .bind(i64::from(self.is_tag))
            .execute(sql)
            .await?;
        find(sql, &self.name)
            .await?
            .ok_or_else(|| no_such_branch(&self.name).into())
    }
}

/// Where a name and a commit id are both taken, the id is meant: so no name may be one.
fn check_name(name: &RefName) -> Result<()> {
    if name.as_str().parse::<CommitId>().is_err() {
        return Ok(());
    }
    let what = format!("{name:?} cannot be the name of a branch or tag: it reads as a commit id");
    Err(Error::config("ref_name_is_id", what).with_hint("choose another name"))
}

fn exists(found: &Branch) -> Error {
    let kind = if found.is_tag { "tag" } else { "branch" };
    Error::conflict(
        "branch_exists",
        format!("{kind} {} already exists", found.name),
    )
}

/// The branch to be based on, and the commit of it that is seen last: at a time the newest commit may be one of another branch.
async fn start(sql: &mut Sql<'_>, from: &AsOf) -> Result<Level, Stop> {
    let lineage = log::resolve(sql, from).await?;
    let mut start = Err(Error::bug("no_lineage", "a state without a branch"));
    for level in lineage {
        let upto = newest(sql, OWN_COMMIT, level).await?;
        if upto < newest(sql, OWN_CHANGE, level).await? {
            let what = "the log no longer has the commit of this state";
            return Err(Error::not_found("expired", what)
                .with_hint("name a later state")
                .into());
        }
        start = Ok(Level { upto, ..level });
        // A state from before the branch was made is one of its base.
        if upto > 0 {
            break;
        }
    }
    Ok(start?)
}

/// The base of a branch without commits of its own is older than the branch.
const OWN_COMMIT: &str = "SELECT max(seq) FROM (
    SELECT max(seq) AS seq FROM commits WHERE branch = $1 AND seq <= $2
    UNION ALL SELECT base_seq FROM branches WHERE id = $1 AND base_seq <= $2) own";
const OWN_CHANGE: &str = "SELECT max(seq) FROM (
    SELECT max(seq) AS seq FROM changes WHERE branch = $1 AND seq <= $2
    UNION ALL SELECT max(seq) FROM moves WHERE branch = $1 AND seq <= $2) own";

async fn newest(
    sql: &mut Sql<'_>,
    statement: &'static str,
    state: Level,
) -> Result<i64, sqlx::Error> {
    let seq: Option<(Option<i64>,)> = query(statement)
        .bind(state.branch)
        .bind(state.upto)
        .fetch_optional(sql)
        .await?;
    Ok(seq.and_then(|(seq,)| seq).unwrap_or(0))
}

pub(crate) struct DropBranch {
    pub(crate) name: RefName,
    pub(crate) is_tag: bool,
}

#[async_trait]
impl Operation for DropBranch {
    type Answer = ();

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<(), Stop> {
        if self.name == RefName::main() {
            return Err(Error::config("main_stays", "the branch main cannot be dropped").into());
        }
        let found = find(sql, &self.name).await?;
        match &found {
            Some(found) if found.is_tag == self.is_tag => {}
            found => return Err(self.refusal(found.as_ref()).into()),
        }
        // The rows stay: the log refers to them, and other branches may be based on this one.
        query("UPDATE branches SET dropped_at = $1 WHERE name = $2 AND dropped_at IS NULL")
            .bind(now.micros())
            .bind(self.name.as_str())
            .execute(sql)
            .await?;
        Ok(())
    }
}

impl DropBranch {
    fn refusal(&self, found: Option<&Branch>) -> Error {
        let name = &self.name;
        match (self.is_tag, found) {
            (false, Some(_)) => {
                no_such_branch(name).with_hint(format!("{name} is a tag: forebay tag drop {name}"))
            }
            (false, None) => no_such_branch(name),
            (true, found) => {
                let error = Error::not_found("no_such_tag", format!("tag {name} not found"));
                match found {
                    Some(_) => {
                        error.with_hint(format!("{name} is a branch: forebay branch drop {name}"))
                    }
                    None => error,
                }
            }
        }
    }
}

#[derive(sqlx::FromRow)]
struct BranchRow {
    name: String,
    base: Option<String>,
    base_commit: Option<String>,
    head: Option<String>,
    head_at: Option<i64>,
    is_tag: i64,
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
            head_at: self.head_at.map(Timestamp),
            is_tag: self.is_tag != 0,
        })
    }
}

/// The columns of a [`BranchRow`] of live branches; more conditions follow.
macro_rules! branches {
    ($condition:literal) => {
        concat!(
            "SELECT b.name, base.name AS base, base_commit.id AS base_commit, head.id AS head, head.at AS head_at, b.is_tag
             FROM branches b
             LEFT JOIN branches base ON base.id = b.base
             LEFT JOIN commits base_commit ON base_commit.seq = b.base_seq
             LEFT JOIN commits head ON head.seq = b.head_seq
             WHERE b.dropped_at IS NULL ",
            $condition
        )
    };
}

pub(crate) async fn find(sql: &mut Sql<'_>, name: &RefName) -> Result<Option<Branch>, Stop> {
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
