//! Parquet files, good and hostile.

mod hostile;
mod int96;
mod kinds;
mod lists;
mod unrepresentable;

use std::collections::BTreeMap;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_writer::ArrowWriterOptions;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{
    Array, ArrayRef, Date32Array, Decimal128Array, DictionaryArray, Int32Array, Int64Array,
    RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field};
use forebay_core::{Compression, Timestamp};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use super::*;
use crate::contract::{ColumnRule, ColumnType, NewColumns};

struct Reader {
    runtime: Runtime,
    objects: Arc<dyn ObjectStore>,
    extraction: Box<dyn Extraction>,
    ordinal: u64,
}

impl Reader {
    fn new(contract: Option<Contract>, policy: &ContractPolicy) -> Self {
        Self::with(ParquetConfig::default(), contract, policy)
    }

    fn with(config: ParquetConfig, contract: Option<Contract>, policy: &ContractPolicy) -> Self {
        let extraction = Parquet(config).start(contract, policy, None).unwrap();
        Self {
            runtime: Runtime::new().unwrap(),
            objects: Arc::new(InMemory::new()),
            extraction,
            ordinal: 0,
        }
    }

    fn read(&mut self, bytes: Vec<u8>) -> Result<Extracted> {
        let path = object_store::path::Path::from(format!("{}.parquet", self.ordinal));
        self.runtime
            .block_on(self.objects.put(&path, bytes.into()))
            .unwrap();
        let mut out = Extracted::default();
        let input = ObjectInput {
            objects: &self.objects,
            path: &path,
            runtime: self.runtime.handle(),
        };
        self.extraction
            .object(&head(self.ordinal), input, &mut out)?;
        self.extraction.flush(&mut out)?;
        self.ordinal += 1;
        Ok(out)
    }
}

fn head(ordinal: u64) -> Arc<PayloadHead> {
    Arc::new(PayloadHead {
        ordinal,
        name: "a.parquet".to_owned(),
        received_at: Timestamp(0),
        content_type: None,
        compression: Compression::None,
        attributes: BTreeMap::new(),
        messages: None,
    })
}

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let records = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    writer.into_inner().unwrap()
}

/// A file of ten rows with another total in its footer. The total is the third field of `FileMetaData` in Thrift's compact protocol
/// (`16`, then a zigzag varint), before the list of row groups (`19 1c`); writers of the library only write the right one.
fn with_row_total(bytes: &[u8], rows: i8) -> Vec<u8> {
    let right = [0x16, 20, 0x19, 0x1c];
    let places: Vec<usize> = (0..bytes.len() - right.len())
        .filter(|at| bytes[*at..].starts_with(&right))
        .collect();
    let [place] = places[..] else {
        panic!("the total is at {places:?}");
    };
    let mut lying = bytes.to_vec();
    lying[place + 1] = ((rows << 1) ^ (rows >> 7)) as u8;
    lying
}

#[test]
fn a_footer_that_lies_about_its_rows_loses_none() {
    let good = file(vec![("a", ints((0..10).collect()))]);
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader.read(with_row_total(&good, 0)).unwrap();
    assert_eq!(out.rows(), 10);
    for total in [1, 9, 11, -1] {
        let out = reader.read(with_row_total(&good, total)).unwrap();
        assert_eq!(codes(&out), ["corrupt_parquet"], "{total}");
        assert_eq!(out.rows(), 0, "{total}");
    }
}

#[test]
fn rows_without_any_value_give_no_column_a_type() {
    let nulls: ArrayRef = Arc::new(arrow::array::NullArray::new(3));
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let untyped = file(vec![("a", nulls.clone()), ("b", nulls)]);
    let out = reader.read(untyped.clone()).unwrap();
    assert_eq!((out.rows(), codes(&out)), (0, vec!["no_values"]));
    reader.read(file(vec![("a", ints(vec![1]))])).unwrap();
    let out = reader.read(untyped).unwrap();
    assert_eq!((out.rows(), codes(&out).len()), (3, 0));
    assert_eq!(names(&out), ["a int", "b other"]);
}

