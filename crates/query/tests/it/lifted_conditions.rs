//! Conditions on the row outside that mean something else once they are lifted above an outer join or a grand total.

use crate::fixture::{check, check_refused};

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
