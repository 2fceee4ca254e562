//! Declared columns: in the table before a file has them, and widened by a new declaration.

use arrow::datatypes::DataType;

use super::*;

fn declared(columns: &[(&str, &str)]) -> ContractPolicy {
    let rule = |kind: &str| ColumnRule {
        r#type: Some(ColumnType::try_from(kind.to_owned()).unwrap()),
        ..ColumnRule::default()
    };
    let rules = columns
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), rule(kind)));
    ContractPolicy {
        columns: rules.collect(),
        ..ContractPolicy::default()
    }
}

fn types(out: &Extracted) -> Vec<(String, DataType)> {
    let schema = out.batches[0].records.schema();
    let fields = schema.fields().iter();
    fields
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect()
}

#[test]
fn declared_columns_are_there_before_a_file_has_them() {
    let policy = declared(&[("day", "date"), ("b", "int")]);
    let mut extraction = start(&CsvConfig::default(), &policy, None);
    let out = extract(&mut extraction, &[b"a,b\n1,2\n"], 99).unwrap();
    let known = [
        ("a", DataType::Int64),
        ("b", DataType::Int32),
        ("day", DataType::Date32),
    ];
    assert_eq!(
        types(&out),
        known.map(|(name, kind)| (name.to_owned(), kind))
    );
    assert_eq!(show(&out.batches), ["a=1 b=2"]);
}

#[test]
fn a_declared_type_may_grow_and_nothing_else() {
    let config = CsvConfig::default();
    let mut extraction = start(&config, &declared(&[("i", "int")]), None);
    extract(&mut extraction, &[b"i,t\n1,x\n"], 99).unwrap();
    let contract = extraction.contract();
    let wider = declared(&[("i", "long"), ("t", "json")]);
    let mut extraction = start(&config, &wider, Some(contract.clone()));
    let out = extract(&mut extraction, &[b"i\n3000000000\n"], 99).unwrap();
    assert_eq!(types(&out)[0].1, DataType::Int64);
    assert_eq!(show(&out.batches), ["i=3000000000"]);
    for (name, kind) in [("i", "double"), ("t", "long"), ("t", "timestamp")] {
        let refused = Columns::new(
            Some(contract.clone()),
            &declared(&[(name, kind)]),
            NameCase::Keep,
        );
        assert_eq!(refused.unwrap_err().code(), "column_type_changed");
    }
}

#[test]
fn spellings_of_a_header_are_one_column_where_case_does_not_count() {
    let config = CsvConfig {
        case: NameCase::Fold,
        ..CsvConfig::default()
    };
    let mut extraction = start(&config, &ContractPolicy::default(), None);
    let files: [&[u8]; 3] = [b"ID,Amount\n1,2\n", b"amount,id\n4,3\n", b"Id,id\n5,6\n"];
    let out = extract(&mut extraction, &files, 100).unwrap();
    let mut cells = Vec::new();
    for batch in &out.batches {
        for name in ["id", "amount", "id_2"] {
            let Some(column) = batch.records.column_by_name(name) else {
                continue;
            };
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(column, &options).unwrap();
            let values =
                (0..batch.records.num_rows()).map(|row| format!("{name} {}", shown.value(row)));
            cells.extend(values);
        }
    }
    cells.retain(|cell| !cell.ends_with(' '));
    assert_eq!(
        cells,
        ["id 1", "amount 2", "id 3", "amount 4", "id 5", "id_2 6"]
    );
}
