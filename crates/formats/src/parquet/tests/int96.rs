//! INT96 timestamps, with years out of the range of nanoseconds.

use ::parquet::data_type::{Int32Type, Int96, Int96Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;

use super::*;

const JULIAN_EPOCH: i64 = 2_440_588;
const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// A time since 1970 as an INT96 timestamp.
fn int96(nanos: i128) -> Int96 {
    let day = i64::try_from(nanos.div_euclid(NANOS_PER_DAY)).unwrap() + JULIAN_EPOCH;
    let of_day = nanos.rem_euclid(NANOS_PER_DAY) as u64;
    let mut value = Int96::new();
    value.set_data(of_day as u32, (of_day >> 32) as u32, day as u32);
    value
}

/// A file with the times as a column `t`, as the only elements of lists `l`, and a number.
fn times(values: &[i128]) -> Vec<u8> {
    let schema = "message m { optional int96 t; required int32 n; optional group l (LIST) { repeated group list { optional int96 element; } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let old: Vec<Int96> = values.iter().map(|value| int96(*value)).collect();
    let numbers: Vec<i32> = (0..values.len() as i32).collect();
    let zeros = vec![0; values.len()];
    let ones = vec![1; values.len()];
    let threes = vec![3; values.len()];
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<Int96Type>();
    typed.write_batch(&old, Some(&ones), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<Int32Type>();
    typed.write_batch(&numbers, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<Int96Type>();
    typed
        .write_batch(&old, Some(&threes), Some(&zeros))
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

/// 1970, year 1, 1582, 2300 and the last microsecond of 9999.
const MICROS: [i64; 5] = [
    1,
    -62_135_596_800_000_000,
    -12_219_292_800_000_000,
    10_413_792_000_000_000,
    253_402_300_799_999_999,
];

#[test]
fn int96_of_every_year_is_read_rightly() {
    let values = MICROS.map(|micros| i128::from(micros) * 1_000);
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader.read(times(&values)).unwrap();
    assert_eq!(codes(&out), Vec::<&str>::new());
    assert_eq!(names(&out), ["t timestamp", "n int", "l list"]);
    let records = &out.batches[0].records;
    let column = records.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(column.values(), &MICROS);
    let nested = records.column(2).as_list::<i32>().values();
    let nested = nested.as_primitive::<TimestampMicrosecondType>();
    assert_eq!(nested.values(), &MICROS);
}

#[test]
fn int96_below_a_microsecond_refuses_its_row_in_every_year() {
    let mut values = MICROS.map(|micros| i128::from(micros) * 1_000);
    values[0] += 1;
    values[4] += 999;
    let config = ParquetConfig {
        exclude: vec!["n".to_owned()],
    };
    for excluded in [ParquetConfig::default(), config] {
        let mut reader = Reader::with(excluded, None, &ContractPolicy::default());
        let out = reader.read(times(&values)).unwrap();
        assert_eq!(codes(&out), ["time_too_fine", "time_too_fine"]);
        assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [1, 2, 3]);
    }
}
