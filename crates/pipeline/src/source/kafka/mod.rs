//! Topics of a Kafka cluster, each message exactly once.
//!
//! ```yaml
//! pipeline: orders
//! source:
//!   kafka:
//!     cluster: {brokers: [localhost:9092]}
//!     topic: orders
//!     columns: {key: order_key, timestamp: sent_at}
//! extract:
//!   json: {}
//! buffer: {time: 1s}
//! load:
//!   iceberg: {table: shop.orders}
//! ```
//!
//! Where it goes on is the position in our own catalog, never a group's offsets. Many messages are one payload; what came
//! with each (key, headers, time, place) is in the raw index. Offsets without a message (compacted, aborted) are passed
//! over as Kafka means it; messages that are *gone* stop the run, or are recorded. `forebay serve` follows the topic;
//! `forebay run` takes what is there and ends. It never joins a group, so nothing rebalances.

mod batch;
mod config;
mod fetch;
mod pack;
mod position;
mod reader;
mod topic;
mod unreadable;

use async_trait::async_trait;
use forebay_core::{Error, Ident, Position, Result};
use schemars::{Schema, SchemaGenerator};
use tokio::sync::mpsc;

pub use config::{Config, Isolation, Lost, Start};

use crate::extract::message::MessageRules;
use crate::file::Document;
use crate::source::{Source, SourceContext, SourceKind, SplitReader};

/// `source: {kafka: …}`.
#[derive(Debug)]
pub struct Kind;

impl SourceKind for Kind {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn summary(&self) -> &'static str {
        "the messages of a Kafka topic, each exactly once"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }

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

/// The one split: all partitions are read together, so that one commit covers them.
const SPLIT: &str = "topic";

#[async_trait]
impl Source for Kafka {
    async fn splits(&self, _context: &SourceContext) -> Result<Vec<Ident>> {
        Ok(vec![SPLIT.parse()?])
    }

    async fn open(
        &self,
        _split: &Ident,
        position: Option<Position>,
        context: SourceContext,
    ) -> Result<Box<dyn SplitReader>> {
        let (config, (out, chunks)) = (self.config.clone(), mpsc::channel(fetch::CHUNKS_MAX));
        let opening = tokio::task::spawn_blocking(move || {
            fetch::start(fetch::Fetch::open(config, position.as_ref(), context, out)?)
        });
        opening.await.map_err(|error| {
            Error::bug("kafka_task", "opening a topic panicked").with_source(error)
        })??;
        Ok(Box::new(reader::Reader { chunks }))
    }

    fn is_continuous(&self) -> bool {
        true
    }

    fn messages(&self) -> Option<&MessageRules> {
        Some(&self.rules)
    }
}
