//! Answers that a user of Postgres knows: quoted literals, intervals, formats of times, whole numbers of decimals.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;
use forebay_core::{Result, SqlEngine};
use forebay_query::Engine;

use crate::fixture::Fixture;

/// Numbers 2, 10 and 100 in several types, and as texts; timestamps a day and a half apart from each other.
async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let amounts = Decimal128Array::from(vec![200, 1050, 10_000]);
    let amounts = amounts.with_precision_and_scale(10, 2).unwrap();
    let stamps = TimestampMicrosecondArray::from(vec![0, 129_600_000_000, 259_200_000_000]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![2, 10, 100]))),
        ("d", Arc::new(amounts)),
        ("f", Arc::new(Float64Array::from(vec![2.0, 10.5, 100.0]))),
        ("s", Arc::new(StringArray::from(vec!["2", "10", "x"]))),
        ("at", Arc::new(stamps)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    fixture.append(&[("p.t", &[], batch)]).await;
    fixture
}

async fn check(cases: &[(&str, &[&str])]) {
    lake().await.check(cases).await;
}

#[tokio::test]
async fn a_quoted_literal_beside_a_number_is_a_number() {
    check(&[
        ("select n from p.t where n < '9'", &["2"]),
        ("select n from p.t where n > '9' order by n", &["10", "100"]),
        ("select n from p.t where '9' > n", &["2"]),
        ("select n from p.t where n between '1' and '9'", &["2"]),
        (
            "select n from p.t where n not between '1' and '9' order by n",
            &["10", "100"],
        ),
        (
            "select n from p.t where n in ('02', '100.0') order by n",
            &["2", "100"],
        ),
        (
            "select n from p.t where n not in ('2.0', '3') order by n",
            &["10", "100"],
        ),
        (
            "select n from p.t where n > '9.5' and n <= ' 10.0 '",
            &["10"],
        ),
        ("select n from p.t where n = '1e2'", &["100"]),
        (
            "select n from p.t where n < '99999999999999999999' and n < '3'",
            &["2"],
        ),
        ("select d from p.t where d = '10.5'", &["10.50"]),
        ("select d from p.t where d < '9'", &["2.00"]),
        ("select f from p.t where f = '10.5'", &["10.5"]),
        ("select f from p.t where f < '9'", &["2.0"]),
        ("select f from p.t where f < 'NaN' and f > '50'", &["100.0"]),
        (
            "select case n when '02' then 'two' else 'more' end from p.t order by n",
            &["two", "more", "more"],
        ),
        (
            "select case when n > '9' then 1 else 0 end from p.t order by n",
            &["0", "1", "1"],
        ),
        (
            "select sum(case when n > 9 then n else '1' end) from p.t",
            &["111"],
        ),
        (
            "select max(coalesce(nullif(n, '100'), '7')) from p.t",
            &["10"],
        ),
        (
            "select greatest('9', n) from p.t order by 1",
            &["9", "10", "100"],
        ),
        ("select max(n) from p.t having max(n) > '9'", &["100"]),
        (
            "select a.n from p.t a join p.t b on a.n = b.n and a.n < '9'",
            &["2"],
        ),
        (
            "select n from p.t a where exists (select 1 from p.t b where b.n = a.n and a.n > '99')",
            &["100"],
        ),
        (
            "select count(*) from p.t where '10.0' in (select n from p.t)",
            &["3"],
        ),
        (
            "select count(*) from p.t where '3' in (select n from p.t)",
            &["0"],
        ),
        (
            "select n is distinct from '2.0' from p.t order by n",
            &["false", "true", "true"],
        ),
        (
            "select n + '1', '2' * n, n % '4' from p.t where n = 2",
            &["3 | 4 | 2"],
        ),
        (
            "select 5 in ('05'), 5 = '5', 1.50 = '1.5', 1e0 = '1'",
            &["true | true | true | true"],
        ),
        (
            "select true = 'true', (n > 5) = 'f', (n > 5) in ('t', 'no') from p.t where n = 2",
            &["true | true | true"],
        ),
        (
            "select count(*) from p.t where at >= '1970-01-02 12:00'",
            &["2"],
        ),
        (
            "select count(*) from p.t where at between '1970-01-01 00:00' and '1970-01-02 11:59'",
            &["1"],
        ),
        ("select n from p.t where s = '10'", &["10"]),
        (
            "select n from p.t where cast(n as text) < '2' order by n",
            &["10", "100"],
        ),
    ])
    .await;
}

