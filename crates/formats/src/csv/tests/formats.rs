//! Numbers and times in other formats, and the meaning of quotes.

use super::*;

fn german() -> CsvConfig {
    CsvConfig {
        delimiter: ";".to_owned(),
        decimal: ",".to_owned(),
        thousands: Some(".".to_owned()),
        date_formats: vec!["%d.%m.%Y".to_owned()],
        timestamp_formats: vec![
            "%d.%m.%Y %H:%M".to_owned(),
            "%d.%m.%Y %H:%M:%S%.f".to_owned(),
        ],
        ..CsvConfig::default()
    }
}

fn declared(columns: &[(&str, &str)]) -> ContractPolicy {
    let rules = columns.iter().map(|(name, kind)| {
        let rule = ColumnRule {
            r#type: Some(ColumnType::try_from((*kind).to_owned()).unwrap()),
            ..ColumnRule::default()
        };
        ((*name).to_owned(), rule)
    });
    ContractPolicy {
        columns: rules.collect(),
        ..ContractPolicy::default()
    }
}

#[test]
fn numbers_and_times_are_read_as_the_file_writes_them() {
    let file = "day;at;price;count\n31.12.2025;31.12.2025 23:59;9.214,34;1.204\n1.2.2026;01.02.2026 00:00:01.5;-0,5;17\n";
    let out = read(&german(), file);
    assert_eq!(
        show(&out.batches),
        [
            "day=2025-12-31 at=2025-12-31T23:59:00 price=9214.34 count=1204",
            "day=2026-02-01 at=2026-02-01T00:00:01.500 price=-0.5 count=17",
        ]
    );
    let policy = declared(&[("v", "decimal(10, 2)"), ("d", "date"), ("z", "timestamptz")]);
    let mut extraction = start(&german(), &policy, None);
    let file = b"v;d;z\n1.234,50;1.3.2026;1.3.2026\n";
    let out = extract(&mut extraction, &[file], 99).unwrap();
    assert_eq!(
        show(&out.batches),
        ["v=1234.50 d=2026-03-01 z=2026-03-01T00:00:00Z"]
    );
}

#[test]
fn texts_that_are_not_written_so_do_not_fit() {
    let policy = declared(&[("v", "double"), ("d", "date"), ("t", "timestamp")]);
    for (v, d, t) in [
        ("1.23,4", "", ""),
        ("1234.5", "", ""),
        ("1,2,3", "", ""),
        ("0.123", "", ""),
        ("1.2345", "", ""),
        (",", "", ""),
        ("", "1.2.26", ""),
        ("", "30.02.2026", ""),
        ("", "2026-02-01", ""),
        ("", "1.2.2026 ", ""),
        ("", "", "1.2.2026 24:00"),
        ("", "", "1.2.2026 10:00:60"),
        ("", "", "1.2.2026 10:00:00.0000001"),
        ("", "", "2026-02-01T10:00"),
    ] {
        let file = format!("v;d;t\n{v};{d};{t}\n");
        let mut extraction = start(&german(), &policy, None);
        let out = extract(&mut extraction, &[file.as_bytes()], 99).unwrap();
        assert_eq!(refused(&out.rejected), [(2, "type_mismatch")], "{file}");
    }
}

#[test]
fn a_format_that_tells_no_time_is_a_mistake() {
    let with = |key: &str, text: &str| {
        let list = || vec![text.to_owned()];
        let mut config = CsvConfig::default();
        match key {
            "date_formats" => config.date_formats = list(),
            "timestamp_formats" => config.timestamp_formats = list(),
            "decimal" => config.decimal = text.to_owned(),
            _ => config.thousands = Some(text.to_owned()),
        }
        config.check().map(|_| ()).map_err(|(key, _)| key)
    };
    for (key, text) in [
        ("date_formats", "%d.%m"),
        ("date_formats", "%d.%m.%Y %H"),
        ("date_formats", "dd.mm.yyyy"),
        ("date_formats", "%Q"),
        ("timestamp_formats", "%d.%m.%Y"),
        ("timestamp_formats", "%d.%m.%Y %I:%M"),
        ("decimal", ""),
        ("decimal", "1"),
        ("thousands", "."),
        ("thousands", "-"),
    ] {
        assert_eq!(with(key, text), Err(key), "{text}");
    }
    for (key, text) in [
        ("date_formats", "%m/%d/%y"),
        ("date_formats", "%d %b %Y"),
        ("date_formats", "%Y%m%d"),
        ("timestamp_formats", "%d/%b/%Y:%H:%M:%S %z"),
        ("timestamp_formats", "%m/%d/%Y %I:%M %p"),
        ("decimal", ","),
        ("thousands", "\u{a0}"),
        ("thousands", "'"),
    ] {
        assert_eq!(with(key, text), Ok(()), "{text}");
    }
}

