//! `forebay test`: the project's tests, each a file of queries that must find nothing.

use std::process::ExitCode;

use clap::Args;
use forebay_core::{Context, Error, RefName, Result};
use forebay_store::AsOf;
use futures::TryStreamExt;

use super::sql::statements;
use crate::options::Global;
use crate::wire::Workspace;
use crate::{output, project, say};

/// Rows of a failed test that are shown.
const SHOWN_MAX: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Test {
    /// The branch to test
    #[arg(long, default_value = "main")]
    branch: RefName,
}

impl Test {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open_existing(global).await?;
        let files = project::tests(&global.project)?;
        if files.is_empty() {
            return Err(Error::config(
                "no_tests",
                format!(
                    "no tests found in {}",
                    global.project.join(project::TESTS).display()
                ),
            )
            .with_hint("write a query that must find nothing into tests/NAME.sql"));
        }
        let mut failed = 0;
        for file in &files {
            let name = file.display();
            let text = std::fs::read_to_string(file).map_err(|error| {
                Error::config("unreadable_test", format!("failed to read {name}"))
                    .with_source(error)
            })?;
            let mut found = 0;
            for statement in statements(&text) {
                found += rows(&workspace, &self.branch, statement.text, global)
                    .await
                    .map_err(|error| statement.locate(error))
                    .context("test", &name)?;
            }
            if found == 0 {
                say::good(name);
            } else {
                failed += 1;
                say::error(&Error::data(
                    "test_failed",
                    format!(
                        "{name} found {} rows and must find none",
                        say::count(found as u64)
                    ),
                ));
            }
        }
        say::line(format_args!(
            "{} passed, {failed} failed",
            files.len() - failed
        ));
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

async fn rows(
    workspace: &Workspace,
    branch: &RefName,
    statement: &str,
    global: &Global,
) -> Result<usize> {
    let mut answer = workspace
        .query(AsOf::Head(branch.clone()))
        .execute(statement)
        .await?;
    let mut found = 0;
    while let Some(batch) = answer.batches.try_next().await? {
        let room = SHOWN_MAX.saturating_sub(found).min(batch.num_rows());
        if room > 0 {
            output::print(global.format, batch.schema(), &[batch.slice(0, room)])?;
        }
        found += batch.num_rows();
    }
    Ok(found)
}
