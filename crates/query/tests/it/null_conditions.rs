//! Nulls without a type as conditions, and subqueries in `VALUES`. The expected rows are those of Postgres 18.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use crate::fixture::{Fixture, check};

async fn with_table() -> Fixture {
    let fixture = Fixture::new().await;
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("s", names, true)]);
    fixture.append(&[("a.t", &[], batch.unwrap())]).await;
    fixture
}

#[tokio::test]
async fn a_null_is_a_condition_that_is_not_true() {
    with_table()
        .await
        .check(&[
            ("select id from a.t where null", &[]),
            ("select id from a.t where (null) or id = 1", &["1"]),
            ("select id from a.t where null and id = 1", &[]),
            ("select id from a.t where not null", &[]),
            ("select id from a.t where nullif(null, null)", &[]),
            ("select count(*) filter (where null) from a.t", &["0"]),
            ("select s, sum(id) filter (where null) from a.t group by s order by s", &["a |", "b |", "c |"]),
            ("select count(*) filter (where null or id = 1) from a.t", &["1"]),
            ("select count(*) filter (where null) over () from a.t limit 1", &["0"]),
            ("select s, count(*) from a.t group by s having null", &[]),
            ("select s, count(*) from a.t group by s having null or s = 'a'", &["a | 1"]),
            ("select case when null then s else 'x' end from a.t limit 1", &["x"]),
            ("select case when null then s when id = 1 then 'one' end from a.t order by 1 limit 1", &["one"]),
            ("select count(*) from a.t x join a.t y on null", &["0"]),
            ("select count(*) from a.t x left join a.t y on null", &["3"]),
            ("select count(*), count(y.s) from a.t x full join a.t y on null", &["6 | 3"]),
            ("select count(*), count(y.s) from a.t x full join a.t y on x.s = y.s and null", &["6 | 3"]),
            ("select count(*) from a.t x left join a.t y on x.s = y.s and null", &["3"]),
            ("select n from (select null as n, s from a.t) q where n", &[]),
            ("select id from a.t where exists (select 1 from a.t where null)", &[]),
            ("select row_number() over (order by s) as n from a.t qualify null", &[]),
        ])
        .await;
}

#[tokio::test]
async fn values_hold_subqueries() {
    with_table()
        .await
        .check(&[
            ("values ((select 1))", &["1"]),
            ("select * from (values (1, (select max(id) from a.t)), (2, 7)) v(a, b) order by a", &["1 | 2", "2 | 7"]),
            ("select column1, column2 from (values ('x', 1), ('y', (select count(*) from a.t)), ('z', 5)) v order by 1", &["x | 1", "y | 3", "z | 5"]),
            ("values (exists (select 1 from a.t)), (2 in (select id from a.t))", &["true", "true"]),
            ("select s from a.t where id in (values ((select min(id) from a.t)))", &["a"]),
        ])
        .await;
    let fixture = Fixture::new().await;
    let many = vec!["((select 1))"; 101].join(", ");
    let error = fixture.failure(&format!("values {many}")).await;
    assert!(
        error.message().contains("subqueries in more than 100 rows"),
        "{error}"
    );
    check(&[("select count(*) from (values (1, 2), (3, 4)) v", &["2"])]).await;
}
