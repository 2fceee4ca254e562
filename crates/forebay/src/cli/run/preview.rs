//! `forebay run --limit`: the first rows of a pipeline, shown and not kept.
//!
//! The run works on a branch of its own, on which the pipeline has landed nothing and which is dropped afterwards, so neither
//! tables nor positions of any other branch move. Never for pushes, whose journal is emptied by a commit on any branch, nor for targets outside of the lake.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{CommitId, Error, RefName, Result};
use forebay_pipeline::engine::Figures;
use forebay_pipeline::spec::PipelineSpec;
use forebay_store::AsOf;
use rand::Rng;
use tokio_util::sync::CancellationToken;

use super::super::sql::{Answering, print_answer};
use super::{Order, one};
use crate::options::Global;
use crate::say;
use crate::wire::Workspace;

/// How often the number of committed rows is looked up.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs the pipeline from the start of its source until it has committed `limit` rows, and prints as many.
pub(super) async fn preview(
    workspace: &Workspace,
    mut spec: PipelineSpec,
    limit: u64,
    global: &Global,
) -> Result<ExitCode> {
    refuse_unsuitable(&spec)?;
    spec.buffer.rows = spec.buffer.rows.min(limit.max(1));
    let id = CommitId::new(workspace.clock().now(), rand::rng().random());
    let branch: RefName = format!("preview/{}-{id}", spec.name).parse()?;
    let store = workspace.lake().store();
    store.create_branch(&branch, &RefName::main()).await?;
    let shown = Box::pin(run_on_branch(workspace, spec, &branch, limit, global)).await;
    let dropped = store.drop_branch(&branch).await;
    shown?;
    dropped?;
    Ok(ExitCode::SUCCESS)
}

fn refuse_unsuitable(spec: &PipelineSpec) -> Result<()> {
    let reason = if spec.source.push().is_some() {
        "its source is `push`, and reading the journal consumes it"
    } else if spec.load.lake().is_none() {
        "it does not load into a table of the lake"
    } else {
        return Ok(());
    };
    Err(Error::unsupported(
        "no_preview",
        format!("--limit is not possible for {}: {reason}", spec.name),
    ))
}

async fn run_on_branch(
    workspace: &Workspace,
    spec: PipelineSpec,
    branch: &RefName,
    limit: u64,
    global: &Global,
) -> Result<()> {
    let spec = Arc::new(spec);
    // Rows of earlier runs do not belong to the preview.
    let context = workspace.run_context(branch, false, &CancellationToken::new(), &Arc::default());
    let landed = forebay_pipeline::engine::plan_reset(&spec, &context).await?;
    if !landed.tables.is_empty() || !landed.splits.is_empty() {
        forebay_pipeline::engine::reset(spec.clone(), context).await?;
    }
    let order = Order {
        spec: spec.clone(),
        branch: branch.clone(),
        full: true,
        cancel: CancellationToken::new(),
        figures: Arc::default(),
    };
    let watcher = tokio::spawn(cancel_at(
        limit,
        order.figures.clone(),
        order.cancel.clone(),
        workspace.clock(),
    ));
    let report = one(workspace, &order, global).await;
    watcher.abort();
    report?;
    let refused = Figures::get(&order.figures.quarantined);
    if refused > 0 {
        say::warn(format_args!(
            "{} rejected in this preview",
            say::counted(refused, "record")
        ));
    }
    let as_of = AsOf::Head(branch.clone());
    let target = spec.load.lake().map(|target| target.table.clone());
    let Some(table) = target else { return Ok(()) };
    if Figures::get(&order.figures.committed) == 0 {
        say::line("no rows; nothing was kept");
        return Ok(());
    }
    let statement = format!("SELECT * FROM {table} LIMIT {limit}");
    let query = workspace.query_in_order(as_of);
    print_answer(&query, &statement, Answering::plain(global.format)).await?;
    say::line("preview only; nothing was kept");
    Ok(())
}

async fn cancel_at(
    limit: u64,
    figures: Arc<Figures>,
    cancel: CancellationToken,
    clock: Arc<dyn forebay_core::Clock>,
) {
    while Figures::get(&figures.committed) < limit {
        clock.sleep(CHECK_INTERVAL).await;
    }
    cancel.cancel();
}
