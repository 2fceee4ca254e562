//! Source `http`: a third party's HTTP API, page by page.
//!
//! It keeps requests within a budget, retries transient failures, stops a paginator that repeats or never ends, and
//! with a cursor requests only new records. Bodies are passed on unchanged; nothing here parses records or moves a
//! position. It never connects to a forbidden address and never sends credentials to another host.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```

pub(crate) mod address;
mod body;
mod budget;
mod check;
mod config;
mod counted;
mod cursor;
mod deletion;
mod end;
mod exchange;
mod fetch;
mod json;
mod next_sign;
mod paginate;
mod position;
mod proof;
mod reader;
mod request;
mod resource;
mod resume;
mod retry;
mod said;
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
use crate::source::{Source, SourceCapabilities, SourceContext, SourceKind, SplitReader};
use forebay_config::{Component, Document};

pub use self::config::Config;

/// The kind `http`.
#[derive(Debug)]
pub struct Kind;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "http"
    }

    fn summary(&self) -> &'static str {
        "an HTTP API: authentication, pages, an incremental cursor, a request budget"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }
}

impl SourceKind for Kind {
    fn build(&self, document: &Document) -> Result<Box<dyn Source>> {
        let config: Config = document.parse()?;
        config.check(document)?;
        Ok(Box::new(HttpSource::new(config)))
    }

    fn proposed_paginate(&self, body: &[u8]) -> Option<String> {
        next_sign::find(body, &json::Path::default(), None)?.paginate
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
    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities {
            json_key: self.config.json_key(),
            ..SourceCapabilities::default()
        }
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
