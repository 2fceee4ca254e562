//! The SQL engine of these tests: takes every statement but those that say `SELEC` or `now()`. One that says `AS made` makes that
//! column, and one that says `INTERVAL` yields one.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use forebay_core::{Error, InspectedStatement, Result, Selected, SqlEngine};

#[derive(Debug)]
struct Lenient;

pub(crate) fn shared() -> Arc<dyn SqlEngine> {
    Arc::new(Lenient)
}

fn parses(sql: &str) -> Result<()> {
    let wrong = sql.split_whitespace().any(|word| word == "SELEC");
    if wrong {
        Err(Error::config("bad_sql", "1:1: syntax error: found SELEC"))
    } else {
        Ok(())
    }
}

#[async_trait]
impl SqlEngine for Lenient {
    fn inspect(&self, _: &str, statement: &str) -> Result<InspectedStatement> {
        if statement.contains("now()") {
            let message = "1:8: now() gives another answer on each run";
            return Err(Error::config("not_deterministic", message));
        }
        let made = statement.contains("AS made").then(|| "made".to_owned());
        Ok(InspectedStatement {
            columns: None,
            made: made.into_iter().collect(),
            parts: vec![statement.to_owned()],
            ..InspectedStatement::default()
        })
    }

    async fn schema(&self, _: &str, schema: SchemaRef, statement: &str) -> Result<SchemaRef> {
        if statement.contains("INTERVAL") && schema.field_with_name("at").is_ok() {
            let message = "column d has type interval, which no table can hold";
            return Err(Error::config("unsupported_type", message));
        }
        parses(statement).map(|()| schema)
    }

    async fn select(&self, _: &str, records: RecordBatch, statement: &str) -> Result<Selected> {
        parses(statement).map(|()| Selected {
            records: vec![records],
            rows: None,
            ..Selected::default()
        })
    }

    async fn evaluate(&self, records: &RecordBatch, expression: &str) -> Result<BooleanArray> {
        parses(expression).map(|()| BooleanArray::from(vec![true; records.num_rows()]))
    }
}
