//! A lake in a folder of its own, and pipelines that run there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use bytes::Bytes;
use forebay_core::{Clock, RefName, Result, SystemClock, TableName};
use forebay_lake::Lake;
use forebay_store::Store;
use forebay_testkit::{PostgresServer, Workspace};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use serde_json::Value;

use crate::engine::ids::mix;
use crate::engine::{Figures, Ids, Replayed, RunContext, RunReport, replay, run, scan};
use crate::platform::push::PushConfig;
use crate::quarantine::{self, Event, OpenEvents};
use crate::spec::{PipelineSpec, parse};
use crate::transform::fixture;
use forebay_config::Variables;
use forebay_journal::{Head, Journals, Record};

#[derive(Debug)]
pub(super) struct World {
    pub(super) folder: Workspace,
    pub(super) lake: Lake,
    clock: Arc<dyn Clock>,
    journals: Arc<Journals>,
}

/// `WAREHOUSE` is the URL of the tests' Postgres.
struct Environment;

impl Variables for Environment {
    fn env(&self, name: &str) -> Option<String> {
        let server = PostgresServer::shared().filter(|_| name == "WAREHOUSE")?;
        Some(server.url())
    }

    fn secret(&self, _: &str) -> Option<String> {
        None
    }

    fn param(&self, _: &str) -> Option<String> {
        None
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = Workspace::new();
        let clock = SystemClock::shared();
        let store = Store::open(&folder.path().join("store.db"), clock.clone()).await;
        let objects = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let root = format!("file://{}", folder.path().display());
        let lake = Lake::new(store.unwrap(), Arc::new(objects), root, clock.clone());
        let journals = Journals::new(folder.path().join("journal"), clock.clone());
        Self {
            folder,
            lake,
            clock,
            journals: Arc::new(journals),
        }
    }

    pub(super) fn context(&self) -> RunContext {
        RunContext {
            lake: self.lake.clone(),
            journals: self.journals.clone(),
            ..context_in(&self.folder, self.lake.clone(), self.clock.clone())
        }
    }

    pub(super) fn spec(text: &str) -> Arc<PipelineSpec> {
        Arc::new(parsed(text))
    }

    pub(super) async fn run(&self, pipeline: &str) -> Result<RunReport> {
        run(Self::spec(pipeline), self.context()).await
    }

    pub(super) async fn replay(&self, pipeline: &str) -> Result<Replayed> {
        replay(Self::spec(pipeline), self.context()).await
    }

    pub(super) async fn push(&self, pipeline: &str, body: &[u8]) {
        let config = PushConfig::default();
        let name = pipeline.parse().unwrap();
        let journal = self.journals.of(&name, config.journal, config.limits());
        let record = Record {
            head: Head::new(self.clock.now()),
            body: Bytes::copy_from_slice(body),
        };
        journal.await.unwrap().append(vec![record]).await.unwrap();
    }

    async fn batches(&self, table: &TableName) -> Vec<RecordBatch> {
        batches_in(&self.lake, table).await
    }

    /// The rows of a table without nulls.
    pub(super) async fn rows(&self, table: &str) -> Vec<Value> {
        rows_in(&self.lake, &table.parse().unwrap()).await
    }

    /// The open refusals of pipeline `p`.
    pub(super) async fn open(&self) -> Vec<Event> {
        let table = quarantine::table(&"p".parse().unwrap()).unwrap();
        let mut open = OpenEvents::default();
        for batch in self.batches(&table).await {
            open.add(&batch).unwrap();
        }
        open.finish()
    }

