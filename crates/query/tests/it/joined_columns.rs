//! `*` over joins with `USING`: one column for each of the list, of the left side, in the order of the standard. The rows are those of
//! Postgres 18, whichever table has the name that sorts first.

use crate::changes::change;
use crate::fixture::{Fixture, check, check_refused};

const ORDERS: &str = "(values (1,'ann'),(2,'bob')) orders(id,who)";
const INVOICES: &str = "(values (9.5,1)) invoices(total,id)";
const NOTES: &str = "(values (2,'late')) a_notes(id,note)";

#[tokio::test]
async fn a_row_without_a_partner_keeps_its_key() {
    let joined = format!("{ORDERS} left join {INVOICES} using (id)");
    let chained = format!("{joined} left join {NOTES} using (id)");
    let cases: Vec<(String, &[&str])> = vec![
        (
            format!("select * from {joined} order by 1"),
            &["1 | ann | 9.5", "2 | bob |"],
        ),
        (
            format!("select sum(id) from (select * from {joined})"),
            &["3"],
        ),
        (
            format!("select who from (select * from {joined}) x where id = 2"),
            &["bob"],
        ),
        (
            format!(
                "select who from {joined} where id = 2 and exists (select id from {NOTES} where id = 2)"
            ),
            &["bob"],
        ),
        (
            format!("select distinct * from {joined} where who = 'bob'"),
            &["2 | bob |"],
        ),
        (
            format!("select *, 1 as one from {joined} where who = 'bob'"),
            &["2 | bob |  | 1"],
        ),
        (
            format!("select * from {chained} order by 1"),
            &["1 | ann | 9.5 |", "2 | bob |  | late"],
        ),
        (
            format!("select * from {INVOICES} join {ORDERS} using (id)"),
            &["1 | 9.5 | ann"],
        ),
        (
            format!(
                "select a_notes.*, orders.who from {ORDERS} left join {NOTES} using (id) order by 3"
            ),
            &[" |  | ann", "2 | late | bob"],
        ),
        (
            format!(
                "select * from {ORDERS} left join {INVOICES} using (id) left join (values (9.5,'x')) b(total,y) using (total) order by 1"
            ),
            &["1 | ann | 9.5 | x", "2 | bob |  |"],
        ),
        (
            format!(
                "select * from (values (7)) z(n), {ORDERS} left join {INVOICES} using (id) where who = 'bob'"
            ),
            &["7 | 2 | bob |"],
        ),
    ];
    let cases: Vec<(&str, &[&str])> = cases
        .iter()
        .map(|(sql, rows)| (sql.as_str(), *rows))
        .collect();
    check(&cases).await;
}

#[tokio::test]
async fn tables_of_the_lake_and_of_other_states() {
    let fixture = Fixture::new().await;
    let session = fixture.changes();
    for sql in [
        "create table s.orders as select * from (values (1,'ann'),(2,'bob')) v(id,who)",
        "create table s.invoices as select * from (values (1,9.5)) v(id,total)",
        "create table s.copy as select * from s.orders left join s.invoices using (id)",
    ] {
        change(&session, sql).await.unwrap();
    }
    fixture
        .check(&[
            ("select * from s.orders left join s.invoices using (id) order by 1", &["1 | ann | 9.5", "2 | bob |"]),
            ("select id from s.copy order by id", &["1", "2"]),
            ("select * from s.orders o left join s.invoices for system_time as of '2026-12-31' i using (id) order by 1", &["1 | ann | 9.5", "2 | bob |"]),
        ])
        .await;
}

#[tokio::test]
async fn what_the_statement_does_not_tell_is_refused() {
    let natural = format!("select * from {ORDERS} natural left join {INVOICES}");
    let excluded = format!("select * exclude (who) from {ORDERS} left join {INVOICES} using (id)");
    check_refused(&[
        (&natural, "sql_unsupported"),
        (&excluded, "sql_unsupported"),
    ])
    .await;
}
