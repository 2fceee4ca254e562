//! Correlated subqueries whose condition is no equality, and columns of one name inside and outside. The expected rows are those of
//! DuckDB.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};

use crate::fixture::Fixture;

async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let table = |rows: &[[Option<i64>; 3]]| {
        let column = |at: usize| -> ArrayRef {
            Arc::new(rows.iter().map(|row| row[at]).collect::<Int64Array>())
        };
        let columns = [
            ("a", column(0), true),
            ("b", column(1), true),
            ("c", column(2), true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    let t = [
        [Some(1), Some(1), Some(1)],
        [Some(2), Some(5), Some(2)],
        [Some(3), None, Some(1)],
        [None, Some(9), Some(2)],
    ];
    let u = [
        [Some(1), Some(4), Some(1)],
        [Some(7), Some(6), Some(2)],
        [None, Some(2), Some(2)],
    ];
    fixture
        .append(&[("a.t", &[], table(&t)), ("a.u", &[], table(&u))])
        .await;
    fixture
}

async fn check(expected: &[(&str, &[&str])]) {
    let fixture = lake().await;
    for (sql, expected) in expected {
        assert_eq!(fixture.rows(sql).await, *expected, "{sql}");
    }
}

#[tokio::test]
async fn tests_for_rows_by_any_condition() {
    check(&[
        ("select a from a.t where not exists (select 1 from a.u where u.a = t.a or u.b < t.b) order by a", &["3"]),
        ("select a from a.t where not exists (select 1 from a.u where u.a = t.a or u.b < t.b) or t.c = 1 order by a", &["1", "3"]),
        ("select a from a.t where a not in (select a from a.u where u.b < t.b) or t.c = 1 order by a", &["1", "3"]),
        ("select a from a.t where not exists (select 1 from a.u where t.c = 1) or t.b = 1 order by a", &["1", "2", ""]),
        ("select a from a.t where exists (select 1 from a.u where t.c = 1) or t.b = 9 order by a", &["1", "3", ""]),
        ("select a, exists (select 1 from a.u where t.c = 1) from a.t order by a", &["1 | true", "2 | false", "3 | true", " | false"]),
        ("select a from a.t where exists (select 1 from a.u where t.c = 2 and u.a > t.a) or t.b = 1 order by a", &["1", "2"]),
    ])
    .await;
}

#[tokio::test]
async fn columns_of_one_name_inside_and_outside() {
    check(&[
        ("select t.a, z.c from a.t, lateral (select max(u.b) as c from a.u where u.c = t.c) z order by 1", &["1 | 4", "2 | 6", "3 | 4", " | 6"]),
        ("select t.c, z.c from a.t, lateral (select max(u.b) as c from a.u where u.c = t.c) z order by 1, 2", &["1 | 4", "1 | 4", "2 | 6", "2 | 6"]),
        ("select t.b, z.n, z.b from a.t left join lateral (select count(*) as n, count(u.b) as b from a.u where u.c = t.a) z on true order by t.b", &["1 | 1 | 1", "5 | 2 | 2", "9 | 0 | 0", " | 0 | 0"]),
        ("select t.c, z.c from a.t, lateral (select u.b as c from a.u where u.c = t.c) z where t.a = 2 order by 2", &["2 | 2", "2 | 6"]),
        ("select t.c, z.c from a.t, lateral (select distinct u.b % 2 as c from a.u where u.c = t.c) z where t.a = 2", &["2 | 0"]),
        ("select t.c, z.c, v.c from a.t, lateral (select max(u.b) as c from a.u where u.c = t.c) z, lateral (select min(u.b) as c from a.u where u.b = z.c) v where t.a = 1", &["1 | 4 | 4"]),
        ("select t.c, (select max(u.b) as c from a.u where u.c = t.c) from a.t where a = 1", &["1 | 4"]),
        ("select t.c, (select count(*) as c from a.u where u.b = t.b) from a.t where a = 1", &["1 | 0"]),
        ("select t.c from a.t where t.b in (select u.b + 1 as c from a.u where u.c = t.c) order by 1", &[]),
        ("select t.a from a.t where t.c = (select max(u.b) - 3 as c from a.u where u.c = t.c)", &["1", "3"]),
    ])
    .await;
}

#[tokio::test]
async fn values_computed_from_an_aggregate_of_no_rows() {
    let from = "from a.u where u.c = t.a";
    let fixture = lake().await;
    for (value, expected) in [
        ("max(u.b) - 3", ["1", "3", "", ""]),
        ("-max(u.b) * 2.5", ["-10.0", "-15.0", "", ""]),
        ("max(u.b)::text || 'x'", ["4x", "6x", "", ""]),
        (
            "date '2024-01-01' + max(u.b)",
            ["2024-01-05", "2024-01-07", "", ""],
        ),
        (
            "date_trunc('year', date '2024-05-01' + max(u.b))",
            ["2024-01-01T00:00:00", "2024-01-01T00:00:00", "", ""],
        ),
        ("(max(u.b) + 0.6)::int", ["5", "7", "", ""]),
        ("max(u.b) + count(*)", ["5", "8", "", ""]),
        ("coalesce(max(u.b), 0) + 1", ["5", "7", "1", "1"]),
    ] {
        let sql = format!("select (select {value} {from}) from a.t order by t.a");
        assert_eq!(fixture.rows(&sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn values_that_do_not_read_the_aggregate_have_its_row() {
    let from = "from a.u where u.c = t.a";
    let fixture = lake().await;
    for (value, expected) in [
        ("count(*) is null", ["false", "false", "false", "false"]),
        ("count(*) * 0 + 4", ["4", "4", "4", "4"]),
        ("coalesce(1, max(u.b))", ["1", "1", "1", "1"]),
        ("case when true then 5 else max(u.b) end", ["5"; 4]),
        ("'n=' || count(*)", ["n=1", "n=2", "n=0", "n=0"]),
    ] {
        let sql = format!("select (select {value} {from}) from a.t order by t.a");
        assert_eq!(fixture.rows(&sql).await, expected, "{sql}");
        let sql =
            format!("select v.x from a.t, lateral (select {value} as x {from}) v order by t.a");
        assert_eq!(fixture.rows(&sql).await, expected, "{sql}");
    }
    for (value, expected) in [
        ("5 {from} having count(*) = 0", ["", "", "5", "5"]),
        ("5 {from} having count(*) > 0", ["5", "5", "", ""]),
        (
            "coalesce(max(u.b), 9) {from} having max(u.b) is null",
            ["", "", "9", "9"],
        ),
        ("count(*) {from} having count(*) <> 1", ["", "2", "0", "0"]),
    ] {
        let value = value.replace("{from}", from);
        let sql = format!("select (select {value}) from a.t order by t.a");
        assert_eq!(fixture.rows(&sql).await, expected, "{sql}");
    }
    check(&[("select t.a from a.t where (select 5 from a.u where u.c = t.a having count(*) = 0) = 5 order by 1", &["3", ""])]).await;
    let sql = "select v.x from a.t, lateral (select 5 as x from a.u where u.c = t.a having count(*) = 0) v";
    assert_eq!(fixture.failure(sql).await.code(), "sql_unsupported");
}

#[tokio::test]
async fn values_of_the_row_that_a_condition_finds() {
    check(&[
        ("select t.a, (select u.b from a.u where u.a = t.a) from a.t order by 1", &["1 | 4", "2 |", "3 |", " |"]),
        ("select t.a, (select x from (values (1, 'p'), (5, 'q'), (8, 'r'), (8, 's')) v(k, x) where v.k = t.b) from a.t order by 1", &["1 | p", "2 | q", "3 |", " |"]),
        ("select t.a from a.t where (select u.b from a.u where u.a = t.a) = 4 and t.c = 1", &["1"]),
        ("select sum((select u.b from a.u where u.a = t.a)), count(*) from a.t", &["4 | 4"]),
        ("select t.a from a.t order by (select -u.a from a.u where u.a = t.a) nulls last, a desc nulls last limit 2", &["1", "3"]),
        ("select t.a, coalesce((select u.b from a.u where u.a = t.a), 0) + coalesce((select v.c from a.u v where v.a = t.c), 0) from a.t order by 1", &["1 | 5", "2 | 0", "3 | 1", " | 0"]),
        ("select t.a, (select [u.b] from a.u where u.a = t.a), (select {'b': u.b} from a.u where u.a = t.a) from a.t where t.a = 1", &["1 | [4] | {b: 4}"]),
        ("select t.a, (select distinct u.c from a.u where u.c = t.c) from a.t order by 1", &["1 | 1", "2 | 2", "3 | 1", " | 2"]),
        ("select t.a, (select max(u.b) from a.u where u.c = t.c group by u.c) from a.t order by 1", &["1 | 4", "2 | 6", "3 | 4", " | 6"]),
        ("select t.a, (select q from (select u.b as q from a.u where u.a = t.a) z) from a.t order by 1", &["1 | 4", "2 |", "3 |", " |"]),
    ])
    .await;
}

#[tokio::test]
async fn values_of_the_first_row_in_an_order() {
    check(&[
        ("select t.a, (select u.b from a.u where u.c = t.c order by u.a nulls last limit 1) from a.t order by 1", &["1 | 4", "2 | 6", "3 | 4", " | 6"]),
        ("select t.a, (select u.b from a.u where u.c = t.c order by u.b limit 1) from a.t order by 1", &["1 | 4", "2 | 2", "3 | 4", " | 2"]),
        ("select t.a, (select u.a from a.u where u.c = t.c order by u.b limit 1) from a.t order by 1", &["1 | 1", "2 |", "3 | 1", " |"]),
        ("select t.a, (select u.b * 10 from a.u where u.c = t.a order by u.b desc limit 1) from a.t order by 1", &["1 | 40", "2 | 60", "3 |", " |"]),
    ])
    .await;
}

#[tokio::test]
async fn several_rows_fail_for_a_row_outside_that_has_them() {
    let fixture = lake().await;
    let value = "(select u.b from a.u where u.c = t.c)";
    let error = fixture
        .failure(&format!("select t.a, {value} from a.t"))
        .await;
    assert_eq!(error.code(), "subquery_rows");
    assert_eq!(error.kind(), forebay_core::ErrorKind::Data);
    let rows = format!("select t.a, {value} from a.t where t.c = 1 order by 1");
    assert_eq!(fixture.rows(&rows).await, ["1 | 4", "3 | 4"]);
    let case = format!("select t.a, case when t.c = 1 then {value} end from a.t order by 1");
    assert_eq!(fixture.rows(&case).await, ["1 | 4", "2 |", "3 | 4", " |"]);
    let sql = "select (select u.b from a.u where u.b < t.b) from a.t";
    assert_eq!(fixture.failure(sql).await.code(), "sql_unsupported");
}

#[tokio::test]
async fn tests_that_no_row_outside_decides() {
    check(&[
        ("select 1e-20 in (select 0.0), 0.0 in (select 0.0), exists (select 1), not exists (select 1 where false), 5 in (select 3 union select 5), 1 not in (select null::int)",
            &["false | true | true | true | true |"]),
        ("select 1 where 1e-20 in (select 0.0)", &[]),
        ("select 7 in (select u.a from a.u), 8 in (select u.a from a.u), 8 in (select u.b from a.u), t.a from a.t where t.a = 1", &["true |  | false | 1"]),
        ("select a from a.t where 8 not in (select b from a.u) or a = 1 or 6 in (select u.a from a.u) order by a", &["1", "2", "3", ""]),
        ("select a from a.t where a = 1 or not exists (select 1 from a.u where b > 100) and exists (select 1 from a.u where b > 5) order by a", &["1", "2", "3", ""]),
    ])
    .await;
}

#[tokio::test]
async fn derived_tables_of_rows_chosen_outside() {
    check(&[
        ("select t.a, exists (select 1 from (select u.c as q from a.u where u.b < t.b) z where z.q = t.c) from a.t order by a", &["1 | false", "2 | true", "3 | false", " | true"]),
        ("select t.a, (select max(q) from (select u.b as q from a.u where u.c = t.c) z) from a.t order by a", &["1 | 4", "2 | 6", "3 | 4", " | 6"]),
    ])
    .await;
}

/// `a.t` and `a.u` have `a` in 1, 2, 3, null and 1, 7, null; `b` in 1, 5, null, 9 and 4, 6, 2.
#[tokio::test]
async fn aggregates_of_rows_that_any_condition_chooses() {
    check(&[
        ("select t.a, (select count(*) from a.u where u.b < t.b) n, (select sum(b) + 1 from a.u where u.b < t.b) s from a.t order by 1", &["1 | 0 |", "2 | 2 | 7", "3 | 0 |", " | 3 | 13"]),
        ("select a from a.t where a in (select count(*) from a.u where u.b < t.b) order by 1", &["2"]),
        ("select a, a in (select count(*) from a.u where u.b < t.b), a not in (select count(*) from a.u where u.b < t.b) from a.t order by 1", &["1 | false | true", "2 | true | false", "3 | false | true", " |  |"]),
        ("select a from a.t where a not in (select count(*) from a.u where u.b < t.b) order by 1", &["1", "3"]),
        ("select a from a.t where a = any (select count(*) from a.u where u.b < t.b) or a < any (select max(b) from a.u where u.b < t.b) order by 1", &["2"]),
        ("select a from a.t where a <> all (select count(*) from a.u where u.b < t.b) order by 1", &["1", "3"]),
        ("select a, a >= all (select sum(b) from a.u where u.b < t.b) from a.t order by 1", &["1 |", "2 | false", "3 |", " |"]),
        ("select a, a in (select count(*) from a.u where u.c = t.c) from a.t order by 1", &["1 | true", "2 | true", "3 | false", " |"]),
        ("select t.a, z.n, z.m from a.t, lateral (select count(*) as n, max(b) as m from a.u where u.b < t.b) z order by 1", &["1 | 0 |", "2 | 2 | 4", "3 | 0 |", " | 3 | 6"]),
        ("select sum((select count(*) from a.u where u.b < t.b)) from a.t", &["5"]),
        ("select t.a, t.b from a.t order by (select -count(*) from a.u where u.b < t.b), a", &[" | 9", "2 | 5", "1 | 1", "3 |"]),
        ("select t.a, (select count(*) filter (where a > 1) from a.u where u.b < t.b) from a.t order by 1", &["1 | 0", "2 | 0", "3 | 0", " | 1"]),
        ("select t.a, (select sum(u.b * t.c) from a.u where u.b < t.b) from a.t order by 1", &["1 |", "2 | 12", "3 |", " | 24"]),
        ("select t.a, (select count(*) from a.u where u.b < t.b having count(*) > 2) from a.t order by 1", &["1 |", "2 |", "3 |", " | 3"]),
        ("select t.a, (select string_agg(b::text, ',' order by b) from a.u where u.b < t.b or u.a is null) from a.t order by 1", &["1 | 2", "2 | 2,4", "3 | 2", " | 2,4,6"]),
        ("select t.a, (select count(*) from a.t v where v.b <= t.b), (select count(distinct v.c) from a.t v where v.b <= t.b) from a.t order by 1", &["1 | 1 | 1", "2 | 2 | 2", "3 | 0 | 0", " | 3 | 2"]),
    ])
    .await;
}

#[tokio::test]
async fn aggregates_that_cannot_be_joined_are_refused_in_words() {
    let fixture = lake().await;
    for sql in [
        "select a from a.t where a in (select count(*) from a.u where u.b < t.b group by u.c)",
        "select a from (values (1), (2)) t(a) where a in (select count(*) from (values (1), (2)) b(id) where b.id <= t.a group by b.id)",
        "select a from a.t left join (values (1)) v(x) on x = (select count(*) from a.u where u.b < t.b)",
        "select a from a.t where a in (select count(*) from a.u where u.b < t.b having count(*) > 1)",
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "sql_unsupported", "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}");
    }
}

/// `SELECT 1` was taken for no row, so that two of them were taken for one at most.
#[tokio::test]
async fn several_rows_of_constants_fail_as_rows_of_tables_do() {
    let fixture = lake().await;
    for rows in [
        "select 1 union select 2",
        "select 1 union all select 1",
        "(select 1 union select 2)",
        "select * from (values (1), (2)) v(x)",
        "select 1 union all (values (2))",
        "with c as (select 1 union all select 2) select * from c",
        "select * from (select 1 union all select 2) v limit 2",
        "select * from (select 1 union all select 2 union all select 3) v offset 1",
        "select 1 union all select a from a.t where a = 1",
        "select u.a from (select 1 as a) u full join (select 2 as a) v on u.a = v.a",
        "select 1 from (select 1) u cross join a.t",
    ] {
        for sql in [
            format!("select ({rows})"),
            format!("select a from a.t where a = ({rows})"),
            format!("select a from a.t order by ({rows})"),
            format!("select a from a.t group by a having a = ({rows})"),
            format!("select case when a = 1 then ({rows}) end from a.t"),
        ] {
            assert_eq!(fixture.failure(&sql).await.code(), "subquery_rows", "{sql}");
        }
    }
    check(&[
        ("select (select 1 where false)", &[""]),
        ("select (select 1 where false) is null, (select 1 union select 1), (select 1 intersect select 2)", &["true | 1 |"]),
        ("select coalesce((select 1 except select 1), 7)", &["7"]),
        ("select 5 where (select 1 where false) is null", &["5"]),
        ("select (select * from (values (3)) v(x)), (select 1 union all select 2 order by 1 limit 1)", &["3 | 1"]),
        ("select a from a.t where a = (select 1 union select 1)", &["1"]),
    ])
    .await;
}
