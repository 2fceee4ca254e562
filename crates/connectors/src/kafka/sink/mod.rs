//! Loads rows to a topic of a Kafka cluster, exactly once.
//!
//! ```yaml
#![doc = include_str!("example.yaml")]
//! ```
//!
//! A row is one message, a JSON object. The messages of a commit are one transaction of Kafka, and so is the position: a
//! message in the topic `forebay-positions` (compacted) holds the position of each split, and carries the lake's part of
//! the commit. Consumers with `read_committed` see each row once. The producer's transactional id belongs to the split, so
//! a process that was thought dead can commit nothing more. Child tables go to topics `<topic>.<child>`.

mod encode;
mod positions;
mod producer;
mod writer;

use async_trait::async_trait;
use forebay_core::Result;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::kafka::client::{Cluster, check_topic};
use crate::sink::{Sink, SinkContext, SinkKind, Target};
use forebay_config::{Component, Document};

/// `load: {kafka: …}`.
#[derive(Debug)]
pub struct Kind;

/// `load: kafka:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KafkaSink")]
pub struct Config {
    /// How to reach the cluster.
    pub cluster: Cluster,
    /// Target topic; created with the cluster's defaults when missing.
    pub topic: String,
    /// The column whose value, as text, is the message's key; messages of one key keep their order.
    #[serde(default)]
    pub key: Option<String>,
    /// The topic that keeps positions; one may serve many pipelines.
    #[serde(default = "positions_topic")]
    pub positions: String,
}

fn positions_topic() -> String {
    "forebay-positions".to_owned()
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn summary(&self) -> &'static str {
        "a Kafka topic, exactly once"
    }

    fn example(&self) -> &'static str {
        include_str!("example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }
}

impl SinkKind for Kind {
    fn build(&self, config: &Document) -> Result<Box<dyn Target>> {
        let kafka: Config = config.parse()?;
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        kafka.cluster.check(&at("cluster"))?;
        check_topic(&kafka.topic, &at("topic"))?;
        check_topic(&kafka.positions, &at("positions"))?;
        if kafka.topic == kafka.positions {
            return Err(at("positions").error("bad_topic", "rows and positions need two topics"));
        }
        Ok(Box::new(kafka))
    }
}

#[async_trait]
impl Target for Config {
    fn describe(&self) -> String {
        format!("Kafka topic {}", self.topic)
    }

    fn is_transactional(&self) -> bool {
        true
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(
            writer::KafkaSink::open(self.clone(), context).await?,
        ))
    }
}