fn ints(values: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

fn names(out: &Extracted) -> Vec<String> {
    let schema = out.batches[0].records.schema();
    schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), types::word(field.data_type())))
        .collect()
}

fn codes(out: &Extracted) -> Vec<&str> {
    out.rejected
        .iter()
        .map(|rejected| rejected.code.as_str())
        .collect()
}

#[test]
fn files_that_differ_make_one_table() {
    let policy = ContractPolicy::default();
    let mut reader = Reader::new(None, &policy);
    let out = reader
        .read(file(vec![
            ("a", ints(vec![1, 2])),
            ("u", Arc::new(UInt64Array::from(vec![1, 2]))),
        ]))
        .unwrap();
    assert_eq!(names(&out), ["a int", "u decimal"]);
    assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [0, 1]);
    let mut reader = Reader::new(Some(reader.extraction.contract()), &policy);
    let out = reader
        .read(file(vec![
            ("a", Arc::new(Int64Array::from(vec![3]))),
            ("b", ints(vec![4])),
        ]))
        .unwrap();
    assert_eq!(names(&out), ["a long", "b int"]);
    let out = reader.read(file(vec![("a", ints(vec![5]))])).unwrap();
    assert_eq!(
        names(&out),
        ["a long"],
        "a narrow file is widened to the table"
    );
    let out = reader
        .read(file(vec![("a", Arc::new(StringArray::from(vec!["x"])))]))
        .unwrap();
    assert_eq!(names(&out), ["a__v_string string"]);
    let other = Contract {
        extractor: "json".to_owned(),
        ..reader.extraction.contract()
    };
    let error = Parquet(ParquetConfig::default())
        .start(Some(other), &policy, None)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.code(), "contract_mismatch");
}

#[test]
fn new_columns_follow_the_policy() {
    let first = || file(vec![("a", ints(vec![1]))]);
    let second = || file(vec![("a", ints(vec![1])), ("b", ints(vec![2]))]);
    let run = |new_columns| {
        let mut reader = Reader::new(
            None,
            &ContractPolicy {
                new_columns,
                ..ContractPolicy::default()
            },
        );
        reader.read(first()).unwrap();
        let wide = reader
            .read(file(vec![("a", Arc::new(Int64Array::from(vec![1])))]))
            .unwrap();
        (codes(&wide).join(","), reader.read(second()))
    };
    assert_eq!(run(NewColumns::Freeze).1.unwrap_err().code(), "new_column");
    let (wide, out) = run(NewColumns::Quarantine);
    assert_eq!(
        (wide.as_str(), codes(&out.unwrap())),
        ("type_mismatch", vec!["new_column"])
    );
    assert!(run(NewColumns::Evolve).1.unwrap().rejected.is_empty());
}

#[test]
fn rows_without_a_required_value_are_refused_one_by_one() {
    let rule = ColumnRule {
        required: true,
        ..ColumnRule::default()
    };
    let policy = ContractPolicy {
        columns: BTreeMap::from([("a".to_owned(), rule)]),
        ..ContractPolicy::default()
    };
    let mut reader = Reader::new(None, &policy);
    let out = reader
        .read(file(vec![(
            "a",
            Arc::new(Int32Array::from(vec![Some(1), None, Some(3)])),
        )]))
        .unwrap();
    assert_eq!((out.rows(), codes(&out)), (2, vec!["missing_required"]));
    assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [0, 2]);
    let out = reader.read(file(vec![("b", ints(vec![1]))])).unwrap();
    assert_eq!((out.rows(), codes(&out)), (0, vec!["missing_required"]));
    assert_eq!(out.rejected[0].record, b"{\"b\":1}\n");
}

fn declared(name: &str, kind: &str) -> ContractPolicy {
    let rule = ColumnRule {
        r#type: Some(ColumnType::try_from(kind.to_owned()).unwrap()),
        ..ColumnRule::default()
    };
    ContractPolicy {
        columns: BTreeMap::from([(name.to_owned(), rule)]),
        ..ContractPolicy::default()
    }
}

