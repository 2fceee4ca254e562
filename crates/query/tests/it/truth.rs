//! What SQL says is what it gives: one test for each kind of answer that the engine alone gets wrong.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use forebay_core::ErrorKind;
use forebay_query::QueryOptions;

use crate::fixture::{Fixture, rows};

/// 9999-12-31T23:59:59, 0001-01-01T00:00:00 and 2021-05-06T07:08:09.
const STAMPS: [i64; 3] = [
    253_402_300_799_000_000,
    -62_135_596_800_000_000,
    1_620_284_889_000_000,
];

async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let amounts = Decimal128Array::from(vec![813, 100, 250])
        .with_precision_and_scale(10, 2)
        .unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(STAMPS.to_vec())),
        ),
        (
            "dt",
            Arc::new(Date32Array::from(vec![2_932_896, -719_162, 18_753])),
        ),
        ("amount", Arc::new(amounts)),
        ("f", Arc::new(Float64Array::from(vec![-0.0, f64::NAN, 1.0]))),
        ("g", Arc::new(Float64Array::from(vec![0.0, -f64::NAN, 2.0]))),
        (
            "s",
            Arc::new(StringArray::from(vec!["user_1", "userx2", "31/01/24"])),
        ),
        (
            "j",
            Arc::new(StringArray::from(vec![
                r#"{"a":{"b":[1,2.50]},"n":null}"#,
                r#"{"a":"x"}"#,
                "[]",
            ])),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    fixture.append(&[("a.t", &[], batch)]).await;
    fixture
}

async fn check(fixture: &Fixture, sql: &str, expected: &[&str]) {
    assert_eq!(fixture.rows(sql).await, expected, "{sql}");
}

#[tokio::test]
async fn the_time_of_a_statement_is_one_value_from_the_clock() {
    let fixture = lake().await;
    for sql in [
        "select count(*) from a.t where now() > ts and current_date > date '2020-01-01'",
        "select count(*) from a.t where current_timestamp >= timestamp '2026-01-01 00:00:00' and id < 2",
        "select count(*) from (select now() = current_timestamp as same, today() = current_date as day from a.t where id = 1) where same and day",
    ] {
        let found = fixture.rows(sql).await;
        assert_ne!(found, ["0"], "{sql}");
    }
    check(&fixture, "select extract(year from now())", &["2026"]).await;
    check(
        &fixture,
        "select to_char(now(), '%Y-%m') like '2026-0%'",
        &["true"],
    )
    .await;
    check(
        &fixture,
        "select arrow_typeof(now())",
        &["Timestamp(µs, \"+00:00\")"],
    )
    .await;
}

#[tokio::test]
async fn times_are_right_from_year_1_to_9999() {
    let fixture = lake().await;
    for (sql, expected) in [
        (
            "select date_trunc('month', ts) from a.t order by id",
            [
                "9999-12-01T00:00:00",
                "0001-01-01T00:00:00",
                "2021-05-01T00:00:00",
            ],
        ),
        (
            "select date_trunc('hour', ts) from a.t order by id",
            [
                "9999-12-31T23:00:00",
                "0001-01-01T00:00:00",
                "2021-05-06T07:00:00",
            ],
        ),
        (
            "select date_bin(interval '1 day', ts) from a.t order by id",
            [
                "9999-12-31T00:00:00",
                "0001-01-01T00:00:00",
                "2021-05-06T00:00:00",
            ],
        ),
        (
            "select date_trunc('year', dt) from a.t order by id",
            [
                "9999-01-01T00:00:00",
                "0001-01-01T00:00:00",
                "2021-01-01T00:00:00",
            ],
        ),
    ] {
        check(&fixture, sql, &expected).await;
    }
    check(
        &fixture,
        "select id from a.t where ts >= '9999-12-31'",
        &["1"],
    )
    .await;
    check(
        &fixture,
        "select id from a.t where ts < TIMESTAMP '9999-12-31' order by id",
        &["2", "3"],
    )
    .await;
    check(
        &fixture,
        "select id from a.t where dt < TIMESTAMP '2000-01-01 00:00:00'",
        &["2"],
    )
    .await;
    check(
        &fixture,
        "select timestamp '2025-07-01 10:00'",
        &["2025-07-01T10:00:00"],
    )
    .await;
    check(
        &fixture,
        "select timestamptz '2025-07-01 10:00:00Z' at time zone 'Europe/Berlin'",
        &["2025-07-01T12:00:00"],
    )
    .await;
    check(
        &fixture,
        "select timestamp '2025-07-01 12:00:00' at time zone 'Europe/Berlin'",
        &["2025-07-01T10:00:00Z"],
    )
    .await;
    let error = fixture
        .failure("select date '2020-01-01' + interval '10000000 months'")
        .await;
    assert_ne!(error.kind(), ErrorKind::Bug, "{error}");
    check(
        &fixture,
        "select date '2020-01-31' + interval '1 month', date '2020-01-31' + interval '6 hours'",
        &["2020-02-29 | 2020-01-31T06:00:00"],
    )
    .await;
}

