//! A body as text: its compression, an expanded copy within bounds, and excerpts for messages.
//!
//! A compressed body is always read to its end, so that a truncated or corrupt one is detected before anything of it is
//! loaded. Nothing here knows records.

use std::io::Read;

use bytes::Bytes;
use forebay_core::unit::Size;
use forebay_core::{Compression, Error, Result};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::cursor::Format;
use super::json::Fault;
use forebay_config::SecretCover;

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
    let fits = [
        (Format::Rfc3339, "rfc3339"),
        (Format::EpochMillis, "epoch_millis"),
        (Format::EpochSeconds, "epoch_seconds"),
        (Format::Raw, "raw"),
    ];
    let fits: Vec<&str> = fits
        .iter()
        .filter(|(format, _)| format.read(token).is_some())
        .map(|(_, name)| *name)
        .collect();
    let hint = match fits.as_slice() {
        [] => "name a field that holds a time, a text or a whole number".to_owned(),
        fits => format!("write `field_format:` and one of {}", fits.join(", ")),
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

fn broken(error: std::io::Error) -> Error {
    Error::data(
        "body_broken",
        format!("the compressed body is truncated or corrupt: {error}"),
    )
}

fn expanded_bytes_max(body: &Bytes, max: Size) -> u64 {
    max.0
        .min(EXPANSION_FREE.max(body.len() as u64 * EXPANSION_RATIO_MAX))
}

fn decoder(body: &Bytes, compression: Compression) -> Result<Box<dyn Read + '_>> {
    Ok(match compression {
        Compression::None => Box::new(body.as_ref()),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body.as_ref())),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(body.as_ref()).map_err(broken)?)
        }
    })
}

fn expansion_limit(body: &Bytes, bytes_max: u64) -> Error {
    let message = format!(
        "a body of {} bytes expands to more than {bytes_max}",
        body.len()
    );
    Error::data("expansion_limit", message)
        .with_hint("if such pages are expected, raise `limits.expanded`")
}

/// A decompressed copy; the body itself when it is not compressed.
pub(super) fn expand(body: &Bytes, compression: Compression, max: Size) -> Result<Bytes> {
    if compression == Compression::None || body.is_empty() {
        return Ok(body.clone());
    }
    let bytes_max = expanded_bytes_max(body, max);
    let mut text = Vec::new();
    decoder(body, compression)?
        .take(bytes_max + 1)
        .read_to_end(&mut text)
        .map_err(broken)?;
    if text.len() as u64 > bytes_max {
        return Err(expansion_limit(body, bytes_max));
    }
    Ok(Bytes::from(text))
}

/// Like [`expand`], without the copy.
pub(super) fn check_expansion(body: &Bytes, compression: Compression, max: Size) -> Result<()> {
    if compression == Compression::None || body.is_empty() {
        return Ok(());
    }
    let bytes_max = expanded_bytes_max(body, max);
    let mut pieces = decoder(body, compression)?.take(bytes_max + 1);
    let expanded = std::io::copy(&mut pieces, &mut std::io::sink()).map_err(broken)?;
    if expanded > bytes_max {
        return Err(expansion_limit(body, bytes_max));
    }
    Ok(())
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
