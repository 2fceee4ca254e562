//! `check`: rules that every row must meet.
//!
//! ```yaml
//! transform:
//!   - check:
//!       - {name: mag_range, where: "mag BETWEEN -2 AND 10"}
//!       - {name: has_time, where: "time IS NOT NULL", on_fail: fail}
//! ```
//!
//! A row for which the condition is not true (false, or null) is quarantined with the name of the rule, or the run
//! fails. Rules are taken in order; a later rule sees only the rows that met the earlier ones.
//! The same work checks the `required` and `check` of `schema.columns`: [`ColumnChecks`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use async_trait::async_trait;
use forebay_core::{Batch, Context, Error, Rejected, Result, SqlEngine};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;

use super::{Refusal, Transform, TransformKind, Transformed, own_fault, refuse, rows_as_json};
use crate::extract::contract::{ColumnRule, ColumnType, ContractPolicy};
use crate::file::Document;

/// Bytes of the example row in an error.
const EXAMPLE_BYTES_MAX: usize = 500;
/// The stage at which the columns' own rules are checked.
const EXTRACT: &str = "extract";

#[derive(Debug)]
pub struct Kind;

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Name of the rule, unique in the step; quarantined rows carry it.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]*$"))]
    name: String,
    /// SQL condition that must be true for every row.
    #[schemars(length(min = 1))]
    r#where: String,
    /// What happens when it is not.
    #[serde(default)]
    on_fail: OnFail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnFail {
    /// The row is quarantined, the others go on.
    #[default]
    Quarantine,
    /// The run fails.
    Fail,
}

impl TransformKind for Kind {
    fn name(&self) -> &'static str {
        "check"
    }

    fn summary(&self) -> &'static str {
        "Rules that every row must meet; a row that does not is quarantined, or the run fails."
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Vec<Rule>>();
        schema.insert("minItems".to_owned(), 1.into());
        schema
    }

    fn build(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>> {
        let rules: Vec<Rule> = config.parse()?;
        let mut names = HashSet::new();
        for (rule, place) in rules.iter().zip(config.elements()) {
            let at = |key| place.get(key).unwrap_or_else(|| place.clone());
            if !names.insert(rule.name.as_str()) {
                return Err(at("name").error(
                    "name_taken",
                    format!("two rules cannot both be named `{}`", rule.name),
                ));
            }
            let checked = check_expression(
                engine,
                RecordBatch::new_empty(Arc::new(ArrowSchema::empty())),
                &rule.r#where,
            );
            own_fault(checked).map_err(|error| at("where").sql_error(&error))?;
        }
        Ok(Box::new(Check {
            rules,
            engine: engine.clone(),
        }))
    }
}

fn check_expression(
    engine: &Arc<dyn SqlEngine>,
    records: RecordBatch,
    expression: &str,
) -> Result<()> {
    futures::executor::block_on(engine.evaluate(&records, expression)).map(drop)
}

/// Checks the `check` of a column as far as it can be without rows: fully when the type is known, else its syntax.
pub(crate) fn check_value(
    engine: &Arc<dyn SqlEngine>,
    kind: Option<ColumnType>,
    expression: &str,
) -> Result<()> {
    let field = kind.map(|kind| Field::new(VALUE, kind.arrow(), true));
    let records = RecordBatch::new_empty(Arc::new(ArrowSchema::new(
        field.into_iter().collect::<Vec<_>>(),
    )));
    let checked = check_expression(engine, records, expression);
    if kind.is_some() {
        checked
    } else {
        own_fault(checked)
    }
}

#[derive(Debug)]
struct Check {
    rules: Vec<Rule>,
    engine: Arc<dyn SqlEngine>,
}

