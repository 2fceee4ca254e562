//! The table of edge values in both engines, and values in the form that both share.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type,
    TimestampMicrosecondType,
};
use serde_json::{Value, json};

const ROWS: usize = 36;

const SMALL: [i32; 6] = [0, 3, -3, 2_147_483_647, -2_147_483_648, 46_341];

const INTEGERS: [i64; 9] = [
    0,
    1,
    -1,
    2,
    7,
    -13,
    1_000_000,
    4_611_686_018_427_387_904,
    -9_007_199_254_740_993,
];
const CENTS: [i128; 8] = [0, 1, -1, 813, 99, -250, 9_999_999_999, -9_999_999_999];
const WIDE: [i128; 7] = [
    0,
    1,
    -1,
    123_456_789_012_345_678_901_234_567,
    99_999_999_999_999_999_999_999_999_999_999_999_999,
    -99_999_999_999_999_999_999_999_999_999_999_999_999,
    50_000_000_000_000_000_000_000_000_000_000_000_000,
];
/// Ten digits behind the point.
const FINE: [i128; 6] = [
    0,
    1,
    -50_000_000_005,
    10_000_000_000,
    99_999_999_999_999_999_999_999_999_999_999_999_999,
    25_000_000_000,
];
const FLOATS: [f64; 14] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.1,
    2.5,
    -2.5,
    1e15,
    -1e300,
    5e-324,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    8.13,
];
const TEXTS: [&str; 13] = [
    "", "a", "ab", "user_1", "userx", "user_2%", "100%", "a\\b", "naïve", "日本", "A", "it's",
    " x ",
];
/// Days: years 1, 1600, 1969, 1970, 2000, 2024, 9999.
const DAYS: [i32; 9] = [
    -719_162, -135_140, -1, 0, 11_016, 19_782, 20_000, 2_932_896, 10_957,
];
const STAMPS: [i64; 9] = [
    -62_135_596_800_000_000,
    -12_000_000_000_000_001,
    -1,
    0,
    951_782_400_123_456,
    1_711_846_800_000_000,
    1_729_990_800_500_000,
    253_402_300_799_999_999,
    9_223_372_036_854_776,
];

/// Every `empty`th row is null.
fn pick<T: Copy>(values: &[T], row: usize, empty: usize) -> Option<T> {
    (row % empty != empty - 1).then(|| values[row % values.len()])
}

fn lists() -> Vec<Option<Vec<Option<i64>>>> {
    (0..ROWS)
        .map(|row| match row % 5 {
            0 => Some(vec![Some(1), Some(2), None]),
            1 => Some(Vec::new()),
            2 => Some(vec![Some(3)]),
            3 => None,
            _ => Some(vec![Some(2), Some(2), Some(-7), Some(1)]),
        })
        .collect()
}

/// The table, with an id that is the number of the row.
pub(super) fn table() -> RecordBatch {
    let rows = || 0..ROWS;
    let decimals = |values: &[i128], digits, scale| {
        let picked = rows().map(|row| pick(values, row, 11));
        let array: Decimal128Array = picked.collect();
        Arc::new(array.with_precision_and_scale(digits, scale).unwrap()) as ArrayRef
    };
    let stamps = || -> TimestampMicrosecondArray {
        rows().map(|row| pick(&STAMPS, row + row / 9, 13)).collect()
    };
    let reals = rows().map(|row| pick(&FLOATS, row + 3, 8).map(|value| value as f32));
    let columns: [(&str, ArrayRef); 15] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..ROWS as i64))),
        (
            "k",
            Arc::new(
                rows()
                    .map(|row| Some((row % 3) as i64))
                    .collect::<Int64Array>(),
            ),
        ),
        (
            "b",
            Arc::new(
                rows()
                    .map(|row| pick(&INTEGERS, row, 10))
                    .collect::<Int64Array>(),
            ),
        ),
        ("d", decimals(&CENTS, 10, 2)),
        ("w", decimals(&WIDE, 38, 0)),
        ("e", decimals(&FINE, 38, 10)),
        (
            "i",
            Arc::new(
                rows()
                    .map(|row| pick(&SMALL, row, 7))
                    .collect::<Int32Array>(),
            ),
        ),
        ("q", Arc::new(reals.collect::<Float32Array>())),
        (
            "f",
            Arc::new(
                rows()
                    .map(|row| pick(&FLOATS, row, 15))
                    .collect::<Float64Array>(),
            ),
        ),
        (
            "s",
            Arc::new(
                rows()
                    .map(|row| pick(&TEXTS, row, 14))
                    .collect::<StringArray>(),
            ),
        ),
        (
            "r",
            Arc::new(
                rows()
                    .map(|row| pick(&TEXTS, row * 5 + 1, 12))
                    .collect::<StringArray>(),
            ),
        ),
        (
            "dt",
            Arc::new(
                rows()
                    .map(|row| pick(&DAYS, row, 10))
                    .collect::<Date32Array>(),
            ),
        ),
        ("ts", Arc::new(stamps())),
        ("tz", Arc::new(stamps().with_timezone("+00:00"))),
        (
            "o",
            Arc::new(
                rows()
                    .map(|row| pick(&[true, false], row, 3))
                    .collect::<BooleanArray>(),
            ),
        ),
    ];
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(lists());
    let list = Arc::new(list) as ArrayRef;
    let columns = columns.into_iter().chain([("l", list)]);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
        .unwrap()
}

