//! JSON that others made to break parsers.

use std::fs;

use forebay_formats::json::Nested;
use forebay_testkit::shared_data;
use serde_json::Value;

use super::{documents, extract, lines, tables};

/// Refusals of valid JSON that are ours: what a record may be and which keys and numbers a table can hold.
const POLICY: [&str; 8] = [
    "not_an_object",
    "duplicate_key",
    "empty_key",
    "bad_key",
    "no_values",
    "number_out_of_range",
    "number_not_exact",
    "column_clash",
];

#[test]
fn the_json_test_suite() {
    let Some(folder) = shared_data() else { return };
    let mut seen = 0;
    for entry in fs::read_dir(folder.join("bad-inputs/json-test-suite/test_parsing")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read(&path).unwrap();
        // As a document, and as the value of a record's key.
        let mut record = b"{\"some key\":".to_vec();
        record.extend_from_slice(&text);
        record.push(b'}');
        for text in [&text, &record] {
            let out = extract(&documents(Nested::Flatten), &[vec![text]]);
            let refused: Vec<&str> = out
                .rejected
                .iter()
                .map(|rejected| rejected.code.as_str())
                .collect();
            match name.split('_').next() {
                Some("y") => assert!(
                    refused.iter().all(|code| POLICY.contains(code)),
                    "{name}: {refused:?}"
                ),
                Some("n") => assert!(!refused.is_empty() && out.rows() == 0, "{name} was taken"),
                _ => {}
            }
        }
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn naughty_strings_come_out_as_they_went_in() {
    let Some(folder) = shared_data() else { return };
    let text = fs::read(folder.join("bad-inputs/naughty-strings/blns.json")).unwrap();
    let strings: Vec<String> = serde_json::from_slice(&text).unwrap();
    let mut records = Vec::new();
    for string in &strings {
        serde_json::to_writer(
            &mut records,
            &serde_json::json!({"s": string, "list": [string]}),
        )
        .unwrap();
        records.push(b'\n');
    }
    let out = extract(&lines(Nested::Flatten), &[vec![&records]]);
    assert_eq!(out.rejected.first(), None);
    let rows = &tables(&out)[""];
    assert_eq!(rows.len(), strings.len());
    for (row, string) in rows.iter().zip(&strings) {
        assert_eq!(
            (&row["s"], &row["list"][0]),
            (&Value::from(string.as_str()), &Value::from(string.as_str()))
        );
    }
}
