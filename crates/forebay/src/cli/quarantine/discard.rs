//! `forebay quarantine discard`: discards rejected records. A dry run unless `--yes` is passed.

use std::process::ExitCode;

use clap::Args;
use forebay_core::{Error, Ident, Result, Timestamp};
use forebay_pipeline::engine::{DiscardFilter, DiscardPlan, discard, plan_discard};

use super::{has_quarantine, run_context};
use crate::options::Global;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

/// Ids that were not found are named up to this number.
const UNKNOWN_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Discard {
    /// The pipeline, or the table that it loads
    target: String,
    /// Only the record of this id (repeatable)
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Only records rejected for this reason, such as `missing_column`
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Only records of this payload: a file or a URL, as `quarantine ls` shows it
    #[arg(long, value_name = "NAME")]
    payload: Option<String>,
    /// Only records rejected before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Timestamp>,
    /// Discard every open record, without other filters
    #[arg(long, conflicts_with_all = ["ids", "code", "payload", "before"])]
    all: bool,
    /// Do it; without this the command lists the records it would discard
    #[arg(long)]
    yes: bool,
}

impl Discard {
    pub(super) async fn run(self, workspace: &Workspace, global: &Global) -> Result<ExitCode> {
        let pipeline = self.pipeline(workspace, global)?;
        if !has_quarantine(workspace, &pipeline, global).await? {
            say::good(format_args!("{pipeline} has no rejected records"));
            return Ok(ExitCode::SUCCESS);
        }
        let is_confirmed = self.yes;
        let filter = self.filter()?;
        let context = run_context(workspace);
        if !is_confirmed {
            let plan = plan_discard(&pipeline, &filter, &context).await?;
            report(&plan, "would discard");
            say::line("dry run: pass --yes to discard them");
            return Ok(code(&plan));
        }
        let _alone = workspace.lock_replay(&pipeline)?;
        let plan = discard(&pipeline, &filter, &context).await?;
        report(&plan, "discarded");
        let total = say::counted(plan.total(), "record");
        say::good(format_args!("{total} of {pipeline} discarded"));
        Ok(code(&plan))
    }

    /// # Errors
    /// `no_filter` without a filter.
    fn filter(self) -> Result<DiscardFilter> {
        let filter = DiscardFilter {
            ids: self.ids.into_iter().collect(),
            code: self.code,
            payload: self.payload,
            before: self.before,
        };
        if filter == DiscardFilter::default() && !self.all {
            let error = Error::config("no_filter", "no filter selects the records to discard");
            return Err(error
                .with_hint("name them with --id, --code, --payload or --before, or pass --all"));
        }
        Ok(filter)
    }

    /// The pipeline of this name, or the one that loads the table of this name. A removed pipeline may have left a
    /// quarantine.
    fn pipeline(&self, workspace: &Workspace, global: &Global) -> Result<Ident> {
        if !self.target.contains('.') {
            return self.target.parse();
        }
        let variables = ProcessVariables::default();
        let mut found = Vec::new();
        for file in project::pipelines(&global.project)? {
            let Ok(spec) = project::load(&file, &variables, workspace.engine()) else {
                continue;
            };
            let target = spec.load.lake().map(|target| target.table.to_string());
            if target.as_ref() == Some(&self.target) {
                found.push(spec.name);
            }
        }
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(project::no_loader(&self.target)),
            several => {
                let names: Vec<&str> = several.iter().map(Ident::as_str).collect();
                let message = format!("{} load {}", names.join(", "), self.target);
                Err(Error::config("several_pipelines", message)
                    .with_hint(format!("forebay quarantine discard {}", names[0])))
            }
        }
    }
}

fn time(text: &str) -> std::result::Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "not a time such as 2026-01-31T12:00:00Z".to_owned())
}

fn report(plan: &DiscardPlan, verb: &str) {
    for (code, records) in &plan.records {
        let records = say::counted(*records, "record");
        say::line(format_args!("  {verb} {records} of {code}"));
    }
    if plan.records.is_empty() {
        say::line("  no open record matches");
    }
    for id in plan.unknown.iter().take(UNKNOWN_SHOWN) {
        say::warn(format_args!("no open record has the id {id}"));
    }
}

fn code(plan: &DiscardPlan) -> ExitCode {
    match plan.unknown.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
