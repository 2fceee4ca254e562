//! Rows of several columns beside each other and in subqueries, with the nulls of SQL. The expected rows are those of Postgres.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::fixture::{Fixture, check};

async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let k = Int64Array::from(vec![Some(1), Some(1), Some(2), None, Some(3)]);
    let s = StringArray::from(vec![Some("a"), Some("b"), Some("a"), None, Some("c")]);
    let columns = [
        (
            "id",
            Arc::new(Int64Array::from_iter_values(1..=5)) as ArrayRef,
            true,
        ),
        ("k", Arc::new(k), true),
        ("s", Arc::new(s), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    fixture.append(&[("a.t", &[], batch)]).await;
    fixture
}

#[tokio::test]
async fn a_row_is_looked_for_in_a_subquery_anywhere() {
    lake().await.check(&[
        ("select (1, 2) in (select 1, 2), (1, 3) in (select 1, 2), (1, null) in (select 1, 2), (null, 3) in (select 1, 2), (1, 2) in (select 1, null), (3, 2) in (select 1, null)",
            &["true | false |  | false |  | false"]),
        ("select (1, 2) not in (select 1, 2), (1, null) not in (select 1, 2), (1, 3) not in (select 1, 2), (1, 2) in (select 1, 2 where false), (null, null) not in (select 1, 2 where false)",
            &["false |  | true | false | true"]),
        ("select id, (k, s) in (select k, s from a.t where id < 3), (k, s) not in (select k, s from a.t where id = 4) from a.t order by id",
            &["1 | true |", "2 | true |", "3 | false |", "4 |  |", "5 | false |"]),
        ("select id, (k, s) in (select k, s from a.t y where y.id < x.id) from a.t x order by id",
            &["1 | false", "2 | false", "3 | false", "4 |", "5 |"]),
        ("select count(*) filter (where (k, s) in (select 1, 'a')), sum(case when (k, s) in (select 1, 'b') then 10 else 1 end) from a.t", &["1 | 14"]),
        ("select k, count(*) from a.t group by k having (k, 1) in (select k, 1 from a.t) order by 1", &["1 | 2", "2 | 1", "3 | 1"]),
        ("select x.id, y.id from a.t x join a.t y on (x.k, y.k) in (select 1, 2) order by 1, 2", &["1 | 3", "2 | 3"]),
        ("select id from a.t where ((k, s) in (select k, s from a.t where id in (1, 5))) is not true order by id", &["2", "3", "4"]),
    ])
    .await;
}

#[tokio::test]
async fn a_row_that_may_be_there_is_not_absent() {
    lake().await.check(&[
        ("select id from a.t where (k, s) not in (select k, s from a.t where id in (1, 5)) order by id", &["2", "3"]),
        ("select id from a.t where not ((k, s) in (select k, s from a.t where id in (1, 5))) order by id", &["2", "3"]),
        ("select id from a.t where (k, s) not in (select k, s from a.t) order by id", &[]),
        ("select id from a.t where (k, s) not in (select 1, null::text) order by id", &["3", "5"]),
        ("select id from a.t where (k, s) not in (select 1, 'a') and id > 1 or id = 4 order by id", &["2", "3", "4", "5"]),
        ("select id from a.t x where (k, s) in (select k, s from a.t y where y.id >= x.id) order by id", &["1", "2", "3", "5"]),
    ])
    .await;
}

#[tokio::test]
async fn rows_that_are_written_out() {
    let many: Vec<String> = (0..300).map(|at| format!("({at}, {at})")).collect();
    let many = many.join(", ");
    let found = format!("select (7, 7) in ({many}), (7, 8) in ({many}), (7, null) in ({many})");
    let fixture = lake().await;
    fixture.check(&[
        ("select (1, null) < (2, 1), (null, 1) < (2, 1), (1, null) < (1, 2), (1, 2) <= (1, 2), (1, 2, 3) < (1, 2, 4), (2, 0) > (1, 9), (1, 2) >= (1, 3)",
            &["true |  |  | true | true | true | false"]),
        ("select (1, 5) between (1, 2) and (2, 1), (1, null) not between (2, 2) and (3, 1)", &["true | true"]),
        ("select (k, s) in ((1, 'a'), (2, 'a'), (null, 'c')) from a.t order by id", &["true", "false", "true", "", ""]),
        (found.as_str(), &["true | false |"]),
    ])
    .await;
    for (sql, code, hint) in [
        (
            "select (1, 2) = (select 1, 2)",
            "sql_unsupported",
            "IN (SELECT",
        ),
        (
            "select k from a.t group by k having (k, count(*)) in (select 1, 2)",
            "sql_unsupported",
            "in a subquery",
        ),
        ("select (1, 2) in (select 1)", "bad_sql", "one name"),
        (
            "select x.id from a.t x left join a.t y on (x.k, y.k) in (select 1, 2)",
            "sql_unsupported",
            "outer join",
        ),
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), code, "{sql}: {error}");
        assert!(
            error.hint().is_some_and(|text| text.contains(hint)),
            "{sql}"
        );
    }
    let deep = "(1, 2) in (select 1, 2 where ".repeat(5) + "true" + &")".repeat(5);
    let error = fixture.failure(&format!("select {deep}")).await;
    assert_eq!(error.code(), "sql_too_deep");
}

#[tokio::test]
async fn names_of_a_derived_table_replace_any_other() {
    check(&[
        ("select a, b, c from (select null, 1 + 1, 'X.y') as m(a, b, c)", &[" | 2 | X.y"]),
        ("select a from (select \"Id\" from (values (1)) v(\"Id\")) as m(a)", &["1"]),
        ("select a from (select null union all select 1) as m(a) order by a", &["1", ""]),
        ("select n, c from (select x, count(*) from (values (1), (1)) v(x) group by x) as m(n, c)", &["1 | 2"]),
    ])
    .await;
}
