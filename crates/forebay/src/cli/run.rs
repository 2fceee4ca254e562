//! `forebay run`: pipelines, one after the other, until their sources have nothing more.

mod preview;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use forebay_core::{Error, ErrorKind, RefName, Result};
use forebay_pipeline::engine::{ALL_REFUSED, CHECK_STEP, Figures, RunReport, all_refused};
use forebay_pipeline::spec::PipelineSpec;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::options::Global;
use crate::progress::Progress;
use crate::settings::ProcessVariables;
use crate::wire::Workspace;
use crate::{project, say};

/// Exit code of a command that the user stopped.
const INTERRUPTED: u8 = 130;

#[derive(Debug, Args)]
#[command(after_help = "An interrupted run resumes from its last commit: run it again.")]
pub(crate) struct Run {
    /// Pipelines by name or file [default: all of the project]
    pipelines: Vec<String>,
    /// Read everything again from the start; rows land a second time unless the table is new
    #[arg(long)]
    full: bool,
    /// Show the first rows of one pipeline and keep nothing
    #[arg(long, value_name = "ROWS", conflicts_with_all = ["full", "branch"])]
    limit: Option<u64>,
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

/// The files of `names`; all of the project without names.
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
                "no pipelines found in {}",
                global.project.join(project::PIPELINES).display()
            ),
        )
        .with_hint(
            "run `forebay init` to create a project with a first pipeline, `forebay demo` for a whole example",
        ));
    }
    Ok(all)
}

impl Run {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open(global).await?;
        let store = workspace.lake().store();
        store.check_writable(&self.branch).await?;
        let variables = ProcessVariables {
            params: self.params.clone(),
        };
        if let Some(limit) = self.limit {
            let [name] = self.pipelines.as_slice() else {
                return Err(Error::config("limit_of_many", "--limit shows one pipeline")
                    .with_hint("name it: forebay run NAME --limit 10"));
            };
            let file = project::find(&global.project, name)?;
            let spec = project::load_or_error(&file, &variables, workspace.engine())?;
            return Box::pin(preview::preview(&workspace, spec, limit, global)).await;
        }
        // Every file is checked before the first one runs; one that is invalid stops no other.
        let loaded = project::load_all(
            &files(global, &self.pipelines)?,
            &variables,
            workspace.engine(),
        );
        let mut failed = None;
        let cycles = project::cycles(global, &loaded.specs, &variables, workspace.engine());
        for error in loaded.errors.iter().chain(&cycles) {
            say::error(error);
            failed.get_or_insert(error.kind());
        }
        // No pipeline of a cycle can be the first, so nothing is run.
        let specs = match cycles.is_empty() {
            true => loaded.specs,
            false => Vec::new(),
        };
        let cancel = stop_on_signal();
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
            let outcome =
                outcome.and_then(|report| landed(&order.spec, &order.figures).map(|()| report));
            match outcome {
                Ok(report) if !global.quiet => summary(&order.spec, &report, &order.figures),
                Ok(_) => {}
                // One bad pipeline never stops another.
                Err(error) => {
                    say::error(&error);
                    if error.code() != ALL_REFUSED {
                        say::line(next_step(&error, &order.spec));
                    }
                    failed.get_or_insert(error.kind());
                }
            }
        }
        workspace.journals().close().await;
        if cancel.is_cancelled() {
            say::line("interrupted: committed data is kept, `forebay run` resumes from there");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Ok(failed.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code())))
    }
}

/// The hint after a failure: the same run again helps only if the cause may be temporary.
fn next_step(error: &Error, spec: &PipelineSpec) -> String {
    let again = format!("forebay run {}", spec.name);
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Conflict => {
            format!("  committed data is kept; to resume: {again}")
        }
        _ => format!("  committed data is kept; resolve the cause, then resume: {again}"),
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
    let _alone = workspace.lock_on(&order.branch, spec)?;
    let wanted = !global.no_progress && !global.quiet;
    let figures = &order.figures;
    let progress = Progress::start(
        spec.name.as_str(),
        figures.clone(),
        workspace.clock(),
        wanted,
    );
    let context = workspace.run_context(&order.branch, order.full, &order.cancel, figures);
    let report = Box::pin(forebay_pipeline::engine::run(spec.clone(), context)).await;
    drop(progress);
    report
}

/// A run that refused every record is a failure, for people and for the calling process.
fn landed(spec: &PipelineSpec, figures: &Figures) -> Result<()> {
    all_refused(spec, figures).map_or(Ok(()), Err)
}

fn summary(spec: &PipelineSpec, report: &RunReport, figures: &Figures) {
    let get = Figures::get;
    let elapsed = report
        .record
        .ended_at
        .unwrap_or(report.record.started_at)
        .since(report.record.started_at);
    let children = get(&figures.committed_children);
    let rows = get(&figures.committed).saturating_sub(children);
    let and_children = match children {
        0 => String::new(),
        children => format!(" and {} into child tables", say::counted(children, "row")),
    };
    say::good(format_args!(
        "{}: {} into {}{and_children} in {} ({}, run {})",
        spec.name,
        say::counted(rows, "row"),
        spec.load.describe(),
        say::duration(elapsed),
        say::counted(get(&figures.commits), "commit"),
        report.id,
    ));
    if let Some(why) = nothing_loaded(figures) {
        say::line(format_args!("  {why}"));
    }
    if let Some(published) = published(report) {
        say::line(format_args!("  {published}"));
    }
    for change in figures.changes.lock().iter() {
        say::line(format_args!("  {change}"));
    }
    let refused = get(&figures.quarantined);
    if refused > 0 {
        say::warn(format_args!(
            "{} in quarantine: forebay quarantine ls {}",
            say::counted(refused, "record"),
            spec.name
        ));
    }
}

/// What a run with checks has published; `None` without a check.
fn published(report: &RunReport) -> Option<String> {
    let steps = report.record.steps.iter();
    let checks: Vec<_> = steps.filter(|step| step.step == CHECK_STEP).collect();
    let passed = checks.iter().filter(|check| check.rows == 0).count();
    (!checks.is_empty()).then(|| {
        format!(
            "{passed} of {} passed, published to {}",
            say::counted(checks.len() as u64, "check"),
            report.record.branch
        )
    })
}

/// Why a successful run has loaded no row.
fn nothing_loaded(figures: &Figures) -> Option<String> {
    let get = Figures::get;
    if get(&figures.committed) + get(&figures.quarantined) > 0 {
        return None;
    }
    Some(match (get(&figures.payloads), figures.extract.rows()) {
        (0, 0) => "the source has nothing new".to_owned(),
        (payloads, 0) => format!(
            "{} without a new record: an empty list or file, or a header without further lines",
            say::counted(payloads, "payload")
        ),
        (_, rows) => format!(
            "{} extracted, and none is left after the transforms",
            say::counted(rows, "row")
        ),
    })
}

/// The first ctrl-c or SIGTERM ends the run at its last complete commit; the second ends the process. From here on neither kills it
/// directly.
pub(super) fn stop_on_signal() -> CancellationToken {
    let token = CancellationToken::new();
    let stop = token.clone();
    let mut signals = Signals::new();
    tokio::spawn(async move {
        signals.next().await;
        say::line("stopping after the current commit; press Ctrl-C again to stop immediately");
        stop.cancel();
        signals.next().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    token
}

/// The stop signals. One that cannot be waited for ends the process at once, as the system does.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    fn new() -> Self {
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            () = received(self.interrupt.as_mut()) => {}
            () = received(self.terminate.as_mut()) => {}
        }
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
