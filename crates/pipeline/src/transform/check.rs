//! `check`: rules that every row must meet.
//!
//! ```yaml
#![doc = include_str!("check.example.yaml")]
//! ```
//!
//! A row for which the condition is not true (false, or null) is quarantined with the name of the rule, or the run
//! fails. So is a row whose values make the condition fail (a division by zero, a cast): it does not meet the rule.
//! Rules are taken in order; a later rule sees only the rows that met the earlier ones.
//! The same work checks the `required` and `check` of `schema.columns`: [`ColumnChecks`].

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use async_trait::async_trait;
use forebay_core::{Batch, Context, Error, Rejected, Result, SqlEngine};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::bisect::judge;
use super::{Refusal, Transform, TransformKind, Transformed, own_fault, refuse};
use forebay_config::{Component, Document};
use forebay_formats::contract::{ColumnRule, ColumnType, ContractPolicy};
use forebay_formats::text::rows_as_json;

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
    /// Handling of rows that do not meet it.
    #[serde(default)]
    on_fail: OnFail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnFail {
    /// The row is quarantined, the others are processed.
    #[default]
    Quarantine,
    /// The run fails.
    Fail,
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "check"
    }

    fn summary(&self) -> &'static str {
        "Rules that every row must meet; a row that does not is quarantined, or the run fails."
    }

    fn example(&self) -> &'static str {
        include_str!("check.example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Vec<Rule>>();
        schema.insert("minItems".to_owned(), 1.into());
        schema
    }
}

