//! Commits of other engines: requirements are checked against the newest heads, and again when a head has moved.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::time::Duration;

use forebay_core::{
    CommitId, Context, Error, ErrorKind, Result, TableName, Timestamp, shortened_value,
};
use forebay_store::{AsOf, Change, Commit, CommitRecord, Committed, HeadChange};
use iceberg::spec::{TableMetadata, TableMetadataRef};
use iceberg::{TableRequirement, TableUpdate};

use crate::bitemporal::NamedTable;
use crate::error::from_iceberg;
use crate::metadata::{check_readable, rebuilt};
use crate::snapshot::outgrown;
use crate::{Lake, Table};

use super::heads::{contended, no_such_table};
use super::numbers::check_numbers;
use super::schemas::check_columns;
use super::snapshots::{SnapshotChecks, check_sequence};
use super::{
    EXTERNAL_TABLES_MAX, ExternalChange, ExternalCommit, METADATA_BYTES_MAX, commit_property,
    create, fresh_commit_id, rules,
};

/// How often a commit is tried on newer heads while its requirements still hold.
const ATTEMPTS_MAX: u32 = 20;
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How often the catalog is searched for a commit whose result is unknown, and how long apart.
const SEARCHES_MAX: u32 = 5;
const SEARCH_PAUSE: Duration = Duration::from_millis(400);

impl Lake {
    /// Makes one commit of another engine, and gives its tables as they are then.
    ///
    /// Errors: `Conflict` `requirement_failed` when a table is not as the caller saw it; `NotFound` `no_such_table`; `Data` `bad_update`,
    /// `Unsupported` `update_refused`, `table_read_only` for changes that are not allowed; `Unavailable` `commit_unknown` when it is not known
    /// whether it landed. After any other error nothing is visible.
    pub async fn commit_external(&self, commit: ExternalCommit) -> Result<Vec<Table>> {
        check_distinct(&commit.changes)?;
        let id = fresh_commit_id(self.clock().now());
        let mut checks = SnapshotChecks::default();
        let mut pause = PAUSE_FIRST;
        for _ in 0..ATTEMPTS_MAX {
            let planned = plan(self, &commit, id, &mut checks).await;
            let planned = planned.inspect_err(|error| reserve_tables(self, &commit, error))?;
            let tops = write(self, planned).await?;
            match commit_heads(self, store_commit(&commit, id, &tops)).await {
                Ok(_) => {
                    release_tables(self, &commit);
                    return tops.into_iter().map(|top| top.landed(self)).collect();
                }
                Err(error) if is_stale(&error) => {
                    discard(self, &tops).await;
                    self.clock().sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(error) => return Err(error),
            }
        }
        Err(contended())
    }
}

/// Keeps our own writers from the tables for a moment, when an engine came second and is going to try again.
fn reserve_tables(lake: &Lake, commit: &ExternalCommit, error: &Error) {
    if error.code() != "requirement_failed" {
        return;
    }
    for change in &commit.changes {
        let key = (commit.branch.clone(), change.table.clone());
        let lake = lake.clone();
        tokio::spawn(async move {
            let head = lake.table(&AsOf::Head(key.0.clone()), &key.1).await;
            let Ok(Some(head)) = head else { return };
            let folder = lake.storage().path(head.metadata().location()).ok();
            let file = folder.and_then(|folder| lake.storage().turn_file(&folder));
            lake.turns().reserve(key, file, lake.clock()).await;
        });
    }
}

fn release_tables(lake: &Lake, commit: &ExternalCommit) {
    for change in &commit.changes {
        let key = (commit.branch.clone(), change.table.clone());
        lake.turns().release(&key);
    }
}

pub(super) fn is_stale(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && error.code() == "stale_head"
}

/// A commit in the store, with a search for it when its result is unknown.
pub(super) async fn commit_heads(lake: &Lake, commit: Commit) -> Result<Committed> {
    let id = commit.id;
    let error = match lake.store().commit(commit).await {
        Err(error) if error.code() == "commit_unknown" => error,
        known => return known,
    };
    for _ in 0..SEARCHES_MAX {
        lake.clock().sleep(SEARCH_PAUSE).await;
        match lake.store().find_commit(id).await {
            Ok(Some(CommitRecord { id, at, .. })) => return Ok(Committed { id, at }),
            Ok(None) => {
                let what = "the database lost the commit: nothing was changed";
                return Err(Error::unavailable("commit_lost", what).with_source(error));
            }
            Err(_) => {}
        }
    }
    Err(error)
}

fn check_distinct(changes: &[ExternalChange]) -> Result<()> {
    if changes.is_empty() || changes.len() > EXTERNAL_TABLES_MAX {
        let what = format!("a commit changes 1 to {EXTERNAL_TABLES_MAX} tables");
        return Err(Error::data("bad_update", what));
    }
    let mut names = HashSet::new();
    match changes.iter().find(|change| !names.insert(&change.table)) {
        None => Ok(()),
        Some(twice) => {
            let what = format!("the commit changes table {} twice", twice.table);
            Err(Error::data("bad_update", what))
        }
    }
}

/// The next state of a table.
pub(super) struct PlannedState {
    pub(super) table: TableName,
    pub(super) previous: Option<String>,
    pub(super) metadata: TableMetadata,
}

/// A state whose metadata is written.
pub(super) struct WrittenState {
    table: TableName,
    previous: Option<String>,
    location: String,
    metadata: TableMetadataRef,
}

impl WrittenState {
    pub(super) fn head_change(&self) -> HeadChange {
        HeadChange {
            table: self.table.clone(),
            uuid: self.metadata.uuid(),
            expected: self.previous.clone(),
            change: Change::Set(self.location.clone()),
        }
    }

