//! Groups, sorts and limits in less memory than their rows take.

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
