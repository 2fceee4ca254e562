//! Clauses that the engine's planner ignores are refused, wherever they are.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_core::ErrorKind;

use crate::fixture::{Fixture, check, rows};

const STATEMENTS: &[&str] = &[
    "select id from {t} prewhere id > 1",
    "select k, count(*) from {t} group by k with rollup",
    "select k, count(*) from {t} group by k with cube",
    "select k, count(*) from {t} group by k with totals",
    "select id from {t} start with id = 1 connect by prior id = k",
    "select id from {t} connect by id = k",
    "select * ilike 'i%' from {t}",
    "select t.* ilike 'i%' from {t}",
    "select top 1 id from {t}",
    "select id into u from {t}",
    "select as value id from {t}",
    "select id from {t} settings max_threads = 1",
    "select id from {t} format json",
    "select id from {t} for update",
    "select id from {t} for share",
    "select id from {t} for json auto",
    "select abs(id) filter (where id > 1) from {t}",
    "select abs(distinct id) from {t}",
    "select abs(id order by id) from {t}",
    "select abs(id) over () from {t}",
    "select abs(id) over (partition by k) from {t}",
    "select abs(id) ignore nulls from {t}",
    "select abs(id) within group (order by id) from {t}",
    "select upper('x') filter (where false) from {t}",
    "select mod(id, 2) filter (where id > 1) from {t}",
    "select coalesce(distinct id, 1) from {t}",
    "select date_trunc('day', date '2024-01-01') over () from {t}",
    "select lag(distinct id) over (order by id) from {t}",
    "select row_number() filter (where id > 1) over (order by id) from {t}",
    "select rank() ignore nulls over (order by id) from {t}",
    "select sum(1)(id) from {t}",
    "select * from {t} global join {t2} on t.id = u.id",
    "select g.x from generate_series(1, 3) g(x text)",
    "select * from generate_series(1, stop => 3)",
    "with a(x int) as (select 1) select x from a",
    "with recursive a(n) as (select 1 union all select n + 1 from a where n < 10 limit 5) select * from a",
    "with recursive a(n) as (select 1 union all select n + 1 from a where n < 10 order by 1) select * from a",
    "select * from (values (1)) t(a) |> aggregate count(*) as n group by a desc",
    "select * from (values (1)) t(a) |> select * ilike 'x'",
];

#[tokio::test]
async fn each_is_refused_with_a_hint_and_a_position() {
    let query = Fixture::new().await.query();
    let mut wrong = Vec::new();
    for sql in STATEMENTS {
        let sql = sql
            .replace("{t}", "(values (1, 1), (2, 1)) t(id, k)")
            .replace("{t2}", "(values (1)) u(id)");
        for sql in [
            sql.clone(),
            format!("select * from ({sql}) q"),
            format!("select exists ({sql})"),
        ] {
            let found = rows(&query, &sql).await;
            let is_refused = found.as_ref().is_err_and(|error| {
                let is_kind = error.kind() == ErrorKind::Unsupported || error.code() == "bad_sql";
                is_kind && error.message().contains(':')
            });
            let has_hint = found.as_ref().is_err_and(|error| {
                error.hint().is_some() || error.message().contains("syntax error")
            });
            if !is_refused || !has_hint {
                wrong.push(format!("{sql}\n  {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn tables_have_no_clauses_of_other_engines() {
    let fixture = Fixture::new().await;
    for from in [
        "a.t partition (p0)",
        "a.t with (nolock)",
        "a.t with ordinality",
        "a.t version as of 5",
        "a.t use index (x)",
        "table(f(1))",
        "a.t pivot (sum(x) for y in ('a'))",
        "a.t unpivot (x for y in (a, b))",
        "json_table('[1]', '$[*]' columns(x int path '$'))",
    ] {
        let sql = format!("select * from {from}");
        let error = fixture.failure(&sql).await;
        assert!(
            error.kind() == ErrorKind::Unsupported || error.message().contains("syntax error"),
            "{sql}: {error}"
        );
        for word in ["Unsupported ast node", "Ident {", "ObjectName"] {
            assert!(!error.message().contains(word), "{sql}: {error}");
        }
    }
}

#[tokio::test]
async fn an_argument_in_from_is_not_left_out() {
    check(&[
        (
            "select generate_series.value from generate_series(1, 3)",
            &["1", "2", "3"],
        ),
        ("select g.value from generate_series(1, 2) g", &["1", "2"]),
        ("select x from generate_series(1, 2) as g(x)", &["1", "2"]),
        ("select * from range(1, 3)", &["1", "2"]),
    ])
    .await;
    let error = Fixture::new()
        .await
        .failure("select * from generate_series(1, nofunc(3))")
        .await;
    assert_eq!(error.code(), "bad_sql", "{error}");
    assert!(error.message().contains("nofunc"), "{error}");
}

#[tokio::test]
async fn clauses_that_are_carried_out_stay() {
    check(&[
        ("select sum(id) filter (where id > 1) from (values (1), (2)) t(id)", &["2"]),
        ("select sum(distinct id) from (values (2), (2)) t(id)", &["2"]),
        ("select sum(id) filter (where id > 1) over (order by id) from (values (1), (2)) t(id)", &["", "2"]),
        ("select lag(id) ignore nulls over (order by o) from (values (1, 1), (null, 2), (3, 3)) t(id, o)", &["", "1", "1"]),
        ("select first_value(id ignore nulls) over (order by o) from (values (null, 1), (3, 2)) t(id, o)", &["", "3"]),
        ("select percentile_cont(0.5) within group (order by id) from (values (1), (3)) t(id)", &["2.0"]),
        ("select * exclude (k) from (values (1, 2)) t(id, k)", &["1"]),
        ("select * from (values (1), (2)) t(a) |> where a > 1 |> select a + 1 as b", &["3"]),
        ("with recursive a(n) as (select 1 union all select n + 1 from a where n < 10) select * from a order by n limit 2", &["1", "2"]),
    ])
    .await;
}

#[tokio::test]
async fn all_columns_of_a_table_by_its_last_name() {
    let fixture = Fixture::new().await;
    let ids = Int64Array::from_iter_values([1, 2]);
    let ids = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap();
    fixture
        .append(&[
            ("a.t", &[], ids.clone()),
            ("b.t", &[], ids.clone()),
            ("a.u", &[], ids),
        ])
        .await;
    fixture
        .check(&[
            ("select t.* from a.t order by id", &["1", "2"]),
            ("select a.t.* from a.t order by id", &["1", "2"]),
            (
                "select u.*, t.id from a.t join a.u on t.id = u.id order by 1",
                &["1 | 1", "2 | 2"],
            ),
            (
                "select t.* from a.u t join a.t x on t.id = x.id order by 1",
                &["1", "2"],
            ),
            (
                "select t.* from a.t for system_time as of '2026-12-01' order by id",
                &["1", "2"],
            ),
            (
                "select b.t.* from a.t join b.t on a.t.id = b.t.id order by 1",
                &["1", "2"],
            ),
        ])
        .await;
    let error = fixture
        .failure("select t.* from a.t join b.t on a.t.id = b.t.id")
        .await;
    assert_eq!(error.code(), "bad_sql");
}
