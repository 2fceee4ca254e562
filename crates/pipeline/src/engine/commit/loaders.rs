//! Which pipelines have loaded rows into a table, whether their files are there or not.
//!
//! A table records them in a property. Commits before that are looked up in the log: a pipeline commits its raw zone and its rows
//! together. Never changes anything.

use std::collections::BTreeSet;

use forebay_core::{Ident, RefName, Result, TableName};
use forebay_lake::Lake;
use forebay_store::{AsOf, CommitRecord};
use uuid::Uuid;

use crate::engine::commit::tables;

/// Newest commits of a branch that are looked at.
const COMMITS_MAX: u32 = 100_000;

/// The pipelines other than `pipeline` that have rows in its main table `table`, as far as the table and the log tell.
pub async fn find_other_loaders(
    lake: &Lake,
    branch: &RefName,
    pipeline: &Ident,
    table: &TableName,
) -> Result<BTreeSet<String>> {
    let as_of = AsOf::Head(branch.clone());
    let Some(head) = lake.store().head(&as_of, table).await? else {
        return Ok(BTreeSet::new());
    };
    let mut loaders = match lake.table(&as_of, table).await? {
        Some(table) => tables::loaders(&table),
        None => BTreeSet::new(),
    };
    let raw = tables::raw(pipeline)?.namespace;
    for commit in lake.store().log(branch, COMMITS_MAX).await? {
        if has_changed(&commit, table, head.uuid) {
            let changed = commit.changes.into_iter().map(|(changed, ..)| changed);
            let zones = changed.filter(|changed| changed.namespace == raw);
            loaders.extend(zones.map(|zone| zone.name.to_string()));
        }
    }
    loaders.remove(pipeline.as_str());
    Ok(loaders)
}

/// Whether a commit has changed this very table, and not one of its name from before it was dropped.
fn has_changed(commit: &CommitRecord, table: &TableName, uuid: Uuid) -> bool {
    let mut changes = commit.changes.iter();
    changes.any(|(changed, of, _)| changed == table && *of == uuid)
}
