//! Random tables, partitions and predicates: the lake must answer as the same rows held in memory do.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixture::{Fixture, rows, shown};

#[derive(Debug, Clone)]
struct Row {
    n: Option<i32>,
    s: Option<String>,
    day: Option<i32>,
    at: Option<i64>,
    f: Option<f64>,
    b: Option<bool>,
    dec: Option<i128>,
}

const HOUR: i64 = 3_600_000_000;

fn row() -> impl Strategy<Value = Row> {
    let text = prop::option::weighted(
        0.9,
        select(vec![
            "",
            "a",
            "ab",
            "abc",
            "zz",
            "naïve",
            "a_very_long_string_that_is_cut_in_statistics",
        ]),
    );
    (
        prop::option::weighted(0.9, -5i32..20),
        text,
        prop::option::weighted(0.9, -3i32..4),
        prop::option::weighted(0.9, -50i64..50),
        prop::option::weighted(
            0.9,
            select(vec![-1.5, 0.0, 0.25, 3.0, 1e300, f64::INFINITY]),
        ),
        prop::option::weighted(0.9, any::<bool>()),
        prop::option::weighted(0.9, -500i128..500),
    )
        .prop_map(|(n, s, day, at, f, b, dec)| Row {
            n,
            s: s.map(str::to_owned),
            day,
            at: at.map(|hours| hours * HOUR),
            f,
            b,
            dec,
        })
}

/// Rows as a batch; `late` adds a column and widens another, as an evolved table has them.
fn batch(first_id: i64, rows: &[Row], late: bool) -> RecordBatch {
    let ids = Int64Array::from_iter_values((0..).map(|n| first_id + n).take(rows.len()));
    let n: ArrayRef = match late {
        true => Arc::new(Int64Array::from_iter(
            rows.iter().map(|row| row.n.map(i64::from)),
        )),
        false => Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.n))),
    };
    let at =
        TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.at)).with_timezone("+00:00");
    let dec = Decimal128Array::from_iter(rows.iter().map(|row| row.dec))
        .with_precision_and_scale(10, 2)
        .unwrap();
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("id", Arc::new(ids), true),
        ("n", n, true),
        (
            "s",
            Arc::new(StringArray::from_iter(
                rows.iter().map(|row| row.s.as_deref()),
            )),
            true,
        ),
        (
            "day",
            Arc::new(Date32Array::from_iter(rows.iter().map(|row| row.day))),
            true,
        ),
        ("at", Arc::new(at), true),
        (
            "f",
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.f))),
            true,
        ),
        (
            "b",
            Arc::new(BooleanArray::from_iter(rows.iter().map(|row| row.b))),
            true,
        ),
        ("dec", Arc::new(dec), true),
    ];
    if late {
        let extra = rows.iter().map(|row| row.n.map(|n| format!("x{n}")));
        columns.push(("extra", Arc::new(StringArray::from_iter(extra)), true));
    }
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The rows of an early batch as the evolved table shows them.
fn evolved(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => arrow::compute::cast(column, field.data_type()).unwrap(),
            None => arrow::array::new_null_array(field.data_type(), batch.num_rows()),
        });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

