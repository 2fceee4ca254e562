//! Firehose: a pipeline is a delivery stream.

use forebay_core::Result;
use forebay_pipeline::journal::Record;
use serde::Deserialize;
use serde_json::{Value, json};

use super::aggregated::Room;
use super::{Call, Sent};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord {
    delivery_stream_name: String,
    record: Sent,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatch {
    delivery_stream_name: String,
    records: Vec<Sent>,
}

pub(super) async fn put_record(call: Call<'_>) -> Result<Value> {
    let request: PutRecord = call.parse()?;
    let door = call.door(&request.delivery_stream_name).await?;
    let put = call.put(&door, vec![request.record], whole);
    let offset = crate::ingest::first(put.await?)?;
    Ok(json!({"RecordId": offset.to_string(), "Encrypted": false}))
}

pub(super) async fn put_record_batch(call: Call<'_>) -> Result<Value> {
    let request: PutRecordBatch = call.parse()?;
    let door = call.door(&request.delivery_stream_name).await?;
    let offsets = call.put(&door, request.records, whole).await?;
    let responses: Vec<Value> = offsets
        .into_iter()
        .map(|offset| json!({"RecordId": offset.to_string()}))
        .collect();
    Ok(json!({"FailedPutCount": 0, "Encrypted": false, "RequestResponses": responses}))
}

/// Nobody puts records together for Firehose.
fn whole(record: Record, _: &mut Room) -> Option<Vec<Record>> {
    Some(vec![record])
}