/// Statements that make the same table in DuckDB.
pub(super) fn setup() -> Vec<String> {
    let table = table();
    let create = "create table t (id bigint, k bigint, b bigint, d decimal(10,2), w decimal(38,0), e decimal(38,10), i integer, q real, f double, s varchar, r varchar, dt date, ts timestamp, tz timestamptz, o boolean, l bigint[])";
    let row = |row: usize| {
        let cells: Vec<String> = table
            .columns()
            .iter()
            .map(|column| literal(column, row))
            .collect();
        format!("({})", cells.join(", "))
    };
    let rows: Vec<String> = (0..table.num_rows()).map(row).collect();
    vec![
        create.to_owned(),
        format!("insert into t values {}", rows.join(", ")),
    ]
}

fn literal(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".to_owned();
    }
    match column.data_type() {
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)) + "::double",
        DataType::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            float(f64::from(value)) + "::real"
        }
        DataType::Utf8 => format!(
            "'{}'",
            column.as_string::<i32>().value(row).replace('\'', "''")
        ),
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            format!("(date '1970-01-01' + {days})")
        }
        DataType::Timestamp(_, zone) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            match zone {
                None => format!("make_timestamp({micros})"),
                Some(_) => format!("(make_timestamp({micros}) at time zone 'UTC')"),
            }
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            let items: Vec<String> = (0..items.len()).map(|at| literal(&items, at)).collect();
            format!("[{}]::bigint[]", items.join(", "))
        }
        DataType::Decimal128(digits, scale) => {
            let text = shared(column, row).unwrap();
            format!("'{text}'::decimal({digits},{scale})")
        }
        _ => shared(column, row).unwrap(),
    }
}

fn float(value: f64) -> String {
    if value.is_nan() {
        "'nan'".to_owned()
    } else if value.is_infinite() {
        format!("'{}inf'", if value < 0.0 { "-" } else { "" })
    } else {
        format!("'{value:e}'")
    }
}

/// Columns of an answer as lists of shared values.
pub(super) fn columns(batches: &[RecordBatch], width: usize) -> Vec<Value> {
    let column = |at: usize| {
        let values = batches.iter().flat_map(|batch| {
            let column = batch.column(at).clone();
            (0..batch.num_rows()).map(move |row| json!(shared(&column, row)))
        });
        Value::Array(values.collect())
    };
    (0..width).map(column).collect()
}

/// Rows of an answer as texts, in their order.
pub(super) fn sorted_rows(batches: &[RecordBatch]) -> Value {
    let rows = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(|row| {
            let cells = batch.columns().iter().map(|column| shared(column, row));
            let cells = cells.map(|cell| cell.unwrap_or_else(|| "None".to_owned()));
            cells.collect::<Vec<_>>().join(" | ")
        })
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    json!(rows)
}

pub(super) fn ids(batches: &[RecordBatch]) -> Vec<usize> {
    let ids = batches.iter().flat_map(|batch| {
        batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    });
    ids.map(|id| usize::try_from(id).unwrap()).collect()
}

/// The value as text, the same for equal values of both engines; `None` for null.
fn shared(column: &ArrayRef, row: usize) -> Option<String> {
    if column.data_type().is_null() || column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        kind if kind.is_integer() => {
            let wide = cast(&column.slice(row, 1), &DataType::Decimal128(38, 0)).unwrap();
            wide.as_primitive::<Decimal128Type>().value(0).to_string()
        }
        DataType::Decimal128(..) => {
            let text = column.as_primitive::<Decimal128Type>().value_as_string(row);
            let text = match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            };
            if text == "-0" { "0".to_owned() } else { text }
        }
        DataType::Float32 | DataType::Float64 => {
            let wide = cast(&column.slice(row, 1), &DataType::Float64).unwrap();
            let value = wide.as_primitive::<Float64Type>().value(0);
            if value.is_nan() {
                return Some("NaN".to_owned());
            }
            let bytes = (value + 0.0).to_be_bytes();
            bytes.iter().fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").unwrap();
                text
            })
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => column.as_string_view().value(row).to_owned(),
        DataType::Date32 => column
            .as_primitive::<Date32Type>()
            .value_as_date(row)
            .unwrap()
            .to_string(),
        DataType::Timestamp(..) => column
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
            .to_string(),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            let items: Vec<String> = (0..items.len())
                .map(|at| shared(&items, at).unwrap_or_else(|| "None".to_owned()))
                .collect();
            format!("[{}]", items.join(","))
        }
        other => panic!("no shared form of {other}"),
    })
}
