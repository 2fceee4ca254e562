//! Merging small manifests, so that a table of many small commits stays quick to commit to and to plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Context, Error, Result};
use iceberg::spec::{
    FormatVersion, ManifestFile, ManifestWriter, SchemaRef, StructType, TableMetadata,
};

use crate::error::from_iceberg;
use crate::scan::{LiveManifest, read_live};
use crate::storage::LakeStorage;

use super::is_data;
use super::manifest::{ManifestFolder, unknown_spec, write_failed};

/// Small manifests of one partition spec and content that are merged into one.
pub(super) const MERGE_MANIFESTS_MIN: usize = 50;
/// A manifest of at least this size is not small.
const SMALL_MANIFEST_BYTES_MAX: i64 = 4 << 20;
/// Bytes of manifests that one commit reads to merge them; what is over waits for a later one.
const MERGE_BYTES_MAX: i64 = 16 << 20;

/// The same live files in fewer manifests. Below [`MERGE_MANIFESTS_MIN`] small ones of a kind nothing is read or
/// written.
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
    let mut kept = Vec::with_capacity(manifests.len());
    let mut groups: BTreeMap<(i32, bool), Vec<ManifestFile>> = BTreeMap::new();
    for manifest in manifests {
        let small = manifest.manifest_length < SMALL_MANIFEST_BYTES_MAX;
        let group = (manifest.partition_spec_id, is_data(&manifest));
        if small {
            groups.entry(group).or_default().push(manifest);
        } else {
            kept.push(manifest);
        }
    }
    let mut merged = Vec::new();
    for group in groups.into_values() {
        if group.len() < MERGE_MANIFESTS_MIN {
            merged.extend(group);
        } else {
            merged.extend(merge(table, storage, folder, group).await?);
        }
    }
    merged.extend(kept);
    Ok(merged)
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
    let mut budget = MERGE_BYTES_MAX;
    let (mut classes, mut merged, mut later) = (Vec::new(), Vec::new(), Vec::new());
    for file in group {
        budget -= file.manifest_length;
        if budget < 0 {
            later.push(file);
            continue;
        }
        let manifest = read_live(table, storage, &file)
            .await
            .context("manifest", &file.manifest_path)?;
        classify(table, &mut classes, file, manifest)?;
    }
    for class in classes {
        merged.extend(merge_class(table, folder, class).await?);
    }
    merged.extend(later);
    Ok(merged)
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
    let mut writer = folder.writer(&class.schema, spec, first.content)?;
    for (_, manifest) in &class.manifests {
        copy_live(manifest, &mut writer)?;
    }
    Ok(vec![
        writer.write_manifest_file().await.map_err(write_failed)?,
    ])
}

/// Each file keeps the snapshot and the sequence numbers that it came with.
fn copy_live(manifest: &LiveManifest, writer: &mut ManifestWriter) -> Result<()> {
    let broken = || {
        Error::data(
            "iceberg_invalid",
            "a manifest entry has no snapshot id or sequence number",
        )
    };
    for entry in &manifest.entries {
        let snapshot = entry.snapshot_id().ok_or_else(broken)?;
        let sequence = entry.sequence_number().ok_or_else(broken)?;
        let file = entry.data_file().clone();
        let existing =
            writer.add_existing_file(file, snapshot, sequence, entry.file_sequence_number);
        existing.map_err(write_failed)?;
    }
    Ok(())
}
