//! Forms of SQL that people bring along from Postgres and others: they work, or are refused with what to write instead. The expected rows
//! are those of Postgres 18.

use crate::fixture::{Fixture, check};

async fn check_refused(cases: &[&str]) {
    let fixture = Fixture::new().await;
    for sql in cases {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "sql_unsupported", "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}: {error}");
        let has_place = error.message().starts_with(|c: char| c.is_ascii_digit());
        assert!(has_place, "{sql}: {error}");
    }
}

#[tokio::test]
async fn aggregates_of_postgres() {
    check(&[
        ("select any_value(x), any_value(x) filter (where x > 1) from (values (null),(1)) t(x)", &["1 |"]),
        ("select variance(x) = var_samp(x), var_samp(x) > 2.3, variance(distinct x) filter (where x > 1) from (values (1),(2),(4)) t(x)", &["true | true | 2.0"]),
        ("select percentile_disc(0.5) within group (order by x), percentile_disc(0.25) within group (order by x desc), percentile_disc(0) within group (order by x), percentile_disc(1) within group (order by x) from (values (1),(2),(4),(null)) t(x)", &["2 | 4 | 1 | 4"]),
        ("select k, percentile_disc(0.5) within group (order by x) filter (where x > 1), count(*) from (values ('a',1),('a',2),('b',3),('b',5),('b',1)) t(k,x) group by k order by k", &["a | 2 | 2", "b | 3 | 3"]),
        ("select percentile_disc(0.5) within group (order by x) from (values (null::int)) t(x)", &[""]),
        ("select percentile_disc(0.5) within group (order by x) from (values ('b'),('a'),('c')) t(x)", &["b"]),
    ])
    .await;
    check_refused(&[
        "select mode() within group (order by x) from (values (1)) t(x)",
        "select percentile_disc(1.5) within group (order by x) from (values (1)) t(x)",
        "select sum(x) over (order by x rows unbounded preceding exclude current row) from (values (1)) t(x)",
    ])
    .await;
}

#[tokio::test]
async fn format_writes_texts_names_and_literals() {
    check(&[
        ("select format('Hello %s, %s', 'a', 1), format('%2$s %1$s %s %%', 'a', 'b'), format(null, 1), format('x', 5)", &["Hello a, 1 | b a b % |  | x"]),
        ("select format('%I %I %L %L', 'abc', 'Ab\"c', 'it''s', null), format('%s', 1.50, 2), format('%s %s', true, date '2024-01-01')", &["abc \"Ab\"\"c\" 'it''s' NULL | 1.50 | true 2024-01-01"]),
        ("select format('%s-%s', x, y) from (values (1,'a'),(null,'b')) t(x,y)", &["1-a", "-b"]),
    ])
    .await;
    let fixture = Fixture::new().await;
    for sql in [
        "select format('%d', 1)",
        "select format('%s')",
        "select format('x%')",
        "select format('%0$s', 1)",
        "select format('%I', null)",
    ] {
        assert_eq!(fixture.failure(sql).await.code(), "sql_value", "{sql}");
    }
    let large = "select length(format(repeat('%1$s', 100000), repeat('x', 100000)))";
    assert_eq!(fixture.failure(large).await.code(), "sql_value_too_large");
}

#[tokio::test]
async fn ages_are_counted_by_the_calendar() {
    check(&[
        ("select age(timestamp '2024-03-01 00:00:00', timestamp '2023-01-15 00:00:00') = interval '1 year 1 month 17 days'", &["true"]),
        ("select extract(month from a), extract(day from a), extract(hour from a) from (select age(timestamp '2024-02-29 10:00:00', timestamp '2024-01-31 12:00:00') as a) t", &["0 | 28 | 22"]),
        ("select extract(month from a), extract(day from a) from (select age(timestamp '2024-03-30 12:00:00', timestamp '2024-05-01 10:00:00') as a) t", &["-1 | -1"]),
        ("select extract(year from a), extract(month from a), extract(day from a) from (select age('2020-02-29', date '2000-03-01') as a) t", &["19 | 11 | 28"]),
        ("select age(null, date '2024-01-01'), age(current_date) = interval '0 days'", &[" | true"]),
    ])
    .await;
}

#[tokio::test]
async fn clauses_of_standard_sql() {
    check(&[
        ("select x from (values (1),(2),(3)) t(x) order by x fetch first 2 rows only", &["1", "2"]),
        ("select x from (values (1),(2),(3)) t(x) order by x offset 1 rows fetch next row only", &["2"]),
        ("select x from (select x from (values (1),(2)) t(x) order by x desc fetch first 1 row only) u", &["2"]),
        ("(select 1 as a union all select 2) order by a desc fetch first row only", &["2"]),
        ("select x from (values ('b'),('a'),('C')) t(x) order by x collate \"C\"", &["C", "a", "b"]),
        ("select 'a' collate \"POSIX\" < 'b' and true", &["true"]),
    ])
    .await;
    check_refused(&[
        "select x from (values (1)) t(x) order by x fetch first 1 rows with ties",
        "select x from (values (1)) t(x) order by x fetch first 10 percent rows only",
        "select x from (values (1)) t(x) order by x limit 1 fetch first 1 rows only",
        "select x from (values ('a')) t(x) order by x collate \"de_DE\"",
    ])
    .await;
}

#[tokio::test]
async fn several_columns_side_by_side() {
    check(&[
        ("select x from (values (1,2),(3,4)) t(x,y) where (x,y) = (1,2)", &["1"]),
        ("select (1,null) = (1,null), (1,null) = (2,null), (1,2) <> (1,null), (1,2) <> (2,null)", &[" | false |  | true"]),
        ("select (1,null) in ((1,null)), (1,2) not in ((1,3),(2,null)), (1,2) in ((1,2),(5,6)), (1,2) not in ((1,null))", &[" | true | true |"]),
        ("select x from (values (1,2),(3,4),(null,4)) t(x,y) where (x,y) in (select 1, 2 union all select 3, null) or x = 3 order by x", &["1", "3"]),
        ("select x from (values (1,2),(3,4)) t(x,y) where y > 1 and (x,y) in (select a, max(b) from (values (1,2),(1,0),(3,1)) u(a,b) group by a)", &["1"]),
        ("select x from (values (1,2),(3,4)) t(x,y) where (x, y) in (select x, y from (values (3,4)) u(x,y))", &["3"]),
        ("select x from (values (1,2),(3,4)) t(x,y) where (x,y) not in (select 1, 2)", &["3"]),
        ("select (x,y) in (select 1, 2) from (values (1,2)) t(x,y)", &["true"]),
    ])
    .await;
    check_refused(&["select x from (values (1,2)) t(x,y) where (x,y) = (select 1, 2)"]).await;
}
