use serde_json::json;

use super::*;
use crate::avro::tests::{extract, head, start, start_with};
use crate::parquet::plan::row_as_json;

const EVENT: &str = r#"{"type": "record", "name": "shop.Event", "fields": [
    {"name": "id", "type": "long"},
    {"name": "value", "type": ["null", "int", "string", "double", "boolean"]},
    {"name": "number", "type": ["int", "long"]},
    {"name": "happened", "type": ["null",
        {"type": "record", "name": "shop.Created", "fields": [{"name": "by", "type": "string"}]},
        {"type": "record", "name": "shop.Deleted", "fields": [{"name": "by", "type": "string"}, {"name": "why", "type": ["string", "int"]}]}]},
    {"name": "parts", "type": {"type": "array", "items": ["null", "string", "long"]}},
    {"name": "more", "type": {"type": "map", "values": ["int", "string"]}},
    {"name": "deep", "type": {"type": "array", "items": {"type": "array", "items": ["int", "string"]}}},
    {"name": "only", "type": ["string"]},
    {"name": "word", "type": ["string", {"type": "enum", "name": "shop.Kind", "symbols": ["new", "old"]}]}]}"#;

/// Records of [`EVENT`], written by `fastavro` 1.13.
const EVENTS: [&str; 5] = [
    "02020e000a02026106020278040400000202610002000404000202027a00000000026f000866726565",
    "04040a736576656e0280c8afa02504026200066f6c6400020262020674776f00000002700200",
    "06060000000000001e40000c0402630212020406000002020202790000000271000278",
    "080801000e000202027900040263000602640208666f757200020200040000000272000279",
    "0a00001000020000000000027300027a",
];

fn message(schema: u32, hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let mut message = vec![0];
    message.extend(schema.to_be_bytes());
    message.extend(pairs.map(byte));
    message
}

/// Each row as JSON, without nulls, in maps too.
fn lines(out: &crate::Extracted) -> Vec<serde_json::Value> {
    let rows = out
        .batches
        .iter()
        .flat_map(|batch| (0..batch.records.num_rows()).map(move |row| (&batch.records, row)));
    rows.map(|(records, row)| serde_json::from_slice(&row_as_json(records, row).unwrap()).unwrap())
        .collect()
}

#[test]
fn each_kind_of_a_union_has_its_column() {
    let messages: Vec<_> = EVENTS.iter().map(|hex| message(7, hex)).collect();
    let out = extract(start().as_mut(), &head(&[(7, EVENT)]), &messages);
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    let expected = [
        json!({"id": 1, "value": 7.0, "number": 5, "happened__v_Created": {"by": "a"},
            "parts": ["x", null, null], "parts__e_long": [null, 2, null], "more": {"a": 1}, "more__e_string": {"a": null},
            "deep": [[1, null], []], "deep__e2_string": [[null, "z"], []], "only": "o", "word": "free"}),
        json!({"id": 2, "value__v_string": "seven", "number": 5_000_000_000_i64, "happened__v_Deleted": {"by": "b", "why": "old"},
            "parts": [], "parts__e_long": [], "more": {"b": null}, "more__e_string": {"b": "two"},
            "deep": [], "deep__e2_string": [], "only": "p", "word": "new"}),
        json!({"id": 3, "value": 7.5, "number": 6, "happened__v_Deleted": {"by": "c", "why__v_int": 9},
            "parts": [null], "parts__e_long": [3], "more": {}, "more__e_string": {},
            "deep": [[null]], "deep__e2_string": [["y"]], "only": "q", "word": "x"}),
        json!({"id": 4, "value__v_boolean": true, "number": 7,
            "parts": ["y"], "parts__e_long": [null], "more": {"c": 3, "d": null}, "more__e_string": {"c": null, "d": "four"},
            "deep": [[2]], "deep__e2_string": [[null]], "only": "r", "word": "y"}),
        json!({"id": 5, "number": 8, "parts": [null], "parts__e_long": [null], "more": {}, "more__e_string": {},
            "deep": [], "deep__e2_string": [], "only": "s", "word": "z"}),
    ];
    assert_eq!(lines(&out), expected);
    let rows = &out.batches[0].records;
    for map in ["more", "more__e_string"] {
        assert_eq!(rows[map].as_map().value_offsets(), &[0, 1, 2, 2, 4, 4]);
    }
}

