//! Configuration under `source: http:`.
//!
//! The doc comments are the reference manual. [`super::check`] checks what the JSON Schema cannot express.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use forebay_core::unit::{Size, Span};
use forebay_core::{Error, Result, Secret};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::cursor::Format;
use super::end::{EndRules, FieldRules};

/// Default of `pages_max`.
const PAGES_MAX: u64 = 1_000_000;

/// `source: http:` in a pipeline file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HttpSource")]
pub struct Config {
    /// URL of the first page, `http` or `https`.
    pub url: String,
    /// HTTP method.
    #[serde(default)]
    pub method: Method,
    /// Headers of every request to this host. Secrets belong under `auth`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters of every request.
    #[serde(default)]
    pub params: BTreeMap<String, Scalar>,
    /// Authentication. Never sent to another host, even after a redirect or a next link.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Pagination: how the next page is requested. Without it one request is made, and a response that has a next page
    /// fails the run: `paginate: none` loads the first page alone.
    #[serde(default)]
    pub paginate: Option<Paginate>,
    /// How the last page is detected, besides an empty page: one rule or a list of them. With a rule on a field an
    /// empty page does not end the pass.
    #[serde(default)]
    pub end: EndRules,
    /// Fields that mark a body with status 200 as an error, one or a list: the run fails and the next one resumes at that page.
    #[serde(default)]
    pub errors: FieldRules,
    /// Path of the key that identifies records, such as `id`. A record that a shifting list returns again is loaded
    /// once in a pass. The default is `cursor.key`.
    #[serde(default)]
    pub key: Option<String>,
    /// Most pages of a pass; more are an error, since the paginator probably never ends.
    #[serde(default = "pages_max")]
    #[schemars(range(min = 1))]
    pub pages_max: u64,
    /// Incremental loading: requests only records that are new since the last run. Without it the source is read once,
    /// and again with `--full`.
    #[serde(default)]
    pub cursor: Option<Cursor>,
    /// The request budget, which keeps requests within the server's rate limits. Without it requests are sent one at a time.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Retries of requests with transient failures (429, 5xx, timeouts, broken connections).
    #[serde(default)]
    pub retry: Retry,
    /// Limits of the size and time of a response.
    #[serde(default)]
    pub limits: Limits,
    /// Path of the records in the body, such as `data.items`; without it the body is the list of records, or a single record.
    #[serde(default)]
    pub records: Option<String>,
    /// Allow the host of `url` to be on this machine or in a private network; redirects and next links may lead to other
    /// hosts only if these are public. Link-local and metadata addresses are always refused.
    #[serde(default)]
    pub allow_private: bool,
}

fn pages_max() -> u64 {
    PAGES_MAX
}

/// The HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Method {
    #[default]
    #[serde(rename = "GET")]
    Get,
}

/// Authentication.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// `Authorization: Bearer TOKEN`.
    Bearer(Bearer),
    /// `Authorization: Basic …`.
    Basic(Basic),
    /// A key in a header or in a query parameter.
    ApiKey(ApiKey),
}

/// `auth: bearer:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// The token.
    pub token: Secret,
}

/// `auth: basic:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// Username.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// `auth: api_key:`, with one of `header` and `param`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the header that carries the key.
    #[serde(default)]
    pub header: Option<String>,
    /// Name of the query parameter that carries the key.
    #[serde(default)]
    pub param: Option<String>,
    /// The key.
    pub value: Secret,
    /// Text before the key in the header, such as `Token `.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// How the next page is requested.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Paginate {
    /// A page number that counts up; ends with an empty page.
    Page(PageNumber),
    /// The number of records to skip; ends with an empty page.
    Offset(Offset),
    /// A token in the body that requests the next page; ends when it is missing, null or empty.
    Cursor(Token),
    /// The URL of the next page in the body, absolute or relative; ends when it is missing, null or empty.
    Next(NextUrl),
    /// `Link: <…>; rel="next"`; ends when there is none.
    LinkHeader(LinkHeader),
    /// One request, whatever next page its response has.
    #[serde(rename = "none")]
    SinglePage,
}

/// `paginate: page:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageNumber {
    /// Query parameter of the page number.
    pub param: String,
    /// Number of the first page.
    #[serde(default = "one")]
    pub start: u64,
    /// Query parameter of the page size.
    #[serde(default)]
    pub size_param: Option<String>,
    /// Records of a full page.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub size: Option<u64>,
    /// The list does not shift while it is read: new records are appended and none is removed. Then nothing is read twice.
    #[serde(default)]
    pub stable: bool,
}

fn one() -> u64 {
    1
}

/// `paginate: offset:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// Query parameter of the offset.
    pub param: String,
    /// Offset of the first record.
    #[serde(default)]
    pub start: u64,
    /// Query parameter of the page size.
    #[serde(default)]
    pub limit_param: Option<String>,
    /// Records of a full page.
    #[schemars(range(min = 1))]
    pub limit: u64,
    /// Records at the end of a page that the next page repeats, to detect a list that shifts while it is read. Needs a
    /// `key`; the default is 1 with a `key`, otherwise 0. With 0 and a `key` the list is read twice.
    #[serde(default)]
    pub overlap: Option<u64>,
    /// The list does not shift while it is read: new records are appended and none is removed. Then nothing is read twice.
    #[serde(default)]
    pub stable: bool,
}

