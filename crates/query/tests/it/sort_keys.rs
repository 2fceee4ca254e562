//! Names in `ORDER BY` and `DISTINCT ON`: by itself the output column, in an expression the column of the tables. The rows are those of
//! Postgres 18.

use crate::fixture::check;

const ROWS: &str = "(values (1,3,'a'),(2,2,'b'),(3,1,'a')) o(id,n,g)";

#[tokio::test]
async fn a_name_within_an_expression_is_a_column_of_the_tables() {
    let cases: Vec<(String, &[&str])> = vec![
        (
            format!("select id, -n as n from {ROWS} order by n + 0 limit 1"),
            &["3 | -1"],
        ),
        (
            format!("select id, -n as n from {ROWS} order by n limit 1"),
            &["1 | -3"],
        ),
        (
            format!("select id, -n as n from {ROWS} order by -n, id desc limit 2"),
            &["1 | -3", "2 | -2"],
        ),
        (
            format!("select id, -o.n as n from {ROWS} order by o.n * 2 offset 2"),
            &["1 | -3"],
        ),
        (
            format!("select g, max(n) as n from {ROWS} group by g order by max(n) desc"),
            &["a | 3", "b | 2"],
        ),
        (
            format!("select coalesce(o.n, o.id) as n from {ROWS} order by coalesce(o.n, o.id)"),
            &["1", "2", "3"],
        ),
        (
            format!("select id, n * 10 as m from {ROWS} order by m desc, n limit 1"),
            &["1 | 30"],
        ),
        (
            format!("select count(*) over (), -n as n from {ROWS} order by abs(n) limit 1"),
            &["3 | -1"],
        ),
        (
            format!(
                "select * from (select id, -n as n from {ROWS} order by n + 0 limit 2) x order by id"
            ),
            &["2 | -2", "3 | -1"],
        ),
        (
            format!(
                "select upper(g) as g, count(*) from {ROWS} group by o.g order by o.g || 'x' desc"
            ),
            &["B | 1", "A | 2"],
        ),
    ];
    let cases: Vec<(&str, &[&str])> = cases
        .iter()
        .map(|(sql, rows)| (sql.as_str(), *rows))
        .collect();
    check(&cases).await;
}

#[tokio::test]
async fn distinct_on_takes_the_output_column_by_its_name() {
    check(&[
        ("select distinct on (id) id, to_date(d,'DD.MM.YYYY') as d, v from (values (1,'05.12.2023','old'),(1,'01.02.2024','new')) e(id,d,v) order by id, d desc", &["1 | 2024-02-01 | new"]),
        ("select distinct on (n) n % 2 as n, id from (values (1,3),(2,2),(3,1)) o(id,n) order by n, id", &["0 | 2", "1 | 1"]),
        ("select distinct on (g) g, n from (values ('a',2),('a',1),('b',3)) o(g,n) order by g, n", &["a | 1", "b | 3"]),
    ])
    .await;
}
