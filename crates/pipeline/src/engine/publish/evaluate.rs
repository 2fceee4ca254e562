//! The checks of a pipeline, made over one state of its branch. Reads tables, and changes nothing.

use std::collections::BTreeMap;

use forebay_core::{CommitId, Context, Error, LakeStatement, RefName, Result};
use forebay_store::StepRecord;

use crate::engine::RunContext;
use crate::spec::{Check, Severity};

/// Name of the step of a check in the record of a run. Its rows are those that are wrong.
pub const CHECK_STEP: &str = "check";

/// Rows that are counted of a check: enough to tell one from many, and to stop early.
const ROWS_COUNTED_MAX: u64 = 10_000;

/// Results of all checks.
pub(super) struct CheckedState<'a> {
    /// The state that was checked.
    pub(super) commit: CommitId,
    results: Vec<CheckResult<'a>>,
}

struct CheckResult<'a> {
    check: &'a Check,
    /// At most [`ROWS_COUNTED_MAX`] and those of one batch.
    rows: u64,
    wall_us: u64,
}

/// Makes every check, also after one has failed.
///
/// Errors: those of the statements, with the name of the check.
pub(super) async fn evaluate_checks<'a>(
    context: &RunContext,
    checks: &'a [Check],
) -> Result<CheckedState<'a>> {
    let log = context.lake.store().log(&context.branch, 1).await?;
    let newest = log.first().map(|commit| commit.id);
    let commit =
        newest.ok_or_else(|| Error::bug("no_commit", "a branch with changes has no commit"))?;
    let mut results = Vec::with_capacity(checks.len());
    for check in checks {
        let started = context.clock.monotonic();
        let rows = count_rows(context, check, commit)
            .await
            .context("check", &check.name)?;
        let took = context.clock.monotonic().saturating_sub(started);
        let result = CheckResult {
            check,
            rows,
            wall_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        if rows > 0 && check.severity == Severity::Warn {
            tracing::warn!(check = %check.name, rows = %result.count_text(), "a check found wrong rows");
        }
        results.push(result);
    }
    Ok(CheckedState { commit, results })
}

async fn count_rows(context: &RunContext, check: &Check, commit: CommitId) -> Result<u64> {
    let statement = LakeStatement {
        text: check.sql.clone(),
        branch: context.branch.clone(),
        commit,
        new: BTreeMap::new(),
    };
    let mut rows = context.lake_sql.select(&statement).await?;
    let mut count = 0;
    while let Some(batch) = rows.next().await? {
        count += batch.num_rows() as u64;
        if count > ROWS_COUNTED_MAX {
            break;
        }
    }
    Ok(count)
}

impl CheckedState<'_> {
    /// For the record of the run.
    pub(super) fn steps(&self) -> impl Iterator<Item = StepRecord> {
        self.results.iter().map(|result| StepRecord {
            step: CHECK_STEP.to_owned(),
            rows: result.rows,
            wall_us: result.wall_us,
            detail: serde_json::json!({
                "check": result.check.name.as_str(),
                "severity": result.check.severity.as_str(),
                "passed": result.rows == 0,
            }),
            ..StepRecord::default()
        })
    }

    /// Errors: `Data` `checks_failed`.
    pub(super) fn refuse_failed(&self, branch: &RefName, target: &RefName) -> Result<()> {
        let failed = self.results.iter().filter(|result| result.is_failed());
        let failed: Vec<&CheckResult<'_>> = failed.collect();
        let Some(first) = failed.first() else {
            return Ok(());
        };
        let named = failed.iter().map(|result| {
            let (name, count) = (&result.check.name, result.count_text());
            format!("{name} ({count} rows)")
        });
        let named: Vec<String> = named.collect();
        let what = format!(
            "{} of {} checks failed: {}",
            failed.len(),
            self.results.len(),
            named.join(", ")
        );
        let sql = first.check.sql.trim().trim_end_matches(';');
        Err(Error::data("checks_failed", what)
            .with_context("branch", branch)
            .with_hint(format!(
                "nothing was published to {target}. The wrong rows: forebay sql --branch {branch} \"{sql}\"; correct the source or the check and run \
                 again, or load it all again after `forebay branch drop {branch}`"
            )))
    }
}

impl CheckResult<'_> {
    fn is_failed(&self) -> bool {
        self.rows > 0 && self.check.severity == Severity::Error
    }

    fn count_text(&self) -> String {
        match self.rows > ROWS_COUNTED_MAX {
            true => format!("more than {ROWS_COUNTED_MAX}"),
            false => self.rows.to_string(),
        }
    }
}
