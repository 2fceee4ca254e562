//! `sql`: one `SELECT` over the rows, as the table `input`.
//!
//! ```yaml
#![doc = include_str!("sql.example.yaml")]
//! ```
//!
//! The statement sees the rows of one batch at a time. One whose result for a row depends on other rows (an aggregate,
//! `GROUP BY`, `DISTINCT`, `LIMIT`, a window function, a join of the input with itself) is rejected when the pipeline is
//! loaded.
//!
//! A record on whose values the statement fails (a cast, a division by zero, an overflow) is rejected, the others are processed.
//!
//! A *row-wise* statement only projects, filters and unnests: each of its rows comes from one record and keeps that
//! record's origin, so records rejected by a later step can be replayed. Any other statement (a join with `VALUES`, `UNION
//! ALL`, `ORDER BY`) makes rows whose record is unknown.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use async_trait::async_trait;
use forebay_core::{Batch, Context, Error, InspectedStatement, Result, Selected, SqlEngine, sql};
use parking_lot::{Mutex, MutexGuard};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::bisect::{Divided, divide};
use super::check::without_place;
use super::{Refusal, Transform, TransformKind, Transformed, own_fault, refuse, variant};
use forebay_config::{Component, Document};
use forebay_formats::untyped::{STAND_INS, drop_empty, untyped, with_stand_in};

const INPUT: &str = "input";
/// The code of the engine's error for a type that no table can hold.
const UNSUPPORTED_TYPE: &str = "unsupported_type";
/// The error code of a step with too much output at once.
pub(crate) const OUTPUT_TOO_LARGE: &str = "transform_output_too_large";

#[derive(Debug)]
pub struct Kind;

