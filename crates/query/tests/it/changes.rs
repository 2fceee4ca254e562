//! Statements that change tables.

use std::time::Duration;

use forebay_core::{Error, RefName, Result};
use forebay_lake::{CommitRequest, TableDefinition};
use forebay_query::{ChangeReport, ChangeSession, ChangeStatement};

use crate::fixture::{Fixture, START, shown};

pub(crate) async fn change(session: &ChangeSession, sql: &str) -> Result<ChangeReport> {
    let statement = ChangeStatement::parse(sql)?.expect("it changes a table");
    session.run(&statement, sql).await
}

/// Runs statements and compares what each says.
pub(crate) async fn run(fixture: &Fixture, statements: &[(&str, &str)]) {
    let session = fixture.changes();
    for (sql, tag) in statements {
        let done = change(&session, sql).await;
        let done = done.unwrap_or_else(|error| panic!("{sql}: {error} ({:?})", error.hint()));
        assert_eq!(done.tag, *tag, "{sql}");
    }
}

pub(crate) async fn failure(fixture: &Fixture, sql: &str) -> Error {
    let done = match ChangeStatement::parse(sql) {
        Ok(statement) => fixture.changes().run(&statement.expect(sql), sql).await,
        Err(error) => Err(error),
    };
    done.expect_err(sql)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_made_filled_changed_and_dropped() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            ("create table a.t (id bigint not null, s text, d decimal(10, 2), at timestamptz, tags text[])", "CREATE TABLE"),
            ("create table if not exists a.t (id int)", "CREATE TABLE"),
            ("insert into a.t values (1, 'one', 1.5, '2026-01-01', array['x', 'y']), (2, null, null, null, null)", "INSERT 0 2"),
            ("insert into a.t (s, id) select 'n' || value, value from range(3, 6)", "INSERT 0 3"),
            ("insert into a.t (id) values ((select max(id) + 1 from a.t))", "INSERT 0 1"),
            ("insert into a.t select * from a.t where false", "INSERT 0 0"),
            ("update a.t set s = 'two', d = id * 1.25 where id = 2", "UPDATE 1"),
            ("update a.t as x set s = upper(s) where exists (select 1 from a.t y where y.id = x.id - 4)", "UPDATE 2"),
            ("delete from a.t where id = 3 or s is null", "DELETE 2"),
            ("delete from a.t where id = 3", "DELETE 0"),
            ("create table a.copy as select id, s, count(*) as n from a.t group by id, s", "SELECT 4"),
        ],
    )
    .await;
    let rows = fixture
        .rows("select id, s, d, at, tags from a.t order by id")
        .await;
    assert_eq!(
        rows,
        [
            "1 | one | 1.50 | 2026-01-01T00:00:00Z | [x, y]",
            "2 | two | 2.50 |  |",
            "4 | n4 |  |  |",
            "5 | N5 |  |  |"
        ]
    );
    assert_eq!(
        fixture.rows("select count(*), sum(n) from a.copy").await,
        ["4 | 4"]
    );
    run(
        &fixture,
        &[
            ("alter table a.copy add column note text", "ALTER TABLE"),
            (
                "alter table a.copy add column if not exists note text",
                "ALTER TABLE",
            ),
            (
                "insert into a.copy (id, note) values (9, 'new')",
                "INSERT 0 1",
            ),
            (
                "alter table a.t alter column d type decimal(20, 2)",
                "ALTER TABLE",
            ),
            (
                "alter table a.t alter column id drop not null",
                "ALTER TABLE",
            ),
            (
                "insert into a.t (id, d) values (null, 123456789012345.25)",
                "INSERT 0 1",
            ),
            ("truncate table a.copy", "TRUNCATE TABLE"),
            ("insert into a.copy (id) values (1)", "INSERT 0 1"),
        ],
    )
    .await;
    assert_eq!(fixture.rows("select id, note from a.copy").await, ["1 |"]);
    assert_eq!(
        fixture.rows("select d from a.t where id is null").await,
        ["123456789012345.25"]
    );
    run(
        &fixture,
        &[
            ("drop table a.copy", "DROP TABLE"),
            ("drop table if exists a.copy", "DROP TABLE"),
        ],
    )
    .await;
    assert_eq!(
        failure(&fixture, "drop table a.copy").await.code(),
        "no_such_table"
    );
    let log = "select message from lake.commits order by at desc limit 1";
    assert!(fixture.rows(log).await[0].contains("DROP TABLE a.copy"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_fails_changes_nothing_and_says_why() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            (
                "create table a.t (id bigint not null, s text)",
                "CREATE TABLE",
            ),
            ("insert into a.t values (1, 'a'), (2, 'b')", "INSERT 0 2"),
        ],
    )
    .await;
    let before = fixture.rows("select count(*) from lake.commits").await;
    for (sql, text) in [
        ("create table a.t (id int)", "exists already"),
        ("insert into a.t values (1)", "1 column where 2"),
        (
            "insert into a.t (id, nosuch) values (1, 2)",
            "no column nosuch",
        ),
        (
            "insert into a.t (s) values ('x')",
            "column id may not be null",
        ),
        ("insert into a.t values (null, 'x')", "is required"),
        ("insert into a.t values ('x', 'y')", "x"),
        ("insert into a.t select 10 / (2 - id), s from a.t", "zero"),
        ("update a.t set nosuch = 1", "no column nosuch"),
        ("update a.t set s = 'x', s = 'y'", "set twice"),
        ("update a.t set id = 1 / (2 - id)", "zero"),
        (
            "delete from a.t where s",
            "1:17: a condition is a boolean, not text",
        ),
        ("delete from a.nosuch", "does not exist"),
        ("delete from t", "not the name of a table in a namespace"),
        ("delete from raw.t", "kept by Forebay"),
        ("delete from a.t using a.t as u where true", "USING"),
        ("update a.t set s = 1 from a.t u", "FROM"),
        ("insert into a.t values (1, 'x') returning id", "RETURNING"),
        (
            "insert into a.t values (1, 'x') on conflict do nothing",
            "ON CONFLICT",
        ),
        ("create table a.u (id int primary key)", "more than columns"),
        (
            "create table a.u as select 1 as x, interval '1 day' as y",
            "no table can hold",
        ),
        (
            "alter table a.t alter column id type int",
            "would hold less",
        ),
        ("alter table a.t add column id text", "already"),
        ("alter table a.t rename to u", "this form of ALTER TABLE"),
        (
            "create table a.u (id numeric)",
            "without a number of digits",
        ),
        ("create table a.u (s varchar(10))", "write varchar"),
        ("create table a.u (s char)", "write varchar"),
        ("create table a.u (n smallint)", "write n int"),
        ("create table a.u (l int unsigned[])", "write l bigint"),
        ("alter table a.t add column n tinyint", "write n int"),
        ("alter table a.t add column n decimal", "decimal(18, 2)"),
        ("alter table a.t alter column id type numeric", "digits"),
        ("alter table a.t add column n int default 5", "DEFAULT"),
        (
            "insert into a.t select 1, cast('abc' as varchar(2))",
            "left(x, 2)",
        ),
        ("create table a.u (_file text)", "_file"),
        (
            "create table a.u as select 1 as _FOREBAY_position",
            "reserved_column_name",
        ),
        ("alter table a.t add column _pos bigint", "_pos"),
        ("create table a.u (id int default 5)", "DEFAULT"),
        ("create table a.u (id int unique)", "UNIQUE"),
        ("create table a.u (id int check (id > 5))", "CHECK"),
        ("create or replace table a.u (id int)", "OR REPLACE"),
        ("create view a.v as select 1", "CREATE TABLE t AS SELECT"),
        ("create schema b", "leave it out"),
        ("drop view a.v", "DROP of anything but a table"),
        (
            "merge into a.t using a.t on true when matched then delete",
            "both called t",
        ),
        (
            "merge into a.t using a.t as s on true when matched then update set nosuch = 1",
            "no column nosuch",
        ),
        (
            "merge into a.t using a.t as s on true when not matched then insert (s) values ('x')",
            "column id may not be null",
        ),
        (
            "merge into a.t using a.t as s on true when not matched then insert (id) values (1, 'x')",
            "2 values for 1 column",
        ),
        (
            "merge into a.t using a.t as s on true when not matched then insert values (t.id, 'x')",
            "has no row of t",
        ),
        (
            "merge into a.t using a.t as s on true when not matched then insert values ((select max(t.id) from a.t as q), 'x')",
            "has no row of t",
        ),
        (
            "merge into a.t using a.t as s on true when not matched by source and s.id > 1 then delete",
            "has no row of s",
        ),
        (
            "merge into a.t using (select 1 as id) s on true when matched then update set s = 1 / 0",
            "zero",
        ),
        (
            "merge into a.t using a.t as s on t.id < 3 when matched then delete",
            "more than one row of the source matches a row of a.t (id = ",
        ),
    ] {
        let error = failure(&fixture, sql).await;
        let hint = error.hint().unwrap_or_default();
        let texts = format!("{} {hint} {}", error.message(), error.code());
        assert!(texts.contains(text), "{sql}: {error} ({hint:?})");
        assert_ne!(error.kind(), forebay_core::ErrorKind::Bug, "{sql}: {error}");
    }
    assert_eq!(
        fixture.rows("select id, s from a.t order by id").await,
        ["1 | a", "2 | b"]
    );
    assert_eq!(
        fixture.rows("select count(*) from lake.commits").await,
        before
    );
    let read = fixture.failure("delete from a.t").await;
    assert_eq!(read.code(), "read_only", "a session that reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explained_statement_changes_nothing() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[(
            "create table a.t as select value as id from range(10)",
            "SELECT 10",
        )],
    )
    .await;
    for sql in [
        "explain delete from a.t where id > 5",
        "explain analyze update a.t set id = 1",
        "explain insert into a.t select 1",
    ] {
        let statement = ChangeStatement::parse(sql).unwrap().expect(sql);
        assert!(statement.is_explained());
        let plan = fixture.changes().explain(&statement, sql).await.unwrap();
        assert!(!shown(&plan.collect().await.unwrap()).is_empty(), "{sql}");
    }
    assert_eq!(
        fixture.rows("select count(*), max(id) from a.t").await,
        ["10 | 9"]
    );
    assert_eq!(
        fixture.rows("select count(*) from lake.commits").await,
        ["1"]
    );
}

