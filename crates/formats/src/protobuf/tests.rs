use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use forebay_core::Timestamp;
use serde_json::json;

use super::*;
use crate::registry_schema::attribute;

const ORDER: &str = r#"syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "other/place.proto";
package shop;
message Unused { string text = 1; }
message Order {
  int64 id = 1;
  string note = 2;
  google.protobuf.Timestamp at = 3;
  repeated string tags = 4;
  other.Place place = 5;
  message Line { uint64 amount = 1; }
}"#;

const PLACE: &str =
    "syntax = \"proto3\"; package other; message Place { string town = 1; Place inside = 2; }";

fn head() -> Arc<PayloadHead> {
    let schema = json!({"type": "PROTOBUF", "schema": ORDER, "references": [{"name": "other/place.proto", "schema": PLACE}]});
    Arc::new(PayloadHead {
        ordinal: 3,
        name: "orders/0@0".to_owned(),
        received_at: Timestamp(0),
        content_type: None,
        compression: Default::default(),
        attributes: BTreeMap::from([(attribute(7), schema.to_string())]),
        messages: None,
    })
}

fn framed(path: &[u8], content: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 7], path, content].concat()
}

/// `Order` is the second message of the schema: the path [1].
const ORDER_PATH: &[u8] = &[2, 2];

fn extract(messages: &[Vec<u8>]) -> Extracted {
    let bytes = messages.concat();
    let mut at = 0;
    let values: Vec<Value> = messages
        .iter()
        .map(|message| {
            let bytes = at..at + message.len();
            at += message.len();
            Value {
                at: bytes.start as u64,
                bytes,
            }
        })
        .collect();
    let extractor = Kind.build(&Document::from_yaml("{}").unwrap()).unwrap();
    let mut extraction = extractor
        .start(None, &ContractPolicy::default(), None)
        .unwrap();
    let mut out = Extracted::default();
    extraction
        .messages(&head(), &bytes, &values, &mut out)
        .unwrap();
    extraction.flush(&mut out).unwrap();
    out
}

#[test]
fn messages_become_rows() {
    let content = [
        &[0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F][..],
        b"\x12\x02hi",
        b"\x1A\x02\x08\x01",
        b"\x22\x01x\x22\x01y",
        b"\x2A\x04\x0A\x02Bo",
    ]
    .concat();
    let line = [0x08, 0x05];
    let out = extract(&[
        framed(ORDER_PATH, &content),
        framed(&[0], b"\x0A\x01t"),
        framed(&[4, 2, 0], &line),
    ]);
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    let rows = &out.batches[0].records;
    assert_eq!(
        rows["id"].as_primitive::<Int64Type>().value(0),
        (1 << 56) - 1
    );
    assert_eq!(rows["note"].as_string::<i32>().value(0), "hi");
    assert_eq!(
        rows["at"].as_string::<i32>().value(0),
        "1970-01-01T00:00:01Z"
    );
    assert_eq!(rows["place__town"].as_string::<i32>().value(0), "Bo");
    assert_eq!(rows["text"].as_string::<i32>().value(1), "t");
    assert_eq!(rows["amount"].as_primitive::<Int64Type>().value(2), 5);
    assert_eq!(
        out.batches[0].origins.as_ref().unwrap().offsets[1],
        (content.len() + 7) as u64
    );
}

#[test]
fn a_bad_message_is_refused_alone() {
    let mut deep = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x12];
        let mut length = deep.len();
        while length > 0x7F {
            outer.push(length as u8 & 0x7F | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&deep);
        deep = outer;
    }
    let mut place = vec![0x2A];
    let mut length = deep.len();
    while length > 0x7F {
        place.push(length as u8 & 0x7F | 0x80);
        length >>= 7;
    }
    place.push(length as u8);
    place.extend(&deep);
    let unknown: Vec<u8> = std::iter::repeat_n([0xA0, 0x06, 0x01], 100_000)
        .flatten()
        .collect();
    let messages = [
        framed(ORDER_PATH, &[0x08, 0x01]),
        framed(ORDER_PATH, &[0x08, 0xFF]),
        framed(
            ORDER_PATH,
            &[
                0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01,
            ],
        ),
        framed(ORDER_PATH, &place),
        framed(&[2, 40], &[]),
        framed(&[0x80], &[]),
        framed(ORDER_PATH, &unknown),
        framed(ORDER_PATH, &[0x12, 0x01, 0xFF]),
    ];
    let out = extract(&messages);
    let rows: usize = out
        .batches
        .iter()
        .map(|batch| batch.records.num_rows())
        .sum();
    assert_eq!(
        rows, 2,
        "the first, and the one whose fields are all unknown"
    );
    let codes: Vec<&str> = out
        .rejected
        .iter()
        .map(|refused| refused.code.as_str())
        .collect();
    assert_eq!(codes, ["bad_protobuf"; 6]);
}

