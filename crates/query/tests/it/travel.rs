//! One moment per statement, and any moment on demand.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use forebay_core::RefName;
use forebay_query::QueryOptions;
use forebay_store::AsOf;

use crate::fixture::{Fixture, START, rows};

fn ids(ids: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef)])
        .unwrap()
}

fn noted(ids: &[i64], note: &str) -> RecordBatch {
    let notes = StringArray::from(vec![note; ids.len()]);
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef),
        ("note", Arc::new(notes) as ArrayRef),
    ])
    .unwrap()
}

/// The clause is folded into the name of the table before the statement is parsed.
#[tokio::test]
async fn messages_name_tables_as_the_statement_does() {
    let fixture = Fixture::new().await;
    for sql in [
        "select * from a.b for system_time as of '2026-01-01'",
        "select * from a.b for valid_time as of '2026-01-01' as x",
        "select * from a.b for system_time as of '2026-01-01' join",
        "select nosuch from range(3) for system_time as of '2026-01-01' t",
        "show columns from a.b for system_time as of '2026-01-01'",
        "select a.b.x from lake.tables for system_time as of '2026-01-01', lake.tables for valid_time as of '1'",
    ] {
        let error = fixture.failure(sql).await;
        let texts = format!("{} {}", error.message(), error.hint().unwrap_or_default());
        assert!(!texts.contains('@'), "{sql}: {texts}");
    }
}

#[tokio::test]
async fn a_table_is_read_as_of_a_time_or_commit_with_the_columns_of_then() {
    let fixture = Fixture::new().await;
    let first = fixture.append(&[("a.t", &[], ids(&[1, 2]))]).await;
    fixture.append(&[("a.t", &[], noted(&[3], "new"))]).await;
    assert_eq!(
        fixture.rows("select * from a.t order by id").await,
        ["1 |", "2 |", "3 | new"]
    );
    assert_eq!(
        fixture
            .rows(&format!(
                "select * from a.t for system_time as of '{first}' order by id"
            ))
            .await,
        ["1", "2"]
    );
    let then = START.plus(std::time::Duration::from_millis(1_500));
    assert_eq!(
        fixture
            .rows(&format!(
                "select * from a.t for system_time as of timestamp '{then}' order by id"
            ))
            .await,
        ["1", "2"]
    );
    assert_eq!(
        fixture
            .rows("select count(*) from a.t for system_time as of '2999-01-01'")
            .await,
        ["3"]
    );
    // Both moments in one statement, by the table's own name and by an alias.
    let sql = format!(
        "select t.id, old.id from a.t left join a.t for system_time as of '{first}' old on old.id = t.id order by 1"
    );
    assert_eq!(fixture.rows(&sql).await, ["1 | 1", "2 | 2", "3 |"]);
    let sql = format!("select t.id from a.t for system_time as of '{first}' where t.id > 1");
    assert_eq!(fixture.rows(&sql).await, ["2"]);

    let error = fixture
        .failure(&format!(
            "select note from a.t for system_time as of '{first}'"
        ))
        .await;
    assert_eq!(error.code(), "bad_sql");
    let error = fixture
        .failure("select * from a.t for system_time as of '2020-01-01'")
        .await;
    assert_eq!(error.code(), "bad_sql", "{error}");
    assert_eq!(
        fixture
            .failure("select * from a.t for system_time as of 'soon'")
            .await
            .code(),
        "bad_as_of"
    );
}

#[tokio::test]
async fn a_session_reads_its_branch_or_its_moment() {
    let fixture = Fixture::new().await;
    let first = fixture.append(&[("a.t", &[], ids(&[1]))]).await;
    let branch: RefName = "staging".parse().unwrap();
    fixture
        .lake
        .store()
        .create_branch(&branch, &RefName::main())
        .await
        .unwrap();
    let staging = fixture.query_with(QueryOptions {
        branch: branch.clone(),
        ..QueryOptions::default()
    });
    assert_eq!(
        rows(&staging, "select count(*) from a.t").await.unwrap(),
        ["1"]
    );
    fixture
        .append_on(&branch, &[("a.t", &[], ids(&[2])), ("a.u", &[], ids(&[9]))])
        .await;
    fixture.append(&[("a.t", &[], ids(&[3, 4, 5]))]).await;
    assert_eq!(
        rows(&staging, "select count(*) from a.t").await.unwrap(),
        ["2"]
    );
    assert_eq!(fixture.rows("select count(*) from a.t").await, ["4"]);
    assert_eq!(fixture.failure("select * from a.u").await.code(), "bad_sql");
    let past = fixture.query_with(QueryOptions {
        as_of: Some(AsOf::Commit(first)),
        ..QueryOptions::default()
    });
    assert_eq!(
        rows(&past, "select count(*) from a.t").await.unwrap(),
        ["1"]
    );
}

/// A writer moves rows between two tables in every commit: no statement may ever see a half of a move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_joined_in_a_statement_are_of_one_commit() {
    let fixture = Arc::new(Fixture::new().await);
    fixture
        .append(&[("a.left", &[], ids(&[0])), ("a.right", &[], ids(&[0]))])
        .await;
    let writer = {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            for id in 1..25 {
                fixture
                    .append(&[("a.left", &[], ids(&[id])), ("a.right", &[], ids(&[id]))])
                    .await;
            }
        })
    };
    let sql = "select (select count(*) from a.left) - (select count(*) from a.right), (select count(*) from a.left l full join a.right r on l.id = r.id where l.id is null or r.id is null)";
    let mut reads = 0;
    while !writer.is_finished() || reads == 0 {
        assert_eq!(fixture.rows(sql).await, ["0 | 0"]);
        reads += 1;
    }
    writer.await.unwrap();
}
