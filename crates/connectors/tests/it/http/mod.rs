//! The source `http` against a stub server.

mod edge;
mod failures;
mod limits;
mod more_pages;
mod moving;
mod pages;
mod proof;
mod raw;
mod resume;
mod secrets;
mod shift;
mod single;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use forebay_config::Document;
use forebay_connectors::source::{
    RequestLog, RequestRecord, Source, SourceContext, SplitReader, StoredPayloads,
};
use forebay_core::{Chunk, Clock, Error, Position, Timestamp};
use forebay_formats::framing::Framing;
use forebay_testkit::FakeClock;
use serde_json::{Value, json};

use self::raw::RawZone;

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: Timestamp = Timestamp(1_767_225_600_000_000);

#[derive(Default)]
struct Log(Mutex<Vec<RequestRecord>>);

impl RequestLog for Log {
    fn record(&self, record: RequestRecord) {
        self.0.lock().unwrap().push(record);
    }
}

/// A source under test with everything it is given.
struct Bench {
    source: Box<dyn Source>,
    clock: Arc<FakeClock>,
    log: Arc<Log>,
    /// The chunks that runs have committed.
    raw: Arc<RawZone>,
    framing: Framing,
    is_json: bool,
    full: bool,
}

/// What one run brought.
#[derive(Debug, Default)]
struct Pulled {
    chunks: Vec<Chunk>,
    /// What a run would commit last.
    position: Option<Position>,
    error: Option<Error>,
}

impl Bench {
    /// `config` is YAML below `http:`, without `url` and `allow_private`.
    fn new(url: &str, config: &str) -> Self {
        Self::try_new(&format!("url: {url}\nallow_private: true\n{config}")).unwrap()
    }

    fn try_new(config: &str) -> Result<Self, Error> {
        forebay_testkit::install_crypto();
        let source =
            forebay_connectors::find_source("http")?.build(&Document::from_yaml(config)?)?;
        let clock = FakeClock::auto(NEW_YEAR);
        Ok(Self {
            source,
            clock,
            log: Arc::default(),
            raw: Arc::default(),
            framing: Framing::Whole,
            is_json: false,
            full: false,
        })
    }

    fn context(&self) -> SourceContext {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let alone = SourceContext::alone(clock, &PathBuf::new(), self.framing).unwrap();
        SourceContext {
            seed: 7,
            requests: Arc::clone(&self.log) as Arc<dyn RequestLog>,
            stored: Some(Arc::clone(&self.raw) as Arc<dyn StoredPayloads>),
            full: self.full,
            is_json: self.is_json,
            ..alone
        }
    }

    async fn open(&self, position: Option<&Position>) -> Result<Box<dyn SplitReader>, Error> {
        let splits = self.source.splits(&self.context()).await?;
        assert_eq!(splits.len(), 1);
        self.source
            .open(&splits[0], position.cloned(), self.context())
            .await
    }

    /// Reads to the end, or to the first error.
    async fn pull(&self, position: Option<&Position>) -> Pulled {
        let mut pulled = Pulled {
            position: position.cloned(),
            ..Pulled::default()
        };
        let mut reader = match self.open(position).await {
            Ok(reader) => reader,
            Err(error) => {
                return Pulled {
                    error: Some(error),
                    ..pulled
                };
            }
        };
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => {
                    pulled.position = chunk.position.clone().or(pulled.position);
                    self.raw.store(&chunk);
                    pulled.chunks.push(chunk);
                }
                Ok(None) => break,
                Err(error) => {
                    pulled.error = Some(error);
                    return pulled;
                }
            }
        }
        pulled.position = reader.end_position().or(pulled.position);
        pulled
    }

    /// [`Self::pull`] of a run that must not fail.
    async fn take(&self, position: Option<&Position>) -> Pulled {
        let pulled = self.pull(position).await;
        assert!(pulled.error.is_none(), "{:?}", pulled.error);
        pulled
    }

    /// The error of a run from the beginning, with its code.
    async fn fails(&self) -> (&'static str, Error) {
        let error = self.pull(None).await.error.expect("this run must fail");
        (error.code(), error)
    }

    fn outcomes(&self) -> Vec<(Option<u16>, &'static str)> {
        self.log
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|record| (record.status, record.outcome))
            .collect()
    }
}

/// The records that an extractor would make rows of.
fn records(chunk: &Chunk, path: &str) -> Vec<Value> {
    let body: Value = serde_json::from_slice(&chunk.bytes).unwrap();
    let list = path
        .split('.')
        .filter(|key| !key.is_empty())
        .fold(&body, |value, key| &value[key]);
    let skips = chunk.head.skips().unwrap();
    let kept = list.as_array().unwrap().iter().zip(0_u64..);
    kept.filter(|(_, n)| !skips.iter().any(|range| range.contains(n)))
        .map(|(record, _)| record.clone())
        .collect()
}

fn all_records(chunks: &[Chunk], path: &str) -> Vec<Value> {
    chunks
        .iter()
        .flat_map(|chunk| records(chunk, path))
        .collect()
}

/// `{"items": [from, …]}`: numbers as records.
fn items(numbers: impl IntoIterator<Item = u64>) -> Value {
    json!({ "items": numbers.into_iter().collect::<Vec<_>>() })
}

fn param(request: &forebay_testkit::Request, name: &str) -> u64 {
    request
        .param(name)
        .and_then(|value| value.parse().ok())
        .unwrap_or_default()
}

fn attributes(chunk: &Chunk) -> &BTreeMap<String, String> {
    &chunk.head.attributes
}
