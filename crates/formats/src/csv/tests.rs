//! CSV against other readers, against real files, and against data loss.

mod carry;
mod declared;
mod files;
mod formats;
mod nulls;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use forebay_core::{Compression, Error, PayloadHead, Rejected, Result, Timestamp};
use proptest::prelude::*;

use super::columns::Columns;
use super::extraction::CsvExtraction;
use super::*;
use crate::Extracted;
use crate::contract::{ColumnRule, ColumnType, NewColumns};

fn head(ordinal: u64) -> Arc<PayloadHead> {
    Arc::new(PayloadHead {
        ordinal,
        name: "a.csv".to_owned(),
        received_at: Timestamp(0),
        content_type: None,
        compression: Compression::None,
        attributes: BTreeMap::new(),
        messages: None,
    })
}

fn start(config: &CsvConfig, policy: &ContractPolicy, contract: Option<Contract>) -> CsvExtraction {
    let options = config.check().unwrap();
    let columns = Columns::new(contract, policy, options.case).unwrap();
    CsvExtraction::new(Arc::new(options), columns)
}

/// Extracts files, each cut into pieces of `cut` bytes.
fn extract(extraction: &mut CsvExtraction, files: &[&[u8]], cut: usize) -> Result<Extracted> {
    let mut out = Extracted::default();
    for (file, ordinal) in files.iter().zip(0..) {
        for piece in file.chunks(cut) {
            extraction.push(&head(ordinal), piece, &mut out)?;
        }
        extraction.end(&head(ordinal), None, &mut out)?;
    }
    extraction.flush(&mut out)?;
    Ok(out)
}

fn read(config: &CsvConfig, file: &str) -> Extracted {
    extract(
        &mut start(config, &ContractPolicy::default(), None),
        &[file.as_bytes()],
        7,
    )
    .unwrap()
}

/// Rows as `column=text`, nulls left out.
fn show(batches: &[forebay_core::Batch]) -> Vec<String> {
    batches
        .iter()
        .flat_map(|batch| show_rows(&batch.records))
        .collect()
}

fn show_rows(records: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let schema = records.schema();
    let columns: Vec<_> = records
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    (0..records.num_rows())
        .map(|row| {
            let fields = schema.fields().iter().zip(records.columns()).zip(&columns);
            let valid = fields.filter(|((_, array), _)| array.is_valid(row));
            let texts: Vec<String> = valid
                .map(|((field, _), text)| format!("{}={}", field.name(), text.value(row)))
                .collect();
            texts.join(" ")
        })
        .collect()
}

fn refused(rejected: &[Rejected]) -> Vec<(u64, &str)> {
    rejected
        .iter()
        .map(|record| (record.line.unwrap(), record.code.as_str()))
        .collect()
}

#[test]
fn types_are_learned_and_nulls_are_nulls() {
    let file = "id,zip,price,day,at,ok,note\n1,007,1.50,2026-01-02,2026-01-02T03:04:05Z,true,\"a,\"\"b\"\"\nc\"\n2,010,,,,false,\"\"\n";
    let out = read(&CsvConfig::default(), file);
    assert_eq!(
        show(&out.batches),
        [
            "id=1 zip=007 price=1.5 day=2026-01-02 at=2026-01-02T03:04:05Z ok=true note=a,\"b\"\nc",
            "id=2 zip=010 ok=false note=",
        ]
    );
    let origins = out.batches[0].origins.as_ref().unwrap();
    for (offset, length) in origins.offsets.iter().zip(&origins.lengths) {
        let record = &file[*offset as usize..*offset as usize + *length as usize];
        assert!(
            record.starts_with("1,007") || record == "2,010,,,,false,\"\"",
            "{record}"
        );
    }
    assert!(out.rejected.is_empty());
}

