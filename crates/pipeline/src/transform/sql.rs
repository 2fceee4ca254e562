//! `sql`: one `SELECT` over the rows, as the table `input`.
//!
//! ```yaml
//! transform:
//!   - sql: SELECT id, mag AS magnitude FROM input WHERE mag IS NOT NULL
//! ```
//!
//! The statement sees the rows of one commit at a time, so an aggregation is over those. Its rows are new ones: where
//! they came from is not known any more.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::Schema as ArrowSchema;
use async_trait::async_trait;
use forebay_core::{Batch, Context, Error, Result, SqlEngine};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Transform, TransformKind, Transformed, own_fault};
use crate::file::Document;

const INPUT: &str = "input";

#[derive(Debug)]
pub struct Kind;

impl TransformKind for Kind {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn summary(&self) -> &'static str {
        "One SELECT over the rows, as the table `input`."
    }

    fn schema(&self, _: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }

    fn build(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>> {
        let statement: String = config.parse()?;
        // The columns are not known before the first rows; the syntax is.
        let schema = Arc::new(ArrowSchema::empty());
        let tried = futures::executor::block_on(engine.schema(INPUT, schema, &statement));
        own_fault(tried).map_err(|error| config.sql_error(&error))?;
        Ok(Box::new(Sql {
            statement,
            engine: engine.clone(),
        }))
    }
}

#[derive(Debug)]
struct Sql {
    statement: String,
    engine: Arc<dyn SqlEngine>,
}

#[async_trait]
impl Transform for Sql {
    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed> {
        let schema = batch.records.schema();
        let made = self
            .engine
            .select(INPUT, batch.records, &self.statement)
            .await
            .context("stage", stage)?;
        let schema = match made.first() {
            Some(first) => first.schema(),
            None => self
                .engine
                .schema(INPUT, schema, &self.statement)
                .await
                .context("stage", stage)?,
        };
        let records = concat_batches(&schema, &made).map_err(|error| {
            Error::bug("concat", "failed to join the batches of a statement").with_source(error)
        })?;
        Ok(Transformed {
            batch: Batch {
                records,
                origins: None,
                ..batch
            },
            rejected: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Diagnostic;
    use crate::transform::fixture;

    fn built(text: &str) -> Result<Box<dyn Transform>> {
        Kind.build(
            &Document::from_yaml(text)
                .expect("the text is YAML")
                .get("sql")
                .expect("a statement"),
            &fixture::engine(),
        )
    }

    #[tokio::test]
    async fn rows_of_a_statement_are_one_batch_without_origins() {
        let transform = built("sql: SELECT * FROM input\n").expect("it is built");
        let made = transform
            .apply(fixture::batch(), "transform[0]")
            .await
            .expect("it runs");
        assert_eq!(made.batch.records, fixture::batch().records);
        assert!(made.batch.origins.is_none() && made.rejected.is_empty());
    }

    #[test]
    fn a_syntax_error_points_at_the_statement() {
        let error = built("sql: SELEC * FROM input\n").expect_err("it does not parse");
        let at = Diagnostic::of(&error).expect("it has a place");
        assert_eq!(
            (at.place.line, at.place.column, error.code()),
            (1, 6, "bad_sql")
        );
    }
}
