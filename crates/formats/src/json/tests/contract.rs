//! Columns and the contract policy.

use super::*;
use crate::Outlet;

#[test]
fn required_columns_must_be_there() {
    let text = "{\"a\":{\"b\":1},\"c\":1}\n{\"a\":{\"b\":null},\"c\":1}\n{\"a\":{},\"c\":1}\n{\"a\":null,\"c\":1}\n{\"c\":1}\n{\"a\":3,\"c\":1}\n";
    let out = ruled(&rule("a__b", None, true), text);
    assert_eq!((out.rows(), codes(&out)), (1, vec!["missing_column"; 5]));
    let out = ruled(&rule("zz", None, true), "{\"a\":1}\n");
    assert_eq!((out.rows(), codes(&out)), (0, vec!["missing_column"]));
    let out = ruled(
        &rule("l__sku", None, true),
        "{\"l\":[{\"sku\":1}]}\n{\"l\":[{\"sku\":1},{\"x\":1}]}\n{\"l\":[]}\n",
    );
    assert_eq!((out.rows(), codes(&out)), (2, vec!["missing_column"]));
    let out = ruled(
        &rule("l__zz", None, true),
        "{\"l\":[{\"zz\":1}]}\n{\"l\":[{\"sku\":1}]}\n{\"l\":[]}\n",
    );
    assert_eq!((out.rows(), codes(&out)), (2, vec!["missing_column"]));
}