/// Row groups have 16 rows there, see the fixture: positions go on over them, and over rows that are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_found_by_their_places_in_files_with_deletes() {
    let fixture = Fixture::new().await;
    let ids: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(0..1_000));
    let batch = arrow::array::RecordBatch::try_from_iter([("id", ids)]).unwrap();
    fixture.append(&[("a.t", &[], batch)]).await;
    run(
        &fixture,
        &[
            ("delete from a.t where id % 3 = 0", "DELETE 334"),
            ("delete from a.t where id between 100 and 131", "DELETE 22"),
            ("update a.t set id = -id where id % 10 = 7", "UPDATE 65"),
            ("delete from a.t where id < -900 or id = 998", "DELETE 8"),
        ],
    )
    .await;
    let sum: i64 = (0..1_000_i64)
        .filter(|id| id % 3 != 0 && !(100..=131).contains(id))
        .map(|id| if id % 10 == 7 { -id } else { id })
        .filter(|id| *id >= -900 && *id != 998)
        .sum();
    let count = (0..1_000_i64)
        .filter(|id| id % 3 != 0 && !(100..=131).contains(id))
        .map(|id| if id % 10 == 7 { -id } else { id })
        .filter(|id| *id >= -900 && *id != 998)
        .count();
    let found = fixture.rows("select count(*), sum(id) from a.t").await;
    assert_eq!(found, [format!("{count} | {sum}")]);
}

