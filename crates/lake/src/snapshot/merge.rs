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
use crate::manifest_cache::LiveManifest;
use crate::scan::read_live;
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
) -> Result<Carried> {
    // A v3 manifest gives row ids by the place of its files, which merging would move.
    if table.format_version() == FormatVersion::V3 {
        return Ok(Carried {
            manifests,
            ..Carried::default()
        });
    }
    let Choice { merged, kept } = choose(manifests);
    let mut carried = merge(table, storage, folder, merged).await?;
    carried.manifests.extend(kept);
    Ok(carried)
}

/// The manifests of a parent as its child has them.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) manifests: Vec<ManifestFile>,
    /// Entries of the manifests that were written just now.
    pub(super) fresh: Vec<(String, LiveManifest)>,
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
) -> Result<Carried> {
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
    let mut merged = Carried::default();
    for class in classes {
        merge_class(table, folder, class, &mut merged).await?;
    }
    Ok(merged)
}

pub(super) async fn read(
    table: &TableMetadata,
    storage: &Arc<LakeStorage>,
    file: ManifestFile,
) -> Result<(ManifestFile, LiveManifest)> {
    if let Some(kept) = storage.manifests().get(&file.manifest_path) {
        return Ok((file, kept));
    }
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
    merged: &mut Carried,
) -> Result<()> {
    let [(first, _), _, ..] = class.manifests.as_slice() else {
        let alone = class.manifests.into_iter().map(|(file, _)| file);
        merged.manifests.extend(alone);
        return Ok(());
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
    for part in entries.chunks(entries.len().div_ceil(parts).max(1)) {
        let mut open = folder.writer(&class.schema, spec, content)?;
        for entry in part {
            copy(entry, &mut open.writer)?;
        }
        let file = folder.close(open).await?;
        let live = LiveManifest {
            schema: Arc::clone(&class.schema),
            entries: part.into(),
        };
        merged.fresh.push((file.manifest_path.clone(), live));
        merged.manifests.push(file);
    }
    Ok(())
}

/// All live files, those of one partition side by side, so that each of several manifests spans few partitions and is
/// left out of scans of others. Within a partition the order of time stays.
fn by_partition(manifests: Vec<(ManifestFile, LiveManifest)>) -> Vec<ManifestEntryRef> {
    let mut entries: Vec<ManifestEntryRef> = manifests
        .into_iter()
        .flat_map(|(_, manifest)| manifest.entries.to_vec())
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

/// The file keeps its snapshot and sequence numbers.
pub(super) fn copy(entry: &ManifestEntryRef, writer: &mut ManifestWriter) -> Result<()> {
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
