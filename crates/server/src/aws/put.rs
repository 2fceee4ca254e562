//! Makes the records of a call durable: all valid ones together, each with its own result.

use axum::http::request::Parts;
use forebay_core::{Error, Result};
use forebay_journal::{Receipt, Record};
use serde_json::{Value, json};

use super::admission::Admitted;
use super::aggregated::{self, Room};
use super::operation::{Encoding, Operation, Service};
use super::{kinesis, refused, request};
use crate::body::Sent;
use crate::replays::Seen;
use crate::state::{Door, State};

/// Memory overhead of each record of a call.
const RECORD_COST_BYTES: usize = 128;

/// The result of a record: the journal's offset, or why it could not be kept.
type Outcome = std::result::Result<u64, Error>;

/// The index of the first push of each sent record, or why it could not be kept.
struct Pushes {
    records: Vec<Record>,
    firsts: Vec<std::result::Result<usize, Error>>,
}

pub(super) async fn put(
    state: &State,
    parts: &Parts,
    operation: Operation,
    admitted: &Admitted,
    mut sent: Sent,
) -> Result<Value> {
    let door = state.door(&admitted.stream).await?;
    let encoding = Encoding::of(&parts.headers);
    let body = sent.bytes.clone();
    let at = state.clock().now();
    // Base64 is decoded into new bytes; CBOR lends its own.
    if encoding == Encoding::Json {
        sent.held.grow(body.len() / 4 * 3)?;
    }
    let bytes = body.len();
    let work = move || apart(operation, request::records(operation, encoding, &body, at)?);
    let pushes = state.examiners().run(bytes, work).await?;
    if pushes.records.is_empty() {
        let mut why = pushes.firsts.into_iter().filter_map(Result::err);
        return Err(why.next().unwrap_or_else(too_many));
    }
    sent.held.grow(pushes.records.len() * RECORD_COST_BYTES)?;
    let Pushes { records, firsts } = pushes;
    let offsets = append(state, parts, admitted, &door, records).await?;
    let lost = || Error::bug("no_receipt", "a record was taken without a receipt");
    let outcomes = firsts
        .into_iter()
        .map(|at| at.and_then(|at| offsets.get(at).copied().ok_or_else(lost)));
    Ok(answer(operation, outcomes.collect()))
}

/// Takes the records apart that hold others.
fn apart(operation: Operation, sent: Vec<Result<Record>>) -> Result<Pushes> {
    let mut room = Room::new();
    let mut records = Vec::new();
    let mut firsts = Vec::new();
    for record in sent {
        firsts.push(record.as_ref().map(|_| records.len()).map_err(clone));
        let Ok(record) = record else { continue };
        match operation.service() {
            Service::Kinesis => {
                let parts = aggregated::records(record, &mut room);
                records.append(&mut parts.ok_or_else(too_many)?);
            }
            // Nobody puts records together for Firehose.
            Service::Firehose => records.push(record),
        }
    }
    Ok(Pushes { records, firsts })
}

fn clone(error: &Error) -> Error {
    Error::data("bad_request", error.message().to_owned())
}

fn too_many() -> Error {
    let records = Room::RECORDS_MAX;
    let bytes = Room::KEY_BYTES_MAX;
    let what = format!(
        "the records of a call hold more than {records} aggregated ones, or more than {bytes} bytes of their keys"
    );
    Error::data("bad_request", what).with_hint("send fewer in a call: `AggregationMaxCount`")
}

/// Makes records durable, all or none; returns the offset of each. A signature lands once while it is valid: sent again it gets the
/// offset of the first record, and for the others places after it.
async fn append(
    state: &State,
    parts: &Parts,
    admitted: &Admitted,
    door: &Door,
    records: Vec<Record>,
) -> Result<Vec<u64>> {
    let Some(signed) = &admitted.signed else {
        let key = invocation(parts);
        return append_once(door, records, key).await;
    };
    let now = state.clock().now();
    match state
        .replays()
        .begin(&signed.signature, signed.until(), now)?
    {
        Seen::Again(offset) => Ok((offset..).take(records.len()).collect()),
        Seen::First(first) => {
            // Anybody who has seen the request could change an unsigned id; the signature cannot be changed.
            let key = invocation(parts).filter(|_| admitted.is_invocation_signed);
            let key = key.unwrap_or_else(|| by_signature(&signed.signature));
            let offsets = append_once(door, records, Some(key)).await?;
            if let Some(offset) = offsets.first() {
                first.keep(*offset);
            }
            Ok(offsets)
        }
    }
}

async fn append_once(door: &Door, records: Vec<Record>, key: Option<String>) -> Result<Vec<u64>> {
    // These services promise at least once: many small calls must not be held up by a full memory.
    let key = key.filter(|_| door.journal.has_room_for_keys());
    let receipts: Vec<Receipt> = match key {
        Some(key) => door.journal.append_once(records, &key).await?,
        None => door.journal.append(records).await?,
    };
    Ok(receipts.iter().map(|receipt| receipt.offset).collect())
}

/// The invocation id of the AWS SDKs, the same for all attempts: a call whose response got lost lands once.
fn invocation(parts: &Parts) -> Option<String> {
    let id = parts.headers.get("amz-sdk-invocation-id")?;
    let id = id.to_str().ok().filter(|id| !id.is_empty())?;
    let target = parts.headers.get("x-amz-target")?.to_str().ok()?;
    Some(format!("aws/{target}/{id}"))
}

fn by_signature(signature: &[u8]) -> String {
    use std::fmt::Write;
    signature
        .iter()
        .fold("aws/signature/".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn answer(operation: Operation, outcomes: Vec<Outcome>) -> Value {
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    let is_kinesis = operation.service() == Service::Kinesis;
    let answers: Vec<Value> = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(offset) if is_kinesis => kinesis::place(offset),
            Ok(offset) => json!({"RecordId": offset.to_string()}),
            Err(error) => {
                let target = if is_kinesis { "Kinesis" } else { "Firehose" };
                let (_, name) = refused(&error, target);
                json!({"ErrorCode": name, "ErrorMessage": error.message()})
            }
        })
        .collect();
    match operation {
        Operation::PutRecords => {
            json!({"FailedRecordCount": failed, "Records": answers, "EncryptionType": "NONE"})
        }
        Operation::PutRecordBatch => {
            json!({"FailedPutCount": failed, "Encrypted": false, "RequestResponses": answers})
        }
        _ => {
            let mut answer = answers.into_iter().next().unwrap_or_default();
            let (key, value) = if is_kinesis {
                ("EncryptionType", json!("NONE"))
            } else {
                ("Encrypted", json!(false))
            };
            answer[key] = value;
            answer
        }
    }
}