/// Two processes count with `n = n + 1`: none of the steps is lost, and appends in between never get in the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_two_processes_that_meet_are_planned_again() {
    let fixture = Fixture::new().await;
    let other = fixture.another().await;
    run(
        &fixture,
        &[("create table a.t as select 1 as id, 0 as n", "SELECT 1")],
    )
    .await;
    let count = async |fixture: &Fixture, first: i64| {
        let session = fixture.changes();
        for step in 0..6 {
            change(&session, "update a.t set n = n + 1 where id = 1")
                .await
                .unwrap();
            let row = first + step;
            change(&session, &format!("insert into a.t values ({row}, 0)"))
                .await
                .unwrap();
        }
    };
    tokio::join!(count(&fixture, 100), count(&other, 200));
    assert_eq!(fixture.rows("select n from a.t where id = 1").await, ["12"]);
    assert_eq!(fixture.rows("select count(*) from a.t").await, ["13"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_given_up_leaves_the_old_state_or_the_new_one() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[(
            "create table a.t as select value as id from range(1000)",
            "SELECT 1000",
        )],
    )
    .await;
    for wait in [0, 1, 2, 4, 8, 16, 32] {
        let session = fixture.changes();
        let insert = change(
            &session,
            "insert into a.t select id from a.t where id < 100",
        );
        let _ = tokio::time::timeout(Duration::from_millis(wait), insert).await;
        let count = fixture
            .rows("select count(*) from a.t where id < 100")
            .await;
        let count: u64 = count[0].parse().unwrap();
        assert_eq!(count % 100, 0, "{count}");
        change(&session, "delete from a.t where id < 100")
            .await
            .unwrap();
        change(&session, "insert into a.t select value from range(100)")
            .await
            .unwrap();
    }
    assert_eq!(fixture.rows("select count(*) from a.t").await, ["1000"]);
}

