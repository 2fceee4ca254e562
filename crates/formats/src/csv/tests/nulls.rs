//! Rows without any value, and columns without one so far.

use arrow::datatypes::DataType;

use super::*;

#[test]
fn lines_of_json_are_named_whatever_their_quotes() {
    for text in [
        "{\"a\":1,\"b\":\"x\"}\n",
        "{\"a\":1}\n",
        "[{\"a\": \"x, y\"}]\n",
    ] {
        let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
        let out = extract(&mut extraction, &[text.as_bytes()], 64).unwrap();
        let codes: Vec<&str> = out.rejected.iter().map(|r| r.code.as_str()).collect();
        assert_eq!(codes, ["json_header"], "{text}");
    }
}

#[test]
fn rows_without_any_value_give_no_column_a_type() {
    let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
    let files: [&[u8]; 3] = [b"a,b\n,\n,\n", b"a,b\n1,2.5\n", b"c,d\n,\n"];
    let out = extract(&mut extraction, &files, 64).unwrap();
    let codes: Vec<&str> = out.rejected.iter().map(|r| r.code.as_str()).collect();
    assert_eq!(codes, ["no_values", "no_values"]);
    // A row of the last file has a column of the table, and its own have no type.
    assert_eq!(show(&out.batches), ["a=1 b=2.5", "c= d="]);
    let typed: Vec<&DataType> = out.batches[0]
        .records
        .schema_ref()
        .fields()
        .iter()
        .map(|field| field.data_type())
        .collect();
    assert_eq!(typed, [&DataType::Int64, &DataType::Float64]);
    let last = &out.batches[1].records;
    let typed = last
        .schema_ref()
        .fields()
        .iter()
        .filter(|field| !field.data_type().is_null());
    let typed: Vec<&str> = typed.map(|field| field.name().as_str()).collect();
    assert_eq!(typed, ["a"]);
}
