//! Changes that are made for one head: which rows they delete depends on the rows that are there.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::{Error, Result, Timestamp};
use iceberg::spec::TableMetadataRef;
use object_store::path::Path;

use super::stack::Prepared;
use crate::bitemporal::PeriodUpdate;
use crate::scan::ScanFile;
use crate::snapshot::Change;
use crate::upsert::{GoneRows, KeyLookup, RowDeletes};
use crate::write::position_deletes::write_position_deletes;
use crate::{Draft, Lake, Table};

/// A change that is made for one head, and the files that it adds.
pub(super) struct OwnChange {
    pub(super) change: Change,
    pub(super) files: Vec<Path>,
    /// Rows that it deletes, by their ids.
    pub(super) gone: GoneRows,
}

impl OwnChange {
    fn new(change: Change, files: Vec<Path>) -> Self {
        Self {
            change,
            files,
            gone: GoneRows::default(),
        }
    }
}

/// The change of a draft to `ground` that depends on the rows in it, at system time `at`, with the rows `gone` of its parent; `None` for
/// a draft that is only added.
pub(super) async fn own_change(
    lake: &Lake,
    prepared: &Prepared,
    ground: &TableMetadataRef,
    gone: Option<&GoneRows>,
    at: Timestamp,
) -> Result<Option<OwnChange>> {
    let draft = &prepared.draft;
    if let Some(update) = draft.compaction() {
        let made = update.on(&as_table(lake, draft, ground)?).await?;
        return Ok(Some(OwnChange::new(made.change, made.own_files)));
    }
    if draft.replaces_rows() {
        let change = overwriting(lake, draft, ground).await?;
        return Ok(Some(OwnChange::new(change, Vec::new())));
    }
    if !draft.row_deletes().is_empty() {
        return removing(lake, prepared, ground).await.map(Some);
    }
    match (&prepared.periods, &prepared.lookup) {
        (Some(periods), _) => resolved(lake, draft, periods, ground, at).await,
        (None, Some(lookup)) => deleting(lake, prepared, lookup, ground).await,
        (None, None) => following(lake, prepared, gone, ground).await,
    }
}

/// The change with the deletes of the rows that it replaces in `ground`; `None` when there are none.
async fn deleting(
    lake: &Lake,
    prepared: &Prepared,
    lookup: &KeyLookup,
    ground: &TableMetadataRef,
) -> Result<Option<OwnChange>> {
    let (draft, Some(change)) = (&prepared.draft, &prepared.change) else {
        return Ok(None);
    };
    let table = as_table(lake, draft, ground)?;
    let superseded = Box::pin(lookup.superseded(&table, draft.files())).await?;
    if superseded.deletes.is_empty() {
        return Ok(None);
    }
    let own = with_deletes(lake, draft, ground, change, superseded.deletes).await?;
    Ok(Some(OwnChange {
        gone: superseded.gone,
        ..own
    }))
}

/// The change of a child table with the deletes of the rows that go with those of its parent; `None` when there are none.
async fn following(
    lake: &Lake,
    prepared: &Prepared,
    gone: Option<&GoneRows>,
    ground: &TableMetadataRef,
) -> Result<Option<OwnChange>> {
    let gone = gone.filter(|gone| !gone.is_empty());
    let (Some(children), Some(gone)) = (&prepared.children, gone) else {
        return Ok(None);
    };
    let draft = &prepared.draft;
    let table = as_table(lake, draft, ground)?;
    let deletes = Box::pin(children.deletes(&table, draft.files(), gone)).await?;
    if deletes.is_empty() {
        return Ok(None);
    }
    let change = own_files_change(lake, prepared, ground).await?;
    with_deletes(lake, draft, ground, &change, deletes)
        .await
        .map(Some)
}

/// The appended files, or a change without any.
async fn own_files_change(
    lake: &Lake,
    prepared: &Prepared,
    ground: &TableMetadataRef,
) -> Result<Change> {
    match &prepared.change {
        Some(change) => Ok(change.clone()),
        None => Change::append(ground, lake.storage(), &[]).await,
    }
}

