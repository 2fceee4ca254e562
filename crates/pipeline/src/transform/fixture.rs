//! A stand-in for the SQL engine: `COLUMN < NUMBER` as a condition, and as a statement `SELECT WORDS FROM input`, where the
//! words are `*`, `twice` (each row two times), `sorted` (not row-wise), `below N` (fails on an `n` of N or more).

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use async_trait::async_trait;
use forebay_core::{Batch, Error, InspectedStatement, Origins, Result, Selected, SqlEngine};

use arrow::array::AsArray;

#[derive(Debug)]
pub(crate) struct LessThan;

pub(crate) fn engine() -> Arc<dyn SqlEngine> {
    Arc::new(LessThan)
}

fn syntax(text: &str) -> Error {
    Error::config("bad_sql", format!("1:1: syntax error: {text:?}"))
}

/// The words of a statement.
fn words(statement: &str) -> Result<Vec<&str>> {
    let words = statement
        .strip_prefix("SELECT ")
        .and_then(|rest| rest.strip_suffix(" FROM input"));
    Ok(words.ok_or_else(|| syntax(statement))?.split(' ').collect())
}

/// Fails when an `n` is not below the bound in the words.
fn below(records: &RecordBatch, words: &[&str]) -> Result<()> {
    let Some(at) = words.iter().position(|word| *word == "below") else {
        return Ok(());
    };
    let bound: i64 = words[at + 1].parse().map_err(|_| syntax(words[at + 1]))?;
    let values = records.column(0).as_primitive::<Int64Type>();
    match values.iter().flatten().find(|value| *value >= bound) {
        Some(value) => Err(Error::data(
            "too_big",
            format!("{value} is not below {bound}"),
        )),
        None => Ok(()),
    }
}

#[async_trait]
impl SqlEngine for LessThan {
    fn inspect(&self, _: &str, _: &str) -> Result<InspectedStatement> {
        Ok(InspectedStatement::default())
    }

    async fn schema(&self, _: &str, schema: SchemaRef, statement: &str) -> Result<SchemaRef> {
        words(statement).map(|_| schema)
    }

    async fn select(&self, _: &str, records: RecordBatch, statement: &str) -> Result<Selected> {
        let words = words(statement)?;
        below(&records, &words)?;
        let times = if words.contains(&"twice") { 2 } else { 1 };
        let rows = (0..records.num_rows() as u32).flat_map(|row| std::iter::repeat_n(row, times));
        let rows: Vec<u32> = rows.collect();
        let batches = rows.iter().map(|row| records.slice(*row as usize, 1));
        Ok(Selected {
            records: batches.collect(),
            rows: (!words.contains(&"sorted")).then_some(rows),
            ..Selected::default()
        })
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
