//! `extract: json` from outside: real data with known answers, hostile inputs, and properties against a plain reader.

mod data;
mod hostile;
mod properties;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use forebay_core::{Compression, PayloadHead, Timestamp};
use forebay_formats::contract::ContractPolicy;
use forebay_formats::json::{Config, Json, Nested};
use forebay_formats::{Extracted, Extractor};
use serde_json::Value;

fn lines(nested: Nested) -> Config {
    Config {
        lines: Some(true),
        nested,
        ..Config::default()
    }
}

fn documents(nested: Nested) -> Config {
    Config {
        nested,
        ..Config::default()
    }
}

fn head(ordinal: usize) -> Arc<PayloadHead> {
    Arc::new(PayloadHead {
        ordinal: ordinal as u64,
        name: format!("payload-{ordinal}"),
        received_at: Timestamp(0),
        content_type: None,
        compression: Compression::None,
        attributes: BTreeMap::new(),
        messages: None,
    })
}

/// Extracts payloads, each given as its chunks.
fn extract(config: &Config, payloads: &[Vec<&[u8]>]) -> Extracted {
    let json = Json::new(config.clone()).unwrap();
    let mut extraction = json.start(None, &ContractPolicy::default(), None).unwrap();
    let mut out = Extracted::default();
    for (ordinal, chunks) in payloads.iter().enumerate() {
        let head = head(ordinal);
        for chunk in chunks {
            extraction.push(&head, chunk, &mut out).unwrap();
        }
        extraction.end(&head, None, &mut out).unwrap();
    }
    extraction.flush(&mut out).unwrap();
    out
}

/// The rows of every table as JSON, without nulls.
fn tables(out: &Extracted) -> BTreeMap<String, Vec<Value>> {
    let mut batches: BTreeMap<String, Vec<&RecordBatch>> = BTreeMap::new();
    for batch in &out.batches {
        batches
            .entry(batch.child.clone())
            .or_default()
            .push(&batch.records);
    }
    batches
        .into_iter()
        .map(|(name, batches)| (name, rows(&batches)))
        .collect()
}

fn rows(batches: &[&RecordBatch]) -> Vec<Value> {
    let mut rows = Vec::new();
    // One writer a batch: the batches of a table may differ in their columns.
    for batch in batches {
        let mut writer = arrow::json::ArrayWriter::new(Vec::new());
        writer.write(batch).unwrap();
        writer.finish().unwrap();
        let more: Vec<Value> = serde_json::from_slice(&writer.into_inner()).unwrap();
        rows.extend(more);
    }
    rows
}
