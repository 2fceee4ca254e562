//! Random rows in random partitions: where they land, and that no bound and no plan leaves one out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Datelike, Timelike};
use iceberg::spec::{Datum, Literal, Transform};
use iceberg::transform::create_transform_function;
use proptest::prelude::*;

use super::super::{Bounds, Prune, Value};
use super::{RUNTIME, append, draft, read, storage, table, write};
use crate::{DataFile, WriterOptions};

#[derive(Debug, Clone, Default, PartialEq)]
struct Row {
    n: Option<i32>,
    f: Option<f64>,
    s: Option<String>,
    at: Option<i64>,
    d: Option<i32>,
    b: Option<Vec<u8>>,
    /// A struct of a number and a text.
    o: Option<(Option<i64>, Option<String>)>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-c]{1,3}",
        "[mé水🦀\u{D7FF}\u{10FFFF}]{0,24}",
        "[xy]{100,140}",
        Just("\u{10FFFF}".repeat(80)),
    ]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(f64::NEG_INFINITY),
        -3.0..3.0
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let some = prop::option::weighted(0.8, -30..30);
    let at = prop_oneof![
        -90_000_000_000_i64..90_000_000_000,
        -90_000_000_000_000_000_i64..90_000_000_000_000_000
    ];
    let object = (prop::option::of(-3_i64..3), prop::option::of(text()));
    let binary = prop::collection::vec(prop_oneof![Just(255_u8), 0..4_u8], 0..24);
    let all = (
        some,
        prop::option::of(float()),
        prop::option::of(text()),
        prop::option::of(at),
        prop::option::of(-800..800),
        prop::option::of(binary),
        prop::option::of(object),
    );
    all.prop_map(|(n, f, s, at, d, b, o)| Row {
        n,
        f,
        s,
        at,
        d,
        b,
        o,
    })
}

const PARTITIONS: [&str; 15] = [
    "n",
    "f",
    "s",
    "d",
    "b",
    "truncate(10, n)",
    "truncate(2, s)",
    "year(at)",
    "month(at)",
    "day(at)",
    "hour(at)",
    "month(d)",
    "bucket(4, row)",
    "o.x",
    "truncate(3, o.label)",
];

fn object_fields() -> Fields {
    vec![
        Field::new("x", DataType::Int64, true),
        Field::new("label", DataType::Utf8, true),
    ]
    .into()
}

fn schema() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("row", DataType::Int64, false),
        Field::new("n", DataType::Int32, true),
        Field::new("f", DataType::Float64, true),
        Field::new("s", DataType::Utf8, true),
        Field::new("at", instant, true),
        Field::new("d", DataType::Date32, true),
        Field::new("b", DataType::Binary, true),
        Field::new("o", DataType::Struct(object_fields()), true),
    ]))
}

fn batch(rows: &[Row], first: usize) -> RecordBatch {
    let numbers = (first..first + rows.len()).map(|i| i as i64);
    let object = |row: &Row| row.o.clone().unwrap_or_default();
    let x: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|r| object(r).0)));
    let label: ArrayRef = Arc::new(StringArray::from_iter(rows.iter().map(|r| object(r).1)));
    let nulls = NullBuffer::from_iter(rows.iter().map(|r| r.o.is_some()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(numbers)),
        Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.n))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.f))),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.s.clone()))),
        Arc::new(
            TimestampMicrosecondArray::from_iter(rows.iter().map(|r| r.at)).with_timezone("UTC"),
        ),
        Arc::new(Date32Array::from_iter(rows.iter().map(|r| r.d))),
        Arc::new(BinaryArray::from_iter(rows.iter().map(|r| r.b.clone()))),
        Arc::new(StructArray::new(
            object_fields(),
            vec![x, label],
            Some(nulls),
        )),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// Field ids as the table gives them out: the columns first, then the members of the struct.
