use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use forebay_core::Timestamp;
use serde_json::json;

use super::*;
use crate::registry_schema::attribute;

const ORDER: &str = r#"{"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"},
    {"name": "note", "type": ["null", "string"], "default": null},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    {"name": "tags", "type": {"type": "array", "items": "string"}}]}"#;

/// The schema of [`ORDER`] with one more field.
fn wider() -> String {
    ORDER.replace(r#""string"}}]}"#, r#""string"}}, {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}}]}"#)
}

pub(super) fn head(schemas: &[(u32, &str)]) -> Arc<PayloadHead> {
    let schemas = schemas.iter().map(|(id, text)| {
        (
            attribute(*id),
            json!({"type": "AVRO", "schema": text}).to_string(),
        )
    });
    Arc::new(PayloadHead {
        ordinal: 3,
        name: "orders/0@0".to_owned(),
        received_at: Timestamp(0),
        content_type: None,
        compression: Default::default(),
        attributes: schemas.collect::<BTreeMap<_, _>>(),
        messages: None,
    })
}

/// Avro's binary encoding, by the specification.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn of(id: u32) -> Self {
        let mut bytes = vec![0];
        bytes.extend(id.to_be_bytes());
        Self(bytes)
    }

    fn long(mut self, value: i64) -> Self {
        let mut left = (value as u64) << 1 ^ (value >> 63) as u64;
        while left > 0x7F {
            self.0.push(left as u8 & 0x7F | 0x80);
            left >>= 7;
        }
        self.0.push(left as u8);
        self
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let mut writer = self.long(bytes.len() as i64);
        writer.0.extend_from_slice(bytes);
        writer
    }
}

fn order(schema: u32, id: i64, note: Option<&str>) -> Writer {
    let writer = Writer::of(schema).long(id);
    let writer = match note {
        None => writer.long(0),
        Some(note) => writer.long(1).bytes(note.as_bytes()),
    };
    // 12.34, and the list ["x", "y"] as one block.
    writer
        .long(1_700_000_000_123)
        .bytes(&[0x04, 0xD2])
        .long(2)
        .bytes(b"x")
        .bytes(b"y")
        .long(0)
}

pub(super) fn extract(
    extraction: &mut dyn Extraction,
    head: &Arc<PayloadHead>,
    messages: &[Vec<u8>],
) -> Extracted {
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
    let mut out = Extracted::default();
    extraction
        .messages(head, &bytes, &values, &mut out)
        .unwrap();
    out
}

pub(super) fn start() -> Box<dyn Extraction> {
    start_with(json!({}))
}

/// With these settings under `schema`.
pub(super) fn start_with(policy: serde_json::Value) -> Box<dyn Extraction> {
    let policy: ContractPolicy = serde_json::from_value(policy).unwrap();
    Avro.start(None, &policy, None).unwrap()
}

#[test]
fn records_get_the_types_of_their_schema() {
    let out = extract(
        start().as_mut(),
        &head(&[(7, ORDER)]),
        &[order(7, 1, None).0, order(7, -2, Some("hi")).0],
    );
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    let rows = &out.batches[0].records;
    assert_eq!(rows["id"].as_primitive::<Int64Type>().values(), &[1, -2]);
    assert_eq!(rows["note"].as_string::<i32>().value(1), "hi");
    assert!(rows["note"].is_null(0));
    assert_eq!(
        rows["at"]
            .as_primitive::<TimestampMicrosecondType>()
            .value(0),
        1_700_000_000_123_000
    );
    assert_eq!(
        rows["price"].as_primitive::<Decimal128Type>().value(0),
        1234
    );
    assert_eq!(
        rows["tags"]
            .as_list::<i32>()
            .value(0)
            .as_string::<i32>()
            .value(1),
        "y"
    );
    let origins = out.batches[0].origins.as_ref().unwrap();
    assert_eq!(
        (&origins.payloads[..], origins.offsets[0]),
        (&[3, 3][..], 0)
    );
}

#[test]
fn a_bad_message_is_refused_alone() {
    let mut cut = order(7, 2, None).0;
    cut.truncate(9);
    let long = Writer::of(7).long(3).long(1).long(i64::MAX).0;
    let block = Writer::of(7)
        .long(4)
        .long(0)
        .long(0)
        .bytes(b"")
        .long(i64::MAX)
        .0;
    let mut more = order(7, 5, None).0;
    more.push(0);
    let messages = [
        order(7, 1, None).0,
        cut,
        long,
        block,
        more,
        b"{}".to_vec(),
        order(8, 6, None).0,
        order(7, 7, Some("last")).0,
    ];
    let out = extract(start().as_mut(), &head(&[(7, ORDER)]), &messages);
    let ids: Vec<i64> = out
        .batches
        .iter()
        .flat_map(|batch| {
            batch.records["id"]
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect();
    assert_eq!(ids, [1, 7]);
    let codes: Vec<&str> = out
        .rejected
        .iter()
        .map(|refused| refused.code.as_str())
        .collect();
    assert_eq!(
        codes,
        [
            "bad_avro",
            "bad_avro",
            "bad_avro",
            "bad_avro",
            "not_wire_format",
            "unknown_schema"
        ]
    );
    assert_eq!(out.rejected[0].offset, Some(messages[0].len() as u64));
    assert_eq!(out.rejected[0].record, messages[1]);
}

#[test]
fn a_later_schema_adds_its_columns() {
    let mut extraction = start();
    let wider = wider();
    let head = head(&[(7, ORDER), (9, &wider)]);
    let messages = [
        order(7, 1, None).0,
        order(9, 2, None).long(1).0,
        order(7, 3, None).0,
    ];
    let out = extract(extraction.as_mut(), &head, &messages);
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    let widths: Vec<usize> = out
        .batches
        .iter()
        .map(|batch| batch.records.num_columns())
        .collect();
    assert_eq!(widths, [5, 6, 5]);
    assert_eq!(
        out.batches[1].records["kind"].as_string::<i32>().value(0),
        "B"
    );
    let again = Avro.start(
        Some(extraction.contract()),
        &ContractPolicy::default(),
        None,
    );
    assert_eq!(again.unwrap().contract(), extraction.contract());
}

#[test]
fn a_schema_that_refers_to_another_is_written_out() {
    let schema = crate::registry_schema::Schema {
        kind: "AVRO".to_owned(),
        schema: r#"{"type": "record", "name": "a.Pair", "fields": [{"name": "one", "type": "a.Point"}, {"name": "two", "type": ["null", "a.Point"]}]}"#.to_owned(),
        references: vec![crate::registry_schema::Reference {
            name: "a.Point".to_owned(),
            schema: r#"{"type": "record", "name": "a.Point", "fields": [{"name": "x", "type": "int"}]}"#.to_owned(),
        }],
    };
    let whole = inline::inline(&schema).unwrap().to_string();
    assert_eq!(whole.matches("\"fields\"").count(), 2);
    Decoding::new(1, &schema).map(|_| ()).unwrap();
}

#[test]
fn a_schema_that_is_none_refuses_its_messages_only() {
    for text in [
        "",
        "{}",
        "\"nothing\"",
        r#"{"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}"#,
    ] {
        let out = extract(start().as_mut(), &head(&[(7, text)]), &[Writer::of(7).0]);
        assert!(out.batches.is_empty(), "{text}");
        assert_eq!(out.rejected.len(), 1, "{text}");
    }
}
