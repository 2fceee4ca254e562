use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use forebay_core::{Message, MessagesBuilder, Timestamp};

use super::*;
use crate::added_columns::lock;
use crate::contract::ContractPolicy;
use crate::{Extractor, json};

fn columns() -> MessageColumns {
    let name = |name: &str| Some(name.to_owned());
    MessageColumns {
        key: name("k"),
        key_bytes: None,
        timestamp: name("at"),
        partition: name("p"),
        offset: name("o"),
        headers: name("h"),
    }
}

fn extraction(columns: MessageColumns, tombstones: Tombstones) -> MessageExtraction {
    let json = json::Json::new(json::Config::default()).unwrap();
    let inner = json.start(None, &ContractPolicy::default(), None).unwrap();
    MessageExtraction::of_messages(
        inner,
        true,
        MessageRules {
            columns,
            tombstones,
            only: true,
        },
    )
}

/// A payload of these keys and values; the offset counts from ten times the ordinal.
fn payload(
    ordinal: u64,
    messages: &[(Option<&[u8]>, Option<&str>)],
) -> (Arc<PayloadHead>, Vec<u8>) {
    let mut builder = MessagesBuilder::default();
    let mut bytes = Vec::new();
    for (n, (key, value)) in messages.iter().enumerate() {
        bytes.extend_from_slice(value.unwrap_or_default().as_bytes());
        builder.push(&Message {
            partition: 2,
            offset: (ordinal * 10) as i64 + n as i64,
            timestamp: Some(Timestamp(ordinal as i64)),
            key: *key,
            headers: &[("n", Some(b"1"))],
            length: value.map(str::len),
        });
    }
    let head = PayloadHead {
        ordinal,
        name: format!("t/2@{}", ordinal * 10),
        received_at: Timestamp(0),
        content_type: None,
        compression: Default::default(),
        attributes: Default::default(),
        messages: Some(Arc::new(builder.finish().unwrap())),
    };
    (Arc::new(head), bytes)
}

fn offsets(out: &Extracted) -> Vec<i64> {
    let batches = out.batches.iter();
    batches
        .flat_map(|batch| {
            batch.records["o"]
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect()
}

#[test]
fn rows_of_many_payloads_get_what_came_with_their_messages() {
    let mut extraction = extraction(columns(), Tombstones::Skip);
    let mut out = Extracted::default();
    for ordinal in 0..3 {
        let (head, bytes) = payload(
            ordinal,
            &[
                (Some(b"a"), Some("{\"n\":1}")),
                (None, None),
                (None, Some(" [{\"n\":2},{\"n\":3}] ")),
            ],
        );
        extraction.packed(&head, &bytes, &mut out).unwrap();
    }
    extraction.flush(&mut out).unwrap();
    assert!(out.rejected.is_empty(), "{:?}", out.rejected);
    assert_eq!(offsets(&out), [0, 2, 2, 10, 12, 12, 20, 22, 22]);
    let rows = &out.batches[0].records;
    assert_eq!(rows["k"].as_string::<i32>().value(0), "a");
    assert!(rows["k"].is_null(1));
    assert_eq!(rows["p"].as_primitive::<Int32Type>().value(8), 2);
    assert_eq!(
        rows["at"]
            .as_primitive::<TimestampMicrosecondType>()
            .value(8),
        2
    );
    assert_eq!(rows["h"].as_list::<i32>().value_length(3), 1);
}

#[test]
fn what_may_not_pass_is_refused_alone() {
    let mut extraction = extraction(columns(), Tombstones::Quarantine);
    let (head, bytes) = payload(
        1,
        &[
            (Some(b"\xFF"), Some("{\"n\":1}")),
            (None, None),
            (None, Some("")),
            (None, Some("{")),
            (None, Some("{\"n\":5}")),
        ],
    );
    let mut out = Extracted::default();
    extraction.packed(&head, &bytes, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    let codes: Vec<&str> = out
        .rejected
        .iter()
        .map(|refused| refused.code.as_str())
        .collect();
    assert_eq!(
        codes,
        ["key_not_utf8", "tombstone", "empty_message", "bad_json"]
    );
    assert_eq!(
        out.rejected[0].reason,
        "the message at offset 10 of partition 2: its key is not UTF-8: name it under `columns.key_bytes` instead of `columns.key`"
    );
    assert_eq!(offsets(&out), [14]);
}

#[test]
fn a_column_that_the_records_have_themselves_gets_a_number() {
    let mut extraction = extraction(columns(), Tombstones::Skip);
    let (head, bytes) = payload(0, &[(None, Some("{\"k\":1}"))]);
    let mut out = Extracted::default();
    extraction.packed(&head, &bytes, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    let schema = out.batches[0].records.schema();
    assert_eq!(
        schema
            .fields()
            .iter()
            .filter(|field| field.name() == "k")
            .count(),
        1
    );
    let own = schema.field_with_name("k_2").unwrap();
    assert_eq!(own.data_type(), &DataType::Int64);
}

#[test]
fn bytes_that_are_not_those_of_the_messages_are_an_error() {
    let mut extraction = extraction(MessageColumns::default(), Tombstones::Skip);
    let (head, mut bytes) = payload(0, &[(None, Some("{\"k\":1}"))]);
    bytes.pop();
    let error = extraction
        .packed(&head, &bytes, &mut Extracted::default())
        .unwrap_err();
    assert_eq!(error.code(), "bad_messages");
}

#[test]
fn what_is_held_back_is_bounded() {
    let mut extraction = extraction(columns(), Tombstones::Skip);
    let mut out = Extracted::default();
    let messages = vec![(None, Some("not json")); 5_000];
    for ordinal in 0..100 {
        let (head, bytes) = payload(ordinal, &messages);
        extraction.packed(&head, &bytes, &mut out).unwrap();
        assert!(lock(&extraction.source).held_messages <= HELD_MAX);
    }
    assert_eq!(out.rejected.len(), 500_000);
}