#[async_trait]
impl Transform for Check {
    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed> {
        let mut passed = Passed {
            batch,
            rejected: Vec::new(),
        };
        for rule in &self.rules {
            let met = self
                .engine
                .evaluate(&passed.batch.records, &rule.r#where)
                .await;
            let met = met.context("rule", &rule.name).context("stage", stage)?;
            let failing: Vec<usize> = (0..met.len()).filter(|row| !is_true(&met, *row)).collect();
            if rule.on_fail == OnFail::Fail && !failing.is_empty() {
                return Err(
                    failure(rule, &passed.batch.records, &failing)?.with_context("stage", stage)
                );
            }
            let reason = format!("rule `{}` is not met: {}", rule.name, rule.r#where);
            passed = passed.without(&failing, "check_failed", &reason, stage)?;
        }
        Ok(Transformed {
            batch: passed.batch,
            rejected: passed.rejected,
        })
    }
}

fn is_true(answer: &BooleanArray, row: usize) -> bool {
    answer.is_valid(row) && answer.value(row)
}

fn failure(rule: &Rule, records: &RecordBatch, failing: &[usize]) -> Result<Error> {
    let rows = rows_as_json(&records.slice(failing[0], 1))?;
    let row = rows
        .first()
        .map(|row| String::from_utf8_lossy(row).into_owned())
        .unwrap_or_default();
    let cut = row
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= EXAMPLE_BYTES_MAX)
        .unwrap_or(row.len());
    let counts = format!("{} of {} rows", failing.len(), records.num_rows());
    let message = format!(
        "rule `{}` is not met by {counts}: {}; the first is {}",
        rule.name,
        rule.r#where,
        &row[..cut]
    );
    Ok(Error::data("check_failed", message)
        .with_hint("fix the data, or set `on_fail: quarantine` to go on without such rows"))
}

/// Rows that met every rule so far.
struct Passed {
    batch: Batch,
    rejected: Vec<Rejected>,
}

impl Passed {
    fn without(
        self,
        rows: &[usize],
        code: &'static str,
        reason: &str,
        stage: &str,
    ) -> Result<Self> {
        let refusals = rows
            .iter()
            .map(|row| Refusal {
                row: *row,
                code,
                reason: reason.to_owned(),
            })
            .collect();
        let Transformed {
            batch,
            rejected: more,
        } = refuse(self.batch, refusals, stage)?;
        let rejected = self.rejected.into_iter().chain(more).collect();
        Ok(Self { batch, rejected })
    }
}

/// The name of a column's value in its `check`.
const VALUE: &str = "value";

/// `required` and `check` of the columns in `schema.columns`, for the rows of an extractor before any transform.
///
/// Null meets every `check`: whether a value must be there is what `required` says.
#[derive(Debug)]
pub struct ColumnChecks {
    rules: Vec<(String, ColumnRule)>,
    engine: Arc<dyn SqlEngine>,
}

impl ColumnChecks {
    pub fn new(policy: &ContractPolicy, engine: &Arc<dyn SqlEngine>) -> Self {
        let checked = policy
            .columns
            .iter()
            .filter(|(_, rule)| rule.required || rule.check.is_some());
        Self {
            rules: checked
                .map(|(name, rule)| (name.clone(), rule.clone()))
                .collect(),
            engine: engine.clone(),
        }
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Refuses the rows of the main table that break a rule, at stage `extract`. Child tables pass unchanged.
    ///
    /// Errors: `Config` when a condition does not fit the type of its column; `Data` when a value makes it fail.
    pub async fn apply(&self, batch: Batch) -> Result<Transformed> {
        let mut passed = Passed {
            batch,
            rejected: Vec::new(),
        };
        if passed.batch.child.is_empty() {
            for (name, rule) in &self.rules {
                passed = self
                    .check(passed, name, rule)
                    .await
                    .context("column", name)?;
            }
        }
        Ok(Transformed {
            batch: passed.batch,
            rejected: passed.rejected,
        })
    }

    async fn check(&self, passed: Passed, name: &str, rule: &ColumnRule) -> Result<Passed> {
        let mut passed = passed;
        if rule.required {
            let rows = passed.batch.records.num_rows();
            let missing: Vec<usize> = match passed.batch.records.column_by_name(name) {
                Some(column) => (0..rows).filter(|row| column.is_null(*row)).collect(),
                None => (0..rows).collect(),
            };
            passed = passed.without(
                &missing,
                "required_missing",
                &format!("`{name}` is required and missing"),
                EXTRACT,
            )?;
        }
        let column = passed.batch.records.column_by_name(name).cloned();
        let (Some(expression), Some(column)) = (&rule.check, column) else {
            return Ok(passed);
        };
        let met = self
            .engine
            .evaluate(&value_of(&column)?, expression)
            .await?;
        let failing: Vec<usize> = (0..met.len())
            .filter(|row| column.is_valid(*row) && !is_true(&met, *row))
            .collect();
        passed.without(
            &failing,
            "check_failed",
            &format!("`{name}` does not meet its check: {expression}"),
            EXTRACT,
        )
    }
}

fn value_of(column: &ArrayRef) -> Result<RecordBatch> {
    RecordBatch::try_from_iter_with_nullable([(VALUE, column.clone(), true)]).map_err(|error| {
        Error::bug("value_of", "failed to make a batch of one column").with_source(error)
    })
}

#[cfg(test)]
mod tests;
