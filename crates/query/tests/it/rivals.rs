//! Wrong answers that other engines were reported for, asked of this one: the expected rows are those of Postgres.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

use crate::fixture::Fixture;

fn table(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    let columns = columns
        .iter()
        .map(|(name, array)| (*name, array.clone(), true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn whole(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// `o`: the outer table; `i`: one with a null; `f`: floats; `s`: texts; `x`: extremes; `e`: no rows.
async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let outer = table(&[
        ("id", whole(&[Some(1), Some(2), Some(3), None])),
        ("g", whole(&[Some(1), Some(2), Some(3), Some(1)])),
    ]);
    let inner = table(&[
        ("id", whole(&[Some(1), None, Some(5)])),
        ("g", whole(&[Some(1), Some(2), Some(3)])),
    ]);
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![
        Some(0.0),
        Some(f64::NAN),
        Some(-1.0),
        Some(f64::NEG_INFINITY),
        None,
    ]));
    let floats = table(&[
        ("id", whole(&[Some(1), Some(2), Some(3), Some(4), Some(5)])),
        ("k", whole(&[Some(1), Some(1), Some(1), Some(2), Some(2)])),
        ("x", floats),
    ]);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
    let texts = table(&[("id", whole(&[Some(1), Some(2), Some(3)])), ("s", texts)]);
    let series = table(&[("a", whole(&[3, 7, 1, 9, 5, 2, 8].map(Some)))]);
    let extremes = [Some(i64::MAX), Some(i64::MIN), Some(5), None];
    let extremes = table(&[("a", whole(&extremes))]);
    let rows = [
        ("r.o", &[] as &[&str], outer.clone()),
        ("r.i", &[], inner),
        ("r.f", &[], floats),
        ("r.s", &[], texts),
        ("r.n", &[], series),
        ("r.x", &[], extremes),
    ];
    fixture.append(&rows).await;
    fixture
}

/// Reports, statements and rows.
type Reported = (&'static str, &'static str, &'static [&'static str]);

