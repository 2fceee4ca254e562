//! Reading manifest lists and writing manifests.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{Context, Error, Result};
use iceberg::io::FileIO;
use iceberg::spec::{
    FormatVersion, ManifestContentType, ManifestEntry, ManifestFile, ManifestStatus,
    ManifestWriter, ManifestWriterBuilder, PartitionSpecRef, SchemaRef, SnapshotRef, TableMetadata,
};

use crate::DataFile;
use crate::avro::parse_list;
use crate::error::from_iceberg;
use crate::manifest_cache::LiveManifest;
use crate::storage::LakeStorage;

/// A new file takes the sequence number of the commit that lands it, whichever that will be.
pub(super) const SEQUENCE_INHERITED: i64 = -1;

pub(crate) async fn read_list(
    table: &TableMetadata,
    storage: &LakeStorage,
    snapshot: &SnapshotRef,
) -> Result<Vec<ManifestFile>> {
    let location = snapshot.manifest_list();
    let bytes = storage.read(&storage.path(location)?).await?;
    parse_list(&bytes, table.format_version()).context("file", location)
}

/// A manifest of new files, and its entries.
#[derive(Debug, Clone)]
pub(super) struct Added {
    pub(super) manifest: ManifestFile,
    schema: SchemaRef,
    files: Vec<(iceberg::spec::DataFile, i64)>,
}

impl Added {
    /// As it reads once the commit of this sequence number has landed.
    pub(super) fn landed(&self, snapshot: i64, sequence: i64) -> LiveManifest {
        let entry = |(file, own): &(iceberg::spec::DataFile, i64)| {
            let own = match *own {
                SEQUENCE_INHERITED => sequence,
                own => own,
            };
            let entry = ManifestEntry::builder()
                .status(ManifestStatus::Added)
                .snapshot_id(snapshot)
                .sequence_number(own)
                .file_sequence_number(sequence)
                .data_file(file.clone());
            Arc::new(entry.build())
        };
        LiveManifest {
            schema: Arc::clone(&self.schema),
            entries: self.files.iter().map(entry).collect(),
        }
    }
}

/// Location of a manifest until its bytes, and so its name, are known.
const IN_MEMORY: &str = "memory:/manifest";

/// A manifest that is being written.
pub(super) struct OpenManifest {
    pub(super) writer: ManifestWriter,
    memory: FileIO,
}

/// Where manifests of one snapshot go.
pub(super) struct ManifestFolder {
    storage: Arc<LakeStorage>,
    location: String,
    version: FormatVersion,
    snapshot: i64,
}

impl ManifestFolder {
    pub(super) fn new(table: &TableMetadata, storage: &Arc<LakeStorage>, snapshot: i64) -> Self {
        let location = format!("{}/metadata", table.location());
        Self {
            storage: Arc::clone(storage),
            location,
            version: table.format_version(),
            snapshot,
        }
    }

    pub(super) fn writer(
        &self,
        schema: &SchemaRef,
        spec: &PartitionSpecRef,
        content: ManifestContentType,
    ) -> Result<OpenManifest> {
        let memory = FileIO::new_with_memory();
        let output = memory.new_output(IN_MEMORY).map_err(write_failed)?;
        let spec = spec.as_ref().clone();
        let builder =
            ManifestWriterBuilder::new(output, Some(self.snapshot), Arc::clone(schema), spec);
        let writer = match (self.version, content) {
            (FormatVersion::V1, _) => builder.build_v1(),
            (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
            (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
            (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
            (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
        };
        Ok(OpenManifest { writer, memory })
    }

    /// Gives the manifest a name that contains its checksum, and makes it durable.
    pub(super) async fn close(&self, manifest: OpenManifest) -> Result<ManifestFile> {
        let OpenManifest { writer, memory } = manifest;
        let mut file = writer.write_manifest_file().await.map_err(write_failed)?;
        let input = memory.new_input(IN_MEMORY).map_err(write_failed)?;
        let bytes = input.read().await.map_err(write_failed)?;
        let named = self
            .storage
            .write_named(&self.location, bytes, |uuid| format!("{uuid}-m.avro"));
        file.manifest_path = named.await?;
        Ok(file)
    }

    /// One manifest of new files, with their sequence numbers, per partition spec that they were written by.
    pub(super) async fn write_added<'f>(
        &self,
        table: &TableMetadata,
        content: ManifestContentType,
        files: impl Iterator<Item = (&'f DataFile, i64)>,
    ) -> Result<Vec<Added>> {
        let mut by_spec: BTreeMap<i32, Vec<(&DataFile, i64)>> = BTreeMap::new();
        for (file, sequence) in files {
            by_spec
                .entry(file.spec_id)
                .or_default()
                .push((file, sequence));
        }
        let mut manifests = Vec::with_capacity(by_spec.len());
        for (spec_id, files) in by_spec {
            let spec = table
                .partition_spec_by_id(spec_id)
                .ok_or_else(|| unknown_spec(spec_id))?;
            let mut open = self.writer(table.current_schema(), spec, content)?;
            for (file, sequence) in &files {
                open.writer
                    .add_file(file.file.clone(), *sequence)
                    .map_err(write_failed)?;
            }
            manifests.push(Added {
                manifest: self.close(open).await?,
                schema: Arc::clone(table.current_schema()),
                files: files
                    .into_iter()
                    .map(|(file, sequence)| (file.file.clone(), sequence))
                    .collect(),
            });
        }
        Ok(manifests)
    }
}

pub(super) fn write_failed(error: iceberg::Error) -> Error {
    from_iceberg("write a manifest", error)
}

pub(crate) fn unknown_spec(spec_id: i32) -> Error {
    Error::bug(
        "unknown_spec",
        format!("a file names partition spec {spec_id}, which its table does not have"),
    )
}
