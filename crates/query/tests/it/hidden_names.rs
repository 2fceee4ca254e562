//! `WITH` queries that hide another one, or a table. The expected rows are those of DuckDB.

use crate::fixture::{Fixture, check};

#[tokio::test]
async fn an_inner_with_query_hides_one_outside() {
    check(&[
        ("with x as (select 1 as n) select * from (with x as (select 2 as n) select * from x) q", &["2"]),
        ("with x as (select 1 as n) select * from x where n in (with x as (select 1 as n) select n from x)", &["1"]),
        ("with x as (select 1 as n), y as (with x as (select 5 as n) select n + 1 as n from x) select x.n, y.n from x, y", &["1 | 6"]),
        ("with x as (select 1 as n) (with x as (select n + 10 as n from x) select n from x) union all select n from x order by 1", &["1", "11"]),
        ("with x as (select 1 as n) select n from x union (with x as (select 2 as n) select n from x) except (with x as (select 1 as n) select n from x)", &["2"]),
        ("with x as (select 1 as n) select (with x as (select n + 1 as n from x) select (with x as (select n * 10 as n from x) select x.n from x) from x)", &["20"]),
        ("with x(a) as (select 1) select x.a, z.b from x, lateral (with x(b) as (select 7) select b from x) z", &["1 | 7"]),
        ("with x as (select 1 as n) select x.*, y.* from x join (with x as (select 1 as n, 2 as m) select * from x) y using (n)", &["1 | 1 | 2"]),
        ("with x as (select 1 as n) select X.n from (with X as (select 3 as n) select * from X) as X", &["3"]),
        ("with x as (select 1 as n) select exists (with x as (select 1 where false) select * from x), (select count(*) from x)", &["false | 1"]),
        ("select * from (values (1), (2)) t(n) where n in (with t as (select 2 as n) select n from t)", &["2"]),
    ])
    .await;
}

#[tokio::test]
async fn a_recursive_query_hides_one_outside() {
    check(&[
        ("with recursive x as (select 1 as n union all select n + 1 from x where n < 3) select (with recursive x as (select 10 as n union all select n + 1 from x where n < 12) select max(n) from x), max(n) from x", &["12 | 3"]),
        ("with x as (select 5 as n) select * from (with recursive x as (select n from x union all select n + 1 from x where n < 7) select n from x) q order by 1", &["5", "6", "7"]),
    ])
    .await;
}

#[tokio::test]
async fn a_quoted_name_with_a_dot_is_no_table() {
    let fixture = Fixture::new().await;
    let sql = "with \"lake.commits\" as (select 7 as n) select n, (select count(*) from lake.commits) from \"lake.commits\"";
    assert_eq!(fixture.rows(sql).await, ["7 | 0"]);
}

#[tokio::test]
async fn two_queries_of_one_with_have_two_names() {
    let fixture = Fixture::new().await;
    let error = fixture
        .failure("with x as (select 1 as n), X as (select 2) select * from x")
        .await;
    assert_eq!(
        error.message(),
        "1:28: WITH query name X specified more than once"
    );
}
