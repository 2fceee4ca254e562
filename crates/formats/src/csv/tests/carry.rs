//! Files that are read in parts, each by a run of its own.

use super::*;

/// Two text columns, so that nothing is learned from the values.
fn texts() -> ContractPolicy {
    let rule = ColumnRule {
        r#type: Some(ColumnType::String),
        ..ColumnRule::default()
    };
    ContractPolicy {
        columns: ["a", "b"]
            .map(|name| (name.to_owned(), rule.clone()))
            .into(),
        ..ContractPolicy::default()
    }
}

/// Rows, and rejects with their lines.
type Seen = (Vec<String>, Vec<(u64, String)>);

fn seen(out: &Extracted) -> Seen {
    let refused = refused(&out.rejected);
    let refused = refused
        .into_iter()
        .map(|(line, code)| (line, code.to_owned()));
    (show(&out.batches), refused.collect())
}

/// The file in two runs, the first of which takes `cut` bytes; `None` when it may not stop there.
fn in_two_runs(config: &CsvConfig, file: &[u8], cut: usize) -> Option<Seen> {
    let mut first = start(config, &texts(), None);
    let mut out = Extracted::default();
    first.push(&head(0), &file[..cut], &mut out).unwrap();
    if !first.is_between_records() {
        return None;
    }
    first.flush(&mut out).unwrap();
    let contract = serde_json::to_string(&first.contract()).unwrap();
    let contract = serde_json::from_str(&contract).unwrap();
    let mut second = start(config, &texts(), Some(contract));
    let mut rest = PayloadHead::clone(&head(1));
    let offset = PayloadHead::OFFSET_ATTRIBUTE.to_owned();
    rest.attributes.insert(offset, cut.to_string());
    rest.attributes.extend(second.carried(&rest));
    let rest = Arc::new(rest);
    second.push(&rest, &file[cut..], &mut out).unwrap();
    second.end(&rest, None, &mut out).unwrap();
    second.flush(&mut out).unwrap();
    let Contract { shape, .. } = second.contract();
    assert!(shape.get("carry").is_none(), "the file is complete");
    Some(seen(&out))
}

fn in_one_run(config: &CsvConfig, file: &[u8]) -> Seen {
    seen(&extract(&mut start(config, &texts(), None), &[file], 5).unwrap())
}

#[test]
fn a_file_may_stop_where_no_quote_is_open() {
    let file = b"\xef\xbb\xbfskipped\na,b\n1,x\n2,\"y\n\nz\"\n3\n4,w\n";
    let config = CsvConfig {
        skip_lines: 1,
        ..CsvConfig::default()
    };
    let whole = in_one_run(&config, file);
    assert_eq!(whole.0, ["a=1 b=x", "a=2 b=y\n\nz", "a=4 b=w"]);
    assert_eq!(whole.1, [(7, "ragged_row".to_owned())]);
    let ends = (1..file.len()).filter(|cut| file[cut - 1] == b'\n');
    let ways: Vec<Option<Seen>> = ends.map(|cut| in_two_runs(&config, file, cut)).collect();
    let may_stop: Vec<bool> = ways.iter().map(Option::is_some).collect();
    assert_eq!(may_stop, [false, true, true, false, false, true, true]);
    for way in ways.into_iter().flatten() {
        assert_eq!(way, whole);
    }
}

#[test]
fn the_second_part_of_a_file_without_its_header_is_refused_whole() {
    let mut rest = PayloadHead::clone(&head(0));
    let offset = PayloadHead::OFFSET_ATTRIBUTE.to_owned();
    rest.attributes.insert(offset, "9".to_owned());
    let mut extraction = start(&CsvConfig::default(), &texts(), None);
    let rest = Arc::new(rest);
    let mut out = Extracted::default();
    extraction.push(&rest, b"1,2\n3,4\n", &mut out).unwrap();
    extraction.end(&rest, None, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    assert_eq!((out.rows(), out.rejected.len()), (0, 1));
    assert_eq!(
        (out.rejected[0].code.as_str(), out.rejected[0].offset),
        ("header_lost", None)
    );
}

#[test]
fn a_contract_keeps_what_is_open_while_other_payloads_are_read_again() {
    let mut first = start(&CsvConfig::default(), &texts(), None);
    let mut out = Extracted::default();
    first.push(&head(0), b"a,b\n1,2\n", &mut out).unwrap();
    first.flush(&mut out).unwrap();
    let contract = first.contract();
    let mut replay = start(&CsvConfig::default(), &texts(), Some(contract.clone()));
    extract(&mut replay, &[b"a,b\n5,6\n"], 99).unwrap();
    assert_eq!(replay.contract(), contract);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn two_runs_give_what_one_gives(
        pieces in proptest::collection::vec(
            prop_oneof![Just("x"), Just(","), Just("\""), Just("\n"), Just("\r\n"), Just("\"\""), Just("1,\"y\nz\"\n")],
            0..60,
        ),
        fill in any::<bool>(),
    ) {
        let file = format!("a,b\n{}", pieces.concat());
        let ragged = if fill { Ragged::Fill } else { Ragged::Quarantine };
        let config = CsvConfig { ragged, ..CsvConfig::default() };
        let whole = in_one_run(&config, file.as_bytes());
        for cut in (1..file.len()).filter(|cut| file.as_bytes()[cut - 1] == b'\n') {
            if let Some(way) = in_two_runs(&config, file.as_bytes(), cut) {
                prop_assert_eq!(&way, &whole, "cut at {}", cut);
            }
        }
    }
}
