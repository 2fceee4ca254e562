//! `x < ANY (SELECT …)` and `x >= ALL (SELECT …)`, and memberships with another condition over the same columns. The expected rows are
//! those of Postgres.

use crate::changes::change;
use crate::fixture::{Fixture, check, check_refused};

const A: &str = "with a(id, k) as (values (1, 10), (2, 20), (3, 30), (4, null))";

async fn check_over_a(cases: &[(&str, &[&str])]) {
    let cases: Vec<(String, &[&str])> = cases
        .iter()
        .map(|(sql, rows)| (format!("{A} {sql}"), *rows))
        .collect();
    let cases: Vec<(&str, &[&str])> = cases
        .iter()
        .map(|(sql, rows)| (sql.as_str(), *rows))
        .collect();
    check(&cases).await;
}

#[tokio::test]
async fn two_columns_of_a_table_beside_a_comparison() {
    let fixture = Fixture::new().await;
    let made = "create table s.u as select * from (values (1,10,'p'),(2,20,'q')) v(id,n,k)";
    change(&fixture.changes(), made).await.unwrap();
    fixture
        .check(&[
            (
                "select id, k from s.u where n < any (select n from s.u)",
                &["1 | p"],
            ),
            (
                "select k, id from s.u where not n < any (select n from s.u)",
                &["q | 2"],
            ),
            (
                "select id, k, n from s.u a where exists (select 1 from s.u b where b.n > a.n)",
                &["1 | p | 10"],
            ),
        ])
        .await;
}

#[tokio::test]
async fn a_table_of_one_name_inside_and_outside() {
    check_over_a(&[
        ("select id from a where id = any (select id from a where id in (2, 3)) order by id", &["2", "3"]),
        ("select id from a where id = some (select id from a where id in (2, 3)) order by id", &["2", "3"]),
        ("select id from a where a.id <> all (select a.id from a where a.id in (2, 3)) order by id", &["1", "4"]),
        ("select id from a where id < any (select id from a where id in (2, 3)) order by id", &["1", "2"]),
        ("select id from a where id <= any (select id from a where id in (2, 3)) order by id", &["1", "2", "3"]),
        ("select id from a where id > any (select id from a where id in (2, 3)) order by id", &["3", "4"]),
        ("select id from a where id >= any (select id from a where id in (2, 3)) order by id", &["2", "3", "4"]),
        ("select id from a where id <> any (select id from a where id = 2) order by id", &["1", "3", "4"]),
        ("select id from a where id < all (select id from a where id in (2, 3)) order by id", &["1"]),
        ("select id from a where id <= all (select id from a where id in (2, 3)) order by id", &["1", "2"]),
        ("select id from a where id > all (select id from a where id in (2, 3)) order by id", &["4"]),
        ("select id from a where id >= all (select id from a where id in (2, 3)) order by id", &["3", "4"]),
        ("select id from a where id = all (select id from a where id = 2) order by id", &["2"]),
        ("select id from a as x where x.id > all (select x.id from a as x where x.id < 3) order by id", &["3", "4"]),
        ("select id from a where id + 1 > all (select id from a where id < 3 union all select 3) order by id", &["3", "4"]),
        ("select id from a where id > all (select max(id) - 1 from a) order by id", &["4"]),
    ])
    .await;
}

#[tokio::test]
async fn nulls_and_no_rows_are_as_in_the_standard() {
    check_over_a(&[
        ("select id, k > any (select k from a) from a order by id", &["1 |", "2 | true", "3 | true", "4 |"]),
        ("select id, k > all (select k from a) from a order by id", &["1 | false", "2 | false", "3 | false", "4 |"]),
        ("select id, k >= all (select k from a where id > 2) from a order by id", &["1 | false", "2 | false", "3 |", "4 |"]),
        ("select id, k > any (select k from a where false), k > all (select k from a where false) from a order by id", &["1 | false | true", "2 | false | true", "3 | false | true", "4 | false | true"]),
        ("select id, k = any (select k from a where id > 2), k <> all (select k from a where id > 2) from a order by id", &["1 |  |", "2 |  |", "3 | true | false", "4 |  |"]),
        ("select id from a where not (k > any (select k from a where k < 20)) order by id", &["1"]),
        ("select id from a where k < all (select k from a where k > 20) order by id", &["1", "2"]),
        ("select id from a where k < all (select k from a where k > 99) order by id", &["1", "2", "3", "4"]),
        ("select id from a where k > any (select null::bigint) is null order by id", &["1", "2", "3", "4"]),
    ])
    .await;
}

