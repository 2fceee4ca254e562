//! Deaggregation of records of the Kinesis Producer Library.
//!
//! Layout: the bytes F3 89 9A C2 · a Protobuf message `AggregatedRecord` · its MD5. The message has a table of partition keys (field
//! 1), a table of explicit hash keys (2), and records (3), each with the index of its partition key (1), the index of its explicit
//! hash key (2), its data (3) and tags (4) (<https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>).
//!
//! The HTTP side does this, and not the source that reads the journal: the layout belongs to the transport, like the base64 and the
//! list of records of a call. Each contained record is a push of its own, with its own bytes in the raw zone, its own place and its
//! own keys; no information of the layout is lost; and the journal makes all records of a call durable together. Anything that is
//! not entirely such a layout is one record, kept as received, as Amazon's own consumers do it. The data of a record is never parsed.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_journal::{HEAD_BYTES_MAX, Record};
use md5::{Digest, Md5};

/// Magic bytes of an aggregated record.
const MAGIC: &[u8] = &[0xF3, 0x89, 0x9A, 0xC2];

const MD5_BYTES: usize = 16;

/// Most bytes of the keys and tags of one record: they must fit into the head of a push, also with each character escaped.
const KEYS_BYTES_MAX: usize = HEAD_BYTES_MAX / 8;

/// The attribute of a push with its index among the records that were aggregated, from 0.
const NUMBER: &str = "sub_sequence_number";

/// Limits for deaggregating the records of one call.
pub(super) struct Room {
    records: usize,
    /// Bytes of keys and tags: the layout has a key once, and each record has a copy afterwards.
    key_bytes: usize,
}

impl Room {
    /// Most records of one call.
    pub(super) const RECORDS_MAX: usize = 200_000;

    /// Most bytes of keys and tags of one call.
    pub(super) const KEY_BYTES_MAX: usize = 32 << 20;

    pub(super) fn new() -> Self {
        Self {
            records: Self::RECORDS_MAX,
            key_bytes: Self::KEY_BYTES_MAX,
        }
    }

    /// `None` when the limit is reached.
    fn take(&mut self, key_bytes: usize) -> Option<()> {
        self.records = self.records.checked_sub(1)?;
        self.key_bytes = self.key_bytes.checked_sub(key_bytes)?;
        Some(())
    }
}

/// The records in this one, in their order; the record itself when it holds no others. `None` when they have no room.
pub(super) fn records(record: Record, room: &mut Room) -> Option<Vec<Record>> {
    let parsed = message(&record.body).map(|message| parse(&record, &message, room));
    match parsed {
        Some(Parsed::Records(records)) if !records.is_empty() => Some(records),
        Some(Parsed::NoRoom) => None,
        _ => Some(vec![record]),
    }
}

/// The Protobuf message, if the magic bytes and the checksum match.
fn message(body: &Bytes) -> Option<Bytes> {
    let rest = body.strip_prefix(MAGIC)?;
    let (message, md5) = rest.split_at_checked(rest.len().checked_sub(MD5_BYTES)?)?;
    let is_whole = Md5::digest(message)[..] == *md5;
    is_whole.then(|| body.slice_ref(message))
}

enum Parsed {
    Records(Vec<Record>),
    NoRoom,
    Broken,
}

fn parse(whole: &Record, message: &Bytes, room: &mut Room) -> Parsed {
    let Some(keys) = Keys::of(message) else {
        return Parsed::Broken;
    };
    let mut records = Vec::new();
    for field in Fields(message) {
        let found = match field {
            Some((3, value)) => value.bytes().and_then(|bytes| keys.record(bytes)),
            Some(_) => continue,
            None => None,
        };
        let Some((data, mut attributes)) = found else {
            return Parsed::Broken;
        };
        if room.take(size(&attributes)).is_none() {
            return Parsed::NoRoom;
        }
        attributes.insert(NUMBER.to_owned(), records.len().to_string());
        let mut head = whole.head.clone();
        head.attributes = attributes;
        let body = message.slice_ref(data);
        records.push(Record { head, body });
    }
    Parsed::Records(records)
}

fn size(attributes: &BTreeMap<String, String>) -> usize {
    let sizes = attributes.iter();
    sizes.map(|(name, text)| name.len() + text.len()).sum()
}

/// The tables that records point into.
#[derive(Default)]
struct Keys<'b> {
    partition: Vec<&'b str>,
    hash: Vec<&'b str>,
}

impl<'b> Keys<'b> {
    /// `None` when the message is invalid, or has more keys than it can have records.
    fn of(message: &'b [u8]) -> Option<Self> {
        let mut keys = Self::default();
        for field in Fields(message) {
            match field? {
                (1, key) => keys.partition.push(key.text()?),
                (2, key) => keys.hash.push(key.text()?),
                _ => {}
            }
            (keys.partition.len().max(keys.hash.len()) <= Room::RECORDS_MAX).then_some(())?;
        }
        Some(keys)
    }

    /// The data of a record, and its attributes; `None` for an invalid record.
    fn record(&self, bytes: &'b [u8]) -> Option<(&'b [u8], BTreeMap<String, String>)> {
        let mut partition_key = None;
        let mut hash_key = None;
        let mut data = None;
        let mut attributes = BTreeMap::new();
        let key = |table: &[&'b str], index: Value<'b>| {
            let index = usize::try_from(index.number()?).ok()?;
            table.get(index).copied()
        };
        for field in Fields(bytes) {
            match field? {
                (1, index) => partition_key = Some(key(&self.partition, index)?),
                (2, index) => hash_key = Some(key(&self.hash, index)?),
                (3, bytes) => data = Some(bytes.bytes()?),
                (4, bytes) => {
                    let (name, text) = tag(bytes.bytes()?)?;
                    attributes.insert(format!("tag.{name}"), text.to_owned());
                    (size(&attributes) <= KEYS_BYTES_MAX).then_some(())?;
                }
                _ => {}
            }
        }
        attributes.insert("partition_key".to_owned(), partition_key?.to_owned());
        if let Some(key) = hash_key {
            attributes.insert("explicit_hash_key".to_owned(), key.to_owned());
        }
        (size(&attributes) <= KEYS_BYTES_MAX).then_some(())?;
        Some((data?, attributes))
    }
}

/// A tag: its name (field 1), and its value (field 2), which may be missing.
fn tag(bytes: &[u8]) -> Option<(&str, &str)> {
    let mut name = None;
    let mut text = "";
    for field in Fields(bytes) {
        match field? {
            (1, value) => name = Some(value.text()?),
            (2, value) => text = value.text()?,
            _ => {}
        }
    }
    Some((name?, text))
}

/// The value of a field of a Protobuf message.
#[derive(Clone, Copy)]
enum Value<'b> {
    Number(u64),
    Bytes(&'b [u8]),
    /// Of a field that nobody here knows.
    Other,
}

impl<'b> Value<'b> {
    fn number(self) -> Option<u64> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn bytes(self) -> Option<&'b [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn text(self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// The fields of a message with their numbers; `None`, and nothing behind it, where it is invalid
/// (<https://protobuf.dev/programming-guides/encoding/>).
struct Fields<'b>(&'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = Option<(u64, Value<'b>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = field(&mut self.0);
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn field<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Value<'b>)> {
    let key = varint(bytes)?;
    let value = match key & 7 {
        0 => Value::Number(varint(bytes)?),
        1 => take(bytes, 8).map(|_| Value::Other)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Value::Bytes(take(bytes, length)?)
        }
        5 => take(bytes, 4).map(|_| Value::Other)?,
        // Groups were removed in the second version; other types do not exist.
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
