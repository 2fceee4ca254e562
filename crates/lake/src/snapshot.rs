//! A new snapshot of a table: manifests of its files, the manifest list on top of the parent's, the summary.
//!
//! Manifests of new files do not depend on the parent: they are written once and survive a rebase. The list is
//! written again for each parent. Nothing here is visible before a metadata file names it, and nothing is deleted.

mod expire;
mod manifest;
mod merge;
mod remove;
mod summary;
mod tier;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use forebay_core::{Result, Timestamp};
use iceberg::io::FileIO;
use iceberg::spec::{
    FormatVersion, ManifestContentType, ManifestFile, ManifestListWriter, Operation, Snapshot,
    SnapshotRef, Summary, TableMetadata,
};
use uuid::Uuid;

use crate::DataFile;
use crate::error::from_iceberg;
use crate::manifest_cache::LiveManifest;
use crate::scan::TableFile;
use crate::storage::LakeStorage;

pub(crate) use self::expire::{named_by_refs, outgrown, unused_schemas};
use self::manifest::{Added, ManifestFolder, SEQUENCE_INHERITED};
pub(crate) use self::manifest::{read_list, unknown_spec};
use self::merge::Carried;
use self::summary::Counts;

/// A snapshot on top of a parent, and the entries of the manifests written for it: valid once it has landed.
pub(crate) struct Stacked {
    pub(crate) snapshot: Snapshot,
    pub(crate) fresh: Vec<(String, LiveManifest)>,
}

/// The change of one snapshot to a table, ready to be put on top of any parent.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    id: i64,
    operation: Operation,
    /// Manifests of the files that come in.
    added: Vec<Added>,
    /// Whether the parent's files stay.
    keeps_parent: bool,
    /// Locations of files of the parent that do not stay all the same.
    removed: Arc<HashSet<String>>,
    counts: Counts,
}

impl Change {
    /// Writes the manifests of appended files. `table` is the table as the draft planned it: the schema and specs
    /// that the files were written by.
    pub(crate) async fn append(
        table: &TableMetadata,
        storage: &Arc<LakeStorage>,
        files: &[DataFile],
    ) -> Result<Self> {
        let id = fresh_id();
        let folder = ManifestFolder::new(table, storage, id);
        let appended = files.iter().map(|file| (file, SEQUENCE_INHERITED));
        let added = folder
            .write_added(table, ManifestContentType::Data, appended)
            .await?;
        Ok(Self {
            id,
            operation: Operation::Append,
            added,
            keeps_parent: true,
            removed: Arc::default(),
            counts: Counts::of_added(files.iter()),
        })
    }

    /// The same change with deletes of rows; `files` are position deletes, against `head`.
    pub(crate) async fn with_deletes(
        &self,
        head: &TableMetadata,
        storage: &Arc<LakeStorage>,
        files: &[DataFile],
    ) -> Result<Self> {
        let folder = ManifestFolder::new(head, storage, self.id);
        let deletes = files.iter().map(|file| (file, SEQUENCE_INHERITED));
        let deletes = folder.write_added(head, ManifestContentType::Deletes, deletes);
        let mut change = self.clone();
        change.added.extend(deletes.await?);
        change.operation = Operation::Overwrite;
        change.counts.add_deletes(files);
        Ok(change)
    }

    /// Writes the manifests of files that replace all files of `table`: the same rows, so they keep the sequence
    /// numbers of the files that held them.
    pub(crate) async fn replace(
        table: &TableMetadata,
        storage: &Arc<LakeStorage>,
        files: &[(DataFile, i64)],
        replaced: &[TableFile],
    ) -> Result<Self> {
        let id = fresh_id();
        let folder = ManifestFolder::new(table, storage, id);
        let sequenced = files.iter().map(|(file, sequence)| (file, *sequence));
        let added = folder
            .write_added(table, ManifestContentType::Data, sequenced)
            .await?;
        Ok(Self {
            id,
            operation: Operation::Replace,
            added,
            keeps_parent: false,
            removed: Arc::default(),
            counts: Counts::of_replaced(files.iter().map(|(file, _)| file), replaced),
        })
    }

    /// Writes the manifests of files that come in the place of some files of `table`: the same rows. Each data file has a sequence
    /// number of its own; `deletes` are position deletes.
    pub(crate) async fn compact(
        table: &TableMetadata,
        storage: &Arc<LakeStorage>,
        files: &[(DataFile, i64)],
        deletes: &[DataFile],
        removed: &[TableFile],
    ) -> Result<Self> {
        let replaced = Self::replace(table, storage, files, removed).await?;
        let mut change = replaced;
        if !deletes.is_empty() {
            change = change.with_deletes(table, storage, deletes).await?;
        }
        let locations = removed.iter().map(|file| file.location.clone());
        Ok(Self {
            operation: Operation::Replace,
            keeps_parent: true,
            removed: Arc::new(locations.collect()),
            ..change
        })
    }

