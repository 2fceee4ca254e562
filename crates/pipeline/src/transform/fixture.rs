//! A stand-in for the SQL engine: `COLUMN < NUMBER` as a condition, `SELECT * FROM input` as a statement.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use async_trait::async_trait;
use forebay_core::{Batch, Error, Origins, Result, SqlEngine};

use arrow::array::AsArray;

#[derive(Debug)]
pub(crate) struct LessThan;

pub(crate) fn engine() -> Arc<dyn SqlEngine> {
    Arc::new(LessThan)
}

fn syntax(text: &str) -> Error {
    Error::config("bad_sql", format!("1:1: syntax error: {text:?}"))
}

#[async_trait]
impl SqlEngine for LessThan {
    async fn schema(&self, _: &str, schema: SchemaRef, statement: &str) -> Result<SchemaRef> {
        if statement == "SELECT * FROM input" {
            Ok(schema)
        } else {
            Err(syntax(statement))
        }
    }

    async fn select(
        &self,
        _: &str,
        records: RecordBatch,
        statement: &str,
    ) -> Result<Vec<RecordBatch>> {
        if statement != "SELECT * FROM input" {
            return Err(syntax(statement));
        }
        let half = records.num_rows() / 2;
        Ok(vec![
            records.slice(0, half),
            records.slice(half, records.num_rows() - half),
        ])
    }

    async fn evaluate(&self, records: &RecordBatch, expression: &str) -> Result<BooleanArray> {
        let (name, bound) = expression
            .split_once(" < ")
            .ok_or_else(|| syntax(expression))?;
        let bound: i64 = bound.parse().map_err(|_| syntax(expression))?;
        let column = records
            .column_by_name(name)
            .ok_or_else(|| Error::config("bad_sql", format!("no column {name}")))?;
        let column = cast(column, &DataType::Int64)
            .map_err(|error| Error::data("bad_cast", error.to_string()))?;
        Ok(column
            .as_primitive::<Int64Type>()
            .iter()
            .map(|value| Some(value? < bound))
            .collect())
    }
}

/// Rows `n` (1, 20, null, 40) and `name` (a, b, c, null) with origins.
pub(crate) fn batch() -> Batch {
    let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(20), None, Some(40)]));
    let name: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        Some("b"),
        Some("c"),
        None,
    ]));
    let records = RecordBatch::try_from_iter_with_nullable([("n", n, true), ("name", name, true)]);
    let mut origins = Origins::default();
    (0..4).for_each(|row| origins.push(7, row * 100, 10));
    Batch::main(
        records.expect("the columns are equally long"),
        Some(origins),
    )
}
