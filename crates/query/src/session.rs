//! SQL for people: one statement over one consistent state of the lake, answered as a stream.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use forebay_core::{
    CommitId, Error, ErrorKind, LakeSql, LakeStatement, RefName, Result, RowRange, RowStream,
    TableName,
};
use forebay_lake::Lake;
use forebay_store::AsOf;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::catalog::Catalogs;
use crate::describe::describe;
use crate::engine::deadline::QueryCancellation;
use crate::error::{Phase, explain, panicked};
use crate::natural_join::AskedJoins;
use crate::output_names::given_twice;
use crate::pinned::Pinned;
use crate::plain;
use crate::raw::PayloadReader;
use crate::row_fit::RowFit;
use crate::run::{self, PlannedStatement};
use crate::state::{QueryState, Resources, for_queries};
use crate::statement;
use crate::table::placed::PlacedTable;
use forebay_lake::SpillFolder;

/// Memory of all statements of one session together, before they spill.
pub const MEMORY_BYTES_DEFAULT: usize = 256 << 20;
/// Disk that spilling may take.
pub const SPILL_BYTES_DEFAULT: u64 = 16 << 30;
/// Names compared with a wrong table name.
const SUGGESTIONS_MAX: usize = 10_000;

/// The state that a session reads, and its limits.
#[derive(Clone)]
pub struct QueryOptions {
    /// The branch whose newest state is read, and in which `FOR SYSTEM_TIME AS OF` looks.
    pub branch: RefName,
    /// Reads this state instead of the branch's newest one.
    pub as_of: Option<AsOf>,
    pub memory_bytes: usize,
    pub spill_bytes: u64,
    /// Where to spill; the system's folder for temporary files when not given.
    pub spill_dir: Option<PathBuf>,
    /// Threads of one statement. A single one reads the rows of a table in the order of their commits.
    pub threads: usize,
    /// Longest that one statement may take, until its last row is read; without it any time.
    pub timeout: Option<Duration>,
    /// Ends running statements.
    pub cancellation: Option<QueryCancellation>,
    /// Gives `raw.<pipeline>` its column `payload`.
    pub payloads: Option<Arc<dyn PayloadReader>>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            branch: RefName::main(),
            as_of: None,
            memory_bytes: MEMORY_BYTES_DEFAULT,
            spill_bytes: SPILL_BYTES_DEFAULT,
            spill_dir: None,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            timeout: None,
            cancellation: None,
            payloads: None,
        }
    }
}

impl fmt::Debug for QueryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryOptions")
            .field("branch", &self.branch)
            .field("as_of", &self.as_of)
            .finish_non_exhaustive()
    }
}

/// A session over a lake. Statements may run at the same time; each sees the lake as it was when it began.
#[derive(Debug)]
pub struct Query {
    lake: Lake,
    options: QueryOptions,
    state: OnceLock<QueryState>,
}

/// A statement that has been read, and the state that it is planned on.
pub(crate) struct PlannedQuery {
    pub(crate) statement: Statement,
    pub(crate) as_of: AsOf,
    /// The table that it changes.
    pub(crate) placed: Option<PlacedTable>,
    /// The columns that its rows have to fit.
    pub(crate) fit: Option<RowFit>,
    /// Whether its rows become a table, so that no two columns may have one name.
    pub(crate) makes_table: bool,
}

/// The answer to one statement.
pub struct Answer {
    /// Strings are `Utf8`, never views.
    pub schema: SchemaRef,
    /// Rows as they are made; dropping the stream stops the query.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
    /// The commit whose state was read; `None` for an empty lake or a state chosen by time.
    pub commit: Option<CommitId>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("schema", &self.schema)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// All batches. Only for answers that are known to be small.
    pub async fn collect(self) -> Result<Vec<RecordBatch>> {
        self.batches.try_collect().await
    }
}

impl Query {
    pub fn new(lake: Lake, options: QueryOptions) -> Self {
        Self {
            lake,
            options,
            state: OnceLock::new(),
        }
    }

