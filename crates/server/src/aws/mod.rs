//! Doors for programs that speak to Kinesis Data Streams or Firehose: another endpoint, and nothing else to change.
//!
//! `POST /` with `X-Amz-Target` and a JSON body, as in the AWS JSON 1.1 protocol; a stream's name is a pipeline's. Requests are
//! signed with Signature Version 4, the pipeline's token being the secret access key. An answer is given when the records
//! are durable, as for every push. What is not a call to put or describe is refused as unknown.

mod aggregated;
mod firehose;
mod kinesis;
mod sigv4;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use forebay_core::{Error, ErrorKind, Result};
use forebay_pipeline::journal::{BODY_BYTES_MAX, Head, Record};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::aggregated::Room;
use crate::answer::Told;
use crate::observe::RequestId;
use crate::state::{Door, State};

/// Largest request: base64 of the largest batch, and its JSON.
const REQUEST_BYTES_MAX: u64 = 32 << 20;

/// Records of one request.
const RECORDS_MAX: usize = 500;

/// Bytes of one record.
const RECORD_BYTES_MAX: usize = 10 << 20;

const JSON: &str = "application/x-amz-json-1.1";

pub(crate) async fn call(Shared(state): Shared<State>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default().to_owned();
    let mut response = match dispatch(&state, &parts, body, &target).await {
        Ok(value) => value.to_string().into_response(),
        Err(error) => {
            let (status, value) = refused(&error, &target);
            let mut response = (status, value.to_string()).into_response();
            response.extensions_mut().insert(Told(Arc::new(error)));
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    if let Some(RequestId(id)) = parts.extensions.get() {
        headers.insert("x-amzn-requestid", id.clone());
    }
    response
}

async fn dispatch(state: &State, parts: &Parts, body: Body, target: &str) -> Result<Value> {
    let bodies = state.bodies();
    let sent = bodies.read(&parts.headers, body, REQUEST_BYTES_MAX, state.clock());
    let sent = sent.await?;
    let call = Call {
        state,
        parts,
        body: sent.bytes.clone(),
    };
    match target {
        "Kinesis_20131202.PutRecord" => kinesis::put_record(call).await,
        "Kinesis_20131202.PutRecords" => kinesis::put_records(call).await,
        "Kinesis_20131202.DescribeStreamSummary" => kinesis::describe(call).await,
        "Kinesis_20131202.ListShards" => kinesis::list_shards(call).await,
        "Firehose_20150804.PutRecord" => firehose::put_record(call).await,
        "Firehose_20150804.PutRecordBatch" => firehose::put_record_batch(call).await,
        other => Err(Error::unsupported(
            "unknown_operation",
            format!("`{other}` is no operation of this endpoint"),
        )),
    }
}

/// One request.
struct Call<'a> {
    state: &'a State,
    parts: &'a Parts,
    body: Bytes,
}

/// A record as both services send it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sent {
    data: String,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

/// Takes a record apart that holds others; `None` when they have no room.
type Apart = fn(Record, &mut Room) -> Option<Vec<Record>>;

fn too_many() -> Error {
    let (records, bytes) = (Room::RECORDS_MAX, Room::KEY_BYTES_MAX);
    let what = format!(
        "the records of a call hold more than {records} aggregated ones, or more than {bytes} bytes of their keys"
    );
    Error::data("bad_request", what).with_hint("send fewer in a call: `AggregationMaxCount`")
}

impl Call<'_> {
    fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::data(
                "bad_request",
                format!("the request is not what the operation takes: {error}"),
            )
        })
    }

    /// The pipeline of this stream, once the signature has shown that the caller may push to it.
    async fn door(&self, stream: &str) -> Result<Door> {
        let door = self.state.door(stream).await?;
        let token = door.config()?.auth.as_ref().map(|auth| auth.token.as_ref());
        match token {
            None => {}
            Some(Some(token)) => {
                sigv4::verify(self.parts, &self.body, token, self.state.clock().now())?;
            }
            Some(None) => {
                return Err(Error::denied(
                    "bad_signature",
                    "this pipeline takes only pushes with a signature of the body",
                )
                .with_hint("give it `auth: {token: …}`: the token is the secret access key"));
            }
        }
        Ok(door)
    }

    /// Makes records durable, all or none; returns the offset of each. `apart` takes one apart that holds others: its offset
    /// is that of the first of them.
    async fn put(&self, door: &Door, records: Vec<Sent>, apart: Apart) -> Result<Vec<u64>> {
        if records.is_empty() || records.len() > RECORDS_MAX {
            let what = format!(
                "a request has {} records; it may have 1 to {RECORDS_MAX}",
                records.len()
            );
            return Err(Error::data("bad_request", what));
        }
        let at = self.state.clock().now();
        let (mut room, mut pushes, mut firsts) = (Room::new(), Vec::new(), Vec::new());
        for sent in records {
            firsts.push(pushes.len());
            let records = apart(record(sent, at)?, &mut room);
            pushes.append(&mut records.ok_or_else(too_many)?);
        }
        // These services promise no more than once or more: many small calls must not be held up by a full memory.
        let invocation = self
            .invocation()
            .filter(|_| door.journal.has_room_for_keys());
        let receipts = match invocation {
            Some(key) => door.journal.append_once(pushes, &key).await,
            None => door.journal.append(pushes).await,
        };
        let receipts = receipts?;
        let first = firsts.iter().map(|at| receipts.get(*at));
        let offsets = first.map(|receipt| receipt.map(|receipt| receipt.offset));
        let offsets: Option<Vec<u64>> = offsets.collect();
        offsets.ok_or_else(|| Error::bug("no_receipt", "a record was taken without a receipt"))
    }

    /// What the AWS SDKs call a call, the same however often they try it: a call whose answer got lost lands once.
    fn invocation(&self) -> Option<String> {
        let id = self.parts.headers.get("amz-sdk-invocation-id")?;
        let id = id.to_str().ok().filter(|id| !id.is_empty())?;
        let target = self.parts.headers.get("x-amz-target")?.to_str().ok()?;
        Some(format!("aws/{target}/{id}"))
    }
}

