//! A table that both branches changed.

use forebay_core::{RefName, Result};
use forebay_store::{Head, TableSides};

use super::graft::{Graft, PreparedGraft};
use super::keys::{self, SharedKeys, TableKey, table_key};
use super::plan::{TableAction, TableDecision, load};
use super::{ChangeKind, MergeOutcome};
use crate::compact::is_only_compacted;
use crate::scan::TableDelta;
use crate::{Lake, Table};

/// The namespace of tables that many pipelines append to and whichever runs first creates.
const SHARED_NAMESPACE: &str = "audit";
/// The namespace of rejected records, and of what became of each.
const QUARANTINE_NAMESPACE: &str = "quarantine";

pub(super) async fn decide(
    lake: &Lake,
    sides: &TableSides,
    kind: ChangeKind,
    names: (&RefName, &RefName),
) -> Result<TableDecision> {
    let (source, target) = names;
    let Some(base) = sides.base.single() else {
        let reason = format!(
            "both changed it, and {source} and {target} have no single state in common to compare them with"
        );
        return Ok(TableDecision::conflict(kind, reason));
    };
    let (from, into) = match (&sides.source, &sides.target) {
        (Some(from), Some(into)) => (from, into),
        (None, _) => {
            let reason = format!("dropped on {source}, changed on {target}");
            return Ok(TableDecision::conflict(kind, reason));
        }
        (_, None) => {
            let reason = format!("changed on {source}, dropped on {target}");
            return Ok(TableDecision::conflict(kind, reason));
        }
    };
    let is_shared = sides.table.namespace.as_str() == SHARED_NAMESPACE;
    if let Some(reason) = other_table(base, from, into, names)
        && !(base.is_none() && is_shared)
    {
        return Ok(TableDecision::conflict(kind, reason));
    }
    let tables = TableStates {
        base: load(lake, base).await?,
        source: lake.load(from.clone()).await?,
        target: lake.load(into.clone()).await?,
    };
    tables.decide(lake, kind, names).await
}

/// Why they are not states of one table.
fn other_table(
    base: Option<&Head>,
    from: &Head,
    into: &Head,
    (source, target): (&RefName, &RefName),
) -> Option<String> {
    let Some(base) = base else {
        return Some(format!("created on {source} and on {target}"));
    };
    match (from.uuid == base.uuid, into.uuid == base.uuid) {
        (true, true) => None,
        (false, true) => Some(format!("recreated on {source}, changed on {target}")),
        (true, false) => Some(format!("changed on {source}, recreated on {target}")),
        (false, false) => Some(format!("recreated on {source} and on {target}")),
    }
}

/// Three states of one table.
struct TableStates {
    /// `None`: each branch created it.
    base: Option<Table>,
    source: Table,
    target: Table,
}

impl TableStates {
    async fn decide(
        &self,
        lake: &Lake,
        kind: ChangeKind,
        names: (&RefName, &RefName),
    ) -> Result<TableDecision> {
        let compacted = |table: &Table| {
            self.base
                .as_ref()
                .is_some_and(|base| is_only_compacted(base, table))
        };
        if compacted(&self.source) {
            let nothing = MergeOutcome::Nothing;
            let decided = TableDecision::of(ChangeKind::Compacted, nothing, TableAction::None);
            return Ok(self.left_behind(decided));
        }
        let ours = TableDelta::between(self.base.as_ref(), Some(&self.source)).await?;
        let key = self.key();
        let has_periods = key.as_ref().is_some_and(|key| key.has_periods);
        if (!ours.is_append() || has_periods) && compacted(&self.target) {
            let outcome = MergeOutcome::FastForward;
            return Ok(TableDecision::of(kind, outcome, TableAction::TakeOver));
        }
        if !ours.is_append() {
            let theirs = TableDelta::between(self.base.as_ref(), Some(&self.target)).await?;
            let reason = self.changed_rows(&ours, &theirs, names).await?;
            return Ok(TableDecision::conflict(kind, reason));
        }
        if let Some(reason) = self.key_conflict(&ours, key, names).await? {
            return Ok(TableDecision::conflict(kind, reason));
        }
        let graft = Graft {
            base: self.base.as_ref(),
            source: &self.source,
            target: &self.target,
        };
        Ok(match graft.prepare(lake, &ours, names).await? {
            PreparedGraft::Draft(draft) => {
                let graft = TableAction::Graft(draft);
                self.left_behind(TableDecision::of(kind, MergeOutcome::Append, graft))
            }
            PreparedGraft::Refused(reason) => TableDecision::conflict(kind, reason),
        })
    }

    /// The source's snapshots do not become part of the target's table.
    fn left_behind(&self, mut decided: TableDecision) -> TableDecision {
        let known = |id: i64| self.target.metadata().snapshot_by_id(id).is_some();
        let snapshots = self.source.metadata().snapshots();
        let ids = snapshots.map(|snapshot| snapshot.snapshot_id());
        decided.left_behind = ids.filter(|id| !known(*id)).collect();
        decided
    }

    fn key(&self) -> Option<TableKey> {
        if self.target.name().namespace.as_str() == QUARANTINE_NAMESPACE {
            // A record that both replayed is loaded twice, and both noted it.
            return Some(TableKey {
                columns: vec!["id".to_owned()],
                has_periods: false,
            });
        }
        let states = [Some(&self.source), Some(&self.target), self.base.as_ref()];
        states.into_iter().flatten().find_map(table_key)
    }

    /// Rows that the source only added may have keys that the target has added too.
    async fn key_conflict(
        &self,
        ours: &TableDelta,
        key: Option<TableKey>,
        (source, target): (&RefName, &RefName),
    ) -> Result<Option<String>> {
        let Some(key) = key.filter(|_| !ours.added.is_empty()) else {
            return Ok(None);
        };
        if key.has_periods {
            return Ok(Some(format!(
                "it is bitemporal, and {source} and {target} both changed it"
            )));
        }
        let theirs = TableDelta::between(self.base.as_ref(), Some(&self.target)).await?;
        let sides = ((&self.source, &ours.added), (&self.target, &theirs.added));
        Ok(match keys::shared(sides, &key.columns).await? {
            SharedKeys::None => None,
            SharedKeys::Some(named) => Some(format!(
                "{source} and {target} both added rows of the same keys: {named}"
            )),
            SharedKeys::Unknown(why) => Some(format!(
                "{source} and {target} both added rows, and their keys were not compared: {why}"
            )),
        })
    }

    async fn changed_rows(
        &self,
        ours: &TableDelta,
        theirs: &TableDelta,
        (source, target): (&RefName, &RefName),
    ) -> Result<String> {
        let counts = |delta: &TableDelta| {
            let (added, deleted) = (delta.rows_added, delta.rows_deleted());
            format!("added {added} and deleted or replaced {deleted} rows")
        };
        let mut reason = format!("{source} {}, {target} {}", counts(ours), counts(theirs));
        let Some(key) = self.key() else {
            return Ok(reason);
        };
        let sides = ((&self.source, &ours.added), (&self.target, &theirs.added));
        if let SharedKeys::Some(named) = keys::shared(sides, &key.columns).await? {
            reason.push_str("; keys that both wrote: ");
            reason.push_str(&named);
        }
        Ok(reason)
    }
}