#[test]
fn a_bad_line_costs_one_line_and_is_named() {
    let file = "a,b\n1,x\n2,\"never closed\n3,y\n4,\"q\"z\n5\n6,y,z\n7,\"ok\nstill\"\n";
    let out = read(&CsvConfig::default(), file);
    assert_eq!(
        show(&out.batches),
        ["a=1 b=x", "a=3 b=y", "a=7 b=ok\nstill"]
    );
    assert_eq!(
        refused(&out.rejected),
        [
            (3, "text_after_quote"),
            (5, "text_after_quote"),
            (6, "ragged_row"),
            (7, "ragged_row")
        ]
    );
    assert_eq!(out.rejected[1].record, b"a,b\n4,\"q\"z");
    assert_eq!(
        out.rejected[1].offset,
        Some(file.find("4,").unwrap() as u64)
    );
    for end in ["\n", "\r\n", "\r"] {
        let file = ["a,b", "", "\"x", "y\",1", "2"].join(end);
        let line = if end == "\r" { 4 } else { 5 };
        assert_eq!(
            refused(&read(&CsvConfig::default(), &file).rejected),
            [(line, "ragged_row")],
            "{end:?}"
        );
    }
    let out = read(&CsvConfig::default(), "a\n1\n\"2\n3\n");
    assert_eq!(show(&out.batches), ["a=1", "a=3"]);
    assert_eq!(refused(&out.rejected), [(3, "unbalanced_quote")]);
}

#[test]
fn a_refused_record_is_a_file_of_its_own() {
    let config = CsvConfig {
        delimiter: ";".to_owned(),
        skip_lines: 2,
        ..CsvConfig::default()
    };
    let out = read(&config, "made by\n\"some tool\na;b\n1;2\n3;4;5\n");
    assert_eq!(show(&out.batches), ["a=1 b=2"]);
    assert_eq!(refused(&out.rejected), [(5, "ragged_row")]);
    let replay = String::from_utf8(out.rejected[0].record.clone()).unwrap();
    let fixed = CsvConfig {
        ragged: Ragged::Fill,
        ..config
    };
    assert_eq!(
        show(&read(&fixed, &replay.replace(";5", ";")).batches),
        ["a=3 b=4"]
    );
}

#[test]
fn dialects_are_read() {
    let base = CsvConfig::default;
    let tab = || CsvConfig {
        delimiter: "tab".to_owned(),
        ..base()
    };
    for (config, file, rows) in [
        (tab(), "a\tb\r\n1\t2\r\n", &["a=1 b=2"][..]),
        (base(), "a,b\r1,2\r\r3,4", &["a=1 b=2", "a=3 b=4"]),
        (
            CsvConfig {
                comment: Some("#".to_owned()),
                ..base()
            },
            "#x\na\n#y\n1\n",
            &["a=1"],
        ),
        (
            CsvConfig {
                escape: Some("\\".to_owned()),
                ..base()
            },
            "a\n\"x\\\"y\\\\\"\n",
            &["a=x\"y\\"],
        ),
        (
            CsvConfig {
                quote: String::new(),
                ..base()
            },
            "a,b\n\"1,2\n",
            &["a=\"1 b=2"],
        ),
        (
            CsvConfig {
                trim: true,
                ..base()
            },
            " a , b \n 1 , \" x \" \n",
            &["a=1 b= x "],
        ),
        (
            CsvConfig {
                header: false,
                ..base()
            },
            "1,x\n2,y\n",
            &["column_1=1 column_2=x", "column_1=2 column_2=y"],
        ),
        (
            CsvConfig {
                columns: Some(vec!["x".to_owned(), "y".to_owned()]),
                ..base()
            },
            "a,b\n1,2\n",
            &["x=1 y=2"],
        ),
        (
            CsvConfig {
                null: vec!["NULL".to_owned(), "-".to_owned()],
                ..base()
            },
            "a,b\nNULL,-\n1,\"-\"\n",
            &["", "a=1 b=-"],
        ),
        (
            CsvConfig {
                ragged: Ragged::Fill,
                ..base()
            },
            "a,b\n1\n2,3,\n",
            &["a=1", "a=2 b=3"],
        ),
        (
            base(),
            "\u{feff}a,a,,A\n1,2,3,4\n",
            &["a=1 a_2=2 column_3=3 A=4"],
        ),
        (base(), "a,b\n1,", &["a=1 b="]),
        (base(), "f\n=cmd()\n", &["f==cmd()"]),
        (base(), "", &[]),
        (base(), "a,b\n", &[]),
    ] {
        let out = read(&config, file);
        assert_eq!(show(&out.batches), rows, "{file:?}");
        assert!(out.rejected.is_empty(), "{file:?} {:?}", out.rejected);
    }
}

