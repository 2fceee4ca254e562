//! Merges in SQL: which states two branches have in common, and what each side has of the tables and splits that the source changed.
//!
//! A state has its branch up to a commit, the bases of that branch, and what merges brought in (`merges`). All of that together is a number for
//! each branch, its newest commit that is part of the state. What two states have in common is the smaller number of each branch; the newest
//! states among those are the merge bases. Only pinned states are read, so a commit in between changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use forebay_core::{Error, Ident, RefName, Result, TableName, Timestamp};

use super::commit;
use super::error::{Stop, corrupt, parse};
use super::horizon::{self, Kept};
use super::lease;
use super::log::{self, Level, live_branch};
use super::operation::Operation;
use crate::database::{Sql, query};
use crate::merge::{MergeBase, MergeSides, MergedStates, SplitPosition, SplitSides, TableSides};
use crate::{Commit, Committed, Head};

/// The newest commit of each branch that is part of a state.
type Clock = BTreeMap<i64, i64>;
type Lineage = Vec<Level>;

struct Bases {
    lineages: Vec<Lineage>,
    is_complete: bool,
}

pub(crate) async fn sides(
    sql: &mut Sql<'_>,
    source: &RefName,
    target: &RefName,
) -> Result<MergeSides, Stop> {
    if source == target {
        let what = format!("{source} cannot be merged with itself");
        return Err(Error::config("same_branch", what).into());
    }
    let from = pinned(sql, source).await?;
    let into = pinned(sql, target).await?;
    let clock = clock(sql, &from).await?;
    let in_common = common(&clock, &self::clock(sql, &into).await?);
    let newest = newest_states(sql, in_common).await?;
    let bases = readable(sql, newest, source, target).await?;
    let newest_commit = log::log(sql, &from, 1).await?;
    let mut sides = MergeSides {
        tables: Vec::new(),
        splits: Vec::new(),
        source_head: newest_commit.first().map(|commit| commit.id),
        merged: MergedStates {
            branch: from.first().map_or(0, |level| level.branch),
            head: from.first().map_or(0, |level| level.upto),
            upto: clock,
        },
    };
    for table in touched(sql, TABLES, &from, &bases).await? {
        let table = TableName::new(
            parse("a namespace", &table.0)?,
            parse("a table name", &table.1)?,
        );
        sides
            .tables
            .push(table_sides(sql, table, (&from, &into), &bases).await?);
    }
    for (pipeline, split) in touched(sql, SPLITS, &from, &bases).await? {
        let split = (parse("a pipeline", &pipeline)?, parse("a split", &split)?);
        sides
            .splits
            .push(split_sides(sql, split, (&from, &into), &bases).await?);
    }
    // Rows go only once the horizon has passed them: what is kept now was whole all the while.
    recheck(sql, &bases, source, target).await?;
    Ok(sides)
}

async fn pinned(sql: &mut Sql<'_>, name: &RefName) -> Result<Lineage, Stop> {
    let (branch, head) = live_branch(sql, name).await?;
    Ok(log::lineage(sql, branch, head).await?)
}

async fn clock(sql: &mut Sql<'_>, lineage: &[Level]) -> Result<Clock, sqlx::Error> {
    let mut clock = Clock::new();
    let mut note = |branch: i64, upto: i64| {
        let known = clock.entry(branch).or_default();
        *known = upto.max(*known);
    };
    for level in lineage.iter().filter(|level| level.upto > 0) {
        note(level.branch, level.upto);
        let merged: Vec<(i64, i64)> = query(
            "SELECT source, max(upto) FROM merges WHERE branch = $1 AND seq <= $2 GROUP BY source",
        )
        .bind(level.branch)
        .bind(level.upto)
        .fetch_all(sql)
        .await?;
        for (source, upto) in merged {
            note(source, upto);
        }
    }
    Ok(clock)
}

fn common(a: &Clock, b: &Clock) -> Clock {
    let both = a.iter().filter_map(|(branch, upto)| {
        let other = b.get(branch)?;
        Some((*branch, *upto.min(other)))
    });
    both.collect()
}

