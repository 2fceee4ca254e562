//! Statements that must not run, and statements that must end.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_core::ErrorKind;
use forebay_query::QueryOptions;

use crate::fixture::{Fixture, rows};

fn ids(count: i64) -> RecordBatch {
    let ids = Int64Array::from_iter_values(
        (0..count).map(|id| if id == count - 1 { i64::MAX } else { id }),
    );
    RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap()
}

#[tokio::test]
async fn nothing_but_reading_is_allowed() {
    let fixture = Fixture::new().await;
    fixture.append(&[("a.t", &[], ids(10))]).await;
    for sql in [
        "copy a.t to '/tmp/forebay-stolen.csv'",
        "create external table x stored as parquet location '/etc'",
        "insert into a.t values (1)",
        "update a.t set id = 1",
        "delete from a.t",
        "drop table a.t",
        "create table x as select 1",
        "create view a.v as select 1",
        "set datafusion.execution.parquet.pushdown_filters = true",
        "explain analyze insert into a.t values (1)",
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}");
    }
    for sql in [
        "select * from '/etc/passwd'",
        "select * from \"file:///etc/passwd\"",
        "select * from read_parquet('/etc/passwd')",
        "with x as (insert into a.t values (1) returning id) select * from x",
    ] {
        let error = fixture.failure(sql).await;
        assert!(
            matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported),
            "{sql}: {error}"
        );
    }
    assert_eq!(fixture.rows("select count(*) from a.t").await, ["10"]);
}

#[tokio::test]
async fn wrong_names_are_told_apart_and_corrected() {
    let fixture = Fixture::new().await;
    fixture.append(&[("quakes.events", &[], ids(3))]).await;
    let error = fixture.failure("select * from quakes.event").await;
    assert_eq!(
        (error.message(), error.hint()),
        (
            "1:15: no table quakes.event",
            Some("did you mean quakes.events?")
        )
    );
    let error = fixture.failure("select * from events").await;
    assert_eq!(error.hint(), Some("did you mean quakes.events?"));
    let error = fixture.failure("select\n idd from quakes.events").await;
    assert_eq!(
        (error.message(), error.hint()),
        ("2:2: no column idd", Some("did you mean id?"))
    );
    let error = fixture.failure("select * from lake.comits").await;
    assert_eq!(error.hint(), Some("did you mean lake.commits?"));
}

#[tokio::test]
async fn values_that_do_not_compute_are_data_errors() {
    let fixture = Fixture::new().await;
    fixture.append(&[("a.t", &[], ids(10))]).await;
    for (sql, code) in [
        ("select 1 / (id - 3) from a.t", "divide_by_zero"),
        ("select id + 1 from a.t", "overflow"),
        ("select id * 3 from a.t", "overflow"),
        ("select sum(id + id) from a.t", "overflow"),
        ("select sum(id) from a.t", "overflow"),
        ("select id > 5, sum(id) from a.t group by 1", "overflow"),
        ("select -(-1 - id) from a.t", "overflow"),
        (
            "select count(*) from a.t x join a.t y on x.id + 1 = y.id",
            "overflow",
        ),
        ("select arrow_cast(id, 'Int8') from a.t", "bad_cast"),
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Data, code),
            "{sql}: {error}"
        );
    }
    assert_eq!(
        fixture
            .rows("select id + 1 as next from a.t where id = 3")
            .await,
        ["4"]
    );
    assert_eq!(
        fixture
            .failure("select 9223372036854775807 + 1")
            .await
            .code(),
        "overflow"
    );
}

#[tokio::test]
async fn hostile_statements_end_with_an_error() {
    let fixture = Fixture::new().await;
    fixture.append(&[("a.t", &[], ids(10))]).await;
    let deep = format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(fixture.failure(&deep).await.code(), "sql_too_deep");
    let long = format!("select '{}'", "x".repeat(10 << 20));
    assert_eq!(fixture.failure(&long).await.code(), "sql_too_long");
    let chain = format!("select id{} from a.t where id < 3", " + 1".repeat(80));
    assert_eq!(fixture.rows(&chain).await.len(), 3);
    // A union counts twice: as the set and as the query behind it.
    let unions = format!("select 1{}", " union all select 1".repeat(45));
    assert_eq!(fixture.rows(&unions).await.len(), 46);
}

#[tokio::test]
async fn memory_is_limited_and_spilling_helps_where_it_can() {
    let fixture = Fixture::new().await;
    let small = fixture.query_with(QueryOptions {
        memory_bytes: 32 << 20,
        threads: 1,
        ..QueryOptions::default()
    });
    let series =
        "(select value as v, repeat('x', 200) || value as s from generate_series(1, 400000))";
    let sorted = rows(
        &small,
        &format!(
            "select max(n) from (select row_number() over (order by s desc) as n from {series})"
        ),
    )
    .await;
    assert!(sorted.is_ok(), "a sort spills: {:?}", sorted.err());
    let error = rows(
        &small,
        &format!("select count(distinct s), array_agg(s) from {series}"),
    )
    .await
    .unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Unavailable, "query_memory"),
        "{error}"
    );
}

