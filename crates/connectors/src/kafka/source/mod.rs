//! Topics of a Kafka cluster, each message exactly once.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! A run resumes from the position in Forebay's catalog, never from the offsets of a consumer group. Many messages are
//! one payload; message metadata (key, headers, time, partition and offset) is in the raw index. Offsets without a
//! message (compacted, aborted) are skipped as Kafka intends; lost messages fail the run, or are recorded.
//! `forebay serve` follows the topic; `forebay run` reads to the end and exits. It never joins a consumer group: with
//! `shares`, several processes read a topic, and Forebay's own leases assign the splits.

mod batch;
mod config;
mod fetch;
mod output;
mod pack;
mod position;
mod reader;
mod share;
mod topic;
mod topic_id;
mod unreadable;

use async_trait::async_trait;
use forebay_core::{Error, Ident, Position, Result};
use schemars::{Schema, SchemaGenerator};
use tokio::sync::mpsc;

pub use config::{Config, Isolation, Lost, Start};

use self::fetch::Fetch;
use self::position::{Place, State};
use self::share::Share;
use crate::source::{Division, Source, SourceCapabilities, SourceContext, SourceKind, SplitReader};
use forebay_config::{Component, Document};
use forebay_formats::message::MessageRules;

/// `source: {kafka: …}`.
#[derive(Debug)]
pub struct Kind;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn summary(&self) -> &'static str {
        "the messages of a Kafka topic, each exactly once"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }
}

impl SourceKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Source>> {
        let kafka: Config = config.parse()?;
        kafka.check(config)?;
        let rules = MessageRules {
            columns: kafka.columns.clone(),
            tombstones: kafka.tombstones,
            only: true,
        };
        Ok(Box::new(Kafka {
            config: kafka,
            rules,
        }))
    }
}

/// A configured topic.
#[derive(Debug)]
struct Kafka {
    config: Config,
    rules: MessageRules,
}

#[async_trait]
impl Source for Kafka {
    /// The partitions of a share are read together, so that one commit covers them.
    async fn splits(&self, _context: &SourceContext) -> Result<Vec<Ident>> {
        Share::all(self.config.shares).map(Share::split).collect()
    }

    async fn open(
        &self,
        split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let share = Share::find(self.config.shares, split)?;
        let config = self.config.clone();
        let (out, chunks) = mpsc::channel(fetch::CHUNKS_MAX);
        let fetch = move || Fetch::open(config, share, position.as_ref(), context, out)?.start();
        blocking(fetch).await?;
        Ok(Box::new(reader::Reader { chunks }))
    }

    fn division(&self) -> Option<&dyn Division> {
        Some(self)
    }

    fn capabilities(&self) -> SourceCapabilities<'_> {
        SourceCapabilities {
            is_continuous: true,
            messages: Some(&self.rules),
            has_registry: self.config.registry.is_some(),
            ..SourceCapabilities::default()
        }
    }
}

#[async_trait]
impl Division for Kafka {
    /// A topic that is read for the first time is divided at once, so that every share starts at the same moment. Where that is
    /// not the beginning it is committed before anything is read: what comes after it is never skipped by a later start.
    async fn rearranged(
        &self,
        positions: &[(Ident, Position)],
        context: &SourceContext,
    ) -> Result<Vec<(Ident, Position)>> {
        let topic = &self.config.topic;
        let shares = self.config.shares;
        let moves = share::rearranged(topic, shares, positions, context.full)?;
        let from_beginning = shares == 1 && self.config.start == Start::Earliest;
        if moves.is_some() || from_beginning || !positions.is_empty() {
            return Ok(moves.unwrap_or_default());
        }
        let config = self.config.clone();
        let context = context.clone();
        let starts = blocking(move || fetch::starts(&config, &context)).await?;
        share::dealt(topic, shares, &starts)
    }

    fn is_rearranged(&self, position: &Position) -> bool {
        Place::parse(position).is_ok_and(|place| place.state != State::Read)
    }
}

/// The client library blocks.
async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let asked = tokio::task::spawn_blocking(ask).await;
    asked.unwrap_or_else(|error| {
        Err(Error::bug("kafka_task", "opening a topic panicked").with_source(error))
    })
}
