//! Configuration under `source: kafka:`.

use forebay_core::{Result, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::kafka::client::{Cluster, check_topic};
use crate::schema_registry;
use forebay_config::Document;
use forebay_formats::message::{MessageColumns, Tombstones};

/// `source: kafka:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KafkaSource")]
pub struct Config {
    /// Connection to the cluster.
    pub cluster: Cluster,
    /// The topic.
    pub topic: String,
    /// Start offset in a partition without a position: `earliest`, `latest`, or a time (RFC 3339). A partition that is
    /// added later is read from its first message.
    #[serde(default)]
    pub start: Start,
    /// Parallelism: the number of parts in which the topic is read at the same time, each with its own commits; the
    /// processes of a project on one store share them. Partition `p` belongs to part `p mod shares`. May be changed at
    /// any time.
    #[serde(default = "shares")]
    #[schemars(range(min = 1, max = 256))]
    pub shares: u16,
    /// What to do on data loss: messages after the committed position were deleted, or cannot be read.
    #[serde(default)]
    pub lost: Lost,
    /// Whether messages of open and aborted transactions are read.
    #[serde(default)]
    pub isolation: Isolation,
    /// Columns for message metadata.
    #[serde(default)]
    pub columns: MessageColumns,
    /// How messages without a value are handled.
    #[serde(default)]
    pub tombstones: Tombstones,
    /// Schema registry for messages in Confluent's wire format; schemas are stored with the messages in the raw zone.
    #[serde(default)]
    pub registry: Option<schema_registry::Config>,
    /// A consumer group to which committed positions are reported, for lag monitors. Never read.
    #[serde(default)]
    pub report_to: Option<String>,
}

fn shares() -> u16 {
    1
}

/// What to do on data loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The run fails with the lost offsets.
    #[default]
    Stop,
    /// The lost offsets are recorded in the quarantine table, and the run continues after them.
    Continue,
}

/// Whether messages of open and aborted transactions are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    #[default]
    ReadCommitted,
    ReadUncommitted,
}

impl Isolation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

/// Start offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    Earliest,
    Latest,
    At(Timestamp),
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => Timestamp::parse(time).map(Self::At).ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "{time:?} is not `earliest`, `latest` or a time such as 2026-01-01T00:00:00Z"
                ))
            }),
        }
    }
}

impl JsonSchema for Start {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KafkaStart".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "default": "earliest",
            "description": "`earliest`, `latest`, or a time (RFC 3339)."
        })
    }
}

impl Config {
    /// Checks that the schema cannot express. Errors: `Config` at the value's place.
    pub(super) fn check(&self, config: &Document) -> Result<()> {
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        self.cluster.check(&at("cluster"))?;
        if let Some(registry) = &self.registry {
            registry.check(&at("registry"))?;
        }
        check_topic(&self.topic, &at("topic"))?;
        self.columns.check(config)
    }
}
