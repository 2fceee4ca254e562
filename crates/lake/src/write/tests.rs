use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float32Array, Int32Array, Int64Array, ListArray,
    StringArray, StringViewArray, StructArray, TimestampMillisecondArray, TimestampNanosecondArray,
    UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Field, Fields, Float64Type, Int32Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType,
};
use forebay_core::ErrorKind;

use super::*;
use crate::scan::tests::{RUNTIME, draft, read, storage, write};

fn one(name: &str, array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([(name, array)]).unwrap()
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// Writes `batch` into a table of one column `c` and reads it back.
fn through(kind: DataType, array: ArrayRef) -> Result<ArrayRef> {
    let (_dir, storage) = storage();
    let draft = draft(&storage, &schema(vec![Field::new("c", kind, true)]), &[]);
    let files = write(&draft, WriterOptions::default(), &[one("c", array)])?;
    Ok(Arc::clone(read(&storage, &files[0].path).column(0)))
}

#[test]
fn exact_casts_keep_every_value() {
    let long = through(
        DataType::Int64,
        Arc::new(Int32Array::from(vec![Some(-1), None])),
    )
    .unwrap();
    assert_eq!(
        long.as_primitive::<Int64Type>(),
        &Int64Array::from(vec![Some(-1), None])
    );
    let double = through(DataType::Float64, Arc::new(Float32Array::from(vec![0.1]))).unwrap();
    assert_eq!(
        double.as_primitive::<Float64Type>().value(0),
        f64::from(0.1_f32)
    );
    let text = through(
        DataType::Utf8,
        Arc::new(StringViewArray::from(vec![
            "a longer text than fits inline",
        ])),
    )
    .unwrap();
    assert_eq!(
        text.as_string::<i32>().value(0),
        "a longer text than fits inline"
    );
    let words: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    assert_eq!(
        through(DataType::Utf8, Arc::new(words))
            .unwrap()
            .as_string::<i32>()
            .value(2),
        "a"
    );
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let time = through(micros, Arc::new(TimestampMillisecondArray::from(vec![-7]))).unwrap();
    assert_eq!(
        time.as_primitive::<TimestampMicrosecondType>().value(0),
        -7_000
    );
    let big = through(
        DataType::Decimal128(20, 0),
        Arc::new(UInt64Array::from(vec![u64::MAX])),
    )
    .unwrap();
    assert_eq!(
        big.as_primitive::<arrow::datatypes::Decimal128Type>()
            .value(0),
        i128::from(u64::MAX)
    );
}

#[test]
fn a_value_that_would_change_is_an_error() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let cases: Vec<(DataType, ArrayRef, ErrorKind)> = vec![
        (
            micros.clone(),
            Arc::new(TimestampNanosecondArray::from(vec![1_001])),
            ErrorKind::Data,
        ),
        (
            DataType::Int32,
            Arc::new(Int64Array::from(vec![1 << 40])),
            ErrorKind::Data,
        ),
        (
            DataType::Float64,
            Arc::new(Int64Array::from(vec![(1 << 53) + 1])),
            ErrorKind::Data,
        ),
        (
            micros,
            Arc::new(TimestampMillisecondArray::from(vec![1]).with_timezone("UTC")),
            ErrorKind::Bug,
        ),
        (
            DataType::Int64,
            Arc::new(StringArray::from(vec!["1"])),
            ErrorKind::Bug,
        ),
    ];
    for (kind, array, wanted) in cases {
        let error = through(kind.clone(), array).unwrap_err();
        assert_eq!(error.kind(), wanted, "{kind}: {error}");
        assert!(error.message().contains("column c"), "{error}");
    }
}

fn person(nulls: Vec<bool>) -> (Fields, StructArray) {
    let fields: Fields = vec![
        Field::new("b", DataType::Utf8, true),
        Field::new("a", DataType::Int32, true),
    ]
    .into();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("x"), None])),
        Arc::new(Int32Array::from(vec![Some(1), None])),
    ];
    (
        fields.clone(),
        StructArray::new(fields, columns, Some(NullBuffer::from(nulls))),
    )
}

