//! `forebay explain`: what an error code means and what to do next.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Args;
use forebay_core::{Error, Explanation, Result};

use crate::explain;
use crate::options::Global;
use crate::output::{self, Format};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The code, as in `error[bad_url]` or in the column `code` of a quarantine table [default: list all]
    code: Option<String>,
}

impl Explain {
    pub(super) fn run(&self, global: &Global) -> Result<ExitCode> {
        match &self.code {
            Some(code) => print_one(explain::find(code)?, global)?,
            None => print_rows(&explain::all(), global)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_one(explanation: Explanation, global: &Global) -> Result<()> {
    if global.format != Format::Table {
        return print_rows(&[explanation], global);
    }
    let Explanation {
        code,
        cause,
        remedy,
    } = explanation;
    output::print_text(&format!("{code}\n\n{cause}\n\nWhat to do: {remedy}\n"))
}

fn print_rows(explanations: &[Explanation], global: &Global) -> Result<()> {
    let column = |get: fn(&Explanation) -> &'static str| {
        Arc::new(StringArray::from_iter_values(explanations.iter().map(get))) as ArrayRef
    };
    let mut columns = vec![
        ("code", column(|one| one.code)),
        ("cause", column(|one| one.cause)),
    ];
    // A table of all has no room for it.
    if global.format != Format::Table {
        columns.push(("remedy", column(|one| one.remedy)));
    }
    let batch = RecordBatch::try_from_iter(columns)
        .map_err(|error| Error::bug("explanations", "failed to list codes").with_source(error))?;
    output::print(global.format, batch.schema(), &[batch])?;
    Ok(())
}
