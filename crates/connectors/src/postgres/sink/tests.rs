//! The sink against a real server.

mod columns;
mod encrypted;
mod modes;
mod refused;
mod shapes;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use forebay_core::{Batch, Origins, Position, Rejected, Result, SystemClock};
use forebay_testkit::PostgresServer;
use tokio_util::sync::CancellationToken;

use super::Kind;
use crate::sink::{Delivered, Sink, SinkContext, SinkKind, Target};
use forebay_config::Document;

/// A schema of its own for each test.
struct World {
    server: &'static PostgresServer,
    schema: String,
}

impl World {
    fn new() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::SeqCst);
        Some(Self {
            server: PostgresServer::shared()?,
            schema: format!("w{}_{n}", std::process::id()),
        })
    }

    fn sql(&self, text: &str) -> String {
        self.server.sql(&text.replace("SPOT", &self.schema))
    }

    fn target(&self, more: &str) -> Box<dyn Target> {
        let config = format!(
            "{{url: \"{}\", table: {}.t{more}}}",
            self.server.url(),
            self.schema
        );
        Kind.build(&Document::from_yaml(&config).unwrap()).unwrap()
    }

    fn context(&self, epoch: i64) -> SinkContext {
        SinkContext {
            project: std::env::temp_dir(),
            pipeline: "orders".parse().unwrap(),
            branch: "main".parse().unwrap(),
            split: "all".parse().unwrap(),
            epoch,
            sequence: 0,
            run: forebay_core::RunId::new(forebay_core::Timestamp(0), 1),
            unfinished_runs: Vec::new(),
            full: false,
            replay: false,
            cancel: CancellationToken::new(),
            clock: SystemClock::shared(),
        }
    }

    /// The sink of a first run.
    async fn open(&self, more: &str) -> Box<dyn Sink> {
        let mut sink = self.target(more).open(self.context(1)).await.unwrap();
        if sink
            .standing()
            .is_some_and(|standing| standing.sequence.is_none())
        {
            sink.adopt(0).await.unwrap();
        }
        sink
    }

    /// `id note` of all rows of the target.
    fn rows(&self) -> BTreeMap<i64, String> {
        let text = self.sql("SELECT id, coalesce(note, '-') FROM SPOT.t");
        let line = |line: &str| {
            let (id, note) = line.split_once('|').unwrap();
            (id.parse().unwrap(), note.to_owned())
        };
        text.lines().map(line).collect()
    }
}

fn delivered(n: i64) -> Delivered {
    Delivered {
        position: Position(serde_json::json!({ "n": n })),
        outbox: vec![n as u8],
    }
}

/// Rows with their numbers as places.
fn rows(values: &[(i64, Option<&str>)]) -> Batch {
    let id: ArrayRef = Arc::new(values.iter().map(|(id, _)| *id).collect::<Int64Array>());
    let note: ArrayRef = Arc::new(
        values
            .iter()
            .map(|(_, note)| *note)
            .collect::<StringArray>(),
    );
    let mut origins = Origins::default();
    (0..values.len()).for_each(|row| origins.push(0, row as u64, 0));
    let records =
        RecordBatch::try_from_iter_with_nullable([("id", id, true), ("note", note, true)]);
    Batch::main(records.unwrap(), Some(origins))
}

async fn load(sink: &mut dyn Sink, batch: Batch, sequence: i64) -> Result<Vec<Rejected>> {
    let mut rejected = sink.write(batch).await?;
    rejected.extend(sink.flush().await?);
    sink.commit(sequence, delivered(sequence + 1)).await?;
    Ok(rejected)
}
