//! A table as one state of the catalog sees it; immutable.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use forebay_core::{TableName, Timestamp};
use uuid::Uuid;

use crate::PartitionField;

#[derive(Debug, Clone)]
pub struct Table;

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

#[expect(clippy::unimplemented, reason = "skeleton")]
impl Table {
    pub fn name(&self) -> &TableName {
        unimplemented!()
    }

    pub fn uuid(&self) -> Uuid {
        unimplemented!()
    }

    /// Arrow schema with Iceberg field ids at every depth (`PARQUET:field_id`). Strings are `Utf8`, times are
    /// microseconds (`timestamptz` = `Timestamp(us, "+00:00")`), lists are `List`.
    pub fn schema(&self) -> SchemaRef {
        unimplemented!()
    }

    pub fn partition(&self) -> Vec<PartitionField> {
        unimplemented!()
    }

    pub fn metadata_location(&self) -> &str {
        unimplemented!()
    }

    pub fn properties(&self) -> BTreeMap<String, String> {
        unimplemented!()
    }

    /// Oldest first.
    pub fn snapshots(&self) -> Vec<SnapshotInfo> {
        unimplemented!()
    }

    /// Identifies the content: the current snapshot, `None` for an empty table.
    pub fn snapshot_id(&self) -> Option<i64> {
        unimplemented!()
    }
}
