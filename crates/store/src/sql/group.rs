//! The jobs of one SQL transaction: commits that do not touch each other go together, all else one by one.

use std::collections::HashSet;

use forebay_core::Timestamp;

use super::commit;
use super::operation::{Job, Other};
use crate::Commit;
use crate::database::{Sql, query};

/// Applies each job, with a rollback if it is refused; returns whether any was accepted.
pub(super) async fn apply(
    mut jobs: &mut [Job],
    sql: &mut Sql<'_>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let alone = jobs.len() == 1;
    let mut any = false;
    while !jobs.is_empty() {
        let (part, rest) = jobs.split_at_mut(part(jobs));
        any |= match part {
            // Alone it needs no savepoint: refused, it ends the transaction.
            [Job::Other(other)] if alone => other.apply(sql, now).await?,
            [Job::Other(other)] => apply_other(other.as_mut(), sql, now).await?,
            commits => apply_commits(commits, sql, now).await?,
        };
        jobs = rest;
    }
    Ok(any)
}

/// How many jobs at the front are applied together: commits that do not touch each other's heads and splits. Dependent
/// commits are not grouped, so that each is compared with the state after the one before.
fn part(jobs: &[Job]) -> usize {
    let mut touched = HashSet::new();
    let together = jobs.iter().take_while(|job| match job {
        Job::Commit(pending) => touches(&pending.asked).all(|thing| touched.insert(thing)),
        Job::Other(_) => false,
    });
    together.count().max(1)
}

#[derive(PartialEq, Eq, Hash)]
enum Thing<'a> {
    Commit(forebay_core::CommitId),
    Table(&'a forebay_core::RefName, &'a forebay_core::TableName),
    Split(
        &'a forebay_core::RefName,
        &'a forebay_core::Ident,
        &'a forebay_core::Ident,
    ),
}

fn touches(commit: &Commit) -> impl Iterator<Item = Thing<'_>> {
    let branch = &commit.branch;
    let tables = commit.heads.iter();
    let splits = commit.positions.iter();
    std::iter::once(Thing::Commit(commit.id))
        .chain(tables.map(move |head| Thing::Table(branch, &head.table)))
        .chain(splits.map(move |moved| Thing::Split(branch, &moved.pipeline, &moved.split)))
}

async fn apply_commits(
    jobs: &mut [Job],
    sql: &mut Sql<'_>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let commits: Vec<&Commit> = jobs
        .iter()
        .filter_map(|job| match job {
            Job::Commit(pending) => Some(&pending.asked),
            Job::Other(_) => None,
        })
        .collect();
    let results = commit::apply(&commits, sql, now).await?;
    let mut any = false;
    for (job, result) in jobs.iter_mut().zip(results) {
        if let Job::Commit(pending) = job {
            any |= result.is_ok();
            pending.result = Some(result);
        }
    }
    Ok(any)
}

async fn apply_other(
    other: &mut dyn Other,
    sql: &mut Sql<'_>,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    query("SAVEPOINT job").execute(sql).await?;
    let accepted = other.apply(sql, now).await?;
    if !accepted {
        query("ROLLBACK TO SAVEPOINT job").execute(sql).await?;
    }
    query("RELEASE SAVEPOINT job").execute(sql).await?;
    Ok(accepted)
}
