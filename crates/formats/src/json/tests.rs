//! Extraction of records: columns, kinds, rejects, limits, framing.

mod contract;
mod declared;
mod framing;
mod numbers;
mod shapes;
mod wide;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Decimal128Type;
use forebay_core::{Compression, PayloadHead, Rejected, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::Extracted;
use crate::contract::{ColumnRule, ColumnType, NewColumns};
use crate::untyped::untyped;

pub(super) fn lines() -> Config {
    Config {
        lines: Some(true),
        ..Config::default()
    }
}

pub(super) fn with(nested: Nested) -> Config {
    Config { nested, ..lines() }
}

fn head(ordinal: u64) -> Arc<PayloadHead> {
    Arc::new(PayloadHead {
        ordinal,
        name: format!("payload-{ordinal}"),
        received_at: Timestamp::parse("2026-01-01T00:00:00Z").unwrap(),
        content_type: None,
        compression: Compression::None,
        attributes: BTreeMap::new(),
        messages: None,
    })
}

pub(super) fn start(
    config: &Config,
    policy: &ContractPolicy,
    contract: Option<Contract>,
) -> Box<dyn Extraction> {
    Json::new(config.clone())
        .unwrap()
        .start(contract, policy, None)
        .unwrap()
}

/// Extracts one payload that comes in these chunks.
pub(super) fn extract(config: &Config, policy: &ContractPolicy, chunks: &[&[u8]]) -> Extracted {
    let mut extraction = start(config, policy, None);
    let mut out = Extracted::default();
    for chunk in chunks {
        extraction.push(&head(0), chunk, &mut out).unwrap();
    }
    extraction.end(&head(0), None, &mut out).unwrap();
    extraction.flush(&mut out).unwrap();
    out
}

/// The rows of a table as JSON, without nulls.
pub(super) fn rows(out: &Extracted, child: &str) -> Vec<Value> {
    let batches: Vec<&RecordBatch> = out
        .batches
        .iter()
        .filter(|batch| batch.child == child)
        .map(|batch| &batch.records)
        .collect();
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write_batches(&batches).unwrap();
    writer.finish().unwrap();
    let text = writer.into_inner();
    if text.is_empty() {
        Vec::new()
    } else {
        serde_json::from_slice(&text).unwrap()
    }
}

fn codes(out: &Extracted) -> Vec<&str> {
    out.rejected
        .iter()
        .map(|rejected| rejected.code.as_str())
        .collect()
}

/// Columns of the first batch that have a type.
fn typed_columns(out: &Extracted) -> usize {
    let records = &out.batches[0].records;
    records.num_columns() - untyped(records).count()
}

/// Extracts lines with the default policy.
fn flat(text: &str) -> Extracted {
    extract(&lines(), &ContractPolicy::default(), &[text.as_bytes()])
}

fn rule(name: &str, kind: Option<&str>, required: bool) -> ContractPolicy {
    let kind = kind.map(|kind| ColumnType::try_from(kind.to_owned()).unwrap());
    let columns = BTreeMap::from([(
        name.to_owned(),
        ColumnRule {
            r#type: kind,
            required,
            check: None,
        },
    )]);
    ContractPolicy {
        columns,
        ..ContractPolicy::default()
    }
}

fn ruled(policy: &ContractPolicy, text: &str) -> Extracted {
    extract(&lines(), policy, &[text.as_bytes()])
}
