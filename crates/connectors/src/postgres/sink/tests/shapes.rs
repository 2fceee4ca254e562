//! Arrow types on the server, and tables that grow.

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    DurationMillisecondArray, Float32Array, Float64Array, Int8Array, Int32Array,
    IntervalMonthDayNanoArray, LargeStringArray, ListArray, StringViewArray, StructArray,
    Time64NanosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano};

use super::*;

#[tokio::test]
async fn every_type_arrives_as_it_was() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open("").await;
    let list =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)])]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec!["it's \"x\""]));
    let number: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    let object = StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Utf8, true)), inner),
        (Arc::new(Field::new("b", DataType::Float64, true)), number),
    ]);
    let decimal = Decimal128Array::from(vec![-12_345_678_901_234_567_890_i128])
        .with_precision_and_scale(38, 6);
    let dictionary: DictionaryArray<Int32Type> = vec!["red"].into_iter().collect();
    let interval = IntervalMonthDayNano::new(14, 3, 1_500_000_000);
    let columns: [(&str, ArrayRef, &str); 22] = [
        ("c_bool", Arc::new(BooleanArray::from(vec![true])), "true"),
        ("c_i8", Arc::new(Int8Array::from(vec![-8])), "-8"),
        (
            "c_i32",
            Arc::new(Int32Array::from(vec![i32::MIN])),
            "-2147483648",
        ),
        (
            "c_i64",
            Arc::new(Int64Array::from(vec![i64::MAX])),
            "9223372036854775807",
        ),
        (
            "c_u32",
            Arc::new(UInt32Array::from(vec![u32::MAX])),
            "4294967295",
        ),
        (
            "c_u64",
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "18446744073709551615",
        ),
        ("c_f32", Arc::new(Float32Array::from(vec![1.5])), "1.5"),
        (
            "c_f64",
            Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])),
            "-Infinity",
        ),
        (
            "c_dec",
            Arc::new(decimal.unwrap()),
            "-12345678901234.567890",
        ),
        (
            "c_text",
            Arc::new(StringArray::from(vec!["zażółć 🦀"])),
            "zażółć 🦀",
        ),
        ("c_large", Arc::new(LargeStringArray::from(vec![""])), ""),
        (
            "c_view",
            Arc::new(StringViewArray::from(vec!["a longer text than twelve"])),
            "a longer text than twelve",
        ),
        (
            "c_bytes",
            Arc::new(BinaryArray::from(vec![&b"\0\xff"[..]])),
            "\\x00ff",
        ),
        (
            "c_date",
            Arc::new(Date32Array::from(vec![-719_528])),
            "0001-01-01 BC",
        ),
        (
            "c_time",
            Arc::new(Time64NanosecondArray::from(vec![86_399_999_999_000])),
            "23:59:59.999999",
        ),
        (
            "c_stamp",
            Arc::new(TimestampSecondArray::from(vec![253_402_300_799])),
            "9999-12-31 23:59:59",
        ),
        (
            "c_zoned",
            Arc::new(TimestampMicrosecondArray::from(vec![-1]).with_timezone("+02:00")),
            "1969-12-31 23:59:59.999999+00",
        ),
        (
            "c_nano",
            Arc::new(TimestampNanosecondArray::from(vec![1_000])),
            "1970-01-01 00:00:00.000001",
        ),
        (
            "c_span",
            Arc::new(DurationMillisecondArray::from(vec![90_061_001])),
            "25:01:01.001",
        ),
        (
            "c_int",
            Arc::new(IntervalMonthDayNanoArray::from(vec![interval])),
            "1 year 2 mons 3 days 00:00:01.5",
        ),
        ("c_list", Arc::new(list), "{1,NULL,3}"),
        ("c_dict", Arc::new(dictionary), "red"),
    ];
    let mut all: Vec<(&str, ArrayRef, bool)> = columns
        .iter()
        .map(|(name, array, _)| (*name, array.clone(), true))
        .collect();
    all.push(("c_json", Arc::new(object), true));
    let one = RecordBatch::try_from_iter_with_nullable(all.clone()).unwrap();
    let nulls = all.iter().map(|(name, array, _)| {
        (
            *name,
            arrow::array::new_null_array(array.data_type(), 1),
            true,
        )
    });
    let none = RecordBatch::try_from_iter_with_nullable(nulls).unwrap();
    assert!(sink.write(Batch::main(one, None)).await.unwrap().is_empty());
    let rejected = load(sink.as_mut(), Batch::main(none, None), 0)
        .await
        .unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    for (name, _, expected) in columns {
        let got = world.sql(&format!(
            "SET TimeZone = 'UTC'; SELECT {name}::text FROM SPOT.t WHERE c_bool"
        ));
        assert_eq!(got, expected, "{name}");
        let nulls = world.sql(&format!("SELECT count(*) FROM SPOT.t WHERE {name} IS NULL"));
        assert_eq!(nulls, "1", "{name}");
    }
    let json = world
        .sql("SELECT c_json ->> 'a', c_json -> 'b', pg_typeof(c_json) FROM SPOT.t WHERE c_bool");
    assert_eq!(json, "it's \"x\"|0.5|jsonb");
}