#[tokio::test]
async fn text_columns_are_read_as_timestamps() {
    let fixture = lake().await;
    check(
        &fixture,
        "select to_timestamp(s, '%d/%m/%y') from a.t where id = 3",
        &["2024-01-31T00:00:00Z"],
    )
    .await;
    check(&fixture, "select to_timestamp_millis(id * 1000), to_timestamp('9999-12-31 00:00:00') from a.t where id = 2", &["1970-01-01T00:00:02Z | 9999-12-31T00:00:00Z"]).await;
    // Beyond the years that the engine can show.
    check(
        &fixture,
        "select extract(epoch from to_timestamp_micros(9223372036854775807 - id)) > 9e12, to_timestamp_micros(9223372036854775807) is null from a.t where id = 1",
        &["true | false"],
    )
    .await;
    let error = fixture
        .failure("select to_timestamp(s, '%d/%m/%y') from a.t")
        .await;
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
}

#[tokio::test]
async fn decimal_literals_are_decimals_and_keep_to_38_digits() {
    let fixture = lake().await;
    check(&fixture, "select id from a.t where amount = 8.13", &["1"]).await;
    check(
        &fixture,
        "select amount + 0.2 from a.t where id = 1",
        &["8.33"],
    )
    .await;
    check(
        &fixture,
        "select 0.1 + 0.2 = 0.3, 1.0 / 3, 2 / 3.0",
        &["true | 0.3333333333333333 | 0.6666666666666667"],
    )
    .await;
    check(
        &fixture,
        "select 12345678901234567890123 + 1",
        &["12345678901234567890124"],
    )
    .await;
    check(&fixture, "select f from a.t where f = 1.0", &["1.0"]).await;
    check(
        &fixture,
        "select coalesce(f, 0.5) from a.t where id = 3",
        &["1.0"],
    )
    .await;
    check(
        &fixture,
        "select 1e300 > 1.5, x from (values (1e300), (1.5)) t(x)",
        &["true | 1e300", "true | 1.5"],
    )
    .await;
    let nines = "99999999999999999999999999999999999999";
    let two = format!(
        "(values (cast('{nines}' as decimal(38,0))), (cast('{nines}' as decimal(38,0)))) t(x)"
    );
    for expression in [
        "sum(x)",
        "max(x + 1)",
        "max(x * 2)",
        "max(x - (-x))",
        "max(x / 0.1)",
    ] {
        let error = fixture
            .failure(&format!("select {expression} from {two}"))
            .await;
        assert_eq!(error.code(), "overflow", "{expression}: {error}");
    }
    let error = fixture
        .failure(&format!("select sum(x) over () from {two}"))
        .await;
    assert_eq!(error.code(), "overflow", "{error}");
    check(
        &fixture,
        &format!("select sum(distinct x), avg(x - {nines}) from {two}"),
        &[&format!("{nines} | 0.0000")],
    )
    .await;
    check(
        &fixture,
        "select avg(x) from (values (1.00), (2.00), (2.00)) t(x)",
        &["1.666667"],
    )
    .await;
    let error = fixture
        .failure("select 1234567890123456789012345678901234567890")
        .await;
    assert_eq!(error.code(), "bad_sql", "{error}");
}

