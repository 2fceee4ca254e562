//! A body as text: its compression, an expanded copy within bounds, and excerpts for messages.
//!
//! A compressed body is always read to its end, so that a truncated or corrupt one is detected before anything of it is
//! loaded. Nothing here knows records.

use bytes::Bytes;
use forebay_core::unit::Size;
use forebay_core::{Compression, Error, Result};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::cursor::Format;
use super::json::Fault;
use forebay_config::SecretCover;
use forebay_formats::decode::Decoder;

/// A body may expand to this many times its size, once it is larger than [`EXPANSION_FREE`].
const EXPANSION_RATIO_MAX: u64 = 500;

/// Expanding to this many bytes is always allowed.
const EXPANSION_FREE: u64 = 1 << 20;

/// Bytes of an invalid body that a message shows.
const SHOWN_BYTES_MAX: usize = 80;

/// Bytes of an invalid body that are searched for secrets before the excerpt is cut.
pub(super) const COVERED_BYTES_MAX: usize = 4 << 10;

/// No record has a readable cursor value: the configuration is wrong, and continuing would load all of them again with every run.
pub(super) fn unreadable(format: Format, token: Option<&[u8]>, cover: &SecretCover) -> Error {
    let Some(token) = token else {
        return Error::data(
            "cursor_missing",
            "no record of the page has the field that `cursor.field` names",
        )
        .with_hint("write the path from the record, with dots: `properties.updated`");
    };
    let message = format!(
        "`cursor.field` holds {}, which is not {}",
        excerpt(token, cover),
        format.describe()
    );
    let times = [
        (Format::Rfc3339, "rfc3339"),
        (Format::EpochMillis, "epoch_millis"),
        (Format::EpochSeconds, "epoch_seconds"),
    ];
    let fits = |format: Format| format.read(token).is_some();
    let times: Vec<&str> = times
        .iter()
        .filter(|(time, _)| fits(*time))
        .map(|(_, name)| *name)
        .collect();
    // A field as received cannot be sent as a time, so `raw` is the format of both.
    let key = match format {
        Format::Raw => "format",
        _ => "field_format",
    };
    let times_fit = format!("write `{key}:` and one of {}", times.join(", "));
    let hint = match (times.is_empty(), fits(Format::Raw)) {
        (true, false) => "name a field that holds a time, a text or a whole number".to_owned(),
        (true, true) => "write `format: raw`: the value is then sent as received".to_owned(),
        (false, true) => format!("{times_fit}, or `format: raw` if it is not a time"),
        (false, false) => times_fit,
    };
    Error::data("cursor_unreadable", message).with_hint(hint)
}

/// The compression of the body, by its headers.
///
/// # Errors
/// `content_encoding` for an encoding that was not requested.
pub(super) fn compression(headers: &HeaderMap) -> Result<Compression> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match encoding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => return Ok(Compression::Gzip),
        "zstd" => return Ok(Compression::Zstd),
        "" | "identity" => {}
        other => {
            return Err(Error::data(
                "content_encoding",
                format!("the server sent `{other}`, but gzip or zstd was requested"),
            ));
        }
    }
    Ok(match content_type(headers) {
        Some("application/gzip" | "application/x-gzip") => Compression::Gzip,
        Some("application/zstd") => Compression::Zstd,
        _ => Compression::None,
    })
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
}

pub(super) fn lower_content_type(headers: &HeaderMap) -> String {
    content_type(headers)
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn broken(error: Error) -> Error {
    let message = format!(
        "the compressed body is truncated or corrupt: {}",
        error.message()
    );
    Error::data("body_broken", message).with_source(error)
}

fn expanded_bytes_max(body: &Bytes, max: Size) -> u64 {
    max.0
        .min(EXPANSION_FREE.max(body.len() as u64 * EXPANSION_RATIO_MAX))
}

fn expansion_limit(body: &Bytes, bytes_max: u64) -> Error {
    let message = format!(
        "a body of {} bytes expands to more than {bytes_max}",
        body.len()
    );
    Error::data("expansion_limit", message)
        .with_hint("if such pages are expected, raise `limits.expanded`")
}

/// Hands the decompressed body on in pieces, as a run decompresses it later.
///
/// # Errors
/// `body_broken`, `expansion_limit`.
fn pour(
    body: &Bytes,
    compression: Compression,
    max: Size,
    take: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    let bytes_max = expanded_bytes_max(body, max);
    let mut expanded = 0;
    let mut count = |piece: &[u8]| {
        expanded += piece.len() as u64;
        if expanded > bytes_max {
            return Err(expansion_limit(body, bytes_max));
        }
        take(piece);
        Ok(())
    };
    let mut decoder = Decoder::new(compression)?;
    let pushed = decoder.push(body, &mut count);
    let poured = pushed.and_then(|()| decoder.finish(&mut count));
    poured.map_err(|error| match error.code() {
        "ratio_exceeded" | "too_large" => expansion_limit(body, bytes_max),
        _ if Decoder::is_payload_error(&error) => broken(error),
        _ => error,
    })
}

/// A decompressed copy; the body itself when it is not compressed.
pub(super) fn expand(body: &Bytes, compression: Compression, max: Size) -> Result<Bytes> {
    if compression == Compression::None || body.is_empty() {
        return Ok(body.clone());
    }
    let mut text = Vec::new();
    pour(body, compression, max, &mut |piece| {
        text.extend_from_slice(piece);
    })?;
    Ok(Bytes::from(text))
}

/// Like [`expand`], without the copy.
pub(super) fn check_expansion(body: &Bytes, compression: Compression, max: Size) -> Result<()> {
    if compression == Compression::None || body.is_empty() {
        return Ok(());
    }
    pour(body, compression, max, &mut |_| {})
}

pub(super) fn html(body: &[u8], cover: &SecretCover) -> Error {
    Error::data(
        "html_page",
        format!(
            "the server answered with a web page: {}",
            excerpt(body, cover)
        ),
    )
    .with_hint("open the URL in a browser: it may be a login page or the wrong URL")
}

pub(super) fn not_json(text: &[u8], fault: Fault, cover: &SecretCover) -> Error {
    let what = match fault {
        Fault::Ended => "ends in the middle".to_owned(),
        Fault::Unexpected(at) => format!("breaks off at byte {at}"),
    };
    let error = Error::data(
        "not_json",
        format!(
            "the body is not JSON: it {what}; it begins with {}",
            excerpt(text, cover)
        ),
    );
    if text.trim_ascii_start().starts_with(b"<") {
        return error.with_hint("this is a web page or XML: check for a login page or a wrong URL");
    }
    error.with_hint("a paginated source must answer with JSON")
}

/// The beginning of a body, quoted, so that nothing in it can affect a terminal, and without known secrets.
pub(super) fn excerpt(bytes: &[u8], cover: &SecretCover) -> String {
    let beginning = &bytes[..bytes.len().min(COVERED_BYTES_MAX)];
    let text = cover.cover(&String::from_utf8_lossy(beginning));
    let cut = text.floor_char_boundary(SHOWN_BYTES_MAX);
    let is_whole = cut == text.len() && beginning.len() == bytes.len();
    let dots = if is_whole { "" } else { "…" };
    format!("{:?}{dots}", &text[..cut])
}