#[test]
fn members_are_matched_by_name_and_missing_ones_are_null() {
    let (_dir, storage) = storage();
    let wanted: Fields = vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Int64, true),
    ]
    .into();
    let item = Arc::new(Field::new("item", DataType::Struct(wanted), true));
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("people", DataType::List(item), true),
    ];
    let draft = draft(&storage, &schema(fields), &[]);
    let (fields, people) = person(vec![true, false]);
    let item = Arc::new(Field::new("any", DataType::Struct(fields), true));
    let list = ListArray::new(
        item,
        OffsetBuffer::from_lengths([0, 2]),
        Arc::new(people),
        None,
    );
    // Sliced, so that the values begin before the rows do.
    let files = write(
        &draft,
        WriterOptions::default(),
        &[one("people", Arc::new(list)).slice(1, 1)],
    )
    .unwrap();
    let back = read(&storage, &files[0].path);
    assert_eq!(back.num_columns(), 2);
    assert!(back["id"].is_null(0));
    let people = back["people"].as_list::<i32>().value(0);
    let people = people.as_struct();
    assert_eq!(people["a"].as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(people["b"].as_string::<i32>().value(0), "x");
    assert!(people.is_null(1) && people["c"].is_null(0));
}

#[test]
fn a_null_in_a_required_place_is_an_error_unless_its_parent_is_null() {
    let (_dir, storage) = storage();
    let wanted: Fields = vec![
        Field::new("a", DataType::Int32, false),
        Field::new("b", DataType::Utf8, true),
    ]
    .into();
    let draft = draft(
        &storage,
        &schema(vec![Field::new("p", DataType::Struct(wanted), true)]),
        &[],
    );
    let good = one("p", Arc::new(person(vec![true, false]).1));
    assert_eq!(
        write(&draft, WriterOptions::default(), &[good]).unwrap()[0].rows,
        2
    );
    let bad = one("p", Arc::new(person(vec![true, true]).1));
    let error = write(&draft, WriterOptions::default(), &[bad]).unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Data, "required_null")
    );
    assert!(error.message().contains("p.a"), "{error}");
}

#[test]
fn an_unknown_column_is_never_dropped_in_silence() {
    let (_dir, storage) = storage();
    let draft = draft(
        &storage,
        &schema(vec![Field::new("id", DataType::Int64, true)]),
        &[],
    );
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = |extra: Option<i64>| {
        let extra: ArrayRef = Arc::new(Int64Array::from(vec![extra]));
        RecordBatch::try_from_iter([("note", extra), ("id", Arc::clone(&ids))]).unwrap()
    };
    assert_eq!(
        write(&draft, WriterOptions::default(), &[batch(Some(1))])
            .unwrap_err()
            .code(),
        "unknown_column"
    );
    assert_eq!(
        write(&draft, WriterOptions::default(), &[batch(None)]).unwrap()[0].rows,
        1
    );
}

#[test]
fn files_roll_at_their_target_and_memory_stays_bounded() {
    let (_dir, storage) = storage();
    let draft = draft(
        &storage,
        &schema(vec![
            Field::new("k", DataType::Int64, true),
            Field::new("s", DataType::Utf8, true),
        ]),
        &["bucket(8, k)"],
    );
    let _entered = RUNTIME.enter();
    let options = WriterOptions {
        file_bytes_target: 200_000,
        open_files_max: 4,
        ..WriterOptions::default()
    };
    let mut writer = draft.writer(options).unwrap();
    let mut most = 0;
    for round in 0..20_u64 {
        let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(
            (0..10_000).map(|i| i * 31 + round as i64),
        ));
        let noise = (0..10_000_u64).map(|i| {
            format!(
                "{:016x}",
                (i + round * 10_000).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            )
        });
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(noise));
        writer
            .write(&RecordBatch::try_from_iter([("k", keys), ("s", texts)]).unwrap())
            .unwrap();
        most = most.max(writer.memory_bytes());
    }
    assert_eq!(writer.rows(), 200_000);
    let files = writer.finish().unwrap();
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 200_000);
    assert!(
        files
            .iter()
            .all(|file| file.bytes < 400_000 && file.rows > 0)
    );
    assert!(most < 16 << 20, "{most} bytes held");
}

