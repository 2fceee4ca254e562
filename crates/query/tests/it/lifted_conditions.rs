//! Conditions on the row outside that mean something else once they are lifted above an outer join or a grand total.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};

use crate::fixture::{Fixture, check, check_refused};

const O: &str = "with o(k) as (values (1), (5)), a(id) as (values (1), (2)), b(id, y) as (values (1, 1), (2, 2))";

#[tokio::test]
async fn below_the_optional_side_of_an_outer_join_they_are_refused() {
    let b = "(select * from b where b.y = o.k) as b";
    for sql in [
        format!(
            "select o.k, exists (select 1 from a left join {b} on a.id = b.id where b.y is null) from o"
        ),
        format!(
            "select o.k from o where not exists (select 1 from a left join {b} on a.id = b.id where b.y is null)"
        ),
        format!(
            "select o.k from o where o.k in (select a.id from a left join {b} on a.id = b.id where b.y is null)"
        ),
        format!(
            "select o.k from o where o.k not in (select a.id from a left join {b} on a.id = b.id)"
        ),
        format!(
            "select o.k, (select count(*) from a left join {b} on a.id = b.id where b.y is null) from o"
        ),
        format!(
            "select o.k, z.n from o, lateral (select a.id as n from a left join {b} on a.id = b.id) z"
        ),
        format!(
            "select o.k, exists (select 1 from a full join {b} on a.id = b.id where b.y is null) from o"
        ),
        format!(
            "select o.k, exists (select 1 from {b} right join a on a.id = b.id where b.y is null) from o"
        ),
        format!(
            "select o.k, exists (select count(*) from a left join {b} on a.id = b.id having count(b.y) = 0) from o"
        ),
        format!(
            "select o.k, exists (select 1 from a left join {b} on a.id = b.id limit 5 offset 1) from o"
        ),
        format!(
            "select o.k from o where o.k > all (select a.id from a left join {b} on a.id = b.id)"
        ),
    ] {
        check_refused(&[(&format!("{O} {sql}"), "sql_unsupported")]).await;
    }
    for (sql, expected) in [
        (
            "select o.k, exists (select 1 from (select * from a where a.id = o.k) a left join b on a.id = b.id) from o order by 1",
            ["1 | true", "5 | false"],
        ),
        (
            "select o.k, exists (select 1 from a left join b on a.id = b.id where b.y = o.k) from o order by 1",
            ["1 | true", "5 | false"],
        ),
        (
            "select o.k, exists (select 1 from a join (select * from b where b.y = o.k) b on a.id = b.id) from o order by 1",
            ["1 | true", "5 | false"],
        ),
    ] {
        check(&[(&format!("{O} {sql}"), &expected)]).await;
    }
}

#[tokio::test]
async fn below_a_grand_total_they_are_refused() {
    let with = "with o(k) as (values (1), (2), (null), (4)), i(k) as (values (1), (null), (2))";
    for groups in ["rollup(i.k)", "cube(i.k)", "grouping sets ((i.k), ())"] {
        for sql in [
            format!(
                "select o.k, exists (select 1 from i where i.k = o.k group by {groups}) from o"
            ),
            format!(
                "select o.k from o where o.k in (select i.k from i where i.k = o.k group by {groups})"
            ),
            format!(
                "select o.k from o where o.k not in (select i.k from i where i.k = o.k group by {groups})"
            ),
            format!(
                "select o.k, z.k from o, lateral (select i.k from i where i.k = o.k group by {groups}) z"
            ),
        ] {
            check_refused(&[(&format!("{with} {sql}"), "sql_unsupported")]).await;
        }
    }
    let plain = format!(
        "{with} select o.k, exists (select 1 from i where i.k = o.k group by i.k) from o order by 1"
    );
    check(&[(&plain, &["1 | true", "2 | true", "4 | false", " | false"])]).await;
}