#[tokio::test]
async fn what_postgres_cannot_hold_is_refused_row_by_row() {
    let Some(world) = World::new() else { return };
    let mut sink = world.open("").await;
    let at: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![
        0,
        1,
        i64::MIN,
        i64::MAX / 1_000 * 1_000,
    ]));
    let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![
        i64::MAX,
        0,
        0,
        i64::MIN,
    ]));
    let records = RecordBatch::try_from_iter([("at", at), ("far", far)]).unwrap();
    let rejected = load(sink.as_mut(), Batch::main(records, None), 0)
        .await
        .unwrap();
    let codes: Vec<&str> = rejected.iter().map(|one| one.code.as_str()).collect();
    assert_eq!(
        codes,
        ["time_too_fine", "time_too_fine", "time_out_of_range"]
    );
}

#[tokio::test]
async fn our_tables_grow_and_widen_and_others_only_get_columns() {
    let Some(world) = World::new() else { return };
    let small = |n: i32| {
        let n: ArrayRef = Arc::new(Int32Array::from(vec![n]));
        Batch::main(
            RecordBatch::try_from_iter_with_nullable([("n", n, true)]).unwrap(),
            None,
        )
    };
    let wide = |n: i64| {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        let more: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        let records =
            RecordBatch::try_from_iter_with_nullable([("n", n, true), ("more", more, true)]);
        Batch::main(records.unwrap(), None)
    };
    let mut sink = world.open("").await;
    assert!(sink.write(small(1)).await.unwrap().is_empty());
    // In the middle of a transaction, and back again.
    sink.flush().await.unwrap();
    assert!(sink.write(wide(1 << 40)).await.unwrap().is_empty());
    let rejected = load(sink.as_mut(), small(2), 0).await.unwrap();
    assert!(rejected.is_empty());
    assert_eq!(
        world.sql("SELECT n, more FROM SPOT.t ORDER BY n"),
        "1|\n2|\n1099511627776|x"
    );
    world.sql("DROP TABLE SPOT.t; CREATE TABLE SPOT.t (n integer)");
    let mut sink = world.target("").open(world.context(2)).await.unwrap();
    let rejected = load(sink.as_mut(), wide(1 << 40), 1).await.unwrap();
    assert_eq!(
        rejected[0].code, "number_out_of_range",
        "somebody else's column stays as it is"
    );
    assert_eq!(
        load(sink.as_mut(), wide(7), 2).await.unwrap(),
        Vec::new(),
        "a row that lands brings its column"
    );
    assert_eq!(world.sql("SELECT string_agg(column_name || ' ' || data_type, ',' ORDER BY column_name) FROM information_schema.columns WHERE table_schema = 'SPOT' AND table_name = 't'"), "more text,n integer");
}
