//! SQL as a stage sees it: named inputs, a statement, batches out.

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::Result;

/// The rows that a statement made.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// Batches of one schema, none of them empty.
    pub records: Vec<RecordBatch>,
    /// For each row of `records`, in order, the row of the input that it came from; several rows may name the same one.
    /// `None` for a statement that is not row-wise.
    pub rows: Option<Vec<u32>>,
}

/// What the text of a statement says without its input being known.
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
    /// The statement with one of its computed columns each, for those whose types can be asked for alone.
    pub parts: Vec<String>,
}

/// Runs SQL over batches. The implementation lives in `query`, the only crate that knows the engine.
#[async_trait]
pub trait SqlEngine: fmt::Debug + Send + Sync {
    /// Checks `statement` as a transform of the table `input`, whose columns are not known.
    ///
    /// Errors: `Config` with line and column when it does not parse, names a table or function that does not exist, gives two
    /// columns one name, when what it yields for one row depends on other rows (`sql_not_row_wise`), or on the moment
    /// (`not_deterministic`).
    fn inspect(&self, input: &str, statement: &str) -> Result<InspectedStatement>;

    /// The schema that `statement` gives for an input of this schema, without running it.
    ///
    /// Errors: `Config` when the statement does not parse or does not fit the schema, with line and column.
    async fn schema(&self, input: &str, schema: SchemaRef, statement: &str) -> Result<SchemaRef>;

    /// Runs one `SELECT` over `records` as the table `input`. Row order is kept for statements without
    /// aggregation, join or `ORDER BY`.
    ///
    /// Errors: `Config` as above, and when the statement makes more than it may or takes too long; `Data` when a value
    /// makes the statement fail.
    async fn select(&self, input: &str, records: RecordBatch, statement: &str) -> Result<Selected>;

    /// Why `statement` is not row-wise, as the end of a sentence (`it has a join`); `None` when it is. A statement is
    /// row-wise when each row of its answer comes from one row of the input and from no other: then rows can be left out
    /// of the input without a change to what the others give.
    ///
    /// Errors: as [`SqlEngine::schema`].
    async fn not_row_wise(
        &self,
        input: &str,
        schema: SchemaRef,
        statement: &str,
    ) -> Result<Option<String>>;

    /// Evaluates a boolean expression for each row; the answer has one value per row, null counts as not true.
    ///
    /// Errors: as [`SqlEngine::select`].
    async fn evaluate(
        &self,
        records: &RecordBatch,
        expression: &str,
    ) -> Result<arrow::array::BooleanArray>;
}