fn values(row: &Row) -> Vec<(&'static str, Option<Value>)> {
    let object = row.o.clone().unwrap_or_default();
    vec![
        ("n", row.n.map(Value::Int)),
        ("f", row.f.map(Value::Double)),
        ("s", row.s.clone().map(Value::String)),
        ("at", row.at.map(Value::Timestamp)),
        ("d", row.d.map(Value::Date)),
        ("b", row.b.clone().map(Value::Binary)),
        ("o.x", object.0.map(Value::Long)),
        ("o.label", object.1.map(Value::String)),
    ]
}

/// The partition value of a row, computed without the code under test.
fn expected(field: &str, row: &Row, number: i64) -> Option<Literal> {
    let object = row.o.clone().unwrap_or_default();
    let instant = || row.at.and_then(DateTime::from_timestamp_micros);
    let months = |year: i32, month0: u32| (year - 1970) * 12 + month0 as i32;
    let cut = |text: String, n: usize| Literal::string(text.chars().take(n).collect::<String>());
    match field {
        "n" => row.n.map(Literal::int),
        "f" => row.f.map(Literal::double),
        "s" => row.s.clone().map(Literal::string),
        "d" => row.d.map(Literal::date),
        "b" => row.b.clone().map(Literal::binary),
        "truncate(10, n)" => row.n.map(|n| Literal::int(n.div_euclid(10) * 10)),
        "truncate(2, s)" => row.s.clone().map(|s| cut(s, 2)),
        "year(at)" => instant().map(|t| Literal::int(t.year() - 1970)),
        "month(at)" => instant().map(|t| Literal::int(months(t.year(), t.month0()))),
        "day(at)" => instant().map(|t| Literal::date(t.date_naive().to_epoch_days())),
        "hour(at)" => {
            instant().map(|t| Literal::int(t.date_naive().to_epoch_days() * 24 + t.hour() as i32))
        }
        "month(d)" => row.d.map(|d| {
            let date = chrono::NaiveDate::from_epoch_days(d).unwrap();
            Literal::int(months(date.year(), date.month0()))
        }),
        "bucket(4, row)" => {
            let function = create_transform_function(&Transform::Bucket(4)).unwrap();
            let bucket = function.transform_literal(&Datum::long(number)).unwrap();
            bucket.map(|bucket| Literal::Primitive(bucket.literal().clone()))
        }
        "o.x" => object.0.map(Literal::long),
        "truncate(3, o.label)" => object.1.map(|label| cut(label, 3)),
        other => panic!("{other}"),
    }
}

#[derive(Debug, Clone)]
struct Case {
    rows: Vec<Row>,
    partition: Vec<&'static str>,
    /// Rows of each append, then of each batch in it.
    append_rows: usize,
    batch_rows: usize,
    options: WriterOptions,
}

fn case() -> impl Strategy<Value = Case> {
    let partition = prop::sample::subsequence(PARTITIONS.to_vec(), 0..3)
        .prop_filter("a column is divided by time once", |fields| {
            fields.iter().filter(|field| field.contains("(at)")).count() < 2
        });
    let options =
        (1_u64..20_000, 1_usize..20, 1_usize..5).prop_map(|(bytes, rows, open)| WriterOptions {
            file_bytes_target: bytes,
            row_group_rows_max: rows,
            open_files_max: open,
            ..WriterOptions::default()
        });
    (
        prop::collection::vec(row(), 1..60),
        partition,
        5_usize..40,
        1_usize..40,
        options,
    )
        .prop_map(|(rows, partition, append_rows, batch_rows, options)| Case {
            rows,
            partition,
            append_rows,
            batch_rows,
            options,
        })
}

/// Keeps ranges that may hold a value equal to, or (`from`) not below, the wanted one; `None` looks for nulls.
struct Wanted {
    id: i32,
    value: Option<Value>,
    from: bool,
}

impl Prune for Wanted {
    fn keep(&self, bounds: &[Bounds]) -> forebay_core::Result<Vec<bool>> {
        Ok(bounds.iter().map(|bounds| self.may_be_in(bounds)).collect())
    }
}

