//! Values that files may have and no column of a table holds.

use arrow::array::{
    ArrayRef, Decimal128Array, Time32MillisecondArray, Time64MicrosecondArray,
    TimestampNanosecondArray,
};

use super::*;

#[test]
fn rows_with_times_that_are_too_fine_are_refused_one_by_one() {
    let times =
        |values: Vec<Option<i64>>| -> ArrayRef { Arc::new(TimestampNanosecondArray::from(values)) };
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader
        .read(file(vec![
            ("n", ints(vec![1, 2, 3, 4])),
            (
                "at",
                times(vec![Some(1_000), Some(1_001), None, Some(-5_000)]),
            ),
        ]))
        .unwrap();
    assert_eq!((out.rows(), codes(&out)), (3, vec!["time_too_fine"]));
    assert_eq!(names(&out), ["n int", "at timestamp"]);
    assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [0, 2, 3]);
    let refused = &out.rejected[0];
    assert_eq!(refused.offset, Some(1));
    let record = String::from_utf8(refused.record.clone()).unwrap();
    assert!(record.contains("1970-01-01T00:00:00.000001001"), "{record}");
}

#[test]
fn rows_with_values_beyond_their_type_are_refused_one_by_one() {
    let decimals = Decimal128Array::from(vec![9_999, 10_000, -9_999, -10_000]);
    let decimals = decimals.with_precision_and_scale(4, 2).unwrap();
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader
        .read(file(vec![("price", Arc::new(decimals) as ArrayRef)]))
        .unwrap();
    assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [0, 2]);
    assert_eq!(codes(&out), ["decimal_too_long", "decimal_too_long"]);
    let day = 86_400_000;
    let times: [ArrayRef; 2] = [
        Arc::new(Time32MillisecondArray::from(vec![0, day - 1, day, -1])),
        Arc::new(Time64MicrosecondArray::from(vec![
            0,
            i64::from(day) * 1_000 - 1,
            i64::from(day) * 1_000,
            -1,
        ])),
    ];
    for times in times {
        let mut reader = Reader::new(None, &ContractPolicy::default());
        let out = reader.read(file(vec![("at", times)])).unwrap();
        assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [0, 1]);
        assert_eq!(codes(&out), ["time_too_fine", "time_too_fine"]);
    }
}
