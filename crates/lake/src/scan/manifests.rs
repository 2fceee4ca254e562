//! Reading the manifests of a snapshot.

use std::sync::Arc;

use forebay_core::{Context, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    Manifest, ManifestContentType, ManifestEntry, ManifestEntryRef, ManifestFile, ManifestStatus,
    PartitionSpec, Schema, TableMetadata,
};

use super::header;
use crate::Table;
use crate::avro::{expand, parse_list};
use crate::error::{from_iceberg, read_avro};
use crate::manifest_cache::{LiveManifest, ManifestCache};
use crate::storage::LakeStorage;

/// Manifests read at once.
const READS_MAX: usize = 8;

/// One snapshot of a table with everything needed to read it.
pub(super) struct Snapshot<'a> {
    pub(super) metadata: &'a TableMetadata,
    pub(super) storage: &'a Arc<LakeStorage>,
}

/// A live file, with the spec that it was written under.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) entry: ManifestEntryRef,
    pub(super) spec_id: i32,
}

impl Live {
    pub(super) fn sequence(&self) -> i64 {
        self.entry.sequence_number().unwrap_or(0)
    }
}

impl<'a> Snapshot<'a> {
    pub(super) fn current(table: &'a Table) -> Self {
        Self {
            metadata: table.metadata(),
            storage: table.storage(),
        }
    }

    /// Columns that exist now; older files are read by their field ids.
    pub(super) fn schema(&self) -> &Schema {
        self.metadata.current_schema()
    }

    pub(super) fn spec(&self, id: i32) -> Option<&PartitionSpec> {
        self.metadata.partition_spec_by_id(id).map(Arc::as_ref)
    }

    /// Manifests that hold live files, data before deletes.
    pub(super) async fn manifests(&self) -> Result<(Vec<ManifestFile>, Vec<ManifestFile>)> {
        let Some(snapshot) = self.metadata.current_snapshot() else {
            return Ok(Default::default());
        };
        let location = snapshot.manifest_list();
        let path = self.storage.path(location)?;
        let bytes = self.storage.read(&path).await;
        let bytes = bytes.context("manifest list", location)?;
        let list = parse_list(&bytes, self.metadata.format_version());
        let list = list.context("manifest list", location)?;
        let live = list
            .into_iter()
            .filter(|m| m.has_added_files() || m.has_existing_files());
        Ok(live.partition(|manifest| manifest.content == ManifestContentType::Data))
    }

    /// The live files of manifests, in order.
    pub(super) async fn entries(&self, manifests: Vec<ManifestFile>) -> Result<Vec<Live>> {
        // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
        let reads: Vec<BoxFuture<'_, Result<Vec<Live>>>> = manifests
            .into_iter()
            .map(|manifest| self.read(manifest).boxed())
            .collect();
        let read: Vec<Vec<Live>> = stream::iter(reads)
            .buffered(READS_MAX)
            .try_collect()
            .await?;
        Ok(read.into_iter().flatten().collect())
    }

    async fn read(&self, manifest: ManifestFile) -> Result<Vec<Live>> {
        let loaded = load_live(self.metadata, self.storage, &manifest)
            .await
            .context("manifest", &manifest.manifest_path)?;
        let live = |entry: &ManifestEntryRef| Live {
            entry: Arc::clone(entry),
            spec_id: manifest.partition_spec_id,
        };
        Ok(loaded.entries.iter().map(live).collect())
    }
}

/// The live files of one manifest of `table`, perhaps read before.
///
/// Errors: those of [`read_live`].
pub(crate) async fn load_live(
    table: &TableMetadata,
    storage: &LakeStorage,
    manifest: &ManifestFile,
) -> Result<LiveManifest> {
    let cache: &ManifestCache = storage.manifests();
    if let Some(kept) = cache.get(&manifest.manifest_path) {
        return Ok(kept);
    }
    let read = read_live(table, storage, manifest).await?;
    cache.put(&manifest.manifest_path, &read);
    Ok(read)
}

/// Reads one manifest of `table` from storage.
///
/// Errors: `Data` when it is not a manifest of the table.
pub(crate) async fn read_live(
    table: &TableMetadata,
    storage: &LakeStorage,
    manifest: &ManifestFile,
) -> Result<LiveManifest> {
    let bytes = storage
        .read(&storage.path(&manifest.manifest_path)?)
        .await?;
    let bytes = header::complete(expand(&bytes)?, manifest, table)?;
    let read = read_avro(|| Manifest::parse_avro(&bytes))
        .map_err(|e| from_iceberg("read a manifest", e))?;
    let live = read.entries().iter().filter(|entry| entry.is_alive());
    Ok(LiveManifest {
        schema: Arc::clone(&read.metadata().schema),
        entries: live.map(|entry| inherit(entry, manifest)).collect(),
    })
}

/// An entry inherits missing values from its manifest in the manifest list.
fn inherit(entry: &ManifestEntryRef, manifest: &ManifestFile) -> ManifestEntryRef {
    let mut whole = ManifestEntry::clone(entry);
    whole.snapshot_id.get_or_insert(manifest.added_snapshot_id);
    // Tables that were upgraded from version 1 have 0 everywhere; else only new files may leave it out.
    if whole.status == ManifestStatus::Added || manifest.sequence_number == 0 {
        whole
            .sequence_number
            .get_or_insert(manifest.sequence_number);
        whole
            .file_sequence_number
            .get_or_insert(manifest.sequence_number);
    }
    Arc::new(whole)
}