#[test]
fn a_fixed_path_holds_one_file_of_any_size() {
    let (_dir, storage) = storage();
    let fields = schema(vec![Field::new("id", DataType::Int64, true)]);
    let path = object_store::path::Path::from("raw/quakes/index.parquet");
    let options = WriterOptions {
        path: Some(path.clone()),
        file_bytes_target: 1,
        ..WriterOptions::default()
    };
    let batch = one("id", Arc::new(Int64Array::from_iter_values(0..1_000)));
    let files = write(
        &draft(&storage, &fields, &[]),
        options.clone(),
        &[batch.clone(), batch],
    )
    .unwrap();
    assert_eq!(
        (files.len(), &files[0].path, files[0].rows),
        (1, &path, 2_000)
    );
    assert_eq!(files[0].file.file_path(), storage.location(&path));
    let error = write(&draft(&storage, &fields, &["id"]), options, &[]).unwrap_err();
    assert_eq!(error.code(), "fixed_path");
}

#[test]
fn a_writer_that_is_dropped_leaves_no_file() {
    let (dir, storage) = storage();
    let draft = draft(
        &storage,
        &schema(vec![Field::new("s", DataType::Utf8, true)]),
        &[],
    );
    {
        let _entered = RUNTIME.enter();
        let options = WriterOptions {
            row_group_rows_max: 1_000,
            ..WriterOptions::default()
        };
        let mut writer = draft.writer(options).unwrap();
        for round in 0..30_u64 {
            let noise = (0..10_000_u64).map(|i| {
                let x = (i + round * 10_000).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                format!(
                    "{x:016x}{:016x}{:016x}",
                    x.rotate_left(17).wrapping_mul(x | 1),
                    x.wrapping_mul(x)
                )
            });
            writer
                .write(&one("s", Arc::new(StringArray::from_iter_values(noise))))
                .unwrap();
        }
    }
    let data = dir.path().join(draft.folder().as_ref()).join("data");
    let left = || {
        std::fs::read_dir(&data)
            .map(|entries| entries.count())
            .unwrap_or(0)
    };
    // Parts on their way are finished by the runtime before they are thrown away.
    for _ in 0..100 {
        if left() == 0 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(left(), 0, "files left behind");
}

#[test]
fn statistics_are_exact_for_numbers_and_say_how_many_nans() {
    let (_dir, storage) = storage();
    let fields = vec![
        Field::new("n", DataType::Int64, true),
        Field::new("f", DataType::Float64, true),
    ];
    let draft = draft(&storage, &schema(fields), &[]);
    let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(-5), None, Some(9)]));
    let f: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![f64::NAN, 1.5, -2.0]));
    let batch = RecordBatch::try_from_iter([("n", n), ("f", f)]).unwrap();
    let file = write(&draft, WriterOptions::default(), &[batch])
        .unwrap()
        .remove(0)
        .file;
    assert_eq!(file.value_counts()[&1], 3);
    assert_eq!(file.null_value_counts()[&1], 1);
    assert_eq!(
        (
            file.lower_bounds()[&1].to_string(),
            file.upper_bounds()[&1].to_string()
        ),
        ("-5".into(), "9".into())
    );
    assert_eq!(file.nan_value_counts().get(&2), Some(&1));
    assert_eq!(
        (
            file.lower_bounds()[&2].to_string(),
            file.upper_bounds()[&2].to_string()
        ),
        ("-2".into(), "1.5".into())
    );
    assert!(!file.nan_value_counts().contains_key(&1));
    assert!(file.column_sizes()[&1] > 0);
}

#[test]
fn columns_that_differ_in_case_or_only_in_a_dot_are_written_and_read_back() {
    let (_dir, storage) = storage();
    let long = |values: [i64; 2]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("x", DataType::Int64, true)),
        long([5, 6]),
    )]);
    let batch = RecordBatch::try_from_iter([
        ("id", long([1, 2])),
        ("ID", long([3, 4])),
        ("n", Arc::new(inner) as ArrayRef),
        ("n.x", long([7, 8])),
    ])
    .unwrap();
    let mut draft = draft(&storage, &batch.schema(), &[]);
    let names = |draft: &Draft| -> Vec<String> {
        let schema = draft.schema().unwrap();
        schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    };
    assert_eq!(names(&draft), ["id", "ID_2", "n", "n.x_2"]);
    assert!(draft.evolve(&batch.schema()).unwrap().is_empty());
    let swapped = batch.project(&[3, 1, 0, 2]).unwrap();
    for batch in [batch, swapped] {
        let files = write(&draft, WriterOptions::default(), &[batch]).unwrap();
        let read = read(&storage, &files[0].path);
        for (name, first) in [("id", 1), ("ID_2", 3), ("n.x_2", 7)] {
            let column = read.column_by_name(name).unwrap();
            assert_eq!(column.as_primitive::<Int64Type>().value(0), first, "{name}");
        }
    }
    let changes = draft.evolve(&schema(vec![Field::new("Id", DataType::Int64, true)]));
    assert_eq!(
        changes.unwrap().last().map(String::as_str),
        Some("added column Id_3: long (`Id` in the data)")
    );
}

