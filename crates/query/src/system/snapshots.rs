//! `lake.snapshots`: every snapshot that each table still keeps.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::Result;
use forebay_lake::SnapshotInfo;

use super::{SystemTable, all_tables, batch, instant, text, whole};
use crate::pinned::Pinned;

#[derive(Debug)]
pub(super) struct Snapshots;

#[async_trait]
impl SystemTable for Snapshots {
    fn name(&self) -> &'static str {
        "snapshots"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("table"),
            whole("snapshot_id"),
            whole("parent_id"),
            whole("sequence"),
            instant("at"),
            text("operation"),
            whole("added_rows"),
            whole("deleted_rows"),
            whole("added_files"),
            whole("total_rows"),
            text("summary"),
        ]))
    }

    async fn rows(&self, pinned: &Pinned) -> Result<RecordBatch> {
        let tables = all_tables(pinned).await?;
        let all = |table: &forebay_lake::Table| {
            let name = table.name().to_string();
            table
                .snapshots()
                .into_iter()
                .map(move |snapshot| (name.clone(), snapshot))
                .collect::<Vec<_>>()
        };
        let rows: Vec<(String, SnapshotInfo)> = tables.iter().flat_map(all).collect();
        let whole = |value: &dyn Fn(&SnapshotInfo) -> Option<i64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter(
                rows.iter().map(|(_, snapshot)| value(snapshot)),
            ))
        };
        let figure =
            |key: &'static str| whole(&move |snapshot| snapshot.summary.get(key)?.parse().ok());
        let at = TimestampMicrosecondArray::from_iter_values(
            rows.iter().map(|(_, snapshot)| snapshot.at.micros()),
        );
        batch(
            self.schema(),
            vec![
                Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|(table, _)| table),
                )),
                whole(&|snapshot| Some(snapshot.id)),
                whole(&|snapshot| snapshot.parent),
                whole(&|snapshot| Some(snapshot.sequence)),
                Arc::new(at.with_timezone("+00:00")),
                Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|(_, snapshot)| &snapshot.operation),
                )),
                figure("added-records"),
                figure("deleted-records"),
                figure("added-data-files"),
                figure("total-records"),
                Arc::new(StringArray::from_iter_values(
                    rows.iter().map(|(_, snapshot)| json(snapshot)),
                )),
            ],
        )
    }
}

fn json(snapshot: &SnapshotInfo) -> String {
    serde_json::to_string(&snapshot.summary).unwrap_or_default()
}
