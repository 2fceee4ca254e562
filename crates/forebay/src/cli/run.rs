//! `forebay run`: pipelines, one after the other, until their sources have nothing more.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use forebay_core::{Error, RefName, Result};
use forebay_pipeline::file::PipelineSpec;
use forebay_pipeline::run::{Figures, RunReport};
use tokio_util::sync::CancellationToken;

use super::Global;
use crate::progress::Progress;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

/// What a command gives that the user stopped.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Args)]
#[command(
    after_help = "A run that was cut off continues where its last commit left it: just run again."
)]
pub(crate) struct Run {
    /// Pipelines by name or file [default: all of the project]
    pipelines: Vec<String>,
    /// Read everything again, whatever was taken before; rows land a second time unless the table is new
    #[arg(long)]
    full: bool,
    /// The branch of the catalog to write to
    #[arg(long, default_value = "main")]
    branch: RefName,
    /// A value for `${param:NAME}`
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
}

/// `NAME=VALUE`.
pub(super) fn param(text: &str) -> std::result::Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write NAME=VALUE".to_owned())
}

/// The files that `names` mean; all of the project when there are none.
pub(super) fn files(global: &Global, names: &[String]) -> Result<Vec<PathBuf>> {
    if !names.is_empty() {
        return names
            .iter()
            .map(|name| project::find(&global.project, name))
            .collect();
    }
    let all = project::pipelines(&global.project)?;
    if all.is_empty() {
        return Err(Error::config(
            "no_pipelines",
            format!(
                "there are no pipelines in {}",
                global.project.join(project::PIPELINES).display()
            ),
        )
        .with_hint(
            "`forebay init` makes a project with a first pipeline, `forebay demo` a whole example",
        ));
    }
    Ok(all)
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open(global).await?;
        let variables = ProcessVariables {
            params: self.params.clone(),
        };
        // Every file is checked before the first one runs.
        let specs = files(global, &self.pipelines)?
            .iter()
            .map(|file| project::load_or_error(file, &variables, workspace.engine()).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        let cancel = stop_on_signal();
        let mut failed = None;
        for spec in specs {
            if cancel.is_cancelled() {
                break;
            }
            let order = Order {
                spec,
                branch: self.branch.clone(),
                full: self.full,
                cancel: cancel.clone(),
                figures: Arc::default(),
            };
            let outcome = one(&workspace, &order, global).await;
            match outcome {
                Ok(report) if !global.quiet => summary(&order.spec, &report, &order.figures),
                Ok(_) => {}
                // One bad pipeline never stops another.
                Err(error) => {
                    say::error(&error);
                    say::line(format_args!(
                        "  what was committed stays; to continue: forebay run {}",
                        order.spec.name
                    ));
                    failed.get_or_insert(error.kind());
                }
            }
        }
        workspace.journals().close().await;
        if cancel.is_cancelled() {
            say::line("interrupted: what was committed stays, `forebay run` goes on from there");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ok(failed.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code())))
    }
}

/// One pipeline to run.
pub(crate) struct Order {
    pub(crate) spec: Arc<PipelineSpec>,
    pub(crate) branch: RefName,
    pub(crate) full: bool,
    pub(crate) cancel: CancellationToken,
    pub(crate) figures: Arc<Figures>,
}

/// Runs one pipeline with progress on stderr.
pub(crate) async fn one(
    workspace: &Workspace,
    order: &Order,
    global: &Global,
) -> Result<RunReport> {
    let spec = &order.spec;
    let _alone = workspace.lock(&spec.name)?;
    let wanted = !global.no_progress && !global.quiet;
    let figures = &order.figures;
    let progress = Progress::start(
        spec.name.as_str(),
        figures.clone(),
        workspace.clock(),
        wanted,
    );
    let context = workspace.run_context(&order.branch, order.full, &order.cancel, figures);
    let report = Box::pin(forebay_pipeline::run::run(spec.clone(), context)).await;
    drop(progress);
    report
}

fn summary(spec: &PipelineSpec, report: &RunReport, figures: &Figures) {
    let get = Figures::get;
    let elapsed = report
        .record
        .ended_at
        .unwrap_or(report.record.started_at)
        .since(report.record.started_at);
    let committed = get(&figures.committed);
    say::good(format_args!(
        "{}: {} rows into {} in {} ({} commits, run {})",
        spec.name,
        say::count(committed),
        spec.load.describe(),
        say::duration(elapsed),
        get(&figures.commits),
        report.id,
    ));
    for change in figures
        .changes
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .iter()
    {
        say::line(format_args!("  {change}"));
    }
    let refused = get(&figures.quarantined);
    if refused > 0 {
        say::warn(format_args!(
            "{} records are in quarantine: forebay quarantine ls {}",
            say::count(refused),
            spec.name
        ));
    }
}

/// The first ctrl-c or SIGTERM ends the run at its last complete commit; the second ends the process.
pub(super) fn stop_on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        signal().await;
        say::line("stopping after the current commit; once more to stop at once");
        stop.cancel();
        signal().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    token
}

async fn signal() {
    let term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    match term {
        Ok(mut term) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
