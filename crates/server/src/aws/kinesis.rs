//! Kinesis Data Streams: a pipeline is a stream of one shard, a sequence number is an offset of its journal. What the Kinesis
//! Producer Library has put together is taken apart.

use forebay_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Sent, aggregated};

/// The one shard.
const SHARD: &str = "shardId-000000000000";

/// The largest hash key: 2^128 - 1.
const HASH_KEY_MAX: &str = "340282366920938463463374607431768211455";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stream {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
}

impl Stream {
    /// The name, or the last part of the ARN.
    fn name(&self) -> Result<&str> {
        let arn = self
            .stream_arn
            .as_deref()
            .and_then(|arn| arn.rsplit_once('/'));
        let name = self.stream_name.as_deref().or(arn.map(|(_, name)| name));
        name.ok_or_else(|| Error::data("bad_request", "the request names no stream"))
    }
}

#[derive(Deserialize)]
struct PutRecord {
    #[serde(flatten)]
    stream: Stream,
    #[serde(flatten)]
    record: Sent,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords {
    #[serde(flatten)]
    stream: Stream,
    records: Vec<Sent>,
}

pub(super) async fn put_record(call: Call<'_>) -> Result<Value> {
    let request: PutRecord = call.parse()?;
    let door = call.door(request.stream.name()?).await?;
    let put = call.put(&door, vec![request.record], aggregated::records);
    let offset = crate::ingest::first(put.await?)?;
    Ok(json!({"ShardId": SHARD, "SequenceNumber": sequence(offset), "EncryptionType": "NONE"}))
}

pub(super) async fn put_records(call: Call<'_>) -> Result<Value> {
    let request: PutRecords = call.parse()?;
    let door = call.door(request.stream.name()?).await?;
    let put = call.put(&door, request.records, aggregated::records);
    let offsets = put.await?;
    let records: Vec<Value> = offsets
        .into_iter()
        .map(|offset| json!({"ShardId": SHARD, "SequenceNumber": sequence(offset)}))
        .collect();
    Ok(json!({"FailedRecordCount": 0, "Records": records, "EncryptionType": "NONE"}))
}

pub(super) async fn describe(call: Call<'_>) -> Result<Value> {
    let request: Stream = call.parse()?;
    let name = request.name()?;
    call.door(name).await?;
    Ok(json!({"StreamDescriptionSummary": {
        "StreamName": name,
        "StreamARN": format!("arn:aws:kinesis:local:000000000000:stream/{name}"),
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
        "RetentionPeriodHours": 24,
        "StreamCreationTimestamp": 0,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": 1,
        "ConsumerCount": 0,
    }}))
}

pub(super) async fn list_shards(call: Call<'_>) -> Result<Value> {
    let request: Stream = call.parse()?;
    call.door(request.name()?).await?;
    Ok(json!({"Shards": [{
        "ShardId": SHARD,
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": HASH_KEY_MAX},
        "SequenceNumberRange": {"StartingSequenceNumber": sequence(0)},
    }]}))
}

/// Digits only, and as text in the order of the offsets.
fn sequence(offset: u64) -> String {
    format!("{offset:020}")
}
