//! Checks of the head of a request: one host, one framing, no ambiguous duplicates of headers.
//!
//! The HTTP library takes the first of two headers, or the last; a proxy in front may take the other one.

use axum::http::header::{AUTHORIZATION, HOST, HeaderName, TRANSFER_ENCODING};
use axum::http::{HeaderMap, Request, Version};
use forebay_core::{Error, Result};

use crate::answer::shorten;

/// Headers of which two values would be two requests.
static SINGLE: [HeaderName; 3] = [
    HOST,
    AUTHORIZATION,
    HeaderName::from_static("idempotency-key"),
];

/// Errors: `Data` `repeated_header`, `bad_host`; `Unsupported` `bad_transfer_encoding`.
pub(super) fn check<B>(request: &Request<B>) -> Result<()> {
    let headers = request.headers();
    if let Some(name) = SINGLE
        .iter()
        .find(|name| headers.get_all(*name).iter().nth(1).is_some())
    {
        let what = format!("the header `{name}` is repeated");
        return Err(Error::data("repeated_header", what).with_hint("send it once"));
    }
    check_host(request)?;
    check_coding(headers)
}

/// RFC 9112, section 3.2, and RFC 9113, section 8.3.1. A target that names another host than `Host` is refused whichever counts.
fn check_host<B>(request: &Request<B>) -> Result<()> {
    let host = request.headers().get(HOST);
    let authority = request.uri().authority();
    let wrong = |what: String| Err(Error::data("bad_host", what).with_hint("send one `Host`"));
    match (host, authority) {
        (Some(host), Some(authority)) => {
            let host = host.to_str().unwrap_or("?");
            if host.eq_ignore_ascii_case(authority.as_str()) {
                return Ok(());
            }
            wrong(format!(
                "the request is for the host `{}`, and its `Host` is `{}`",
                shorten(authority.as_str()),
                shorten(host)
            ))
        }
        (None, None) if request.version() == Version::HTTP_11 => {
            wrong("the request names no host".to_owned())
        }
        (None, Some(_)) if request.version() == Version::HTTP_11 => {
            wrong("the request has no `Host`".to_owned())
        }
        _ => Ok(()),
    }
}

/// A coding that is not undone here would be kept as if it were the body: RFC 9112, section 6.1.
fn check_coding(headers: &HeaderMap) -> Result<()> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let mut codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let first = codings.next();
    let is_chunked =
        first.is_none_or(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    if is_chunked && codings.next().is_none() {
        return Ok(());
    }
    let what = "the request has a `Transfer-Encoding` other than `chunked`";
    Err(Error::unsupported("bad_transfer_encoding", what)
        .with_hint("name a compression in `Content-Encoding`"))
}