#[test]
fn encodings_are_turned_into_utf8() {
    let latin = CsvConfig {
        encoding: Encoding::Latin1,
        ..CsvConfig::default()
    };
    let mut extraction = start(&latin, &ContractPolicy::default(), None);
    let out = extract(&mut extraction, &[b"caf\xe9\nna\xefve\n"], 3).unwrap();
    assert_eq!(show(&out.batches), ["café=naïve"]);
    // The mark says that it is UTF-8.
    let mut extraction = start(&latin, &ContractPolicy::default(), None);
    let out = extract(&mut extraction, &["\u{feff}name\nMüller\n".as_bytes()], 3).unwrap();
    assert_eq!(out.rejected[0].code, "wrong_encoding");
    assert!(show(&out.batches).is_empty());

    let wide = CsvConfig {
        encoding: Encoding::Utf16,
        ..CsvConfig::default()
    };
    let bytes: Vec<u8> = "\u{feff}a,b\n1,😀\n2,é,3\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let out = extract(
        &mut start(&wide, &ContractPolicy::default(), None),
        &[&bytes],
        5,
    )
    .unwrap();
    assert_eq!(show(&out.batches), ["a=1 b=😀"]);
    assert_eq!(out.rejected[0].offset, Some(20));
    assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [10]);

    let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
    let out = extract(
        &mut extraction,
        &[b"a,b\n1,x\n2,\xe9\n3,\xc3\n4,\xa9y\n5,z\n"],
        4,
    )
    .unwrap();
    assert_eq!(show(&out.batches), ["a=1 b=x", "a=5 b=z"]);
    assert_eq!(
        refused(&out.rejected),
        [
            (3, "invalid_utf8"),
            (4, "invalid_utf8"),
            (5, "invalid_utf8")
        ]
    );
    assert_eq!(out.rejected[0].record, b"a,b\n2,\xe9");
}

#[test]
fn a_text_that_does_not_fit_goes_where_the_policy_says() {
    let files: &[&[u8]] = &[b"a,b\n1,x\n", b"a,b\nn/a,y\n7.5,z\n"];
    let policy = |new_columns| ContractPolicy {
        new_columns,
        ..ContractPolicy::default()
    };
    let run = |policy: &ContractPolicy| {
        let mut extraction = start(&CsvConfig::default(), policy, None);
        let mut out = extract(&mut extraction, &files[..1], 99).unwrap();
        let contract = extraction.contract();
        let later = extract(
            &mut start(&CsvConfig::default(), policy, Some(contract)),
            &files[1..],
            99,
        )
        .unwrap();
        out.batches.extend(later.batches);
        out.rejected.extend(later.rejected);
        out
    };
    let out = run(&policy(NewColumns::Evolve));
    assert_eq!(
        show(&out.batches),
        ["a=1 b=x", "a__v_string=n/a b=y", "a__v_double=7.5 b=z"]
    );
    for strict in [NewColumns::Freeze, NewColumns::Quarantine] {
        let out = run(&policy(strict));
        assert_eq!(show(&out.batches), ["a=1 b=x"]);
        assert_eq!(
            refused(&out.rejected),
            [(2, "type_mismatch"), (3, "type_mismatch")]
        );
    }
    let rule = ColumnRule {
        r#type: Some(ColumnType::Double),
        required: true,
        check: None,
    };
    let declared = ContractPolicy {
        columns: BTreeMap::from([("a".to_owned(), rule)]),
        ..ContractPolicy::default()
    };
    let out = run(&declared);
    assert_eq!(show(&out.batches), ["a=1.0 b=x", "a=7.5 b=z"]);
    assert_eq!(refused(&out.rejected), [(2, "type_mismatch")]);
}

#[test]
fn a_new_column_does_what_the_policy_says() {
    let files: &[&[u8]] = &[b"a,b\n1,2\n", b"c,a\n,3\nx,4\n"];
    let run = |new_columns| {
        let policy = ContractPolicy {
            new_columns,
            ..ContractPolicy::default()
        };
        extract(&mut start(&CsvConfig::default(), &policy, None), files, 99)
    };
    assert_eq!(
        show(&run(NewColumns::Evolve).unwrap().batches),
        ["a=1 b=2", "a=3", "c=x a=4"]
    );
    let out = run(NewColumns::Quarantine).unwrap();
    assert_eq!(show(&out.batches), ["a=1 b=2", "a=3"]);
    assert_eq!(refused(&out.rejected), [(3, "new_column")]);
    let error = run(NewColumns::Freeze).unwrap_err();
    assert_eq!(error.code(), "new_column");
    assert!(error.message().contains("`c`"));
}

