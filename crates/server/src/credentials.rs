//! Credentials of a push: a bearer token, or a signature of the body. Compared in constant time.
//!
//! A signature covers the body; with `scheme: timestamped` also the time at which it was made, and the headers that
//! `signed_headers` names: `t=SECONDS,v1=HEX`, the HMAC-SHA256 of `SECONDS.`, then each header's value and a `.`, then the body.
//! This is the scheme of Stripe (<https://docs.stripe.com/webhooks#verify-manually>) with headers added.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use forebay_core::{Error, Result, Secret, Timestamp};
use forebay_pipeline::platform::push::{Auth, Hmac as HmacConfig, HmacScheme};
use ring::{digest, hmac};
use subtle::ConstantTimeEq;

/// Signatures that one header may carry, as while a secret is changed.
const SIGNATURES_MAX: usize = 8;

/// The credentials of a caller before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Enough.
    Complete,
    /// The signature of the body has to show the rest.
    Signature,
}

/// A signature that was right, and how long its time lets it be right.
#[derive(Debug)]
pub(crate) struct TimedSignature {
    pub(crate) signature: Vec<u8>,
    pub(crate) until: Timestamp,
}

/// Errors: `Denied` when nothing that follows could be enough.
pub(crate) fn before_body(auth: Option<&Auth>, headers: &HeaderMap) -> Result<Proof> {
    let Some(auth) = auth else {
        return Ok(Proof::Complete);
    };
    let shown = credentials(headers, "Bearer");
    match (&auth.token, shown, &auth.hmac) {
        (Some(token), Some(shown), _) if is_same(token, shown) => Ok(Proof::Complete),
        (_, _, Some(hmac)) if headers.contains_key(hmac.header.as_str()) => Ok(Proof::Signature),
        (_, _, Some(hmac)) => Err(denied(&format!(
            "a signature of the body in the header `{}`",
            hmac.header
        ))),
        _ => Err(denied(
            "`Authorization: Bearer TOKEN` with the pipeline's token",
        )),
    }
}

/// The credentials in `Authorization` for this scheme, case-insensitive (RFC 9110, section 11.1).
pub(crate) fn credentials<'h>(headers: &'h HeaderMap, scheme: &str) -> Option<&'h str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (named, shown) = value.split_once(' ')?;
    named.eq_ignore_ascii_case(scheme).then(|| shown.trim())
}

/// Checks the signature of a body as it was sent; one that has a time is returned.
///
/// Errors: `Denied` `bad_signature`.
pub(crate) fn signature(
    auth: Option<&Auth>,
    headers: &HeaderMap,
    sent: &[u8],
    now: Timestamp,
) -> Result<Option<TimedSignature>> {
    let Some(config) = auth.and_then(|auth| auth.hmac.as_ref()) else {
        return Ok(None);
    };
    let shown = headers
        .get(config.header.as_str())
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| wrong(config))?;
    match config.scheme {
        HmacScheme::Body => {
            let shown = shown.strip_prefix(config.prefix.as_str());
            let shown = shown
                .and_then(|shown| hex::decode(shown).ok())
                .ok_or_else(|| wrong(config))?;
            verify(config, "", headers, sent, &[shown]).map(|_| None)
        }
        HmacScheme::Timestamped => timed(config, shown, headers, sent, now).map(Some),
    }
}

fn timed(
    config: &HmacConfig,
    shown: &str,
    headers: &HeaderMap,
    sent: &[u8],
    now: Timestamp,
) -> Result<TimedSignature> {
    let mut time = None;
    let mut signatures = Vec::new();
    for field in shown.split(',').take(2 * SIGNATURES_MAX) {
        match field.trim().split_once('=') {
            Some(("t", text)) if time.is_none() => time = Some(text),
            Some(("v1", hex)) if signatures.len() < SIGNATURES_MAX => {
                signatures.extend(hex::decode(hex));
            }
            _ => {}
        }
    }
    let time = time.ok_or_else(|| wrong(config))?;
    let seconds: i64 = time.parse().map_err(|_| wrong(config))?;
    let at = Timestamp(seconds.saturating_mul(1_000_000));
    let tolerance = config.tolerance.0;
    if now.since(at) > tolerance || at.since(now) > tolerance {
        return Err(late(config, tolerance));
    }
    let signature = verify(config, &format!("{time}."), headers, sent, &signatures)?;
    Ok(TimedSignature {
        signature,
        until: at.plus(tolerance),
    })
}

/// The one of the signatures that is right.
fn verify(
    config: &HmacConfig,
    before: &str,
    headers: &HeaderMap,
    sent: &[u8],
    shown: &[Vec<u8>],
) -> Result<Vec<u8>> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, config.secret.expose().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(before.as_bytes());
    for name in &config.signed_headers {
        // One that is absent is covered as an empty one: adding it breaks the signature too.
        let mut values = headers.get_all(name.as_str()).iter();
        context.update(values.next().map_or(b"", |value| value.as_bytes()));
        context.update(b".");
        if values.next().is_some() {
            return Err(wrong(config));
        }
    }
    context.update(sent);
    let made = context.sign();
    let is_right = |shown: &&Vec<u8>| bool::from(made.as_ref().ct_eq(shown));
    shown
        .iter()
        .find(is_right)
        .cloned()
        .ok_or_else(|| wrong(config))
}

/// Whether this is the secret, without telling how long the secret is.
pub(crate) fn is_same(secret: &Secret, shown: &str) -> bool {
    let digest = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    let secret = digest(secret.expose());
    let shown = digest(shown);
    secret.as_ref().ct_eq(shown.as_ref()).into()
}

fn denied(needed: &str) -> Error {
    Error::denied("not_allowed", "authentication required").with_hint(format!("send {needed}"))
}

fn wrong(config: &HmacConfig) -> Error {
    let what = format!(
        "the signature in `{}` does not match the body",
        config.header
    );
    let hint = match config.scheme {
        HmacScheme::Body => format!(
            "send `{}` and the HMAC-SHA256 of the body as sent, in hex",
            config.prefix
        ),
        HmacScheme::Timestamped => {
            "send `t=SECONDS,v1=HEX` with the HMAC-SHA256 of `SECONDS.`, the signed headers and the body as sent".to_owned()
        }
    };
    Error::denied("bad_signature", what).with_hint(hint)
}

fn late(config: &HmacConfig, tolerance: Duration) -> Error {
    let what = format!(
        "the time in `{}` is more than {} s off",
        config.header,
        tolerance.as_secs()
    );
    Error::denied("bad_signature", what)
        .with_hint("set the clock of the sender, or raise `tolerance` of `auth: {hmac: …}`")
}
