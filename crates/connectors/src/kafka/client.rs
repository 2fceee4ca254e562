//! Connection to a Kafka cluster: settings, client properties, and classification of its errors.
//!
//! Everything goes through librdkafka (<https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md>). This module
//! never reads or writes a topic.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::{Error, Result, Secret};
use parking_lot::Mutex;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, TopicPartitionList};
use schemars::JsonSchema;
use serde::Deserialize;

use forebay_config::Document;

/// Timeout of one request to the cluster (metadata, offsets).
pub const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// Connection to a cluster.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Bootstrap brokers, `host:port` each.
    pub brokers: Vec<String>,
    /// TLS. With `{}` the system's certificates are trusted.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// SASL user and password.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// Further librdkafka properties, for settings without a key of their own.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// TLS to the brokers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// A file of CA certificates (PEM) that are trusted instead of the system's.
    pub ca: Option<String>,
    /// A file with the client certificate (PEM).
    pub certificate: Option<String>,
    /// The client key (PEM).
    pub key: Option<Secret>,
}

/// SASL user and password.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    pub mechanism: Mechanism,
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// The SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Properties on which delivery guarantees depend: a pipeline file cannot set them.
const KEPT: &[&str] = &[
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "metadata.broker.list",
    "transactional.id",
];

impl Cluster {
    /// Checks that the schema cannot express. Errors: `Config` at the value's place.
    pub fn check(&self, config: &Document) -> Result<()> {
        let at = |key: &str| config.get(key).unwrap_or_else(|| config.clone());
        if self.brokers.is_empty() {
            return Err(at("brokers").error("bad_brokers", "`brokers` is empty"));
        }
        for broker in &self.brokers {
            let port = broker
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || broker.contains([',', ' ', '/']) {
                let what = format!("{broker:?} is not `host:port`");
                return Err(at("brokers").error("bad_brokers", what));
            }
        }
        let own = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some());
        if own {
            return Err(at("tls").error("bad_tls", "`certificate` and `key` belong together"));
        }
        for name in self.options.keys() {
            if KEPT.contains(&name.as_str()) {
                let what = format!("`{name}` is set by Forebay: exactly-once depends on it");
                return Err(at("options").error("bad_option", what));
            }
            if ["password", "key.pem", "secret"]
                .iter()
                .any(|word| name.contains(word))
            {
                let what = format!("`{name}` may be a secret: set it under `tls` or `sasl`");
                return Err(at("options").error("bad_option", what));
            }
        }
        let mut known = ClientConfig::new();
        known.extend(self.options.clone());
        match known.create_native_config() {
            Ok(_) => Ok(()),
            Err(error) => Err(at("options").error("bad_option", error.to_string())),
        }
    }

    /// The properties of every client of this cluster.
    pub fn properties(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.extend(self.options.clone());
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("client.id", "forebay");
        config.set_log_level(RDKafkaLogLevel::Info);
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let pem = tls.key.as_ref().map(|key| key.expose().to_owned());
            let named = [
                ("ssl.ca.location", tls.ca.clone()),
                ("ssl.certificate.location", tls.certificate.clone()),
                ("ssl.key.pem", pem),
            ];
            config.extend(
                named
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?))),
            );
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanisms", sasl.mechanism.name());
            config.set("sasl.username", &sasl.username);
            config.set("sasl.password", sasl.password.expose());
        }
        config
    }
}

/// Longest topic name, and its valid characters (org.apache.kafka.common.internals.Topic).
const TOPIC_LENGTH_MAX: usize = 249;

/// Checks a topic name. Errors: `Config` `bad_topic` at its place.
pub fn check_topic(topic: &str, place: &Document) -> Result<()> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let named =
        !topic.is_empty() && topic.len() <= TOPIC_LENGTH_MAX && ![".", ".."].contains(&topic);
    if named && topic.chars().all(is_legal) {
        return Ok(());
    }
    let what = format!(
        "invalid topic {topic:?}: use letters, digits, `.`, `_` and `-`, at most {TOPIC_LENGTH_MAX}"
    );
    Err(place.error("bad_topic", what))
}

/// Listens to the logs and errors of the client library, and keeps the newest one: a request without a response fails
/// with "timed out" only, and this shows the cause.
#[derive(Debug, Default)]
pub struct Listener {
    trouble: Mutex<Option<String>>,
}

impl Listener {
    fn note(&self, text: &str) {
        *self.trouble.lock() = Some(text.to_owned());
    }

    /// The newest error text, if any.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if level as i32 <= RDKafkaLogLevel::Warning as i32 || facility == "FAIL" {
            self.note(text);
        }
        tracing::debug!(facility, "librdkafka: {text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(reason);
        tracing::debug!(%error, "librdkafka: {reason}");
    }
}

impl ConsumerContext for Listener {}

/// Classifies a failed request; `what` completes "failed to".
pub fn failed(what: &str, error: KafkaError, trouble: Option<String>) -> Error {
    let detail = trouble.map(|text| format!(": {text}")).unwrap_or_default();
    let message = format!("failed to {what}{detail}");
    let code = error.rdkafka_error_code();
    let refused = detail.contains("uthentication") || detail.contains("SASL");
    match code {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication,
        ) => Error::denied("kafka_denied", message).with_source(error),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition,
        ) => Error::not_found("kafka_no_topic", message).with_source(error),
        _ if refused => Error::denied("kafka_denied", message).with_source(error),
        _ => Error::unavailable("kafka_unavailable", message).with_source(error),
    }
}

/// A list of partitions and offsets for the client library.
pub fn at(topic: &str, places: impl IntoIterator<Item = (i32, i64)>) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in places {
        list.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset))
            .map_err(|error| {
                Error::bug("kafka_offset", "an offset is out of range").with_source(error)
            })?;
    }
    Ok(list)
}
