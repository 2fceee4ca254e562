//! Merging small manifests, so that a table of many small commits stays quick to commit to and to plan.

use std::cmp::Ordering;
use std::sync::Arc;

use forebay_core::{Context, Error, Result};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    FormatVersion, Literal, ManifestEntryRef, ManifestFile, ManifestWriter, PrimitiveLiteral,
    SchemaRef, Struct, StructType, TableMetadata,
};

use crate::error::from_iceberg;
use crate::scan::{LiveManifest, read_live};
use crate::storage::LakeStorage;

use super::manifest::{ManifestFolder, unknown_spec, write_failed};
use super::tier::{Choice, choose, parts};

/// Manifests read at once.
const READS_MAX: usize = 8;

/// The same live files in fewer manifests. As long as no tier is full nothing is read or written.
pub(super) async fn merge_small(
    table: &TableMetadata,
    storage: &Arc<LakeStorage>,
    folder: &ManifestFolder,
    manifests: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>> {
    // A v3 manifest gives row ids by the place of its files, which merging would move.
    if table.format_version() == FormatVersion::V3 {
        return Ok(manifests);
    }
    let Choice { merged, kept } = choose(manifests);
    if merged.is_empty() {
        return Ok(kept);
    }
    let mut manifests = merge(table, storage, folder, merged).await?;
    manifests.extend(kept);
    Ok(manifests)
}

/// Manifests whose partition values have one type. A promoted source column changes that type, and a manifest has one
/// for all its files.
struct Class {
    values: StructType,
    /// The newest schema that wrote one of them; older bounds are read by it.
    schema: SchemaRef,
    manifests: Vec<(ManifestFile, LiveManifest)>,
}

async fn merge(
    table: &TableMetadata,
    storage: &Arc<LakeStorage>,
    folder: &ManifestFolder,
    group: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>> {
    // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
    let reads: Vec<_> = group
        .into_iter()
        .map(|file| Box::pin(read(table, storage, file)))
        .collect();
    let mut read = stream::iter(reads).buffered(READS_MAX);
    let mut classes = Vec::new();
    while let Some((file, manifest)) = read.try_next().await? {
        classify(table, &mut classes, file, manifest)?;
    }
    let mut merged = Vec::new();
    for class in classes {
        merged.extend(merge_class(table, folder, class).await?);
    }
    Ok(merged)
}

async fn read(
    table: &TableMetadata,
    storage: &Arc<LakeStorage>,
    file: ManifestFile,
) -> Result<(ManifestFile, LiveManifest)> {
    let manifest = read_live(table, storage, &file).await;
    let manifest = manifest.context("manifest", &file.manifest_path)?;
    Ok((file, manifest))
}

fn classify(
    table: &TableMetadata,
    classes: &mut Vec<Class>,
    file: ManifestFile,
    manifest: LiveManifest,
) -> Result<()> {
    let spec_id = file.partition_spec_id;
    let spec = table
        .partition_spec_by_id(spec_id)
        .ok_or_else(|| unknown_spec(spec_id))?;
    let schema = Arc::clone(&manifest.schema);
    let values = spec.partition_type(&schema);
    let values = values.map_err(|e| from_iceberg("read a manifest's partitions", e))?;
    match classes.iter_mut().find(|class| class.values == values) {
        Some(class) => {
            if schema.schema_id() > class.schema.schema_id() {
                class.schema = schema;
            }
            class.manifests.push((file, manifest));
        }
        None => classes.push(Class {
            values,
            schema,
            manifests: vec![(file, manifest)],
        }),
    }
    Ok(())
}

async fn merge_class(
    table: &TableMetadata,
    folder: &ManifestFolder,
    class: Class,
) -> Result<Vec<ManifestFile>> {
    let [(first, _), _, ..] = class.manifests.as_slice() else {
        return Ok(class.manifests.into_iter().map(|(file, _)| file).collect());
    };
    let spec_id = first.partition_spec_id;
    let spec = table
        .partition_spec_by_id(spec_id)
        .ok_or_else(|| unknown_spec(spec_id))?;
    let bytes = class.manifests.iter().map(|(file, _)| file.manifest_length);
    let bytes = bytes.sum();
    let content = first.content;
    let entries = by_partition(class.manifests);
    let parts = parts(entries.len(), bytes);
    let mut merged = Vec::with_capacity(parts);
    for part in entries.chunks(entries.len().div_ceil(parts).max(1)) {
        let mut writer = folder.writer(&class.schema, spec, content)?;
        for entry in part {
            copy(entry, &mut writer)?;
        }
        merged.push(writer.write_manifest_file().await.map_err(write_failed)?);
    }
    Ok(merged)
}

/// All live files, those of one partition side by side, so that each of several manifests spans few partitions and is
/// left out of scans of others. Within a partition the order of time stays.
fn by_partition(manifests: Vec<(ManifestFile, LiveManifest)>) -> Vec<ManifestEntryRef> {
    let mut entries: Vec<ManifestEntryRef> = manifests
        .into_iter()
        .flat_map(|(_, manifest)| manifest.entries)
        .collect();
    entries.sort_by(|a, b| order(a.data_file().partition(), b.data_file().partition()));
    entries
}

fn order(a: &Struct, b: &Struct) -> Ordering {
    let pairs = a.iter().zip(b.iter());
    let each = pairs.map(|(a, b)| primitive(a).partial_cmp(&primitive(b)));
    each.fold(Ordering::Equal, |before, next| {
        before.then(next.unwrap_or(Ordering::Equal))
    })
}

fn primitive(value: Option<&Literal>) -> Option<&PrimitiveLiteral> {
    match value {
        Some(Literal::Primitive(value)) => Some(value),
        _ => None,
    }
}

/// The file keeps the snapshot and the sequence numbers that it came with.
fn copy(entry: &ManifestEntryRef, writer: &mut ManifestWriter) -> Result<()> {
    let broken = || {
        Error::data(
            "iceberg_invalid",
            "a manifest entry has no snapshot id or sequence number",
        )
    };
    let snapshot = entry.snapshot_id().ok_or_else(broken)?;
    let sequence = entry.sequence_number().ok_or_else(broken)?;
    let file = entry.data_file().clone();
    writer
        .add_existing_file(file, snapshot, sequence, entry.file_sequence_number)
        .map_err(write_failed)
}