impl TransformKind for Kind {
    fn faults(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Vec<Error> {
        match config.parse::<Vec<Rule>>() {
            Ok(rules) => rule_faults(&rules, config, engine).collect(),
            Err(error) => vec![error],
        }
    }

    fn build(&self, config: &Document, engine: &Arc<dyn SqlEngine>) -> Result<Box<dyn Transform>> {
        let rules: Vec<Rule> = config.parse()?;
        if let Some(fault) = rule_faults(&rules, config, engine).next() {
            return Err(fault);
        }
        Ok(Box::new(Check {
            rules,
            engine: engine.clone(),
        }))
    }
}

/// The mistakes of each rule, in order.
fn rule_faults(
    rules: &[Rule],
    config: &Document,
    engine: &Arc<dyn SqlEngine>,
) -> impl Iterator<Item = Error> {
    let mut names = HashSet::new();
    let places = rules.iter().zip(config.elements());
    places.flat_map(move |(rule, place)| {
        let is_taken = !names.insert(rule.name.as_str());
        let taken = is_taken.then(|| name_taken(&place, &rule.name));
        let wrong = condition_fault(&place, &rule.r#where, engine);
        [taken, wrong].into_iter().flatten()
    })
}

fn name_taken(rule: &Document, name: &str) -> Error {
    let place = rule.get("name").unwrap_or_else(|| rule.clone());
    let what = format!("two rules cannot both be named `{name}`");
    place.error("name_taken", what)
}

fn condition_fault(rule: &Document, condition: &str, engine: &Arc<dyn SqlEngine>) -> Option<Error> {
    let no_columns = RecordBatch::new_empty(Arc::new(ArrowSchema::empty()));
    let checked = check_expression(engine, no_columns, condition);
    let place = rule.get("where").unwrap_or_else(|| rule.clone());
    let fault = own_fault(checked).err()?;
    Some(place.sql_error(&fault))
}

fn check_expression(
    engine: &Arc<dyn SqlEngine>,
    records: RecordBatch,
    expression: &str,
) -> Result<()> {
    of_the_moment(engine, expression)?;
    futures::executor::block_on(engine.evaluate(&records, expression)).map(drop)
}

/// Rejects a condition with another result on each run, whatever the columns are.
fn of_the_moment(engine: &Arc<dyn SqlEngine>, expression: &str) -> Result<()> {
    let statement = format!("SELECT 1 FROM input WHERE {expression}");
    match engine.inspect("input", &statement) {
        Err(error) if error.code() == "not_deterministic" => Err(without_place(error)),
        // Other errors are reported in terms of the condition.
        _ => Ok(()),
    }
}

/// The location is in a statement that the file does not have.
pub(super) fn without_place(error: Error) -> Error {
    let message = error.message();
    let is_place = |at: &str| at.chars().all(|c| c.is_ascii_digit() || c == ':');
    let message = match message.split_once(": ") {
        Some((at, what)) if is_place(at) => what,
        _ => message,
    };
    let plain = Error::config(error.code(), message);
    match error.hint() {
        Some(hint) => plain.with_hint(hint),
        None => plain,
    }
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
    fn passes(&self, _: &str) -> bool {
        true
    }

    async fn apply(&self, batch: Batch, stage: &str) -> Result<Transformed> {
        let mut passed = Passed {
            batch,
            rejected: Vec::new(),
        };
        for rule in &self.rules {
            let judged = judge(self.engine.as_ref(), &passed.batch.records, &rule.r#where);
            let judged = judged
                .await
                .context("rule", &rule.name)
                .context("stage", stage)?;
            if rule.on_fail == OnFail::Fail {
                all_met(rule, &passed.batch.records, judged).context("stage", stage)?;
                continue;
            }
            let subject = format!("rule `{}`", rule.name);
            let unmet = format!("{subject} is not met: {}", rule.r#where);
            let refusals = refusals(judged, |_| true, &unmet, &subject);
            passed = passed.without(refusals, stage)?;
        }
        Ok(Transformed {
            batch: passed.batch,
            rejected: passed.rejected,
        })
    }
}

/// The results of a condition, and the rows that make it fail.
type Judged = (BooleanArray, Vec<(usize, Error)>);

/// Why rows are rejected, of those that the condition applies to.
fn refusals(
    (met, failed): Judged,
    is_for: impl Fn(usize) -> bool,
    unmet: &str,
    subject: &str,
) -> Vec<Refusal> {
    let mut failed = failed.into_iter().peekable();
    let refusal = |row| match failed.next_if(|(at, _)| *at == row) {
        Some((_, error)) => Refusal {
            row,
            code: error.code(),
            reason: format!("{subject} fails on this row: {}", error.message()),
        },
        None => Refusal {
            row,
            code: "check_failed",
            reason: unmet.to_owned(),
        },
    };
    let refused = (0..met.len()).filter(|row| !is_true(&met, *row));
    let mut refused: Vec<Refusal> = refused.map(refusal).collect();
    refused.retain(|refusal| is_for(refusal.row));
    refused
}

fn is_true(answer: &BooleanArray, row: usize) -> bool {
    answer.is_valid(row) && answer.value(row)
}

/// Errors: `Data` when the rule fails on a row or a row does not meet it.
fn all_met(rule: &Rule, records: &RecordBatch, (met, failed): Judged) -> Result<()> {
    if let Some((_, error)) = failed.into_iter().next() {
        return Err(error.with_context("rule", &rule.name));
    }
    let unmet: Vec<usize> = (0..met.len()).filter(|row| !is_true(&met, *row)).collect();
    if unmet.is_empty() {
        return Ok(());
    }
    Err(failure(rule, records, &unmet)?)
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
        .with_hint("fix the data, or set `on_fail: quarantine` to continue without such rows"))
}

/// Rows that met every rule so far.
struct Passed {
    batch: Batch,
    rejected: Vec<Rejected>,
}

impl Passed {
    fn without(self, refusals: Vec<Refusal>, stage: &str) -> Result<Self> {
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
/// Null meets every `check`: `required` decides whether a value must be present.
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

    /// Rejects the rows of the main table that break a rule, at stage `extract`. Child tables pass unchanged.
    ///
    /// Errors: `Config` when a condition does not fit the type of its column.
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
            let missing = missing(&passed.batch.records, name);
            passed = passed.without(missing, EXTRACT)?;
        }
        let column = passed.batch.records.column_by_name(name).cloned();
        let (Some(expression), Some(column)) = (&rule.check, column) else {
            return Ok(passed);
        };
        let nulls = column.logical_nulls();
        let judged = judge(self.engine.as_ref(), &value_of(&column)?, expression).await?;
        let unmet = format!("`{name}` does not meet its check: {expression}");
        let subject = format!("the check of `{name}`");
        let refusals = refusals(
            judged,
            |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)),
            &unmet,
            &subject,
        );
        passed.without(refusals, EXTRACT)
    }
}

fn missing(records: &RecordBatch, name: &str) -> Vec<Refusal> {
    let column = records.column_by_name(name);
    let nulls = column.map(|column| column.logical_nulls());
    let is_missing = |row: &usize| match &nulls {
        None => true,
        Some(nulls) => nulls.as_ref().is_some_and(|nulls| nulls.is_null(*row)),
    };
    let rows = (0..records.num_rows()).filter(is_missing);
    let refusal = |row| Refusal {
        row,
        code: "required_missing",
        reason: format!("`{name}` is required and missing"),
    };
    rows.map(refusal).collect()
}

fn value_of(column: &ArrayRef) -> Result<RecordBatch> {
    RecordBatch::try_from_iter_with_nullable([(VALUE, column.clone(), true)]).map_err(|error| {
        Error::bug("value_of", "failed to make a batch of one column").with_source(error)
    })
}

#[cfg(test)]
mod tests;
