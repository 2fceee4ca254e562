//! Casts that SQL does not have are refused when a statement is planned, with what to write instead.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, TimestampMicrosecondArray,
};
use forebay_core::ErrorKind;

use crate::fixture::Fixture;

async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let stamps = TimestampMicrosecondArray::from(vec![1_704_153_600_000_000]);
    let cents = Decimal128Array::from(vec![150]).with_precision_and_scale(10, 2);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![86_400_000_000]))),
        ("i", Arc::new(Int32Array::from(vec![2]))),
        ("f", Arc::new(Float64Array::from(vec![1.5]))),
        ("d", Arc::new(cents.unwrap())),
        ("o", Arc::new(BooleanArray::from(vec![true]))),
        ("dt", Arc::new(Date32Array::from(vec![19_724]))),
        ("ts", Arc::new(stamps.clone())),
        ("tz", Arc::new(stamps.with_timezone("+00:00"))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    fixture.append(&[("a.t", &[], batch)]).await;
    fixture
}

#[tokio::test]
async fn numbers_and_booleans_are_not_cast_to_times_or_back() {
    let fixture = lake().await;
    let numbers = ["n", "i", "f", "d", "o", "86400000000::bigint", "(n + 1)"];
    let times = [
        "dt",
        "ts",
        "tz",
        "ts::time",
        "(ts - ts)",
        "interval '1 day'",
    ];
    let to_times = ["date", "time", "timestamp", "timestamptz", "interval"];
    let to_numbers = ["bigint", "int", "double", "decimal(10,2)", "boolean"];
    let pairs = [(&numbers[..], to_times), (&times[..], to_numbers)];
    for (values, kinds) in pairs {
        for value in values {
            for kind in kinds {
                for cast in ["cast", "try_cast"] {
                    refuses(
                        &fixture,
                        &format!("select {cast}({value} as {kind}) from a.t"),
                    )
                    .await;
                }
            }
        }
    }
}

async fn refuses(fixture: &Fixture, sql: &str) {
    let error = fixture.failure(sql).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{sql}: {error}");
    assert!(
        error.message().starts_with("cannot cast "),
        "{sql}: {error}"
    );
    assert!(error.hint().is_some(), "{sql}");
}

#[tokio::test]
async fn casts_within_lists_functions_and_comparisons_are_refused_too() {
    let fixture = lake().await;
    for sql in [
        "select [n]::timestamp[] from a.t",
        "select arrow_cast(n, 'Time64(Microsecond)') from a.t",
        "select to_date(n) from a.t",
        "select n from a.t where n::date = date '2024-01-01'",
        "select n from a.t where dt = 5",
        "select n from a.t where dt in (1, 2)",
        "select x.n from a.t x join a.t y on x.dt = y.n",
        "select ts::date::time from a.t",
    ] {
        refuses(&fixture, sql).await;
    }
    let error = fixture.failure("select n::timestamp from a.t").await;
    assert_eq!(error.message(), "cannot cast bigint to timestamp");
    let hint = "write to_timestamp(n) for seconds since 1970, to_timestamp_millis(n) or to_timestamp_micros(n) for milliseconds or microseconds";
    assert_eq!(error.hint(), Some(hint));
}

#[tokio::test]
async fn what_the_hints_say_works() {
    let fixture = lake().await;
    for (sql, expected) in [
        (
            "select to_timestamp(i), to_timestamp_millis(i) from a.t",
            "1970-01-01T00:00:02Z | 1970-01-01T00:00:00.002Z",
        ),
        (
            "select to_timestamp(i)::date, date '1970-01-01' + i from a.t",
            "1970-01-01 | 1970-01-03",
        ),
        (
            "select time '00:00' + i * interval '1 second' from a.t",
            "00:00:02",
        ),
        (
            "select extract(epoch from dt), extract(epoch from ts - ts) from a.t",
            "1704153600.0 | 0.0",
        ),
        ("select extract(epoch from ts::time) from a.t", "0.0"),
        (
            "select o::int, i::boolean, ts::date, ts::time, dt::timestamp from a.t",
            "1 | true | 2024-01-02 | 00:00:00 | 2024-01-02T00:00:00",
        ),
        (
            "select dt + 30, 30 + dt, dt - 2 from a.t",
            "2024-02-01 | 2024-02-01 | 2023-12-31",
        ),
    ] {
        assert_eq!(fixture.rows(sql).await, [expected], "{sql}");
    }
    let far = "select dt + 9223372036854775807 from a.t";
    assert_eq!(fixture.failure(far).await.code(), "overflow");
}