/// The change with the deletes of the rows that the draft names.
async fn removing(
    lake: &Lake,
    prepared: &Prepared,
    ground: &TableMetadataRef,
) -> Result<OwnChange> {
    let draft = &prepared.draft;
    let base = draft.base().and_then(Table::snapshot_id);
    if base != ground.current_snapshot_id() {
        check_live(&as_table(lake, draft, ground)?, draft.row_deletes()).await?;
    }
    let change = own_files_change(lake, prepared, ground).await?;
    let deletes = draft.row_deletes().to_vec();
    with_deletes(lake, draft, ground, &change, deletes).await
}

/// Errors: `Conflict` `rows_moved` when one of the rows is not in the table any more, or in another file.
async fn check_live(table: &Table, deletes: &[RowDeletes]) -> Result<()> {
    let plan = table.scan(None).await?;
    let files = plan.files.iter();
    let files: HashMap<&str, &ScanFile> =
        files.map(|file| (file.location.as_str(), file)).collect();
    let is_live = |delete: &RowDeletes| {
        let file = files.get(delete.location.as_str());
        let deleted = file.map(|file| file.deleted.as_deref());
        deleted.is_some_and(|deleted| deleted.is_none_or(|rows| rows.is_disjoint(&delete.rows)))
    };
    match deletes.iter().all(is_live) {
        true => Ok(()),
        false => {
            let what = "another writer changed the same rows";
            let error = Error::conflict("rows_moved", what);
            Err(error.with_hint("read the table again and redo the change"))
        }
    }
}

/// What the rows of a bitemporal table do to `ground` at system time `at`; `None` when they change nothing.
async fn resolved(
    lake: &Lake,
    draft: &Draft,
    periods: &PeriodUpdate,
    ground: &TableMetadataRef,
    at: Timestamp,
) -> Result<Option<OwnChange>> {
    let table = as_table(lake, draft, ground)?;
    let rows = Box::pin(periods.resolve(&table, at)).await?;
    if rows.files.is_empty() {
        return Ok(None);
    }
    let change = Change::append(ground, lake.storage(), &rows.files).await?;
    let mut own = match rows.deletes.is_empty() {
        true => OwnChange::new(change, Vec::new()),
        false => with_deletes(lake, draft, ground, &change, rows.deletes).await?,
    };
    own.files
        .extend(rows.files.into_iter().map(|file| file.path));
    Ok(Some(own))
}

/// The change to `ground` that leaves the rows of the draft alone in it.
async fn overwriting(lake: &Lake, draft: &Draft, ground: &TableMetadataRef) -> Result<Change> {
    let replaced = as_table(lake, draft, ground)?.files().await?;
    Change::overwrite(ground, lake.storage(), draft.files(), &replaced).await
}

fn as_table(lake: &Lake, draft: &Draft, ground: &TableMetadataRef) -> Result<Table> {
    let storage = Arc::clone(lake.storage());
    Table::new(draft.name().clone(), String::new(), ground.clone(), storage)
}

async fn with_deletes(
    lake: &Lake,
    draft: &Draft,
    ground: &TableMetadataRef,
    change: &Change,
    deletes: Vec<RowDeletes>,
) -> Result<OwnChange> {
    let (metadata, storage, folder) = (ground.clone(), Arc::clone(lake.storage()), draft.folder());
    let written = tokio::task::spawn_blocking(move || {
        write_position_deletes(&metadata, &storage, &folder, deletes)
    });
    let files = written.await.unwrap_or_else(|error| {
        Err(Error::bug("deletes_panicked", "writing deletes panicked").with_source(error))
    })?;
    let change = change.with_deletes(ground, lake.storage(), &files).await?;
    let paths = files.into_iter().map(|file| file.path).collect();
    Ok(OwnChange::new(change, paths))
}
