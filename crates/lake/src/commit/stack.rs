//! Putting a draft on top of its table's head: manifests once, then a metadata file for each head that is tried.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forebay_core::{Context, Error, Result, Timestamp};
use forebay_store::{AsOf, Change as HeadMove, HeadChange};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{Snapshot, TableMetadata, TableMetadataRef};
use object_store::path::Path;

use crate::bitemporal::PeriodUpdate;
use crate::error::from_iceberg;
use crate::manifest_cache::LiveManifest;
use crate::metadata::{check_readable, rebuilt, stamped};
use crate::rewrite::{REWRITTEN_PROPERTY, Replacement, SAME_SEQUENCES_NOTE, TableRewrite};
use crate::scan::ScanFile;
use crate::snapshot::{Change, outgrown, unused_schemas};
use crate::upsert::{KeyLookup, RowDeletes};
use crate::write::position_deletes::write_position_deletes;
use crate::{Draft, Lake, Table, schema};

use super::CommitRequest;
use super::notes::Notes;

/// Tables whose files are written at the same time.
const TABLES_AT_ONCE: usize = 8;

/// A draft with the manifests of its files.
pub(super) struct Prepared {
    pub(super) draft: Draft,
    change: Option<Change>,
    /// The table's files are written again.
    rewrite: Option<TableRewrite>,
    /// The rows replace those of the table.
    lookup: Option<KeyLookup>,
    /// The rows of a bitemporal table.
    pub(super) periods: Option<PeriodUpdate>,
}

impl Prepared {
    /// Rows that came in.
    pub(super) fn row_count(&self) -> u64 {
        let files: u64 = self.draft.files().iter().map(|file| file.rows).sum();
        files + self.periods.as_ref().map_or(0, PeriodUpdate::row_count)
    }

    fn has_rows(&self) -> bool {
        !self.draft.files().is_empty() || self.periods.is_some()
    }
}

/// Drafts that change nothing are left out.
pub(super) async fn prepared(lake: &Lake, drafts: Vec<Draft>) -> Result<Vec<Prepared>> {
    let touched = drafts.into_iter().filter(|draft| !draft.is_untouched());
    stream::iter(touched.map(|draft| prepare(lake.clone(), draft)))
        .buffered(TABLES_AT_ONCE)
        .try_collect()
        .await
}

async fn prepare(lake: Lake, mut draft: Draft) -> Result<Prepared> {
    if !draft.exists() {
        draft.planned()?;
        lake.storage().create_table_folders(&draft.folder()).await?;
    }
    let rewrite = TableRewrite::of(&draft)?;
    if let Some(rewrite) = &rewrite {
        draft.renew(rewrite).await?;
        if let Some(base) = draft.base() {
            // Most of the work, before this writer takes its turn at the table.
            Box::pin(rewrite.cover(base))
                .await
                .context("table", draft.name())?;
        }
    }
    let lookup = draft.key_lookup()?;
    if let (Some(lookup), Some(base), None) = (&lookup, draft.base(), &rewrite) {
        // Most of the work, as above.
        let found = Box::pin(lookup.deletes(base, draft.files())).await;
        found.context("table", draft.name())?;
    }
    let periods = draft.period_update();
    if let (Some(periods), Some(base), None) = (&periods, draft.base(), &rewrite) {
        let planned = schema::to_arrow(draft.planned()?.current_schema())?;
        let found = Box::pin(periods.prepare(base, &planned)).await;
        found.context("table", draft.name())?;
    }
    let mut change = None;
    if !draft.files().is_empty() && !draft.replaces_rows() {
        let appended = Change::append(draft.planned()?, lake.storage(), draft.files()).await;
        change = Some(appended.context("table", draft.name())?);
    }
    Ok(Prepared {
        draft,
        change,
        rewrite,
        lookup,
        periods,
    })
}

/// A draft on top of the table's head, its metadata written and named by nobody.
pub(super) struct Top {
    pub(super) head: HeadChange,
    pub(super) metadata: TableMetadataRef,
    /// Manifests that were written for it, to be remembered once it has landed.
    pub(super) fresh: Vec<(String, LiveManifest)>,
    pub(super) rebased: bool,
    /// Files that were written for this head alone.
    pub(super) own_files: Vec<Path>,
}

pub(super) async fn stacked(
    lake: &Lake,
    request: &CommitRequest,
    changes: &[Prepared],
    notes: &Notes,
    at: Timestamp,
) -> Result<Vec<Top>> {
    let as_of = AsOf::Head(request.branch.clone());
    let mut tops = Vec::with_capacity(changes.len());
    // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
    let stacks: Vec<_> = changes
        .iter()
        .map(|change| Box::pin(stack(lake, &as_of, change, notes, at)))
        .collect();
    let mut stacks = stream::iter(stacks).buffered(TABLES_AT_ONCE);
    while let Some(top) = stacks.try_next().await? {
        tops.push(top);
    }
    Ok(tops)
}