impl Wanted {
    fn may_be_in(&self, bounds: &Bounds) -> bool {
        let nulls = bounds.nulls.get(&self.id).copied();
        let Some(value) = &self.value else {
            return nulls != Some(0);
        };
        let above = bounds
            .upper
            .get(&self.id)
            .is_some_and(|upper| upper.is_below(value));
        let below = !self.from
            && bounds
                .lower
                .get(&self.id)
                .is_some_and(|lower| value.is_below(lower));
        nulls != Some(bounds.rows) && !above && !below
    }

    fn is(&self, found: Option<&Value>) -> bool {
        match (&self.value, found) {
            (None, found) => found.is_none(),
            (Some(value), Some(found)) => {
                !found.is_below(value) && (self.from || !value.is_below(found))
            }
            (Some(_), None) => false,
        }
    }
}

fn row_numbers(batch: &RecordBatch) -> Vec<usize> {
    batch["row"]
        .as_primitive::<Int64Type>()
        .values()
        .iter()
        .map(|n| *n as usize)
        .collect()
}

fn check(case: &Case) {
    let (_dir, storage) = storage();
    let draft = draft(&storage, &schema(), &case.partition);
    let mut metadata = draft.planned().unwrap().as_ref().clone();
    let ids: HashMap<&str, i32> = values(&case.rows[0])
        .into_iter()
        .map(|(name, _)| {
            (
                name,
                metadata.current_schema().field_id_by_name(name).unwrap(),
            )
        })
        .collect();
    let mut files: BTreeMap<String, (DataFile, Vec<usize>)> = BTreeMap::new();
    let mut first = 0;
    for rows in case.rows.chunks(case.append_rows) {
        let mut batches = Vec::new();
        for rows in rows.chunks(case.batch_rows) {
            batches.push(batch(rows, first));
            first += rows.len();
        }
        let written = write(&draft, case.options.clone(), &batches).unwrap();
        metadata = append(&storage, &metadata, &written);
        for file in written {
            let numbers = row_numbers(&read(&storage, &file.path));
            assert_eq!(file.rows, numbers.len() as u64);
            files.insert(file.path.to_string(), (file, numbers));
        }
    }
    check_rows(case, &files);
    let table = table(&storage, metadata);
    let plan = RUNTIME.block_on(table.scan(None)).unwrap();
    assert_eq!(plan.files.len(), files.len());
    for file in &plan.files {
        check_bounds(case, &ids, &file.bounds, &files[file.path.as_ref()].1);
    }
    for (i, row) in case.rows.iter().enumerate() {
        let (name, value) = values(row).swap_remove(i % 8);
        let wanted = Wanted {
            id: ids[name],
            value,
            from: i % 3 == 0,
        };
        let plan = RUNTIME.block_on(table.scan(Some(&wanted))).unwrap();
        let kept: Vec<&str> = plan.files.iter().map(|file| file.path.as_ref()).collect();
        for (path, (_, numbers)) in &files {
            let holds = |n: &usize| wanted.is(values(&case.rows[*n]).swap_remove(i % 8).1.as_ref());
            assert!(
                !numbers.iter().any(holds) || kept.contains(&path.as_str()),
                "{name} of row {i} left out {path}"
            );
        }
    }
}

/// Every row is there once, in a file of its own partition.
fn check_rows(case: &Case, files: &BTreeMap<String, (DataFile, Vec<usize>)>) {
    let mut seen = vec![0; case.rows.len()];
    for (file, numbers) in files.values() {
        for number in numbers {
            seen[*number] += 1;
            let row = &case.rows[*number];
            let wanted = case
                .partition
                .iter()
                .map(|field| expected(field, row, *number as i64));
            let partition = file.file.partition().fields();
            assert!(
                wanted.eq(partition.iter().cloned()),
                "row {number} {row:?} is in {partition:?}"
            );
        }
    }
    assert!(
        seen.iter().all(|count| *count == 1),
        "rows lost or doubled: {seen:?}"
    );
}