fn record(sent: Sent, at: forebay_core::Timestamp) -> Result<Record> {
    let body = STANDARD
        .decode(&sent.data)
        .map_err(|error| Error::data("bad_request", format!("`Data` is not base64: {error}")))?;
    if body.len() > RECORD_BYTES_MAX.min(BODY_BYTES_MAX) {
        let what = format!(
            "a record has {} bytes; at most {RECORD_BYTES_MAX} are taken",
            body.len()
        );
        return Err(Error::data("bad_request", what));
    }
    let mut head = Head::new(at);
    let attributes = [
        ("partition_key", sent.partition_key),
        ("explicit_hash_key", sent.explicit_hash_key),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            head.attributes.insert(name.to_owned(), value);
        }
    }
    Ok(Record {
        head,
        body: body.into(),
    })
}

/// An error as the services tell it: their clients retry by its name.
fn refused(error: &Error, target: &str) -> (StatusCode, Value) {
    let kinesis = target.starts_with("Kinesis");
    let (status, name) = match (error.kind(), error.code()) {
        (_, "unknown_operation") => (StatusCode::BAD_REQUEST, "UnknownOperationException"),
        (_, "journal_backlog" | "journal_busy" | "server_busy") if kinesis => (
            StatusCode::BAD_REQUEST,
            "ProvisionedThroughputExceededException",
        ),
        (_, "journal_taken" | "journal_lost" | "journal_corrupt" | "journal_open") => (
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailableException",
        ),
        (ErrorKind::NotFound, _) => (StatusCode::BAD_REQUEST, "ResourceNotFoundException"),
        (ErrorKind::Denied, "missing_signature") => (
            StatusCode::BAD_REQUEST,
            "MissingAuthenticationTokenException",
        ),
        (ErrorKind::Denied, _) => (StatusCode::BAD_REQUEST, "InvalidSignatureException"),
        (ErrorKind::Data, _) if kinesis => (StatusCode::BAD_REQUEST, "ValidationException"),
        (ErrorKind::Data, _) => (StatusCode::BAD_REQUEST, "InvalidArgumentException"),
        (ErrorKind::Unavailable, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailableException",
        ),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure"),
    };
    (status, json!({"__type": name, "message": error.message()}))
}