    /// Columns of tables with rows in which no row has a value.
    pub(super) async fn empty_columns(&self) -> Vec<String> {
        let head = forebay_store::AsOf::Head(RefName::main());
        let mut empty = Vec::new();
        for name in self.lake.tables(&head).await.unwrap() {
            if name.namespace.as_str() != "t" {
                continue;
            }
            let mut valued = BTreeMap::new();
            for batch in self.batches(&name).await {
                for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                    note_valued(&format!("{name} {}", field.name()), column, &mut valued);
                }
            }
            let unvalued = valued.into_iter().filter(|(_, has_value)| !has_value);
            empty.extend(unvalued.map(|(name, _)| name));
        }
        empty
    }

    /// The content of the tables in namespace `t`, whatever the order of rows and columns and the keys made by Forebay: the
    /// columns of each with their types, and its rows. A child row includes its parent record.
    pub(super) async fn content(&self) -> BTreeMap<String, BTreeSet<String>> {
        let head = forebay_store::AsOf::Head(RefName::main());
        let mut roots = BTreeMap::new();
        for row in self.rows("t.rows").await {
            let Some(key) = row.get("_fb_id") else {
                continue;
            };
            let before = roots.insert(key.to_string(), row["id"].to_string());
            assert_eq!(before, None, "two rows have one key");
        }
        let mut content = BTreeMap::new();
        for name in self.lake.tables(&head).await.unwrap() {
            if name.namespace.as_str() != "t" {
                continue;
            }
            let mut lines = BTreeSet::new();
            let mut has_decimal = false;
            for mut row in self.rows(&name.to_string()).await {
                let fields = row.as_object_mut().unwrap();
                let root = fields
                    .remove("_fb_root_id")
                    .map(|key| roots[&key.to_string()].clone());
                fields.remove("_fb_id");
                fields.remove("_fb_parent_id");
                has_decimal |= fields.contains_key("v");
                let mut line = format!("{} {}", root.unwrap_or_default(), canonical(&row));
                while !lines.insert(line.clone()) {
                    line.push_str(" again");
                }
            }
            if lines.is_empty() {
                continue;
            }
            let table = self.lake.table(&head, &name).await.unwrap().unwrap();
            for field in table.schema().fields() {
                // A declared column is added with the next rows, whatever they are.
                if field.name() == "v" && !has_decimal {
                    continue;
                }
                let kind = field.data_type();
                let kind = (!kind.is_nested()).then(|| kind.to_string());
                lines.insert(format!(
                    "column {} {}",
                    field.name(),
                    kind.unwrap_or_default()
                ));
            }
            content.insert(name.to_string(), lines);
        }
        content
    }
}

/// A context of a process that works in a folder.
pub(super) fn context_in(folder: &Workspace, lake: Lake, clock: Arc<dyn Clock>) -> RunContext {
    let journals = Journals::new(folder.path().join("journal"), clock.clone());
    RunContext {
        lake,
        engine: fixture::engine(),
        lake_sql: Arc::new(forebay_testkit::NoSql),
        clock,
        ids: Ids::new(u64::try_from(uuid::Uuid::new_v4().as_u128() >> 64).unwrap()),
        project: folder.path().to_owned(),
        spill: folder.path().join("spill"),
        branch: RefName::main(),
        owner: "test".to_owned(),
        lease: std::time::Duration::from_secs(60),
        author: "test".to_owned(),
        cancel: tokio_util::sync::CancellationToken::new(),
        figures: Arc::new(Figures::default()),
        full: false,
        follow: false,
        journals: Arc::new(journals),
        exclusive: true,
        aws: forebay_objects::AwsVariables::default(),
        payload_attempts: 3,
        failpoint: None,
    }
}

pub(super) fn parsed(text: &str) -> PipelineSpec {
    let spec = parse("p.yaml", text, &Environment, &fixture::engine());
    spec.unwrap_or_else(|found| panic!("{found:?} in\n{text}"))
}

async fn batches_in(lake: &Lake, table: &TableName) -> Vec<RecordBatch> {
    let rows = scan::rows(lake, &RefName::main(), table).await;
    rows.unwrap().try_collect().await.unwrap()
}

/// The rows of a table without nulls.
pub(super) async fn rows_in(lake: &Lake, table: &TableName) -> Vec<Value> {
    let batches = batches_in(lake, table).await;
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    writer.write_batches(&batches).unwrap();
    writer.finish().unwrap();
    let text = writer.into_inner();
    if text.is_empty() {
        return Vec::new();
    }
    serde_json::from_slice(&text).unwrap()
}

/// Notes of a column, and of those inside of it, whether any row has a value there.
fn note_valued(name: &str, column: &ArrayRef, valued: &mut BTreeMap<String, bool>) {
    match column.data_type() {
        DataType::Struct(_) => {
            let object = column.as_struct();
            for (field, inner) in object.fields().iter().zip(object.columns()) {
                note_valued(&format!("{name}.{}", field.name()), inner, valued);
            }
        }
        DataType::List(_) => note_valued(name, column.as_list::<i32>().values(), valued),
        _ => {
            *valued.entry(name.to_owned()).or_default() |= column.null_count() < column.len();
        }
    }
}

/// A value with the keys of its objects in order.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, String> = fields
                .iter()
                .map(|(key, value)| (key, canonical(value)))
                .collect();
            format!("{sorted:?}")
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("{items:?}")
        }
        value => value.to_string(),
    }
}

/// The same numbers for the same seed (splitmix64, Steele et al. 2014).
pub(super) struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, thrown: 0 }
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.thrown += 1;
        let number = mix(self.seed, self.thrown);
        number % n
    }

    /// True with this probability in percent.
    pub(super) fn is(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