/// Values of equal types went by their place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_structs_go_by_their_names() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            (
                "create table a.t (id int, s struct<a bigint, b bigint>, l struct<x bigint>[])",
                "CREATE TABLE",
            ),
            (
                "insert into a.t (id, s) values (1, {'b': 2, 'a': 1})",
                "INSERT 0 1",
            ),
            (
                "insert into a.t (id, l) values (2, [{'x': 5}])",
                "INSERT 0 1",
            ),
        ],
    )
    .await;
    for bad in [
        "insert into a.t (id, s) values (3, {'p': 2, 'q': 1})",
        "insert into a.t (id, s) values (3, {'B': 2, 'A': 1})",
        "insert into a.t (id, s) values (3, {'a': 1, 'b': 2, 'c': 3})",
        "insert into a.t (id, l) values (3, [{'y': 5}])",
        "update a.t set s = {'p': 8, 'q': 9}",
    ] {
        assert_eq!(failure(&fixture, bad).await.code(), "bad_sql", "{bad}");
    }
    let rows = fixture
        .rows("select s.a, s.b, l[1].x from a.t order by id")
        .await;
    assert_eq!(rows, ["1 | 2 |", " |  | 5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_a_pipeline_is_refused() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[("create table a.t as select 1 as id", "SELECT 1")],
    )
    .await;
    let mut draft = fixture
        .lake
        .draft(&RefName::main(), &"a.t".parse().unwrap())
        .await
        .unwrap();
    draft.set_property("forebay.owner", "a.t");
    let request = CommitRequest {
        id: forebay_core::CommitId::new(START, 77),
        branch: RefName::main(),
        author: "tester".to_owned(),
        message: "claimed".to_owned(),
        run: None,
        drafts: vec![draft],
        positions: Vec::new(),
    };
    fixture.lake.commit(request).await.unwrap();
    for sql in [
        "delete from a.t",
        "update a.t set id = 2",
        "insert into a.t values (2)",
        "truncate a.t",
        "drop table a.t",
        "alter table a.t add column x int",
    ] {
        let error = failure(&fixture, sql).await;
        assert_eq!(error.code(), "table_in_use", "{sql}: {error}");
    }
    assert_eq!(fixture.rows("select id from a.t").await, ["1"]);
}

/// Readers would ignore the deletes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_table_of_format_version_3_are_not_deleted() {
    let fixture = Fixture::new().await;
    let definition = TableDefinition {
        schema: serde_json::json!({"type": "struct", "fields": [{"id": 1, "name": "id", "required": false, "type": "long"}]}),
        properties: [("format-version".to_owned(), "3".to_owned())].into(),
        ..TableDefinition::default()
    };
    let (lake, main) = (&fixture.lake, RefName::main());
    let planned = lake.plan_external_table("a.v".parse().unwrap(), definition);
    let planned = planned.await.unwrap();
    lake.create_external_table(&main, planned, "me")
        .await
        .unwrap();
    run(
        &fixture,
        &[("insert into a.v values (1), (2)", "INSERT 0 2")],
    )
    .await;
    for sql in [
        "delete from a.v where id = 1",
        "update a.v set id = 3 where id = 1",
        "merge into a.v t using (values (1)) s(id) on t.id = s.id when matched then delete",
    ] {
        let error = failure(&fixture, sql).await;
        assert_eq!(error.code(), "row_deletes_unsupported", "{sql}");
    }
    let rows = fixture.rows("select id from a.v order by id").await;
    assert_eq!(rows, ["1", "2"]);
    run(&fixture, &[("truncate table a.v", "TRUNCATE TABLE")]).await;
}