/// The one row that a statement gives for each number of a batch.
async fn transformed(sql: &str, ids: &[i64]) -> Result<Vec<i64>> {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let input = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let selected = Engine::new().select("input", input, sql).await?.records;
    let columns = selected.iter().map(|batch| batch.column(0).clone());
    Ok(columns
        .flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec())
        .collect())
}

#[tokio::test]
async fn transforms_and_checks_read_literals_alike() {
    let sql = "select case when id > '9' then 1 else 0 end as big from input";
    assert_eq!(transformed(sql, &[2, 9, 10]).await.unwrap(), [0, 0, 1]);
    let refused = transformed("select id from input where cast(id as text) = 9", &[9]).await;
    assert_eq!(refused.unwrap_err().code(), "bad_sql");
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![2, 9, 10]));
    let input = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let engine = Engine::new();
    let found = engine.evaluate(&input, "id < '10' and id in ('9.0', '10')");
    let found: Vec<bool> = found.await.unwrap().iter().flatten().collect();
    assert_eq!(found, [false, true, false]);
    let refused = engine.evaluate(&input, "id = 'abc'").await;
    assert_eq!(refused.unwrap_err().code(), "bad_sql");
}

#[tokio::test]
async fn a_text_is_not_compared_with_a_number() {
    let fixture = lake().await;
    for (sql, what) in [
        (
            "select n from p.t where s = 5",
            "s is text and is compared with a bigint",
        ),
        ("select n from p.t where s < n", "s is text"),
        (
            "select n from p.t where n in (2, 3) or s in (2, 3)",
            "s is text",
        ),
        ("select n from p.t where s between 1 and 5", "s is text"),
        ("select case s when 1 then 2 end from p.t", "s is text"),
        ("select a.n from p.t a join p.t b on a.n = b.s", "s is text"),
        (
            "select a.n from p.t a join (select s as n from p.t) b using (n)",
            "n is text",
        ),
        (
            "select n from p.t where n in (select s from p.t)",
            "s is text",
        ),
        ("select n from p.t where f = cast('1' as text)", "is text"),
        (
            "select n from p.t where n = 'abc'",
            "'abc' is not a valid number, the type of the other operand",
        ),
        (
            "select n from p.t where n < ''",
            "'' is not a valid number, the type of the other operand",
        ),
        (
            "select n from p.t where n between '1' and '2024-01-01'",
            "'2024-01-01' is not a valid number",
        ),
        (
            "select n from p.t where f in ('1', '1,5')",
            "'1,5' is not a valid number",
        ),
        (
            "select coalesce(n, 'none') from p.t",
            "'none' is not a valid number",
        ),
        (
            "select case when n > 5 then n else 'n/a' end from p.t",
            "'n/a' is not a valid number",
        ),
        ("select n + 'x' from p.t", "'x' is not a valid number"),
        (
            "select (n > 5) = 'maybe' from p.t",
            "'maybe' is not a valid boolean, the type of the other operand",
        ),
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "bad_sql", "{sql}: {error}");
        assert!(error.to_string().contains(what), "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}: {error}");
    }
}