    /// Plans one statement and starts it.
    ///
    /// Errors: `Config` `bad_sql` with line and column for a statement that does not fit; `Unsupported` `read_only` for one
    /// that would change something. The stream gives `Data` when a value makes the statement fail and `Unavailable` when it
    /// needs more memory than it may use.
    pub async fn execute(&self, sql: &str) -> Result<Answer> {
        let parsed = statement::read(sql)?;
        let (as_of, commit) = self.pin().await?;
        let planned = PlannedQuery {
            statement: parsed,
            as_of,
            placed: None,
            fit: None,
            makes_table: false,
        };
        let answer = self.run_planned(sql, planned).await?;
        Ok(Answer { commit, ..answer })
    }

    /// The newest state, as one that stays.
    pub(crate) async fn head(&self) -> Result<AsOf> {
        Ok(self.pin().await?.0)
    }

    /// Plans a statement that has been read and starts it.
    pub(crate) async fn run_planned(&self, sql: &str, planned: PlannedQuery) -> Result<Answer> {
        let branch = self.options.branch.clone();
        self.run_on(sql, planned, branch, BTreeMap::new()).await
    }

    async fn run_on(
        &self,
        sql: &str,
        planned: PlannedQuery,
        branch: RefName,
        new: BTreeMap<TableName, Vec<RowRange>>,
    ) -> Result<Answer> {
        let PlannedQuery {
            statement,
            as_of,
            placed,
            fit,
            makes_table,
        } = planned;
        let payloads = self.options.payloads.clone();
        let pinned = Pinned::new(self.lake.clone(), branch, as_of, payloads);
        let pinned = pinned.with_placed(placed).with_new_rows(new);
        // The engine panics on some values; that ends the statement, not the process.
        let started = AssertUnwindSafe(self.start(sql, statement, &pinned, fit.as_ref()))
            .catch_unwind()
            .await
            .map_err(|_| panicked())?;
        match started {
            Ok((schema, stream)) => {
                if let Some(name) = repeated_name(&schema).filter(|_| makes_table) {
                    return Err(given_twice("", name));
                }
                let output = plain::schema(&schema);
                Ok(Answer {
                    batches: self.batches(sql, stream, output.clone()),
                    schema: output,
                    commit: None,
                })
            }
            Err(error) => Err(self.explain(&error, sql, &pinned).await),
        }
    }

    /// The rows in the types of people.
    fn batches(
        &self,
        sql: &str,
        stream: SendableRecordBatchStream,
        to: SchemaRef,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let sql = Arc::<str>::from(sql);
        let spill_failure = self.spill_failure();
        // The session may end before its answer is read.
        let spill_folder = self.spill_folder();
        let batches = AssertUnwindSafe(stream).catch_unwind().map(move |batch| {
            let _kept = &spill_folder;
            let batch = batch.map_err(|_| panicked())?;
            let batch = batch.map_err(|error| {
                let error = explain(&error, Phase::Run, &sql, &[]);
                with_spill_failure(error, spill_failure.as_deref())
            })?;
            plain::batch(&batch, &to)
        });
        batches.boxed()
    }

    /// The state that the statement reads: a commit, found once, so that all tables are of one moment.
    async fn pin(&self) -> Result<(AsOf, Option<CommitId>)> {
        match &self.options.as_of {
            None => {}
            Some(AsOf::Head(branch)) if *branch == self.options.branch => {}
            Some(AsOf::Commit(id)) => return Ok((AsOf::Commit(*id), Some(*id))),
            Some(other) => return Ok((other.clone(), None)),
        }
        let head = self
            .lake
            .store()
            .log(&self.options.branch, 1)
            .await?
            .into_iter()
            .next();
        Ok(match head {
            Some(commit) => (AsOf::Commit(commit.id), Some(commit.id)),
            None => (AsOf::Head(self.options.branch.clone()), None),
        })
    }

