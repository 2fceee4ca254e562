//! A call of the catalog: its branch, names and parameters, and its body within limits.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, USER_AGENT};
use axum::http::request::Parts;
use forebay_core::{Error, Ident, RefName, Result, TableName};
use serde::de::DeserializeOwned;

use crate::body::Reading;
use crate::catalog_site::CatalogSite;
use crate::peers::{Peer, PeerKey};
use crate::state::{State, draining};

use super::answer::CatalogRefusal;

/// The largest body: a commit with its schemas and snapshots.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// Characters of a client's name that are kept in the log of the lake.
const AUTHOR_CHARS_MAX: usize = 60;
/// Separates the levels of a namespace.
const LEVEL_SEPARATOR: char = '\u{1f}';

/// A call of an authenticated client.
pub(super) struct CatalogCall {
    pub(super) site: CatalogSite,
    pub(super) branch: RefName,
    path: HashMap<String, String>,
    query: HashMap<String, String>,
    pub(super) headers: axum::http::HeaderMap,
    state: State,
    peer: PeerKey,
}

impl FromRequestParts<State> for CatalogCall {
    type Rejection = CatalogRefusal;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, CatalogRefusal> {
        let site = state.catalog().cloned().ok_or_else(|| {
            Error::unsupported("no_catalog", "this server has no catalog of tables")
        })?;
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Path(path) = path.map_err(|_| Error::data("bad_path", "the path is not UTF-8"))?;
        let branch = match path.get("prefix") {
            Some(prefix) => prefix.parse().map_err(|_| no_such_branch(prefix))?,
            None => RefName::main(),
        };
        let query = parts.uri.query().unwrap_or_default();
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        Ok(Self {
            site,
            branch,
            path,
            query: query.collect(),
            headers: parts.headers.clone(),
            state: state.clone(),
            peer: PeerKey::of(parts.extensions.get::<Peer>().copied()),
        })
    }
}

pub(super) fn no_such_branch(name: &str) -> Error {
    let name = crate::answer::shorten(name);
    Error::not_found("no_such_branch", format!("branch {name} not found")).with_hint(
        "the warehouse of a client is a branch of the lake: leave it out, or write `main`",
    )
}

impl CatalogCall {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let value = self.query.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Whether it is there, perhaps empty.
    pub(super) fn has_parameter(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The namespace in the path.
    ///
    /// Errors: `NotFound` `no_such_namespace` for a name that none can have.
    pub(super) fn namespace(&self) -> Result<Ident> {
        let text = self.path.get("namespace").map_or("", String::as_str);
        text.parse().map_err(|_| no_such_namespace(text))
    }

    /// The table in the path.
    ///
    /// Errors: `NotFound` `no_such_table` for a name that none can have.
    pub(super) fn table(&self) -> Result<TableName> {
        let namespace = self.path.get("namespace").map_or("", String::as_str);
        let name = self.path.get("table").map_or("", String::as_str);
        match (namespace.parse(), name.parse()) {
            (Ok(namespace), Ok(name)) => Ok(TableName::new(namespace, name)),
            _ => Err(no_such_table(&format!("{namespace}.{name}"))),
        }
    }

    /// Who it is, as far as it says so: for the log of the lake.
    pub(super) fn author(&self) -> String {
        let agent = self.headers.get(USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        let agent = agent.filter(|agent| !agent.is_empty());
        let shown: String = agent
            .unwrap_or("unknown client")
            .chars()
            .take(AUTHOR_CHARS_MAX)
            .collect();
        format!("iceberg rest: {shown}")
    }

    /// The body as JSON. The nesting of JSON is bounded by its reader.
    ///
    /// Errors: `Data` `bad_request` and those of bodies; `Unavailable` `draining`.
    pub(super) async fn read<T: DeserializeOwned>(&self, request: Request<Body>) -> Result<T> {
        if self.state.is_draining() {
            return Err(draining());
        }
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(ACCEPT_ENCODING);
        if parts.headers.contains_key(CONTENT_ENCODING) {
            let what = "the bodies of catalog calls are not compressed";
            return Err(Error::data("bad_encoding", what));
        }
        let reading = Reading {
            bytes_max: BODY_BYTES_MAX,
            peer: self.peer,
            is_proven: true,
        };
        let bodies = self.state.bodies();
        let sent = bodies
            .read(&parts.headers, body, reading, self.state.clock())
            .await?;
        serde_json::from_slice(&sent.bytes).map_err(|error| {
            let what = format!("failed to read the body: {error}");
            Error::data("bad_request", what)
        })
    }
}

pub(super) fn no_such_namespace(name: &str) -> Error {
    let name = name.replace(LEVEL_SEPARATOR, ".");
    let name = crate::answer::shorten(&name);
    Error::not_found(
        "no_such_namespace",
        format!("Namespace does not exist: {name}"),
    )
}

pub(super) fn no_such_table(name: &str) -> Error {
    let name = name.replace(LEVEL_SEPARATOR, ".");
    let name = crate::answer::shorten(&name);
    Error::not_found("no_such_table", format!("Table does not exist: {name}"))
}

/// The one level of a namespace in a body.
///
/// Errors: `Config` `bad_identifier`, `Data` `bad_request`.
pub(super) fn one_level(levels: &[String]) -> Result<Ident> {
    match levels {
        [one] => one.parse(),
        _ => Err(Error::data("bad_request", "a namespace has one level here")),
    }
}
