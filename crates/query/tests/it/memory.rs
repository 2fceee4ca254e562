//! Groups, sorts, joins and limits in less memory than their rows take.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use forebay_query::{Query, QueryOptions};

use crate::fixture::{Fixture, rows};

/// A query of texts, each of them once.
const TEXTS: &str = "(select 'some longer text of the number ' || lpad(value::text, 10, '0') as s from range(150000)) t";

struct Limited {
    query: Query,
    _spill: tempfile::TempDir,
}

fn limited(fixture: &Fixture, megabytes: usize, threads: usize) -> Limited {
    let spill = tempfile::tempdir().unwrap();
    let query = fixture.query_with(QueryOptions {
        memory_bytes: megabytes << 20,
        threads,
        spill_dir: Some(spill.path().join("spill")),
        ..QueryOptions::default()
    });
    Limited {
        query,
        _spill: spill,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_groups_of_many_fit_in_little_memory() {
    let fixture = Fixture::new().await;
    for (megabytes, threads) in [(64, 2), (64, 8), (32, 2), (32, 8), (16, 4)] {
        let limited = limited(&fixture, megabytes, threads);
        for text in ["s", "repeat(s, 8)"] {
            let sql = format!(
                "select t, count(*) from (select {text} as t from {TEXTS}) q group by t order by 2 desc limit 100"
            );
            let found = rows(&limited.query, &sql).await;
            let found = found.unwrap_or_else(|error| panic!("{megabytes} MiB, {text}: {error}"));
            assert_eq!(found.len(), 100, "{megabytes} MiB, {text}");
            assert!(found.iter().all(|row| row.ends_with(" | 1")), "{found:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_the_groups_of_many_fits_in_little_memory() {
    let fixture = Fixture::new().await;
    let last = "some longer text of the number 0000149999";
    let last_group = format!("{last} | 1");
    for megabytes in [64, 32] {
        let limited = limited(&fixture, megabytes, 2);
        for (sql, expected) in [
            (
                "select s, count(*) from {t} group by s order by 2 desc, 1 offset 149999",
                last_group.as_str(),
            ),
            ("select distinct s from {t} order by s desc limit 1", last),
            ("select count(distinct s) from {t}", "150000"),
            (
                "select max(n) from (select row_number() over (order by s desc) as n from {t}) q",
                "150000",
            ),
            (
                "select s from (select s, row_number() over (order by s) as n from {t}) q order by n desc limit 1",
                last,
            ),
        ] {
            let sql = sql.replace("{t}", TEXTS);
            let found = rows(&limited.query, &sql).await;
            let found = found.unwrap_or_else(|error| panic!("{megabytes} MiB, {sql}: {error}"));
            assert_eq!(found, [expected], "{megabytes} MiB, {sql}");
        }
    }
}

/// The sort-merge join that replaces a hash join takes a condition that is null for a true one, and loses the places of its columns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_with_a_condition_that_spills_is_that_of_memory() {
    let fixture = Fixture::new().await;
    let limited = limited(&fixture, 24, 2);
    let rows_of = |columns: &str| format!("(select value as k, {columns} from range(400000))");
    let left = rows_of("value as v, lpad(value::text, 40, 'x') as s");
    let right = rows_of("nullif(value % 2, 1) + value as v");
    let sql = format!(
        "select count(*), count(l.k), count(r.k), count(l.k + r.k), max(length(l.s)) from {left} l full join {right} r on l.k = r.k and l.v <= r.v"
    );
    let found = rows(&limited.query, &sql).await.unwrap();
    assert_eq!(found, ["600000 | 400000 | 400000 | 200000 | 40"]);
}

/// The first of several sorts would take the memory in which the others merge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outer_joins_and_correlated_counts_that_spill_share_the_memory() {
    let fixture = Fixture::new().await;
    let limited = limited(&fixture, 16, 2);
    let rows_of = |name: &str| {
        format!(
            "(select 'some longer text of the number ' || lpad(value::text, 10, '0') as s, value as k from range(200000)) {name}"
        )
    };
    let (left, right) = (rows_of("l"), rows_of("r"));
    for (sql, expected) in [
        (
            format!(
                "select count(*), count(r.k) from {left} left join {right} on l.k = r.k and l.s <= r.s"
            ),
            "200000 | 200000",
        ),
        (
            format!(
                "select count(*), count(l.k) from {left} right join {right} on l.k = r.k and l.s < r.s"
            ),
            "200000 | 0",
        ),
        (
            format!(
                "select max(n), sum(n) from (select k, (select count(*) from {right} where r.k = l.k) as n from {left}) q"
            ),
            "1 | 200000",
        ),
    ] {
        let found = rows(&limited.query, &sql).await;
        let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(found, [expected], "{sql}");
    }
}

fn texts_with_ids(ids: std::ops::Range<i64>) -> RecordBatch {
    let texts = ids
        .clone()
        .map(|id| format!("a text of the number {id:0>40}"));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    RecordBatch::try_from_iter([("id", ids), ("s", texts)]).unwrap()
}

/// Row groups have 16 rows, see the fixture.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_of_many_small_row_groups_fits_in_little_memory() {
    let fixture = Fixture::new().await;
    for commit in 0..2_i64 {
        let ids = commit * 100_000..(commit + 1) * 100_000;
        fixture.append(&[("a.t", &[], texts_with_ids(ids))]).await;
    }
    let limited = limited(&fixture, 32, 2);
    let sql = "select count(*), max(y.s) from a.t x join a.t y on x.s = y.s";
    let found = rows(&limited.query, sql).await.unwrap();
    let last = format!("200000 | a text of the number {:0>40}", 199_999);
    assert_eq!(found, [last]);
}