impl Component for Kind {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn summary(&self) -> &'static str {
        "One SELECT over the rows, as the table `input`."
    }

    fn example(&self) -> &'static str {
        include_str!("sql.example.yaml")
    }

    fn schema(&self, _: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl TransformKind for Kind {
    fn build(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>> {
        let statement: String = config.parse()?;
        // The columns are not known before the first rows; the syntax is.
        let schema = Arc::new(ArrowSchema::empty());
        let tried = futures::executor::block_on(engine.schema(INPUT, schema, &statement));
        own_fault(tried).map_err(|error| config.sql_error(&error))?;
        let inspected = engine
            .inspect(INPUT, &statement)
            .map_err(|error| config.sql_error(&error))?;
        Ok(Box::new(Sql {
            inspected,
            statement,
            engine: engine.clone(),
            choice: Mutex::default(),
        }))
    }
}

#[derive(Debug)]
struct Sql {
    statement: String,
    inspected: InspectedStatement,
    engine: Arc<dyn SqlEngine>,
    choice: Mutex<Option<Choice>>,
}

/// The chosen types of untyped columns for rows of one schema, and the output columns without a type of their own then.
#[derive(Debug, Clone)]
struct Choice {
    schema: SchemaRef,
    stand_in: DataType,
    open: BTreeSet<String>,
}

impl Sql {
    /// The rows with types for the untyped columns that the statement names, such that it can be run; and the output
    /// columns without a type of their own: their type depends on the chosen ones.
    async fn with_types(&self, records: RecordBatch) -> Result<(RecordBatch, BTreeSet<String>)> {
        let names: BTreeSet<String> = untyped(&records).map(str::to_owned).collect();
        if names.is_disjoint(&self.inspected.names) {
            return Ok((records, BTreeSet::new()));
        }
        let Choice { stand_in, open, .. } = self.choose(&records, names).await?;
        Ok((with_stand_in(&records, &stand_in)?, open))
    }

    /// Chooses a type, once for rows of one schema. `untyped` are the columns without one.
    async fn choose(&self, records: &RecordBatch, untyped: BTreeSet<String>) -> Result<Choice> {
        let last = self.lock_choice().clone();
        if let Some(last) = last.filter(|last| last.schema == records.schema()) {
            return Ok(last);
        }
        let mut chosen = None;
        let mut answers = Vec::new();
        for stand_in in &STAND_INS {
            let given = with_stand_in(&records.slice(0, 0), stand_in)?.schema();
            let probe = row_of_nulls(&given);
            let statement = &self.statement;
            if self.engine.select(INPUT, probe, statement).await.is_ok() {
                answers.push(self.engine.schema(INPUT, given, statement).await?);
                chosen.get_or_insert(stand_in);
            }
        }
        let choice = Choice {
            schema: records.schema(),
            stand_in: chosen.unwrap_or(&DataType::Null).clone(),
            open: open_columns(&answers, untyped),
        };
        *self.lock_choice() = Some(choice.clone());
        Ok(choice)
    }

    fn lock_choice(&self) -> MutexGuard<'_, Option<Choice>> {
        self.choice.lock()
    }

    /// The batch of the results for the ranges of the input.
    async fn join(&self, batch: &Batch, passed: Vec<(Range<usize>, Selected)>) -> Result<Batch> {
        let mut made = Vec::new();
        let mut rows = Some(Vec::new());
        for (range, selected) in passed {
            made.extend(selected.records);
            rows = rows.zip(selected.rows).map(|(mut rows, more)| {
                rows.extend(more.into_iter().map(|row| range.start + row as usize));
                rows
            });
        }
        let schema = match made.first() {
            Some(first) => first.schema(),
            None => {
                let schema = batch.records.schema();
                self.engine.schema(INPUT, schema, &self.statement).await?
            }
        };
        let records = concat_batches(&schema, &made).map_err(|error| {
            Error::bug("concat", "failed to join the batches of a statement").with_source(error)
        })?;
        let origins = batch.origins.as_ref().zip(rows);
        Ok(Batch {
            child: batch.child.clone(),
            records,
            origins: origins.map(|(origins, rows)| origins.of(rows)),
        })
    }
}

fn bytes_max(batch: &Batch) -> usize {
    let origins = batch.origins.as_ref();
    let is_one_record = batch.records.num_rows() <= 1
        || origins.is_some_and(|origins| (1..origins.len()).all(|row| origins.is_same(0, row)));
    match is_one_record {
        true => sql::OUTPUT_BYTES_MAX,
        false => sql::ROWS_BYTES_MAX,
    }
}

/// Errors: `Config` `transform_output_too_large`, at which the caller takes fewer rows.
fn within_bound(bytes: usize, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let what = format!("a step made more than {bytes_max} bytes of one record");
    Err(Error::config(OUTPUT_TOO_LARGE, what))
}

/// Columns of the first result whose types differ in another one, or whose names are those of columns without a type.
fn open_columns(answers: &[SchemaRef], mut untyped: BTreeSet<String>) -> BTreeSet<String> {
    let Some((first, others)) = answers.split_first() else {
        return untyped;
    };
    let is_open = |field: &Field| {
        let is_other = |schema: &SchemaRef| {
            let found = schema.field_with_name(field.name());
            found.is_ok_and(|found| found.data_type() != field.data_type())
        };
        others.iter().any(is_other)
    };
    let open = first.fields().iter().filter(|field| is_open(field));
    untyped.extend(open.map(|field| field.name().clone()));
    untyped
}

/// A row without values.
fn row_of_nulls(schema: &ArrowSchema) -> RecordBatch {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
    let nulls = schema.fields().iter();
    let nulls = nulls.map(|field| new_null_array(field.data_type(), 1));
    let made = RecordBatch::try_new(Arc::clone(&schema), nulls.collect());
    made.unwrap_or_else(|_| RecordBatch::new_empty(schema))
}

#[async_trait]
impl Transform for Sql {
    fn passes(&self, column: &str) -> bool {
        let InspectedStatement {
            names,
            passed,
            passes_others,
            ..
        } = &self.inspected;
        passed.contains(column) || *passes_others && !names.contains(column)
    }

    fn named(&self) -> Vec<&str> {
        self.inspected.names.iter().map(String::as_str).collect()
    }

    fn overlooks(&self, base: &str, variant: &str) -> bool {
        let names = &self.inspected.names;
        names.contains(base) && !names.contains(variant)
    }

    fn columns(&self) -> Option<&[String]> {
        self.inspected.columns.as_deref()
    }

    fn made(&self) -> &[String] {
        &self.inspected.made
    }

    fn known_columns(&self, input: &SchemaRef) -> SchemaRef {
        let passed = input.fields().iter();
        let passed = passed.filter(|field| self.passes(field.name())).cloned();
        let computed = self.inspected.parts.iter().filter_map(|part| {
            let planned = self.engine.schema(INPUT, input.clone(), part);
            let schema = futures::executor::block_on(planned).ok()?;
            schema.fields().first().cloned()
        });
        Arc::new(ArrowSchema::new(passed.chain(computed).collect::<Vec<_>>()))
    }

    fn check_columns(&self, input: &SchemaRef) -> Result<()> {
        for part in &self.inspected.parts {
            let planned = self.engine.schema(INPUT, input.clone(), part);
            match futures::executor::block_on(planned) {
                Err(error) if error.code() == UNSUPPORTED_TYPE => return Err(error),
                // The rest is known with the first rows, or the same for the types of all other columns.
                _ => {}
            }
        }
        self.engine.check_types(INPUT, input, &self.statement)?;
        let mut parts = self.inspected.parts.iter();
        parts
            .try_for_each(|part| self.engine.check_types(INPUT, input, part))
            .map_err(without_place)
    }

    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed> {
        let records = variant::with_named(batch.records, self.inspected.names.iter());
        let (records, open) = self.with_types(records.context("stage", stage)?).await?;
        let batch = Batch { records, ..batch };
        let made_bytes = AtomicUsize::new(0);
        let bytes_max = bytes_max(&batch);
        let select = |records| async {
            let selected = self.engine.select(INPUT, records, &self.statement).await?;
            let bytes = made_bytes.fetch_add(selected.bytes, Ordering::Relaxed) + selected.bytes;
            within_bound(bytes, bytes_max).map(|()| selected)
        };
        let Divided { passed, failed } = divide(&batch.records, select)
            .await
            .context("stage", stage)?;
        let mut made = self.join(&batch, passed).await.context("stage", stage)?;
        made.records = drop_empty(made.records, &open)?;
        let refusal = |(row, error): (usize, Error)| Refusal {
            row,
            code: error.code(),
            reason: error.message().to_owned(),
        };
        let refusals = failed.into_iter().map(refusal).collect();
        Ok(Transformed {
            batch: made,
            rejected: refuse(batch, refusals, stage)?.rejected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::fixture;
    use forebay_config::Diagnostic;

    fn built(text: &str) -> Result<Box<dyn Transform>> {
        Kind.build(
            &Document::from_yaml(text)
                .expect("the text is YAML")
                .get("sql")
                .expect("a statement"),
            &fixture::engine(),
        )
    }

    async fn applied(text: &str) -> Result<Transformed> {
        built(text)?.apply(fixture::batch(), "transform[0]").await
    }

    #[tokio::test]
    async fn rows_of_a_statement_are_one_batch_and_keep_their_places() {
        let made = applied("sql: SELECT * FROM input\n")
            .await
            .expect("it runs");
        assert_eq!(made.batch.records, fixture::batch().records);
        assert_eq!(made.batch.origins, fixture::batch().origins);
        assert!(made.rejected.is_empty());
    }

    #[tokio::test]
    async fn rows_of_one_record_share_its_place() {
        let made = applied("sql: SELECT twice FROM input\n")
            .await
            .expect("it runs");
        let origins = made.batch.origins.expect("they are known");
        assert_eq!(origins.offsets, [0, 0, 100, 100, 200, 200, 300, 300]);
    }

    #[tokio::test]
    async fn a_record_on_which_the_statement_fails_is_refused_and_the_others_go_on() {
        let made = applied("sql: SELECT below 30 FROM input\n")
            .await
            .expect("it runs");
        let places: Vec<_> = made
            .rejected
            .iter()
            .map(|rejected| (rejected.payload, rejected.offset))
            .collect();
        assert_eq!(places, [(Some(7), Some(300))]);
        let refused = &made.rejected[0];
        assert_eq!(
            (refused.stage.as_str(), refused.code.as_str()),
            ("transform[0]", "too_big")
        );
        assert_eq!(refused.record, br#"{"n":40,"name":null}"#);
        assert_eq!(made.batch.records, fixture::batch().records.slice(0, 3));
        assert_eq!(
            made.batch.origins.expect("they are known").offsets,
            [0, 100, 200]
        );
    }

    #[tokio::test]
    async fn a_statement_that_is_not_row_wise_loses_places_and_refuses_the_failing_record_alone() {
        let made = applied("sql: SELECT sorted FROM input\n")
            .await
            .expect("it runs");
        assert!(made.batch.origins.is_none() && made.rejected.is_empty());
        let made = applied("sql: SELECT sorted below 30 FROM input\n")
            .await
            .expect("it runs");
        assert!(made.batch.origins.is_none());
        assert_eq!(made.batch.records.num_rows(), 3);
        let refused = made.rejected.iter().map(|rejected| rejected.offset);
        assert_eq!(refused.collect::<Vec<_>>(), [Some(300)]);
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