#[tokio::test]
async fn intervals_are_compared_by_their_length() {
    check(&[
        ("select interval '30 hours' > interval '1 day', interval '25 hours' < interval '1 day', interval '24 hours' = interval '1 day'", &["true | false | true"]),
        ("select interval '1 month' = interval '30 days', interval '-1 month' < interval '-29 days'", &["true | true"]),
        ("select interval '30 hours' between interval '1 day' and interval '2 days', interval '24 hours' in (interval '1 day')", &["true | true"]),
        ("select interval '36 hours' = '1 day 12 hours', interval '1 day' < '25 hours'", &["true | true"]),
        ("select n from p.t where at - timestamp '1970-01-01 00:00:00' > interval '1 day' order by n", &["10", "100"]),
        ("select n from p.t where at - timestamp '1970-01-01 00:00:00' > '2 days'", &["100"]),
        ("select k from (values (1, interval '1 day'), (2, interval '30 hours'), (3, interval '23 hours')) t(k, i) order by i desc", &["2", "1", "3"]),
        ("select count(distinct i), count(*) from (values (interval '1 day'), (interval '24 hours'), (interval '1 hour')) t(i)", &["2 | 3"]),
        ("select count(*) from (select distinct i from (values (interval '1 day'), (interval '24 hours')) t(i))", &["1"]),
        ("select count(*) from (values (interval '1 day'), (interval '24 hours')) t(i) group by i", &["2"]),
        ("select max(i) = interval '30 hours', min(i) = interval '1 day' from (values (interval '1 day'), (interval '30 hours')) t(i)", &["true | true"]),
        ("select a.k from (values (1, interval '1 day')) a(k, i) join (values (interval '24 hours')) b(i) on a.i = b.i", &["1"]),
        ("select extract(day from at - timestamp '1970-01-01 00:00:00'), extract(hour from at - timestamp '1970-01-01 00:00:00'), extract(epoch from at - timestamp '1970-01-01 00:00:00') from p.t where n = 10", &["1 | 12 | 129600.0"]),
        ("select extract(day from timestamp '1970-01-01 00:00:00' - at), extract(hour from timestamp '1970-01-01 00:00:00' - at) from p.t where n = 10", &["-1 | -12"]),
        ("select interval '1 day' * 3 = interval '3 days', 0.5 * interval '1 day' = interval '12 hours', interval '1 month' / 2 = interval '15 days'", &["true | true | true"]),
        ("select sum(n) from p.t where at = timestamp '1970-01-01 00:00:00' + interval '36 hours' * 1", &["10"]),
        ("select timestamp '2024-01-31 00:00:00' + interval '1 month' * 1, (timestamp '2024-01-03 00:00:00' - timestamp '2024-01-01 00:00:00') * 2 = interval '4 days'", &["2024-02-29T00:00:00 | true"]),
    ])
    .await;
}

