//! `forebay pipeline`: administration of one pipeline.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use forebay_core::{RefName, Result};
use forebay_pipeline::engine::{Figures, ResetPlan};
use forebay_pipeline::spec::PipelineSpec;
use tokio_util::sync::CancellationToken;

use super::shared_table::refuse_shared_table;
use crate::options::Global;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Drop the pipeline's tables, raw index, quarantine and positions: the next run starts from nothing
    Reset {
        /// The pipeline, by name or file
        pipeline: String,
        /// Do it; without this the command lists the tables it would drop
        #[arg(long)]
        yes: bool,
        /// The branch of the catalog to reset it on
        #[arg(long, default_value = "main")]
        branch: RefName,
        /// A value for `${param:NAME}`
        #[arg(long = "param", value_name = "NAME=VALUE", value_parser = super::run::param)]
        params: Vec<(String, String)>,
    },
}

impl Pipeline {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let Self::Reset {
            pipeline,
            yes,
            branch,
            params,
        } = self;
        let workspace = Workspace::open_existing(global).await?;
        let variables = ProcessVariables { params };
        let file = project::find(&global.project, &pipeline)?;
        let spec = project::load_or_error(&file, &variables, workspace.engine())?;
        refuse_shared_table(&spec, &workspace, global, &variables).await?;
        let spec = Arc::new(spec);
        let context = workspace.run_context(
            &branch,
            false,
            &CancellationToken::new(),
            &Arc::new(Figures::default()),
        );
        if !yes {
            let plan = forebay_pipeline::engine::plan_reset(&spec, &context).await?;
            report(&spec, &plan, "would drop");
            say::line("dry run: pass --yes to reset the pipeline");
            return Ok(ExitCode::SUCCESS);
        }
        let _alone = workspace.lock(&spec.name)?;
        let _unreplayed = workspace.lock_replay(&spec.name)?;
        let plan = forebay_pipeline::engine::reset(spec.clone(), context).await?;
        report(&spec, &plan, "dropped");
        say::good(format_args!(
            "{} starts from nothing: forebay run {}",
            spec.name, spec.name
        ));
        Ok(ExitCode::SUCCESS)
    }
}

fn report(spec: &PipelineSpec, plan: &ResetPlan, verb: &str) {
    for table in &plan.tables {
        say::line(format_args!("  {verb} table {table}"));
    }
    if plan.splits.is_empty() && spec.source.push().is_some() {
        say::line("  positions of pushes are kept: the journal holds no earlier ones");
    } else {
        let splits = plan.splits.len() as u64;
        say::line(format_args!(
            "  {verb} the position{} of {}",
            if splits == 1 { "" } else { "s" },
            say::counted(splits, "split")
        ));
    }
}