#[test]
fn a_time_with_a_zone_is_an_instant() {
    let config = CsvConfig {
        timestamp_formats: vec!["%d/%b/%Y:%H:%M:%S %z".to_owned()],
        ..CsvConfig::default()
    };
    let out = read(&config, "at\n10/Oct/2000:13:55:36 -0700\n");
    assert_eq!(show(&out.batches), ["at=2000-10-10T20:55:36Z"]);
}

#[test]
fn whole_numbers_that_turn_decimal_stay_one_column() {
    let files: [&[u8]; 2] = [b"v\n5\n7\n", b"v\n5.25\n"];
    let run = |numbers| {
        let config = CsvConfig {
            numbers,
            ..CsvConfig::default()
        };
        let mut extraction = start(&config, &ContractPolicy::default(), None);
        show(&extract(&mut extraction, &files, 99).unwrap().batches)
    };
    assert_eq!(run(NumberType::Double), ["v=5.0", "v=7.0", "v=5.25"]);
    assert_eq!(run(NumberType::Learned), ["v=5", "v=7", "v__v_double=5.25"]);
}

#[test]
fn only_unquoted_texts_are_null_unless_it_is_said() {
    let file = "n,s\n1,x\n\"\",\"\"\n,\n";
    let policy = declared(&[("n", "long")]);
    let run = |quoted_null, policy: &ContractPolicy| {
        let config = CsvConfig {
            quoted_null,
            ..CsvConfig::default()
        };
        let mut extraction = start(&config, policy, None);
        extract(&mut extraction, &[file.as_bytes()], 99).unwrap()
    };
    let learned = run(false, &ContractPolicy::default());
    assert_eq!(show(&learned.batches), ["n=1 s=x", "n= s=", ""]);
    let out = run(false, &policy);
    assert_eq!(refused(&out.rejected), [(3, "type_mismatch")]);
    let reason = &out.rejected[0].reason;
    assert!(reason.contains("quoted_null"), "{reason}");
    assert_eq!(show(&run(true, &policy).batches), ["n=1 s=x", "", ""]);
}

#[test]
fn a_header_that_cannot_name_columns_is_refused_by_name() {
    let long = "x".repeat(300);
    for name in ["a\0b", long.as_str()] {
        let out = read(&CsvConfig::default(), &format!("id,{name}\n1,2\n"));
        assert_eq!(out.rows(), 0, "{name:?}");
        assert_eq!(out.rejected[0].code, "bad_column_name");
        let reason = &out.rejected[0].reason;
        assert!(reason.contains("column 2"), "{reason}");
        let config = CsvConfig {
            columns: Some(vec!["id".to_owned(), "v".to_owned()]),
            ..CsvConfig::default()
        };
        let out = read(&config, &format!("id,{name}\n1,2\n"));
        assert_eq!(show(&out.batches), ["id=1 v=2"]);
    }
}

#[test]
fn a_row_without_a_value_in_a_file_of_one_column_comes_back() {
    use crate::text::Csv;
    let column: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec![
        Some("x"),
        None,
        Some(""),
        None,
    ]));
    let records = RecordBatch::try_from_iter([("s", column)]).unwrap();
    let csv = Csv {
        guard_formulas: true,
    };
    let mut text = Vec::new();
    csv.header(records.schema_ref(), &mut text);
    csv.rows(&records, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let config = CsvConfig {
        blank_lines: BlankLines::Record,
        ..CsvConfig::default()
    };
    for file in [
        text.clone(),
        text.replace('\n', "\r\n"),
        format!("\n\n{text}"),
    ] {
        let out = read(&config, &file);
        assert_eq!(show(&out.batches), ["s=x", "", "s=", ""], "{file:?}");
        let origins = out.batches[0].origins.as_ref().unwrap();
        let places: std::collections::BTreeSet<u64> = origins.offsets.iter().copied().collect();
        assert_eq!(places.len(), 4);
    }
    assert_eq!(
        show(&read(&CsvConfig::default(), &text).batches),
        ["s=x", "s="]
    );
    assert_eq!(show(&read(&config, "a,b\n\n1,2\n\n").batches), ["a=1 b=2"]);
}

#[test]
fn the_euro_sign_of_windows_is_one() {
    let file = b"pr\xe4is,note\n1,\x805 \x96 \x93x\x94\n";
    for (encoding, text) in [
        (Encoding::Windows1252, "präis=1 note=€5 – “x”"),
        (
            Encoding::Latin1,
            "präis=1 note=\u{80}5 \u{96} \u{93}x\u{94}",
        ),
    ] {
        let config = CsvConfig {
            encoding,
            ..CsvConfig::default()
        };
        let mut extraction = start(&config, &ContractPolicy::default(), None);
        let out = extract(&mut extraction, &[file], 3).unwrap();
        assert_eq!(show(&out.batches), [text]);
    }
}
