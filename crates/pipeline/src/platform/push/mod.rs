//! HTTP push ingestion: `POST /v1/ingest/<pipeline>` of `forebay serve`, and its endpoints for AWS clients.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! A push is acknowledged when it is durable in the pipeline's [journal](forebay_journal), on the disk or, with
//! `journal: storage`, in the storage. This source reads the journal in the order in which pushes became durable: each
//! push is one payload, or, when many small ones wait and the extractor accepts messages, one message of a payload.
//! `forebay serve` follows the journal; `forebay run` reads to the end and exits. The source never answers a push; the
//! server does.

mod config;
mod left;
mod pack;
mod reader;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_core::{Error, Ident, Position, Result, SqlEngine};
use schemars::{Schema, SchemaGenerator};

pub use config::{Auth, Hmac, HmacScheme, PushConfig, SECRET_BYTES_MIN, SIGNED_BYTES_MAX};

use self::reader::Reader;
use crate::platform::{PlatformContext, PlatformSource, PlatformSourceKind};
use forebay_config::{Component, Document};
use forebay_connectors::source::{SourceCapabilities, SplitReader};
use forebay_formats::message::MessageRules;
use forebay_journal::{Journal, Place};

/// `source: {push: …}`.
#[derive(Debug)]
pub struct Kind;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "push"
    }

    fn summary(&self) -> &'static str {
        "HTTP pushes to this server, acknowledged when durable"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<PushConfig>()
    }
}

impl PlatformSourceKind for Kind {
    fn build(&self, config: &Document, _: &Arc<dyn SqlEngine>) -> Result<Box<dyn PlatformSource>> {
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
    /// No column comes from a push itself; its metadata is in the raw index.
    messages: MessageRules,
}

/// How long a run waits to learn whether the server that holds a journal is alive: longer than its claim lasts.
const HELD_MAX: Duration = Duration::from_secs(30);

/// Polling interval of that wait.
const HELD_EVERY: Duration = Duration::from_millis(500);

impl Push {
    async fn journal(&self, context: &PlatformContext) -> Result<Journal> {
        let place = self.config.journal;
        let limits = self.config.limits();
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
impl PlatformSource for Push {
    /// Orphaned journals come first: they end. The journal that accepts pushes does not end when it is followed.
    async fn splits(&self, context: &PlatformContext) -> Result<Vec<Ident>> {
        let own = self.journal(context).await?;
        let mut splits = left::splits(context, self.config.limits()).await?;
        splits.push(own.id().clone());
        Ok(splits)
    }

    async fn open(
        &self,
        split: &Ident,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Box<dyn SplitReader>> {
        let limits = self.config.limits();
        let journal = context.journals.split(&context.pipeline, split, limits);
        let journal = journal.await.ok_or_else(|| {
            Error::unavailable(
                "journal_closed",
                "another process has taken over the journal",
            )
        })?;
        let current = context.journals.find(&context.pipeline);
        let is_own = current.is_some_and(|current| current.id() == split);
        let follow = context.follow && is_own;
        let context = context.following(follow);
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

    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities {
            is_shared: false,
            is_continuous: true,
            messages: Some(&self.messages),
            ..SourceCapabilities::default()
        }
    }
}
