use arrow::array::{Float64Array, Int64Array, StringArray, StructArray, TimestampNanosecondArray};
use arrow::datatypes::Field;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

use super::*;
use crate::transform::fixture;

fn shown(array: &ArrayRef) -> Vec<String> {
    let value = |row| {
        if array.is_null(row) {
            "-".to_owned()
        } else {
            array_value_to_string(array, row).expect("it shows")
        }
    };
    (0..array.len()).map(value).collect()
}

fn texts(values: &[&str], kind: ColumnType) -> Vec<String> {
    let array: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    shown(&convert(&array, kind).expect("text goes to every type"))
}

fn doubles(values: &[f64], kind: ColumnType) -> Vec<String> {
    let array: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    shown(&convert(&array, kind).expect("numbers go to numbers"))
}

fn longs(values: &[i64], kind: ColumnType) -> Vec<String> {
    let array: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    shown(&convert(&array, kind).expect("numbers go to numbers"))
}

#[test]
fn text_is_read_strictly() {
    assert_eq!(
        texts(
            &["1", "-7", "1.0", " 1", "", "9223372036854775808"],
            ColumnType::Long
        ),
        ["1", "-7", "-", "-", "-", "-"]
    );
    assert_eq!(texts(&["1", "2147483648"], ColumnType::Int), ["1", "-"]);
    assert_eq!(
        texts(&["true", "FALSE", "1", "yes"], ColumnType::Boolean),
        ["true", "false", "-", "-"]
    );
    assert_eq!(
        texts(&["2026-02-28", "2026-02-30", "2026-2-3"], ColumnType::Date),
        ["2026-02-28", "-", "-"]
    );
    assert_eq!(
        texts(&["{\"a\": 1}", "[", "nope"], ColumnType::Json),
        ["{\"a\": 1}", "-", "-"]
    );
    assert_eq!(texts(&["é"], ColumnType::Binary), ["c3a9"]);
}

#[test]
fn a_float_holds_the_digits_that_were_written() {
    let values = [
        "0.1",
        "1e3",
        "9007199254740992",
        "9007199254740993",
        "0.30000000000000004",
        "1e400",
        "1e-400",
        "NaN",
        "inf",
    ];
    assert_eq!(
        texts(&values, ColumnType::Double),
        [
            "0.1",
            "1000.0",
            "9007199254740992.0",
            "-",
            "0.30000000000000004",
            "-",
            "-",
            "-",
            "-"
        ]
    );
    assert_eq!(
        texts(
            &["0.5", "0.1", "0.123456789", "16777217"],
            ColumnType::Float
        ),
        ["0.5", "0.1", "-", "-"]
    );
    // Two texts are equally near to …323.25, and programs write either.
    assert_eq!(
        texts(
            &[
                "2133862005680323.2",
                "2133862005680323.3",
                "2133862005680323.1"
            ],
            ColumnType::Double
        ),
        ["2133862005680323.2", "2133862005680323.2", "-"]
    );
    assert_eq!(
        texts(&["0", "-0.0", "0e5"], ColumnType::Double),
        ["0.0", "-0.0", "0.0"]
    );
}

#[test]
fn a_decimal_is_exact_or_nothing() {
    let kind = ColumnType::Decimal(6, 2);
    let values = [
        "1.25", "-1.5", "1.250", "1.255", "9999.99", "10000", "1e2", "125e-2", "0.001", "1e-2",
        ".5", "5.", ".", "1_0",
    ];
    assert_eq!(
        texts(&values, kind),
        [
            "1.25", "-1.50", "1.25", "-", "9999.99", "-", "100.00", "1.25", "-", "0.01", "0.50",
            "5.00", "-", "-"
        ]
    );
    assert_eq!(
        doubles(&[4.35, 0.1, 1.005, f64::NAN, 1e300], kind),
        ["4.35", "0.10", "-", "-", "-"]
    );
    assert_eq!(
        texts(&["0e999999999", "1e2147483647", "1e-2147483648"], kind),
        ["0.00", "-", "-"]
    );
}

#[test]
fn numbers_go_to_numbers_exactly() {
    assert_eq!(
        doubles(&[1.0, 1.5, -0.0, 1e19, f64::NAN], ColumnType::Long),
        ["1", "-", "0", "-", "-"]
    );
    assert_eq!(
        doubles(&[0.5, 0.1, 1e300], ColumnType::Float),
        ["0.5", "-", "-"]
    );
    assert_eq!(
        longs(&[1 << 53, (1 << 53) + 1, i64::MAX], ColumnType::Double),
        ["9007199254740992.0", "-", "-"]
    );
    assert_eq!(longs(&[5, 1 << 40], ColumnType::Int), ["5", "-"]);
    assert_eq!(
        longs(&[0, 1, 2], ColumnType::Boolean),
        ["false", "true", "-"]
    );
    assert_eq!(longs(&[7], ColumnType::String), ["7"]);
    assert_eq!(longs(&[99, 100], ColumnType::Decimal(4, 2)), ["99.00", "-"]);
}

