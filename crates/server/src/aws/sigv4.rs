//! Signature Version 4 of a request: made again with our secret, and compared.
//!
//! Source: AWS, "Create a signed AWS API request" (Signature Version 4). Only the header form is taken, as clients of the
//! services here use. Any region and key id will do; the date and the service of the scope must be those of the request, and every
//! `x-amz-*` header that was sent must be signed. The body is only hashed here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use chrono::NaiveDateTime;
use forebay_core::{Error, Result, Secret, Timestamp};
use ring::hmac;
use sha2::{Digest, Sha256};

use super::operation::Service;
use crate::access::host;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Names of the host in signatures: in HTTP/2 the SDK for JavaScript signs the pseudo-header.
const HOSTS: [&str; 2] = ["host", ":authority"];

/// How far the caller's clock may be off.
const SKEW_MAX: Duration = Duration::from_secs(15 * 60);

/// The claims in the head of a request.
#[derive(Debug)]
pub(super) struct Claim {
    /// Date, region, service, `aws4_request`.
    scope: Vec<String>,
    date: String,
    at: Timestamp,
    signed: Vec<String>,
    signature: Vec<u8>,
    /// The request in the form that is signed, up to the hash of its body.
    canonical: String,
}

/// A claim and the body that it is about: only the secret is missing.
#[derive(Debug)]
pub(super) struct Signed {
    scope: Vec<String>,
    to_sign: String,
    pub(super) signature: Vec<u8>,
    pub(super) at: Timestamp,
}

impl Claim {
    /// `None` when the request is not signed.
    ///
    /// Errors: `Denied` `bad_signature`: no secret could make it right.
    pub(super) fn of(parts: &Parts, service: Service, now: Timestamp) -> Result<Option<Self>> {
        let Some(authorization) = header(parts, AUTHORIZATION.as_str())? else {
            return Ok(None);
        };
        let Some(shown) = Shown::parse(&authorization) else {
            return Ok(None);
        };
        let date = header(parts, "x-amz-date")?.ok_or_else(|| wrong("X-Amz-Date is missing"))?;
        let at = time(&date, now)?;
        let day = date.get(..8).unwrap_or_default();
        if shown.scope[0] != day || shown.scope[3] != "aws4_request" {
            return Err(wrong("the scope of the credential is of another date"));
        }
        if shown.scope[2] != service.name() {
            return Err(wrong("the scope of the credential is of another service"));
        }
        check_signed(parts, &shown.signed)?;
        let signature =
            hex::decode(shown.signature).map_err(|_| wrong("the signature is not hex"))?;
        Ok(Some(Self {
            canonical: canonical(parts, &shown.signed)?,
            scope: shown.scope.iter().map(ToString::to_string).collect(),
            signed: shown.signed.iter().map(ToString::to_string).collect(),
            date,
            at,
            signature,
        }))
    }

    pub(super) fn signs(&self, header: &str) -> bool {
        self.signed.iter().any(|name| name == header)
    }

    /// Hashes the body.
    pub(super) fn with_body(&self, body: &[u8]) -> Signed {
        let mut canonical = self.canonical.clone();
        canonical.push_str(&hex::encode(Sha256::digest(body)));
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{}\n{}",
            self.date,
            self.scope.join("/"),
            hex::encode(Sha256::digest(canonical))
        );
        Signed {
            scope: self.scope.clone(),
            to_sign,
            signature: self.signature.clone(),
            at: self.at,
        }
    }
}

impl Signed {
    pub(super) fn is_by(&self, secret: &Secret) -> bool {
        let start = format!("AWS4{}", secret.expose()).into_bytes();
        let key = self.scope.iter().fold(start, |key, part| {
            hmac::sign(&sha256(&key), part.as_bytes()).as_ref().to_vec()
        });
        hmac::verify(&sha256(&key), self.to_sign.as_bytes(), &self.signature).is_ok()
    }

    /// When its time stops being valid.
    pub(super) fn until(&self) -> Timestamp {
        self.at.plus(SKEW_MAX)
    }
}

fn time(date: &str, now: Timestamp) -> Result<Timestamp> {
    let at = NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ")
        .map_err(|_| wrong("X-Amz-Date is not a time such as 20260101T120000Z"))?;
    let at = Timestamp(at.and_utc().timestamp_micros());
    if now.since(at) > SKEW_MAX || at.since(now) > SKEW_MAX {
        return Err(wrong("X-Amz-Date is more than 15 minutes off"));
    }
    Ok(at)
}

/// Anybody who has seen the request could change unsigned headers.
fn check_signed(parts: &Parts, signed: &[&str]) -> Result<()> {
    let has_host = HOSTS.iter().any(|name| signed.contains(name));
    if !has_host || !signed.contains(&"x-amz-date") {
        return Err(wrong("`host` and `x-amz-date` must be signed"));
    }
    let names = parts.headers.keys().map(|name| name.as_str());
    let unsigned = names
        .filter(|name| name.starts_with("x-amz-"))
        .find(|name| !signed.contains(name));
    match unsigned {
        Some(_) => Err(wrong(
            "every `x-amz-*` header must be signed, including the target",
        )),
        None => Ok(()),
    }
}

fn sha256(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

/// The parsed `Authorization` header.
#[derive(Debug)]
struct Shown<'a> {
    /// Four parts.
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

/// The request in the form that is signed, up to the hash of its body.
fn canonical(parts: &Parts, signed: &[&str]) -> Result<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut text = format!("{}\n{}\n{query}\n", parts.method, parts.uri.path());
    for name in signed {
        let value = header(parts, name)?.ok_or_else(|| wrong("a signed header is missing"))?;
        let value: Vec<&str> = value.split_whitespace().collect();
        let _ = writeln!(text, "{name}:{}", value.join(" "));
    }
    let _ = write!(text, "\n{}\n", signed.join(";"));
    Ok(text)
}

/// Values of a repeated header are one list. In HTTP/2 the host is the authority.
fn header(parts: &Parts, name: &str) -> Result<Option<String>> {
    let values = parts.headers.get_all(name).iter();
    let values: std::result::Result<Vec<&str>, _> = values.map(|value| value.to_str()).collect();
    let values = values.map_err(|_| wrong("a header is not ASCII text"))?;
    if values.is_empty() && HOSTS.contains(&name) {
        return Ok(host(&parts.headers, &parts.uri).map(str::to_owned));
    }
    Ok((!values.is_empty()).then(|| values.join(",")))
}

pub(super) fn missing() -> Error {
    Error::denied(
        "missing_signature",
        "the request is not signed with AWS4-HMAC-SHA256",
    )
}

pub(super) fn wrong(why: &str) -> Error {
    Error::denied(
        "bad_signature",
        format!("invalid signature of the request: {why}"),
    )
    .with_hint("the secret access key is the pipeline's token")
}