/// Those of the states that no other of them is part of.
async fn newest_states(sql: &mut Sql<'_>, states: Clock) -> Result<Vec<Level>, sqlx::Error> {
    let mut left: Vec<Level> = states
        .into_iter()
        .map(|(branch, upto)| Level { branch, upto })
        .collect();
    // The latest state has most of the others, so few are left after the first steps.
    left.sort_by_key(|state| (state.upto, state.branch));
    let mut newest: Vec<(Level, Clock)> = Vec::new();
    while let Some(state) = left.pop() {
        let lineage = log::lineage(sql, state.branch, state.upto).await?;
        let clock = clock(sql, &lineage).await?;
        let is_part = |of: &Clock, state: &Level| of.get(&state.branch) >= Some(&state.upto);
        left.retain(|other| !is_part(&clock, other));
        newest.retain(|(other, _)| !is_part(&clock, other));
        newest.push((state, clock));
    }
    Ok(newest.into_iter().map(|(state, _)| state).collect())
}

/// Errors: `NotFound` `merge_base_expired` when none of the states can be read any more.
async fn readable(
    sql: &mut Sql<'_>,
    states: Vec<Level>,
    source: &RefName,
    target: &RefName,
) -> Result<Bases, Stop> {
    let mut bases = Bases {
        lineages: Vec::new(),
        is_complete: true,
    };
    let had_some = !states.is_empty();
    for state in states {
        if is_kept(sql, state).await? {
            let lineage = log::lineage(sql, state.branch, state.upto).await?;
            bases.lineages.push(lineage);
        } else {
            bases.is_complete = false;
        }
    }
    match had_some && bases.lineages.is_empty() {
        true => Err(expired(source, target)),
        false => Ok(bases),
    }
}

async fn recheck(
    sql: &mut Sql<'_>,
    bases: &Bases,
    source: &RefName,
    target: &RefName,
) -> Result<(), Stop> {
    for lineage in &bases.lineages {
        if let Some(state) = lineage.first()
            && !is_kept(sql, *state).await?
        {
            return Err(expired(source, target));
        }
    }
    Ok(())
}

async fn is_kept(sql: &mut Sql<'_>, state: Level) -> Result<bool, sqlx::Error> {
    let Some(horizon) = horizon::current(sql).await? else {
        return Ok(true);
    };
    let kept = Kept::read(sql, horizon).await?;
    Ok(kept.has_state(state))
}

fn expired(source: &RefName, target: &RefName) -> Stop {
    let what = format!("the state that {source} and {target} have in common has expired");
    Error::not_found("merge_base_expired", what)
        .with_hint(format!(
            "create a new branch from {target} and run the pipelines there again; `keep` of `[lake]` in forebay.toml keeps states longer"
        ))
        .into()
}

const TABLES: &str =
    "SELECT DISTINCT namespace, name FROM changes WHERE branch = $1 AND seq > $2 AND seq <= $3";
const SPLITS: &str =
    "SELECT DISTINCT pipeline, split FROM moves WHERE branch = $1 AND seq > $2 AND seq <= $3";

/// Names of everything that commits of the source which are not part of a base have changed, and perhaps more.
async fn touched(
    sql: &mut Sql<'_>,
    statement: &'static str,
    source: &[Level],
    bases: &Bases,
) -> Result<BTreeSet<(String, String)>, sqlx::Error> {
    let mut names = BTreeSet::new();
    for level in source {
        let of_base = |lineage: &Lineage| {
            let same = lineage.iter().find(|base| base.branch == level.branch);
            same.map_or(0, |base| base.upto)
        };
        let from = bases.lineages.iter().map(of_base).min().unwrap_or(0);
        let rows: Vec<(String, String)> = query(statement)
            .bind(level.branch)
            .bind(from)
            .bind(level.upto)
            .fetch_all(sql)
            .await?;
        names.extend(rows);
    }
    Ok(names)
}

async fn table_sides(
    sql: &mut Sql<'_>,
    table: TableName,
    (source, target): (&Lineage, &Lineage),
    bases: &Bases,
) -> Result<TableSides, Stop> {
    let mut base = MergeBase {
        known: Vec::new(),
        is_complete: bases.is_complete,
    };
    for lineage in &bases.lineages {
        note(&mut base, head(sql, lineage, &table).await?);
    }
    no_state(&mut base);
    Ok(TableSides {
        source: head(sql, source, &table).await?,
        target: head(sql, target, &table).await?,
        base,
        table,
    })
}

