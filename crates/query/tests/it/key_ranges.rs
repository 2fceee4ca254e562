//! Ranges of values leave out no row: of nulls that are taken as equal, and of lists and structs.

use crate::changes::change;
use crate::fixture::{Fixture, check};

async fn of_files(statements: &[&str]) -> Fixture {
    let fixture = Fixture::new().await;
    let session = fixture.changes();
    for sql in statements {
        change(&session, sql).await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn nulls_that_are_equal_are_found_beside_distant_values() {
    let some = |by: u32| {
        format!(
            "select case when x%10=0 then null else x+{by} end k, case when x%10=0 then null else 't'||(x+{by}) end t from generate_series(1,1000) s(x)"
        )
    };
    let (c, d) = (
        format!("create table s.c as {}", some(0)),
        format!("create table s.d as {}", some(5_000)),
    );
    let fixture = of_files(&[&c, &d]).await;
    fixture
        .check(&[
            ("select count(*) from s.c join s.d on c.k is not distinct from d.k", &["10000"]),
            ("select count(*) from s.c join s.d on c.t is not distinct from d.t", &["10000"]),
            ("select count(*) from s.c where exists (select 1 from s.d where d.k is not distinct from c.k)", &["100"]),
            ("select count(*) from (select k from s.c intersect select k from s.d)", &["1"]),
            ("select k from s.c intersect select k from s.d", &[""]),
            ("select count(*) from (select k from s.c except select k from s.d)", &["900"]),
            ("select count(*) from s.c right join s.d on c.k is not distinct from d.k where c.k is null", &["10900"]),
            ("select count(*) from s.c join s.d on c.k = d.k", &["0"]),
        ])
        .await;
}

#[tokio::test]
async fn nested_values_are_sorted_and_limited_as_they_are_sorted() {
    let fixture = of_files(&[
        "create table s.l as select [10] l, {'a': 10} r",
        "insert into s.l select [20], {'a': 20}",
        "insert into s.l select [5], {'a': 5}",
        "insert into s.l select [null]::bigint[], {'a': null::bigint}",
        "insert into s.l select [30], {'a': 30}",
    ])
    .await;
    fixture
        .check(&[
            ("select l from s.l order by l limit 2", &["[5]", "[10]"]),
            ("select l from s.l order by l desc limit 2", &["[]", "[30]"]),
            (
                "select r['a'] from s.l order by r limit 3",
                &["5", "10", "20"],
            ),
            ("select l from s.l order by l limit 1 offset 3", &["[30]"]),
        ])
        .await;
}

#[tokio::test]
async fn nested_keys_of_a_join_are_all_found() {
    let fixture = of_files(&[
        "create table s.k as select * from (values (10),(20)) v(n)",
        "insert into s.k values (null),(40)",
        "insert into s.k values (50)",
        "insert into s.k values (60)",
    ])
    .await;
    fixture
        .check(&[
            (
                "select count(*) from s.k a join s.k b on [a.n] = [b.n]",
                &["6"],
            ),
            (
                "select count(*) from s.k a join s.k b on {'n': a.n} = {'n': b.n}",
                &["6"],
            ),
        ])
        .await;
}

#[tokio::test]
async fn extremes_of_nested_values_do_not_depend_on_the_order_of_rows() {
    let mut cases = Vec::new();
    for rows in ["(null),(1),(2)", "(1),(null),(2)", "(2),(1),(null)"] {
        cases.push(format!(
            "select max({{'a':n}})['a'], min({{'a':n}})['a'], max([n])[1], min([n])[1] from (values {rows}) v(n)"
        ));
        cases.push(format!(
            "select distinct max({{'a':n}}) over ()['a'], min({{'a':n}}) over ()['a'], max([n]) over ()[1], min([n]) over ()[1] from (values {rows}) v(n)"
        ));
    }
    let cases: Vec<(&str, &[&str])> = cases
        .iter()
        .map(|sql| (sql.as_str(), &[" | 1 |  | 1"] as &[&str]))
        .collect();
    check(&cases).await;
    check(&[
        ("select max(l), min(l) from (values ([[1]]),([[2]])) v(l)", &["[[2]] | [[1]]"]),
        ("select g, max(l) from (values ('a',[1]),('b',[3]),('a',[2]),('b',null)) v(g,l) group by g order by g", &["a | [2]", "b | [3]"]),
        ("select max(l) from (values (null::bigint[])) v(l)", &[""]),
        ("select x, min([x]) over (order by x rows between 1 preceding and current row) from (values (1),(2),(3)) v(x)", &["1 | [1]", "2 | [1]", "3 | [2]"]),
    ])
    .await;
}