async fn stack(
    lake: &Lake,
    as_of: &AsOf,
    change: &Prepared,
    notes: &Notes,
    at: Timestamp,
) -> Result<Top> {
    let draft = &change.draft;
    let head = lake.table(as_of, draft.name()).await?;
    check_rebase(change, head.as_ref()).context("table", draft.name())?;
    let stacked = stack_metadata(lake, change, head.as_ref(), notes, at).await;
    let StackedTable {
        metadata,
        fresh,
        own_files,
    } = stacked.context("table", draft.name())?;
    if draft.schema_changed() {
        check_readable(&metadata).context("table", draft.name())?;
    }
    let expected = head
        .as_ref()
        .map(|head| head.metadata_location().to_owned());
    let location = lake
        .metadata()
        .write(expected.as_deref(), &metadata)
        .await
        .context("table", draft.name())?;
    let rebased = draft.base().map(Table::metadata_location) != expected.as_deref();
    let change = HeadMove::Set(location);
    let head = HeadChange {
        table: draft.name().clone(),
        uuid: draft.uuid(),
        expected,
        change,
    };
    Ok(Top {
        head,
        metadata: metadata.into(),
        fresh,
        rebased,
        own_files,
    })
}

/// Appends commute with everything that another writer may have done, a change of the schema with nothing that
/// changed it too.
fn check_rebase(change: &Prepared, head: Option<&Table>) -> Result<()> {
    let draft = &change.draft;
    let moved = |what: &str| {
        Err(Error::conflict(
            "schema_moved",
            format!("the table was {what} by another writer"),
        )
        .with_hint("read the table again and redo the change"))
    };
    draft.check_properties(head)?;
    if let Some(head) = head {
        draft.check_same_rows(head)?;
    }
    match (draft.base(), head) {
        (None, None) => Ok(()),
        (None, Some(_)) => moved("created"),
        (Some(_), None) => moved("dropped"),
        (Some(base), Some(head)) if base.uuid() != head.uuid() => moved("replaced"),
        (Some(base), Some(head)) if draft.schema_changed() && !same_schema(base, head) => {
            moved("changed")
        }
        (Some(base), Some(head)) if change.has_rows() && !has_fields_of(head, base) => {
            moved("changed")
        }
        (Some(_), Some(_)) => Ok(()),
    }
}

/// Whether all fields in files of `base` are in `head`. A missing field was widened or dropped: its values would be
/// in no column.
fn has_fields_of(head: &Table, base: &Table) -> bool {
    let base = base.metadata();
    let head = head.metadata();
    let written = base.current_schema();
    let current = head.current_schema();
    written == current
        || (1..=written.highest_field_id())
            .filter(|id| written.field_by_id(*id).is_some())
            .all(|id| current.field_by_id(id).is_some())
}

fn same_schema(base: &Table, head: &Table) -> bool {
    let base = base.metadata();
    let head = head.metadata();
    base.current_schema() == head.current_schema() && base.last_column_id() == head.last_column_id()
}

/// A table with a draft on top.
struct StackedTable {
    metadata: TableMetadata,
    fresh: Vec<(String, LiveManifest)>,
    own_files: Vec<Path>,
}

async fn stack_metadata(
    lake: &Lake,
    change: &Prepared,
    head: Option<&Table>,
    notes: &Notes,
    at: Timestamp,
) -> Result<StackedTable> {
    let now = lake.clock().now();
    let mut ground = ground(&change.draft, head, now)?;
    if let (Some(rewrite), Some(head)) = (&change.rewrite, head)
        && let Some(replacement) = Box::pin(rewrite.replacement(head, &ground)).await?
    {
        ground = replaced(lake, &ground, &replacement, now).await?.into();
    }
    let own = match (&change.lookup, &change.periods) {
        _ if let Some(update) = change.draft.compaction() => {
            let table = as_table(lake, &change.draft, &ground)?;
            let made = Box::pin(update.on(&table)).await?;
            Some(OwnChange {
                change: made.change,
                files: made.own_files,
            })
        }
        _ if change.draft.replaces_rows() => {
            let change = overwriting(lake, &change.draft, &ground).await?;
            Some(OwnChange {
                change,
                files: Vec::new(),
            })
        }
        _ if !change.draft.row_deletes().is_empty() => Some(removing(lake, change, &ground).await?),
        (_, Some(periods)) => resolved(lake, &change.draft, periods, &ground, at).await?,
        (Some(lookup), None) => deleting(lake, change, lookup, &ground).await?,
        (None, None) => None,
    };
    let (own, own_files) = own.map_or((None, Vec::new()), |own| (Some(own.change), own.files));
    let (snapshot, fresh) = match own.as_ref().or(change.change.as_ref()) {
        Some(change) => {
            let stacked = change.on_top_of(&ground, lake.storage(), now, &notes.summary);
            let stacked = stacked.await?;
            (Some(stacked.snapshot), stacked.fresh)
        }
        None => (None, Vec::new()),
    };
    Ok(StackedTable {
        metadata: finished(&ground, &change.draft, head, notes, snapshot, now)?,
        fresh,
        own_files,
    })
}

