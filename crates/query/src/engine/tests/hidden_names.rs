//! `WITH` queries that are called like the input, and like each other.

use super::*;

#[tokio::test]
async fn a_with_query_hides_the_input() {
    let engine = Engine::new();
    for sql in [
        "with input as (select * from input where id < 3) select id from input",
        "with x as (select * from input), y as (with x as (select * from x where id < 3) select * from x) select id from y",
        "select id from (with input as (select id from input where id < 3) select * from input) input",
    ] {
        engine.inspect("input", sql).unwrap();
        let found = run(sql).await.unwrap();
        let ids: &[i64] = found.column(0).as_primitive::<Int64Type>().values();
        assert_eq!(ids, [1, 2], "{sql}");
    }
}

#[tokio::test]
async fn a_with_query_of_the_name_of_the_input_is_not_the_input() {
    let sql = "with input as (values (1), (2)) select * from input";
    let error = Engine::new().inspect("input", sql).unwrap_err();
    assert_eq!(error.code(), "sql_not_row_wise", "{error}");
}

/// The plan of a transform has no groups over its rows.
#[tokio::test]
async fn an_aggregate_that_any_condition_chooses_is_refused() {
    let sql =
        "select id, (select count(*) from (values (1), (2)) v(x) where v.x <= id) as n from input";
    assert_eq!(failure(sql).await.code(), "sql_unsupported");
    let sql =
        "select id, (select count(*) from (values (1), (2)) v(x) where v.x = id) as n from input";
    let found = run(sql).await.unwrap();
    let column = |at: usize| {
        found
            .column(at)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    let mut counts: Vec<(i64, i64)> = column(0).into_iter().zip(column(1)).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(1, 1), (2, 1), (3, 0), (i64::MAX, 0)]);
}
