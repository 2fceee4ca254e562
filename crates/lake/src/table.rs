//! A table as one state of the catalog sees it; immutable.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use forebay_core::{TableName, Timestamp};
use iceberg::spec::{
    SnapshotRef, SnapshotReference, SnapshotRetention, TableMetadata, TableMetadataRef,
};
use uuid::Uuid;

use crate::PartitionField;
use crate::error::from_iceberg;
use crate::storage::LakeStorage;

/// A table at one metadata location; cheap to clone.
#[derive(Debug, Clone)]
pub struct Table(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: TableName,
    location: String,
    metadata: TableMetadataRef,
    schema: SchemaRef,
    storage: Arc<LakeStorage>,
}

/// One snapshot of a table, for `lake.snapshots`.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotInfo {
    pub id: i64,
    pub parent: Option<i64>,
    pub sequence: i64,
    pub at: Timestamp,
    pub operation: String,
    pub summary: BTreeMap<String, String>,
}

impl Table {
    pub(crate) fn new(
        name: TableName,
        location: String,
        metadata: TableMetadataRef,
        storage: Arc<LakeStorage>,
    ) -> forebay_core::Result<Self> {
        let schema = crate::schema::to_arrow(metadata.current_schema())?;
        Ok(Self(Arc::new(Inner {
            name,
            location,
            metadata,
            schema,
            storage,
        })))
    }

    pub fn name(&self) -> &TableName {
        &self.0.name
    }

    pub fn uuid(&self) -> Uuid {
        self.0.metadata.uuid()
    }

    /// Arrow schema with Iceberg field ids at every depth (`PARQUET:field_id`). Strings are `Utf8`, times are
    /// microseconds (`timestamptz` = `Timestamp(us, "+00:00")`), lists are `List`.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    pub fn partition(&self) -> Vec<PartitionField> {
        crate::partition::fields_of(
            self.0.metadata.default_partition_spec(),
            self.0.metadata.current_schema(),
        )
    }

    pub fn metadata_location(&self) -> &str {
        &self.0.location
    }

    pub fn properties(&self) -> BTreeMap<String, String> {
        self.0
            .metadata
            .properties()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        let mut snapshots: Vec<SnapshotInfo> = self.0.metadata.snapshots().map(info).collect();
        snapshots.sort_by_key(|snapshot| (snapshot.sequence, snapshot.at));
        snapshots
    }

    /// The table as it was at one of the snapshots that its metadata names; `None` for any other.
    pub fn at_snapshot(&self, id: i64) -> forebay_core::Result<Option<Self>> {
        if self.snapshot_id() == Some(id) {
            return Ok(Some(self.clone()));
        }
        let metadata = &self.0.metadata;
        let Some(snapshot) = metadata.snapshot_by_id(id) else {
            return Ok(None);
        };
        let schema = snapshot.schema_id().unwrap_or(metadata.current_schema_id());
        let build = || {
            let builder = TableMetadata::clone(metadata).into_builder(None);
            let main = SnapshotReference::new(id, whole_branch());
            let builder = builder.set_ref("main", main)?;
            builder.set_current_schema(schema)?.build()
        };
        let built = build().map_err(|e| from_iceberg("go back to a snapshot", e))?;
        let (name, location) = (self.0.name.clone(), self.0.location.clone());
        let storage = Arc::clone(&self.0.storage);
        Self::new(name, location, built.metadata.into(), storage).map(Some)
    }

    /// Identifies the content: the current snapshot, `None` for an empty table.
    pub fn snapshot_id(&self) -> Option<i64> {
        self.0.metadata.current_snapshot_id()
    }

    pub(crate) fn metadata(&self) -> &TableMetadataRef {
        &self.0.metadata
    }

    pub(crate) fn storage(&self) -> &Arc<LakeStorage> {
        &self.0.storage
    }
}

fn whole_branch() -> SnapshotRetention {
    SnapshotRetention::Branch {
        min_snapshots_to_keep: None,
        max_snapshot_age_ms: None,
        max_ref_age_ms: None,
    }
}

fn info(snapshot: &SnapshotRef) -> SnapshotInfo {
    let summary = &snapshot.summary().additional_properties;
    SnapshotInfo {
        id: snapshot.snapshot_id(),
        parent: snapshot.parent_snapshot_id(),
        sequence: snapshot.sequence_number(),
        at: Timestamp(snapshot.timestamp_ms().saturating_mul(1_000)),
        operation: snapshot.summary().operation.as_str().to_owned(),
        summary: summary
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    }
}
