//! Tables that other engines wrote: Spark, Impala, Flink, pyiceberg. Skipped where the shared data is absent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use iceberg::spec::TableMetadata;
use object_store::local::LocalFileSystem;

use super::super::{FileContent, ScanPlan};
use super::{RUNTIME, table};
use crate::Table;
use crate::storage::LakeStorage;

/// A line of `TABLES.tsv`.
struct Listed {
    folder: String,
    location: String,
    metadata: String,
    rows: u64,
    has_equality_deletes: bool,
    orc_files: u64,
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
            has_equality_deletes: number(line[column("equality_deletes")]) > 0,
            orc_files: number(line[column("orc_files")]),
        })
        .collect()
}

/// The table with its own locations mapped to where the folder lies now.
fn open(data: &Path, listed: &Listed) -> Result<Table, String> {
    let folder: PathBuf = data.join(&listed.folder);
    let bytes = std::fs::read(folder.join(&listed.metadata)).unwrap();
    let json = if bytes.starts_with(&[0x1f, 0x8b]) {
        return Err("gzip".to_owned());
    } else {
        bytes
    };
    let metadata: TableMetadata = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    let objects = Arc::new(LocalFileSystem::new_with_prefix(&folder).unwrap());
    let storage = Arc::new(LakeStorage::new(objects, &listed.location));
    Ok(table(&storage, metadata))
}

fn live_rows(plan: &ScanPlan) -> u64 {
    plan.files
        .iter()
        .map(|file| file.rows - file.deleted.as_ref().map_or(0, |rows| rows.len()))
        .sum()
}

fn find(data: &Path, name: &str) -> Table {
    let all = listed(data);
    open(
        data,
        all.iter()
            .find(|listed| listed.folder.ends_with(name))
            .unwrap(),
    )
    .unwrap()
}

#[test]
fn tables_of_other_engines_are_planned() {
    let Some(data) = forebay_testkit::shared_data() else {
        return;
    };
    let mut planned = 0;
    for listed in listed(&data) {
        let table = match open(&data, &listed) {
            Ok(table) => table,
            Err(why) => {
                println!("{}: not opened: {why}", listed.folder);
                continue;
            }
        };
        let result = RUNTIME.block_on(table.scan(None));
        match result {
            Ok(plan) => {
                let rows: u64 = plan.files.iter().map(|file| file.rows).sum();
                assert_eq!(rows, listed.rows, "{}", listed.folder);
                planned += 1;
            }
            Err(e) => {
                println!("{}: {e:?}", listed.folder);
                let expected = listed.has_equality_deletes
                    || listed.orc_files > 0
                    || e.code() == "data_format";
                assert!(expected, "{}: {e:?}", listed.folder);
            }
        }
    }
    assert!(planned >= 15, "only {planned} tables were planned");
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
        let table = find(&data, name);
        let plan = RUNTIME.block_on(table.scan(None)).unwrap();
        assert_eq!(live_rows(&plan), rows, "{name}");
    }
}

#[test]
fn equality_deletes_are_refused_and_listed() {
    let Some(data) = forebay_testkit::shared_data() else {
        return;
    };
    let table = find(&data, "iceberg_v2_delete_equality");
    let error = RUNTIME.block_on(table.scan(None)).unwrap_err();
    assert_eq!(error.code(), "equality_deletes");
    let files = RUNTIME.block_on(table.files()).unwrap();
    assert_eq!(
        files
            .iter()
            .filter(|file| file.content == FileContent::EqualityDeletes)
            .count(),
        3
    );
}
