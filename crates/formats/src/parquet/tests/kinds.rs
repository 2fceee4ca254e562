//! Columns of kinds that no table has, and files that are encrypted.

use arrow::array::{AsArray, Decimal256Array, DurationMicrosecondArray};
use arrow::datatypes::i256;

use super::*;

fn odd_columns() -> Vec<u8> {
    let wide = Decimal256Array::from(vec![i256::from_i128(12_345)]);
    let wide = wide.with_precision_and_scale(50, 2).unwrap();
    file(vec![
        ("id", ints(vec![7])),
        (
            "took",
            Arc::new(DurationMicrosecondArray::from(vec![1_500_000])),
        ),
        ("wide", Arc::new(wide)),
    ])
}

fn excluding(names: &[&str]) -> ParquetConfig {
    ParquetConfig {
        exclude: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

#[test]
fn a_column_that_no_table_holds_is_named_and_can_be_left_out() {
    let policy = ContractPolicy::default();
    let mut reader = Reader::new(None, &policy);
    let out = reader.read(odd_columns()).unwrap();
    assert_eq!(codes(&out), ["unsupported_type"]);
    let reason = &out.rejected[0].reason;
    assert!(
        reason.contains("`took`") && reason.contains("extract.parquet.exclude"),
        "{reason}"
    );
    let mut reader = Reader::with(excluding(&["took", "wide", "absent"]), None, &policy);
    let out = reader.read(odd_columns()).unwrap();
    assert_eq!(
        (codes(&out), names(&out)),
        (vec![], vec!["id int".to_owned()])
    );
    let mut reader = Reader::with(excluding(&["took", "wide", "id"]), None, &policy);
    let out = reader.read(odd_columns()).unwrap();
    assert_eq!(codes(&out), ["no_columns"]);
}

#[test]
fn a_column_that_no_table_holds_is_read_as_what_is_declared() {
    let mut policy = declared("took", "string");
    policy.columns.extend(declared("wide", "string").columns);
    let mut reader = Reader::new(None, &policy);
    let out = reader.read(odd_columns()).unwrap();
    assert_eq!(codes(&out), Vec::<&str>::new());
    let records = &out.batches[0].records;
    let text = |at: usize| records.column(at).as_string::<i32>().value(0).to_owned();
    assert_eq!((text(1).as_str(), text(2).as_str()), ("PT1.5S", "123.45"));
}

#[test]
fn an_encrypted_file_is_called_one() {
    let mut reader = Reader::new(None, &ContractPolicy::default());
    let out = reader
        .read(b"PARE0123456789\x08\0\0\0PARE".to_vec())
        .unwrap();
    assert_eq!(codes(&out), ["encrypted_parquet"]);
    let Some(root) = forebay_testkit::shared_data() else {
        println!("the shared data is not here: encrypted columns are not tested");
        return;
    };
    for name in [
        "encrypt_columns_plaintext_footer.parquet.encrypted",
        "encrypt_columns_and_footer_ctr.parquet.encrypted",
    ] {
        let bytes = std::fs::read(root.join("formats/parquet").join(name)).unwrap();
        let out = reader.read(bytes).unwrap();
        assert_eq!(codes(&out), ["encrypted_parquet"], "{name}");
    }
}