#[test]
fn required_columns_must_be_there() {
    let rule = ColumnRule {
        required: true,
        ..ColumnRule::default()
    };
    let policy = ContractPolicy {
        columns: BTreeMap::from([("b".to_owned(), rule)]),
        ..ContractPolicy::default()
    };
    let out = extract(
        &mut start(&CsvConfig::default(), &policy, None),
        &[b"a,b\n1,2\n3,\n", b"a\n5\n"],
        99,
    )
    .unwrap();
    assert_eq!(show(&out.batches), ["a=1 b=2"]);
    assert_eq!(
        refused(&out.rejected),
        [(3, "missing_required"), (2, "missing_required")]
    );
}

#[test]
fn too_many_columns_refuse_the_file_in_one_piece() {
    let wide = format!(
        "{}\n{}\n",
        ["x"; 1_000_000].join(","),
        ["1"; 1_000_000].join(",")
    );
    let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
    let out = extract(&mut extraction, &[wide.as_bytes(), b"a\n1\n"], 1 << 16).unwrap();
    assert_eq!(show(&out.batches), ["a=1"]);
    assert_eq!(refused(&out.rejected), [(1, "too_many_fields")]);
    let wide = format!("{}\n", ["x"; 3_000].join(","));
    let out = extract(&mut extraction, &[wide.as_bytes()], 999).unwrap();
    assert_eq!(refused(&out.rejected), [(1, "too_many_columns")]);
}

