//! Signature Version 4 of a request: made again with our secret, and compared.
//!
//! Source: AWS, "Create a signed AWS API request" (Signature Version 4). Only the header form is taken, as clients of the
//! services here use; the scope is taken as the caller gives it, so any region and key id will do.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use chrono::NaiveDateTime;
use forebay_core::{Error, Result, Secret, Timestamp};
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::ingest::auth::from_hex;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far the caller's clock may be off.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// Errors: `Denied` `missing_signature`, `bad_signature`.
pub(super) fn verify(parts: &Parts, body: &[u8], secret: &Secret, now: Timestamp) -> Result<()> {
    let authorization = header(parts, AUTHORIZATION.as_str()).unwrap_or_default();
    let shown = Shown::parse(&authorization).ok_or_else(|| {
        Error::denied(
            "missing_signature",
            "the request is not signed with AWS4-HMAC-SHA256",
        )
    })?;
    let date = header(parts, "x-amz-date").ok_or_else(|| wrong("there is no X-Amz-Date"))?;
    let at = NaiveDateTime::parse_from_str(&date, "%Y%m%dT%H%M%SZ")
        .map_err(|_| wrong("X-Amz-Date is not a time such as 20260101T120000Z"))?;
    let at = Timestamp(at.and_utc().timestamp_micros());
    if now.since(at) > SKEW_MAX || at.since(now) > SKEW_MAX {
        return Err(wrong("X-Amz-Date is more than 15 minutes off"));
    }
    // Without the host and the date a signature could be sent again elsewhere or later.
    if !["host", "x-amz-date"]
        .iter()
        .all(|name| shown.signed.contains(name))
    {
        return Err(wrong("`host` and `x-amz-date` must be signed"));
    }
    let request = canonical(parts, body, &shown.signed)?;
    let to_sign = format!(
        "{ALGORITHM}\n{date}\n{}\n{}",
        shown.scope.join("/"),
        hex(&Sha256::digest(request))
    );
    let start = format!("AWS4{}", secret.expose()).into_bytes();
    let key = shown.scope.iter().fold(start, |key, part| {
        hmac::sign(&sha256(&key), part.as_bytes()).as_ref().to_vec()
    });
    let signature = from_hex(shown.signature).ok_or_else(|| wrong("the signature is not hex"))?;
    hmac::verify(&sha256(&key), to_sign.as_bytes(), &signature)
        .map_err(|_| wrong("the signature does not match"))
}

fn sha256(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

/// What `Authorization` says.
#[derive(Debug)]
struct Shown<'a> {
    /// Date, region, service, `aws4_request`.
    scope: Vec<&'a str>,
    signed: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Shown<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let fields = value.strip_prefix(ALGORITHM)?.split(',');
        let fields: BTreeMap<&str, &str> = fields
            .filter_map(|field| field.trim().split_once('='))
            .collect();
        let scope: Vec<&str> = fields.get("Credential")?.split('/').skip(1).collect();
        (scope.len() == 4).then_some(())?;
        Some(Self {
            scope,
            signed: fields.get("SignedHeaders")?.split(';').collect(),
            signature: fields.get("Signature")?,
        })
    }
}

/// The request in the form that is signed.
fn canonical(parts: &Parts, body: &[u8], signed: &[&str]) -> Result<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut text = format!("{}\n{}\n{query}\n", parts.method, parts.uri.path());
    for name in signed {
        let value = header(parts, name).ok_or_else(|| wrong("a signed header is missing"))?;
        let value: Vec<&str> = value.split_whitespace().collect();
        let _ = writeln!(text, "{name}:{}", value.join(" "));
    }
    let _ = write!(
        text,
        "\n{}\n{}",
        signed.join(";"),
        hex(&Sha256::digest(body))
    );
    Ok(text)
}

/// Values of a header that came more than once are one list.
fn header(parts: &Parts, name: &str) -> Option<String> {
    let values = parts.headers.get_all(name).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn wrong(why: &str) -> Error {
    Error::denied(
        "bad_signature",
        format!("the request is not signed as it should be: {why}"),
    )
    .with_hint("the secret access key is the pipeline's token")
}