/// `paginate: cursor:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Path of the token in the body, such as `meta.next_cursor`.
    pub path: String,
    /// Query parameter that carries it.
    pub param: String,
    /// Path of a boolean such as `has_more`: false ends the pass, whatever the token; true without a token is an error.
    /// 0, 1 and texts such as `"false"` are read as booleans; with null, or without the field, the token decides.
    #[serde(default)]
    pub more: Option<String>,
    /// Whether the list keeps its order while it is read. `true`: it is read once. `false`: with a `key` it is read
    /// until a reading finds no missing record. By default URLs that count pages or records are treated as `false`.
    #[serde(default)]
    pub stable: Option<bool>,
}

/// `paginate: next:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextUrl {
    /// Path of the URL in the body, such as `links.next`.
    pub path: String,
    /// Whether the list keeps its order while it is read. `true`: it is read once. `false`: with a `key` it is read
    /// until a reading finds no missing record. By default URLs that count pages or records are treated as `false`.
    #[serde(default)]
    pub stable: Option<bool>,
}

/// `paginate: link_header:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkHeader {
    /// Whether the list keeps its order while it is read. `true`: it is read once. `false`: with a `key` it is read
    /// until a reading finds no missing record. By default URLs that count pages or records are treated as `false`.
    #[serde(default)]
    pub stable: Option<bool>,
}

/// Incremental loading. The lower bound is sent inclusively, and records at the edge that were loaded before are
/// skipped, so that nothing is lost and nothing is loaded twice.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Path of the value in each record that grows with every change, such as `properties.updated`.
    pub field: String,
    /// Query parameter that carries the lower bound.
    pub param: String,
    /// Lower bound of the first run. Without it the first run sends none.
    #[serde(default)]
    pub start: Option<Scalar>,
    /// Format of the bound in the request, and of the field in the records.
    #[serde(default)]
    pub format: Format,
    /// Format of the field in the records, when it differs from `format`.
    #[serde(default)]
    pub field_format: Option<Format>,
    /// How late a record may appear after the newest one: this range is requested again.
    #[serde(default = "no_lag")]
    pub lag: Span,
    /// Path of the key that identifies records. Without it two records are the same when all their bytes are. Two
    /// versions of a record (same key, different content) are both loaded.
    #[serde(default)]
    pub key: Option<String>,
    /// Query parameter for the upper bound: the time at which the pass began.
    #[serde(default)]
    pub end_param: Option<String>,
}

fn no_lag() -> Span {
    Span(Duration::ZERO)
}

impl Cursor {
    pub(super) fn field_format(&self) -> Format {
        self.field_format.unwrap_or(self.format)
    }
}

/// How many requests a server allows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests in each window.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: u32,
    /// Length of the window.
    pub per: Span,
    /// How the server counts.
    #[serde(default)]
    pub window: Window,
    /// Requests in flight at once. More than one has an effect only with `page` and `offset`, and only with a `key` or
    /// a `stable` list: else records lost between pages that are read concurrently could not be detected.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: usize,
}

fn concurrency() -> usize {
    1
}

/// How a server counts requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// In any period of that length.
    #[default]
    Sliding,
    /// In each period that begins at a multiple of its length: every full minute, every full hour.
    Fixed,
}

/// Retry settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts at a request, the first included.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// Longest backoff. A wait requested by the server may be longer.
    pub max_delay: Span,
    /// All waits of one request together; if the server requests a longer one, the run fails at once.
    pub total: Span,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 6,
            max_delay: Span(Duration::from_secs(60)),
            total: Span(Duration::from_secs(600)),
        }
    }
}

/// Limits of the size and time of a response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of a body as received.
    pub body: Size,
    /// Bytes of a compressed body once expanded.
    pub expanded: Size,
    /// Records of one page.
    #[schemars(range(min = 1))]
    pub records: u64,
    /// A whole request, from the connection to the last byte.
    pub time: Span,
    /// Making the connection.
    pub connect: Span,
    /// Longest pause between two pieces of a body.
    pub idle: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: Size(64 << 20),
            expanded: Size(128 << 20),
            records: 500_000,
            time: Span(Duration::from_secs(60)),
            connect: Span(Duration::from_secs(10)),
            idle: Span(Duration::from_secs(30)),
        }
    }
}

/// A text, number or boolean, as written in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number or a boolean")
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(value.to_owned()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer", "number", "boolean"],
            "description": "A text, a number or a boolean."
        })
    }
}

impl Config {
    /// Whether more than one page may be requested.
    pub(super) fn has_pages(&self) -> bool {
        !matches!(self.paginate, None | Some(Paginate::SinglePage))
    }

    /// Whether cursor values are compared as they are received.
    pub(super) fn is_cursor_raw(&self) -> bool {
        let cursor = self.cursor.as_ref();
        cursor.is_some_and(|cursor| cursor.field_format() == Format::Raw)
    }

    /// Path of the key that identifies records.
    pub(super) fn key(&self) -> Option<&str> {
        let of_cursor = self
            .cursor
            .as_ref()
            .and_then(|cursor| cursor.key.as_deref());
        self.key.as_deref().or(of_cursor)
    }

    /// The credential of `auth`, for redacting it where a text repeats it.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self.auth.as_ref()? {
            Auth::Bearer(bearer) => Some(&bearer.token),
            Auth::Basic(basic) => Some(&basic.password),
            Auth::ApiKey(key) => Some(&key.value),
        }
    }

    /// The parsed `url`.
    pub(super) fn base(&self) -> Result<Url> {
        Url::parse(&self.url).map_err(|error| {
            Error::config("bad_url", format!("{:?} is not a URL: {error}", self.url))
        })
    }
}
