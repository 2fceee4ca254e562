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
//! A push is acknowledged when it is durable in the pipeline's [journal](crate::journal), on the disk or, with `journal: storage`,
//! in the storage. This source reads the journal in the
//! order in which pushes became durable: each push is one payload, or, where many small ones wait and the extractor takes
//! messages, one message of a payload. `forebay serve` follows the journal; `forebay run`
//! takes what is there and ends. The source never answers a push; the server does.

mod config;
mod left;
mod pack;
mod reader;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Error, Ident, Position, Result};
use schemars::{Schema, SchemaGenerator};

pub use config::{Auth, Hmac, HmacScheme, PushConfig, SECRET_BYTES_MIN, SIGNED_BYTES_MAX};

use self::reader::Reader;
use crate::extract::message::MessageRules;
use crate::file::Document;
use crate::journal::{Journal, Place};
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

/// How long a run waits until it is known whether another server lives that has a journal: longer than its claim lasts.
const HELD_MAX: Duration = Duration::from_secs(30);

/// How often it asks meanwhile.
const HELD_EVERY: Duration = Duration::from_millis(500);

impl Push {
    async fn journal(&self, context: &SourceContext) -> Result<Journal> {
        let (place, limits) = (self.config.journal, self.config.limits());
        let until = context.clock.monotonic() + HELD_MAX;
        loop {
            let opened = context.journals.of(&context.pipeline, place, limits).await;
            let waits = opened
                .as_ref()
                .is_err_and(|error| ["journal_held", "journal_opening"].contains(&error.code()));
            let is_over = context.clock.monotonic() > until || context.cancel.is_cancelled();
            if !waits || is_over {
                return opened;
            }
            context.clock.sleep(HELD_EVERY).await;
        }
    }
}

#[async_trait]
impl Source for Push {
    /// Journals that were left behind come first: they end. The one that takes pushes does not, when it is followed.
    async fn splits(&self, context: &SourceContext) -> Result<Vec<Ident>> {
        let own = self.journal(context).await?;
        let mut splits = left::splits(context, self.config.limits()).await?;
        splits.push(own.id().clone());
        Ok(splits)
    }

    async fn open(
        &self,
        split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let limits = self.config.limits();
        let journal = context.journals.split(&context.pipeline, split, limits);
        let journal = journal.await.ok_or_else(|| {
            Error::unavailable(
                "journal_closed",
                "another process has gone on with the journal",
            )
        })?;
        let current = context.journals.find(&context.pipeline);
        let is_own = current.is_some_and(|current| current.id() == split);
        let context = SourceContext {
            follow: context.follow && is_own,
            ..context
        };
        if is_own {
            left::let_go(&context).await?;
        }
        let looks = is_own && self.config.journal == Place::Storage;
        let looks = looks.then_some(limits);
        let reader = Reader::open(journal, position.as_ref(), Arc::new(context), looks).await?;
        Ok(Box::new(reader))
    }

    fn push(&self) -> Option<&PushConfig> {
        Some(&self.config)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn is_continuous(&self) -> bool {
        true
    }

    fn messages(&self) -> Option<&MessageRules> {
        Some(&self.messages)
    }
}
