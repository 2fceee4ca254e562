//! `forebay runs`: run history.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use clap::Subcommand;
use forebay_core::{Error, Ident, Result, RunId};
use forebay_store::{RunRecord, RunStatus, Store};

use crate::options::Global;
use crate::wire::Workspace;
use crate::{output, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// List the newest runs
    Ls {
        /// Only runs of this pipeline
        pipeline: Option<Ident>,
        /// Most runs to list
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show one run with its steps: rows, bytes, time, CPU, memory
    Show {
        /// A run, or a pipeline for its newest run
        run: String,
    },
}

impl Runs {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open_existing(global).await?;
        let store = workspace.lake().store();
        match self {
            Self::Ls { pipeline, limit } => {
                let runs = store.runs(pipeline.as_ref(), limit).await?;
                let now = workspace.clock().now();
                let batch = list(&runs, |run| {
                    run.ended_at.unwrap_or(now).since(run.started_at)
                })?;
                output::print(global.format, batch.schema(), &[batch])?;
            }
            Self::Show { run } => {
                let found = find(store, &run).await?.ok_or_else(|| {
                    Error::not_found("no_such_run", format!("run {run} not found")).with_hint(
                        "run `forebay runs ls` to list the runs; the name of a pipeline shows its newest run",
                    )
                })?;
                heading(&found);
                let batch = steps(&found)?;
                output::print(global.format, batch.schema(), &[batch])?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The run of this id, or the newest one of the pipeline of this name.
async fn find(store: &Store, named: &str) -> Result<Option<RunRecord>> {
    if let Ok(id) = named.parse::<RunId>() {
        return store.run(id).await;
    }
    let Ok(pipeline) = named.parse::<Ident>() else {
        return Ok(None);
    };
    let mut runs = store.runs(Some(&pipeline), 1).await?;
    Ok(runs.pop())
}

fn heading(run: &RunRecord) {
    say::heading(format_args!(
        "{} {} {}",
        run.pipeline,
        run.id,
        word(run.status)
    ));
    say::line(format_args!(
        "started {} on branch {}",
        run.started_at, run.branch
    ));
    if let Some(ended) = run.ended_at {
        say::line(format_args!(
            "ended   {ended} after {}",
            say::duration(ended.since(run.started_at))
        ));
    }
    if let Some(error) = &run.error {
        say::line(format_args!("error   {error}"));
    }
}

fn word(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "running",
        RunStatus::Succeeded => "succeeded",
        RunStatus::Failed => "failed",
        RunStatus::Lost => "lost",
    }
}

fn figure(run: &RunRecord, step: &str, name: &str) -> i64 {
    let step = run.steps.iter().find(|candidate| candidate.step == step);
    step.and_then(|step| step.detail.get(name)?.as_i64())
        .unwrap_or(0)
}

fn list(runs: &[RunRecord], length: impl Fn(&RunRecord) -> Duration) -> Result<RecordBatch> {
    let text = |get: &dyn Fn(&RunRecord) -> String| {
        Arc::new(StringArray::from_iter_values(runs.iter().map(get))) as ArrayRef
    };
    let long = |get: &dyn Fn(&RunRecord) -> i64| {
        Arc::new(Int64Array::from_iter_values(runs.iter().map(get))) as ArrayRef
    };
    output::list(vec![
        ("run", text(&|run| run.id.to_string())),
        ("pipeline", text(&|run| run.pipeline.to_string())),
        ("status", text(&|run| word(run.status).to_owned())),
        ("started", text(&|run| run.started_at.to_string())),
        (
            "seconds",
            Arc::new(Float64Array::from_iter_values(
                runs.iter()
                    .map(|run| (length(run).as_secs_f64() * 1e3).round() / 1e3),
            )),
        ),
        (
            "rows",
            long(&|run| {
                figure(run, "load", "committed") - figure(run, "load", "committed_children")
            }),
        ),
        (
            "child_rows",
            long(&|run| figure(run, "load", "committed_children")),
        ),
        (
            "quarantined",
            long(&|run| figure(run, "load", "quarantined")),
        ),
        ("commits", long(&|run| figure(run, "load", "commits"))),
        ("error", output::texts(runs, |run| run.error.clone())),
    ])
}

fn steps(run: &RunRecord) -> Result<RecordBatch> {
    let long = |get: &dyn Fn(&forebay_store::StepRecord) -> u64| {
        Arc::new(Int64Array::from_iter_values(
            run.steps
                .iter()
                .map(|step| i64::try_from(get(step)).unwrap_or(i64::MAX)),
        )) as ArrayRef
    };
    let text = |get: &dyn Fn(&forebay_store::StepRecord) -> String| {
        Arc::new(StringArray::from_iter_values(run.steps.iter().map(get))) as ArrayRef
    };
    output::list(vec![
        ("step", text(&|step| step.step.clone())),
        ("rows", long(&|step| step.rows)),
        ("bytes", long(&|step| step.bytes)),
        ("cpu_ms", long(&|step| step.cpu_us / 1_000)),
        ("wall_ms", long(&|step| step.wall_us / 1_000)),
        ("memory_peak_bytes", long(&|step| step.memory_bytes_max)),
        ("detail", text(&|step| step.detail.to_string())),
    ])
}
