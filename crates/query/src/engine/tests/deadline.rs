//! A statement without end is stopped soon after its time is up, whatever it does.

use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::Timestamp;

use super::*;

/// A clock on which each look takes a millisecond.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

#[async_trait]
impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

fn ids(n: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

/// Runs over 100,000 rows, with this many readings of the clock allowed.
async fn stopped(sql: &str, looks: u64) -> Option<Error> {
    let engine = Engine {
        select_time_max: Duration::from_millis(looks),
        ..Engine::with_clock(Arc::new(Ticking::default()))
    };
    engine.select("input", ids(100_000), sql).await.err()
}

#[tokio::test]
async fn a_statement_without_end_is_stopped_by_time() {
    for sql in [
        "select count(*) from input a cross join input b cross join input c",
        "select sum(a.id % 7 + b.id % 5) from input a cross join input b",
        // No pair passes the condition: the join has nothing to give.
        "select a.id from input a join input b on a.id + b.id < 0",
        "select count(*) from input a join input b on a.id % 2 = b.id % 2 and a.id + b.id < 0",
        "select count(*) from input a left join input b on a.id + b.id < 0",
        "select count(*) from generate_series(1, 1000000000000)",
        "with recursive t as (select 1 as n union all select n from t) select count(*) from t",
    ] {
        let error = stopped(sql, 500).await.expect(sql);
        assert_eq!(error.code(), "sql_too_slow", "{sql}: {error}");
        assert_eq!(error.kind(), ErrorKind::Data);
    }
}

/// One record may hold lists that multiply each other: it is refused, and stops no pipeline.
#[tokio::test]
async fn a_record_that_takes_too_long_is_a_value() {
    let sql = "select id from (select id, unnest(range(0, 1000)) as a from input) where a < 0";
    let error = stopped(sql, 100).await.expect(sql);
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Data, "sql_too_slow")
    );
}

#[tokio::test]
async fn a_statement_that_ends_in_time_is_left_alone() {
    for sql in [
        "select count(*) from input",
        "select a.id from input a join input b on a.id = b.id and a.id + b.id < 10 order by 1",
        "select id from input where id % 2 = 0",
    ] {
        assert!(stopped(sql, 500).await.is_none(), "{sql}");
    }
}