#[test]
fn declared_columns_are_there_before_a_file_has_them() {
    let mut reader = Reader::new(None, &declared("day", "date"));
    let out = reader.read(file(vec![("a", ints(vec![1]))])).unwrap();
    assert_eq!(names(&out), ["a int", "day date"]);
    assert_eq!(out.batches[0].records.column(1).null_count(), 1);
    let days: ArrayRef = Arc::new(Date32Array::from(vec![7]));
    let out = reader.read(file(vec![("day", days)])).unwrap();
    assert_eq!(names(&out), ["day date"]);
}

#[test]
fn decimals_of_every_scale_have_a_column() {
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let mut read = |precision, scale, value| {
        let column = Decimal128Array::from(vec![value]);
        let column = column.with_precision_and_scale(precision, scale).unwrap();
        let out = reader.read(file(vec![("d", Arc::new(column) as ArrayRef)]));
        let out = out.unwrap();
        assert_eq!(codes(&out), Vec::<&str>::new());
        let records = &out.batches[0].records;
        let field = records.schema().field(0).clone();
        let text = arrow::util::display::array_value_to_string(records.column(0), 0);
        format!("{} {} {}", field.name(), field.data_type(), text.unwrap())
    };
    assert_eq!(read(10, 2, 1250), "d Decimal128(10, 2) 12.50");
    assert_eq!(read(14, 2, 1250), "d Decimal128(14, 2) 12.50");
    assert_eq!(read(10, 1, 125), "d Decimal128(14, 2) 12.50");
    assert_eq!(read(20, 3, 1250), "d__v_decimal Decimal128(20, 3) 1.250");
    assert_eq!(read(20, 5, 1), "d__v_decimal_5 Decimal128(20, 5) 0.00001");
    assert_eq!(read(22, 3, 1250), "d__v_decimal Decimal128(22, 3) 1.250");
    assert_eq!(read(38, 1, 1), "d__v_decimal_1 Decimal128(38, 1) 0.1");
}

#[test]
fn a_declared_type_may_grow_and_nothing_else() {
    let mut reader = Reader::new(None, &declared("a", "int"));
    reader.read(file(vec![("a", ints(vec![1]))])).unwrap();
    let contract = reader.extraction.contract();
    let mut reader = Reader::new(Some(contract), &declared("a", "long"));
    let out = reader.read(file(vec![("a", ints(vec![1]))])).unwrap();
    assert_eq!(names(&out), ["a long"]);
    let contract = reader.extraction.contract();
    for kind in ["int", "double", "string", "decimal(20, 0)"] {
        let refused = Parquet(ParquetConfig::default()).start(
            Some(contract.clone()),
            &declared("a", kind),
            None,
        );
        assert_eq!(refused.err().unwrap().code(), "column_type_changed");
    }
}

#[test]
fn a_large_file_is_given_out_in_parts() {
    let count = 6_000_000;
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..count).map(|n| n * 7_919)));
    let records = RecordBatch::try_from_iter([("n", Arc::clone(&values)), ("m", values)]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    let bytes = writer.into_inner().unwrap();
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let path = object_store::path::Path::from("large.parquet");
    reader
        .runtime
        .block_on(reader.objects.put(&path, bytes.into()))
        .unwrap();
    let input = ObjectInput {
        objects: &reader.objects,
        path: &path,
        runtime: reader.runtime.handle(),
    };
    let mut out = Extracted::default();
    reader.extraction.object(&head(0), input, &mut out).unwrap();
    let mut total = out.rows();
    let mut calls = 1;
    assert!(total > 0 && (total as i64) < count);
    loop {
        let mut out = Extracted::default();
        let more = reader.extraction.more(&mut out).unwrap();
        total += out.rows();
        calls += 1;
        if !more {
            break;
        }
    }
    assert_eq!(total as i64, count);
    assert!(calls >= 2);
}

