//! Schemas that expand, and lists of items without bytes.

use serde_json::json;

use super::*;
use crate::avro::tests::{extract, head, start};

/// A record of records: each has `uses` fields of the one before.
fn chain(length: usize, uses: usize) -> Value {
    let record = |n: usize| {
        let field = |used: usize| match n {
            0 => json!({"name": format!("x{used}"), "type": "int"}),
            n => json!({"name": format!("x{used}"), "type": format!("t{}", n - 1)}),
        };
        let fields: Vec<Value> = (0..uses).map(field).collect();
        json!({"type": "record", "name": format!("t{n}"), "fields": fields})
    };
    let fields: Vec<Value> = (0..length)
        .map(|n| json!({"name": format!("f{n}"), "type": record(n)}))
        .collect();
    json!({"type": "record", "name": "r", "fields": fields})
}

fn problem(schema: &Value) -> String {
    Layout::new(schema).unwrap_err().reason
}

#[test]
fn names_that_expand_are_refused() {
    assert!(problem(&chain(26, 2)).contains("more than 20000 types"));
    assert!(problem(&chain(3_000, 1)).contains("64 types deep"));
    assert!(Layout::new(&chain(10, 2)).is_ok());
    assert!(Layout::new(&chain(50, 1)).is_ok());
}

#[test]
fn long_notes_are_not_copied_with_every_name() {
    let symbols = json!(["A", "n".repeat(1 << 20)]);
    let mut fields =
        vec![json!({"name": "a", "type": {"type": "enum", "name": "e", "symbols": symbols}})];
    fields.extend((0..100).map(|n| json!({"name": format!("f{n}"), "type": "e"})));
    let schema = json!({"type": "record", "name": "r", "fields": fields});
    assert!(problem(&schema).contains("64 MiB"));
}

#[test]
fn a_message_whose_schema_expands_is_refused() {
    for schema in [chain(26, 2), chain(3_000, 1)] {
        let text = schema.to_string();
        let out = extract(
            start().as_mut(),
            &head(&[(7, &text)]),
            &[vec![0, 0, 0, 0, 7, 2]],
        );
        assert_eq!(out.rejected.len(), 1);
        assert_eq!(out.rejected[0].code, "bad_schema");
    }
}

