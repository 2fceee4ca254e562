//! Columns that are renamed and dropped: old files stay readable, old states keep their columns, and no name brings old values back.

use forebay_core::RefName;
use forebay_lake::CommitRequest;
use forebay_query::{ChangeStatement, QueryOptions};
use forebay_store::AsOf;

use crate::fixture::{Fixture, START, rows};

async fn run(fixture: &Fixture, statements: &[&str]) {
    let session = fixture.changes();
    for sql in statements {
        let statement = ChangeStatement::parse(sql).unwrap().expect(sql);
        let done = session.run(&statement, sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error} ({:?})", error.hint()));
    }
}

async fn code(fixture: &Fixture, sql: &str) -> String {
    let statement = match ChangeStatement::parse(sql) {
        Ok(statement) => statement.expect(sql),
        Err(error) => return error.code().to_owned(),
    };
    let done = fixture.changes().run(&statement, sql).await;
    let error = done.expect_err(sql);
    assert!(error.hint().is_some(), "{sql}: {error}");
    error.code().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_column_keeps_its_values() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            "create table a.t (id bigint not null, old text, n bigint)",
            "insert into a.t values (1, 'x', 10), (2, 'y', 20)",
            "alter table a.t rename column old to new",
            "insert into a.t values (3, 'z', 30)",
            "alter table a.t rename column n to old",
            "update a.t set old = old + 1 where new = 'y'",
        ],
    )
    .await;
    fixture
        .check(&[
            (
                "select id, new, old from a.t order by id",
                &["1 | x | 10", "2 | y | 21", "3 | z | 30"],
            ),
            ("select id from a.t where new = 'x' and old < 15", &["1"]),
            ("select id from a.t where old > 25", &["3"]),
            ("select max(new), min(old) from a.t", &["z | 10"]),
        ])
        .await;
    let names = fixture
        .rows("select column_name from information_schema.columns where table_name = 't' order by ordinal_position")
        .await;
    assert_eq!(names, ["id", "new", "old"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_column_never_comes_back() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            "create table a.t (id bigint, secret text, n bigint)",
            "insert into a.t values (1, 'x', 10), (2, 'y', 20)",
        ],
    )
    .await;
    let before = fixture
        .rows("select id from lake.commits order by at desc limit 1")
        .await;
    run(
        &fixture,
        &[
            "alter table a.t drop column secret",
            "insert into a.t values (3, 30)",
            "alter table a.t drop column if exists secret",
            "alter table a.t add column secret text",
            "insert into a.t values (4, 40, 'new')",
        ],
    )
    .await;
    fixture
        .check(&[
            (
                "select id, n, secret from a.t order by id",
                &["1 | 10 |", "2 | 20 |", "3 | 30 |", "4 | 40 | new"],
            ),
            ("select count(*) from a.t where secret = 'x'", &["0"]),
            ("select count(*) from a.t where secret is null", &["3"]),
        ])
        .await;
    let then = format!(
        "select * from a.t for system_time as of '{}' order by id",
        before[0]
    );
    assert_eq!(fixture.rows(&then).await, ["1 | x | 10", "2 | y | 20"]);
    let query = fixture.query_with(QueryOptions {
        as_of: Some(AsOf::Commit(before[0].parse().unwrap())),
        ..QueryOptions::default()
    });
    let then = rows(&query, "select secret from a.t where secret = 'y'").await;
    assert_eq!(then.unwrap(), ["y"]);
    // Files that are written again have the columns of now.
    run(
        &fixture,
        &["update a.t set n = n + 1, secret = coalesce(secret, 'none')"],
    )
    .await;
    assert_eq!(
        fixture
            .rows("select id, n, secret from a.t order by id")
            .await,
        [
            "1 | 11 | none",
            "2 | 21 | none",
            "3 | 31 | none",
            "4 | 41 | new"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_structs_and_of_lists_are_renamed_and_dropped() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            "create table a.t (id bigint, s struct<a bigint, b text, c struct<d bigint, e bigint>>, l struct<x bigint, y text>[])",
            "insert into a.t (id, s, l) values (1, {'a': 1, 'b': 'p', 'c': {'d': 5, 'e': 6}}, [{'x': 7, 'y': 'q'}])",
            "alter table a.t rename column s.b to a2",
            "alter table a.t drop column s.a",
            "alter table a.t rename column s.c.d to e2",
            "alter table a.t rename column l.y to z",
            "alter table a.t drop column l.x",
            "insert into a.t (id, s, l) values (2, {'a2': 'r', 'c': {'e2': 8, 'e': 9}}, [{'z': 's'}])",
        ],
    )
    .await;
    fixture
        .check(&[
            (
                "select id, s.a2, s.c.e2, s.c.e, l[1].z from a.t order by id",
                &["1 | p | 5 | 6 | q", "2 | r | 8 | 9 | s"],
            ),
            ("select id from a.t where s.a2 = 'p'", &["1"]),
        ])
        .await;
    assert!(
        fixture
            .failure("select s.a from a.t")
            .await
            .message()
            .contains('a')
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_that_rows_are_laid_out_by_stay() {
    let fixture = Fixture::new().await;
    let ids: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(0..10));
    let columns = [("id", ids.clone()), ("n", ids)];
    let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
    fixture.append(&[("a.t", &["id"], batch)]).await;
    run(&fixture, &["create table a.one as select 1 as id"]).await;
    for (sql, expected) in [
        ("alter table a.t drop column id", "column_in_use"),
        ("alter table a.t rename column id to other", "column_in_use"),
        ("alter table a.t drop column nosuch", "no_such_column"),
        ("alter table a.t drop column n.x", "no_such_column"),
        (
            "alter table a.t rename column n to \"ID\"",
            "duplicate_column",
        ),
        (
            "alter table a.t rename column n to _file",
            "reserved_column_name",
        ),
        ("alter table a.t rename column n to \"a.b\"", "bad_new_name"),
        ("alter table a.t rename column n to \"\"", "bad_new_name"),
        ("alter table a.one drop column id", "last_column"),
        (
            "alter table a.t drop column n, drop column id",
            "sql_unsupported",
        ),
    ] {
        assert_eq!(code(&fixture, sql).await, expected, "{sql}");
    }
    let mut draft = fixture
        .lake
        .draft(&RefName::main(), &"a.one".parse().unwrap())
        .await
        .unwrap();
    draft.set_property("forebay.owner", "a.one");
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
    let sql = "alter table a.one rename column id to other";
    assert_eq!(code(&fixture, sql).await, "table_in_use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_is_added_where_its_path_says() {
    let fixture = Fixture::new().await;
    run(
        &fixture,
        &[
            "create table a.t (id bigint, s struct<a bigint, c struct<d bigint>>, l struct<x bigint>[])",
            "insert into a.t (id, s, l) values (1, {'a': 1, 'c': {'d': 5}}, [{'x': 7}])",
            "alter table a.t add column s.b text",
            "alter table a.t add column s.c.e bigint",
            "alter table a.t add column if not exists s.c.e bigint",
            "alter table a.t add column l.y text",
            "insert into a.t (id, s, l) values (2, {'a': 2, 'c': {'d': 6, 'e': 7}, 'b': 'p'}, [{'x': 8, 'y': 'q'}])",
        ],
    )
    .await;
    fixture
        .check(&[
            (
                "select id, s.b, s.c.e, l[1].y from a.t order by id",
                &["1 |  |  |", "2 | p | 7 | q"],
            ),
            (
                "select column_name from information_schema.columns where table_name = 't' order by ordinal_position",
                &["id", "s", "l"],
            ),
        ])
        .await;
    for (sql, expected) in [
        ("alter table a.t add column s.b bigint", "bad_sql"),
        ("alter table a.t add column s.\"B\" bigint", "bad_sql"),
        (
            "alter table a.t add column nosuch.b bigint",
            "no_such_column",
        ),
        ("alter table a.t add column id.b bigint", "no_such_column"),
        ("alter table a.t add column s.\"\" bigint", "bad_new_name"),
    ] {
        assert_eq!(code(&fixture, sql).await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rule_for_every_name_that_a_statement_gives() {
    let fixture = Fixture::new().await;
    run(&fixture, &["create table a.t (id bigint)"]).await;
    let long = "x".repeat(256);
    for name in ["", "a\tb", "a.b", long.as_str()] {
        for sql in [
            format!("create table a.u (\"{name}\" bigint)"),
            format!("create table a.u (id bigint, s struct<\"{name}\" bigint>)"),
            format!("alter table a.t add column \"{name}\" bigint"),
            format!("alter table a.t add column s struct<\"{name}\" bigint>"),
            format!("alter table a.t rename column id to \"{name}\""),
        ] {
            assert_eq!(code(&fixture, &sql).await, "bad_new_name", "{sql}");
        }
    }
    for name in ["", "a\tb", long.as_str()] {
        let sql = format!("create table a.u as select 1 as \"{name}\"");
        assert_eq!(code(&fixture, &sql).await, "bad_new_name", "{sql}");
    }
    for sql in [
        "create table a.u (id bigint, \"ID\" bigint)",
        "create table a.u (id bigint, s struct<a bigint, \"A\" bigint>)",
        "alter table a.t add column s struct<a bigint, \"A\" bigint>",
    ] {
        assert_eq!(code(&fixture, sql).await, "duplicate_column", "{sql}");
    }
    // Loaded tables have such columns, and are copied.
    run(&fixture, &["create table a.u as select 1 as \"a.b\""]).await;
}