#[tokio::test]
async fn floats_compare_as_in_postgres() {
    let fixture = lake().await;
    check(&fixture, "select count(*) filter (where f = 0), count(*) filter (where f < 0), count(*) filter (where f = g), count(distinct f) from a.t", &["1 | 0 | 2 | 3"]).await;
    check(&fixture, "select id from a.t where f > 2.0", &["2"]).await;
    check(
        &fixture,
        "select id from a.t where f <> 1.0 order by id",
        &["1", "2"],
    )
    .await;
    check(
        &fixture,
        "select id from a.t where g = cast('NaN' as double)",
        &["2"],
    )
    .await;
    check(
        &fixture,
        "select max(g) = cast('nan' as double), greatest(1.5, max(g)) > 5 from a.t",
        &["true | true"],
    )
    .await;
    check(
        &fixture,
        "select count(*) from (select f from a.t union select g from a.t)",
        &["4"],
    )
    .await;
    check(
        &fixture,
        "select count(*) from a.t x join a.t y on x.f = y.g",
        &["2"],
    )
    .await;
    check(
        &fixture,
        "select id from a.t order by g desc",
        &["2", "3", "1"],
    )
    .await;
    check(
        &fixture,
        "select count(*) from a.t where f in (0.0, 5.0)",
        &["1"],
    )
    .await;
}

#[tokio::test]
async fn forms_that_the_engine_lacks_work_or_are_refused() {
    let fixture = lake().await;
    check(
        &fixture,
        "select s from a.t where s like 'user!_%' escape '!'",
        &["user_1"],
    )
    .await;
    check(
        &fixture,
        "select s from a.t where starts_with(s, 'user_')",
        &["user_1"],
    )
    .await;
    check(
        &fixture,
        "select s from a.t where s like 'user\\_%'",
        &["user_1"],
    )
    .await;
    check(
        &fixture,
        "select s from a.t where s similar to '(user|x)!_[0-9]' escape '!'",
        &["user_1"],
    )
    .await;
    check(&fixture, "select 2^3, 2 * 3 ^ 2", &["8.0 | 18.0"]).await;
    check(
        &fixture,
        "from a.t",
        &fixture
            .rows("select * from a.t")
            .await
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
    )
    .await;
    let query = fixture.query();
    let answer = query
        .execute("select id, cast(id as double), 1, count(*), 1, sum(amount), sum(cast(amount as decimal(38,2))) from a.t group by id, cast(id as double)")
        .await
        .unwrap();
    let names: Vec<&str> = answer
        .schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(
        names,
        [
            "id",
            "CAST(id AS DOUBLE)",
            "1",
            "count(*)",
            "1_2",
            "sum(amount)",
            "sum(CAST(amount AS DECIMAL(38,2)))"
        ]
    );
    answer.collect().await.unwrap();
    let sampled = fixture
        .rows("select count(*) between 700 and 1300 from (select * from generate_series(1, 10000)) x where random() < 0.1")
        .await;
    assert_eq!(sampled, ["true"]);
    check(
        &fixture,
        "select count(*) from a.t tablesample (100 percent)",
        &["3"],
    )
    .await;
    check(
        &fixture,
        "select count(t.id) from a.t tablesample bernoulli (0)",
        &["0"],
    )
    .await;
    for refused in [
        "select * from a.t tablesample (10 rows)",
        "select * from a.t tablesample (10 percent) repeatable (1)",
    ] {
        let error = fixture.failure(refused).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{refused}: {error}");
        assert!(error.hint().is_some(), "{refused}");
    }
}

