//! Valid statements that the engine alone refuses or fails on. The expected rows are those of Postgres 18, of DuckDB where Postgres has no
//! such form.

use crate::fixture::{check, check_refused};

#[tokio::test]
async fn grouping_sets_over_computed_keys() {
    let t = "(values (1.23),(1.24),(2.5)) t(x)";
    check(&[
        (&format!("select round(x, 1), count(*) from {t} group by rollup(round(x, 1)) order by 1"), &["1.2 | 2", "2.5 | 1", " | 3"]),
        (&format!("select round(x, 1), x > 2, count(*) from {t} group by grouping sets ((round(x, 1)), (x > 2)) order by 1, 2"), &["1.2 |  | 2", "2.5 |  | 1", " | false | 2", " | true | 1"]),
        (&format!("select round(x, 1) + 1, sum(round(x, 1)), count(*) from {t} group by cube(round(x, 1)) having count(*) > 0 order by 1, 2"), &["2.2 | 2.4 | 2", "3.5 | 2.5 | 1", " | 4.9 | 3"]),
        ("select x % 2, grouping(x % 2), count(*) from (values (1),(2),(3)) t(x) group by rollup(x % 2) order by 1, 2", &["0 | 0 | 1", "1 | 0 | 2", " | 1 | 3"]),
        ("select x / 2 as y, count(*) from (values (1),(2),(3)) t(x) group by rollup(y) order by y", &["0 | 1", "1 | 2", " | 3"]),
    ])
    .await;
}

#[tokio::test]
async fn dates_of_all_years_beside_timestamps() {
    check(&[
        ("select date '0001-01-01' union all select timestamp '2024-01-01 00:00:00' order by 1", &["0001-01-01T00:00:00", "2024-01-01T00:00:00"]),
        ("select d from (select date '9999-01-01' as d union select timestamptz '2024-01-01 00:00:00Z') x order by 1", &["2024-01-01T00:00:00Z", "9999-01-01T00:00:00Z"]),
        ("select x from (values (date '2024-01-01'), (null), (timestamp '0001-01-01 00:00:00')) t(x) order by 1", &["0001-01-01T00:00:00", "2024-01-01T00:00:00", ""]),
        ("select coalesce(d, timestamp '2024-01-01 00:00:00'), case when d is null then timestamp '2024-01-01 00:00:00' else d end from (values (date '0001-01-01'), (null)) t(d) order by 1", &["0001-01-01T00:00:00 | 0001-01-01T00:00:00", "2024-01-01T00:00:00 | 2024-01-01T00:00:00"]),
        ("select greatest(d, t), least(d, t), nullif(d, t), array[d, t], nvl2(d, d, t) from (values (date '0001-01-01', timestamp '2024-01-01 00:00:00')) v(d, t)", &["2024-01-01T00:00:00 | 0001-01-01T00:00:00 | 0001-01-01T00:00:00 | [0001-01-01T00:00:00, 2024-01-01T00:00:00] | 0001-01-01T00:00:00"]),
        ("select date '0001-01-01' intersect select timestamp '0001-01-01 00:00:00'", &["0001-01-01"]),
        ("select d from (values (date '0001-01-01')) a(d) join (values (timestamp '0001-01-01 00:00:00')) b(d) using (d)", &["0001-01-01"]),
        ("select date '0001-01-02' - timestamp '0001-01-01 00:00:00'", &["1 days"]),
        ("select sum(x) from (select 0.5 as x union all select 1e0)", &["1.5"]),
    ])
    .await;
}

#[tokio::test]
async fn quoted_literals_beside_dates_times_and_booleans() {
    check(&[
        ("select coalesce(d, '2024-01-02'), nullif(d, '2024-01-01'), greatest(d, '2024-06-01'), least('2023-01-01', d), nvl(d, '2024-01-02'), ifnull(d, '2024-01-02') from (values (date '2024-01-01')) t(d)", &["2024-01-01 |  | 2024-06-01 | 2023-01-01 | 2024-01-01 | 2024-01-01"]),
        ("select coalesce(null::date, '2024-01-01') + 1", &["2024-01-02"]),
        ("select coalesce(b, 'true'), nullif(b, 'f'), coalesce(null, b, 'no'), greatest(b, 'f') from (values (true)) t(b)", &["true | true | true | true"]),
        ("select coalesce(t, '10:00'), nullif(t, '09:00') from (values (time '09:00:00'), (null)) x(t) order by 1", &["09:00:00 |", "10:00:00 |"]),
        ("select coalesce(ts, '2024-01-01 10:00'), nullif(ts, '2024-01-01'), greatest(ts, '2030-01-01') from (values (timestamp '2024-01-01 00:00:00')) t(ts)", &["2024-01-01T00:00:00 |  | 2030-01-01T00:00:00"]),
        ("select nvl2(x, d, '2024-01-01'), nvl2(null, 1, 2.5), nvl2(x, 1, 1/0) from (values (1, date '2023-01-01')) t(x, d)", &["2023-01-01 | 2.5 | 1"]),
    ])
    .await;
    check_refused(&[
        (
            "select coalesce(d, 'abc') from (values (date '2024-01-01')) t(d)",
            "bad_sql",
        ),
        (
            "select coalesce(d, s) from (values (date '2024-01-01', 'x')) t(d, s)",
            "bad_sql",
        ),
        (
            "select greatest(b, 'maybe') from (values (true)) t(b)",
            "bad_sql",
        ),
    ])
    .await;
}