/// A change that is made for one head, and the files that it adds.
struct OwnChange {
    change: Change,
    files: Vec<Path>,
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
    let deletes = Box::pin(lookup.deletes(&table, draft.files())).await?;
    if deletes.is_empty() {
        return Ok(None);
    }
    with_deletes(lake, draft, ground, change, deletes)
        .await
        .map(Some)
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
    let change = match &prepared.change {
        Some(change) => change.clone(),
        None => Change::append(ground, lake.storage(), &[]).await?,
    };
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
        true => OwnChange {
            change,
            files: Vec::new(),
        },
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
    Ok(OwnChange {
        change: change.with_deletes(ground, lake.storage(), &files).await?,
        files: files.into_iter().map(|file| file.path).collect(),
    })
}

/// The head, or the new table, with the draft's schema; dated like the head.
fn ground(draft: &Draft, head: Option<&Table>, now: Timestamp) -> Result<TableMetadataRef> {
    let planned = draft.planned()?;
    let Some(head) = head else {
        return Ok(stamped(planned, now)?.into());
    };
    if !draft.schema_changed() {
        return Ok(TableMetadataRef::clone(head.metadata()));
    }
    let last = Timestamp(head.metadata().last_updated_ms().saturating_mul(1_000));
    let grown = planned.current_schema().as_ref().clone();
    let built = rebuilt(head.metadata(), None, last, |builder| {
        builder.add_current_schema(grown)
    });
    Ok(built?.into())
}

/// The table with its files replaced, as a snapshot of its own below that of the rows that come.
async fn replaced(
    lake: &Lake,
    ground: &TableMetadata,
    replacement: &Replacement,
    now: Timestamp,
) -> Result<TableMetadata> {
    let change = &replacement.change;
    let note = BTreeMap::from([(SAME_SEQUENCES_NOTE.to_owned(), "true".to_owned())]);
    let stacked = change.on_top_of(ground, lake.storage(), now, &note).await?;
    let rewritten = (REWRITTEN_PROPERTY, replacement.bytes_total);
    let properties = [(rewritten.0.to_owned(), rewritten.1.to_string())].into();
    let build = || {
        let builder = ground.clone().into_builder(None);
        let builder = builder.set_properties(properties)?;
        builder
            .set_branch_snapshot(stacked.snapshot, "main")?
            .build()
    };
    build()
        .map(|built| built.metadata)
        .map_err(|e| from_iceberg("put the rewritten files into the table", e))
}

fn finished(
    ground: &TableMetadata,
    draft: &Draft,
    head: Option<&Table>,
    notes: &Notes,
    snapshot: Option<Snapshot>,
    now: Timestamp,
) -> Result<TableMetadata> {
    let mut properties = notes.properties.clone();
    properties.extend(draft.properties().clone());
    let previous = head.map(|head| head.metadata_location().to_owned());
    let Some(snapshot) = snapshot else {
        let at = last_change(head, now);
        return rebuilt(ground, previous.as_deref(), at, |builder| {
            builder.set_properties(properties.into_iter().collect())
        });
    };
    // Only with a new snapshot: expired snapshots can wait for the next one.
    let outgrown = outgrown(ground, now);
    let unused = unused_schemas(ground, &outgrown);
    let build = || {
        let mut builder = ground
            .clone()
            .into_builder(previous)
            .set_properties(properties.into_iter().collect())?;
        builder = builder.set_branch_snapshot(snapshot, "main")?;
        for id in &outgrown {
            builder = builder
                .remove_statistics(*id)
                .remove_partition_statistics(*id);
        }
        if !outgrown.is_empty() {
            builder = builder.remove_snapshots(&outgrown);
        }
        builder.remove_schemas(&unused)?.build()
    };
    build()
        .map(|built| built.metadata)
        .map_err(|e| from_iceberg("put the change on top of the table", e))
}

/// Never before the change that made the head.
fn last_change(head: Option<&Table>, now: Timestamp) -> Timestamp {
    let last = head.map_or(i64::MIN, |head| {
        head.metadata().last_updated_ms().saturating_mul(1_000)
    });
    Timestamp(now.micros().max(last))
}
