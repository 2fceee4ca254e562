//! Who may push: a bearer token, or a signature of the body. Compared in constant time.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use forebay_core::{Error, Result, Secret};
use forebay_pipeline::source::push::{Auth, Hmac as HmacConfig};
use ring::hmac;
use subtle::ConstantTimeEq;

/// Whether the caller has shown a token that is enough. `false` means that the body's signature has to show it.
///
/// Errors: `Denied` when nothing that follows could be enough.
pub(crate) fn before_body(auth: Option<&Auth>, headers: &HeaderMap) -> Result<bool> {
    let Some(auth) = auth else {
        return Ok(true);
    };
    let shown = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix("Bearer "));
    match (&auth.token, shown, &auth.hmac) {
        (Some(token), Some(shown), _) if is_same(token, shown.trim()) => Ok(true),
        (_, _, Some(hmac)) if headers.contains_key(hmac.header.as_str()) => Ok(false),
        (_, _, Some(hmac)) => Err(denied(&format!(
            "a signature of the body in the header `{}`",
            hmac.header
        ))),
        _ => Err(denied(
            "`Authorization: Bearer TOKEN` with the pipeline's token",
        )),
    }
}

/// Checks the signature of a body as it was sent.
pub(crate) fn signature(auth: Option<&Auth>, headers: &HeaderMap, sent: &[u8]) -> Result<()> {
    let Some(config) = auth.and_then(|auth| auth.hmac.as_ref()) else {
        return Ok(());
    };
    let shown = headers
        .get(config.header.as_str())
        .and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|value| value.strip_prefix(config.prefix.as_str()));
    let shown = shown.and_then(from_hex).ok_or_else(|| wrong(config))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, config.secret.expose().as_bytes());
    hmac::verify(&key, sent, &shown).map_err(|_| wrong(config))
}

fn is_same(secret: &Secret, shown: &str) -> bool {
    secret.expose().as_bytes().ct_eq(shown.as_bytes()).into()
}

pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit))
        .then(|| text.chunks(2).map(pair).collect())?
}

fn denied(needed: &str) -> Error {
    Error::denied(
        "not_allowed",
        "this pipeline takes pushes only from who shows a secret",
    )
    .with_hint(format!("send {needed}"))
}

fn wrong(config: &HmacConfig) -> Error {
    let what = format!(
        "the signature in `{}` is not that of the body",
        config.header
    );
    Error::denied("bad_signature", what).with_hint(format!(
        "send `{}` and the HMAC-SHA256 of the body as sent, in hex",
        config.prefix
    ))
}