#[test]
fn records_of_an_earlier_payload_are_left_out() {
    let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
    let mut skipping = PayloadHead::clone(&head(0));
    skipping.set_skips(&[0, 2]);
    let skipping = Arc::new(skipping);
    let mut out = Extracted::default();
    extraction
        .push(&skipping, b"a\n1\n2\n3\n4\n", &mut out)
        .unwrap();
    extraction.end(&skipping, None, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    assert_eq!(show(&out.batches), ["a=2", "a=4"]);
}

#[test]
fn a_broken_payload_keeps_its_whole_records() {
    let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
    let mut out = Extracted::default();
    extraction
        .push(&head(0), b"a,b\n1,2\n3,", &mut out)
        .unwrap();
    extraction
        .end(
            &head(0),
            Some(Error::data("corrupt_gzip", "torn")),
            &mut out,
        )
        .unwrap();
    extraction.push(&head(1), b"a,b\n5,6\n", &mut out).unwrap();
    extraction.end(&head(1), None, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    assert_eq!(show(&out.batches), ["a=1 b=2", "a=5 b=6"]);
    assert_eq!(refused(&out.rejected), [(3, "corrupt_gzip")]);
    assert_eq!(out.rejected[0].record, b"a,b\n3,");
}

/// A payload whose header is refused is refused once, whatever follows: more text, a break, a flush in the middle.
#[test]
fn a_refused_header_and_a_break_are_one_refusal() {
    for rows in [0, 3, 20_000] {
        let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
        let mut out = Extracted::default();
        extraction.push(&head(0), b"a,b\n1,2\n", &mut out).unwrap();
        extraction.end(&head(0), None, &mut out).unwrap();
        extraction.push(&head(1), b"\xff,b\n", &mut out).unwrap();
        for row in 0..rows {
            let line = format!("{row},{row}\n");
            extraction
                .push(&head(1), line.as_bytes(), &mut out)
                .unwrap();
        }
        extraction.flush(&mut out).unwrap();
        extraction.push(&head(1), b"5,", &mut out).unwrap();
        let torn = Error::data("corrupt_gzip", "torn");
        extraction.end(&head(1), Some(torn), &mut out).unwrap();
        extraction.push(&head(2), b"a,b\n3,4\n", &mut out).unwrap();
        extraction.end(&head(2), None, &mut out).unwrap();
        extraction.flush(&mut out).unwrap();
        assert_eq!(show(&out.batches), ["a=1 b=2", "a=3 b=4"], "{rows}");
        let codes: Vec<&str> = out.rejected.iter().map(|r| r.code.as_str()).collect();
        assert_eq!(codes, ["invalid_utf8"], "{rows}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// Whatever a file holds, each byte range is a row or a reject, and nothing panics.
    #[test]
    fn mutated_files_never_panic(
        edits in proptest::collection::vec((0_usize..400, any::<u8>()), 0..12),
        cut_at in 0_usize..400,
        cut in 1_usize..64,
        is_broken in any::<bool>(),
        flush_every in 1_usize..5,
    ) {
        let good = (0..40).map(|n| format!("{n},\"x{n}\ny\",{}\n", n * 3)).collect::<String>();
        let mut bytes = format!("id,text,n\n{good}").into_bytes();
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut_at.max(1));
        let mut extraction = start(&CsvConfig::default(), &ContractPolicy::default(), None);
        let mut out = Extracted::default();
        for (n, piece) in bytes.chunks(cut).enumerate() {
            extraction.push(&head(0), piece, &mut out).unwrap();
            if n % flush_every == 0 {
                extraction.flush(&mut out).unwrap();
            }
        }
        let torn = is_broken.then(|| Error::data("corrupt_gzip", "torn"));
        extraction.end(&head(0), torn, &mut out).unwrap();
        extraction.flush(&mut out).unwrap();
        for batch in &out.batches {
            prop_assert!(batch.records.num_rows() == 0 || batch.records.num_columns() > 0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Output of the `csv` crate is read back unchanged, however it is cut and flushed.
    #[test]
    fn what_another_writer_wrote_is_read(
        rows in proptest::collection::vec(proptest::collection::vec("[a-z,\"\\n\\r é]{0,6}", 3), 1..30),
        cut in 1_usize..40,
        flush_every in 1_usize..9,
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["x", "y", "z"]).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let file = writer.into_inner().unwrap();
        let text = |name: &str| (name.to_owned(), ColumnRule { r#type: Some(ColumnType::String), ..ColumnRule::default() });
        let policy = ContractPolicy { columns: ["x", "y", "z"].map(text).into(), ..ContractPolicy::default() };
        let mut extraction = start(&CsvConfig::default(), &policy, None);
        let mut out = Extracted::default();
        for (i, piece) in file.chunks(cut).enumerate() {
            extraction.push(&head(0), piece, &mut out).unwrap();
            if i % flush_every == 0 {
                extraction.flush(&mut out).unwrap();
            }
        }
        extraction.end(&head(0), None, &mut out).unwrap();
        extraction.flush(&mut out).unwrap();
        prop_assert!(out.rejected.is_empty(), "{:?}", out.rejected);
        let expected: Vec<String> = rows.iter().map(|row| {
            let valid = row.iter().zip(["x", "y", "z"]).filter(|(text, _)| !text.is_empty());
            valid.map(|(text, name)| format!("{name}={text}")).collect::<Vec<_>>().join(" ")
        }).collect();
        prop_assert_eq!(show(&out.batches), expected);
        for batch in &out.batches {
            let origins = batch.origins.as_ref().unwrap();
            for (offset, length) in origins.offsets.iter().zip(&origins.lengths) {
                let end = *offset as usize + *length as usize;
                prop_assert!(file[end..].starts_with(b"\n") && file[..*offset as usize].ends_with(b"\n"));
            }
        }
    }

    /// Every line is in a row or refused, whatever the bytes are and however they are cut.
    #[test]
    fn no_bytes_panic_and_cuts_do_not_matter(
        file in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b','), Just(b'\n'), Just(b'\r'), Just(b'a'), Just(b'\\'), any::<u8>()], 0..200),
        cut in 1_usize..20,
        escape in any::<bool>(),
        trim in any::<bool>(),
    ) {
        let escape = escape.then(|| "\\".to_owned());
        let config = CsvConfig { escape, trim, ragged: Ragged::Fill, ..CsvConfig::default() };
        let whole = extract(&mut start(&config, &ContractPolicy::default(), None), &[&file], usize::MAX).unwrap();
        let pieces = extract(&mut start(&config, &ContractPolicy::default(), None), &[&file], cut).unwrap();
        prop_assert_eq!(show(&whole.batches), show(&pieces.batches));
        prop_assert_eq!(whole.rejected, pieces.rejected);
    }
}
