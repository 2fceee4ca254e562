//! SQL as a stage sees it: named inputs, a statement, batches out.

use std::fmt;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::Result;

/// Runs SQL over batches. The implementation lives in `query`, the only crate that knows the engine.
#[async_trait]
pub trait SqlEngine: fmt::Debug + Send + Sync {
    /// The schema that `statement` gives for an input of this schema, without running it.
    ///
    /// Errors: `Config` when the statement does not parse or does not fit the schema, with line and column.
    async fn schema(&self, input: &str, schema: SchemaRef, statement: &str) -> Result<SchemaRef>;

    /// Runs one `SELECT` over `records` as the table `input`. Row order is kept for statements without
    /// aggregation, join or `ORDER BY`.
    ///
    /// Errors: `Config` as above; `Data` when a value makes the statement fail.
    async fn select(
        &self,
        input: &str,
        records: RecordBatch,
        statement: &str,
    ) -> Result<Vec<RecordBatch>>;

    /// Evaluates a boolean expression for each row; the answer has one value per row, null counts as not true.
    async fn evaluate(
        &self,
        records: &RecordBatch,
        expression: &str,
    ) -> Result<arrow::array::BooleanArray>;
}
