//! What others push: `POST /v1/ingest/<pipeline>` of `forebay serve`, and its doors for AWS clients.
//!
//! ```yaml
//! pipeline: readings
//! source:
//!   push:
//!     auth: {token: "${secret:readings_token}"}
//! extract:
//!   json: {lines: true}
//! buffer: {time: 1s}
//! load:
//!   iceberg: {table: iot.readings}
//! ```
//!
//! A push is acknowledged when it is durable in the pipeline's [journal](crate::journal). This source reads the journal in the
//! order in which pushes became durable: each push is one payload, or, where many small ones wait and the extractor takes
//! messages, one message of a payload. `forebay serve` follows the journal; `forebay run`
//! takes what is there and ends. The source never answers a push; the server does.

mod config;
mod pack;
mod reader;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Error, Ident, Position, Result};
use schemars::{Schema, SchemaGenerator};

pub use config::{Auth, Hmac, PushConfig};

use crate::extract::message::MessageRules;
use crate::file::Document;
use crate::journal::Journal;
use crate::source::{Source, SourceContext, SourceKind, SplitReader};

/// `source: {push: …}`.
#[derive(Debug)]
pub struct Kind;

impl SourceKind for Kind {
    fn name(&self) -> &'static str {
        "push"
    }

    fn summary(&self) -> &'static str {
        "what others send to this server, acknowledged when it is durable"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<PushConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Source>> {
        let push: PushConfig = config.parse()?;
        push.check(config)?;
        let messages = MessageRules::default();
        Ok(Box::new(Push {
            config: push,
            messages,
        }))
    }
}

/// A configured push source.
#[derive(Debug)]
struct Push {
    config: PushConfig,
    /// Nothing of a push becomes a column; what came with it is in the raw index.
    messages: MessageRules,
}

impl Push {
    /// Opening a journal reads it: other tasks go on meanwhile.
    async fn journal(&self, context: &SourceContext) -> Result<Journal> {
        let (journals, pipeline) = (context.journals.clone(), context.pipeline.clone());
        let limits = self.config.limits();
        let open = move || journals.of(&pipeline, limits);
        tokio::task::spawn_blocking(open).await.map_err(|error| {
            Error::bug("journal_task", "opening a journal panicked").with_source(error)
        })?
    }
}

#[async_trait]
impl Source for Push {
    async fn splits(&self, context: &SourceContext) -> Result<Vec<Ident>> {
        let journal = self.journal(context).await?;
        Ok(vec![journal.id().clone()])
    }

    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let journal = self.journal(&context).await?;
        let reader = reader::Reader::open(journal, position.as_ref(), Arc::new(context)).await?;
        Ok(Box::new(reader))
    }

    fn push(&self) -> Option<&PushConfig> {
        Some(&self.config)
    }

    fn is_continuous(&self) -> bool {
        true
    }

    fn messages(&self) -> Option<&MessageRules> {
        Some(&self.messages)
    }
}
