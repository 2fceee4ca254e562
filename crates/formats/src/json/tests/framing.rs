//! Lines, documents, encodings and limits.

use super::*;

#[test]
fn bad_lines_are_refused_where_they_are() {
    for (line, code, at) in [
        ("[1]", "not_an_object", 0),
        ("3", "not_an_object", 0),
        ("null", "not_an_object", 0),
        (r#"{"a":1} {"a":2}"#, "trailing_data", 8),
        (r#"{"a":1,}"#, "bad_json", 7),
        (r#"{"a":[1,]}"#, "bad_json", 8),
        (r#"{"a":NaN}"#, "bad_json", 5),
        (r#"{"a":"\ud800"}"#, "bad_json", 0),
        (r#"{"a":01}"#, "bad_json", 0),
        (r#"{"a":"#, "bad_json", 0),
    ] {
        let text = format!("\n{{\"a\":1}}\r\n  {line}\n{{\"a\":2}}");
        let out = flat(&text);
        assert_eq!((out.rows(), codes(&out)), (2, vec![code]), "{line}");
        assert_eq!(out.rejected[0].line, Some(3));
        assert_eq!(out.rejected[0].record, line.as_bytes());
        let offset = out.rejected[0].offset.unwrap();
        assert!(
            offset >= 12 + at && offset <= 12 + line.len() as u64,
            "{line}: {offset}"
        );
    }
}

#[test]
fn what_is_not_json_is_told_in_words() {
    for (line, words) in [
        (r#"{"a":"\ud800"}"#, "half of a character"),
        (r#"{"a":01}"#, "number"),
        ("{", "remove `lines: true`"),
        (" [ ", "`jq -c .`"),
    ] {
        let out = flat(line);
        let reason = &out.rejected[0].reason;
        assert!(
            reason.contains(words) && !reason.contains("Invalid"),
            "{reason}"
        );
    }
}

#[test]
fn encodings_other_than_utf8_are_refused_with_the_place() {
    let out = extract(
        &lines(),
        &ContractPolicy::default(),
        &[b"\xEF\xBB\xBF{\"a\":1}\n{\"a\":\"x\xFFy\"}\n"],
    );
    assert_eq!((out.rows(), codes(&out)), (1, vec!["not_utf8"]));
    assert_eq!(out.rejected[0].offset, Some(3 + 8 + 7));
    assert_eq!(out.batches[0].origins.as_ref().unwrap().offsets, [3]);
    for bytes in [&b"\xFF\xFE{\0}\0\n\0{\0}\0"[..], b"{\0\"\0", b"\0{\0}"] {
        for config in [lines(), Config::default()] {
            let out = extract(&config, &ContractPolicy::default(), &[bytes]);
            assert_eq!(
                (out.rows(), codes(&out)),
                (0, vec!["not_utf8"]),
                "{bytes:?}"
            );
        }
    }
    let overlong = extract(
        &lines(),
        &ContractPolicy::default(),
        &[b"{\"a\":\"\xC0\xAF\"}"],
    );
    assert_eq!(
        (codes(&overlong), overlong.rejected[0].offset),
        (vec!["not_utf8"], Some(6))
    );
}

#[test]
fn what_is_too_big_is_refused_and_the_rest_goes_on() {
    let limits = Limits {
        depth: 8,
        record: Size(64),
        document: Size(64),
        children: 4,
    };
    let config = Config { limits, ..lines() };
    let run = |config: &Config, text: &str| {
        let out = extract(config, &ContractPolicy::default(), &[text.as_bytes()]);
        (out.rows(), codes(&out).join(","))
    };
    let string = "x".repeat(100);
    assert_eq!(
        run(
            &config,
            &format!("{{\"a\":1}}\n{{\"a\":\"{string}\"}}\n{{\"a\":2}}\n")
        ),
        (2, "record_too_large".to_owned())
    );
    assert_eq!(
        run(&config, "{\"a\":[1,2,3,4,5]}\n{\"a\":[1,2,3,4]}\n"),
        (1, "too_many_elements".to_owned())
    );
    assert_eq!(
        run(
            &config,
            &format!("{{\"a\":{}1{}}}\n{{\"b\":1}}", "[".repeat(8), "]".repeat(8))
        ),
        (1, "too_deep".to_owned())
    );
    let document = Config {
        lines: Some(false),
        ..config
    };
    assert_eq!(
        run(&document, &format!("{{\"a\":\"{string}\"}}")),
        (0, "document_too_large".to_owned())
    );
    assert_eq!(
        run(&document, "[{},{},{},{},{}]"),
        (0, "too_many_elements".to_owned())
    );
    let deep = "[".repeat(100_000);
    assert_eq!(
        run(
            &lines(),
            &format!("{{\"a\":{deep}{}}}\n{{\"a\":1}}", "]".repeat(100_000))
        ),
        (1, "too_deep".to_owned())
    );
    assert_eq!(
        run(&Config::default(), &"{\"a\":".repeat(100_000)),
        (0, "bad_json".to_owned())
    );
}

#[test]
fn a_document_has_its_records_at_a_path() {
    let config = Config {
        records: Some("data.items".to_owned()),
        ..Config::default()
    };
    let run = |config: &Config, text: &str| {
        let out = extract(config, &ContractPolicy::default(), &[text.as_bytes()]);
        (rows(&out, ""), codes(&out).join(","))
    };
    assert_eq!(
        run(&config, r#"{"data":{"items":[{"a":1},3,{"a":2}]},"n":1}"#),
        (
            vec![json!({"a": 1}), json!({"a": 2})],
            "not_an_object".to_owned()
        )
    );
    assert_eq!(
        run(&config, r#"{"data":{"items":null}}"#),
        (vec![], String::new())
    );
    assert_eq!(
        run(&config, r#"{"data":{"items":{"a":1}}}"#),
        (vec![json!({"a": 1})], String::new())
    );
    assert_eq!(
        run(&config, r#"{"data":{}}"#),
        (vec![], "records_not_found".to_owned())
    );
    assert_eq!(
        run(&config, r#"{"data":{"items":[{"a":1}]},"n":01}"#),
        (vec![], "bad_json".to_owned())
    );
    assert_eq!(
        run(&config, "<html>"),
        (vec![], "records_not_found".to_owned())
    );
    assert_eq!(
        run(&Config::default(), "<html>"),
        (vec![], "bad_json".to_owned())
    );
    assert_eq!(
        run(&Config::default(), r#"[{"a":1},{"a":2}"#),
        (vec![], "bad_json".to_owned())
    );
    assert_eq!(
        run(&Config::default(), r#" [{"a":1}] "#),
        (vec![json!({"a": 1})], String::new())
    );
    assert_eq!(
        run(
            &Config {
                lines: Some(true),
                ..config
            },
            "{\"data\":{\"items\":[{\"a\":1}]}}\n{\"data\":{\"items\":[{\"a\":2}]}}\n"
        )
        .0
        .len(),
        2
    );
}

#[test]
fn records_that_came_before_are_left_out() {
    let mut skipping = (*head(0)).clone();
    skipping.set_skips(&[0, 2]);
    let skipping = Arc::new(skipping);
    let mut extraction = start(&lines(), &ContractPolicy::default(), None);
    let mut out = Extracted::default();
    extraction
        .push(
            &skipping,
            b"{\"a\":0}\n\n{\"a\":1}\nbroken\n{\"a\":3}",
            &mut out,
        )
        .unwrap();
    extraction.end(&skipping, None, &mut out).unwrap();
    extraction.push(&head(1), b"{\"a\":4}\n", &mut out).unwrap();
    extraction.end(&head(1), None, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    assert_eq!(
        (rows(&out, ""), codes(&out).len()),
        (vec![json!({"a": 1}), json!({"a": 3}), json!({"a": 4})], 0)
    );
    assert_eq!(out.batches[0].origins.as_ref().unwrap().payloads, [0, 0, 1]);
}

#[test]
fn a_payload_that_breaks_off_is_refused_from_there() {
    let mut extraction = start(&lines(), &ContractPolicy::default(), None);
    let mut out = Extracted::default();
    extraction
        .push(&head(0), b"{\"a\":0}\n{\"a\":", &mut out)
        .unwrap();
    extraction
        .end(
            &head(0),
            Some(Error::data("bad_gzip", "the checksum is wrong")),
            &mut out,
        )
        .unwrap();
    extraction.flush(&mut out).unwrap();
    assert_eq!((out.rows(), codes(&out)), (1, vec!["bad_gzip"]));
    let Rejected { offset, record, .. } = &out.rejected[0];
    assert_eq!((*offset, record.as_slice()), (Some(8), &b"{\"a\":"[..]));
}

#[test]
fn the_key_of_a_record_does_not_depend_on_what_was_refused_before_it() {
    let texts = [
        "{\"id\":1}\n{\"items\":[{\"id\":2},{\"id\":3}]}\n{\"id\":4}\n",
        "{\"items\":[{\"id\":2},{\"id\":3}]}\n{\"items\":{\"id\":4}}\n",
    ];
    for (text, path) in texts.into_iter().zip([None, Some("items")]) {
        let keys = |children| {
            let config = Config {
                nested: Nested::Tables,
                lines: Some(true),
                records: path.map(str::to_owned),
                limits: Limits {
                    children,
                    ..Limits::default()
                },
                ..Config::default()
            };
            let out = extract(&config, &ContractPolicy::default(), &[text.as_bytes()]);
            (rows(&out, "").pop().unwrap(), out.rejected.len())
        };
        let (whole, refused) = keys(10);
        assert_eq!(refused, 0, "{text}");
        let (tight, refused) = keys(1);
        assert_eq!((&tight, refused), (&whole, 1), "{text}");
    }
}

#[test]
fn keys_of_tables_of_an_earlier_version_stay() {
    let shape = json!({"nested": "tables", "root": {"keys": [{"key": "id", "kinds": ["long"]}]}});
    let contract = Contract {
        extractor: "json".to_owned(),
        version: 1,
        shape,
    };
    let mut extraction = start(
        &with(Nested::Tables),
        &ContractPolicy::default(),
        Some(contract),
    );
    let mut out = Extracted::default();
    extraction
        .push(&head(0), b"{\"id\":1}\n{\"id\":2}\n", &mut out)
        .unwrap();
    extraction.end(&head(0), None, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    let mut key = Vec::new();
    let payload = id::hash(0, b"payload-0");
    id::write(id::main(payload, 1, b"{\"id\":2}"), &mut key);
    let rows = rows(&out, "");
    assert_eq!(rows[1]["_fb_id"], String::from_utf8(key).unwrap());
    let kept = extraction.contract().shape;
    assert_eq!(kept["row_keys"], "number");
}