/// One value for many rows is a small file of small columns; the origins of the rows take the memory.
#[test]
fn many_narrow_rows_are_given_out_in_parts_too() {
    let count = 8_000_000;
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let path = object_store::path::Path::from("narrow.parquet");
    let bytes = file(vec![("i", ints(vec![1; count]))]);
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    reader
        .runtime
        .block_on(reader.objects.put(&path, bytes.into()))
        .unwrap();
    let input = ObjectInput {
        objects: &reader.objects,
        path: &path,
        runtime: reader.runtime.handle(),
    };
    let mut out = Extracted::default();
    reader.extraction.object(&head(0), input, &mut out).unwrap();
    let mut total = out.rows();
    let mut most = out.rows();
    loop {
        let mut out = Extracted::default();
        let more = reader.extraction.more(&mut out).unwrap();
        total += out.rows();
        most = most.max(out.rows());
        if !more {
            break;
        }
    }
    assert_eq!(total, count);
    // With their places, 24 bytes or more each.
    assert!(most * 24 <= 80 << 20, "{most} rows at once");
}

/// Names that JSON and CSV reject too.
#[test]
fn names_that_cannot_be_those_of_columns_are_refused() {
    let long = "y".repeat(256);
    for name in ["a\nb", "A\0", "", "a\u{1b}[31m", &long] {
        let mut reader = Reader::new(None, &ContractPolicy::default());
        let out = reader.read(file(vec![(name, ints(vec![1]))])).unwrap();
        assert_eq!((out.rows(), codes(&out)), (0, vec!["bad_column_name"]));
        let nested = StructArray::from(vec![(
            Arc::new(Field::new(name, DataType::Int32, true)),
            ints(vec![1]),
        )]);
        let out = reader
            .read(file(vec![("s", Arc::new(nested) as ArrayRef)]))
            .unwrap();
        assert_eq!((out.rows(), codes(&out)), (0, vec!["bad_column_name"]));
        let config = ParquetConfig {
            exclude: vec![name.to_owned()],
        };
        let mut reader = Reader::with(config, None, &ContractPolicy::default());
        let both = file(vec![(name, ints(vec![1])), ("z", ints(vec![2]))]);
        assert_eq!(reader.read(both).unwrap().rows(), 1);
    }
}

#[test]
fn a_broken_file_is_refused_whole_and_leaves_no_column() {
    let good = file(vec![("a", ints((0..100_000).collect()))]);
    let mut reader = Reader::new(None, &ContractPolicy::default());
    reader.read(file(vec![("k", ints(vec![1]))])).unwrap();
    let before = reader.extraction.contract();
    for broken in [
        Vec::new(),
        b"PAR1".to_vec(),
        b"PAR1PAR1PA".to_vec(),
        good[..good.len() / 2].to_vec(),
        b"{\"a\": 1}".repeat(9),
    ] {
        let out = reader.read(broken).unwrap();
        assert_eq!((out.rows(), codes(&out)), (0, vec!["corrupt_parquet"]));
    }
    let mut flipped = good.clone();
    flipped[4..300].fill(0xff);
    let out = reader.read(flipped).unwrap();
    assert_eq!((out.rows(), codes(&out)), (0, vec!["corrupt_parquet"]));
    assert_eq!(reader.extraction.contract(), before);
    assert_eq!(reader.read(good).unwrap().rows(), 100_000);
}

#[test]
fn a_flipped_byte_in_a_page_with_a_checksum_is_refused() {
    let Some(root) = forebay_testkit::shared_data() else {
        println!("skipped: the shared data is not here");
        return;
    };
    let folder = root.join("formats/parquet");
    let read = |name: &str, flip: Option<usize>| {
        let mut bytes = std::fs::read(folder.join(name)).unwrap();
        if let Some(at) = flip {
            bytes[at] ^= 1;
        }
        let mut reader = Reader::new(None, &ContractPolicy::default());
        let out = reader.read(bytes).unwrap();
        let reason = out.rejected.first().map(|refused| refused.reason.clone());
        (out.rows(), reason.unwrap_or_default())
    };
    for name in [
        "datapage_v1-uncompressed-checksum.parquet",
        "datapage_v1-snappy-compressed-checksum.parquet",
    ] {
        assert!(read(name, None).0 > 0, "{name}");
        let size = std::fs::metadata(folder.join(name)).unwrap().len() as usize;
        // In the middle, where values are stored.
        let (rows, reason) = read(name, Some(size / 3));
        assert_eq!(rows, 0, "{name}");
        assert!(
            reason.contains("the checksum of the page at byte"),
            "{name}: {reason}"
        );
    }
}

