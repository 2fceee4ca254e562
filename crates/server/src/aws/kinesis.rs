//! Kinesis Data Streams: a pipeline is a stream of one shard, a sequence number is an offset of its journal.

use serde_json::{Value, json};

/// The one shard.
const SHARD: &str = "shardId-000000000000";

/// The largest hash key: 2^128 - 1.
const HASH_KEY_MAX: &str = "340282366920938463463374607431768211455";

/// Where a record is.
pub(super) fn place(offset: u64) -> Value {
    json!({"ShardId": SHARD, "SequenceNumber": sequence(offset)})
}

pub(super) fn summarize(name: &str) -> Value {
    let mut about = about(name);
    about["OpenShardCount"] = json!(1);
    about["ConsumerCount"] = json!(0);
    json!({"StreamDescriptionSummary": about})
}

pub(super) fn describe(name: &str) -> Value {
    let mut about = about(name);
    about["Shards"] = json!([shard()]);
    about["HasMoreShards"] = json!(false);
    json!({"StreamDescription": about})
}

pub(super) fn list_shards() -> Value {
    json!({"Shards": [shard()]})
}

pub(super) fn list_streams(names: &[String]) -> Value {
    let summaries = names.iter().map(|name| {
        json!({
            "StreamName": name,
            "StreamARN": arn(name),
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
            "StreamCreationTimestamp": 0,
        })
    });
    let summaries: Vec<Value> = summaries.collect();
    json!({"StreamNames": names, "StreamSummaries": summaries, "HasMoreStreams": false})
}

fn about(name: &str) -> Value {
    json!({
        "StreamName": name,
        "StreamARN": arn(name),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 0,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
    })
}

fn arn(name: &str) -> String {
    format!("arn:aws:kinesis:local:000000000000:stream/{name}")
}

fn shard() -> Value {
    json!({
        "ShardId": SHARD,
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": HASH_KEY_MAX},
        "SequenceNumberRange": {"StartingSequenceNumber": sequence(0)},
    })
}

/// Digits only, and as text in the order of the offsets.
fn sequence(offset: u64) -> String {
    format!("{offset:020}")
}
