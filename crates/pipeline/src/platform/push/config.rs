//! Configuration under `source: push:`.

use std::time::Duration;

use forebay_core::unit::{Size, Span};
use forebay_core::{Result, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use forebay_config::Document;
use forebay_journal::{BODY_BYTES_MAX, Limits, Place};

/// Accepts pushes to `forebay serve`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PushConfig {
    /// Authentication of callers. Without it anyone who can reach the server may push.
    pub auth: Option<Auth>,
    /// Largest body of one push, as sent; at most 64 MiB.
    pub body: Size,
    /// Bytes that may wait for the pipeline before pushes are refused with 429.
    pub backlog: Size,
    /// How long an `Idempotency-Key` is remembered, at most 7d.
    pub keep_keys: Span,
    /// Where a push is durable when it is acknowledged.
    pub journal: Place,
    /// With `journal: storage`, how long a push waits for others to share its PUT; at most 5s.
    pub linger: Span,
    /// Headers of a push that are kept with its payload, by lower-case name.
    pub headers: Vec<String>,
}

/// Authentication of callers; with both, one of them is enough.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// `Authorization: Bearer TOKEN`; for the AWS endpoints the secret access key, with any access key id.
    #[serde(default)]
    pub token: Option<Secret>,
    /// A signature of the body.
    #[serde(default)]
    pub hmac: Option<Hmac>,
}

/// A HMAC-SHA256 of the body as sent, in hex.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hmac {
    /// The shared secret, at least 16 bytes.
    pub secret: Secret,
    /// The header that carries the signature.
    #[serde(default = "signature_header")]
    pub header: String,
    /// Text before the signature in the header, with `scheme: body`.
    #[serde(default = "signature_prefix")]
    pub prefix: String,
    /// Format of the header.
    #[serde(default)]
    pub scheme: HmacScheme,
    /// How far the time of a `timestamped` signature may be off, at most 1h.
    #[serde(default = "tolerance")]
    pub tolerance: Span,
    /// Headers that the signature covers besides the body, by lower-case name, such as `idempotency-key`.
    #[serde(default)]
    pub signed_headers: Vec<String>,
}

/// Format of a signature header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HmacScheme {
    /// `PREFIX` and the signature. It has no time: anyone who has seen a push can send it again.
    #[default]
    Body,
    /// `t=SECONDS,v1=SIGNATURE`, as Stripe sends: the signature covers `SECONDS.` and the body, and is accepted once.
    Timestamped,
}

fn signature_header() -> String {
    "x-signature-256".to_owned()
}

fn signature_prefix() -> String {
    "sha256=".to_owned()
}

fn tolerance() -> Span {
    Span(Duration::from_secs(300))
}

impl Default for PushConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            auth: None,
            body: Size(16 << 20),
            backlog: Size(limits.backlog_bytes),
            keep_keys: Span(limits.keep_keys),
            journal: Place::default(),
            linger: Span(limits.linger),
            headers: Vec::new(),
        }
    }
}

/// Longest time that keys are remembered: their number is bounded, so a longer time could not be guaranteed.
const KEEP_KEYS_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest time that a push may wait for others: its caller waits as long.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// The largest body whose signature can be checked: until then it is held in memory for an unauthenticated caller.
pub const SIGNED_BYTES_MAX: usize = 32 << 20;

/// Minimum bytes of a secret for authentication: a shorter one can be guessed.
pub const SECRET_BYTES_MIN: usize = 16;

/// Signatures are remembered for as long as they are valid, so this bounds how many.
const TOLERANCE_MAX: Duration = Duration::from_secs(3600);

impl PushConfig {
    /// Checks that the schema cannot express. Errors: `Config` at the value's place.
    pub(super) fn check(&self, config: &Document) -> Result<()> {
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        if self.body.0 == 0 || self.body.0 > BODY_BYTES_MAX as u64 {
            let what = format!("`body` is {}; it may be 1 B to 64 MiB", self.body);
            return Err(at("body").error("bad_body", what));
        }
        if self.backlog.0 == 0 {
            return Err(
                at("backlog").error("bad_backlog", "`backlog` is 0: every push would be refused")
            );
        }
        if self.keep_keys.0 > KEEP_KEYS_MAX {
            let what = format!("`keep_keys` is {}; it may be at most 7d", self.keep_keys);
            return Err(at("keep_keys").error("bad_keep_keys", what));
        }
        if self.linger.0 > LINGER_MAX {
            let what = format!("`linger` is {}; it may be at most 5s", self.linger);
            return Err(at("linger").error("bad_linger", what));
        }
        match &self.auth {
            Some(auth) => self.check_auth(auth, &at("auth")),
            None => Ok(()),
        }
    }

    fn check_auth(&self, auth: &Auth, config: &Document) -> Result<()> {
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        if let Some(token) = &auth.token {
            check_secret(token, "token", &at("token"))?;
        }
        let Some(hmac) = &auth.hmac else {
            return match &auth.token {
                Some(_) => Ok(()),
                None => {
                    let what = "`auth` has neither `token` nor `hmac`";
                    Err(config.error("no_auth", what))
                }
            };
        };
        let config = at("hmac");
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        check_secret(&hmac.secret, "secret", &at("secret"))?;
        if hmac.tolerance.0 > TOLERANCE_MAX {
            let what = format!("`tolerance` is {}; it may be at most 1h", hmac.tolerance);
            return Err(at("tolerance").error("bad_tolerance", what));
        }
        if auth.token.is_none() && self.body.0 > SIGNED_BYTES_MAX as u64 {
            let what = format!(
                "`body` is {}; with `hmac` alone it may be at most 32 MiB",
                self.body
            );
            return Err(config.error("bad_body", what).with_hint(
                "a body is kept in memory until its signature is checked; add a `token` for larger ones",
            ));
        }
        Ok(())
    }

    pub fn limits(&self) -> Limits {
        Limits {
            backlog_bytes: self.backlog.0,
            keep_keys: self.keep_keys.0,
            linger: self.linger.0,
            ..Limits::default()
        }
    }
}

fn check_secret(secret: &Secret, key: &str, at: &Document) -> Result<()> {
    if secret.expose().len() >= SECRET_BYTES_MIN {
        return Ok(());
    }
    let what = format!("`{key}` has fewer than {SECRET_BYTES_MIN} bytes, which can be guessed");
    Err(at
        .error("short_secret", what)
        .with_hint("generate one with `openssl rand -hex 32`"))
}
