//! `POST /v1/ingest/{pipeline}`: one push, answered when it is durable.

pub(crate) mod auth;
pub(crate) mod body;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Request, State as Shared};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use forebay_core::{Compression, Error, Result};
use forebay_pipeline::journal::{Head, Record};
use forebay_pipeline::source::push::PushConfig;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::state::State;

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// Longest value of a header that is kept with a payload.
const HEADER_BYTES_MAX: usize = 4096;

pub(crate) async fn ingest(
    Shared(state): Shared<State>,
    Path(pipeline): Path<String>,
    request: Request<Body>,
) -> std::result::Result<Json<Value>, Refusal> {
    let door = state.door(&pipeline).await?;
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    // Who may not push is told before anything is read from them, where that can be known.
    let token = auth::before_body(door.config.auth.as_ref(), headers)?;
    let body = body::read(headers, body, door.config.body.0, state.clock()).await?;
    if !token {
        auth::signature(door.config.auth.as_ref(), headers, &body.sent)?;
    }
    let bytes = body.kept.len();
    let mut head = head(headers, &door.config, body.compression, state.clock().now());
    if let Some(encoding) = body.decoded {
        head.attributes
            .insert("content-encoding".to_owned(), encoding.to_owned());
    }
    let at = head.at;
    let record = Record {
        head,
        body: body.kept,
    };
    let receipt = match key(headers)? {
        Some(key) => door.journal.append_once(record, key).await?,
        None => first(door.journal.append(vec![record]).await?)?,
    };
    Ok(Json(json!({
        "pipeline": pipeline,
        "journal": door.journal.id(),
        "offset": receipt.offset,
        "bytes": bytes,
        "received_at": at,
        "duplicate": receipt.duplicate,
    })))
}

/// The receipt of the only record.
pub(crate) fn first<T>(receipts: Vec<T>) -> Result<T> {
    let first = receipts.into_iter().next();
    first.ok_or_else(|| Error::bug("no_receipt", "a push was taken without a receipt"))
}

fn head(
    headers: &HeaderMap,
    config: &PushConfig,
    compression: Compression,
    at: forebay_core::Timestamp,
) -> Head {
    let text = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        (value.len() <= HEADER_BYTES_MAX).then(|| value.to_owned())
    };
    let mut head = Head::new(at);
    head.content_type = text(CONTENT_TYPE.as_str());
    head.compression = compression;
    for name in &config.headers {
        if let Some(value) = text(name) {
            head.attributes.insert(name.to_ascii_lowercase(), value);
        }
    }
    head
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
