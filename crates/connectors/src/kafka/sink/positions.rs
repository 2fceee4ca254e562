//! The positions topic: the position of each split, beside the rows it has sent.
//!
//! A position is one message, or several when its outbox is large: brokers accept messages of about 1 MB. It is read by a
//! scan of the topic, which is short because the topic is compacted.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_core::{Error, Position, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use serde::{Deserialize, Serialize};

use super::producer::Producer;
use crate::kafka::client::{ASK_TIMEOUT, Cluster, Listener, at, failed};
use crate::sink::Delivered;

/// Bytes of an outbox in one message.
const PART_BYTES: usize = 512 << 10;

/// Read timeout while the topic is idle.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The first message of a position; the parts of its outbox follow as messages of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    epoch: i64,
    sequence: i64,
    position: Option<Position>,
    parts: usize,
}

/// The position of a split.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) epoch: i64,
    pub(super) sequence: i64,
    pub(super) last: Option<Delivered>,
}

/// Writes a position into the open transaction.
pub(super) fn write(
    producer: &mut Producer,
    topic: &str,
    key: &str,
    (epoch, sequence): (i64, i64),
    delivered: Option<&Delivered>,
) -> Result<()> {
    let outbox = delivered.map_or(&[][..], |delivered| &delivered.outbox);
    let record = Record {
        epoch,
        sequence,
        position: delivered.map(|delivered| delivered.position.clone()),
        parts: outbox.chunks(PART_BYTES).len(),
    };
    let text = serde_json::to_vec(&record).map_err(|error| {
        Error::bug("position_json", "failed to write a position").with_source(error)
    })?;
    for (n, part) in outbox.chunks(PART_BYTES).enumerate() {
        producer.send(topic, Some(0), Some(&part_key(key, n)), Some(part))?;
    }
    producer.send(topic, Some(0), Some(key), Some(&text))
}

fn part_key(key: &str, n: usize) -> String {
    format!("{key}#{n}")
}

/// Makes a topic unless it is there. `Some` partitions make it compacted.
pub(super) async fn ensure(cluster: &Cluster, topic: &str, is_compacted: bool) -> Result<()> {
    let cannot = |error: KafkaError| failed(&format!("make topic `{topic}`"), error, None);
    let admin: AdminClient<Listener> = cluster
        .properties()
        .create_with_context(Listener::default())
        .map_err(cannot)?;
    let mut new = NewTopic::new(
        topic,
        if is_compacted { 1 } else { -1 },
        TopicReplication::Fixed(-1),
    );
    if is_compacted {
        new = new.set("cleanup.policy", "compact");
    }
    let options = AdminOptions::new()
        .request_timeout(Some(ASK_TIMEOUT))
        .operation_timeout(Some(ASK_TIMEOUT));
    let made = admin
        .create_topics([&new], &options)
        .await
        .map_err(cannot)?;
    for result in made {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            // The topic may exist all the same: sending will show.
            Err((
                _,
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            )) => {}
            Err((_, code)) => return Err(cannot(KafkaError::AdminOp(code))),
        }
    }
    Ok(())
}

/// Reads the position of the split. Blocks.
pub(super) fn read(cluster: &Cluster, topic: &str, key: &str) -> Result<Option<Found>> {
    let cannot = |error: KafkaError| {
        failed(
            &format!("read the positions in topic `{topic}`"),
            error,
            None,
        )
    };
    let mut properties = cluster.properties();
    for (name, value) in [
        ("group.id", "forebay-positions"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
    ] {
        properties.set(name, value);
    }
    let consumer: BaseConsumer<Listener> = properties
        .create_with_context(Listener::default())
        .map_err(cannot)?;
    consumer.assign(&at(topic, [(0, 0)])?).map_err(cannot)?;
    let mut record = None;
    let mut parts = BTreeMap::new();
    loop {
        match consumer.poll(SILENCE_MAX) {
            None => {
                let what = format!(
                    "timed out after {} s reading topic `{topic}`",
                    SILENCE_MAX.as_secs()
                );
                return Err(Error::unavailable(crate::sink::TARGET_GONE, what));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break,
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_passing) => {}
            Some(Err(error)) => return Err(cannot(error)),
            Some(Ok(message)) => {
                let found = message.key().unwrap_or_default();
                let value = message.payload().unwrap_or_default();
                if found == key.as_bytes() {
                    record = Some(value.to_vec());
                } else if let Some(n) = part_of(found, key) {
                    parts.insert(n, value.to_vec());
                }
            }
        }
    }
    record
        .map(|record| found(&record, parts, topic))
        .transpose()
}

fn is_passing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
    )
}

fn part_of(found: &[u8], key: &str) -> Option<usize> {
    let rest = found.strip_prefix(key.as_bytes())?.strip_prefix(b"#")?;
    std::str::from_utf8(rest).ok()?.parse().ok()
}

fn found(record: &[u8], mut parts: BTreeMap<usize, Vec<u8>>, topic: &str) -> Result<Found> {
    let broken = || {
        Error::data(
            "bad_position",
            format!("a position in topic `{topic}` cannot be read"),
        )
    };
    let record: Record =
        serde_json::from_slice(record).map_err(|error| broken().with_source(error))?;
    let mut outbox = Vec::new();
    for n in 0..record.parts {
        outbox.extend(parts.remove(&n).ok_or_else(broken)?);
    }
    let last = record
        .position
        .map(|position| Delivered { position, outbox });
    Ok(Found {
        epoch: record.epoch,
        sequence: record.sequence,
        last,
    })
}
