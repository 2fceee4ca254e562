//! Payloads that make a stage panic, or end the process: each goes to quarantine whole, and the pipeline goes on.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;
use forebay_config::Variables;
use forebay_connectors::source::SourceContext;
use forebay_core::{
    Clock, Error, InspectedStatement, PayloadHead, RefName, Result, RunId, Selected, SqlEngine,
    SystemClock, TableName,
};
use forebay_formats::contract::{Contract, ContractPolicy};
use forebay_formats::framing::Framing;
use forebay_formats::{Extracted, Extraction, Extractor};
use forebay_journal::Journals;
use forebay_lake::Lake;
use forebay_objects::AwsVariables;
use forebay_pipeline::engine::{self, Figures, Ids, RunContext};
use forebay_pipeline::platform::PlatformContext;
use forebay_pipeline::spec::{self, PipelineSpec};
use forebay_store::{AsOf, RunRecord, RunStatus, StepRecord, Store};
use object_store::local::LocalFileSystem;
use tokio_util::sync::CancellationToken;

/// Panics at 13, whatever is asked.
#[derive(Debug)]
struct Superstitious;

#[async_trait]
impl SqlEngine for Superstitious {
    fn inspect(&self, _: &str, _: &str) -> Result<InspectedStatement> {
        Ok(InspectedStatement::default())
    }

    async fn schema(&self, _: &str, schema: SchemaRef, _: &str) -> Result<SchemaRef> {
        Ok(schema)
    }

    async fn select(&self, _: &str, records: RecordBatch, _: &str) -> Result<Selected> {
        Ok(Selected {
            rows: None,
            records: vec![records],
            ..Selected::default()
        })
    }

    async fn evaluate(&self, records: &RecordBatch, _: &str) -> Result<BooleanArray> {
        for column in records.columns() {
            let numbers = column.as_primitive_opt::<Int64Type>();
            assert!(
                numbers.is_none_or(|numbers| numbers.iter().flatten().all(|n| n != 13)),
                "thirteen"
            );
        }
        Ok(vec![true; records.num_rows()].into())
    }
}

/// An extractor with a bug.
#[derive(Debug)]
struct Buggy(Box<dyn Extractor>);

struct BuggyExtraction(Box<dyn Extraction>);

impl Extractor for Buggy {
    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn start(
        &self,
        contract: Option<Contract>,
        policy: &ContractPolicy,
        records: Option<&str>,
    ) -> Result<Box<dyn Extraction>> {
        Ok(Box::new(BuggyExtraction(
            self.0.start(contract, policy, records)?,
        )))
    }
}

impl Extraction for BuggyExtraction {
    fn push(&mut self, head: &Arc<PayloadHead>, bytes: &[u8], out: &mut Extracted) -> Result<()> {
        assert!(!bytes.windows(4).any(|part| part == b"bug!"), "a bug");
        self.0.push(head, bytes, out)
    }

    fn end(
        &mut self,
        head: &Arc<PayloadHead>,
        broken: Option<Error>,
        out: &mut Extracted,
    ) -> Result<()> {
        self.0.end(head, broken, out)
    }

    fn is_between_records(&self) -> bool {
        self.0.is_between_records()
    }

    fn flush(&mut self, out: &mut Extracted) -> Result<()> {
        self.0.flush(out)
    }

    fn contract(&self) -> Contract {
        self.0.contract()
    }
}

struct Nothing;

impl Variables for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
    fn param(&self, _: &str) -> Option<String> {
        None
    }
}

const PIPELINE: &str = "pipeline: p\nsource: {file: {path: \"data/*.ndjson\"}}\nextract: {json: {lines: true}}\nschema: {columns: {n: {check: \"value < 100\"}}}\nload: {iceberg: {table: t.p}}\n";

struct World {
    folder: tempfile::TempDir,
    lake: Lake,
    clock: Arc<dyn Clock>,
}

