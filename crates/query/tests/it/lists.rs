//! Lists with nulls: as items, as lists, and as what was hidden below a null list. The expected rows are those of DuckDB.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::fixture::Fixture;

/// Ids from 1 on with `[1, 2, null]`, `[]`, `[3]`, null, `[1, 2]`.
async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1), Some(2), None]),
        Some(vec![]),
        Some(vec![Some(3)]),
        None,
        Some(vec![Some(1), Some(2)]),
    ]);
    let columns = [
        (
            "id",
            Arc::new(Int64Array::from_iter_values(1..=5)) as ArrayRef,
            false,
        ),
        ("l", Arc::new(lists) as ArrayRef, true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    fixture.append(&[("a.t", &[], batch)]).await;
    fixture
}

async fn check(fixture: &Fixture, expected: &[(&str, &[&str])]) {
    for (sql, expected) in expected {
        assert_eq!(fixture.rows(sql).await, *expected, "{sql}");
    }
}

#[tokio::test]
async fn functions_do_not_see_what_a_null_list_hides() {
    let fixture = lake().await;
    let hidden = "case when id <> 3 then l end";
    for (call, expected) in [
        ("array_append({l}, 9)", "[9]"),
        ("array_prepend(9, {l})", "[9]"),
        ("array_concat({l}, [9])", "[9]"),
        ("flatten([{l}, [9]])", "[9]"),
        ("array_length({l})", ""),
        ("cardinality({l})", ""),
        ("({l})[1]", ""),
        ("array_has({l}, 3)", ""),
        ("array_position({l}, 3)", ""),
        ("array_sort({l})", ""),
        ("array_reverse({l})", ""),
        ("array_distinct({l})", ""),
        ("array_max({l})", ""),
        ("array_to_string({l}, ',')", ""),
    ] {
        let call = call.replace("{l}", hidden);
        let sql = format!("select v from (select id, {call} as v from a.t) x where id = 3");
        assert_eq!(fixture.rows(&sql).await, [expected], "{sql}");
        let sql = format!("select {call} as v from a.t order by id limit 1 offset 2");
        assert_eq!(fixture.rows(&sql).await, [expected], "{sql}");
    }
    check(
        &fixture,
        &[(
            "select (case when id <> 3 then {'a': id} end)['a'] from a.t order by id",
            &["1", "2", "", "4", "5"],
        )],
    )
    .await;
}

#[tokio::test]
async fn lists_compare_as_they_sort() {
    let fixture = lake().await;
    check(
        &fixture,
        &[
            ("select [1,null] = [1,null], [1,null] < [1,2], [1,null] > [1,2], [1] < [1,null]", &["true | false | true | true"]),
            ("select [1,null] <= [1,2], [1,null] >= [1,2], null::bigint[] < [1]", &["false | true |"]),
            ("select [1,null] between [1,2] and [1,null], [1,null] not between [1,2] and [1,null]", &["true | false"]),
            ("select greatest([1,null],[1,2]), least([1,null],[1,2]), greatest(null::bigint[],[1])", &["[1, ] | [1, 2] | [1]"]),
            ("select {'a': 1, 'b': null::bigint} < {'a': 1, 'b': 2}", &["false"]),
            ("select id from a.t where l > [1, 2] order by id", &["1", "3"]),
            ("select x.id, y.id from a.t x join a.t y on x.l < y.l order by 1, 2", &["1 | 3", "2 | 1", "2 | 3", "2 | 5", "5 | 1", "5 | 3"]),
            ("select id from a.t order by l", &["2", "5", "1", "3", "4"]),
            ("select id from a.t order by l nulls first", &["4", "2", "5", "1", "3"]),
            ("select id from a.t order by l desc nulls last", &["3", "1", "5", "2", "4"]),
            ("select id, rank() over (order by l desc nulls last) from a.t order by id", &["1 | 2", "2 | 4", "3 | 1", "4 | 5", "5 | 3"]),
        ],
    )
    .await;
}

#[tokio::test]
async fn aggregates_take_lists_of_a_table() {
    let fixture = lake().await;
    check(
        &fixture,
        &[
            (
                "select min(l), max(l), count(distinct l) from a.t",
                &["[] | [3] | 4"],
            ),
            (
                "select lag(l) over (order by id) from a.t order by id limit 2",
                &["", "[1, 2, ]"],
            ),
        ],
    )
    .await;
}

/// The ids of fields made types of a table differ from those of literals.
#[tokio::test]
async fn lists_of_a_table_are_compared_with_literals_and_subqueries() {
    let fixture = lake().await;
    check(
        &fixture,
        &[
            ("select id from a.t where l = [1, 2] order by id", &["5"]),
            ("select id from a.t where [3] = l", &["3"]),
            ("select id from a.t where l <> [1, 2] order by id", &["1", "2", "3"]),
            ("select id from a.t where l in ([3], [1, 2, null]) order by id", &["1", "3"]),
            ("select id from a.t where l not in ([3], []) order by id", &["1", "5"]),
            ("select id from a.t where l = [1.0, 2] order by id", &["5"]),
            ("select id from a.t where l = [1, 2.5]", &[]),
            ("select id from a.t where l is not distinct from [3]", &["3"]),
            ("select id from a.t where l = (select l from a.t where id = 5)", &["5"]),
            ("select id from a.t where l = (select x.l from a.t x where x.id = t.id order by x.id limit 1) order by id", &["1", "2", "3", "5"]),
            ("select x.id from a.t x join (select [3] as l) y on x.l = y.l", &["3"]),
            ("select id, case l when [3] then 'three' end from a.t where id in (3, 5) order by id", &["3 | three", "5 |"]),
        ],
    )
    .await;
}
