//! Taking single files out of the manifests of a parent.

use std::collections::HashSet;
use std::sync::Arc;

use forebay_core::{Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{ManifestEntryRef, ManifestFile, TableMetadata};

use crate::manifest_cache::LiveManifest;
use crate::storage::LakeStorage;

use super::manifest::{ManifestFolder, unknown_spec, write_failed};
use super::merge::{Carried, copy, read};

/// Manifests read at once.
const READS_MAX: usize = 8;

/// The manifests without the files at these locations; those that name none of them stay as they are. A removed file is listed as deleted
/// by this snapshot, for readers of changes.
///
/// Errors: `Bug` `file_not_live` when one of the files is in none of the manifests.
pub(super) async fn without(
    table: &TableMetadata,
    storage: &Arc<LakeStorage>,
    folder: &ManifestFolder,
    manifests: Vec<ManifestFile>,
    removed: &HashSet<String>,
) -> Result<Carried> {
    // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
    let reads: Vec<_> = manifests
        .into_iter()
        .map(|file| Box::pin(read(table, storage, file)))
        .collect();
    let mut read = stream::iter(reads).buffered(READS_MAX);
    let mut carried = Carried::default();
    let mut found = 0;
    while let Some((file, manifest)) = read.try_next().await? {
        let is_removed = |entry: &ManifestEntryRef| removed.contains(entry.data_file().file_path());
        let (gone, live): (Vec<_>, Vec<_>) = manifest.entries.iter().cloned().partition(is_removed);
        if gone.is_empty() {
            carried.manifests.push(file);
            continue;
        }
        found += gone.len();
        let manifest = LiveManifest {
            entries: live.into(),
            ..manifest
        };
        let written = write_rest(table, folder, &file, &manifest, &gone).await?;
        carried
            .fresh
            .push((written.manifest_path.clone(), manifest));
        carried.manifests.push(written);
    }
    match found == removed.len() {
        true => Ok(carried),
        false => Err(Error::bug(
            "file_not_live",
            "a file to remove is in no manifest of the table",
        )),
    }
}

async fn write_rest(
    table: &TableMetadata,
    folder: &ManifestFolder,
    file: &ManifestFile,
    live: &LiveManifest,
    gone: &[ManifestEntryRef],
) -> Result<ManifestFile> {
    let spec_id = file.partition_spec_id;
    let spec = table.partition_spec_by_id(spec_id);
    let spec = spec.ok_or_else(|| unknown_spec(spec_id))?;
    let mut open = folder.writer(&live.schema, spec, file.content)?;
    for entry in live.entries.iter() {
        copy(entry, &mut open.writer)?;
    }
    for entry in gone {
        let sequence = entry.sequence_number().unwrap_or(0);
        let of_file = entry.file_sequence_number.or(Some(sequence));
        let removed = open
            .writer
            .add_delete_file(entry.data_file().clone(), sequence, of_file);
        removed.map_err(write_failed)?;
    }
    folder.close(open).await
}