#[test]
fn keys_that_cannot_be_columns_are_refused() {
    for (text, code) in [
        (r#"{"a":1,"a":2}"#, "duplicate_key"),
        (r#"{"a":{"x":1,"b":2,"x":1}}"#, "duplicate_key"),
        (r#"{"zz":null,"zz":1}"#, "duplicate_key"),
        (r#"{"":1}"#, "empty_key"),
        (r#"{"a\u0000":1}"#, "bad_key"),
        (r#"{"a":{"b":1},"a__b":2}"#, "column_clash"),
    ] {
        let out = flat(&format!("{{\"ok\":1}}\n{text}\n"));
        assert_eq!((out.rows(), codes(&out)), (1, vec![code]), "{text}");
        assert_eq!(typed_columns(&out), 1, "{text}");
    }
    let clash = &flat(r#"{"a":{"b":1},"a__b":2}"#).rejected[0];
    assert!(
        clash.reason.contains("`a.b`") && clash.reason.contains("`a__b`"),
        "{}",
        clash.reason
    );
    let out = extract(
        &with(Nested::Tables),
        &ContractPolicy::default(),
        &[br#"{"_fb_id":1}"#],
    );
    assert_eq!(codes(&out), ["column_clash"]);
}

#[test]
fn keys_that_differ_in_case_only_are_columns_of_their_own() {
    let out = flat("{\"Id\":1,\"id\":2}\n{\"ID\":\"x\"}\n");
    assert_eq!(
        rows(&out, ""),
        [json!({"Id": 1, "id": 2}), json!({"ID": "x"})]
    );
    // Tables share a namespace in which case does not count.
    let text = b"{\"a\":[1],\"A\":[2]}";
    let out = extract(&with(Nested::Tables), &ContractPolicy::default(), &[text]);
    assert_eq!(codes(&out), ["column_clash"]);
}

#[test]
fn spellings_of_a_key_are_one_column_where_case_does_not_count() {
    let fold = |nested| Config {
        case: NameCase::Fold,
        ..with(nested)
    };
    let text = b"{\"userUPN\":\"a\",\"o\":{\"X\":1}}\n{\"userUpn\":\"b\",\"O\":{\"x\":2}}\n{\"USERUPN\":\"c\"}\n{\"Id\":1,\"id\":2}\n";
    for nested in [Nested::Keep, Nested::Flatten] {
        let out = extract(&fold(nested), &ContractPolicy::default(), &[text]);
        assert_eq!(codes(&out), ["duplicate_key"]);
        let found = rows(&out, "");
        let users: Vec<&Value> = found.iter().map(|row| &row["userupn"]).collect();
        assert_eq!(users, ["a", "b", "c"]);
        let x = |row: &Value| match nested {
            Nested::Keep => row["o"]["x"].clone(),
            _ => row["o__x"].clone(),
        };
        assert_eq!((x(&found[0]), x(&found[1])), (json!(1), json!(2)));
    }
    // A column that is there keeps its spelling.
    let mut extraction = start(&lines(), &ContractPolicy::default(), None);
    let mut out = Extracted::default();
    extraction
        .push(&head(0), b"{\"Id\":1}\n", &mut out)
        .unwrap();
    extraction.flush(&mut out).unwrap();
    let config = fold(Nested::Flatten);
    let contract = Some(extraction.contract());
    let mut extraction = start(&config, &ContractPolicy::default(), contract);
    let mut out = Extracted::default();
    extraction
        .push(&head(0), b"{\"ID\":2}\n", &mut out)
        .unwrap();
    extraction.flush(&mut out).unwrap();
    assert_eq!(rows(&out, ""), [json!({"Id": 2})]);
    let error = Json::new(config)
        .unwrap()
        .start(None, &rule("Id", None, true), None);
    assert_eq!(error.err().unwrap().code(), "bad_column");
}

#[test]
fn types_are_bounded_in_depth_where_the_contract_grows() {
    let deep = |levels: usize| {
        format!(
            "{{\"a\":{}1{}}}\n",
            "{\"b\":".repeat(levels),
            "}".repeat(levels)
        )
    };
    for nested in [Nested::Keep, Nested::Flatten, Nested::Tables] {
        let config = Config {
            lines: Some(true),
            ..with(nested)
        };
        let text = format!("{}{}", deep(18), deep(19));
        let out = extract(&config, &ContractPolicy::default(), &[text.as_bytes()]);
        assert_eq!(
            (out.rows(), codes(&out)),
            (1, vec!["type_too_deep"]),
            "{nested:?}"
        );
    }
    let lists = format!("{{\"a\":{}1{}}}", "[{\"b\":".repeat(31), "}]".repeat(31));
    assert_eq!(codes(&flat(&lists)), ["type_too_deep"]);
}

#[test]
fn what_a_few_bytes_expand_to_is_handed_on_in_bounded_pieces() {
    let pieces = Arc::new(Pieces::default());
    let mut extraction = Json::new(lines())
        .unwrap()
        .start(None, &ContractPolicy::default(), None)
        .unwrap();
    let keys: Vec<String> = (0..1_500).map(|n| format!("\"k{n}\":{n}")).collect();
    let head = head(0);
    // Only rejected records, then rows that are wide and empty.
    let wide = format!("{{{}}}\n{}", keys.join(","), "{}\n".repeat(20_000));
    for (text, records) in [("1\n".repeat(100_000), 100_000), (wide, 20_001)] {
        let mut out = Extracted::into_outlet(pieces.clone());
        extraction.push(&head, text.as_bytes(), &mut out).unwrap();
        extraction.end(&head, None, &mut out).unwrap();
        extraction.flush(&mut out).unwrap();
        pieces.take(out).unwrap();
        let (taken, largest) = pieces.finish();
        assert_eq!(taken, records);
        assert!(largest <= 24 << 20, "{largest} bytes at once");
    }
}

/// Counts the output: records, and the bytes of the largest piece.
#[derive(Debug, Default)]
struct Pieces(std::sync::Mutex<(usize, usize)>);

impl Pieces {
    fn finish(&self) -> (usize, usize) {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Outlet for Pieces {
    fn take(&self, piece: Extracted) -> Result<()> {
        let rows: usize = piece
            .batches
            .iter()
            .map(|batch| batch.records.get_array_memory_size())
            .sum();
        let mut sums = self.0.lock().unwrap();
        sums.0 += piece.rows() + piece.rejected.len();
        sums.1 = sums.1.max(rows + piece.rejected.len() * 400);
        Ok(())
    }
}

#[test]
fn names_of_prototypes_are_only_names() {
    let out = flat(r#"{"__proto__":{"x":1},"constructor":2}"#);
    assert_eq!(
        rows(&out, ""),
        [json!({"__proto____x": 1, "constructor": 2})]
    );
}

#[test]
fn a_table_is_not_widened_beyond_its_budget() {
    let many = |from: usize, to: usize| {
        let keys: Vec<String> = (from..to).map(|i| format!("\"k{i}\":1")).collect();
        format!("{{{}}}\n", keys.join(","))
    };
    let out = flat(&format!(
        "{}{}{}",
        many(0, 10),
        many(0, 100_000),
        many(5, 15)
    ));
    assert_eq!((out.rows(), codes(&out)), (2, vec!["too_many_columns"]));
    assert_eq!(out.batches[0].records.num_columns(), 15);
}

#[test]
fn the_policy_decides_about_new_columns() {
    let first = "{\"a\":1}\n";
    let contract = {
        let mut extraction = start(&lines(), &ContractPolicy::default(), None);
        let mut out = Extracted::default();
        extraction
            .push(&head(0), first.as_bytes(), &mut out)
            .unwrap();
        extraction.flush(&mut out).unwrap();
        extraction.contract()
    };
    let again = |new_columns: NewColumns, text: &str| {
        let policy = ContractPolicy {
            new_columns,
            ..rule("d", Some("string"), false)
        };
        let mut extraction = start(&lines(), &policy, Some(contract.clone()));
        let mut out = Extracted::default();
        let result = extraction.push(&head(0), text.as_bytes(), &mut out);
        extraction.flush(&mut out).unwrap();
        result
            .map(|()| {
                (
                    out.rows(),
                    codes(&out).join(","),
                    extraction.contract() == contract,
                )
            })
            .map_err(|error| error.code())
    };
    let text = "{\"a\":1}\n{\"a\":\"x\"}\n{\"a\":2}\n";
    assert_eq!(
        again(NewColumns::Evolve, text),
        Ok((3, String::new(), false))
    );
    assert_eq!(
        again(NewColumns::Quarantine, text),
        Ok((2, "new_column".to_owned(), true))
    );
    assert_eq!(again(NewColumns::Freeze, text), Err("contract_frozen"));
    assert_eq!(
        again(NewColumns::Freeze, "{\"a\":1,\"d\":\"x\"}\n"),
        Ok((1, String::new(), false))
    );
}

#[test]
fn a_contract_comes_back_from_its_json() {
    let text = "{\"a\":{\"b\":[1,\"x\"]},\"d\":\"1.5\"}\n{\"a\":3}\n";
    let policy = rule("d", Some("decimal(9, 2)"), false);
    let mut extraction = start(&lines(), &policy, None);
    extraction
        .push(&head(0), text.as_bytes(), &mut Extracted::default())
        .unwrap();
    extraction.flush(&mut Extracted::default()).unwrap();
    let contract = extraction.contract();
    let stored = serde_json::to_string(&contract).unwrap();
    let read: Contract = serde_json::from_str(&stored).unwrap();
    assert_eq!(
        start(&lines(), &policy, Some(read.clone())).contract(),
        contract
    );
    let json = Json::new(with(Nested::Keep)).unwrap();
    let error = json.start(Some(read.clone()), &policy, None).err().unwrap();
    assert_eq!(error.code(), "nested_changed");
    let error = Json::new(lines())
        .unwrap()
        .start(Some(read), &rule("d", Some("date"), false), None)
        .err()
        .unwrap();
    assert_eq!(error.code(), "column_type_changed");
}

#[test]
fn limits_out_of_range_are_refused() {
    let bad = Config {
        limits: Limits {
            depth: 257,
            ..Limits::default()
        },
        ..Config::default()
    };
    assert_eq!(Json::new(bad).unwrap_err().code(), "bad_limit");
    let bad = Config {
        records: Some("a..b".to_owned()),
        ..Config::default()
    };
    assert_eq!(Json::new(bad).unwrap_err().code(), "bad_records");
}