async fn head(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    table: &TableName,
) -> Result<Option<Head>, Stop> {
    let place = log::place(sql, lineage, table).await?;
    Ok(place.map(|(uuid, metadata_location)| Head {
        table: table.clone(),
        uuid,
        metadata_location,
    }))
}

async fn split_sides(
    sql: &mut Sql<'_>,
    (pipeline, split): (Ident, Ident),
    (source, target): (&Lineage, &Lineage),
    bases: &Bases,
) -> Result<SplitSides, Stop> {
    let mut base = MergeBase {
        known: Vec::new(),
        is_complete: bases.is_complete,
    };
    let name = (&pipeline, &split);
    for lineage in &bases.lineages {
        note(&mut base, position(sql, lineage, name).await?);
    }
    no_state(&mut base);
    Ok(SplitSides {
        source: position(sql, source, name).await?,
        target: position(sql, target, name).await?,
        base,
        pipeline,
        split,
    })
}

async fn position(
    sql: &mut Sql<'_>,
    lineage: &[Level],
    split: (&Ident, &Ident),
) -> Result<Option<SplitPosition>, Stop> {
    let found = lease::inherited(sql, lineage, split).await?;
    let position = found.map(|(sequence, json)| {
        let position = lease::read(&json)?;
        Ok::<_, Error>(SplitPosition { sequence, position })
    });
    Ok(position.transpose()?)
}

fn note<T: PartialEq>(base: &mut MergeBase<T>, value: Option<T>) {
    if !base.known.contains(&value) {
        base.known.push(value);
    }
}

/// Branches that have no commit in common began with nothing.
fn no_state<T>(base: &mut MergeBase<T>) {
    if base.known.is_empty() {
        base.known.push(None);
    }
}

/// The files of the source must be kept until the target names them: so its state must be kept now.
async fn check_source(sql: &mut Sql<'_>, merged: &MergedStates) -> Result<(), Stop> {
    let head: Option<(Option<i64>,)> =
        query("SELECT head_seq FROM branches WHERE id = $1 AND dropped_at IS NULL")
            .bind(merged.branch)
            .fetch_optional(sql)
            .await?;
    let state = Level {
        branch: merged.branch,
        upto: merged.head,
    };
    let is_head = |head: Option<i64>| head.unwrap_or(0) == merged.head;
    let is_there = match head {
        None => false,
        Some((head,)) => is_head(head) || is_kept(sql, state).await?,
    };
    if is_there {
        return Ok(());
    }
    let what = "the branch that is merged was dropped, or moved and its state expired";
    Err(Error::conflict("stale_head", what)
        .with_hint("merge again")
        .into())
}

/// A commit on the target, with the states that it brings in.
pub(crate) struct CommitMerge {
    pub(crate) commit: Commit,
    pub(crate) merged: MergedStates,
}

#[async_trait]
impl Operation for CommitMerge {
    type Answer = Committed;

    async fn apply(&self, sql: &mut Sql<'_>, now: Timestamp) -> Result<Committed, Stop> {
        check_source(sql, &self.merged).await?;
        let results = commit::apply(&[&self.commit], sql, now).await?;
        let made = results.into_iter().next();
        let committed =
            made.ok_or_else(|| Error::bug("no_result", "a commit without a result"))??;
        let id = committed.id.to_string();
        let row: Option<(i64, i64)> = query("SELECT branch, seq FROM commits WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(sql)
            .await?;
        let (branch, seq) = row.ok_or_else(|| corrupt("the row of a new commit", &id))?;
        let lineage = log::lineage(sql, branch, seq).await?;
        let known = clock(sql, &lineage).await?;
        for (source, upto) in &self.merged.upto {
            if known.get(source) >= Some(upto) {
                continue;
            }
            query(
                "INSERT INTO merges (branch, source, seq, upto) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (branch, source, seq) DO NOTHING",
            )
            .bind(branch)
            .bind(*source)
            .bind(seq)
            .bind(*upto)
            .execute(sql)
            .await?;
        }
        Ok(committed)
    }
}