/// A file whose footer names its only row group many times over, as bombs do.
fn repeated(bytes: &[u8], times: usize) -> Vec<u8> {
    use ::parquet::file::metadata::{
        FileMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
    };
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&bytes)
        .unwrap();
    let group = metadata.row_group(0).clone();
    let one = metadata.file_metadata();
    let rows = one.num_rows() * times as i64;
    let all = FileMetaData::new(
        one.version(),
        rows,
        None,
        None,
        one.schema_descr_ptr(),
        None,
    );
    let bomb = ParquetMetaDataBuilder::new(all)
        .set_row_groups(vec![group; times])
        .build();
    let footer = bytes.len() - 8;
    let length = u32::from_le_bytes(bytes[footer..footer + 4].try_into().unwrap());
    let mut made = bytes[..footer - length as usize].to_vec();
    ParquetMetaDataWriter::new(&mut made, &bomb)
        .finish()
        .unwrap();
    made
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let constant = file(vec![("n", ints(vec![7; 100_000]))]);
    for (times, code) in [(100, "corrupt_parquet"), (5_000, "ratio_exceeded")] {
        let out = reader.read(repeated(&constant, times)).unwrap();
        assert_eq!((out.rows(), codes(&out)), (0, vec![code]), "{times}");
    }
    // One value of the dictionary, repeated by a few bytes: 4 GiB of text in a file of few KiB.
    let long = "x".repeat(1 << 20);
    let words = StringArray::from(vec![long.as_str(), "y"]);
    let keys = Int32Array::from_iter_values((0..4_096).map(|row| i32::from(row % 4_096 == 4_095)));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(words)));
    let records = RecordBatch::try_from_iter([("t", dictionary)]).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(8 << 20)
        .set_compression(::parquet::basic::Compression::ZSTD(Default::default()))
        .build();
    let options = ArrowWriterOptions::new()
        .with_skip_arrow_metadata(true)
        .with_properties(properties);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), records.schema(), options).unwrap();
    writer.write(&records).unwrap();
    let bytes = writer.into_inner().unwrap();
    assert!(bytes.len() < 64 << 10, "{}", bytes.len());
    let out = reader.read(bytes).unwrap();
    assert_eq!((out.rows(), codes(&out)), (0, vec!["ratio_exceeded"]));
}

#[test]
fn long_values_that_repeat_are_read_in_small_batches() {
    let long = "x".repeat(400 << 10);
    let words = StringArray::from(vec![long.as_str()]);
    let keys = Int32Array::from(vec![0; 1_500]);
    let dictionary: ArrayRef = Arc::new(DictionaryArray::new(keys, Arc::new(words)));
    let other = file(vec![("t", dictionary)]);
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader.read(other).unwrap();
    assert_eq!((out.rows(), codes(&out)), (1_500, vec![]));
    let largest = out
        .batches
        .iter()
        .map(|batch| batch.records.get_array_memory_size());
    assert!(largest.max().unwrap() < 3 * BATCH_BYTES as usize);
}

#[test]
fn torture_files_are_read_or_refused_by_name() {
    let mut read = 0;
    let mut refused = 0;
    for folder in [
        "formats/parquet",
        "formats/parquet-encodings",
        "formats/parquet-duckdb",
        "bad-inputs/parquet",
        "bad-inputs/arrow-fuzz/parquet",
    ] {
        let Some(paths) = forebay_testkit::shared_files(folder) else {
            return;
        };
        for path in paths {
            let mut reader = Reader::new(None, &ContractPolicy::default());
            let out = reader.read(std::fs::read(&path).unwrap()).unwrap();
            match out.rejected.as_slice() {
                [] => read += 1,
                [rejected] => {
                    assert_eq!(out.rows(), 0, "{}", path.display());
                    assert!(!rejected.reason.is_empty(), "{}", path.display());
                    refused += 1;
                    println!("{}: {} {}", path.display(), rejected.code, rejected.reason);
                }
                _ => panic!("{}: refused more than once", path.display()),
            }
        }
    }
    println!("{read} read, {refused} refused");
    assert!(read > 60, "{read} read, {refused} refused");
}