    pub(super) fn landed(self, lake: &Lake) -> Result<Table> {
        let metadata = TableMetadataRef::clone(&self.metadata);
        lake.metadata().remember(self.location.clone(), metadata);
        let storage = lake.storage().clone();
        Table::new(self.table, self.location, self.metadata, storage)
    }
}

async fn plan(
    lake: &Lake,
    commit: &ExternalCommit,
    id: CommitId,
    checks: &mut SnapshotChecks,
) -> Result<Vec<PlannedState>> {
    let mut planned = Vec::with_capacity(commit.changes.len());
    for change in &commit.changes {
        let as_of = AsOf::Head(commit.branch.clone());
        let head = lake.table(&as_of, &change.table).await?;
        let state = Box::pin(plan_table(lake, change, head.as_ref(), id, checks));
        let state = state.await.context("table", &change.table)?;
        if head.is_none() {
            let named = NamedTable::of(&change.table, &state.metadata);
            lake.check_view_names(&as_of, &[named]).await?;
        }
        planned.push(state);
    }
    Ok(planned)
}

async fn plan_table(
    lake: &Lake,
    change: &ExternalChange,
    head: Option<&Table>,
    id: CommitId,
    checks: &mut SnapshotChecks,
) -> Result<PlannedState> {
    rules::check_namespace(&change.table)?;
    check_requirements(change, head)?;
    let base = match head {
        Some(head) => TableMetadataRef::clone(head.metadata()),
        None => create::staged_metadata(lake, &change.updates).await?.into(),
    };
    check_sequence(&base, &change.updates)?;
    let now = lake.clock().now();
    let updates = rules::allowed_updates(lake, &base, head.is_none(), &change.updates)?;
    let previous = head.map(|head| head.metadata_location().to_owned());
    let metadata = apply(&base, previous.as_deref(), updates, id, now)?;
    check_numbers(&metadata, now)?;
    check_columns(&base, &metadata)?;
    check_metadata(&metadata)?;
    let checked = checks.check(lake, &base, &metadata, now).await;
    checked.map_err(as_bad_update)?;
    checks
        .check_specs(lake, &base, &metadata)
        .await
        .map_err(as_bad_update)?;
    Ok(PlannedState {
        table: change.table.clone(),
        previous,
        metadata,
    })
}

fn check_requirements(change: &ExternalChange, head: Option<&Table>) -> Result<()> {
    let Some(head) = head else {
        return match change.creates_table() {
            true => Ok(()),
            false => Err(no_such_table(&change.table)),
        };
    };
    for requirement in &change.requirements {
        if let Err(fault) = requirement.check(Some(head.metadata())) {
            return Err(failed_requirement(requirement, head.metadata(), &fault));
        }
    }
    Ok(())
}

/// In the words of Iceberg, which clients know.
fn failed_requirement(
    requirement: &TableRequirement,
    found: &TableMetadata,
    fault: &iceberg::Error,
) -> Error {
    let what = match requirement {
        TableRequirement::NotExist => "table already exists".to_owned(),
        TableRequirement::UuidMatch { uuid } => {
            format!("UUID does not match: expected {} != {uuid}", found.uuid())
        }
        TableRequirement::RefSnapshotIdMatch { r#ref, .. } => {
            let why = fault.message();
            let why = why.strip_prefix("Requirement failed: ").unwrap_or(why);
            format!(
                "branch or tag {} has changed: {why}",
                shortened_value(r#ref)
            )
        }
        TableRequirement::LastAssignedFieldIdMatch {
            last_assigned_field_id,
        } => changed(
            "last assigned field id",
            last_assigned_field_id,
            &found.last_column_id(),
        ),
        TableRequirement::CurrentSchemaIdMatch { current_schema_id } => changed(
            "current schema",
            current_schema_id,
            &found.current_schema_id(),
        ),
        TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id,
        } => changed(
            "last assigned partition id",
            last_assigned_partition_id,
            &found.last_partition_id(),
        ),
        TableRequirement::DefaultSpecIdMatch { default_spec_id } => changed(
            "default partition spec",
            default_spec_id,
            &found.default_partition_spec_id(),
        ),
        TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id,
        } => changed(
            "default sort order",
            default_sort_order_id,
            &found.default_sort_order_id(),
        ),
    };
    Error::conflict("requirement_failed", format!("Requirement failed: {what}"))
        .with_hint("load the table again and redo the change")
}

