//! What the lake says of itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::fixture::Fixture;

fn regions(ids: &[i64], regions: &[&str]) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
        (
            "region",
            Arc::new(StringArray::from(regions.to_vec())) as ArrayRef,
        ),
    ])
    .unwrap()
}

#[tokio::test]
async fn the_log_the_tables_and_their_files_are_tables() {
    let fixture = Fixture::new().await;
    assert_eq!(
        fixture.rows("select count(*) from lake.commits").await,
        ["0"]
    );
    assert_eq!(fixture.rows("select count(*) from lake.files").await, ["0"]);
    let first = fixture
        .append(&[
            ("a.t", &["region"], regions(&[1, 2, 3], &["eu", "us", "eu"])),
            ("b.u", &[], regions(&[1], &["x"])),
        ])
        .await;
    fixture
        .append(&[("a.t", &["region"], regions(&[4], &["eu"]))])
        .await;
    assert_eq!(
        fixture.rows("select author, message, branch, tables, at > timestamp '2026-01-01' from lake.commits order by at").await,
        ["tester | commit 1 | main | [a.t, b.u] | true", "tester | commit 2 | main | [a.t] | true"]
    );
    assert_eq!(
        fixture
            .rows("select \"table\", columns, partition, snapshots, rows, files from lake.tables")
            .await,
        ["a.t | 2 | region | 2 | 4 | 3", "b.u | 2 |  | 1 | 1 | 1"]
    );
    assert_eq!(
        fixture.rows("select \"table\", partition, rows, files, delete_files from lake.partitions order by 1, 2").await,
        ["a.t | region=eu | 3 | 2 | 0", "a.t | region=us | 1 | 1 | 0", "b.u |  | 1 | 1 | 0"]
    );
    assert_eq!(
        fixture
            .rows(
                "select count(*), sum(rows), min(content) from lake.files where \"table\" = 'a.t'"
            )
            .await,
        ["3 | 4 | data"]
    );
    assert_eq!(
        fixture.rows("select operation, added_rows, total_rows from lake.snapshots where \"table\" = 'a.t' order by sequence").await,
        ["append | 3 | 3", "append | 1 | 4"]
    );
    assert_eq!(
        fixture
            .rows(&format!(
                "select count(*) from lake.commits for system_time as of '{first}'"
            ))
            .await,
        ["1"]
    );
    assert_eq!(
        fixture
            .rows(&format!(
                "select sum(rows) from lake.files for system_time as of '{first}'"
            ))
            .await,
        ["4"]
    );
}

#[tokio::test]
async fn tables_are_shown_and_described() {
    let fixture = Fixture::new().await;
    fixture
        .append(&[("a.t", &[], regions(&[1], &["eu"]))])
        .await;
    let shown = fixture.rows("show tables").await;
    assert!(
        shown.contains(&"forebay | a | t | BASE TABLE".to_owned()),
        "{shown:?}"
    );
    assert!(
        shown.contains(&"forebay | lake | commits | VIEW".to_owned()),
        "{shown:?}"
    );
    assert_eq!(fixture.rows("describe a.t").await.len(), 2);
    assert_eq!(
        fixture.rows("select column_name, ordinal_position, data_type, is_nullable from information_schema.columns where table_schema = 'a' order by 2").await,
        ["id | 1 | bigint | NO", "region | 2 | text | NO"]
    );
    assert_eq!(
        fixture.rows("show columns from a.t").await.len(),
        2,
        "the engine's own statements read it too"
    );
    let described = fixture.rows("describe lake.commits").await;
    let listed = fixture.rows("select column_name, data_type, is_nullable from information_schema.columns where table_name = 'commits' order by ordinal_position").await;
    assert_eq!(described, listed);
    let plan = fixture
        .rows("explain select id from a.t where region = 'eu'")
        .await
        .join("\n");
    assert!(plan.contains("DataSourceExec"), "{plan}");
}