    async fn start(
        &self,
        sql: &str,
        parsed: Statement,
        pinned: &Pinned,
        fit: Option<&RowFit>,
    ) -> Result<(SchemaRef, SendableRecordBatchStream), DataFusionError> {
        let mut state = SessionStateBuilder::new_from_existing(self.state()?.session.clone())
            .with_catalog_list(Arc::new(Catalogs(pinned.clone())))
            .build();
        let now = self.lake.clock().now();
        state.execution_props_mut().query_execution_start_time =
            chrono::DateTime::from_timestamp_micros(now.micros());
        if lists_tables(&state, &parsed)? {
            pinned.list_views().await.map_err(crate::error::external)?;
        }
        let asked = AskedJoins::of(&parsed, sql);
        let logical = state.statement_to_plan(parsed).await?;
        asked.check(&logical)?;
        let logical = match fit {
            Some(fit) => fit.apply(logical)?,
            None => logical,
        };
        read_only().verify_plan(&logical)?;
        if let LogicalPlan::DescribeTable(described) = &logical {
            let stream = describe(&described.schema)?;
            return Ok((stream.schema(), stream));
        }
        let planned = PlannedStatement {
            state,
            logical,
            deadline: run::deadline(
                self.lake.clock(),
                self.options.timeout,
                self.options.cancellation.clone(),
            ),
        };
        let stream = planned.stream().await?;
        // Types are settled when the plan is made, not before.
        Ok((stream.schema(), stream))
    }

    fn spill_folder(&self) -> Option<Arc<SpillFolder>> {
        self.state.get()?.session.config().get_extension()
    }

    fn spill_failure(&self) -> Option<Arc<str>> {
        self.state.get()?.spill_failure.clone()
    }

    fn state(&self) -> Result<&QueryState, DataFusionError> {
        if let Some(state) = self.state.get() {
            return Ok(state);
        }
        let resources = Resources {
            memory_bytes: self.options.memory_bytes,
            spill_bytes: self.options.spill_bytes,
            spill_dir: self.options.spill_dir.clone(),
            threads: self.options.threads.max(1),
        };
        let state = for_queries(self.lake.objects().clone(), &resources)?;
        Ok(self.state.get_or_init(|| state))
    }

    /// The error with a suggestion from the lake's own table names, for an unknown name.
    async fn explain(&self, error: &DataFusionError, sql: &str, pinned: &Pinned) -> Error {
        let plain = explain(error, Phase::Plan, sql, &[]);
        if plain.kind() != ErrorKind::Config || !plain.message().contains("no table") {
            return plain;
        }
        let Ok(names) = pinned.list().await else {
            return plain;
        };
        let system = crate::system::TABLES
            .iter()
            .map(|table| format!("{}.{}", crate::system::NAMESPACE, table.name()));
        let names: Vec<String> = names
            .iter()
            .take(SUGGESTIONS_MAX)
            .map(ToString::to_string)
            .chain(system)
            .collect();
        explain(error, Phase::Plan, sql, &names)
    }
}

/// The statements of pipelines share the memory of the session.
#[async_trait]
impl LakeSql for Query {
    async fn select(&self, statement: &LakeStatement) -> Result<Box<dyn RowStream>> {
        let LakeStatement {
            text,
            branch,
            commit,
            new,
        } = statement;
        let planned = PlannedQuery {
            statement: statement::read_select(text)?,
            as_of: AsOf::Commit(*commit),
            placed: None,
            fit: None,
            makes_table: true,
        };
        let running = self.run_on(text, planned, branch.clone(), new.clone());
        let answer = Answer {
            commit: Some(*commit),
            ..running.await?
        };
        Ok(Box::new(answer))
    }
}

#[async_trait]
impl RowStream for Answer {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.batches.try_next().await
    }
}

/// A name that two columns have, as the columns of two tables may.
fn repeated_name(schema: &SchemaRef) -> Option<&str> {
    let mut seen = HashSet::new();
    let mut names = schema.fields().iter().map(|field| field.name().as_str());
    names.find(|name| !seen.insert(name.to_lowercase()))
}

/// Out of memory with the reason why spilling could not help.
fn with_spill_failure(error: Error, failure: Option<&str>) -> Error {
    match failure {
        Some(failure) if error.code() == "query_memory" => error.with_hint(format!(
            "nothing can be spilled to {failure}; free disk space there, or raise `memory` in `[sql]` of forebay.toml"
        )),
        _ => error,
    }
}

fn read_only() -> SQLOptions {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
}

/// Whether the statement asks which tables there are.
fn lists_tables(state: &SessionState, parsed: &Statement) -> Result<bool, DataFusionError> {
    let references = state.resolve_table_references(parsed)?;
    Ok(references
        .iter()
        .any(|table| table.schema() == Some("information_schema")))
}