    /// Writes the manifests of files that come in the place of all files of `table`: other rows.
    pub(crate) async fn overwrite(
        table: &TableMetadata,
        storage: &Arc<LakeStorage>,
        files: &[DataFile],
        replaced: &[TableFile],
    ) -> Result<Self> {
        let appended = Self::append(table, storage, files).await?;
        Ok(Self {
            operation: Operation::Overwrite,
            keeps_parent: false,
            counts: Counts::of_replaced(files.iter(), replaced),
            ..appended
        })
    }

    /// The snapshot on top of `head`; writes its manifest list. `notes` go into the summary.
    pub(crate) async fn on_top_of(
        &self,
        head: &TableMetadata,
        storage: &Arc<LakeStorage>,
        now: Timestamp,
        notes: &BTreeMap<String, String>,
    ) -> Result<Stacked> {
        let parent = head.current_snapshot();
        let Carried {
            manifests: carried,
            mut fresh,
        } = self.carried(head, storage, parent).await?;
        let sequence = head.next_sequence_number();
        let mut manifests = Vec::with_capacity(self.added.len() + carried.len());
        for added in &self.added {
            let path = added.manifest.manifest_path.clone();
            fresh.push((path, added.landed(self.id, sequence)));
            manifests.push(added.manifest.clone());
        }
        manifests.extend(carried);
        let (list, next_row) = self.write_list(head, storage, manifests).await?;
        let mut properties = self.counts.summary(parent.map(|parent| parent.summary()));
        properties.extend(
            notes
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        let builder = Snapshot::builder()
            .with_snapshot_id(self.id)
            .with_parent_snapshot_id(parent.map(|parent| parent.snapshot_id()))
            .with_sequence_number(sequence)
            .with_timestamp_ms(snapshot_ms(head, now))
            .with_manifest_list(list)
            .with_summary(Summary {
                operation: self.operation.clone(),
                additional_properties: properties,
            })
            .with_schema_id(head.current_schema_id());
        let snapshot = match next_row {
            Some(next) => builder
                .with_row_range(head.next_row_id(), next - head.next_row_id())
                .build(),
            None => builder.build(),
        };
        Ok(Stacked { snapshot, fresh })
    }

    /// The parent's manifests as this snapshot has them: those without live files left out, many small ones merged.
    async fn carried(
        &self,
        head: &TableMetadata,
        storage: &Arc<LakeStorage>,
        parent: Option<&SnapshotRef>,
    ) -> Result<Carried> {
        let Some(parent) = parent.filter(|_| self.keeps_parent) else {
            return Ok(Carried::default());
        };
        let mut manifests = read_list(head, storage, parent).await?;
        manifests.retain(|manifest| manifest.has_added_files() || manifest.has_existing_files());
        let folder = ManifestFolder::new(head, storage, self.id);
        if !self.removed.is_empty() {
            return remove::without(head, storage, &folder, manifests, &self.removed).await;
        }
        merge::merge_small(head, storage, &folder, manifests).await
    }

    /// Where the list is, and for a v3 table the row id after the last one given out.
    async fn write_list(
        &self,
        head: &TableMetadata,
        storage: &Arc<LakeStorage>,
        manifests: Vec<ManifestFile>,
    ) -> Result<(String, Option<u64>)> {
        let fail = |e| from_iceberg("write the manifest list", e);
        let memory = FileIO::new_with_memory();
        let output = memory
            .new_output(LIST_IN_MEMORY)
            .map_err(fail)?
            .writer()
            .await
            .map_err(fail)?;
        let parent = head.current_snapshot_id();
        let sequence = head.next_sequence_number();
        let mut writer = match head.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(output, self.id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(output, self.id, parent, sequence),
            FormatVersion::V3 => {
                ManifestListWriter::v3(output, self.id, parent, sequence, Some(head.next_row_id()))
            }
        };
        writer.add_manifests(manifests.into_iter()).map_err(fail)?;
        let next_row = writer.next_row_id();
        writer.close().await.map_err(fail)?;
        let input = memory.new_input(LIST_IN_MEMORY).map_err(fail)?;
        let bytes = input.read().await.map_err(fail)?;
        let folder = format!("{}/metadata", head.location());
        let id = self.id;
        let named = storage.write_named(&folder, bytes, |uuid| format!("snap-{id}-{uuid}.avro"));
        Ok((named.await?, next_row))
    }
}

/// Location of a manifest list until its bytes, and so its name, are known.
const LIST_IN_MEMORY: &str = "memory:/list";

/// Later than everything the table has seen, also when this machine's clock is behind.
fn snapshot_ms(head: &TableMetadata, now: Timestamp) -> i64 {
    let last = head
        .history()
        .iter()
        .map(|entry| entry.timestamp_ms() + 1)
        .max()
        .unwrap_or(i64::MIN);
    now.millis().max(last).max(head.last_updated_ms())
}

fn fresh_id() -> i64 {
    (Uuid::new_v4().as_u64_pair().0 >> 1).cast_signed()
}

/// Which manifests hold data files and which hold deletes.
fn is_data(manifest: &ManifestFile) -> bool {
    manifest.content == ManifestContentType::Data
}

#[cfg(test)]
mod tests;
