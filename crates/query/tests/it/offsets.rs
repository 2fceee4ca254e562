//! `OFFSET` without `LIMIT` over rows that are limited below it: it skips its rows once.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};

use crate::fixture::{Fixture, check};

const Q: &str = "(select x from (values (0),(1),(2)) t(x) limit 2) q";

#[tokio::test]
async fn an_offset_over_a_limit_skips_once() {
    for (sql, expected) in [
        ("select * from {q} offset 1", &["1"] as &[&str]),
        ("select * from {q} order by x offset 1", &["1"]),
        ("select * from {q} order by x desc offset 1", &["0"]),
        ("select * from {q} where x < 9 order by x offset 1", &["1"]),
        (
            "select x, count(*) from {q} group by x order by x offset 1",
            &["1 | 1"],
        ),
        ("select distinct x from {q} order by x offset 1", &["1"]),
        (
            "select x, sum(x) over (order by x) from {q} order by x desc offset 1",
            &["0 | 0"],
        ),
        (
            "select q.x from {q} join (values (0),(1)) u(y) on x = y order by x offset 1",
            &["1"],
        ),
        (
            "select unnest([x, x + 5]) as u from {q} order by u offset 1",
            &["1", "5", "6"],
        ),
        (
            "select x from {q} union all select x + 7 from {q} order by x offset 1",
            &["1", "7", "8"],
        ),
        (
            "select * from (select * from {q} order by x offset 1) r limit 5",
            &["1"],
        ),
        (
            "select * from (select * from {q} order by x offset 1) r offset 1",
            &[],
        ),
        (
            "select count(*) from (select * from {q} offset 1) r",
            &["1"],
        ),
        (
            "select * from (select * from range(5) r(x) order by x limit 3 offset 1) q order by x desc offset 1",
            &["2", "1"],
        ),
        (
            "select * from (select x % 2 as p, count(*) as c from range(5) r(x) group by p order by p limit 2) q order by c offset 1",
            &["0 | 3"],
        ),
    ] {
        check(&[(&sql.replace("{q}", Q), expected)]).await;
    }
}

#[tokio::test]
async fn an_offset_over_a_limit_of_a_table_skips_once() {
    let fixture = Fixture::new().await;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    fixture.append(&[("a.t", &[], rows)]).await;
    for (sql, expected) in [
        (
            "select count(*) from (select * from (select id from a.t limit 40) q offset 30) r",
            "10",
        ),
        (
            "select count(*) from (select * from (select id from a.t order by id limit 40) q order by id desc offset 30) r",
            "10",
        ),
        (
            "select max(id) from (select * from (select id from a.t order by id limit 40) q order by id desc offset 30) r",
            "9",
        ),
    ] {
        assert_eq!(fixture.rows(sql).await, [expected], "{sql}");
    }
}