fn changed(what: &str, expected: &dyn Display, found: &dyn Display) -> String {
    format!("{what} changed: expected id {expected} != {found}")
}

fn apply(
    base: &TableMetadata,
    previous: Option<&str>,
    updates: Vec<TableUpdate>,
    id: CommitId,
    now: Timestamp,
) -> Result<TableMetadata> {
    let failed = |e: iceberg::Error| {
        let what = format!("the updates do not fit the table: {}", e.message());
        Error::data("bad_update", what)
    };
    let properties = commit_property(id);
    if !updates.iter().any(moves_snapshots) {
        let at = Timestamp(
            now.micros()
                .max(base.last_updated_ms().saturating_mul(1_000)),
        );
        let mut fault = None;
        let built = rebuilt(base, previous, at, |builder| {
            let applied = updates
                .into_iter()
                .try_fold(builder, |builder, update| update.apply(builder));
            let applied = applied.inspect_err(|error| fault = Some(error.message().to_owned()));
            applied?.set_properties(properties.into_iter().collect())
        });
        return built.map_err(|error| match fault {
            Some(fault) => Error::data(
                "bad_update",
                format!("the updates do not fit the table: {fault}"),
            ),
            None => error,
        });
    }
    let gone = forgotten_snapshots(base, &updates, now);
    let build = || {
        let builder = base.clone().into_builder(previous.map(str::to_owned));
        let builder = updates
            .into_iter()
            .try_fold(builder, |builder, update| update.apply(builder))?;
        let mut builder = builder.set_properties(properties.into_iter().collect())?;
        for snapshot in &gone {
            builder = builder
                .remove_statistics(*snapshot)
                .remove_partition_statistics(*snapshot);
        }
        if !gone.is_empty() {
            builder = builder.remove_snapshots(&gone);
        }
        builder.build()
    };
    build().map(|built| built.metadata).map_err(failed)
}

fn moves_snapshots(update: &TableUpdate) -> bool {
    matches!(
        update,
        TableUpdate::AddSnapshot { .. }
            | TableUpdate::SetSnapshotRef { .. }
            | TableUpdate::RemoveSnapshots { .. }
            | TableUpdate::RemoveSnapshotRef { .. }
    )
}

