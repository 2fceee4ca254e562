//! `TABLESAMPLE` behind everything that gives rows: taken, or refused, never ignored.

use forebay_core::SqlEngine;
use forebay_query::Engine;

use crate::fixture::Fixture;

const ROWS: &str = "(select unnest(range(1000)) as x)";

#[tokio::test]
async fn subqueries_functions_and_with_are_sampled() {
    let fixture = Fixture::new().await;
    for (from, column) in [
        (ROWS.to_owned(), "x"),
        (format!("{ROWS} t"), "t.x"),
        ("range(1000)".to_owned(), "value"),
        ("(values (1), (2)) v(a)".to_owned(), "v.a"),
        (format!("(select 1 as one) o join {ROWS} t"), "one + t.x"),
    ] {
        let on = if from.contains(" join ") {
            "on true"
        } else {
            ""
        };
        let none = format!("select count({column}) from {from} tablesample (0 percent) {on}");
        assert_eq!(fixture.rows(&none).await, ["0"], "{none}");
        let all = none.replace("(0 percent)", "bernoulli (100)");
        assert_ne!(fixture.rows(&all).await, ["0"], "{all}");
    }
    let with = format!("with c as {ROWS} select count(c.x) from c tablesample (0 percent)");
    assert_eq!(fixture.rows(&with).await, ["0"]);
    let inner = format!("select (select count(*) from {ROWS} tablesample (0 percent))");
    assert_eq!(fixture.rows(&inner).await, ["0"]);
}

#[tokio::test]
async fn what_is_no_share_of_the_rows_is_refused() {
    let fixture = Fixture::new().await;
    for from in [
        format!("{ROWS} tablesample (5 rows)"),
        format!("{ROWS} tablesample (10 percent) repeatable (1)"),
        format!("(select 1) o, lateral {ROWS} t tablesample (10 percent)"),
    ] {
        let error = fixture
            .failure(&format!("select count(*) from {from}"))
            .await;
        assert_eq!(error.code(), "sql_unsupported", "{from}: {error}");
    }
}

#[test]
fn transforms_refuse_it_everywhere() {
    for from in ["input", "(select * from input) t"] {
        let sql = format!("select * from {from} tablesample (10 percent)");
        let error = Engine::new().inspect("input", &sql).unwrap_err();
        assert!(error.message().contains("TABLESAMPLE"), "{sql}: {error}");
    }
}
