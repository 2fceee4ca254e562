//! Doors for programs that speak to Kinesis Data Streams or Firehose: another endpoint, and nothing else to change.
//!
//! `POST /` with `X-Amz-Target` and a body in JSON (AWS JSON 1.1) or CBOR; a stream's name is a pipeline's. Requests are
//! signed with Signature Version 4, the pipeline's token being the secret access key. An answer is given when the records
//! are durable, as for every push. Nothing of a request is parsed before its signature was right: until then the head is read, the body
//! is hashed, and one pass over its bytes finds the stream that it names.

mod admission;
mod aggregated;
mod cbor;
mod firehose;
mod kinesis;
mod operation;
mod put;
mod request;
mod scan;
mod sigv4;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use forebay_core::{Error, ErrorKind, Result};
use forebay_pipeline::platform::push::SIGNED_BYTES_MAX;
use serde_json::{Value, json};

use self::operation::{Encoding, Operation};
use crate::answer::Told;
use crate::body::Reading;
use crate::peers::{Peer, PeerKey};
use crate::request_id::RequestId;
use crate::state::State;

/// Largest request: base64 of the largest batch, and its JSON.
const REQUEST_BYTES_MAX: u64 = SIGNED_BYTES_MAX as u64;

pub(crate) async fn call(Shared(state): Shared<State>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let encoding = Encoding::of(&parts.headers);
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default().to_owned();
    let mut response = match answer(&state, &parts, body, &target).await {
        Ok(value) => written(encoding, &value).into_response(),
        Err(error) => {
            let (status, name) = refused(&error, &target);
            let value = json!({"__type": name, "message": error.message()});
            let mut response = (status, written(encoding, &value)).into_response();
            let headers = response.headers_mut();
            headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
            response.extensions_mut().insert(Told(Arc::new(error)));
            response
        }
    };
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static(encoding.content_type());
    headers.insert(CONTENT_TYPE, kind);
    if let Some(RequestId(id)) = parts.extensions.get() {
        headers.insert("x-amzn-requestid", id.clone());
    }
    response
}

fn written(encoding: Encoding, value: &Value) -> Vec<u8> {
    match encoding {
        Encoding::Json => value.to_string().into_bytes(),
        Encoding::Cbor => cbor::write(value),
    }
}

async fn answer(state: &State, parts: &Parts, body: Body, target: &str) -> Result<Value> {
    let operation = Operation::of(target)?;
    let peer = PeerKey::of(parts.extensions.get::<Peer>().copied());
    let claim = admission::before_body(state, parts, operation, peer);
    let claim = claim.map_err(|error| state.failed(peer, error))?;
    let reading = Reading {
        bytes_max: REQUEST_BYTES_MAX,
        peer,
        is_proven: false,
    };
    let bodies = state.bodies();
    let clock = state.clock();
    let mut sent = bodies.read(&parts.headers, body, reading, clock).await?;
    let encoding = Encoding::of(&parts.headers);
    let body = sent.bytes.clone();
    let admitted = admission::admit(state, claim, operation, encoding, body).await;
    let admitted = admitted.map_err(|error| state.failed(peer, error))?;
    bodies.admit(&mut sent, peer)?;
    let name = &admitted.stream;
    match operation {
        Operation::ListStreams => Ok(kinesis::list_streams(&admitted.streams)),
        Operation::ListDeliveryStreams => Ok(firehose::list_streams(&admitted.streams)),
        Operation::DescribeStream => Ok(kinesis::describe(name)),
        Operation::DescribeStreamSummary => Ok(kinesis::summarize(name)),
        Operation::ListShards => Ok(kinesis::list_shards()),
        Operation::DescribeDeliveryStream => Ok(firehose::describe(name)),
        _ => put::put(state, parts, operation, &admitted, sent).await,
    }
}

/// Status and name of an error as the services give it: their clients retry by its name.
fn refused(error: &Error, target: &str) -> (StatusCode, &'static str) {
    let kinesis = target.starts_with("Kinesis");
    match (error.kind(), error.code()) {
        (_, "unknown_operation") => (StatusCode::BAD_REQUEST, "UnknownOperationException"),
        (_, "too_many_failures") => (StatusCode::BAD_REQUEST, "ThrottlingException"),
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
    }
}
