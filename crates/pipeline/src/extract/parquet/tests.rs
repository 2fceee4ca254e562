//! Parquet files, good and hostile.

use std::collections::BTreeMap;
use std::path::Path;

use ::parquet::arrow::ArrowWriter;
use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, UInt64Array};
use forebay_core::{Compression, Timestamp};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use super::*;
use crate::extract::contract::{ColumnRule, NewColumns};

struct Reader {
    runtime: Runtime,
    objects: Arc<dyn ObjectStore>,
    extraction: Box<dyn Extraction>,
    ordinal: u64,
}

impl Reader {
    fn new(contract: Option<Contract>, policy: &ContractPolicy) -> Self {
        let extraction = Parquet.start(contract, policy, None).unwrap();
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
    })
}

fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let records = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), records.schema(), None).unwrap();
    writer.write(&records).unwrap();
    writer.into_inner().unwrap()
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
    let error = Parquet
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
    let (mut total, mut calls) = (out.rows(), 1);
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

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}

#[test]
fn torture_files_are_read_or_refused_by_name() {
    let Some(root) = forebay_testkit::shared_data() else {
        println!("skipped: the shared data is not here");
        return;
    };
    let (mut read, mut refused) = (0, 0);
    for folder in [
        "formats/parquet",
        "formats/parquet-encodings",
        "formats/parquet-duckdb",
        "bad-inputs/parquet",
        "bad-inputs/arrow-fuzz/parquet",
    ] {
        let mut paths = Vec::new();
        files_below(&root.join(folder), &mut paths);
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