#[test]
fn the_first_kind_that_a_table_had_keeps_the_plain_name() {
    let of = |types: &str| {
        format!(
            r#"{{"type": "record", "name": "R", "fields": [{{"name": "v", "type": {types}}}]}}"#
        )
    };
    let text = of(r#""string""#);
    let both = of(r#"["int", "string"]"#);
    let turned = of(r#"["string", "int"]"#);
    let head = head(&[(1, &text), (2, &both), (3, &turned)]);
    let messages = [
        message(1, "0261"),
        message(2, "0002"),
        message(2, "020262"),
        message(3, "000263"),
        message(3, "0204"),
    ];
    let out = extract(start().as_mut(), &head, &messages);
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    let expected = [
        json!({"v": "a"}),
        json!({"v__v_int": 1}),
        json!({"v": "b"}),
        json!({"v": "c"}),
        json!({"v__v_int": 2}),
    ];
    assert_eq!(lines(&out), expected);
}

#[test]
fn numbers_are_one_kind_where_that_is_exact() {
    let schema = r#"{"type": "record", "name": "R", "fields": [
        {"name": "a", "type": ["float", "int"]}, {"name": "b", "type": ["double", "int", "long"]}]}"#;
    // 0.5 and 2^53 + 1; the largest int and 0.25; 0.5 and 5 as an int.
    let messages = [
        message(1, "000000003f048280808080808020"),
        message(1, "02feffffff0f00000000000000d03f"),
        message(1, "000000003f020a"),
    ];
    let out = extract(start().as_mut(), &head(&[(1, schema)]), &messages);
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    let expected = [
        json!({"a": 0.5, "b__v_long": 9_007_199_254_740_993_i64}),
        json!({"a": 2_147_483_647.0, "b": 0.25}),
        // Where there are longs, an int is one of them.
        json!({"a": 0.5, "b__v_long": 5}),
    ];
    assert_eq!(lines(&out), expected);
}

#[test]
fn a_declared_column_has_its_type_and_refuses_what_does_not_fit() {
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "v", "type": ["null", "string", "int"]}]}"#;
    let messages = ["00", "02043432", "040e", "020278"].map(|hex| message(1, hex));
    let declared = |kind: &str| json!({"columns": {"v": {"type": kind}}});
    let all = extract(
        start_with(declared("string")).as_mut(),
        &head(&[(1, schema)]),
        &messages,
    );
    assert_eq!(
        lines(&all),
        [
            json!({}),
            json!({"v": "42"}),
            json!({"v": "7"}),
            json!({"v": "x"})
        ]
    );
    let some = extract(
        start_with(declared("long")).as_mut(),
        &head(&[(1, schema)]),
        &messages,
    );
    assert_eq!(lines(&some), [json!({}), json!({"v": 42}), json!({"v": 7})]);
    let refused: Vec<_> = some
        .rejected
        .iter()
        .map(|one| (&*one.code, &one.record))
        .collect();
    assert_eq!(refused, [("value_does_not_fit", &messages[3])]);
}

#[test]
fn a_message_that_is_no_record_is_a_column() {
    let place = r#"{"type": "record", "name": "shop.Place", "fields": [{"name": "town", "type": "string"}]}"#;
    let events = format!(
        r#"[{place}, {{"type": "record", "name": "Gone", "fields": [{{"name": "from", "type": "shop.Place"}}]}}]"#
    );
    let out = extract(
        start().as_mut(),
        &head(&[(1, &events), (2, r#""int""#)]),
        &[message(1, "000261"), message(1, "020262"), message(2, "0e")],
    );
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    let expected = [
        json!({"value__v_Place": {"town": "a"}}),
        json!({"value__v_Gone": {"from": {"town": "b"}}}),
        json!({"value": 7}),
    ];
    assert_eq!(lines(&out), expected);
}

#[test]
fn records_of_one_short_name_are_told_apart_by_the_whole() {
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "v", "type": [
        {"type": "record", "name": "a.Same", "fields": [{"name": "x", "type": "int"}]},
        {"type": "record", "name": "b.Same", "fields": [{"name": "x", "type": "int"}]},
        {"type": "record", "name": "b.Other", "fields": [{"name": "x", "type": "int"}]}, "boolean"]}]}"#;
    let messages = ["0002", "0204", "0406", "0601"].map(|hex| message(1, hex));
    let out = extract(start().as_mut(), &head(&[(1, schema)]), &messages);
    let expected = [
        json!({"v__v_a_Same": {"x": 1}}),
        json!({"v__v_b_Same": {"x": 2}}),
        json!({"v__v_Other": {"x": 3}}),
        json!({"v": true}),
    ];
    assert_eq!(lines(&out), expected);
}

#[test]
fn a_name_that_is_there_already_refuses_the_messages() {
    let schema = r#"{"type": "record", "name": "R", "fields": [{"name": "s", "type": {"type": "record", "name": "S", "fields": [
        {"name": "v__v_int", "type": "string"}, {"name": "v", "type": ["string", "int"]}]}}]}"#;
    let out = extract(
        start().as_mut(),
        &head(&[(1, schema)]),
        &[message(1, "0261000262")],
    );
    assert!(out.batches.is_empty());
    assert_eq!(out.rejected[0].code, "duplicate_column");
}

#[test]
fn the_suffix_of_a_list_says_how_deep_its_kinds_lie() {
    for (inner, outer) in [
        ("", ""),
        ("__v_int", "__e_int"),
        ("__e_int", "__e2_int"),
        ("__e9_some_thing", "__e10_some_thing"),
        ("__v_list__e_int", "__e_list__e_int"),
    ] {
        assert_eq!(deeper(inner), outer);
    }
}