#[test]
fn instants_keep_their_microseconds_and_their_zone() {
    let tz = [
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00.123456Z",
        "2026-01-01T00:00:00.1234567Z",
        "2026-01-01T00:00:00",
        "2026-12-31T23:59:60Z",
        "2026-01-01T00:00:00.1234560000001Z",
    ];
    assert_eq!(
        texts(&tz, ColumnType::Timestamptz),
        [
            "2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.123456Z",
            "-",
            "-",
            "-",
            "-"
        ]
    );
    assert_eq!(
        texts(
            &[
                "2026-01-01T00:00:00",
                "2026-01-01 00:00:00.5",
                "2026-01-01T00:00:00Z"
            ],
            ColumnType::Timestamp
        ),
        ["2026-01-01T00:00:00", "2026-01-01T00:00:00.500", "-"]
    );
    let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![
        86_400_000_000_000,
        1_000,
        1,
    ]));
    assert_eq!(
        shown(&convert(&nanos, ColumnType::Timestamp).expect("times go to times"))[1..],
        ["1970-01-01T00:00:00.000001", "-"]
    );
    assert_eq!(
        shown(&convert(&nanos, ColumnType::Date).expect("times go to times")),
        ["1970-01-02", "-", "-"]
    );
}

#[test]
fn what_has_no_meaning_is_refused_for_the_whole_column() {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let error = convert(&number, ColumnType::Timestamptz).expect_err("no unit");
    assert_eq!(error.code(), "no_cast");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("to_timestamp_millis"))
    );
    assert!(convert(&number, ColumnType::Binary).is_err());
    let field = Arc::new(Field::new("a", DataType::Int64, true));
    let nested: ArrayRef = Arc::new(StructArray::from(vec![(field, number)]));
    assert!(convert(&nested, ColumnType::String).is_err());
    assert_eq!(
        shown(&convert(&nested, ColumnType::Json).expect("all goes to JSON")),
        ["{\"a\":1}"]
    );
    assert_eq!(doubles(&[0.5, f64::NAN], ColumnType::Json), ["0.5", "-"]);
}

#[tokio::test]
async fn a_value_that_does_not_fit_takes_its_row_to_quarantine_and_no_other() {
    let config = Document::from_yaml("{n: string, name: long}").expect("the text is YAML");
    let cast = Kind
        .build(&config, &fixture::engine())
        .expect("it is built");
    let made = cast
        .apply(fixture::batch(), "transform[1]")
        .await
        .expect("it runs");
    // Only the row whose name is null is left: a, b and c are not numbers.
    assert_eq!(made.batch.records.num_rows(), 1);
    assert_eq!(made.batch.records.column(0).data_type(), &DataType::Utf8);
    assert_eq!(
        made.batch.origins.map(|origins| origins.offsets),
        Some(vec![300])
    );
    assert_eq!(made.rejected.len(), 3);
    let first = &made.rejected[0];
    assert_eq!(
        (first.payload, first.offset, first.code.as_str()),
        (Some(7), Some(0), "cast_not_exact")
    );
    assert_eq!(first.reason, "`name` is not exactly a long");
    assert_eq!(
        String::from_utf8_lossy(&first.record),
        r#"{"n":1,"name":"a"}"#
    );
}

proptest! {
    /// The oracle is integer arithmetic: a decimal with two places holds `n / 100` and nothing between.
    #[test]
    fn text_to_decimal_agrees_with_integers(n in -99_999_999i64..99_999_999, zeros in 0usize..5) {
        let text = format!("{}{}.{:02}{}", if n < 0 { "-" } else { "" }, n.abs() / 100, n.abs() % 100, "0".repeat(zeros));
        let shown = texts(&[&text], ColumnType::Decimal(10, 2));
        let expected = format!("{}{}.{:02}", if n < 0 { "-" } else { "" }, n.abs() / 100, n.abs() % 100);
        prop_assert_eq!(&shown[0], &expected);
        let finer = texts(&[&format!("{text}1")], ColumnType::Decimal(10, 2));
        prop_assert_eq!(&finer[0], "-");
    }

    /// The shortest text of a float always reads back as that float.
    #[test]
    fn a_float_survives_its_text(value in proptest::num::f64::NORMAL) {
        let array: ArrayRef = Arc::new(StringArray::from(vec![format!("{value:e}")]));
        let read = convert(&array, ColumnType::Double).expect("text goes to every type");
        prop_assert_eq!(read.as_any().downcast_ref::<Float64Array>().map(|a| a.value(0)), Some(value));
    }

    /// An integer that comes through a double is either the same integer or none.
    #[test]
    fn a_long_never_rounds(value in any::<i64>()) {
        let shown = longs(&[value], ColumnType::Double);
        let exact = (value as f64) as i128 == i128::from(value);
        prop_assert_eq!(shown[0] != "-", exact);
    }
}
