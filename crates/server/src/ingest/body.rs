//! A body, read within limits of size and time.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::{Bytes, BytesMut};
use forebay_core::{Clock, Compression, Error, Result};
use forebay_pipeline::journal::BODY_BYTES_MAX;
use http_body_util::BodyExt;

/// How long a caller may take to send a body.
const READ_TIME_MAX: Duration = Duration::from_secs(60);

/// What was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// As it came.
    pub(crate) sent: Bytes,
    /// As it is kept: as it came, unless it came in a compression that the raw zone does not know.
    pub(crate) kept: Bytes,
    pub(crate) compression: Compression,
    /// The compression that was undone.
    pub(crate) decoded: Option<&'static str>,
}

/// Errors: `Data` `push_too_large`, `empty_push`, `bad_encoding`, `bad_brotli`, `broken_push`; `Unavailable` `slow_push`.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: u64,
    clock: &dyn Clock,
) -> Result<Sent> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map(|value| value.as_bytes().to_ascii_lowercase());
    let compression = match encoding.as_deref() {
        None | Some(b"identity" | b"") => Some(Compression::None),
        Some(b"gzip" | b"x-gzip") => Some(Compression::Gzip),
        Some(b"zstd") => Some(Compression::Zstd),
        Some(b"br") => None,
        Some(other) => return Err(unknown(&String::from_utf8_lossy(other))),
    };
    let length = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let room = usize::try_from(length.unwrap_or(0)).unwrap_or(0);
    let sent = tokio::select! {
        sent = collect(body, room, bytes_max) => sent?,
        () = clock.sleep(READ_TIME_MAX) => return Err(slow()),
    };
    if sent.is_empty() {
        return Err(Error::data(
            "empty_push",
            "the body is empty: there is nothing to keep",
        ));
    }
    let kept = match compression {
        Some(_) => sent.clone(),
        None => brotli(&sent)?,
    };
    let decoded = compression.is_none().then_some("br");
    let compression = compression.unwrap_or(Compression::None);
    Ok(Sent {
        sent,
        kept,
        compression,
        decoded,
    })
}

async fn collect(mut body: Body, room: usize, bytes_max: u64) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::data("broken_push", "the connection broke before the body ended")
                .with_source(error)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if (whole.len() + data.len()) as u64 > bytes_max {
            return Err(too_large(bytes_max));
        }
        if whole.is_empty() && data.len() >= room {
            // The common small push: one frame, no copy.
            whole = BytesMut::from(data);
        } else {
            whole.reserve(room.saturating_sub(whole.len()).max(data.len()));
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

fn brotli(sent: &[u8]) -> Result<Bytes> {
    let mut kept = Vec::new();
    let limit = BODY_BYTES_MAX as u64;
    let read = brotli::Decompressor::new(sent, 4096)
        .take(limit + 1)
        .read_to_end(&mut kept);
    read.map_err(|error| Error::data("bad_brotli", "the body is not brotli").with_source(error))?;
    if kept.len() as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(kept.into())
}

fn too_large(bytes_max: u64) -> Error {
    let what =
        format!("the body has more than {bytes_max} bytes, which is what this pipeline takes");
    Error::data("push_too_large", what).with_hint("send it in parts, or raise `source.push.body`")
}

fn unknown(encoding: &str) -> Error {
    let what = format!("`Content-Encoding: {encoding}` is not known");
    Error::data("bad_encoding", what).with_hint("gzip, zstd, br and identity are")
}

fn slow() -> Error {
    let what = format!("the body did not come within {} s", READ_TIME_MAX.as_secs());
    Error::unavailable("slow_push", what)
}
