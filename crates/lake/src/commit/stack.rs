//! Putting a draft on top of its table's head: manifests once, then a metadata file for each head that is tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Context, Error, Result, TableName, Timestamp};
use forebay_store::{AsOf, Change as HeadMove, HeadChange};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{Snapshot, TableMetadata, TableMetadataRef};
use object_store::path::Path;

use crate::bitemporal::{NamedTable, PeriodUpdate, is_bitemporal};
use crate::error::from_iceberg;
use crate::manifest_cache::LiveManifest;
use crate::metadata::{check_readable, rebuilt, stamped};
use crate::rewrite::{REWRITTEN_PROPERTY, Replacement, SAME_SEQUENCES_NOTE, TableRewrite};
use crate::snapshot::{Change, outgrown, unused_schemas};
use crate::upsert::{ChildRows, GoneRows, KeyLookup};
use crate::{Draft, Lake, Table, schema};

use super::CommitRequest;
use super::notes::Notes;
use super::own_change::own_change;

/// Tables whose files are written at the same time.
const TABLES_AT_ONCE: usize = 8;

/// A draft with the manifests of its files.
pub(super) struct Prepared {
    pub(super) draft: Draft,
    pub(super) change: Option<Change>,
    /// The table's files are written again.
    rewrite: Option<TableRewrite>,
    /// The rows replace those of the table.
    pub(super) lookup: Option<KeyLookup>,
    /// The rows of the table as it was that they replace, for child tables.
    gone_before: Option<GoneRows>,
    /// Rows of the table go with those of its parent.
    pub(super) children: Option<ChildRows>,
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
    let prepared: Vec<Prepared> = stream::iter(touched.map(|draft| prepare(lake.clone(), draft)))
        .buffered(TABLES_AT_ONCE)
        .try_collect()
        .await?;
    for child in &prepared {
        Box::pin(prepare_child(&prepared, child))
            .await
            .context("table", child.draft.name())?;
    }
    Ok(prepared)
}

/// Most of the work of finding rows that go with those of a parent, before this writer takes its turn at the tables.
async fn prepare_child(all: &[Prepared], child: &Prepared) -> Result<()> {
    let (Some(children), Some(base), None) = (&child.children, child.draft.base(), &child.rewrite)
    else {
        return Ok(());
    };
    let parent = all.iter().find(|one| *one.draft.name() == children.parent);
    match parent.and_then(|parent| parent.gone_before.as_ref()) {
        Some(gone) => children.search(base, gone).await,
        None => Ok(()),
    }
}

async fn prepare(lake: Lake, mut draft: Draft) -> Result<Prepared> {
    draft.check_deletes()?;
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
    let lookup = draft.key_lookup().context("table", draft.name())?;
    let mut gone_before = None;
    if let (Some(lookup), Some(base), None) = (&lookup, draft.base(), &rewrite) {
        // Most of the work, as above.
        let found = Box::pin(lookup.superseded(base, draft.files())).await;
        gone_before = Some(found.context("table", draft.name())?.gone);
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
    let children = draft.child_rows().context("table", draft.name())?;
    Ok(Prepared {
        draft,
        change,
        rewrite,
        lookup,
        gone_before,
        children,
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
    let mut gone = BTreeMap::new();
    let is_child = |change: &&Prepared| change.children.is_some();
    let (children, parents): (Vec<&Prepared>, Vec<&Prepared>) = changes.iter().partition(is_child);
    for round in [parents, children] {
        // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
        let stacks: Vec<_> = round
            .into_iter()
            .map(|change| {
                let gone = gone_with(change, &gone);
                Box::pin(stack(lake, &as_of, change, gone, notes, at))
            })
            .collect();
        let mut stacks = stream::iter(stacks).buffered(TABLES_AT_ONCE);
        while let Some(stacked) = stacks.try_next().await? {
            let Some((top, rows)) = stacked else { continue };
            gone.insert(top.head.table.clone(), Arc::new(rows));
            tops.push(top);
        }
    }
    Ok(tops)
}

/// The rows of its parent that a table follows.
fn gone_with(
    change: &Prepared,
    gone: &BTreeMap<TableName, Arc<GoneRows>>,
) -> Option<Arc<GoneRows>> {
    let parent = &change.children.as_ref()?.parent;
    gone.get(parent).cloned()
}

/// `None` for a table of which nothing goes with the rows `gone` of its parent.
async fn stack(
    lake: &Lake,
    as_of: &AsOf,
    change: &Prepared,
    gone: Option<Arc<GoneRows>>,
    notes: &Notes,
    at: Timestamp,
) -> Result<Option<(Top, GoneRows)>> {
    let draft = &change.draft;
    let head = lake.table(as_of, draft.name()).await?;
    check_rebase(change, head.as_ref()).context("table", draft.name())?;
    let stacked = stack_metadata(lake, change, head.as_ref(), gone.as_deref(), notes, at).await;
    let Some(StackedTable {
        metadata,
        fresh,
        own_files,
        gone,
    }) = stacked.context("table", draft.name())?
    else {
        return Ok(None);
    };
    check_name(lake, as_of, draft.name(), head.as_ref(), &metadata).await?;
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
    let top = Top {
        head,
        metadata: metadata.into(),
        fresh,
        rebased,
        own_files,
    };
    Ok(Some((top, gone)))
}

/// A table that is new, or newly bitemporal, hides no view.
async fn check_name(
    lake: &Lake,
    as_of: &AsOf,
    name: &TableName,
    head: Option<&Table>,
    metadata: &TableMetadata,
) -> Result<()> {
    let named = NamedTable::of(name, metadata);
    let is_known = head.is_some_and(|head| !named.is_bitemporal || is_bitemporal(head));
    match is_known {
        true => Ok(()),
        false => lake.check_view_names(as_of, &[named]).await,
    }
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
    /// Rows that it deletes.
    gone: GoneRows,
}

async fn stack_metadata(
    lake: &Lake,
    change: &Prepared,
    head: Option<&Table>,
    gone: Option<&GoneRows>,
    notes: &Notes,
    at: Timestamp,
) -> Result<Option<StackedTable>> {
    let now = lake.clock().now();
    let mut ground = ground(&change.draft, head, now)?;
    if let (Some(rewrite), Some(head)) = (&change.rewrite, head)
        && let Some(replacement) = Box::pin(rewrite.replacement(head, &ground)).await?
    {
        ground = replaced(lake, &ground, &replacement, now).await?.into();
    }
    let own = Box::pin(own_change(lake, change, &ground, gone, at)).await?;
    if own.is_none() && change.draft.only_follows() {
        return Ok(None);
    }
    let (own, own_files, gone) = match own {
        Some(own) => (Some(own.change), own.files, own.gone),
        None => (None, Vec::new(), GoneRows::default()),
    };
    let (snapshot, fresh) = match own.as_ref().or(change.change.as_ref()) {
        Some(change) => {
            let stacked = change.on_top_of(&ground, lake.storage(), now, &notes.summary);
            let stacked = stacked.await?;
            (Some(stacked.snapshot), stacked.fresh)
        }
        None => (None, Vec::new()),
    };
    Ok(Some(StackedTable {
        metadata: finished(&ground, &change.draft, head, notes, snapshot, now)?,
        fresh,
        own_files,
        gone,
    }))
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
