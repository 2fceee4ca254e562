//! Tables that other engines wrote: Spark, Impala, Flink, pyiceberg. Skipped where the shared data is absent.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchReader, StringArray};
use bytes::Bytes;
use iceberg::spec::TableMetadata;
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use tempfile::TempDir;

use super::super::{FileContent, ScanPlan, TableFile};
use super::{RUNTIME, table};
use crate::Table;
use crate::storage::LakeStorage;

/// A line of `TABLES.tsv`.
struct Listed {
    folder: String,
    location: String,
    metadata: String,
    rows: u64,
}

fn listed(data: &Path) -> Vec<Listed> {
    let text = std::fs::read_to_string(data.join("iceberg/TABLES.tsv")).unwrap();
    let mut lines = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let number = |text: &str| text.parse().unwrap_or(0);
    lines
        .map(|line| Listed {
            folder: line[column("table")].to_owned(),
            location: line[column("location_in_metadata")].to_owned(),
            metadata: line[column("newest_metadata")].to_owned(),
            rows: number(line[column("live_data_rows")]),
        })
        .collect()
}

/// The root path in some of the tables that the others call `/`, and a spelling of `/` that is as long, so
/// that it can be put in its place without moving anything in a binary file.
const HDFS: &[u8] = b"hdfs://localhost:20500";
const ROOT: &[u8] = b"file://///////////////";

/// A copy of the table, with its own locations mapped to the copy; `None` for compressed metadata.
fn open(data: &Path, listed: &Listed) -> Option<(TempDir, Table)> {
    let copy = tempfile::tempdir().unwrap();
    let is_mixed = !listed.location.starts_with("hdfs:");
    copy_files(&data.join(&listed.folder), copy.path(), is_mixed);
    let json = std::fs::read(copy.path().join(&listed.metadata)).unwrap();
    if json.starts_with(&[0x1f, 0x8b]) {
        return None;
    }
    let metadata: TableMetadata = serde_json::from_slice(&json).unwrap();
    let objects = Arc::new(LocalFileSystem::new_with_prefix(copy.path()).unwrap());
    let storage = Arc::new(LakeStorage::new(objects, &listed.location));
    Some((copy, table(&storage, metadata)))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's copy need not outlive a power cut"
)]
fn copy_files(from: &Path, to: &Path, is_mixed: bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_files(&entry.path(), &target, is_mixed);
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if is_mixed {
            let is_place = |at: &usize| bytes[*at..].starts_with(HDFS);
            let places: Vec<usize> = (0..bytes.len()).filter(is_place).collect();
            for at in places {
                bytes[at..at + HDFS.len()].copy_from_slice(ROOT);
            }
            bytes = with_local_paths(bytes);
        }
        std::fs::write(target, bytes).unwrap();
    }
}

/// A position delete file with its paths respelled too: they are compressed, so it is rewritten. Other files stay.
fn with_local_paths(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.starts_with(b"PAR1") {
        return bytes;
    }
    let Ok(reader) = ParquetRecordBatchReader::try_new(Bytes::from(bytes.clone()), 1 << 10) else {
        return bytes;
    };
    let schema = RecordBatchReader::schema(&reader);
    let Ok(column) = schema.index_of("file_path") else {
        return bytes;
    };
    let [hdfs, root] = [HDFS, ROOT].map(|text| std::str::from_utf8(text).unwrap());
    let mut made = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut made, Arc::clone(&schema), None).unwrap();
    for batch in reader {
        let batch = batch.unwrap();
        let paths = batch.column(column).as_string::<i32>().iter();
        let paths: StringArray = paths
            .map(|path| path.map(|path| path.replace(hdfs, root)))
            .collect();
        let mut columns = batch.columns().to_vec();
        columns[column] = Arc::new(paths);
        writer
            .write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap())
            .unwrap();
    }
    writer.close().unwrap();
    made
}

fn live_rows(plan: &ScanPlan) -> u64 {
    plan.files
        .iter()
        .map(|file| file.rows - file.deleted.as_ref().map_or(0, |rows| rows.len()))
        .sum()
}

fn find(data: &Path, name: &str) -> (TempDir, Table) {
    let all = listed(data);
    open(
        data,
        all.iter()
            .find(|listed| listed.folder.ends_with(name))
            .unwrap(),
    )
    .unwrap()
}

/// Tables that are refused, and why.
const REFUSED: [(&str, &str); 5] = [
    ("mytable", "equality_deletes"),
    ("iceberg_v2_delete_both_eq_and_pos", "equality_deletes"),
    ("iceberg_v2_delete_equality", "equality_deletes"),
    ("iceberg_mixed_file_format_test", "data_format"),
    // Its partition values are decimals with more bytes than their precision needs; apache-avro does not read them.
    (
        "iceberg_legacy_partition_schema_evolution",
        "iceberg_invalid",
    ),
];

#[test]
fn tables_of_other_engines_are_planned() {
    let Some(data) = forebay_testkit::shared_data() else {
        return;
    };
    let mut wrong = Vec::new();
    for listed in listed(&data) {
        let Some((_copy, table)) = open(&data, &listed) else {
            continue;
        };
        let refused = REFUSED
            .iter()
            .find(|(name, _)| listed.folder.ends_with(name))
            .map(|(_, code)| *code);
        let rows = |plan: ScanPlan| plan.files.iter().map(|file| file.rows).sum::<u64>();
        match (RUNTIME.block_on(table.scan(None)).map(rows), refused) {
            (Ok(rows), None) if rows == listed.rows => {}
            (Err(error), Some(code)) if error.code() == code => {}
            (result, _) => wrong.push((listed.folder, listed.rows, result)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Counts as Impala's own tests have them.
#[test]
fn deleted_rows_of_other_engines_are_left_out() {
    let Some(data) = forebay_testkit::shared_data() else {
        return;
    };
    for (name, rows) in [
        ("iceberg_v2_delete_positional", 2),
        ("iceberg_v2_partitioned_position_deletes", 10),
        ("iceberg_v3_deletion_vectors", 3),
        ("iceberg_v2_no_deletes", 3),
    ] {
        let (_copy, table) = find(&data, name);
        let plan = RUNTIME.block_on(table.scan(None)).unwrap();
        assert_eq!(live_rows(&plan), rows, "{name}");
    }
}

#[test]
fn equality_deletes_are_refused_and_listed() {
    let Some(data) = forebay_testkit::shared_data() else {
        return;
    };
    let (_copy, table) = find(&data, "iceberg_v2_delete_equality");
    let error = RUNTIME.block_on(table.scan(None)).unwrap_err();
    assert_eq!(error.code(), "equality_deletes");
    let files = RUNTIME.block_on(table.files()).unwrap();
    let is_delete = |file: &&TableFile| file.content == FileContent::EqualityDeletes;
    assert_eq!(files.iter().filter(is_delete).count(), 3);
}