#[tokio::test]
async fn the_middle_of_two_numbers_is_not_cut() {
    check(&[
        ("select median(x) from (values (1), (2)) t(x)", &["1.5"]),
        (
            "select median(distinct x) from (values (1), (1), (4)) t(x)",
            &["2.5"],
        ),
        (
            "select median(x) from (values (1.0), (1.1)) t(x)",
            &["1.05"],
        ),
        (
            "select median(x), median(x) filter (where x < 3) from (values (1), (2), (5)) t(x)",
            &["2.0 | 1.5"],
        ),
        (
            "select median(x) * 2 from (select median(n) as x from p.t where n < 50)",
            &["12.0"],
        ),
        (
            "select distinct median(n) over () from p.t where n < 50",
            &["6.0"],
        ),
        (
            "select approx_median(x), approx_percentile_cont(x, 0.5) from (values (1), (2)) t(x)",
            &["1.5 | 1.5"],
        ),
        (
            "select percentile_cont(x, 0.5) from (values (1), (2)) t(x)",
            &["1.5"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn formats_are_those_of_postgres_or_of_strftime() {
    check(&[
        ("select to_char(timestamp '2025-12-31 10:11:12', 'YYYY-MM-DD HH24:MI:SS')", &["2025-12-31 10:11:12"]),
        ("select to_char(date '2025-12-31', 'YYYY-MM'), to_char(date '2025-12-01', 'FMDD Mon YY')", &["2025-12 | 1 Dec 25"]),
        ("select to_char(timestamp '2025-12-31 22:05:00', 'HH12:MI PM, IYYY-\"W\"IW, Q')", &["10:05 PM, 2026-W01, 4"]),
        ("select to_char(at, 'YYYY-MM-DD') as day, count(*) from p.t group by day order by day", &["1970-01-01 | 1", "1970-01-02 | 1", "1970-01-04 | 1"]),
        ("select to_char(at, k) from p.t, (values ('DD.MM.')) f(k) order by at", &["01.01.", "02.01.", "04.01."]),
        ("select to_date('31.12.2024', 'DD.MM.YYYY'), to_timestamp('2024-01-31 10:20', 'YYYY-MM-DD HH24:MI')", &["2024-12-31 | 2024-01-31T10:20:00Z"]),
        ("select to_char(date '2024-01-05', '%d.%m')", &["05.01"]),
    ])
    .await;
    let fixture = lake().await;
    for sql in [
        "select to_char(at, 'Month') from p.t",
        "select to_char(at, 'YYYY-MM-DDTHH24') from p.t",
        "select date_format(at, 'yyyy-MM-dd HH:mm') from p.t",
        "select to_date(s, 'WW') from p.t",
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "sql_unsupported", "{sql}: {error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("YYYY")));
    }
    let error = fixture
        .failure("select to_char(at, k) from p.t, (values ('WW')) f(k)")
        .await;
    assert!(error.to_string().contains("'WW'"), "{error}");
}

#[tokio::test]
async fn functions_do_what_postgres_does() {
    check(&[
        ("select ceil(9.9), ceil(0.5), ceil(99.5), ceil(-9.9), floor(-0.5), floor(0.25), ceil(2.0)", &["10 | 1 | 100 | -9 | -1 | 0 | 2"]),
        ("select ceil(d), floor(-d) from p.t order by n", &["2 | -2", "11 | -11", "100 | -100"]),
        ("select ceil(f), floor(f), ceiling(n), ceil(cast(null as decimal(3,1))) from p.t where n = 10", &["11.0 | 10.0 | 10.0 |"]),
        ("with recursive t(n) as (select 1 union all select n + 1 from t where n < 10) select sum(n) from t", &["55"]),
        ("with recursive t(n, m) as (values (1, 2) union all select n + 1, m * 2 from t where n < 3) select * from t order by n", &["1 | 2", "2 | 4", "3 | 8"]),
        ("with t(a) as (select 1 union all select 2) select sum(a) from t", &["3"]),
        ("select atan2(1, 1), nanvl(16777217, 1)", &["0.7853981633974483 | 16777217.0"]),
        ("select mod(7, 4), mod(-7, 4), mod(n, 3), sign(-2.5), sign(n) from p.t where n = 100", &["3 | -3 | 1 | -1.0 | 1.0"]),
        ("select every(n > 1), every(n > 2) from p.t", &["true | false"]),
        ("select replace('abc', '', 'x'), replace('abcabc', 'bc', ''), replace(null, 'a', 'b')", &["abc | aa |"]),
        ("select array_remove([1, 2, 1], 1), array_replace([1, 2, 1], 1, 3)", &["[2] | [3, 2, 3]"]),
        ("select levenshtein('kitten', 'sitting'), levenshtein(s, '10') from p.t order by n", &["3 | 2", "3 | 0", "3 | 2"]),
    ])
    .await;
    let fixture = lake().await;
    let error = fixture
        .failure("select levenshtein(repeat('a', 200000), repeat(s, 200000)) from p.t")
        .await;
    assert_eq!(error.code(), "sql_value_too_large", "{error}");
}

#[tokio::test]
async fn a_time_of_day_with_an_interval_is_a_time_of_day() {
    check(&[
        ("select time '23:30' + interval '1 hour', time '10:00' - interval '11 hours'", &["00:30:00 | 23:00:00"]),
        ("select interval '1 hour' + time '23:30', time '00:00' - interval '1 microsecond'", &["00:30:00 | 23:59:59.999999"]),
        ("select time '10:00' + interval '1 month 2 days 1 hour', time '10:00' - interval '3 days'", &["11:00:00 | 10:00:00"]),
        ("select time '10:00' + interval '-35 hours', time '10:00' + interval '1 day' * 1.5", &["23:00:00 | 22:00:00"]),
        ("select t + i, i + t, t - i from (values (time '23:30', interval '1 hour'), (null, interval '1 hour'), (time '00:15', null)) v(t, i)", &["00:30:00 | 00:30:00 | 22:30:00", " |  |", " |  |"]),
        ("select time '23:00' + (at - timestamp '1970-01-01 00:00:00') from p.t order by n", &["23:00:00", "11:00:00", "23:00:00"]),
        ("select arrow_typeof(time '10:00' + interval '1 hour')", &["Time64(µs)"]),
        ("select time '23:30' + interval '1 hour' < time '01:00', time '10:00' - time '11:00' = interval '-1 hour'", &["true | true"]),
        ("select date '2024-01-01' + time '10:00'", &["2024-01-01T10:00:00"]),
    ])
    .await;
    let fixture = lake().await;
    let error = fixture
        .failure("select interval '1 hour' - time '10:00'")
        .await;
    assert_eq!(error.code(), "bad_sql", "{error}");
}

#[tokio::test]
async fn digits_of_decimals_are_cut_exactly() {
    check(&[
        ("select trunc(99999999999999999.99, 1), trunc(99999999999999999.99)", &["99999999999999999.9 | 99999999999999999"]),
        ("select trunc(-1.29, 1), trunc(129.9, -1), trunc(-0.99), trunc(1.2, 5), trunc(1.2, -50), trunc(1234, -2)", &["-1.2 | 120 | 0 | 1.2 | 0 | 1200.0"]),
        ("select trunc(x, k) from (values (123.456, 2), (123.456, -1), (-9.99, 0), (1.5, 40), (1.5, -40), (null, 1)) t(x, k)", &["123.450", "120.000", "-9.000", "1.500", "0.000", ""]),
        ("select trunc(d, 1), trunc(-d), trunc(d + 0.99, -1) from p.t order by n", &["2.0 | -2 | 0", "10.5 | -10 | 10", "100.0 | -100 | 100"]),
        ("select trunc(1.25, cast(1 as bigint)), trunc(1.25, null), trunc(cast(null as decimal(3,1)))", &["1.2 |  |"]),
        ("select trunc(1.29e0, 1), trunc(f), trunc(n) from p.t where n = 10", &["1.2 | 10.0 | 10.0"]),
        ("select arrow_typeof(trunc(1.25, 1)), arrow_typeof(trunc(0.99))", &["Decimal128(2, 1) | Decimal128(1, 0)"]),
        ("select trunc(99999999999999999999999999999999999999, -37), trunc(-0.00000000000000000000000000000000000009, 37)", &["90000000000000000000000000000000000000 | 0.0000000000000000000000000000000000000"]),
        ("select round(99999999999999999.995, 2), abs(-99999999999999999.99), mod(99999999999999999.99, 0.07)", &["100000000000000000.00 | 99999999999999999.99 | 0.02"]),
    ])
    .await;
}

#[tokio::test]
async fn powers_of_decimals_are_doubles() {
    check(&[
        (
            "select power(1.1, 2), 1.1^10, power(2.5, 3)",
            &["1.2100000000000002 | 2.5937424601000023 | 15.625"],
        ),
        (
            "select power(1.5, -1), power(4, 0.5), power(0.1, 2), pow(10.0, 40)",
            &["0.6666666666666666 | 2.0 | 0.010000000000000002 | 1e40"],
        ),
        (
            "select power(d, 2), d^0.5 from p.t where n = 2",
            &["4.0 | 1.4142135623730951"],
        ),
        (
            "select sqrt(2.0), round(log(10, 0.001), 9), log(2.5), ln(2.5)",
            &["1.4142135623730951 | -3.0 | 0.3979400086720376 | 0.9162907318741551"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_difference_of_timestamps_has_days_and_a_time_as_text_too() {
    check(&[
        ("select timestamp '2024-03-01 10:00:00' - timestamp '2020-01-01 00:00:01'", &["1521 days 9 hours 59 mins 59.000000000 secs"]),
        ("select at - timestamp '1970-01-01 00:00:00' from p.t order by n", &["0 secs", "1 days 12 hours", "3 days"]),
        ("select timestamp '1970-01-01 00:00:00' - at from p.t where n = 10", &["-1 days -12 hours"]),
        ("select array_agg(at - timestamp '1970-01-01 00:00:00' order by n) from p.t where n < 50", &["[0 secs, 1 days 12 hours]"]),
        ("select cast(at - timestamp '1970-01-01 00:00:00' as text) from p.t where n = 10", &["1 days 12 hours"]),
    ])
    .await;
    let fixture = lake().await;
    let answer = fixture
        .query()
        .execute("select at - at as d from p.t")
        .await;
    let kind = answer.unwrap().schema.field(0).data_type().clone();
    assert_eq!(kind.to_string(), "Interval(MonthDayNano)");
}