/// The answer is a stream: a join of 10^12 rows costs nothing until it is read, and stops when the reader goes.
#[tokio::test]
async fn an_endless_answer_streams_and_stops_when_dropped() {
    use futures::StreamExt;
    let fixture = Fixture::new().await;
    let query = fixture.query();
    let mut answer = query.execute("select a.value from generate_series(1, 1000000) a cross join generate_series(1, 1000000) b").await.unwrap();
    let first = answer.batches.next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0);
    drop(answer);
    assert_eq!(fixture.rows("select 1").await, ["1"]);
}

/// Each step doubles its text or list: 40 steps of 16 bytes are 16 TiB.
#[tokio::test]
async fn a_chain_that_doubles_ends_at_the_bound_of_one_value() {
    let fixture = Fixture::new().await;
    let small = fixture.query_with(QueryOptions {
        memory_bytes: 32 << 20,
        threads: 1,
        ..QueryOptions::default()
    });
    for step in [
        "s || s",
        "concat(s, s)",
        "overlay(s placing s from 1 for 0)",
        "encode(s, 'hex')",
        "replace(s, 'x', 'xx')",
        "array_to_string([s, s], '')",
    ] {
        let mut chain =
            "with s0 as (select repeat('x', 16) as s from generate_series(1, 2))".to_owned();
        for at in 1..=40 {
            chain += &format!(", s{at} as (select {step} as s from s{})", at - 1);
        }
        let error = rows(&small, &format!("{chain} select max(length(s)) from s40"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "sql_value_too_large", "{step}: {error}");
    }
    let error = rows(&small, "select length(array_to_string(array_concat(x, x), '')) from (select array_repeat('x', 5000000) as x)").await.unwrap_err();
    assert_eq!(error.code(), "sql_value_too_large", "{error}");
    assert_eq!(
        rows(
            &small,
            "select 'a' || s || null, 'a' || s || 1 from (values ('b')) t(s)"
        )
        .await
        .unwrap(),
        [" | ab1"]
    );
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_read_from_all_the_same() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be: nothing can be made there, by root either.
    let spill = folder.path().join("spill");
    std::fs::File::create(&spill).unwrap();
    let query = fixture.query_with(QueryOptions {
        memory_bytes: 8 << 20,
        threads: 1,
        spill_dir: Some(spill),
        ..QueryOptions::default()
    });
    assert_eq!(
        rows(&query, "select count(*) from generate_series(1, 1000)")
            .await
            .unwrap(),
        ["1000"]
    );
    let large = "select max(n) from (select row_number() over (order by s) as n from (select repeat('x', 200) || value as s from generate_series(1, 400000)))";
    let error = rows(&query, large).await.unwrap_err();
    assert_eq!(error.code(), "query_memory", "{error}");
    assert!(
        error.hint().unwrap().contains("nothing can be spilled to"),
        "{error:?}"
    );
}

/// `forebay sql` reads the answer when the session is gone.
#[tokio::test]
async fn an_answer_spills_after_its_session() {
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().unwrap();
    let query = fixture.query_with(QueryOptions {
        memory_bytes: 32 << 20,
        threads: 1,
        spill_dir: Some(folder.path().join("spill")),
        ..QueryOptions::default()
    });
    let sorted = "select max(n) from (select row_number() over (order by s) as n from (select repeat('x', 200) || value as s from generate_series(1, 400000)))";
    let answer = query.execute(sorted).await.unwrap();
    drop(query);
    let rows = crate::fixture::shown(&answer.collect().await.unwrap());
    assert_eq!(rows, ["400000"]);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("spill"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "only the guard: {left:?}");
}

#[tokio::test]
async fn a_failed_or_dropped_query_leaves_nothing_spilled() {
    use futures::StreamExt;
    let fixture = Fixture::new().await;
    let folder = tempfile::tempdir().unwrap();
    let options = || QueryOptions {
        memory_bytes: 32 << 20,
        threads: 1,
        spill_dir: Some(folder.path().join("spill")),
        ..QueryOptions::default()
    };
    let sorted = "select n, 1 / (n - 100000) from (select row_number() over (order by s) as n from (select repeat('x', 200) || value as s from generate_series(1, 400000)))";
    let query = fixture.query_with(options());
    let error = rows(&query, sorted).await.unwrap_err();
    assert_eq!(error.code(), "divide_by_zero", "{error}");
    let mut answer = query.execute(sorted).await.unwrap();
    answer.batches.next().await.unwrap().unwrap();
    drop(answer);
    drop(query);
    let left: Vec<_> = std::fs::read_dir(folder.path().join("spill"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "only the guard: {left:?}");
}

#[tokio::test]
async fn grouping_beside_equal_aggregates_is_refused() {
    let fixture = Fixture::new().await;
    fixture.append(&[("a.t", &[], ids(10))]).await;
    let sql = "select id, grouping(id), count(*), count(1 * 1) from a.t group by rollup(id)";
    let error = fixture.failure(sql).await;
    assert_eq!(error.code(), "sql_unsupported", "{error}");
    assert!(error.message().starts_with("grouping()"), "{error}");
}

#[tokio::test]
async fn places_before_the_first_row_of_a_frame_are_refused() {
    let fixture = Fixture::new().await;
    for sql in [
        "select nth_value(1, 0) over ()",
        "select nth_value(1, -1) over ()",
    ] {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), "bad_sql", "{sql}: {error}");
    }
    let sql = "select nth_value(x, 2) over (order by x) from (values (1), (2)) t(x) order by x";
    assert_eq!(fixture.rows(sql).await, ["", "2"]);
}