#[tokio::test]
async fn lists_structs_and_maps_as_values() {
    check(&[
        ("select nullif(l, m), nvl2(l, l, m) from (values (1, array[1,null], array[1,null]), (2, array[1], array[2]), (3, array[1], null), (4, null, array[1])) t(id, l, m) order by id", &[" | [1, ]", "[1] | [1]", "[1] | [1]", " | [1]"]),
        ("select nullif({'a': 1}, {'a': 1}), nullif({'a': 1}, {'a': 2})", &[" | {a: 1}"]),
        ("select map {'a': x, 'b': 2} from (values (1), (null)) t(x)", &["{a: 1, b: 2}", "{a: , b: 2}"]),
        ("select l in (array[1]::bigint[], array[1,2]::bigint[]), l in (null::bigint[]), l not in (array[]::bigint[]) from (values (array[1,2])) t(l)", &["true |  | true"]),
    ])
    .await;
}

#[tokio::test]
async fn windows_and_subqueries_in_order_by() {
    check(&[
        ("select x from (values (1),(2),(3)) t(x) order by row_number() over (order by x desc) limit 2", &["3", "2"]),
        ("select x from (values (1),(2),(3)) t(x) order by sum(x) over (order by x desc) + 1, x", &["3", "2", "1"]),
        ("select x, count(*) from (values (1),(2),(2)) t(x) group by x order by row_number() over (order by count(*) desc)", &["2 | 2", "1 | 1"]),
        ("select x from (values (1),(2)) t(x) order by exists (select 1 from (values (1)) u(y) where y = t.x), x", &["2", "1"]),
        ("select x from (values (1),(2),(3)) t(x) order by case when x in (select 2) then 0 else 1 end, x desc", &["2", "3", "1"]),
        ("select x from (values (1),(2)) t(x) order by (select max(y) from (values (3)) u(y)) - x", &["2", "1"]),
        ("select x from (values (2),(1)) t(x) order by x, x", &["1", "2"]),
    ])
    .await;
}

#[tokio::test]
async fn operators_between_sums_and_comparisons() {
    check(&[
        ("select 'a' || 1 + 2, 'a' || 2 - 1 || 'b', 1 + 2 || 'a' || 3 * 2", &["a3 | a1b | 3a6"]),
        ("select 'a' || 'b' like 'a%', 'a' || 'b' = 'ab', 'ab' between 'a' || 'a' and 'a' || 'c', not 'a' || 'b' = 'ab', 'a' || 'b' is null", &["true | true | true | false | false"]),
        (r#"select j ->> 'a' = 'x', j -> 'b' ->> 'c' in ('1'), 'x' = j ->> 'a' from (values ('{"a":"x","b":{"c":1}}')) t(j)"#, &["true | true | true"]),
        ("select true = s ~ 'b', s !~ 'x' = true, not s ~ 'x' and true from (values ('ab')) t(s)", &["true | true | true"]),
        ("select array[1] @> array[1] = true, array[1] || 2 @> array[2]", &["true | true"]),
    ])
    .await;
}

#[tokio::test]
async fn subqueries_of_one_row_and_without_from() {
    let t = "(values (1),(2)) t(x)";
    check(&[
        (&format!("select x, exists (select 1 where t.x > 1), exists (select 1 where t.x > 0) from {t} order by x"), &["1 | false | true", "2 | true | true"]),
        (&format!("select x from {t} where x not in (select max(y) from (values (2)) u(y))"), &["1"]),
        (&format!("select x not in (select max(y) from (values (2)) u(y)), x in (select count(*) from (values (2)) u(y)) from {t} order by x"), &["true | true", "false | false"]),
        (&format!("select x from {t} where x not in (select max(y) from (values (2)) u(y) where false)"), &[]),
        (&format!("select x from {t} where x not in (select max(y) from (values (2)) u(y) having count(*) > 5) order by x"), &["1", "2"]),
        (&format!("select x from {t} where x not in (select y from (values (2),(1)) u(y) order by y desc limit 1)"), &["1"]),
        (&format!("select x from {t} where x not in (select y from (values (null::int)) u(y) limit 1)"), &[]),
        (&format!("select x from {t} where x > 1 or x not in (select y from (values (2)) u(y) limit 1) order by x"), &["1", "2"]),
        (&format!("select x from {t} where exists (select max(y) from (values (2)) u(y) having max(y) = t.x)"), &["2"]),
        (&format!("select x from {t} where not exists (select y from (select y from (values (2),(1)) u(y) order by y limit 1) v where v.y = t.x)"), &["2"]),
    ])
    .await;
}
