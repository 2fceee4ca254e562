//! `lake.files` and `lake.partitions`: the live files of every table, one by one and summed up.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use forebay_core::Result;
use forebay_lake::scan::{FileContent, TableFile};

use super::{SystemTable, all_tables, batch, count, text, whole};
use crate::pinned::Pinned;

#[derive(Debug)]
pub(super) struct Files;

#[async_trait]
impl SystemTable for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("table"),
            text("content"),
            text("location"),
            text("format"),
            text("partition"),
            whole("rows"),
            whole("bytes"),
            whole("sequence"),
        ]))
    }

    async fn rows(&self, pinned: &Pinned) -> Result<RecordBatch> {
        let files = all_files(pinned).await?;
        let text = |value: fn(&TableFile) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(
                files.iter().map(|(_, file)| value(file)),
            ))
        };
        let whole = |value: fn(&TableFile) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                files.iter().map(|(_, file)| value(file)),
            ))
        };
        batch(
            self.schema(),
            vec![
                Arc::new(StringArray::from_iter_values(
                    files.iter().map(|(table, _)| table),
                )),
                text(|file| file.content.as_str().to_owned()),
                text(|file| file.location.clone()),
                text(|file| file.format.clone()),
                text(|file| file.partition.clone()),
                whole(|file| count(file.rows)),
                whole(|file| count(file.bytes)),
                whole(|file| file.sequence),
            ],
        )
    }
}

#[derive(Debug)]
pub(super) struct Partitions;

#[async_trait]
impl SystemTable for Partitions {
    fn name(&self) -> &'static str {
        "partitions"
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            text("table"),
            text("partition"),
            whole("rows"),
            whole("files"),
            whole("bytes"),
            whole("delete_files"),
        ]))
    }

    async fn rows(&self, pinned: &Pinned) -> Result<RecordBatch> {
        let mut sums: BTreeMap<(String, String), Sum> = BTreeMap::new();
        for (table, file) in all_files(pinned).await? {
            sums.entry((table, file.partition.clone()))
                .or_default()
                .add(&file);
        }
        let whole = |value: fn(&Sum) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                sums.values().map(|sum| count(value(sum))),
            ))
        };
        batch(
            self.schema(),
            vec![
                Arc::new(StringArray::from_iter_values(
                    sums.keys().map(|(table, _)| table),
                )),
                Arc::new(StringArray::from_iter_values(
                    sums.keys().map(|(_, partition)| partition),
                )),
                whole(|sum| sum.rows),
                whole(|sum| sum.files),
                whole(|sum| sum.bytes),
                whole(|sum| sum.delete_files),
            ],
        )
    }
}

/// Of one partition; rows are those of its data files, deleted ones included.
#[derive(Debug, Default)]
struct Sum {
    rows: u64,
    files: u64,
    bytes: u64,
    delete_files: u64,
}

impl Sum {
    fn add(&mut self, file: &TableFile) {
        self.bytes += file.bytes;
        if file.content == FileContent::Data {
            self.rows += file.rows;
            self.files += 1;
        } else {
            self.delete_files += 1;
        }
    }
}

async fn all_files(pinned: &Pinned) -> Result<Vec<(String, TableFile)>> {
    let mut all = Vec::new();
    for table in all_tables(pinned).await? {
        let name = table.name().to_string();
        all.extend(
            table
                .files()
                .await?
                .into_iter()
                .map(|file| (name.clone(), file)),
        );
    }
    Ok(all)
}