#[tokio::test]
async fn errors_name_the_right_place_or_none() {
    let fixture = Fixture::new().await;
    for (sql, expected) in [
        (
            "select 1, a + 1 from (select true a)",
            "1:13: boolean + bigint does not exist",
        ),
        (
            "select a from (values (1)) t(a) order by 3",
            "ORDER BY 3 is out of bounds: the select list has 1 column",
        ),
        (
            "select 1, '2020-13-01'::date",
            "1:11: Cannot cast string '2020-13-01' to value of date type",
        ),
        ("select 1 as a, 2 as a", "two columns have the name a"),
        (
            "select substring('abc')",
            "substring() takes FROM, FOR or both",
        ),
        (
            "select * from generate_series(timestamp '2300-01-01', timestamp '2300-01-03', interval '1 day')",
            "a series of timestamps is not supported in FROM",
        ),
        ("select not 5", "1:8: NOT takes a boolean, not bigint"),
        (
            "select true,\n  not x from (values (5)) t(x)",
            "2:7: NOT takes a boolean, not bigint",
        ),
        (
            "select x and y or not y from (values (true, 1.5)) t(x, y)",
            "1:14: AND takes a boolean, not decimal(2,1)",
        ),
        ("select 5 and true", "1:10: AND takes a boolean, not bigint"),
        (
            "select date '2024-01-01' or null",
            "1:26: OR takes a boolean, not date",
        ),
        (
            "select case when 'x' then 1 end",
            "'x' is not a valid boolean",
        ),
        ("select true or 'x'", "'x' is not a valid boolean"),
        (
            "select 5 is true",
            "1:13: IS TRUE takes a boolean, not bigint",
        ),
        (
            "select 1,\n  case when 5 then 2 end",
            "2:8: WHEN takes a boolean, not bigint",
        ),
        (
            "select case when s then 2 end from (values ('a')) t(s)",
            "1:18: WHEN takes a boolean, not text",
        ),
        (
            "select count(*) filter (where 5)",
            "1:17: FILTER takes a boolean, not bigint",
        ),
        (
            "select - 'a'",
            "1:8: - takes a number or interval, not text",
        ),
        (
            "select - true",
            "1:8: - takes a number or interval, not boolean",
        ),
        (
            "select 1, -s from (values ('a')) t(s)",
            "1:12: - takes a number or interval, not text",
        ),
        ("select + 'a'", "1:8: + takes a number or interval"),
        ("select ~ 5", "not supported: this operator before a value"),
        ("select 5 || true", "1:10: bigint || boolean does not exist"),
        ("select 5 & true", "1:10: bigint & boolean does not exist"),
        (
            "select 1 where 5",
            "1:10: a condition is a boolean, not bigint",
        ),
        (
            "select count(*) from (values (1)) t(x) having 5",
            "1:40: a condition is a boolean, not bigint",
        ),
        (
            "select * from (values (1)) a(x) join (values (1)) b(y) on 5",
            "1:56: a condition is a boolean, not bigint",
        ),
    ] {
        let error = fixture.failure(sql).await;
        assert!(error.message().starts_with(expected), "{sql}: {error}");
    }
}

#[tokio::test]
async fn operands_of_logical_operators_are_read_as_booleans() {
    let fixture = Fixture::new().await;
    let sql = "select true and 't', not 'f', 'no' or null, 't' is true, count(*) filter (where 't'), -null, -interval '1 day', - 5.5";
    assert_eq!(
        fixture.rows(sql).await,
        ["true | true |  | true | 1 |  | -1 days | -5.5"]
    );
}

#[tokio::test]
async fn hints_of_overflows_name_a_wider_type() {
    let fixture = Fixture::new().await;
    for (sql, hint) in [
        (
            "select x + x from (values (99999999999999999999999999999999999999)) t(x)",
            "double",
        ),
        (
            "select x + 1 from (values (99999999999999999999999999999999999999)) t(x)",
            "double",
        ),
        (
            "select x + y from (values (9223372036854775807, 1)) t(x, y)",
            "decimal(38,0)",
        ),
    ] {
        let error = fixture.failure(sql).await;
        assert!(
            error.hint().is_some_and(|found| found.contains(hint)),
            "{sql}: {error}"
        );
    }
}
