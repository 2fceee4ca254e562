//! Files that grow: as many runs as there are parts give what one run over the whole gives.
#![expect(clippy::disallowed_methods, reason = "test files need not be durable")]

mod property;
mod smallest;

use std::time::{Duration, SystemTime};

use arrow::util::display::array_value_to_string;
use forebay_config::Document;
use forebay_connectors::source::{Source, SourceContext};
use forebay_core::{Chunk, Error, Position, Timestamp};
use forebay_formats::contract::ContractPolicy;
use forebay_formats::decode::Decoder;
use forebay_formats::{Extracted, Extractor};
use forebay_testkit::FakeClock;
use tempfile::TempDir;

fn yaml(text: &str) -> Document {
    Document::from_yaml(text).unwrap()
}

/// What runs have loaded and refused, sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Outcome {
    rows: Vec<String>,
    refused: Vec<String>,
}

/// A file that grows, and the pipeline that loads it.
struct Growing {
    folder: TempDir,
    name: String,
    source: Box<dyn Source>,
    extractor: Box<dyn Extractor>,
    position: Option<Position>,
    hours: u64,
    outcome: Outcome,
}

impl Growing {
    /// A file of this name with an extractor such as `csv: {trim: true}` and further keys of the source.
    fn new(name: &str, extract: &str, keys: &str) -> Self {
        let (kind, config) = extract.split_once(": ").unwrap();
        let source = yaml(&format!("{{path: '*', {keys}}}"));
        Self {
            folder: tempfile::tempdir().unwrap(),
            name: name.to_owned(),
            source: forebay_connectors::find_source("file")
                .unwrap()
                .build(&source)
                .unwrap(),
            extractor: forebay_formats::find(kind)
                .unwrap()
                .build(&yaml(config))
                .unwrap(),
            position: None,
            hours: 0,
            outcome: Outcome::default(),
        }
    }

    /// Loads each content in a run of its own.
    async fn load(mut self, contents: &[&[u8]]) -> Outcome {
        for content in contents {
            self.write(content);
            self.run().await;
        }
        self.outcome.rows.sort();
        self.outcome.refused.sort();
        self.outcome
    }

    /// Replaces the content, with a time that looks settled.
    fn write(&mut self, content: &[u8]) {
        let path = self.folder.path().join(&self.name);
        std::fs::write(&path, content).unwrap();
        self.hours += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + self.hours * 3_600);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    async fn run(&mut self) {
        // So late that no file has only just changed.
        let clock = FakeClock::auto(Timestamp(4_000_000_000_000_000));
        let framing = self.extractor.framing();
        let mut context = SourceContext::alone(clock, self.folder.path(), framing).unwrap();
        context.heading = self.extractor.heading();
        let split = self.source.splits(&context).await.unwrap().remove(0);
        let opened = self.source.open(&split, self.position.clone(), context);
        let mut reader = opened.await.unwrap();
        let mut payload = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            payload.extend_from_slice(&chunk.bytes);
            self.position = chunk.position.clone().or(self.position.take());
            if chunk.last {
                self.take(&chunk, &std::mem::take(&mut payload));
            }
        }
        self.position = reader.end_position().or(self.position.take());
    }

    /// Extracts a payload. As in a run, nothing of a corrupt one is loaded.
    fn take(&mut self, chunk: &Chunk, payload: &[u8]) {
        let mut text = Vec::new();
        let mut decoder = Decoder::new(chunk.head.compression).unwrap();
        let mut take = |bytes: &[u8]| {
            text.extend_from_slice(bytes);
            Ok::<(), Error>(())
        };
        let pushed = decoder.push(payload, &mut take);
        if pushed.and_then(|()| decoder.finish(&mut take)).is_err() {
            return;
        }
        let policy = ContractPolicy::default();
        let mut extraction = self.extractor.start(None, &policy, None).unwrap();
        let mut out = Extracted::default();
        extraction.push(&chunk.head, &text, &mut out).unwrap();
        extraction.end(&chunk.head, None, &mut out).unwrap();
        extraction.flush(&mut out).unwrap();
        self.outcome.add(&out);
    }
}

impl Outcome {
    fn add(&mut self, out: &Extracted) {
        for batch in &out.batches {
            let records = &batch.records;
            let text = |row: usize| {
                let columns = records.columns().iter();
                let values = columns.map(|column| array_value_to_string(column, row).unwrap());
                values
                    .filter(|value| !value.is_empty())
                    .collect::<Vec<_>>()
                    .join("|")
            };
            self.rows.extend((0..records.num_rows()).map(text));
        }
        let refused = out.rejected.iter().map(|rejected| &rejected.record);
        let text = |record: &Vec<u8>| String::from_utf8_lossy(record).into_owned();
        self.refused.extend(refused.map(text));
    }
}