/// Old snapshots that go with a new one, as in our own commits; never one that the updates name.
fn forgotten_snapshots(base: &TableMetadata, updates: &[TableUpdate], now: Timestamp) -> Vec<i64> {
    let mut named = HashSet::new();
    let mut is_added = false;
    for update in updates {
        match update {
            TableUpdate::AddSnapshot { snapshot } => {
                is_added = true;
                named.extend(snapshot.parent_snapshot_id());
            }
            TableUpdate::SetSnapshotRef { reference, .. } => {
                named.insert(reference.snapshot_id);
            }
            _ => {}
        }
    }
    if !is_added {
        return Vec::new();
    }
    let mut gone = outgrown(base, now);
    gone.retain(|snapshot| !named.contains(snapshot));
    gone
}

/// Metadata that readers can read, and that holds together.
fn check_metadata(metadata: &TableMetadata) -> Result<()> {
    let bad = |what: String| Err(Error::data("bad_update", what));
    if let Some(id) = metadata.current_snapshot_id()
        && metadata.snapshot_by_id(id).is_none()
    {
        return bad(format!("the current snapshot {id} is removed"));
    }
    for snapshot in metadata.snapshots() {
        if let Some(id) = snapshot.schema_id()
            && metadata.schema_by_id(id).is_none()
        {
            let snapshot = snapshot.snapshot_id();
            return bad(format!(
                "snapshot {snapshot} has schema {id}, which is not there"
            ));
        }
    }
    crate::schema::to_arrow(metadata.current_schema()).map_err(as_bad_update)?;
    let bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |text| text.len());
    if bytes > METADATA_BYTES_MAX {
        return bad(format!(
            "the metadata has more than {METADATA_BYTES_MAX} bytes"
        ));
    }
    check_readable(metadata).map_err(|error| {
        Error::data("bad_update", "the metadata could not be read again").with_source(error)
    })
}

/// Writes the metadata of each state.
pub(super) async fn write(lake: &Lake, planned: Vec<PlannedState>) -> Result<Vec<WrittenState>> {
    let mut written: Vec<WrittenState> = Vec::with_capacity(planned.len());
    for state in planned {
        match write_state(lake, state).await {
            Ok(state) => written.push(state),
            Err(error) => {
                discard(lake, &written).await;
                return Err(error);
            }
        }
    }
    Ok(written)
}

async fn write_state(lake: &Lake, state: PlannedState) -> Result<WrittenState> {
    let PlannedState {
        table,
        previous,
        metadata,
    } = state;
    if previous.is_none() {
        let folder = lake.storage().path(metadata.location())?;
        lake.storage().create_table_folders(&folder).await?;
    }
    let location = lake.metadata().write(previous.as_deref(), &metadata).await;
    Ok(WrittenState {
        location: location.context("table", &table)?,
        table,
        previous,
        metadata: metadata.into(),
    })
}

/// Deletes the metadata files of an attempt that was refused.
pub(super) async fn discard(lake: &Lake, states: &[WrittenState]) {
    for state in states {
        if let Ok(path) = lake.storage().path(&state.location) {
            lake.storage().delete_unnamed(&path).await;
        }
    }
}

fn store_commit(commit: &ExternalCommit, id: CommitId, states: &[WrittenState]) -> Commit {
    let mut tables: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for change in &commit.changes {
        let named = tables.entry(change.summary()).or_default();
        named.push(change.table.to_string());
    }
    let parts = tables
        .into_iter()
        .map(|(what, tables)| format!("{what} {}", tables.join(", ")));
    let message = parts.collect::<Vec<_>>().join("; ");
    let heads = states.iter().map(WrittenState::head_change).collect();
    let author = commit.author.clone();
    Commit::of_heads(id, commit.branch.clone(), author, message, heads)
}

/// A fault in files or types is a fault of the request.
pub(super) fn as_bad_update(error: Error) -> Error {
    if !matches!(error.kind(), ErrorKind::Data | ErrorKind::Config) || error.code() == "bad_update"
    {
        return error;
    }
    let what = error.message().to_owned();
    Error::data("bad_update", what).with_source(error)
}

/// An error of `iceberg` about the request.
pub(super) fn refused(what: &str, error: iceberg::Error) -> Error {
    let message = format!("failed to {what}: {}", error.message());
    let below = from_iceberg(what, error);
    match below.kind() {
        ErrorKind::Unavailable => below,
        _ => Error::data("bad_update", message),
    }
}
