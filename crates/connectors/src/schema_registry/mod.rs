//! A client of a schema registry with Confluent's API: schemas by id, fetched once.
//!
//! Messages in Confluent's wire format begin with a zero byte and the id of their schema (four bytes, big-endian). The
//! schema of an id never changes (<https://docs.confluent.io/platform/current/schema-registry/develop/api.html>). A
//! registry that does not respond is retried; it never makes a message invalid.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::unit::Span;
use forebay_core::{Clock, Error, Result, Secret};
use reqwest::{Client, Response, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use crate::http::address;
use crate::http::address::{CheckedResolver, PrivateHosts};
use forebay_config::Document;
use forebay_formats::registry_schema::{Reference, Schema};

/// Connection to a registry.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SchemaRegistry")]
pub struct Config {
    /// Base URL, such as `http://registry:8081`.
    pub url: String,
    /// Credentials, if required.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// How long an unavailable registry is retried before the run fails.
    #[serde(default = "retry_for")]
    pub retry_for: Span,
}

/// User and password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SchemaRegistryAuth")]
pub struct Auth {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

fn retry_for() -> Span {
    Span(Duration::from_secs(600))
}

/// Most schemas in the cache, and bytes of one response.
const SCHEMAS_MAX: usize = 10_000;
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Most schemas that one schema may refer to, at all depths.
const REFERENCES_MAX: usize = 64;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// An id unknown to the registry is requested again after this.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(10);

impl Config {
    /// Checks that the schema cannot express. Errors: `Config` at the value's place.
    pub fn check(&self, config: &Document) -> Result<()> {
        let at = config.get("url").unwrap_or_else(|| config.clone());
        let url = Url::parse(&self.url);
        let url =
            url.map_err(|error| at.error("bad_url", format!("`url` is not a valid URL: {error}")))?;
        if !["http", "https"].contains(&url.scheme()) || !url.username().is_empty() {
            return Err(at.error(
                "bad_url",
                "`url` must be an http or https URL without user and password",
            ));
        }
        address::check(&url, &PrivateHosts::All)
            .map_err(|error| at.error(error.code(), error.message()))
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    schema: String,
    #[serde(default)]
    references: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    subject: String,
    version: i64,
}

enum Known {
    Schema(Arc<str>),
    /// The time until which the registry is not asked again.
    Unknown(Duration),
}

/// Queries a registry, once for each id.
pub struct Registry {
    config: Config,
    client: Client,
    clock: Arc<dyn Clock>,
    known: HashMap<u32, Known>,
}

/// The outcome of one request.
enum Failure {
    NotThere,
    Passing(String),
    Final(Error),
}

impl Registry {
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let client = Client::builder()
            .dns_resolver(CheckedResolver {
                private: PrivateHosts::All,
            })
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_TIMEOUT)
            .build();
        let client = client.map_err(|error| {
            Error::config("http_client", "failed to create the HTTP client").with_source(error)
        })?;
        Ok(Self {
            config,
            client,
            clock,
            known: HashMap::new(),
        })
    }

    /// The schema as JSON of [`Schema`]; `None` when the registry has no schema with this id.
    ///
    /// Errors: `Unavailable` when it has not responded for `retry_for`, `Denied`, `Data` for a response that is not a schema.
    pub async fn schema(&mut self, id: u32) -> Result<Option<Arc<str>>> {
        match self.known.get(&id) {
            Some(Known::Schema(schema)) => return Ok(Some(schema.clone())),
            Some(Known::Unknown(until)) if self.clock.monotonic() < *until => return Ok(None),
            _ => {}
        }
        let found = self.ask_until_answered(id).await?;
        if self.known.len() >= SCHEMAS_MAX {
            self.known.clear();
        }
        let entry = match &found {
            Some(schema) => Known::Schema(schema.clone()),
            None => Known::Unknown(self.clock.monotonic() + UNKNOWN_FOR),
        };
        self.known.insert(id, entry);
        Ok(found)
    }

    async fn ask_until_answered(&self, id: u32) -> Result<Option<Arc<str>>> {
        let give_up = self.clock.monotonic() + self.config.retry_for.0;
        let mut pause = Duration::from_millis(100);
        loop {
            let what = match self.resolve(id).await {
                Ok(schema) => {
                    let text = serde_json::to_string(&schema).map_err(|error| {
                        Error::bug("schema_json", "failed to serialize a schema").with_source(error)
                    })?;
                    return Ok(Some(text.into()));
                }
                Err(Failure::NotThere) => return Ok(None),
                Err(Failure::Final(error)) => {
                    return Err(error.with_context("registry", &self.config.url));
                }
                Err(Failure::Passing(what)) => what,
            };
            if self.clock.monotonic() + pause > give_up {
                let what = format!(
                    "failed to fetch schema {id} from {}: {what}",
                    self.config.url
                );
                return Err(Error::unavailable("registry_unavailable", what));
            }
            tracing::warn!(
                registry = self.config.url,
                id,
                "schema registry unavailable, retrying: {what}"
            );
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn resolve(&self, id: u32) -> Result<Schema, Failure> {
        let main = self.get(&["schemas", "ids", &id.to_string()]).await?;
        let mut references: Vec<Reference> = Vec::new();
        // Depth first, so that a schema ends up before those that refer to it.
        let mut open: Vec<Named> = main.references;
        while let Some(named) = open.pop() {
            if references.iter().any(|known| known.name == named.name) {
                continue;
            }
            if references.len() + open.len() >= REFERENCES_MAX {
                let what = format!("schema {id} refers to more than {REFERENCES_MAX} others");
                return Err(Failure::Final(Error::data("too_many_references", what)));
            }
            let answer = self
                .get(&[
                    "subjects",
                    &named.subject,
                    "versions",
                    &named.version.to_string(),
                ])
                .await?;
            references.push(Reference {
                name: named.name,
                schema: answer.schema,
            });
            open.extend(answer.references);
        }
        references.reverse();
        Ok(Schema {
            kind: main.kind.unwrap_or_else(|| "AVRO".to_owned()),
            schema: main.schema,
            references,
        })
    }

    async fn get(&self, path: &[&str]) -> Result<Answer, Failure> {
        let mut url = Url::parse(&self.config.url).map_err(|error| bad(error.to_string()))?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.client.get(url);
        if let Some(auth) = &self.config.auth {
            request = request.basic_auth(&auth.username, Some(auth.password.expose()));
        }
        let mut response = request.send().await.map_err(passing)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(not_found(response).await),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let what = format!("the schema registry rejected the request ({status})");
                return Err(Failure::Final(Error::denied("registry_denied", what)));
            }
            status => return Err(Failure::Passing(format!("it answered {status}"))),
        }
        let body = body(&mut response).await?;
        serde_json::from_slice(&body)
            .map_err(|error| bad(format!("its response is not a schema: {error}")))
    }
}

fn bad(what: String) -> Failure {
    Failure::Final(Error::data("bad_registry_answer", what))
}

fn passing(error: reqwest::Error) -> Failure {
    Failure::Passing(error.without_url().to_string())
}

async fn body(response: &mut Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(passing)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            let what = format!("a schema has more than {ANSWER_BYTES_MAX} bytes");
            return Err(bad(what));
        }
    }
    Ok(body)
}

/// The error codes of a registry for an unknown subject, version or schema.
const NOT_THERE: std::ops::RangeInclusive<u32> = 40401..=40403;

#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
}

/// Only a registry's own 404 means that the schema does not exist. A 404 of a proxy, or under a wrong `url`, says
/// nothing about the schema: it must not make messages invalid.
async fn not_found(mut response: Response) -> Failure {
    let body = match body(&mut response).await {
        Ok(body) => body,
        Err(failure) => return failure,
    };
    let refusal: Option<Refusal> = serde_json::from_slice(&body).ok();
    match refusal.filter(|refusal| NOT_THERE.contains(&refusal.error_code)) {
        Some(_) => Failure::NotThere,
        None => Failure::Passing("it answered 404, but not as a schema registry does".to_owned()),
    }
}
