//! What a pipeline file may say under `source: kafka:`.

use forebay_core::{Result, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::connect::kafka::{Cluster, check_topic};
use crate::connect::registry;
use crate::extract::message::{MessageColumns, Tombstones};
use crate::file::Document;

/// `source: kafka:`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KafkaSource")]
pub struct Config {
    /// How to reach the cluster.
    pub cluster: Cluster,
    /// The topic.
    pub topic: String,
    /// Where to begin in a partition that has no position yet: `earliest`, `latest`, or a time (RFC 3339). A partition that
    /// is added later is read from its first message.
    #[serde(default)]
    pub start: Start,
    /// In how many parts the topic is read at the same time, each with its own commits; the processes of a project on one store
    /// share them. Partition `p` belongs to part `p mod shares`. May be changed at any time.
    #[serde(default = "shares")]
    #[schemars(range(min = 1, max = 256))]
    pub shares: u16,
    /// What to do when messages between our position and the topic's beginning are gone, or cannot be read.
    #[serde(default)]
    pub lost: Lost,
    /// Whether messages of open and aborted transactions are read.
    #[serde(default)]
    pub isolation: Isolation,
    /// Columns that say what came with a message.
    #[serde(default)]
    pub columns: MessageColumns,
    /// What becomes of a message without a value.
    #[serde(default)]
    pub tombstones: Tombstones,
    /// Where the schemas of messages in Confluent's wire format are; they are kept with the messages in the raw zone.
    #[serde(default)]
    pub registry: Option<registry::Config>,
    /// A consumer group that our committed positions are reported to, for lag monitors. Nothing is ever read from it.
    #[serde(default)]
    pub report_to: Option<String>,
}

fn shares() -> u16 {
    1
}

/// What to do when messages are gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The run fails and says which.
    #[default]
    Stop,
    /// Which they are becomes an event of the quarantine table, and the run goes on behind them.
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

/// Where to begin.
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
    /// What a schema cannot say. Errors: `Config` at the value's place.
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