/// Numbers in zigzag and groups of seven bits.
fn numbers(values: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let mut left = (value << 1 ^ value >> 63) as u64;
        while left > 0x7F {
            bytes.push(left as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
    }
    bytes
}

/// A schema of an `id` and `tags`.
fn tagged(tags: Value) -> Value {
    json!({"type": "record", "name": "r", "fields": [{"name": "id", "type": "long"}, {"name": "tags", "type": tags}]})
}

#[test]
fn a_list_of_items_without_bytes_ends() {
    let items = [
        json!("null"),
        json!({"type": "record", "name": "e", "fields": []}),
        json!({"type": "record", "name": "e", "fields": [{"name": "n", "type": "null"}]}),
        json!({"type": "fixed", "name": "f", "size": 0}),
        json!({"type": "array", "items": "null"}),
    ];
    for items in items {
        let schema = tagged(json!({"type": "array", "items": items}));
        let layout = Layout::new(&schema).unwrap();
        assert!(layout.has_empty_items(), "{items}");
        assert!(layout.check(&numbers(&[1, 0])).is_ok(), "{items}");
        for count in [1 << 62, i64::MIN, -(1 << 62), 100_000] {
            let message = numbers(&[1, count, count, 0, 0]);
            assert!(layout.check(&message).is_err(), "{items} {count}");
        }
    }
    let of_maps = tagged(json!({"type": "map", "values": "null"}));
    assert!(!Layout::new(&of_maps).unwrap().has_empty_items());
}

#[test]
fn every_shape_is_taken() {
    let fields = json!([
        {"name": "a", "type": ["null", "string", "boolean"]}, {"name": "b", "type": {"type": "map", "values": "double"}},
        {"name": "c", "type": {"type": "fixed", "name": "f", "namespace": "n", "size": 3}}, {"name": "d", "type": "n.f"},
        {"name": "e", "type": {"type": "array", "items": "null"}}, {"name": "g", "type": {"type": "long", "logicalType": "timestamp-millis"}}]);
    let layout = Layout::new(&json!({"type": "record", "name": "r", "fields": fields})).unwrap();
    let parts: [&[u8]; 6] = [
        &[2, 4, b'h', b'i'],
        &[1, 20, 2, b'k', 0, 0, 0, 0, 0, 0, 0, 0, 0],
        b"abc",
        b"def",
        &[0],
        &[0x80, 1],
    ];
    let message = parts.concat();
    layout.check(&message).unwrap();
    for cut in 0..message.len() {
        assert!(layout.check(&message[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn messages_beside_one_with_nulls_in_a_list_are_loaded() {
    let schema = tagged(json!({"type": "array", "items": "null"})).to_string();
    let message = |values: &[i64]| [&[0, 0, 0, 0, 7], &numbers(values)[..]].concat();
    let messages = [
        message(&[1, 0]),
        message(&[2, 1, 0]),
        message(&[3, 1 << 62, 0]),
        message(&[4, 0]),
    ];
    let out = extract(start().as_mut(), &head(&[(7, &schema)]), &messages);
    let rows: usize = out
        .batches
        .iter()
        .map(|batch| batch.records.num_rows())
        .sum();
    assert_eq!((rows, out.rejected.len()), (2, 2), "{:?}", out.rejected);
    assert!(out.rejected[0].reason.contains("items without bytes"));
}

/// The rows of a container file of one block.
fn read_file(schema: &str, count: i64, rows: &[u8]) -> crate::Extracted {
    let text = |text: &[u8]| [&numbers(&[text.len() as i64])[..], text].concat();
    let file = [
        &b"Obj\x01\x02"[..],
        &text(b"avro.schema"),
        &text(schema.as_bytes()),
        &[0],
        &[7; 16],
        &numbers(&[count, rows.len() as i64]),
        rows,
        &[7; 16],
    ]
    .concat();
    let mut extraction = start();
    let mut out = crate::Extracted::default();
    let head = head(&[]);
    extraction.push(&head, &file, &mut out).unwrap();
    extraction.end(&head, None, &mut out).unwrap();
    out
}

/// The library reads any index but 0 as the other branch, and any byte but 0 as true.
#[test]
fn damaged_choices_are_refused_with_their_record() {
    let fields = |tags: Value| {
        let list = json!({"type": "array", "items": ["null", "boolean"]});
        json!({"type": "record", "name": "r", "fields": [
            {"name": "id", "type": "long"}, {"name": "tags", "type": tags}, {"name": "list", "type": list}]})
    };
    for (tags, good, damaged) in [
        (json!(["null", "long"]), numbers(&[0]), numbers(&[2, 7])),
        (json!(["null", "long"]), numbers(&[1, 7]), numbers(&[-1, 7])),
        (json!(["long", "null"]), numbers(&[1]), numbers(&[5])),
        (json!("boolean"), vec![1], vec![5]),
        (
            json!({"type": "map", "values": "boolean"}),
            vec![2, 2, b'k', 0, 0],
            vec![2, 2, b'k', 2, 0],
        ),
    ] {
        let schema = fields(tags);
        let row = |id: i64, tags: &[u8]| [&numbers(&[id]), tags, &[0]].concat();
        let rows = [
            row(1, &good),
            row(2, &good),
            row(3, &damaged),
            row(4, &good),
        ]
        .concat();
        let out = read_file(&schema.to_string(), 4, &rows);
        assert!(out.batches.is_empty(), "{schema}");
        let rejected = &out.rejected[0];
        assert_eq!(
            (out.rejected.len(), rejected.code.as_str()),
            (1, "bad_avro"),
            "{schema}"
        );
        assert!(
            rejected
                .reason
                .starts_with("rows 1 to 4: record 3: the bytes are damaged"),
            "{}",
            rejected.reason
        );
        // The same as messages: only the damaged one is refused.
        let message = |row: Vec<u8>| [&[0, 0, 0, 0, 7], row.as_slice()].concat();
        let messages = [row(1, &good), row(3, &damaged), row(4, &good)].map(message);
        let out = extract(
            start().as_mut(),
            &head(&[(7, &schema.to_string())]),
            &messages,
        );
        let loaded: usize = out
            .batches
            .iter()
            .map(|batch| batch.records.num_rows())
            .sum();
        assert_eq!(
            (loaded, out.rejected.len()),
            (2, 1),
            "{schema} {:?}",
            out.rejected
        );
        assert!(
            out.rejected[0].reason.contains("damaged"),
            "{}",
            out.rejected[0].reason
        );
    }
    // Inside of a list.
    let schema = fields(json!("long"));
    for list in [[2, 2, 7, 0], [2, 6, 1, 0]] {
        let rows = [&numbers(&[1, 1])[..], &list].concat();
        let out = read_file(&schema.to_string(), 1, &rows);
        assert!(
            out.batches.is_empty() && out.rejected[0].reason.starts_with("row 1: record 1: "),
            "{:?}",
            out.rejected
        );
    }
    let out = read_file(&schema.to_string(), 1, &[2, 2, 6, 2, 0, 2, 1, 0, 0]);
    assert_eq!(
        (out.batches.len(), out.rejected.len()),
        (1, 0),
        "{:?}",
        out.rejected
    );
}

#[test]
fn rows_beside_one_with_nulls_in_a_list_are_loaded() {
    let schema = tagged(json!({"type": "array", "items": "null"})).to_string();
    let out = read_file(&schema, 3, &numbers(&[1, 0, 2, 1, 0, 3, 0]));
    let rows: usize = out
        .batches
        .iter()
        .map(|batch| batch.records.num_rows())
        .sum();
    assert_eq!((rows, out.rejected.len()), (2, 1), "{:?}", out.rejected);
    assert!(
        out.rejected[0]
            .reason
            .starts_with("row 2: a list has items")
    );
}

/// A list of records of 100 numbers, each of which may be null.
fn nullable_records() -> Value {
    let fields: Vec<Value> = (0..100)
        .map(|n| json!({"name": format!("n{n}"), "type": "long"}))
        .collect();
    let record = json!({"type": "record", "name": "item", "fields": fields});
    tagged(json!({"type": "array", "items": ["null", record]}))
}

/// A record with a list of so many nulls, a byte each.
fn with_nulls(id: i64, count: usize) -> Vec<u8> {
    if count == 0 {
        return numbers(&[id, 0]);
    }
    [numbers(&[id, count as i64]), vec![0; count], vec![0]].concat()
}

#[test]
fn nulls_in_place_of_records_are_bounded_by_the_memory_that_they_take() {
    let layout = Layout::new(&nullable_records()).unwrap();
    assert!(layout.check(&with_nulls(1, 100_000)).is_ok());
    let large = layout.check(&with_nulls(1, 1_000_000)).unwrap_err();
    assert_eq!(large.code, "too_large");
    // Numbers and texts of the same size take little more memory than bytes.
    let plain = Layout::new(&tagged(json!({"type": "array", "items": "long"}))).unwrap();
    assert!(plain.check(&with_nulls(1, 10_000_000)).is_ok());
    assert!(plain.check(&with_nulls(1, 60_000_000)).is_err());
    let text = Layout::new(&tagged(json!("string"))).unwrap();
    let long = [numbers(&[1, 60_000_000]), vec![b'x'; 60_000_000]].concat();
    assert!(text.check(&long).is_ok());
    assert_eq!(layout.together([10, 10, 10].into_iter()), 3);
    assert_eq!(layout.together([200_000, 200_000].into_iter()), 1);
    assert_eq!(layout.together([usize::MAX].into_iter()), 1);
}

#[test]
fn a_block_is_divided_where_its_records_take_too_much_memory() {
    let list = json!({"type": "array", "items": nullable_records()});
    let fields = json!([{"name": "records", "type": list}]);
    let layout =
        Layout::new(&json!({"type": "record", "name": "block", "fields": fields})).unwrap();
    let sizes = [0, 200_000, 0, 200_000, 1_000_000, 0];
    let rows: Vec<Vec<u8>> = sizes.iter().map(|count| with_nulls(1, *count)).collect();
    let block = rows.concat();
    let pieces = layout.pieces(&block, 6).unwrap();
    let counts: Vec<u64> = pieces.iter().map(|(count, _)| *count).collect();
    assert_eq!(counts, [3, 1, 1, 1]);
    let bytes: Vec<&[u8]> = pieces.iter().map(|(_, bytes)| *bytes).collect();
    assert_eq!(bytes.concat(), block);
    assert!(layout.pieces(&with_nulls(1, 1_000), 1).is_none());
}

#[test]
fn rows_beside_one_that_takes_too_much_memory_are_loaded() {
    let rows = [with_nulls(1, 3), with_nulls(2, 1_000_000), with_nulls(3, 3)].concat();
    let out = read_file(&nullable_records().to_string(), 3, &rows);
    let loaded: usize = out
        .batches
        .iter()
        .map(|batch| batch.records.num_rows())
        .sum();
    assert_eq!((loaded, out.rejected.len()), (2, 1), "{:?}", out.rejected);
    assert_eq!(out.rejected[0].code, "too_large");
    assert!(out.rejected[0].reason.starts_with("row 2: its values take"));
}
