//! Lists of very many elements, which few bytes of a page can encode.

use arrow::array::{ListArray, new_null_array};
use arrow::buffer::OffsetBuffer;

use super::*;

/// A list column of these lengths.
fn lists(lengths: &[usize], values: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("element", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(field, offsets, values, None))
}

/// The same text this many times, in a dictionary of it and an empty one.
fn texts(text: &str, count: usize) -> ArrayRef {
    let keys = Int32Array::from(vec![1; count]);
    let dictionary = StringArray::from(vec!["", text]);
    Arc::new(DictionaryArray::new(keys, Arc::new(dictionary)))
}

fn nulls(count: usize) -> ArrayRef {
    new_null_array(&DataType::Int32, count)
}

/// A file of one column; `v2` is the newer kind of pages.
fn written(array: ArrayRef, v2: bool) -> Vec<u8> {
    use ::parquet::file::properties::WriterVersion;
    let records = RecordBatch::try_from_iter([("a", array)]).unwrap();
    let version = match v2 {
        true => WriterVersion::PARQUET_2_0,
        false => WriterVersion::PARQUET_1_0,
    };
    let properties = WriterProperties::builder().set_writer_version(version);
    let options = ArrowWriterOptions::new()
        .with_properties(properties.build())
        .with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(Vec::new(), records.schema(), options);
    let mut writer = writer.unwrap();
    writer.write(&records).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_list_that_is_too_large_refuses_the_file_before_it_is_decoded() {
    let many = 9_000_000;
    let mut skewed = vec![0; 400_000];
    skewed[300_000] = 500_000;
    for (lengths, values) in [
        (vec![many], nulls(many)),
        (vec![2_500_000], texts("x", 2_500_000)),
        (vec![500_000], texts(&"x".repeat(100), 500_000)),
        // The mean of the rows is small.
        (skewed, texts(&"x".repeat(100), 500_000)),
    ] {
        let array = lists(&lengths, values);
        for v2 in [false, true] {
            let mut reader = Reader::new(None, &ContractPolicy::default());
            let out = reader.read(written(Arc::clone(&array), v2)).unwrap();
            let codes: Vec<&str> = out.rejected.iter().map(|one| one.code.as_str()).collect();
            assert_eq!(codes, ["value_too_large"], "{} rows", lengths.len());
            assert!(out.batches.is_empty());
        }
    }
}

#[test]
fn rows_of_many_elements_are_decoded_few_at_a_time() {
    let lengths = vec![1_000; 3_000];
    let array = lists(&lengths, texts(&"x".repeat(100), 3_000_000));
    for v2 in [false, true] {
        let mut reader = Reader::new(None, &ContractPolicy::default());
        let out = reader.read(written(Arc::clone(&array), v2)).unwrap();
        assert!(out.rejected.is_empty());
        let rows: Vec<usize> = out
            .batches
            .iter()
            .map(|batch| batch.records.num_rows())
            .collect();
        assert_eq!(rows.iter().sum::<usize>(), 3_000);
        // A batch of 1,024 would have 120 MB.
        assert_eq!(rows.iter().max(), Some(&128));
    }
}

#[test]
fn large_lists_of_every_kind_are_read_whole() {
    let lengths: Vec<usize> = (0..4_000).map(|row| row % 700).collect();
    let count = lengths.iter().sum::<usize>();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..count as i64).map(|n| (n % 3 > 0).then_some(n)),
    ));
    let plain: ArrayRef = Arc::new(StringArray::from_iter(
        (0..count).map(|n| (n % 5 > 0).then(|| format!("text {n}"))),
    ));
    for values in [numbers, plain, texts(&"y".repeat(60), count), nulls(count)] {
        let array = lists(&lengths, values);
        for v2 in [false, true] {
            let mut reader = Reader::new(None, &ContractPolicy::default());
            let out = reader.read(written(Arc::clone(&array), v2)).unwrap();
            assert!(out.rejected.is_empty());
            let elements = out.batches.iter().map(|batch| {
                let list = batch.records.column(0).as_any();
                list.downcast_ref::<ListArray>().unwrap().values().len()
            });
            assert_eq!(elements.sum::<usize>(), count);
        }
    }
}
