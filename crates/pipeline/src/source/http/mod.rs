//! Source `http`: a third party's HTTP API, page by page.
//!
//! It keeps a request budget before the server complains, tries again what may pass, stops a paginator that repeats or
//! never ends, and asks only for what is new when a cursor is named. Bodies go on unchanged; nothing here parses
//! records or moves a position. It never asks an address that a pipeline has no business with, and never sends
//! credentials to another host.
//!
//! ```yaml
//! source:
//!   http:
//!     url: https://earthquake.example.org/query
//!     params: {format: geojson, orderby: time-asc}
//!     auth: {bearer: {token: "${secret:quakes_token}"}}
//!     paginate: {offset: {param: offset, limit_param: limit, limit: 1000, start: 1}}
//!     cursor: {field: properties.updated, field_format: epoch_millis, param: updatedafter, start: 2026-01-01T00:00:00Z, lag: 5m, key: id}
//!     rate: {requests: 10, per: 1s}
//!     records: features
//! ```

pub(crate) mod address;
mod body;
mod budget;
mod check;
mod config;
mod cursor;
mod deletion;
mod end;
mod exchange;
mod fetch;
mod json;
mod paginate;
mod position;
mod proof;
mod reader;
mod request;
mod resume;
mod retry;
mod seen;
mod shift;
mod text;
mod walk;

use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Ident, Position, Result};
use schemars::{Schema, SchemaGenerator};

use self::budget::Budget;
use self::fetch::Fetcher;
use self::reader::Reader;
use crate::file::Document;
use crate::source::{Source, SourceContext, SourceKind, SplitReader};

pub use self::config::Config;

/// The kind `http`.
#[derive(Debug)]
pub struct Kind;

impl SourceKind for Kind {
    fn name(&self) -> &'static str {
        "http"
    }

    fn summary(&self) -> &'static str {
        "an HTTP API: authentication, pages, an incremental cursor, a request budget"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }

    fn build(&self, document: &Document) -> Result<Box<dyn Source>> {
        let config: Config = document.parse()?;
        config.check(document)?;
        Ok(Box::new(HttpSource::new(config)))
    }
}

/// A configured API. All its readers share one request budget.
#[derive(Debug)]
struct HttpSource {
    config: Arc<Config>,
    budget: Arc<Budget>,
}

impl HttpSource {
    fn new(config: Config) -> Self {
        let budget = Arc::new(Budget::new(config.rate.clone()));
        Self {
            config: Arc::new(config),
            budget,
        }
    }
}

#[async_trait]
impl Source for HttpSource {
    fn json_key(&self) -> Option<&'static str> {
        self.config.json_key()
    }

    async fn open(
        &self,
        _: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let fetcher = Fetcher::new(Arc::clone(&self.config), Arc::clone(&self.budget), context)?;
        let fetcher = Arc::new(fetcher);
        Ok(Box::new(Reader::new(fetcher, position)?))
    }
}
