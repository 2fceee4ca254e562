//! `POST /v1/ingest/{pipeline}`: one push, answered when it is durable.

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use forebay_core::{Compression, Error, Result, Timestamp};
use forebay_journal::{Head, Journal, Receipt, Record};
use forebay_pipeline::platform::push::PushConfig;
use serde::Serialize;
use tracing::Instrument;

use crate::answer::{Refusal, json};
use crate::body::Reading;
use crate::credentials::{self, Proof, TimedSignature};
use crate::peers::{Peer, PeerKey};
use crate::replays::Seen;
use crate::state::State;

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// Longest value of a header that is kept with a payload.
const HEADER_BYTES_MAX: usize = 4096;

/// The response to a caller: the push is durable.
#[derive(Serialize)]
struct Answer<'a> {
    pipeline: &'a str,
    journal: &'a str,
    offset: u64,
    bytes: usize,
    /// RFC 3339.
    received_at: String,
    duplicate: bool,
}

pub(crate) async fn ingest(
    Shared(state): Shared<State>,
    pipeline: std::result::Result<Path<String>, PathRejection>,
    request: Request<Body>,
) -> std::result::Result<Response, Refusal> {
    let pipeline = name(pipeline)?;
    let door = state.door(&pipeline).await?;
    let config = door.config()?;
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let clock = state.clock();
    let peer = PeerKey::of(parts.extensions.get::<Peer>().copied());
    // Unauthorized callers are refused before their body is read, where possible.
    let proof = credentials::before_body(config.auth.as_ref(), headers);
    let proof = proof.map_err(|error| state.failed(peer, error))?;
    if proof == Proof::Signature {
        state.check_failures(peer)?;
    }
    let key = key(headers)?;
    let reading = Reading {
        bytes_max: config.body.0,
        peer,
        is_proven: proof == Proof::Complete,
    };
    let mut sent = state.bodies().read(headers, body, reading, clock).await?;
    let mut timed = None;
    if proof == Proof::Signature {
        let checked =
            credentials::signature(config.auth.as_ref(), headers, &sent.bytes, clock.now());
        timed = checked.map_err(|error| state.failed(peer, error))?;
        state.bodies().admit(&mut sent, peer)?;
    }
    let (kept, _held) = state.bodies().keep(sent).await?;
    let mut head = head(headers, config, kept.compression, clock.now())?;
    if let Some(encoding) = kept.decoded {
        head.attributes
            .insert("content-encoding".to_owned(), encoding.to_owned());
    }
    let (received_at, bytes, body) = (head.at, kept.bytes.len(), kept.bytes);
    let span = tracing::trace_span!(target: crate::TRACE, "append", pipeline, bytes);
    let record = Record { head, body };
    let append = append_signed(&state, &door.journal, record, key, timed);
    let receipt = append.instrument(span).await?;
    Ok(json(&Answer {
        pipeline: &pipeline,
        journal: door.journal.id().as_str(),
        offset: receipt.offset,
        bytes,
        received_at: received_at.to_string(),
        duplicate: receipt.duplicate,
    }))
}

/// [`append`], once for each signature that has a time.
async fn append_signed(
    state: &State,
    journal: &Journal,
    record: Record,
    key: Option<&str>,
    timed: Option<TimedSignature>,
) -> Result<Receipt> {
    let Some(TimedSignature { signature, until }) = timed else {
        return append(journal, record, key).await;
    };
    match state
        .replays()
        .begin(&signature, until, state.clock().now())?
    {
        Seen::Again(offset) => Ok(Receipt {
            offset,
            duplicate: true,
        }),
        Seen::First(first) => {
            let receipt = append(journal, record, key).await?;
            first.keep(receipt.offset);
            Ok(receipt)
        }
    }
}

async fn append(journal: &Journal, record: Record, key: Option<&str>) -> Result<Receipt> {
    let records = vec![record];
    let receipts = match key {
        Some(key) => journal.append_once(records, key).await,
        None => journal.append(records).await,
    };
    first(receipts?)
}

/// A pipeline's name in a path, whether there is such a pipeline or not. Errors: `Data` `bad_path`.
pub(crate) fn name(path: std::result::Result<Path<String>, PathRejection>) -> Result<String> {
    let bad = |what: &str| Error::data("bad_path", format!("the path {what}"));
    let Path(name) = path.map_err(|_| bad("is not UTF-8"))?;
    if name.chars().any(char::is_control) {
        return Err(bad("has control characters"));
    }
    Ok(name)
}

/// The receipt of the only record.
pub(crate) fn first<T>(receipts: Vec<T>) -> Result<T> {
    let first = receipts.into_iter().next();
    first.ok_or_else(|| Error::bug("no_receipt", "a push was accepted without a receipt"))
}

fn head(
    headers: &HeaderMap,
    config: &PushConfig,
    compression: Compression,
    at: Timestamp,
) -> Result<Head> {
    let mut head = Head::new(at);
    head.content_type = text(headers, CONTENT_TYPE.as_str())?;
    head.compression = compression;
    for name in &config.headers {
        if let Some(value) = text(headers, name)? {
            head.attributes.insert(name.to_ascii_lowercase(), value);
        }
    }
    Ok(head)
}

/// The value of a header that is kept. Errors: `Data` `bad_header`: a requested header must not be lost silently.
fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let usable = std::str::from_utf8(value.as_bytes())
        .ok()
        .filter(|text| text.len() <= HEADER_BYTES_MAX);
    usable.map(|text| Some(text.to_owned())).ok_or_else(|| {
        let what = format!("`{name}` must be UTF-8 of at most {HEADER_BYTES_MAX} bytes");
        Error::data("bad_header", what)
    })
}

fn key(headers: &HeaderMap) -> Result<Option<&str>> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let usable = key
        .to_str()
        .ok()
        .filter(|key| !key.is_empty() && key.len() <= KEY_BYTES_MAX);
    usable.map(Some).ok_or_else(|| {
        let what =
            format!("`Idempotency-Key` must be 1 to {KEY_BYTES_MAX} visible ASCII characters");
        Error::data("bad_key", what)
    })
}
