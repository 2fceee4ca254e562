//! SQL as a stage sees it: named inputs, a statement, batches out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::{CommitId, RefName, Result, TableName};

/// Most bytes that a statement may make of one batch, or of one record: one that multiplies rows without end stops here.
pub const OUTPUT_BYTES_MAX: usize = 128 << 20;
/// … and of several records where they are known, since fewer can be taken at a time.
pub const ROWS_BYTES_MAX: usize = 64 << 20;
/// The code of a statement that made more.
pub const OUTPUT_TOO_LARGE: &str = "sql_output_too_large";

/// The rows that a statement made.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// Batches of one schema, none of them empty.
    pub records: Vec<RecordBatch>,
    /// For each row of `records`, in order, the row of the input that it came from; several rows may name the same one.
    /// `None` for a statement that is not row-wise.
    pub rows: Option<Vec<u32>>,
    /// Bytes of `records`.
    pub bytes: usize,
}

/// Properties of a statement that are known from its text, without its input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InspectedStatement {
    /// The columns that the statement yields, when the text names every one.
    pub columns: Option<Vec<String>>,
    /// Everything that may be the name of a column in it.
    pub names: BTreeSet<String>,
    /// Columns of the input that it yields as they are, under their names, and uses for nothing else.
    pub passed: BTreeSet<String>,
    /// Whether it yields all columns of the input that it does not name (`*`).
    pub passes_others: bool,
    /// Columns that it makes of others: the names that it gives by `AS` and mentions nowhere else.
    pub made: Vec<String>,
    /// The statement with one of its computed columns each, for those whose types can be inferred alone.
    pub parts: Vec<String>,
}

/// Tables that a statement over the lake names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedTables {
    /// All of them, as they are named.
    pub all: BTreeSet<TableName>,
    /// The tables that would be read by those names of [`Self::all`] that may be names of views.
    pub views: BTreeMap<TableName, TableName>,
    /// Those of which only new rows are read: `${new:namespace.table}`.
    pub new: BTreeSet<TableName>,
    /// Functions and views that it names whose values change without a commit: `now()`, `random()`, `t__now`.
    pub moving: BTreeSet<String>,
}

/// One `SELECT` over tables of the lake, all in one state.
#[derive(Debug, Clone)]
pub struct LakeStatement {
    pub text: String,
    pub branch: RefName,
    /// The state that is read.
    pub commit: CommitId,
    /// The rows of each table of `${new:…}` that are new.
    pub new: BTreeMap<TableName, Vec<RowRange>>,
}

/// Rows of a table in one of its snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRange {
    /// `None`: the one in the state that is read. Files that were replaced by others since (compaction) are in an earlier one.
    pub snapshot: Option<i64>,
    /// Only files with a greater sequence number; -1 for all.
    pub after: i64,
}

/// The rows of a statement, as they are made; dropping it stops the statement.
#[async_trait]
pub trait RowStream: Send {
    fn schema(&self) -> SchemaRef;

    /// The next rows; `None` after the last ones.
    async fn next(&mut self) -> Result<Option<RecordBatch>>;
}

/// Runs SQL over the tables of a lake. The implementation lives in `query`.
#[async_trait]
pub trait LakeSql: fmt::Debug + Send + Sync {
    /// Plans a statement and starts it.
    ///
    /// Errors: `Config` with line and column when it does not fit the tables; the stream gives `Data` when a value makes it fail
    /// and `Unavailable` when it needs more memory or time than it may use.
    async fn select(&self, statement: &LakeStatement) -> Result<Box<dyn RowStream>>;
}

/// Runs SQL over batches. The implementation lives in `query`, the only crate that knows the engine.
#[async_trait]
pub trait SqlEngine: fmt::Debug + Send + Sync {
    /// Checks `statement` as a transform of the table `input`, whose columns are not known.
    ///
    /// Errors: `Config` with line and column when it does not parse, names a table or function that does not exist, gives two
    /// columns one name, when its result for one row depends on other rows (`sql_not_row_wise`), or on the time
    /// (`not_deterministic`).
    fn inspect(&self, input: &str, statement: &str) -> Result<InspectedStatement>;

    /// The tables that a `SELECT` over the lake names; none for an engine that knows no lake.
    ///
    /// Errors: `Config` with line and column when it does not parse, or gives two columns one name (`duplicate_column`).
    fn named_tables(&self, statement: &str) -> Result<NamedTables> {
        let _ = statement;
        Ok(NamedTables::default())
    }

    /// Checks `statement` over the table `input`, of which only the columns in `known` have a type so far.
    ///
    /// Errors: `Config` or `Unsupported`, with line and column, when the statement does not fit them, whatever the types of the other
    /// columns are.
    fn check_types(&self, input: &str, known: &SchemaRef, statement: &str) -> Result<()> {
        let _ = (input, known, statement);
        Ok(())
    }

    /// The schema that `statement` gives for an input of this schema, without running it.
    ///
    /// Errors: `Config` when the statement does not parse or does not fit the schema, with line and column.
    async fn schema(&self, input: &str, schema: SchemaRef, statement: &str) -> Result<SchemaRef>;

    /// Runs one `SELECT` over `records` as the table `input`. Row order is kept for statements without
    /// aggregation, join or `ORDER BY`. A statement is *row-wise* when it only projects, filters and unnests.
    ///
    /// Errors: `Config` as above; `Data` when a value makes the statement fail, and when the statement takes too long for these rows or
    /// makes more of them than it may.
    async fn select(&self, input: &str, records: RecordBatch, statement: &str) -> Result<Selected>;

    /// Evaluates a boolean expression for each row; the answer has one value per row, null counts as not true.
    ///
    /// Errors: as [`SqlEngine::select`].
    async fn evaluate(
        &self,
        records: &RecordBatch,
        expression: &str,
    ) -> Result<arrow::array::BooleanArray>;
}