fn atom() -> impl Strategy<Value = String> {
    let op = || select(vec!["=", "<>", "<", "<=", ">", ">="]);
    prop_oneof![
        (op(), -6i64..21).prop_map(|(op, v)| format!("n {op} {v}")),
        (op(), 0i64..80).prop_map(|(op, v)| format!("id {op} {v}")),
        (
            op(),
            select(vec![
                "",
                "a",
                "ab",
                "b",
                "zz",
                "naïve",
                "a_very_long_string_that_is_cut_in_statistics"
            ])
        )
            .prop_map(|(op, v)| format!("s {op} '{v}'")),
        (op(), -4i32..5)
            .prop_map(|(op, v)| format!("day {op} date '1970-01-01' + interval '{v} days'")),
        (op(), -51i64..51).prop_map(|(op, v)| format!("at {op} to_timestamp_micros({})", v * HOUR)),
        (op(), -51i64..51).prop_map(|(op, v)| format!(
            "at {op} timestamp '1970-01-01 12:00:00' + interval '{v} hours'"
        )),
        (op(), select(vec!["-1.5", "0.0", "0.3", "1e300"]))
            .prop_map(|(op, v)| format!("f {op} {v}")),
        (op(), -6i32..6).prop_map(|(op, v)| format!("dec {op} {v}.25")),
        select(vec![
            "b",
            "not b",
            "b is null",
            "n is null",
            "n is not null",
            "s is null",
            "day is null",
            "at is not null"
        ])
        .prop_map(str::to_owned),
        select(vec![
            "extra is null",
            "extra = 'x3'",
            "extra like 'x1%'",
            "s like 'a%'",
            "n + id > 30",
            "upper(s) = 'AB'"
        ])
        .prop_map(str::to_owned),
        prop::collection::vec(-6i64..21, 1..4).prop_map(|v| format!(
            "n in ({})",
            v.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        )),
        (-6i64..10, 0i64..10)
            .prop_map(|(low, width)| format!("n between {low} and {}", low + width)),
    ]
}

fn predicate() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|all| format!("({})", all.join(" and "))),
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|any| format!("({})", any.join(" or "))),
            inner.prop_map(|not| format!("not ({not})")),
        ]
    })
}

const PARTITIONS: [&[&str]; 9] = [
    &[],
    &["s"],
    &["b"],
    &["day"],
    &["day(at)"],
    &["hour(at)"],
    &["bucket(3, id)"],
    &["truncate(4, id)", "b"],
    &["month(at)", "truncate(1, s)"],
];

async fn check(partition: &[&str], early: &[Vec<Row>], late: &[Row], predicates: &[String]) {
    let fixture = Fixture::new().await;
    let newest = batch(1_000, late, true);
    let mut memory = Vec::new();
    for (at, rows) in early.iter().enumerate() {
        let batch = batch(at as i64 * 20, rows, false);
        fixture.append(&[("a.t", partition, batch.clone())]).await;
        memory.push(evolved(&batch, &newest.schema()));
    }
    fixture.append(&[("a.t", partition, newest.clone())]).await;
    memory.push(newest.clone());
    let memory = concat_batches(&newest.schema(), &memory).unwrap();
    let oracle = SessionContext::new_with_config(
        // Its optimizer takes `n in (1) and n in (2)` for false where `n` is null: nothing is optimized.
        SessionConfig::new()
            .set_str("datafusion.execution.time_zone", "+00:00")
            .set_usize("datafusion.optimizer.max_passes", 0),
    );
    oracle.register_batch("t", memory).unwrap();
    let query = fixture.query();
    for predicate in predicates {
        for select in [
            "select * from a.t where {} order by id",
            "select count(*), count(s), min(n), max(n), min(at), max(at), min(s), max(dec), min(f), max(day), bool_or(b) from a.t where {}",
            "select s, count(*) as c, sum(id) as i from a.t where {} group by s order by s, c",
        ] {
            let sql = select.replace("{}", predicate);
            let expected = oracle
                .sql(&sql.replace("a.t", "t"))
                .await
                .unwrap()
                .collect()
                .await
                .unwrap();
            let got = rows(&query, &sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
            assert_eq!(got, shown(&expected), "{sql} with {partition:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_lake_answers_as_memory_does(
        partition in select(PARTITIONS.to_vec()),
        early in prop::collection::vec(prop::collection::vec(row(), 1..20), 1..4),
        late in prop::collection::vec(row(), 1..20),
        predicates in prop::collection::vec(predicate(), 12),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut predicates = predicates;
        predicates.push("true".to_owned());
        runtime.block_on(check(partition, &early, &late, &predicates));
    }
}