#[tokio::test]
async fn in_every_place_of_a_statement() {
    check_over_a(&[
        ("select id % 2 as p from a group by id % 2 having count(*) >= all (select count(*) from a group by id % 2) order by p", &["0", "1"]),
        ("select id % 2 as p from a group by id % 2 having sum(id) > any (select sum(id) from a group by id % 2)", &["0"]),
        ("select sum(case when id > all (select id from a where id < 3) then 1 else 0 end) as n from a", &["2"]),
        ("select case when id = any (select id from a where id = 3) then 'x' else 'y' end as c from a order by id", &["y", "y", "x", "y"]),
        ("select id from a order by id > any (select id from a where id = 2) desc, id", &["3", "4", "1", "2"]),
        ("select a.id from a join a b on a.id = b.id and a.id > all (select id from a where id < 3) order by 1", &["3", "4"]),
        ("select id from a where id > all (select b.id from a b where b.id < a.id) order by id", &["1", "2", "3", "4"]),
        ("select id from a where id < any (select b.id from a b where b.k = a.k + 10) order by id", &["1", "2"]),
        ("select id from a where id = any (select id from a where id > any (select id from a where id > 1)) order by id", &["3", "4"]),
        ("select id from a where id = 1 or id > all (select id from a where id < 4) order by id", &["1", "4"]),
        ("select id from a where id * 1.5 > all (select id from a where id < 4) order by id", &["3", "4"]),
    ])
    .await;
    check_refused(&[
        ("select 1 where 1 = any (select 1, 2)", "bad_sql"),
        ("select 1 where 1 + any (select 1)", "bad_sql"),
    ])
    .await;
}

#[tokio::test]
async fn over_rows_of_any_form() {
    check_over_a(&[
        ("select id from a where id >= all (select distinct b.id + 0 as id from a b where b.id <= a.id) order by id", &["1", "2", "3", "4"]),
        ("select id from a where id > any (select distinct id from a where id > 2)", &["4"]),
        ("select id from a where id >= all (select max(b.id) as id from a b where b.id = a.id group by b.id % 2) order by id", &["1", "2", "3", "4"]),
        ("select id from a where id > all (select id from a where id < 2 union select 3)", &["4"]),
        ("select id from a where id <= all (select id from a order by id desc limit 3) order by id", &["1", "2"]),
        ("select id from a where id > all (select row_number() over (order by id) - 1 from a)", &["4"]),
        ("select id from a where (select max(id) from a) > all (select id from a where id < 3) order by id", &["1", "2", "3", "4"]),
        ("select id, (select count(*) from a b where b.id < any (select c.id from a c)) n from a order by id", &["1 | 3", "2 | 3", "3 | 3", "4 | 3"]),
    ])
    .await;
}

#[tokio::test]
async fn over_the_one_row_of_an_aggregate() {
    check_over_a(&[
        ("select id from a where k >= all (select max(b.k) from a b where b.id <= a.id) order by id", &["1", "2", "3"]),
        ("select id, k < any (select sum(b.k) from a b where b.id < a.id) r from a order by id", &["1 |", "2 | false", "3 | false", "4 |"]),
        ("select id from a where id > all (select count(*) from a b where b.id < a.id and b.k > 10) order by id", &["1", "2", "3", "4"]),
        ("select id from a where id = any (select count(*) + 1 from a b where b.id <> a.id and b.k is null) order by id", &["2"]),
        ("select id from a where id = 4 or k > all (select min(b.k) from a b where b.id <= a.id) order by id", &["2", "3", "4"]),
        ("select id from a where id <= all (select min(b.id) as m from a b where b.id >= a.id order by m) order by id", &["1", "2", "3", "4"]),
        ("select sum(case when k >= all (select max(b.k) from a b where b.id <= a.id) then 1 else 0 end) n from a", &["3"]),
    ])
    .await;
}

#[tokio::test]
async fn a_membership_keeps_another_condition_over_its_columns() {
    let tables = "with t1(id) as (values (1), (2), (3)), t2(id) as (values (1), (2), (3))";
    for (condition, expected) in [
        ("t2.id > t1.id", &[] as &[&str]),
        ("t2.id < t1.id", &[]),
        ("t1.id < t2.id", &[]),
        ("t2.id <> t1.id", &[]),
        ("not (t2.id = t1.id)", &[]),
        ("t2.id is distinct from t1.id", &[]),
        ("t2.id >= t1.id", &["1", "2", "3"]),
        ("t2.id = t1.id and t2.id > 1", &["2", "3"]),
        ("t1.id is not distinct from t2.id", &["1", "2", "3"]),
    ] {
        for membership in ["in", "= any"] {
            let from = format!(
                "{tables} select t1.id from t1 where t1.id {membership} (select t2.id from t2 where {condition})"
            );
            check(&[(&format!("{from} order by 1"), expected)]).await;
            let or = format!("{from} or t1.id = 1 order by 1");
            let expected: Vec<&str> = match expected.contains(&"1") {
                true => expected.to_vec(),
                false => [&["1"], expected].concat(),
            };
            check(&[(&or, &expected)]).await;
        }
    }
}
