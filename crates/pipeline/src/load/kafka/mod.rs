//! Rows to a topic of a Kafka cluster, exactly once.
//!
//! ```yaml
//! pipeline: orders_out
//! source:
//!   table: {name: sales.orders}
//! extract:
//!   table: {}
//! load:
//!   kafka: {cluster: {brokers: [localhost:9092]}, topic: orders, key: id}
//! ```
//!
//! A row is one message, a JSON object. The messages of a commit are one transaction of Kafka, and so is the position: a
//! message in the topic `forebay-positions` (compacted) says how far each split has come, and carries what the lake has yet to
//! learn of the commit. Who reads with `read_committed` sees each row once. The producer's transactional id belongs to the
//! split, so a process that was thought dead can commit nothing more. Child tables go to topics `<topic>.<child>`.

mod encode;
mod positions;
mod producer;
mod sink;

use async_trait::async_trait;
use forebay_core::Result;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use crate::connect::kafka::{Cluster, check_topic};
use crate::file::Document;
use crate::load::{Sink, SinkContext, SinkKind, Target};

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
    /// Where the messages go; made with the cluster's own defaults when it is not there.
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

impl SinkKind for Kind {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn summary(&self) -> &'static str {
        "a Kafka topic, exactly once"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<Config>()
    }

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
            sink::KafkaSink::open(self.clone(), context).await?,
        ))
    }
}
