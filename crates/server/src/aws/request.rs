//! A request that may be answered, parsed: typed, bounded, with its bytes borrowed. Unknown fields are ignored.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_core::{Error, Result, Timestamp};
use forebay_journal::{BODY_BYTES_MAX, Head, Record};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::cbor::Reader;
use super::operation::{Encoding, Operation};

/// Records of one request.
pub(super) const RECORDS_MAX: usize = 500;

/// Bytes of one record.
const RECORD_BYTES_MAX: usize = 10 << 20;

/// A record as both services send it; bytes of JSON are base64.
#[derive(Debug, Default)]
pub(super) struct SentRecord<'b> {
    data: Option<Data<'b>>,
    partition_key: Option<Cow<'b, str>>,
    explicit_hash_key: Option<Cow<'b, str>>,
}

#[derive(Debug)]
enum Data<'b> {
    Base64(Cow<'b, str>),
    Bytes(Cow<'b, [u8]>),
}

/// The records of a request.
///
/// Errors: `Data` `bad_request`.
pub(super) fn records(
    operation: Operation,
    encoding: Encoding,
    body: &Bytes,
    at: Timestamp,
) -> Result<Vec<Result<Record>>> {
    let sent = match encoding {
        Encoding::Json => json(operation, body)?,
        Encoding::Cbor => {
            let read = cbor(operation, Reader(body));
            read.ok_or_else(|| bad("it is not CBOR, or has too many records"))?
        }
    };
    if sent.is_empty() {
        return Err(bad("it has no records"));
    }
    let records = sent.into_iter().map(|sent| sent.record(body, at));
    Ok(records.collect())
}

fn bad(why: impl fmt::Display) -> Error {
    Error::data(
        "bad_request",
        format!("the request is not valid for this operation: {why}"),
    )
}

/// Text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonRecord<'b> {
    #[serde(borrow)]
    data: Option<Text<'b>>,
    partition_key: Option<Text<'b>>,
    explicit_hash_key: Option<Text<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonRecords<'b> {
    #[serde(borrow)]
    records: Bounded<'b>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonDelivery<'b> {
    #[serde(borrow)]
    record: JsonRecord<'b>,
}

/// At most [`RECORDS_MAX`] records: one more ends the parsing.
struct Bounded<'b>(Vec<JsonRecord<'b>>);

impl<'de: 'b, 'b> Deserialize<'de> for Bounded<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor)
    }
}

struct BoundedVisitor;

impl<'de> Visitor<'de> for BoundedVisitor {
    type Value = Bounded<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 to {RECORDS_MAX} records")
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut records: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(record) = records.next_element()? {
            if found.len() == RECORDS_MAX {
                return Err(A::Error::custom(format_args!(
                    "it has more than {RECORDS_MAX} records"
                )));
            }
            found.push(record);
        }
        Ok(Bounded(found))
    }
}

fn json(operation: Operation, body: &[u8]) -> Result<Vec<SentRecord<'_>>> {
    let records = match operation {
        Operation::PutDeliveryRecord => {
            let put: JsonDelivery<'_> = serde_json::from_slice(body).map_err(bad)?;
            vec![put.record]
        }
        Operation::PutRecord => vec![serde_json::from_slice(body).map_err(bad)?],
        _ => {
            let put: JsonRecords<'_> = serde_json::from_slice(body).map_err(bad)?;
            put.records.0
        }
    };
    let sent = records.into_iter().map(|record| SentRecord {
        data: record.data.map(|Text(text)| Data::Base64(text)),
        partition_key: record.partition_key.map(|Text(text)| text),
        explicit_hash_key: record.explicit_hash_key.map(|Text(text)| text),
    });
    Ok(sent.collect())
}

fn cbor<'b>(operation: Operation, mut reader: Reader<'b>) -> Option<Vec<SentRecord<'b>>> {
    if operation == Operation::PutRecord {
        return Some(vec![cbor_record(&mut reader)?]);
    }
    let mut records = Vec::new();
    let mut left = reader.map()?;
    while reader.more(&mut left)? {
        match &*reader.text()? {
            "Record" if operation == Operation::PutDeliveryRecord => {
                records.push(cbor_record(&mut reader)?);
            }
            "Records" if operation.has_many_records() => {
                let mut left = reader.list()?;
                while reader.more(&mut left)? {
                    (records.len() < RECORDS_MAX).then_some(())?;
                    records.push(cbor_record(&mut reader)?);
                }
            }
            _ => reader.skip()?,
        }
        (records.len() <= RECORDS_MAX).then_some(())?;
    }
    Some(records)
}

fn cbor_record<'b>(reader: &mut Reader<'b>) -> Option<SentRecord<'b>> {
    let mut record = SentRecord::default();
    let mut left = reader.map()?;
    while reader.more(&mut left)? {
        let key = reader.text()?;
        if reader.null() {
            continue;
        }
        match &*key {
            "Data" => record.data = Some(Data::Bytes(reader.bytes()?)),
            "PartitionKey" => record.partition_key = Some(reader.text()?),
            "ExplicitHashKey" => record.explicit_hash_key = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Some(record)
}

impl SentRecord<'_> {
    /// The stored part of it. Errors: `Data` `bad_request`: this record cannot be kept; the others are not affected.
    fn record(self, request: &Bytes, at: Timestamp) -> Result<Record> {
        let body = match self.data {
            None => return Err(bad("a record has no `Data`")),
            Some(Data::Base64(text)) => {
                let decoded = STANDARD.decode(&*text);
                let decoded =
                    decoded.map_err(|error| bad(format_args!("`Data` is not base64: {error}")))?;
                Bytes::from(decoded)
            }
            Some(Data::Bytes(Cow::Borrowed(bytes))) => request.slice_ref(bytes),
            Some(Data::Bytes(Cow::Owned(bytes))) => bytes.into(),
        };
        if body.len() > RECORD_BYTES_MAX.min(BODY_BYTES_MAX) {
            return Err(bad(format_args!(
                "a record has {} bytes, more than {RECORD_BYTES_MAX}",
                body.len()
            )));
        }
        let mut head = Head::new(at);
        let attributes = [
            ("partition_key", self.partition_key),
            ("explicit_hash_key", self.explicit_hash_key),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                head.attributes.insert(name.to_owned(), value.into_owned());
            }
        }
        Ok(Record { head, body })
    }
}
