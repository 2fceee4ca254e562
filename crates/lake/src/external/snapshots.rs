//! Snapshots of other engines: their files must be in the folder of their table, in a form that the lake can read.

use std::collections::HashMap;

use forebay_core::{Context, Error, Result, Timestamp};
use iceberg::TableUpdate;
use iceberg::spec::{FormatVersion, ManifestFile, SnapshotRef, TableMetadata};
use object_store::path::Path;

use crate::Lake;
use crate::age::check_age;
use crate::snapshot::read_list;
use crate::storage::LakeStorage;

use super::content::{CheckedFiles, SnapshotContent};
use super::rules::refused;

/// The largest manifest list, and the largest manifest, that is read.
const MANIFEST_BYTES_MAX: u64 = 32 << 20;

/// The folder of a table, which must contain all its files.
pub(super) struct TableFolder<'t> {
    storage: &'t LakeStorage,
    path: Path,
}

impl<'t> TableFolder<'t> {
    pub(super) fn of(lake: &'t Lake, table: &TableMetadata) -> Result<Self> {
        let storage = lake.storage();
        let path = storage.path(table.location())?;
        Ok(Self { storage, path })
    }

    /// The folder above the folder of a metadata file, before its table is known.
    pub(super) fn around(lake: &'t Lake, file: &Path) -> Self {
        let parts: Vec<_> = file.parts().collect();
        let parts = parts.len().saturating_sub(2);
        let path = Path::from_iter(file.parts().take(parts));
        let storage = lake.storage();
        Self { storage, path }
    }

    /// Errors: `Unsupported` `update_refused`.
    pub(super) fn check(&self, what: &str, location: &str) -> Result<()> {
        let path = self.storage.path(location);
        let is_inside = path
            .as_ref()
            .is_ok_and(|path| *path != self.path && path.prefix_matches(&self.path));
        if is_inside {
            return Ok(());
        }
        let why = format!("{what} does not lie in the folder of its table");
        Err(refused(why).with_context("file", location))
    }

    /// Bytes of a file in it; `None` when it is missing.
    ///
    /// Errors: `Data` `not_a_file`, `Unsupported` `update_refused`.
    pub(super) async fn file_size(&self, path: &Path) -> Result<Option<u64>> {
        self.storage.file_size(path, &self.path).await
    }
}

/// Checks of snapshots; files that passed are not read again when the commit is retried.
#[derive(Default)]
pub(super) struct SnapshotChecks {
    checked: CheckedFiles,
}

impl SnapshotChecks {
    /// Checks the snapshots that `after` has over `before`.
    ///
    /// Errors: `Data` `bad_update`, `Unsupported` `update_refused`; those of the object store.
    pub(super) async fn check(
        &mut self,
        lake: &Lake,
        before: &TableMetadata,
        after: &TableMetadata,
        now: Timestamp,
    ) -> Result<()> {
        let is_new =
            |snapshot: &&SnapshotRef| before.snapshot_by_id(snapshot.snapshot_id()).is_none();
        let mut added: Vec<&SnapshotRef> = after.snapshots().filter(is_new).collect();
        added.sort_by_key(|snapshot| snapshot.sequence_number());
        if added.is_empty() {
            return Ok(());
        }
        check_order(before, after, &added, now)?;
        let known = known_manifests(lake, before, &added).await?;
        for snapshot in added {
            let checked = self.check_files(lake, after, snapshot, Some(&known)).await;
            checked.context("snapshot", snapshot.snapshot_id())?;
        }
        Ok(())
    }

    /// Checks all files of a table that comes as it is.
    pub(super) async fn check_table(&mut self, lake: &Lake, table: &TableMetadata) -> Result<()> {
        let named = crate::snapshot::named_by_refs(table);
        let is_named = |snapshot: &&SnapshotRef| {
            let id = snapshot.snapshot_id();
            named.contains(&id) || table.current_snapshot_id() == Some(id)
        };
        for snapshot in table.snapshots().filter(is_named) {
            let checked = self.check_files(lake, table, snapshot, None).await;
            checked.context("snapshot", snapshot.snapshot_id())?;
        }
        Ok(())
    }

    /// A partition spec may go once no manifest of a snapshot has it.
    pub(super) async fn check_specs(
        &self,
        lake: &Lake,
        before: &TableMetadata,
        after: &TableMetadata,
    ) -> Result<()> {
        let is_gone = |id: i32| after.partition_spec_by_id(id).is_none();
        let mut specs = before.partition_specs_iter();
        if !specs.any(|spec| is_gone(spec.spec_id())) {
            return Ok(());
        }
        for snapshot in after.snapshots() {
            let list = read_list(after, lake.storage(), snapshot).await?;
            if let Some(user) = list.iter().find(|one| is_gone(one.partition_spec_id)) {
                let spec = user.partition_spec_id;
                let what = format!("partition spec {spec} is in use");
                return Err(Error::data("bad_update", what));
            }
        }
        Ok(())
    }

