//! CSV of other people: suites with answers, real files, hostile ones.

use std::collections::BTreeMap;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use forebay_testkit::shared_files;

use super::{extract, start};
use crate::Extraction;
use crate::contract::{ColumnRule, ColumnType, ContractPolicy};
use crate::csv::{CsvConfig, Encoding, Ragged, columns};

#[test]
fn csv_spectrum_gives_its_answers() {
    for path in shared_files("formats/csv-spectrum/csvs").unwrap_or_default() {
        let answer = path
            .to_string_lossy()
            .replace("/csvs/", "/json/")
            .replace(".csv", ".json");
        let answer: Vec<BTreeMap<String, String>> =
            serde_json::from_slice(&std::fs::read(answer).unwrap()).unwrap();
        let config = CsvConfig {
            null: Vec::new(),
            ..CsvConfig::default()
        };
        let names = answer[0].keys();
        let rules = names.map(|name| {
            (
                name.clone(),
                ColumnRule {
                    r#type: Some(ColumnType::String),
                    ..ColumnRule::default()
                },
            )
        });
        let policy = ContractPolicy {
            columns: rules.collect(),
            ..ContractPolicy::default()
        };
        let out = extract(
            &mut start(&config, &policy, None),
            &[&std::fs::read(&path).unwrap()],
            3,
        )
        .unwrap();
        let records = &out.batches[0].records;
        let options = FormatOptions::default();
        let rows: Vec<BTreeMap<String, String>> = (0..records.num_rows())
            .map(|row| {
                let schema = records.schema();
                let columns = schema.fields().iter().zip(records.columns());
                let cell = |array| {
                    ArrayFormatter::try_new(array, &options)
                        .unwrap()
                        .value(row)
                        .to_string()
                };
                columns
                    .map(|(field, array)| (field.name().clone(), cell(array)))
                    .collect()
            })
            .collect();
        assert_eq!(rows, answer, "{}", path.display());
    }
}

#[test]
fn hostile_and_odd_files_never_panic() {
    let dialects = [
        CsvConfig::default(),
        CsvConfig {
            delimiter: "|".to_owned(),
            escape: Some("\\".to_owned()),
            trim: true,
            ..CsvConfig::default()
        },
        CsvConfig {
            header: false,
            quote: "'".to_owned(),
            encoding: Encoding::Latin1,
            ragged: Ragged::Fill,
            ..CsvConfig::default()
        },
        CsvConfig {
            encoding: Encoding::Utf16,
            comment: Some("#".to_owned()),
            skip_lines: 1,
            ..CsvConfig::default()
        },
    ];
    for folder in [
        "formats/csv-duckdb",
        "bad-inputs/csv-afl",
        "bad-inputs/arrow-fuzz/csv",
    ] {
        for path in shared_files(folder).unwrap_or_default() {
            let bytes = std::fs::read(&path).unwrap();
            for config in &dialects {
                let out = extract(
                    &mut start(config, &ContractPolicy::default(), None),
                    &[&bytes],
                    1 << 12,
                );
                assert!(
                    out.is_ok(),
                    "{} {config:?}: {:?}",
                    path.display(),
                    out.err()
                );
            }
        }
    }
}

#[test]
fn a_header_that_grew_over_the_years_makes_one_table() {
    let Some(paths) = shared_files("http-api/covid-italy/dati-regioni") else {
        return;
    };
    let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
    let files: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let out = extract(&mut extraction, &files, 4_096).unwrap();
    let mut expected = 0;
    for file in &files {
        expected += csv::ReaderBuilder::new()
            .from_reader(*file)
            .byte_records()
            .count();
    }
    assert_eq!(out.rows() + out.rejected.len(), expected);
    assert_eq!(out.rejected, []);
    let shape: columns::Shape = serde_json::from_value(extraction.contract().shape).unwrap();
    assert!(shape.columns.len() >= 30, "{}", shape.columns.len());
    let kind = |name: &str| {
        shape
            .columns
            .iter()
            .find(|column| column.name == name)
            .unwrap()
            .kind
    };
    assert_eq!(kind("data"), Some(ColumnType::Timestamp));
    assert_eq!(kind("totale_casi"), Some(ColumnType::Long));
}
