//! What to make of each table and position that the source changed.

use forebay_core::{RefName, Result};
use forebay_store::{Change, Head, HeadChange, MergeSides, TableSides};

use super::both;
use super::positions::{self, MovedSplit};
use super::schema_text::schema_changes;
use super::{BranchChanges, ChangeKind, MergeOutcome, TableChanges};
use crate::scan::TableDelta;
use crate::{Draft, Lake, Table};

/// How much of a change is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// Only what decides.
    Outcome,
    /// Also rows and columns, for people.
    Rows,
}

/// A merge that nothing stands against, or one with conflicts.
#[derive(Default)]
pub(super) struct MergePlan {
    pub(super) changes: BranchChanges,
    /// Pointers that are taken over.
    pub(super) heads: Vec<HeadChange>,
    /// Tables that get files, each from the head that was looked at.
    pub(super) grafts: Vec<PlannedGraft>,
    pub(super) splits: Vec<MovedSplit>,
}

/// Files of the source for a table of the target.
pub(super) struct PlannedGraft {
    pub(super) draft: Draft,
    /// The location of the head that it was decided for.
    pub(super) head: String,
}

/// What one table becomes.
pub(super) enum TableAction {
    None,
    TakeOver,
    Graft(Box<Draft>),
}

pub(super) struct TableDecision {
    pub(super) kind: ChangeKind,
    pub(super) outcome: MergeOutcome,
    pub(super) action: TableAction,
    /// Snapshots of the source that the target does not get: no position may name one of them.
    pub(super) left_behind: Vec<i64>,
}

impl TableDecision {
    pub(super) fn of(kind: ChangeKind, outcome: MergeOutcome, action: TableAction) -> Self {
        Self {
            kind,
            outcome,
            action,
            left_behind: Vec::new(),
        }
    }

    pub(super) fn conflict(kind: ChangeKind, reason: impl Into<String>) -> Self {
        let outcome = MergeOutcome::Conflict(reason.into());
        Self::of(kind, outcome, TableAction::None)
    }
}

pub(super) async fn plan(
    lake: &Lake,
    sides: &MergeSides,
    names: (&RefName, &RefName),
    detail: Detail,
) -> Result<MergePlan> {
    let mut plan = MergePlan::default();
    let mut left_behind = Vec::new();
    for table in sides.tables.iter().filter(|table| table.is_changed()) {
        let decided = Box::pin(decide(lake, table, names)).await?;
        let mut change = TableChanges {
            table: table.table.clone(),
            kind: decided.kind,
            rows_added: 0,
            rows_deleted: 0,
            schema: Vec::new(),
            outcome: decided.outcome,
        };
        if detail == Detail::Rows {
            Box::pin(count(lake, table, &mut change)).await?;
        }
        plan.changes.tables.push(change);
        let snapshots = decided.left_behind.into_iter();
        left_behind.extend(snapshots.map(|snapshot| (snapshot, table.table.clone())));
        match decided.action {
            TableAction::None => {}
            TableAction::TakeOver => plan.heads.extend(taken_over(table)),
            TableAction::Graft(draft) => plan.grafts.push(PlannedGraft {
                draft: *draft,
                head: location(table.target.as_ref()).unwrap_or_default(),
            }),
        }
    }
    for split in sides.splits.iter().filter(|split| split.is_moved()) {
        let decided = positions::decide(split, names, &left_behind);
        plan.changes.positions.push(decided.change);
        plan.splits.extend(decided.moved);
    }
    Ok(plan)
}

async fn decide(
    lake: &Lake,
    sides: &TableSides,
    names: (&RefName, &RefName),
) -> Result<TableDecision> {
    let kind = kind_of(sides);
    if sides.source == sides.target {
        let nothing = MergeOutcome::Nothing;
        return Ok(TableDecision::of(kind, nothing, TableAction::None));
    }
    if sides.base.has(sides.target.as_ref()) {
        let outcome = MergeOutcome::FastForward;
        return Ok(TableDecision::of(kind, outcome, TableAction::TakeOver));
    }
    both::decide(lake, sides, kind, names).await
}

/// The state that the source started from, as far as it is one.
fn before(sides: &TableSides) -> Option<&Head> {
    match sides.base.single() {
        Some(base) => base,
        None if sides.base.has(sides.target.as_ref()) => sides.target.as_ref(),
        None => sides.base.known.iter().find_map(Option::as_ref),
    }
}

fn kind_of(sides: &TableSides) -> ChangeKind {
    match (before(sides), &sides.source) {
        (None, _) => ChangeKind::Created,
        (_, None) => ChangeKind::Dropped,
        (Some(before), Some(after)) if before.uuid != after.uuid => ChangeKind::Recreated,
        _ => ChangeKind::Changed,
    }
}

fn taken_over(sides: &TableSides) -> Option<HeadChange> {
    let known = sides.source.as_ref().or(sides.target.as_ref())?;
    let set = |head: &Head| Change::Set(head.metadata_location.clone());
    Some(HeadChange {
        table: sides.table.clone(),
        uuid: known.uuid,
        expected: location(sides.target.as_ref()),
        change: sides.source.as_ref().map_or(Change::Drop, set),
    })
}

fn location(head: Option<&Head>) -> Option<String> {
    head.map(|head| head.metadata_location.clone())
}

pub(super) async fn load(lake: &Lake, head: Option<&Head>) -> Result<Option<Table>> {
    match head {
        Some(head) => lake.load(head.clone()).await.map(Some),
        None => Ok(None),
    }
}

async fn count(lake: &Lake, sides: &TableSides, change: &mut TableChanges) -> Result<()> {
    let before = load(lake, before(sides)).await?;
    let after = load(lake, sides.source.as_ref()).await?;
    if let (Some(before), Some(after)) = (&before, &after) {
        change.schema = schema_changes(before, after);
        if change.kind == ChangeKind::Changed && crate::compact::is_only_compacted(before, after) {
            change.kind = ChangeKind::Compacted;
            return Ok(());
        }
    }
    let delta = TableDelta::between(before.as_ref(), after.as_ref()).await?;
    change.rows_added = delta.rows_added;
    change.rows_deleted = delta.rows_deleted();
    Ok(())
}