#[tokio::test]
async fn results_far_larger_than_their_arguments_are_held_to_the_memory_limit() {
    let fixture = lake().await;
    for call in [
        "repeat('x', 2000000000)",
        "repeat('x', id * 2000000000)",
        "rpad('x', 2000000000, 'y')",
        "lpad('x', 2000000000, 'y')",
        "array_repeat(1, 1000000000)",
        "range(1, 100000000000)",
        "generate_series(1, 2000000000)",
        "range(date '0001-01-01', date '9999-01-01', interval '1 day')[1] is null, repeat(repeat('x', 100000), 100000)",
        "replace(repeat('a', 10000000), 'a', repeat('b', 1000))",
        "array_resize([1], 2000000000, 0)",
    ] {
        let error = fixture.failure(&format!("select {call} from a.t")).await;
        assert_eq!(error.code(), "sql_value_too_large", "{call}: {error}");
        assert!(error.hint().is_some(), "{call}");
    }
    check(
        &fixture,
        "select length(repeat('ab', 1000)), cardinality(range(0, 5)) from a.t where id = 1",
        &["2000 | 5"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_ends_at_its_time_limit() {
    let fixture = lake().await;
    let query = fixture.query_with(QueryOptions {
        timeout: Some(Duration::from_secs(60)),
        ..QueryOptions::default()
    });
    let endless = "select count(*) from generate_series(1, 100000) a, generate_series(1, 100000) b where a.value + b.value < 0";
    let running = tokio::spawn(async move { rows(&query, endless).await });
    while !running.is_finished() {
        fixture.clock.advance(Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "query_timeout", "{error}");
}

#[tokio::test]
async fn a_join_that_outgrows_the_memory_spills() {
    let fixture = lake().await;
    let small = fixture.query_with(QueryOptions {
        memory_bytes: 40 << 20,
        threads: 1,
        ..QueryOptions::default()
    });
    let side =
        "(select value as v, repeat('x', 100) || value as s from generate_series(1, 200000))";
    let joined = rows(
        &small,
        &format!(
            "select count(*), count(distinct x.v % 10) from {side} x join {side} y on x.s = y.s"
        ),
    )
    .await;
    assert_eq!(joined.unwrap(), ["200000 | 10"]);
}

#[tokio::test]
async fn json_text_has_functions() {
    let fixture = lake().await;
    check(
        &fixture,
        "select j -> 'a' ->> 'b', json_extract(j, '$.a.b[-1]'), j ->> 'n' from a.t where id = 1",
        &["[1,2.50] | 2.50 |"],
    )
    .await;
    check(
        &fixture,
        "select json_array_length(j), j ->> 'a' from a.t where id > 1 order by id",
        &[" | x", "0 |"],
    )
    .await;
}

#[tokio::test]
async fn errors_are_in_the_words_of_sql() {
    let fixture = lake().await;
    for (sql, message) in [
        (
            "select lenght(s) from a.t",
            "1:8: unknown function lenght()",
        ),
        (
            "select\n date_trunc(1, ts) from a.t",
            "2:2: date_trunc(bigint, timestamp) does not exist",
        ),
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.message(), message, "{sql}");
    }
    for sql in [
        "select s + 1 from a.t where ts + ts > 1",
        "select exists(select 1), x from a.t, lateral unnest([1]) as u(x)",
        "select sum(s) from a.t",
        "select upper(1, 2)",
        "select * from a.t where id = [1]",
    ] {
        let error = fixture.failure(sql).await;
        let text = format!("{error} {}", error.hint().unwrap_or_default());
        for debug in [
            "Int64",
            "Utf8",
            "Float64",
            "Some(",
            "TableFactor",
            "Ident {",
            "Signature",
            "TypeSignature",
        ] {
            assert!(!text.contains(debug), "{sql}: {text}");
        }
    }
    let error = fixture
        .failure("select * from a.t for system_time as of '2020-01-01T00:00:00Z'")
        .await;
    assert!(error.message().contains("did not exist"), "{error}");
}