/// The rows and the refusal codes of messages of a schema.
fn read(schema: &str, messages: &[Vec<u8>]) -> (usize, Vec<String>) {
    let schema = json!({"type": "PROTOBUF", "schema": schema}).to_string();
    let mut head = PayloadHead::clone(&head());
    head.attributes = BTreeMap::from([(attribute(7), schema)]);
    let bytes = messages.concat();
    let mut at = 0;
    let values: Vec<Value> = messages
        .iter()
        .map(|message| {
            let bytes = at..at + message.len();
            at = bytes.end;
            let at = bytes.start as u64;
            Value { bytes, at }
        })
        .collect();
    let extractor = Kind.build(&Document::from_yaml("{}").unwrap()).unwrap();
    let policy = ContractPolicy::default();
    let mut extraction = extractor.start(None, &policy, None).unwrap();
    let mut out = Extracted::default();
    let head = Arc::new(head);
    extraction
        .messages(&head, &bytes, &values, &mut out)
        .unwrap();
    extraction.flush(&mut out).unwrap();
    let rows = out
        .batches
        .iter()
        .map(|batch| batch.records.num_rows())
        .sum();
    let codes = out.rejected.into_iter().map(|refused| refused.code);
    (rows, codes.collect())
}

#[test]
fn defaults_of_many_empty_messages_are_bounded() {
    let fields: String = (1..=1_000)
        .map(|n| format!("string a_long_name_of_a_field_{n} = {n};"))
        .collect();
    let schema = format!(
        "syntax = \"proto3\"; message M {{ int64 id = 1; repeated E many = 2; }} message E {{ {fields} }}"
    );
    let good = framed(&[0], &[0x08, 1]);
    let bomb = framed(&[0], &[0x12, 0].repeat(100_000));
    let (rows, codes) = read(&schema, &[good.clone(), bomb, good]);
    assert_eq!((rows, codes), (2, vec!["too_large".to_owned()]));
}

#[test]
fn a_schema_that_is_nested_deep_refuses_its_messages_only() {
    let levels = 20_000;
    let messages = format!(
        "syntax = \"proto3\"; {}{}",
        "message M {".repeat(levels),
        "}".repeat(levels)
    );
    let extended = "syntax = \"proto2\"; import \"google/protobuf/descriptor.proto\"; message M { optional M a = 1; repeated int32 n = 2; } extend google.protobuf.FileOptions { optional M o = 50000; }";
    let options = format!(
        "{extended} option (o) = {{ {} {} }};",
        "a {".repeat(levels),
        "}".repeat(levels)
    );
    let lists = format!(
        "{extended} option (o) = {{ n: {}{} }};",
        "[".repeat(levels),
        "]".repeat(levels)
    );
    for schema in [messages, options, lists] {
        let (rows, codes) = read(&schema, &[framed(&[0], &[])]);
        assert_eq!((rows, codes), (0, vec!["bad_schema".to_owned()]));
    }
}

#[test]
fn a_message_that_is_nested_deep_is_refused() {
    let schema = "syntax = \"proto3\"; message M { M m = 1; }";
    // Each level is a field of the length of those below.
    let mut body = Vec::new();
    for _ in 0..3_000 {
        let mut length = body.len();
        let mut level = vec![0x0A];
        while length > 0x7F {
            level.push(length as u8 | 0x80);
            length >>= 7;
        }
        level.push(length as u8);
        level.extend(body);
        body = level;
    }
    let (rows, codes) = read(schema, &[framed(&[0], &body)]);
    assert_eq!((rows, codes), (0, vec!["bad_protobuf".to_owned()]));
}