fn check_bounds(case: &Case, ids: &HashMap<&str, i32>, bounds: &Bounds, numbers: &[usize]) {
    assert_eq!(bounds.rows, numbers.len() as u64);
    for (column, (name, _)) in values(&case.rows[0]).into_iter().enumerate() {
        let id = ids[name];
        let found: Vec<Option<Value>> = numbers
            .iter()
            .map(|n| values(&case.rows[*n]).swap_remove(column).1)
            .collect();
        let nulls = found.iter().filter(|value| value.is_none()).count() as u64;
        assert_eq!(bounds.nulls.get(&id), Some(&nulls), "nulls of {name}");
        for value in found.into_iter().flatten() {
            assert!(
                bounds
                    .lower
                    .get(&id)
                    .is_none_or(|lower| !value.is_below(lower)),
                "{name} {value:?} below {bounds:?}"
            );
            assert!(
                bounds
                    .upper
                    .get(&id)
                    .is_none_or(|upper| !upper.is_below(&value)),
                "{name} {value:?} above {bounds:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_row_lies_in_its_partition_and_no_plan_leaves_it_out(case in case()) {
        check(&case);
    }
}

/// 20 rows in four row groups of texts longer than Parquet keeps whole; half of them begin with `m`.
#[test]
fn a_bound_covers_every_row_group() {
    let rows: Vec<Row> = (0..20)
        .map(|i| Row {
            s: Some(format!(
                "{}{}",
                if i % 2 == 0 { "a9" } else { "m" },
                "z".repeat(100)
            )),
            ..Row::default()
        })
        .collect();
    let (_dir, storage) = storage();
    let draft = draft(&storage, &schema(), &[]);
    let options = WriterOptions {
        row_group_rows_max: 5,
        ..WriterOptions::default()
    };
    let files = write(&draft, options, &[batch(&rows, 0)]).unwrap();
    assert_eq!(files[0].file.split_offsets().map(<[i64]>::len), Some(4));
    let metadata = append(&storage, draft.planned().unwrap(), &files);
    let id = metadata.current_schema().field_id_by_name("s").unwrap();
    let table = table(&storage, metadata);
    let wanted = Wanted {
        id,
        value: Some(Value::String("m".to_owned())),
        from: true,
    };
    let plan = RUNTIME.block_on(table.scan(Some(&wanted))).unwrap();
    assert_eq!(plan.files.len(), 1);
    let upper = &plan.files[0].bounds.upper[&id];
    assert_eq!(
        *upper,
        Value::String(format!("m{}{{", "z".repeat(14))),
        "sixteen characters, rounded up"
    );
}

#[test]
fn whole_manifests_are_pruned_by_their_partitions() {
    let (_dir, storage) = storage();
    let draft = draft(&storage, &schema(), &["day(at)"]);
    let mut metadata = draft.planned().unwrap().as_ref().clone();
    for day in 0..5 {
        let rows = vec![Row {
            at: Some(day * 86_400_000_000 + 5),
            ..Row::default()
        }];
        let files = write(&draft, WriterOptions::default(), &[batch(&rows, 0)]).unwrap();
        metadata = append(&storage, &metadata, &files);
    }
    let id = metadata.current_schema().field_id_by_name("at").unwrap();
    let table = table(&storage, metadata);
    let wanted = Wanted {
        id,
        value: Some(Value::Timestamp(3 * 86_400_000_000 + 5)),
        from: false,
    };
    let plan = RUNTIME.block_on(table.scan(Some(&wanted))).unwrap();
    assert_eq!(
        (
            plan.manifests_total,
            plan.manifests_kept,
            plan.files_total,
            plan.files.len()
        ),
        (5, 1, 1, 1)
    );
    assert_eq!(plan.files[0].partition, "at_day=1970-01-04");
    let all = RUNTIME.block_on(table.files()).unwrap();
    assert_eq!(all.len(), 5);
    assert!(
        all.iter()
            .all(|file| file.format == "parquet" && file.rows == 1)
    );
}
