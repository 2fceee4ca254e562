//! `WINDOW w AS (…)` and windows that are built on it, as in Postgres.

use crate::fixture::{Fixture, check, check_refused};

const T: &str = "(values (1, 1, 10), (2, 1, 20), (3, 2, 30)) t(id, k, v)";

async fn check_over_t(cases: &[(&str, &[&str])]) {
    for (sql, rows) in cases {
        check(&[(&sql.replace("{t}", T), rows)]).await;
    }
}

#[tokio::test]
async fn a_window_is_built_on_another_one() {
    check_over_t(&[
        ("select id, sum(v) over (w order by id) s from {t} window w as (partition by k) order by id", &["1 | 10", "2 | 30", "3 | 30"]),
        ("select id, sum(v) over w s from {t} window w as (partition by k) order by id", &["1 | 30", "2 | 30", "3 | 30"]),
        ("select id, sum(v) over (w) s from {t} window w as (partition by k) order by id", &["1 | 30", "2 | 30", "3 | 30"]),
        ("select id, sum(v) over (w rows 1 preceding) s from {t} window w as (order by id) order by id", &["1 | 10", "2 | 30", "3 | 50"]),
        ("select id, sum(v) over (W rows 2 preceding) s from {t} window w as (order by id) order by id", &["1 | 10", "2 | 30", "3 | 60"]),
        ("select id, sum(v) over w2 s from {t} window w as (partition by k), w2 as (w order by id desc) order by id", &["1 | 30", "2 | 20", "3 | 30"]),
        ("select id, sum(v) over (w2 rows current row) s from {t} window w as (partition by k), w2 as (w order by id) order by id", &["1 | 10", "2 | 20", "3 | 30"]),
        ("select id, sum(v) over w s from {t} window w as (order by id rows 1 preceding) order by id", &["1 | 10", "2 | 30", "3 | 50"]),
        ("select id from {t} window w as (partition by k) order by sum(v) over (w order by id) desc, id", &["2", "3", "1"]),
        ("select id from {t} window w as (order by v desc) qualify row_number() over w = 1", &["3"]),
        ("select k, sum(sum(v)) over (w rows unbounded preceding) s from {t} group by k window w as (order by k) order by k", &["1 | 30", "2 | 60"]),
    ])
    .await;
}

#[tokio::test]
async fn a_subquery_has_windows_of_its_own() {
    check_over_t(&[
        ("select (select sum(x) over w from (values (1)) q(x) window w as (order by x)) as s", &["1"]),
        ("select id, (select max(s) from (select sum(x) over w s from (values (1), (2)) q(x) window w as (order by x)) y) m from {t} order by id", &["1 | 3", "2 | 3", "3 | 3"]),
        ("select id, sum(v) over w, (select max(n) from (select count(*) over w n from (values (1), (2)) q(x) window w as (order by x)) y) m from {t} window w as (partition by k) order by id", &["1 | 30 | 2", "2 | 30 | 2", "3 | 30 | 2"]),
        ("select sum(v) over w from {t} where id = 1 window w as (order by id) union all select count(*) over w from {t} window w as (partition by k) order by 1", &["1", "2", "2", "10"]),
    ])
    .await;
}

#[tokio::test]
async fn what_the_standard_forbids_is_an_error() {
    let refused = |sql: &str| sql.replace("{t}", T);
    check_refused(&[
        (&refused("select sum(v) over (w) from {t}"), "bad_sql"),
        (&refused("select sum(v) over w from {t}"), "bad_sql"),
        (&refused("select sum(v) over (x order by id) from {t} window w as (partition by k)"), "bad_sql"),
        (&refused("select sum(v) over (w partition by id) from {t} window w as (order by k)"), "bad_sql"),
        (&refused("select sum(v) over (w order by id) from {t} window w as (order by k)"), "bad_sql"),
        (&refused("select sum(v) over (w) from {t} window w as (order by k rows 1 preceding)"), "bad_sql"),
        (&refused("select sum(v) over w from {t} window w as (w2), w2 as (order by k)"), "bad_sql"),
        (&refused("select sum(v) over w from {t} window w as (order by k), W as (order by v)"), "bad_sql"),
        (&refused("select (select sum(x) over w from (values (1)) q(x)) from {t} window w as (order by k)"), "bad_sql"),
    ])
    .await;
    let error = Fixture::new()
        .await
        .failure("select sum(x) over w from (values (1)) t(x)")
        .await;
    assert_eq!(error.message(), "1:20: no window w");
}

#[tokio::test]
async fn distinct_values_of_a_window_with_a_limit() {
    check_over_t(&[
        ("select distinct k, count(*) over (partition by k) n from {t} order by k limit 30", &["1 | 2", "2 | 1"]),
        ("select count(*) from (select distinct k, count(*) over (partition by k) n from {t} limit 30) q", &["2"]),
        ("select count(*) from (select distinct k from (select * from {t} order by k limit 3) q limit 1) q", &["1"]),
    ])
    .await;
}
