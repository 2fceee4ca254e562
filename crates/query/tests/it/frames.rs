//! `RANGE` frames over every type that sorts. The expected rows are those of DuckDB.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use forebay_core::ErrorKind;

use crate::fixture::Fixture;

async fn lake() -> Fixture {
    let fixture = Fixture::new().await;
    let decimals = |values: Vec<Option<i128>>, digits, scale| -> ArrayRef {
        let array = Decimal128Array::from(values);
        Arc::new(array.with_precision_and_scale(digits, scale).unwrap())
    };
    let most = 10_i128.pow(38) - 1;
    let stamps = [0, 3_600, 7_200, 90_000, 90_000].map(|seconds| seconds * 1_000_000);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(1..=5)), false),
        (
            "b",
            Arc::new(Int64Array::from(vec![
                i64::MAX,
                i64::MAX - 3,
                0,
                i64::MIN,
                1,
            ])),
            false,
        ),
        (
            "d",
            decimals(
                vec![Some(100), Some(250), Some(251), None, Some(-50)],
                10,
                2,
            ),
            true,
        ),
        (
            "w",
            decimals(
                vec![Some(most), Some(most - 3), Some(0), Some(-most), Some(1)],
                38,
                0,
            ),
            true,
        ),
        (
            "dt",
            Arc::new(Date32Array::from(vec![0, 1, 2, 9, 9])),
            false,
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(stamps.to_vec())),
            false,
        ),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    fixture.append(&[("a.t", &[], batch)]).await;
    fixture
}

#[tokio::test]
async fn a_range_is_right_in_every_type() {
    let fixture = lake().await;
    for (order, counts) in [
        (
            "d range between 1.5 preceding and current row",
            [2, 2, 2, 1, 1],
        ),
        (
            "d range between 1.505 preceding and 0.01 following",
            [2, 3, 2, 1, 1],
        ),
        (
            "d desc range between 1.5 preceding and current row",
            [2, 2, 1, 1, 2],
        ),
        (
            "w range between 5 preceding and 5 following",
            [2, 2, 2, 1, 2],
        ),
        (
            "b range between 5 preceding and 5 following",
            [2, 2, 2, 1, 2],
        ),
        (
            "id range between 1.5 preceding and current row",
            [1, 2, 2, 2, 2],
        ),
        (
            "dt range between interval '36 hours' preceding and current row",
            [1, 2, 2, 2, 2],
        ),
        (
            "ts range between interval '1 hour' preceding and current row",
            [1, 2, 2, 2, 2],
        ),
        // Without an offset any type will do.
        ("ts::time", [1, 4, 5, 4, 4]),
        ("ts - timestamp '1970-01-01'", [1, 2, 3, 5, 5]),
        (
            "id % 2, ts::time range between unbounded preceding and current row",
            [3, 2, 5, 2, 4],
        ),
    ] {
        let sql = format!("select count(*) over (order by {order}) from a.t order by id");
        let expected = counts.map(|count| count.to_string());
        assert_eq!(fixture.rows(&sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn frames_of_one_order_stand_side_by_side() {
    let fixture = lake().await;
    let sql = "select id, count(*) over (order by d range between 1.5 preceding and current row), rank() over (order by d), sum(id) over (order by d range between 0.01 preceding and current row) from a.t order by id";
    let expected = [
        "1 | 2 | 2 | 1",
        "2 | 2 | 3 | 2",
        "3 | 2 | 4 | 5",
        "4 | 1 | 5 | 4",
        "5 | 1 | 1 | 5",
    ];
    assert_eq!(fixture.rows(sql).await, expected);
}

#[tokio::test]
async fn a_range_that_would_be_wrong_is_refused() {
    let fixture = lake().await;
    for (order, kind) in [
        (
            "id range between 2 preceding and 1 preceding",
            ErrorKind::Unsupported,
        ),
        (
            "ts::time range between interval '1 hour' preceding and current row",
            ErrorKind::Unsupported,
        ),
        (
            "id::text range between 1 preceding and current row",
            ErrorKind::Unsupported,
        ),
        (
            "ts range between 5 preceding and current row",
            ErrorKind::Config,
        ),
        (
            "id range between interval '1 day' preceding and current row",
            ErrorKind::Config,
        ),
        (
            "ts range between interval '-1 day' preceding and current row",
            ErrorKind::Config,
        ),
    ] {
        let sql = format!("select count(*) over (order by {order}) from a.t");
        let error = fixture.failure(&sql).await;
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}");
    }
}

/// Expressions that keep the order of a column: the engine took their sort for one that is there already.
#[tokio::test]
async fn windows_are_ordered_by_an_expression_and_a_column() {
    let fixture = Fixture::new().await;
    let f = Float64Array::from(vec![Some(1.5), Some(2.5), None, Some(-0.5), Some(1.4)]);
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values(1..=5)), false),
        ("f", Arc::new(f), true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    fixture.append(&[("a.t", &[], batch)]).await;
    for (key, expected) in [
        ("cast(f as bigint), id", ["5", "1", "2", "", "4"]),
        ("f > 0.1, id", ["4", "1", "5", "", "2"]),
        ("cast(f as decimal(20, 4)), id", ["5", "1", "2", "", "4"]),
        (
            "cast(case when abs(f) < 100 then f end as bigint) desc nulls last, id",
            ["", "1", "4", "5", "2"],
        ),
    ] {
        let sql = format!("select lag(id) over (order by {key}) from a.t order by id");
        assert_eq!(fixture.rows(&sql).await, expected, "{sql}");
        let sql = format!(
            "select first_value(id) over (order by {key} rows between 1 preceding and current row), sum(id) over (partition by f > 0.1 order by {key}) from a.t order by id"
        );
        fixture.rows(&sql).await;
    }
}
