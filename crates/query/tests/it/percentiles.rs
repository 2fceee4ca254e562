//! Percentiles have all their digits, and distinct values that have members take no more memory than they are long.

use forebay_query::QueryOptions;

use crate::fixture::{Fixture, check, rows};

#[tokio::test]
async fn a_percentile_is_exact() {
    check(&[
        ("select abs(percentile_cont(0.95) within group (order by x) - 8.95e0) < 1e-12 from (values (1),(2),(3),(10)) t(x)", &["true"]),
        ("select percentile_cont(0.3333333) within group (order by x) from (values (0e0),(1e9)) t(x)", &["333333300.0"]),
        ("select percentile_cont(0.25) within group (order by x desc) from (values (1),(2),(3),(5)) t(x)", &["3.5"]),
        ("select quantile_cont(x, 0.5), percentile_cont(0) within group (order by x), percentile_cont(1) within group (order by x) from (values (1),(2),(null)) t(x)", &["1.5 | 1.0 | 2.0"]),
        ("select k, percentile_cont(0.5) within group (order by x) filter (where x > 1) from (values ('a',1),('a',2),('b',3),('b',6)) t(k,x) group by k order by k", &["a | 2.0", "b | 4.5"]),
        ("select percentile_cont(0.5) within group (order by x) from (values (null::int)) t(x)", &[""]),
        ("select percentile_cont(0.5) within group (order by distinct_x) from (select distinct x as distinct_x from (values (1),(1),(4)) t(x)) u", &["2.5"]),
        ("select count(*), max(p) from (select value % 60000 as k, percentile_cont(0.5) within group (order by value) as p from range(120000) t group by 1) u", &["60000 | 89999.0"]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distinct_rows_and_lists_are_counted_in_little_memory() {
    let fixture = Fixture::new().await;
    let query = fixture.query_with(QueryOptions {
        memory_bytes: 64 << 20,
        ..QueryOptions::default()
    });
    for (sql, expected) in [
        (
            "select k, count(distinct (a, b)), count(*) from (select value % 3 as k, value % 7 as a, value % 11 as b from range(20000) t) u group by k order by k",
            vec!["0 | 77 | 6667", "1 | 77 | 6667", "2 | 77 | 6666"],
        ),
        (
            "select count(*), count(distinct (value, value)) from range(20000) t",
            vec!["20000 | 20000"],
        ),
        (
            "select count(distinct [value % 5]), count(distinct value) from range(20000) t",
            vec!["5 | 20000"],
        ),
        (
            "select count(distinct x), count(*) from (values ([1]),(null),([null]),([1])) t(x)",
            vec!["2 | 4"],
        ),
    ] {
        let found = rows(&query, sql).await;
        assert_eq!(
            found.unwrap_or_else(|error| panic!("{sql}: {error}")),
            expected,
            "{sql}"
        );
    }
}