/// Extreme values of every type that a table may be partitioned by.
fn extremes() -> Vec<(&'static str, ArrayRef)> {
    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
        Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    let times = vec![Some(i64::MIN), Some(i64::MAX), Some(-1), Some(0), None];
    let decimals = vec![
        Some(-(10_i128.pow(38) - 1)),
        Some(10_i128.pow(38) - 1),
        Some(0),
        None,
    ];
    let micros = || TimestampMicrosecondArray::from(times.clone());
    vec![
        (
            "int",
            Arc::new(Int32Array::from(vec![
                Some(i32::MIN),
                Some(i32::MAX),
                Some(-1),
                Some(0),
                None,
            ])) as ArrayRef,
        ),
        ("long", Arc::new(Int64Array::from(times.clone()))),
        (
            "decimal",
            Arc::new(
                Decimal128Array::from(decimals)
                    .with_precision_and_scale(38, 10)
                    .unwrap(),
            ),
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![
                Some(i32::MIN),
                Some(i32::MAX),
                Some(0),
                None,
            ])),
        ),
        (
            "time",
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                Some(86_399_999_999),
                None,
            ])),
        ),
        ("timestamp", Arc::new(micros())),
        ("timestamptz", Arc::new(micros().with_timezone("+00:00"))),
        (
            "string",
            Arc::new(StringArray::from(vec![
                Some(""),
                Some("\u{10FFFF}\u{0}é"),
                None,
            ])),
        ),
        (
            "binary",
            Arc::new(BinaryArray::from(vec![
                Some(&b""[..]),
                Some(&b"\xff\xff\x00"[..]),
                None,
            ])),
        ),
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            "double",
            Arc::new(Float64Array::from(vec![
                Some(f64::MIN),
                Some(f64::MAX),
                Some(f64::NAN),
                Some(f64::NEG_INFINITY),
                Some(-0.0),
                None,
            ])),
        ),
    ]
}

#[test]
fn extreme_values_have_a_partition_or_are_refused_one_by_one() {
    let (_dir, storage) = storage();
    let transforms = [
        "c",
        "year(c)",
        "month(c)",
        "day(c)",
        "hour(c)",
        "bucket(16, c)",
        "bucket(4294967295, c)",
        "truncate(1, c)",
        "truncate(10, c)",
        "truncate(4294967295, c)",
    ];
    let mut in_table = 0;
    let mut refused = Vec::new();
    for (kind, array) in extremes() {
        let batch = one("c", array);
        for text in transforms {
            let field: crate::PartitionField = text.parse().unwrap();
            let mut draft = Draft::new(
                "t.t".parse().unwrap(),
                Arc::clone(&storage),
                forebay_core::Timestamp(0),
            );
            // A transform that the type does not have is the pipeline file's fault.
            if draft.create(&batch.schema(), &[field]).is_err() {
                continue;
            }
            for row in 0..batch.num_rows() {
                let row = batch.slice(row, 1);
                let _entered = RUNTIME.enter();
                let mut writer = draft.writer(WriterOptions::default()).unwrap();
                let checked = writer.check(&row);
                match writer.write(&row) {
                    Ok(()) => {
                        assert!(checked.is_ok());
                        assert_eq!(writer.finish().unwrap()[0].rows, 1, "{kind} {text}");
                        in_table += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Data, "{kind} {text}: {error}");
                        assert_eq!(checked.unwrap_err().code(), error.code());
                        refused.push(format!("{kind} {text}"));
                        // The writer takes the next row.
                        writer.write(&batch.slice(batch.num_rows() - 1, 1)).unwrap();
                    }
                }
            }
        }
    }
    println!("{in_table} rows in, refused: {refused:?}");
    assert!(in_table > 200 && refused.contains(&"int truncate(10, c)".to_owned()));
    assert!(refused.contains(&"timestamp hour(c)".to_owned()));
}