async fn check(reported: &[Reported]) {
    let fixture = lake().await;
    let mut wrong = Vec::new();
    for (report, sql, expected) in reported {
        let found = crate::fixture::rows(&fixture.query(), sql).await;
        let is_right = found.as_ref().is_ok_and(|rows| rows == expected);
        if !is_right {
            wrong.push(format!("{report}: {sql}\n  {found:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn membership_in_a_subquery_knows_unknown() {
    check(&[
        ("datafusion#8241", "select id from r.o where id not in (select id from r.i)", &[]),
        ("datafusion#25347", "select id from r.o where 3 not in (select id from r.i where r.i.g = r.o.g) order by id", &["1", "3", ""]),
        ("datafusion#25347", "select g from r.o where id not in (select id from r.i where r.i.g = r.o.g) order by g", &["3"]),
        ("datafusion#25340", "select id from r.o where 3 not in (select id from r.i)", &[]),
        ("datafusion#25340", "select id from r.o where not (3 in (select id from r.i))", &[]),
        ("datafusion#25340", "select id from r.o where 3 not in (select id from r.i) or id = 1", &["1"]),
        ("datafusion#25340", "select id from r.o where (3 not in (select id from r.i)) is null order by id", &["1", "2", "3", ""]),
        ("datafusion#25473", "select id from r.o where cast(null as bigint) not in (select id from r.i where id is not null)", &[]),
        ("datafusion#25473", "select id from r.o where cast(null as bigint) not in (select id from r.i where id = 77) order by id", &["1", "2", "3", ""]),
        ("datafusion#23410", "select id from r.o where id <> 1 and id not in (select id from r.i)", &[]),
        ("datafusion#10583", "select id from r.o where (id not in (select id from r.i)) = true", &[]),
        ("membership below OR", "select id from r.o where id in (select id from r.i) or g = 3 order by id", &["1", "3"]),
        ("membership below CASE", "select id from r.o where case when id in (select id from r.i) then true else g = 3 end order by id", &["1", "3"]),
    ])
    .await;
}

#[tokio::test]
async fn what_the_engine_simplifies_means_what_was_written() {
    check(&[
        ("joins as one", "select count(*) from (values (1),(null)) a(x) join (values (1),(null)) b(y) on a.x is not distinct from b.y join (values (7)) c(z) on true", &["2"]),
        ("joins as one", "select count(*) from r.o join r.i on r.o.id is not distinct from r.i.id cross join r.s", &["6"]),
        ("lists as one", "select x from (values (1),(2)) v(x) where x in (1,2) and x not in (1,null)", &[]),
        ("lists as one", "select x from (values (1),(2),(3)) v(x) where (x not in (1,null) or x not in (2,3)) is null order by x", &["2", "3"]),
        ("lists as one", "select x from (values (1),(2)) v(x) where x in (1,null) order by x", &["1"]),
        ("patterns", "select count(*) from (values ('a'),('')) v(x) where x !~ '.*'", &["0"]),
        ("patterns", "select count(*) from (values ('a'),(null)) v(x) where not (x ~ '.*')", &["0"]),
        ("patterns", "select x from (values ('a'),('A'),('b')) v(x) where x ~* '^A$' order by x", &["A", "a"]),
        ("patterns", "select x from (values ('a'),('A'),('b')) v(x) where x !~* '^A$' order by x", &["b"]),
        ("a row without a source", "select coalesce((select 5 where false), 9)", &["9"]),
        ("a value without a row", "select coalesce((select 5 where x > 1), 9) from (values (1), (2)) v(x) order by x", &["9", "5"]),
        ("a row without a source", "select 1 where (select 1 where false) is null", &["1"]),
        ("a row without a source", "select (select x from (values (1)) a(x) where x > 5) is null, 7", &["true | 7"]),
        ("windows over a filter", "select x, sum(x) over (order by x) from (values (1),(2)) v(x) where x not in (select 1)", &["2 | 2"]),
        ("windows over a filter", "select x, row_number() over (order by x) from (values (1),(2),(3)) v(x) where x in (select 1) or x in (select 3) order by x", &["1 | 1", "3 | 2"]),
        ("signs", "select -2 ^ 2 = 4, -(2 ^ 2) = -4, -2 ^ 2 ^ 3 = 64, 3 - 2 ^ 2 = -1", &["true | true | true | true"]),
        ("signs", "select (timestamp '2024-03-31 00:00:00' + (- interval '1 month 2 days'))::date = date '2024-02-27'", &["true"]),
        ("signs", "select (timestamp '2024-03-31 00:00:00' - - interval '-1 month -1 day')::date = date '2024-02-28'", &["true"]),
        ("estimates", "select count(*) from r.x where a < 9223372036854775807", &["2"]),
        ("estimates", "select count(*) from r.x where a = -9223372036854775808", &["1"]),
        ("estimates", "select count(*) from r.x where a > -9223372036854775808 and a <= 5", &["1"]),
    ])
    .await;
}

#[tokio::test]
async fn limits_and_orders_of_subqueries_keep_their_rows() {
    check(&[
        ("datafusion#24958", "select count(*) from (select * from (select a from r.n limit 4 offset 3) order by a)", &["4"]),
        ("datafusion#24958", "select a from (select a from r.n order by a desc limit 3 offset 2) x order by a", &["3", "5", "7"]),
        ("datafusion#12423", "select a, count(*) from r.n group by a order by a desc offset 1 limit 2", &["8 | 1", "7 | 1"]),
        ("qlever#3164", "select * from (select a from r.n union all select a from r.n order by a limit 3 offset 1) x order by a", &["1", "2", "2"]),
        ("duckdb#23676", "select id from (select id, row_number() over (order by x asc nulls last) as n from r.f) x where n <= 3 order by id", &["1", "3", "4"]),
        ("duckdb#24363", "select count(*) from (select a, row_number() over (partition by a order by null) as n from r.n) x where n <= 7", &["7"]),
        ("citus#7684", "select distinct on (k) k, id from r.f order by k, x desc nulls last", &["1 | 2", "2 | 4"]),
    ])
    .await;
}

#[tokio::test]
async fn outer_joins_and_correlated_counts_keep_their_nulls() {
    check(&[
        ("datafusion#13211", "select r.o.id from r.o left join r.i on r.o.id = r.i.id where abs(r.i.id) > 5", &[]),
        ("datafusion#10881", "select r.o.id, r.i.g from r.o left join r.i on r.o.id = r.i.id and (r.i.g > 5 or r.o.g > 5) order by 1", &["1 |", "2 |", "3 |", " |"]),
        ("datafusion#13156", "select count(*) from r.o left join r.i on r.o.id = r.i.id where r.o.g = 2", &["1"]),
        ("axiom#846", "select g, (select count(*) from r.i where r.i.id = r.o.id) as c from r.o order by g, c", &["1 | 0", "1 | 1", "2 | 0", "3 | 0"]),
        ("tidb#66619", "select g, (select count(*) from r.i where r.i.id = r.o.id having count(*) > 0) as c from r.o order by g, c nulls first", &["1 |", "1 | 1", "2 |", "3 |"]),
        ("clickhouse#111615", "select g from r.o where (select count(*) from r.i where r.i.id = r.o.id) = 0 order by g", &["1", "2", "3"]),
    ])
    .await;
}

#[tokio::test]
async fn filters_and_sets_keep_their_meaning() {
    let fixture = lake().await;
    check(&[
        ("datafusion#20303", "select x.id, y.id from r.o x right join r.i y on x.g = y.g where coalesce(x.id, 0) = coalesce(y.id, 0)", &["1 | 1"]),
        ("datafusion#20303", "select x.id, y.id from r.o x right join (select * from r.i where coalesce(id > 0, true)) y on x.g = y.g where coalesce(x.id, 7) = coalesce(y.id, 7)", &["1 | 1"]),
        ("datafusion#20303", "select x.id, y.id from r.o x join r.i y on x.g = y.g order by y.id desc nulls last limit 1", &["3 | 5"]),
        ("IS DISTINCT FROM before AND", "select g from r.o where id is not distinct from null and g = 1", &["1"]),
        ("IS DISTINCT FROM before OR", "select count(*) from r.o where id is distinct from 1 and g > 1 or g is not distinct from 3 and id = 3", &["2"]),
        ("IS DISTINCT FROM after AND", "select count(*) from (values (false, true, true), (true, true, false)) t(x, a, c) where x and a is distinct from null or c", &["2"]),
        ("IS DISTINCT FROM after AND", "select count(*) from (values (false, true), (true, false)) t(x, c) where x and x is distinct from true or c", &["1"]),
        ("IS DISTINCT FROM after NOT", "select count(*) from (values (true, false)) t(x, c) where not x is distinct from false and c", &["0"]),
        ("ntile", "select a, ntile(3) over (order by a) from r.n order by a", &["1 | 1", "2 | 1", "3 | 1", "5 | 2", "7 | 2", "8 | 3", "9 | 3"]),
        ("decimals of 38 digits beside others", "select w > 8.13, w = -0.01, w between -0.5 and 0.5 from (values (99999999999999999999999999999999999999), (0)) t(w) order by w", &["false | false | true", "true | false | false"]),
        ("dates in timestamps", "select count(*) from (values (date '0001-01-01'), (date '9999-12-31')) t(d) where d in (select cast(timestamp '9999-12-31 00:00:00' as timestamp))", &["1"]),
        ("decimals in doubles", "select count(*) from (values (8.13), (0.1)) t(d) where d not in (select 1e300)", &["2"]),
        ("round beside a decimal", "select greatest(d, round(d, 1)) from (values (2.25), (2.24)) t(d) order by 1", &["2.24", "2.30"]),
    ])
    .await;
    for sql in [
        "select 1 except all select 2",
        "select 1 union (select 2 intersect all select 1)",
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "sql_unsupported", "{sql}: {error}");
    }
}

#[tokio::test]
async fn simplified_expressions_keep_nulls() {
    check(&[
        ("datafusion#24246", "select id in (1) and id in (2) as a, id not in (1) or id not in (2) as b from r.o where id is null", &[" |"]),
        ("datafusion#24246", "select log(x, 1.0) from r.f where x is null", &[""]),
        ("datafusion#24246", "select array_has([id, 1], 2), array_has([g, 2], 2) from r.o where id is null", &["false | true"]),
        ("datafusion#24096", "select count(*) filter (where s is true), count(*) filter (where s is true and id > 0) from (select id, s = 'a' as s from r.s) x", &["1 | 1"]),
        ("datafusion#6333", "select case id when null then 1 when id then 2 else 3 end from r.o order by id", &["2", "2", "2", "3"]),
        ("datafusion#14349", "select case when s = 'a' then false when s = 'b' then true else false end from r.s order by id", &["false", "false", "true"]),
        ("datafusion#17681", "select id in (1, null), id not in (1, null) from r.o order by id", &["true | false", " |", " |", " |"]),
    ])
    .await;
}

#[tokio::test]
async fn casts_that_round_are_not_taken_out_of_comparisons() {
    check(&[
        ("trino#30496", "select count(*) from (values (8.13), (8.06), (8.1)) t(d) where cast(d as decimal(10,1)) = 8.1", &["3"]),
        ("clickhouse#107923", "select cast(2.55e0 as decimal(18,2)), cast(16.4e0 as decimal(18,6)), cast(64.32e0 as decimal(18,2))", &["2.55 | 16.400000 | 64.32"]),
        ("clickhouse#3177", "select cast(7.6::decimal(38,6) as bigint), cast(-7.5 as bigint), cast(2.5e0 as bigint), cast(3.5e0 as int), try_cast(1e30 as int)", &["8 | -8 | 2 | 4 |"]),
        ("casts below WHERE", "select count(*) from (values (2.5), (2.9), (3.4), (3.5)) t(d) where cast(d as bigint) = 3", &["3"]),
        ("clickhouse#117237", "select cast(1.5 as decimal(5,4)) + 9223372036854775807, cast(1.5 as decimal(5,4)) * -9223372036854775807", &["9223372036854775808.5000 | -13835058055282163710.5000"]),
    ])
    .await;
}

#[tokio::test]
async fn a_subquery_over_the_same_table_has_columns_of_its_own() {
    check(&[
        ("not in", "select id from r.f where id not in (select id from r.f where id > 2) order by id", &["1", "2"]),
        ("not in, nullable", "select id from r.f where nullif(id, 1) not in (select nullif(id, 5) from r.f where id between 2 and 3) order by id", &["4", "5"]),
        ("below or", "select id from r.f where id = 5 or id not in (select id from r.f where id > 2) order by id", &["1", "2", "5"]),
        ("as a value", "select id from r.f where (id in (select id from r.f where id > 3)) is not true order by id", &["1", "2", "3"]),
        ("in an expression", "select id from r.f where id + 1 not in (select id from r.f where id <> 3) order by id", &["2", "5"]),
        ("twice", "select id from r.f where id not in (select id from r.f where id not in (select id from r.f where id > 2)) order by id", &["3", "4", "5"]),
    ])
    .await;
}

#[tokio::test]
async fn a_union_of_casts_and_computed_values_is_distinct() {
    check(&[
        ("casts", "select cast(id as decimal(20,2)) from r.f where id < 3 union select id % 0.7 from r.f where id = 1 order by 1", &["0.30", "1.00", "2.00"]),
        ("no value", "select - cast(null as decimal(10,2)) union select - 2.5 order by 1", &["-2.50", ""]),
        ("columns", "select id from r.f union select 5 order by 1", &["1", "2", "3", "4", "5"]),
    ])
    .await;
}

#[tokio::test]
async fn a_frame_without_a_value_has_no_extreme() {
    check(&[
        ("whole numbers", "select max(nullif(id, 3)) over (order by id rows between current row and current row) from r.f order by id", &["1", "2", "", "4", "5"]),
        ("texts", "select min(nullif(id, 2)::text) over (order by id rows between current row and current row) from r.f order by id", &["1", "", "3", "4", "5"]),
    ])
    .await;
}

#[tokio::test]
async fn extremes_of_floats_know_nan_and_infinities() {
    check(&[
        ("duckdb#23676", "select min(x), max(x) from r.f", &["-inf | NaN"]),
        ("groups", "select k, min(x), max(x) from r.f group by k order by k", &["1 | -1.0 | NaN", "2 | -inf | -inf"]),
        ("no numbers", "select max(x), min(-x) from r.f where id = 4", &["-inf | inf"]),
        ("real", "select k, max(x::real) from r.f group by k order by k", &["1 | NaN", "2 | -inf"]),
        ("windows", "select max(x) over (order by id rows between 1 preceding and current row) from r.f order by id", &["0.0", "NaN", "NaN", "-1.0", "-inf"]),
        ("top groups", "select k, max(x) as m from r.f group by k order by m desc limit 1", &["1 | NaN"]),
        ("filters", "select k, max(x) filter (where id <> 2) from r.f group by k order by k", &["1 | 0.0", "2 | -inf"]),
    ])
    .await;
}

#[tokio::test]
async fn subqueries_know_the_row_outside() {
    check(&[
        ("NOT IN below a cross join with a constant", "select r.o.id, r.n.a from r.o, r.n where r.n.a = 3 and r.o.id not in (select t.id from r.o t where t.id < r.n.a)", &["3 | 3"]),
        ("datafusion#24960", "select id from r.o where exists (select count(*) from r.i where r.i.id = r.o.id) order by id", &["1", "2", "3", ""]),
        ("datafusion#24960", "select id from r.o where not exists (select count(*) from r.i where r.i.id = r.o.id)", &[]),
        ("datafusion#24960", "select g from r.o where 0 in (select count(*) from r.i where r.i.id = r.o.id) order by g", &["1", "2", "3"]),
        ("datafusion#24960", "select id from r.o where id not in (select count(*) from r.i where r.i.id = r.o.id) order by id", &["2", "3"]),
        ("datafusion#24960", "select g from r.o where exists (select count(*) from r.i where r.i.id = r.o.id having count(*) = 0) order by g", &["1", "2", "3"]),
        ("datafusion#25283", "select k from (values (1), (2), (3)) x(k) where exists (select * from (values (1), (1), (3)) y(v) where y.v = x.k offset 1)", &["1"]),
        ("datafusion#25283", "select k from (values (1), (2), (3)) x(k) where not exists (select * from (values (1), (1), (3)) y(v) where y.v = x.k offset 1) order by k", &["2", "3"]),
        ("axiom#1443", "select id in (select count(*) from r.i where r.i.id = r.o.id group by r.i.id) from r.o order by g, id", &["true", "false", "false", "false"]),
        ("duckdb#15238", "select x in (select y from (values (cast(null as int)), (null)) u(y) where x = 4) from (values (4), (null)) t(x) order by x", &["", "false"]),
        ("LATERAL over no rows", "select r.o.g, y.c from r.o, lateral (select count(*) as c from r.i where r.i.id = r.o.id) y order by 1, 2", &["1 | 0", "1 | 1", "2 | 0", "3 | 0"]),
        ("two counts", "select g, (select count(*) from r.i where r.i.id = r.o.id) as a, (select count(*) from r.i where r.i.g = r.o.g) as b from r.o order by 1, 2", &["1 | 0 | 1", "1 | 1 | 1", "2 | 0 | 1", "3 | 0 | 1"]),
        ("a condition of an expression", "select g, (select count(*) from r.i where r.i.g % 2 = r.o.g) from r.o order by 1", &["1 | 2", "1 | 2", "2 | 0", "3 | 0"]),
        ("in a select list", "select g, id in (select id from r.i), exists (select 1 from r.i where r.i.id > r.o.g) from r.o order by g, id", &["1 | true | true", "1 |  | true", "2 |  | true", "3 |  | true"]),
        ("in an aggregate", "select count(*) filter (where id in (select id from r.i)), sum(case when exists (select 1 from r.i where r.i.id = r.o.id) then g end) from r.o", &["1 | 1"]),
        ("crate#19854", "select l.id from r.i l full join r.i r on l.id = r.id where coalesce(l.id, 15) not in (select id from r.i where id = 5) order by 1", &["1", "", ""]),
    ])
    .await;
    let fixture = lake().await;
    for sql in [
        "select id from r.o where id in (select n from (select row_number() over (order by g) as n from r.i where r.i.g = r.o.g) x)",
        "select id from r.o where exists (select 1 from r.i where r.i.id = r.o.id and exists (select 1 from r.n where r.n.a = r.o.id))",
        "select id from r.o where exists (select 1 from r.i where r.i.id = r.o.id union all select 1 from r.n where r.n.a = r.o.id)",
        "select id from r.o where exists (select 1 from (select * from r.i where r.i.id = r.o.id) x join (select * from r.n order by a limit 1) y on x.id = y.a)",
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "sql_unsupported", "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}");
    }
}

#[tokio::test]
async fn texts_and_fields_are_read_as_sql_reads_them() {
    check(&[
        ("no digit", "select try_cast(s as decimal(5,1)) from (values (''), (' '), ('-'), ('.'), ('1e2'), (' 2.5 ')) t(s)", &["", "", "", "", "100.0", "2.5"]),
        ("Sunday", "select extract(isodow from date '2024-01-07'), date_part('isodow', timestamp '2024-01-08 00:00:00'), extract(dow from date '2024-01-07')", &["7 | 1 | 0"]),
        ("recursion", "with recursive r as (select 1 as n, 'x' as s union all select n + 1, s || s from r where n < 5) select max(length(s)) from r", &["16"]),
        ("keys of maps", "select map(['a', 'b'], [id, g])['b'] from r.o order by id", &["1", "2", "3", "1"]),
    ])
    .await;
    let fixture = lake().await;
    let error = fixture
        .failure("select cast(s as decimal(5,1)) from (values ('')) t(s)")
        .await;
    assert_eq!(error.code(), "bad_cast", "{error}");
}

#[tokio::test]
async fn moving_frames_forget_what_has_left_them() {
    check(&[
        ("NaN and infinities", "select sum(x) over (order by id rows between current row and current row) from r.f order by id", &["0.0", "NaN", "-1.0", "-inf", ""]),
        ("large values", "select sum(v) over (order by n rows between current row and current row) from (values (1, 1e300), (2, 1e0), (3, 2e0)) t(n, v) order by n", &["1e300", "1.0", "2.0"]),
        ("averages", "select avg(x) over (order by id rows between 1 preceding and current row) from r.f order by id", &["0.0", "NaN", "NaN", "-inf", "-inf"]),
        ("averages of nothing", "select avg(nullif(id, 3)) over (order by id rows between current row and current row) from r.f order by id", &["1.0", "2.0", "", "4.0", "5.0"]),
        ("variances", "select var_pop(nullif(id, 2)) over (order by id rows between current row and current row) from r.f order by id", &["0.0", "", "0.0", "0.0", "0.0"]),
        ("deviations", "select stddev_pop(x) over (order by id rows between 1 following and 1 following) from r.f order by id", &["0.0", "0.0", "0.0", "", ""]),
        ("truth", "select bool_and(id <> 2) over (order by id rows between 1 preceding and current row), bool_or(id = 2) over (order by id rows between current row and 1 following) from r.f order by id", &["true | true", "false | true", "false | false", "true | false", "true | false"]),
    ])
    .await;
}

#[tokio::test]
async fn a_constant_group_of_no_rows_is_no_row() {
    check(&[
        (
            "no rows",
            "select 1 k, count(*) n from r.o where id < 0 group by 1",
            &[],
        ),
        (
            "no rows",
            "select 'x' k, count(*) n from r.o where id < 0 group by k having count(*) = 0",
            &[],
        ),
        (
            "a row",
            "select 1 k, count(*) n from r.o group by 1",
            &["1 | 4"],
        ),
        (
            "both",
            "select 1 k, g, count(*) n from r.o group by 1, 2 order by 2",
            &["1 | 1 | 2", "1 | 2 | 1", "1 | 3 | 1"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn distinct_is_kept_where_a_join_repeats_groups() {
    check(&[
        ("datafusion#23626", "select distinct a.k from (select k from (values (1),(2)) t(k) group by k) a cross join (values (1),(1),(2)) b(j) order by 1", &["1", "2"]),
        ("datafusion#23626", "select count(*) from (select distinct a.k from (select k from (values (1),(2)) t(k) group by k) a join (values (1),(1),(2)) b(j) on a.k = b.j) x", &["2"]),
        ("datafusion#23626", "select distinct a.g from (select g from r.o group by g) a join r.o b on a.g = b.g order by 1", &["1", "2", "3"]),
        ("datafusion#24927", "with s as (select x from (values (0),(1),(2)) v(x) order by x limit 3) select distinct x from (select * from s union all select * from s) t order by x limit 2", &["0", "1"]),
        ("datafusion#24927", "with s as (select a as x from r.n order by a limit 5) select distinct x from (select * from s union all select * from s) t order by x limit 3", &["1", "2", "3"]),
    ])
    .await;
}

/// A value that does not fit is NULL or fails, whatever it is compared with.
#[tokio::test]
async fn a_narrowing_cast_stays_in_a_comparison() {
    check(&[
        (
            "datafusion#24702",
            "select try_cast(a as int) > 50 from (values (51),(3000000000)) t(a)",
            &["true", ""],
        ),
        (
            "datafusion#24702",
            "select a from (values (51),(3000000000)) t(a) where try_cast(a as int) <> 50",
            &["51"],
        ),
        (
            "datafusion#24702",
            "select a from (values (51),(300)) t(a) where try_cast(a as tinyint) not in (1, 2)",
            &["51"],
        ),
        (
            "datafusion#14303",
            "select a from (values (51),(300)) t(a) where try_cast(a as decimal(2,0)) > 5",
            &["51"],
        ),
        (
            "datafusion#14303",
            "select a from (values (51),(30000)) t(a) where cast(a as bigint) > 60",
            &["30000"],
        ),
    ])
    .await;
}

/// Forms that the engine answers wrongly are refused by name, and what stands for them is right.
#[tokio::test]
async fn what_would_be_answered_wrongly_is_refused() {
    let fixture = lake().await;
    for (sql, code) in [
        (
            "select k, count(*) from (values (1)) a(k) full join (values (4),(5)) b(k) using (k) group by k",
            "sql_unsupported",
        ),
        (
            "select * from (values (1)) a(k) right join (values (4),(5)) b(k) using (k)",
            "sql_unsupported",
        ),
        (
            "select * from (values (1)) a(k) natural full join (values (4),(5)) b(k)",
            "sql_unsupported",
        ),
        (
            "select d, count(*) from (values (10),(20)) t(d) group by d, rollup(d)",
            "sql_unsupported",
        ),
        (
            "select count(*) from (values (10),(20)) t(d) group by grouping sets ((),())",
            "sql_unsupported",
        ),
        (
            "select id, lead(g,2) ignore nulls over (order by id) from r.o",
            "sql_unsupported",
        ),
        (
            "select id, (select regr_count(y,y) from (values (1,5e0)) u(k,y) where k = t.id) from r.o t",
            "sql_unsupported",
        ),
        (
            "select x, (select y from (values (1),(2)) u(y)) from (values (7)) t(x)",
            "subquery_rows",
        ),
        (
            "select sum(x) from (values (1),(2)) t(x) where x <= (select y from (values (5),(6)) u(y))",
            "subquery_rows",
        ),
        (
            "select id from r.o where g = (select g from r.i)",
            "subquery_rows",
        ),
    ] {
        let found = crate::fixture::rows(&fixture.query(), sql).await;
        let error = found.expect_err(sql);
        assert_eq!(error.code(), code, "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}");
    }
    check(&[
        ("stands for it", "select coalesce(a.k, b.k), count(*) from (values (1)) a(k) full join (values (4),(5)) b(k) on a.k = b.k group by 1 order by 1", &["1 | 1", "4 | 1", "5 | 1"]),
        ("stands for it", "select * from (values (1),(2)) a(k) left join (values (1)) b(k) using (k) order by 1", &["1", "2"]),
        ("stands for it", "select d, count(*) from (values (10),(20)) t(d) group by rollup(d) order by 1", &["10 | 1", "20 | 1", " | 2"]),
        ("stands for it", "select id, lag(g) ignore nulls over (order by id desc) from r.o where id is not null order by id", &["1 | 2", "2 | 3", "3 |"]),
        ("stands for it", "select x, (select y from (values (1),(2)) u(y) order by y limit 1) from (values (7)) t(x)", &["7 | 1"]),
        ("stands for it", "select x, (select y from (values (1),(2)) u(y) where y > 1) from (values (7)) t(x)", &["7 | 2"]),
        ("stands for it", "select x, (select y from (values (1),(2)) u(y) where y > 2) from (values (7)) t(x)", &["7 |"]),
        ("stands for it", "select id from r.o where g > (select max(g) from r.i where id is not null) or id = (select min(id) from r.i) order by id", &["1"]),
    ])
    .await;
}