#[tokio::test]
async fn a_limit_leaves_fewer_rows_than_nulls() {
    let t = "(values (cast(null as bigint)), (null), (null), (1)) t(v)";
    let b = "(values (1), (2)) b(v)";
    for (sql, expected) in [
        (
            format!("select count(*) from (select v from {t} limit 1) a join {b} on a.v = b.v"),
            "0",
        ),
        (
            format!("select count(*) from {b} join (select v from {t} limit 1) a on a.v = b.v"),
            "0",
        ),
        (
            format!(
                "select count(*) from (select v from {t} order by v limit 1) a join {b} on a.v = b.v"
            ),
            "1",
        ),
        (
            format!(
                "select count(*) from (select v from {t} limit 2 offset 1) a left join {b} on a.v = b.v"
            ),
            "2",
        ),
        (
            format!(
                "select count(*) from (select v from (select v from {t} limit 1) x where v is null) a join {b} on a.v = b.v"
            ),
            "0",
        ),
        (
            format!("select count(*) from {b} where v in (select v from {t} limit 1)"),
            "0",
        ),
        (
            format!(
                "select count(*) from (select v from {t} limit 1) a join {b} on a.v = b.v join {b2} on a.v = c.v",
                b2 = "(values (1)) c(v)"
            ),
            "0",
        ),
    ] {
        check(&[(&sql, &[expected])]).await;
    }
}

#[tokio::test]
async fn a_limit_of_a_table_leaves_fewer_rows_than_nulls() {
    let fixture = Fixture::new().await;
    let values: Int64Array = [None, None, None, Some(1)].into_iter().collect();
    let table = [("v", Arc::new(values) as ArrayRef, true)];
    let table = RecordBatch::try_from_iter_with_nullable(table).unwrap();
    fixture.append(&[("a.t", &[], table)]).await;
    fixture
        .check(&[
            ("select count(*) from (select v from a.t limit 1) a join a.t b on a.v = b.v", &["0"]),
            ("select count(*) from a.t b join (select v from a.t order by v limit 1) a on a.v = b.v", &["1"]),
            ("select count(*) from a.t b left join (select v from a.t limit 2) a on a.v = b.v", &["4"]),
            ("select count(*) from a.t where v in (select v from a.t order by v limit 1)", &["1"]),
        ])
        .await;
}

#[tokio::test]
async fn a_boolean_value_is_computed_once() {
    let with = "with t(v) as (values (1), (2)), u(v) as (values (1))";
    for (value, expected) in [
        (
            "coalesce((select count(*) = 0 from u where u.v = t.v), false)",
            ["1 | false", "2 | true"],
        ),
        (
            "coalesce((select bool_or(u.v = 1) from u where u.v = t.v), false)",
            ["1 | true", "2 | false"],
        ),
        (
            "case when (select count(*) = 0 from u where u.v = t.v) then true else false end",
            ["1 | false", "2 | true"],
        ),
        (
            "(select count(*) = 0 from u where u.v = t.v)",
            ["1 | false", "2 | true"],
        ),
        (
            "not (select count(*) = 0 from u where u.v = t.v)",
            ["1 | true", "2 | false"],
        ),
    ] {
        let select = format!("{with} select v, {value} from t order by v");
        check(&[(&select, &expected)]).await;
        let kept: Vec<&str> = expected
            .iter()
            .filter_map(|row| row.strip_suffix(" | true"))
            .collect();
        let filter = format!("{with} select v from t where {value}");
        check(&[(&filter, &kept)]).await;
    }
}

#[tokio::test]
async fn a_natural_outer_join_without_a_common_column_is_refused() {
    check_refused(&[
        (
            "select * from (values (1)) a(x) natural left join (select 2 as y where false) b",
            "sql_unsupported",
        ),
        (
            "select * from (values (1)) a(x) natural right join (select 2 as y where false) b",
            "sql_unsupported",
        ),
        (
            "select * from (values (1)) a(x) natural full join (select 2 as y where false) b",
            "sql_unsupported",
        ),
    ])
    .await;
    check(&[
        ("select a.x from (values (1)) a(x) natural left join (select 2 as x where false) b", &["1"]),
        ("select a.x from (values (1)) a(x) natural join (values (2)) b(y)", &["1"]),
        (
            "select a.x from (values (1), (2)) a(x) natural left join (values (1)) b(x), (values (3)) c(z) order by 1",
            &["1", "2"],
        ),
        ("select a.x from (values (1)) a(x) left join (select 2 as y where false) b on true", &["1"]),
    ])
    .await;
}
