//! Statements that are cancelled from another thread.

use std::time::Duration;

use forebay_query::{QueryCancellation, QueryOptions};

use crate::fixture::{Fixture, rows};

async fn cancelled(sql: &str) {
    let fixture = Fixture::new().await;
    let cancellation = QueryCancellation::default();
    let query = fixture.query_with(QueryOptions {
        threads: 2,
        cancellation: Some(cancellation.clone()),
        ..QueryOptions::default()
    });
    assert_eq!(rows(&query, "select 1").await.unwrap(), ["1"]);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        cancellation.cancel();
    });
    let error = rows(&query, sql).await.unwrap_err();
    assert_eq!(error.code(), "query_cancelled", "{sql}: {error}");
    thread.join().unwrap();
}

#[tokio::test]
async fn a_statement_ends_when_it_is_cancelled() {
    cancelled("select count(*) from range(100000000) a, range(100000) b").await;
    cancelled(
        "select count(*) from range(1000000) a join range(1000000) b on a.value < b.value - 999999",
    )
    .await;
}
