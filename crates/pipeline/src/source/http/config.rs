//! What a pipeline file may say under `source: http:`.
//!
//! The doc comments are the reference manual. What the JSON Schema cannot say is checked in [`super::check`].

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

/// Pages of one pass at most, unless `pages_max` says otherwise.
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
    /// Headers of every request to this host. A secret belongs under `auth`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Query parameters of every request.
    #[serde(default)]
    pub params: BTreeMap<String, Scalar>,
    /// Authentication. Never sent to another host, whatever a redirect or a next link says.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Pagination: how the next page is requested. Without it one request is made.
    #[serde(default)]
    pub paginate: Option<Paginate>,
    /// What proves that a page is the last, besides an empty page: one rule or a list of them. With a rule on a field an
    /// empty page does not end the pass.
    #[serde(default)]
    pub end: EndRules,
    /// Fields of a body that make it an error although its status is 200, one or a list: the run fails and resumes at
    /// that page.
    #[serde(default)]
    pub errors: FieldRules,
    /// Path of what tells records apart, such as `id`. A record that a shifting list shows again lands once in a pass. The
    /// default is `cursor.key`.
    #[serde(default)]
    pub key: Option<String>,
    /// A pass of more pages than this is an error: a paginator that never ends.
    #[serde(default = "pages_max")]
    #[schemars(range(min = 1))]
    pub pages_max: u64,
    /// Ask only for what is new since the last run. Without it the source is read once, and again with `--full`.
    #[serde(default)]
    pub cursor: Option<Cursor>,
    /// The request budget, kept before the server complains. Without it requests go one at a time.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// What to do when a request fails for a reason that may pass (429, 5xx, time-outs, broken connections).
    #[serde(default)]
    pub retry: Retry,
    /// How big and how slow an answer may be.
    #[serde(default)]
    pub limits: Limits,
    /// Path of the records in the body, such as `data.items`; without it the body is the list of records, or the one
    /// record.
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
    pub value: Secret,
    /// Stands before the key in the header, such as `Token `.
    #[serde(default)]
    pub prefix: Option<String>,
}

/// How the next page is requested.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Paginate {
    /// A page number that counts up; ends with an empty page.
    Page(PageNumber),
    /// The number of records to pass over; ends with an empty page.
    Offset(Offset),
    /// A token in the body that asks for the next page; ends when it is missing, null or empty.
    Cursor(Token),
    /// The address of the next page in the body, absolute or relative; ends when it is missing, null or empty.
    Next(NextUrl),
    /// `Link: <…>; rel="next"`; ends when there is none.
    LinkHeader(LinkHeader),
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
    /// The list does not move while it is read: new records come at its end, and none goes. Nothing is read twice then.
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
    /// Records at the end of a page with which the next one begins, so that a list that moves while it is read is noticed. Needs
    /// a `key`; 1 then, otherwise 0. With 0 and a `key` the list is read twice.
    #[serde(default)]
    pub overlap: Option<u64>,
    /// The list does not move while it is read: new records come at its end, and none goes. Nothing is read twice then.
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
    /// Path of a boolean such as `has_more`: false ends the pass, whatever the token says; true without a token is an
    /// error.
    #[serde(default)]
    pub more: Option<String>,
}

/// `paginate: next:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NextUrl {
    /// Path of the address in the body, such as `links.next`.
    pub path: String,
}

/// `paginate: link_header:`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkHeader {}

/// Ask only for what is new. The lower bound is sent inclusively, and records at the edge that were taken before are
/// left out, so that nothing is lost and nothing lands twice.
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
    /// How the bound is written in the request, and the field in the records.
    #[serde(default)]
    pub format: Format,
    /// How the field is written in the records, when it is not `format`.
    #[serde(default)]
    pub field_format: Option<Format>,
    /// How late a record may appear behind the newest one: so much is asked for again.
    #[serde(default = "no_lag")]
    pub lag: Span,
    /// Path of what tells records apart. Without it two records are the same when all their bytes are. Two versions of
    /// a record (same key, other content) both land.
    #[serde(default)]
    pub key: Option<String>,
    /// Query parameter that carries the time at which the pass began, as an upper bound.
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
    /// Requests under way at once. More than one helps with `page` and `offset` only, and only with a `key`, or where
    /// the list is `stable`: else nothing would show what is lost between pages that are read side by side.
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
    /// In any stretch of that length.
    #[default]
    Sliding,
    /// In each stretch that begins at a multiple of its length: every full minute, every full hour.
    Fixed,
}

/// Attempts and waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts at a request, the first included.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// Longest wait of our own choice. A wait that the server asks for may be longer.
    pub max_delay: Span,
    /// All waits of one request together; a server that asks for more ends the run at once.
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

/// How big and how slow an answer may be.
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
    /// Silence between two pieces of a body.
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

/// A text, number or boolean, as it is written in a URL.
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
    /// Path of what tells records apart.
    pub(super) fn key(&self) -> Option<&str> {
        let of_cursor = self
            .cursor
            .as_ref()
            .and_then(|cursor| cursor.key.as_deref());
        self.key.as_deref().or(of_cursor)
    }

    /// The credential of `auth`, for covering it where a text repeats it.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self.auth.as_ref()? {
            Auth::Bearer(bearer) => Some(&bearer.token),
            Auth::Basic(basic) => Some(&basic.password),
            Auth::ApiKey(key) => Some(&key.value),
        }
    }

    /// The address of the configuration.
    pub(super) fn base(&self) -> Result<Url> {
        Url::parse(&self.url).map_err(|error| {
            Error::config("bad_url", format!("{:?} is not a URL: {error}", self.url))
        })
    }
}