    async fn check_files(
        &mut self,
        lake: &Lake,
        table: &TableMetadata,
        snapshot: &SnapshotRef,
        known: Option<&KnownManifests>,
    ) -> Result<()> {
        let folder = TableFolder::of(lake, table)?;
        folder.check("the manifest list", snapshot.manifest_list())?;
        check_metadata_file(lake, &folder, snapshot.manifest_list()).await?;
        let content = SnapshotContent {
            lake,
            table,
            folder: &folder,
            snapshot,
            known,
        };
        content.check(&mut self.checked).await
    }
}

/// New snapshots follow those of the table.
///
/// Errors: `Conflict` `requirement_failed` when the table has newer ones than the caller saw, perhaps of another branch; `Data` `bad_update`.
pub(super) fn check_sequence(before: &TableMetadata, updates: &[TableUpdate]) -> Result<()> {
    if before.format_version() == FormatVersion::V1 {
        return Ok(());
    }
    let mut next = before.next_sequence_number();
    for update in updates {
        let TableUpdate::AddSnapshot { snapshot } = update else {
            continue;
        };
        let found = snapshot.sequence_number();
        // One without a parent has none of the files before it.
        let first = next - i64::from(snapshot.parent_snapshot_id().is_none());
        if found < first {
            return Err(moved_on(found, next));
        }
        if found > next {
            let id = snapshot.snapshot_id();
            let what = format!("snapshot {id} has sequence number {found}, the next is {next}");
            return Err(Error::data("bad_update", what));
        }
        next = found.saturating_add(1);
    }
    Ok(())
}

/// New snapshots are recent, and have parents.
fn check_order(
    before: &TableMetadata,
    after: &TableMetadata,
    added: &[&SnapshotRef],
    now: Timestamp,
) -> Result<()> {
    let bad = |snapshot: &SnapshotRef, what: String| {
        let id = snapshot.snapshot_id();
        Err(Error::data("bad_update", format!("snapshot {id} {what}")))
    };
    for snapshot in added {
        // Clean-up may have taken the files of an older one.
        check_age(
            Timestamp(snapshot.timestamp_ms().saturating_mul(1_000)),
            now,
        )?;
        if let Some(parent) = snapshot.parent_snapshot_id()
            && before.snapshot_by_id(parent).is_none()
            && after.snapshot_by_id(parent).is_none()
        {
            return bad(snapshot, format!("has the unknown parent {parent}"));
        }
    }
    Ok(())
}

fn moved_on(found: i64, next: i64) -> Error {
    let what = format!(
        "Requirement failed: last sequence number changed: expected {found}, the next is {next}"
    );
    Error::conflict("requirement_failed", what)
        .with_hint("load the table again and redo the change")
}

/// Manifests by their path.
pub(super) type KnownManifests = HashMap<Path, ManifestFile>;

/// Manifests of the snapshots that the new ones are based on.
async fn known_manifests(
    lake: &Lake,
    before: &TableMetadata,
    added: &[&SnapshotRef],
) -> Result<KnownManifests> {
    let parents = added.iter().filter_map(|new| new.parent_snapshot_id());
    let mut bases: Vec<i64> = parents.chain(before.current_snapshot_id()).collect();
    bases.sort_unstable();
    bases.dedup();
    let mut known = HashMap::new();
    for snapshot in bases.iter().filter_map(|id| before.snapshot_by_id(*id)) {
        for line in read_list(before, lake.storage(), snapshot).await? {
            known.insert(lake.storage().path(&line.manifest_path)?, line);
        }
    }
    Ok(known)
}

/// Errors: `Data` `bad_update` for a file that is missing or too large to be read, `not_a_file`.
pub(super) async fn check_metadata_file(
    lake: &Lake,
    folder: &TableFolder<'_>,
    location: &str,
) -> Result<()> {
    let path = lake.storage().path(location)?;
    let Some(size) = folder.file_size(&path).await? else {
        let what = "a file that the commit names does not exist";
        return Err(Error::data("bad_update", what).with_context("file", location));
    };
    if size <= MANIFEST_BYTES_MAX {
        return Ok(());
    }
    let what = format!("a file of metadata has {size} bytes, more than {MANIFEST_BYTES_MAX}");
    Err(Error::data("bad_update", what).with_context("file", location))
}
