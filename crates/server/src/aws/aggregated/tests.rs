use bytes::Bytes;
use forebay_core::Timestamp;
use forebay_journal::Head;

use super::*;

/// Made by `aws_kinesis_agg` 1.2.3: `{"n":1}` of key `k`, `{"n":2}` of key `l` with a hash key, an empty one of key `k`.
const THREE: &str = "f3899ac20a016b0a016c1227313730313431313833343630343639323331373331363837333033373135383834313035373238\
                     1a0b08001a077b226e223a317d1a0d080110001a077b226e223a327d1a0408001a0055f8a11c98d39aeda20ce8ff25cfeb83";

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

/// A message with the mark before it and its checksum behind it.
fn framed(message: &[u8]) -> Vec<u8> {
    [MAGIC, message, &Md5::digest(message)].concat()
}

/// A field with bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut length = Vec::new();
    let mut left = bytes.len();
    while left > 0x7F {
        length.push(left as u8 | 0x80);
        left >>= 7;
    }
    length.push(left as u8);
    [&[number << 3 | 2], &length[..], bytes].concat()
}

fn sent(body: Vec<u8>) -> Record {
    let mut head = Head::new(Timestamp(7));
    head.attributes
        .insert("partition_key".to_owned(), "a".to_owned());
    Record {
        head,
        body: Bytes::from(body),
    }
}

fn apart(body: Vec<u8>) -> Vec<Record> {
    records(sent(body), &mut Room::new()).unwrap()
}

fn is_as_it_came(body: Vec<u8>) -> bool {
    let found = apart(body.clone());
    found.len() == 1 && found[0].body == body && found[0].head.attributes["partition_key"] == "a"
}

#[test]
fn each_record_gets_its_own_keys_and_bytes() {
    let found = apart(hex(THREE));
    let bodies: Vec<&[u8]> = found.iter().map(|record| &record.body[..]).collect();
    assert_eq!(bodies, [&br#"{"n":1}"#[..], br#"{"n":2}"#, b""]);
    let attribute = |name: &str| -> Vec<Option<&str>> {
        let values = found.iter().map(|record| record.head.attributes.get(name));
        values.map(|value| value.map(String::as_str)).collect()
    };
    assert_eq!(
        attribute("partition_key"),
        [Some("k"), Some("l"), Some("k")]
    );
    let half = "170141183460469231731687303715884105728";
    assert_eq!(attribute("explicit_hash_key"), [None, Some(half), None]);
    assert_eq!(attribute(NUMBER), [Some("0"), Some("1"), Some("2")]);
    assert!(found.iter().all(|record| record.head.at == Timestamp(7)));
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_with_them() {
    let tag = [field(1, b"color"), field(2, b"red")].concat();
    let record = [&[0x08, 0][..], &field(4, &tag), &field(3, b"x"), &[0x30, 9]].concat();
    let message = [
        field(3, &record),
        vec![0x51, 1, 2, 3, 4, 5, 6, 7, 8],
        field(1, b"k"),
    ]
    .concat();
    let found = apart(framed(&message));
    assert_eq!(&found[0].body[..], b"x");
    assert_eq!(found[0].head.attributes["tag.color"], "red");
    assert_eq!(found[0].head.attributes["partition_key"], "k");
}

#[test]
fn what_is_not_whole_is_kept_as_it_came() {
    let whole = hex(THREE);
    for cut in 0..whole.len() {
        assert!(is_as_it_came(whole[..cut].to_vec()), "cut at {cut}");
    }
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        assert!(is_as_it_came(flipped), "flipped at {at}");
    }
    let record = |index: u8| field(3, &[&[0x08, index][..], &field(3, b"x")].concat());
    for message in [
        vec![],
        field(1, b"k"),
        record(0),
        [field(1, b"k"), record(1)].concat(),
        [field(1, b"k"), field(3, &[0x08, 0])].concat(),
        [field(1, b"k"), field(3, &field(3, b"x"))].concat(),
        [field(1, b"\xff"), record(0)].concat(),
        [field(1, b"k"), record(0), vec![0x1A, 99]].concat(),
        [field(1, b"k"), record(0), vec![0x1B]].concat(),
        [field(1, b"k"), record(0), vec![0xFF; 11]].concat(),
        [field(1, &[b'k'; KEYS_BYTES_MAX]), record(0)].concat(),
    ] {
        assert!(is_as_it_came(framed(&message)), "{message:?}");
    }
}

#[test]
fn a_call_that_would_become_too_much_has_no_room() {
    let key = vec![b'k'; 4_096];
    let record = field(3, &[&[0x08, 0][..], &field(3, b"")].concat());
    let many = Room::KEY_BYTES_MAX / key.len() + 1;
    let message = [field(1, &key), record.repeat(many)].concat();
    assert!(records(sent(framed(&message)), &mut Room::new()).is_none());
    let message = [field(1, b"k"), record.repeat(2)].concat();
    let mut room = Room::new();
    room.records = 3;
    assert_eq!(records(sent(framed(&message)), &mut room).unwrap().len(), 2);
    assert!(records(sent(framed(&message)), &mut room).is_none());
}