impl World {
    async fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let path = folder.path().join("store.db");
        let store = Store::open(&path, clock.clone()).await.unwrap();
        let objects = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let root = format!("file://{}", folder.path().display());
        let world = Self {
            lake: Lake::new(store, objects, root, clock.clone()),
            folder,
            clock,
        };
        for (name, text) in files {
            world.write(name, text);
        }
        world
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(&self, name: &str, text: &str) {
        let folder = self.folder.path().join("data");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn spec(&self) -> PipelineSpec {
        let engine: Arc<dyn SqlEngine> = Arc::new(Superstitious);
        spec::parse("p.yaml", PIPELINE, &Nothing, &engine).unwrap()
    }

    fn context(&self, figures: &Arc<Figures>) -> RunContext {
        RunContext {
            lake: self.lake.clone(),
            engine: Arc::new(Superstitious),
            lake_sql: Arc::new(forebay_testkit::NoSql),
            clock: self.clock.clone(),
            ids: Ids::new(7),
            project: self.folder.path().to_owned(),
            spill: self.folder.path().join("spill"),
            branch: RefName::main(),
            owner: "test".to_owned(),
            lease: Duration::from_secs(30),
            author: "test".to_owned(),
            cancel: CancellationToken::new(),
            figures: figures.clone(),
            full: false,
            follow: false,
            journals: Arc::new(Journals::new(
                self.folder.path().join("journal"),
                self.clock.clone(),
            )),
            exclusive: true,
            aws: AwsVariables::default(),
            payload_attempts: 3,
            failpoint: None,
        }
    }

    /// Runs; gives the rows that landed and the records that were refused.
    async fn run(&self, spec: PipelineSpec) -> Result<(u64, u64)> {
        let figures = Arc::new(Figures::default());
        engine::run(Arc::new(spec), self.context(&figures)).await?;
        Ok((self.total("t.p").await, self.total("quarantine.p").await))
    }

    async fn total(&self, table: &str) -> u64 {
        let name: TableName = table.parse().unwrap();
        let head = AsOf::Head(RefName::main());
        let table = self.lake.table(&head, &name).await.unwrap();
        let snapshots = table.map(|table| table.snapshots()).unwrap_or_default();
        let newest = snapshots.last();
        newest.map_or(0, |newest| newest.summary["total-records"].parse().unwrap())
    }
}

fn files(of: impl Iterator<Item = (usize, String)>) -> Vec<(String, String)> {
    of.map(|(n, text)| (format!("{n:03}.ndjson"), text))
        .collect()
}

async fn world(files: &[(String, String)]) -> World {
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    World::new(&files).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_behind_the_extractor_is_one_payload_in_quarantine() {
    let files = files((0..20).map(|n| (n, format!("{{\"n\": {n}}}\n{{\"n\": {}}}\n", n + 20))));
    let world = world(&files).await;
    assert_eq!(world.run(world.spec()).await.unwrap(), (38, 1));
    // And it stays so.
    world.write("100.ndjson", "{\"n\": 50}\n");
    assert_eq!(world.run(world.spec()).await.unwrap(), (39, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_extractor_is_one_payload_in_quarantine() {
    let text = |n: usize| match n {
        0 | 7 | 8 => "{\"n\": \"bug!\"}\n".to_owned(),
        n => format!("{{\"n\": {}}}\n", n + 20),
    };
    let files = files((0..12).map(|n| (n, text(n))));
    let world = world(&files).await;
    let mut spec = world.spec();
    let inner = spec.extract;
    spec.extract = Box::new(Buggy(inner));
    assert_eq!(world.run(spec).await.unwrap(), (9, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_every_payload_meets_ends_the_run() {
    let files = files((0..60).map(|n| (n, "{\"n\": 13}\n".to_owned())));
    let world = world(&files).await;
    let error = world.run(world.spec()).await.unwrap_err();
    assert_eq!(error.code(), "stage_panicked");
    assert!(error.to_string().contains("thirteen"), "{error}");
    assert!(world.total("quarantine.p").await < 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_ended_the_process_three_times_is_refused_whole() {
    let files = files((0..5).map(|n| (n, format!("{{\"n\": {n}}}\n"))));
    let world = world(&files).await;
    let spec = world.spec();
    let framing = spec.extract.framing();
    let context = SourceContext::alone(world.clock.clone(), world.folder.path(), framing);
    let context = PlatformContext::alone(context.unwrap());
    let split = spec.source.splits(&context).await.unwrap().remove(0);
    let name = {
        let mut reader = spec.source.open(&split, None, context).await.unwrap();
        reader.next().await.unwrap().unwrap().head.name.clone()
    };
    for n in 0..3 {
        let note = StepRecord {
            step: "attempt".to_owned(),
            detail: serde_json::json!({"split": split.as_str(), "sequence": 0, "payload": name}),
            ..StepRecord::default()
        };
        let lost = RunRecord {
            id: RunId::new(world.clock.now(), n),
            pipeline: spec.name.clone(),
            branch: RefName::main(),
            status: RunStatus::Running,
            started_at: world.clock.now(),
            ended_at: None,
            error: None,
            steps: vec![note],
        };
        world.lake.store().record_run(&lost).await.unwrap();
    }
    assert_eq!(world.run(spec).await.unwrap(), (4, 1));
}
