//! `clean_every` of `[lake]`: the running server deletes what no kept state of the lake needs.
//!
//! The horizon records the last time, so that servers that share a store, and one that restarts, do it once.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::Result;
use tokio_util::sync::CancellationToken;

use crate::wire::Workspace;

/// How often the schedule is checked.
const ASK_EVERY: Duration = Duration::from_secs(600);

/// Cleans on schedule, until `stop`. Failures are logged and retried.
pub(super) async fn regularly(workspace: Arc<Workspace>, stop: CancellationToken) {
    let Some(every) = workspace.settings().lake.clean_every else {
        return;
    };
    let clock = workspace.clock();
    while !stop.is_cancelled() {
        if let Err(error) = when_due(&workspace, every.0).await {
            tracing::error!(%error, "failed to clean the lake, retrying");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = clock.sleep(every.0.min(ASK_EVERY)) => {}
        }
    }
}

async fn when_due(workspace: &Workspace, every: Duration) -> Result<()> {
    let (lake, settings) = (workspace.lake(), &workspace.settings().lake);
    let now = workspace.clock().now();
    let last = lake.store().horizon().await?;
    let last = last.map(|horizon| horizon.at.plus(settings.keep.0));
    if last.is_some_and(|last| now.since(last) < every) {
        return Ok(());
    }
    lake.check_clock().await?;
    let cleaned = lake.clean(&settings.clean_request(now)?).await?;
    for (uuid, table) in &cleaned.tables {
        if let Some(problem) = &table.problem {
            tracing::error!(table = table.name.as_ref().map(tracing::field::display), %uuid, %problem, "failed to clean table");
        }
    }
    if let Some(problem) = &cleaned.positions.problem {
        tracing::error!(%problem, "failed to clean objects of positions");
    }
    let gone = cleaned.deleted();
    tracing::info!(
        files = gone.files,
        bytes = gone.bytes,
        commits = cleaned.forgotten.commits,
        "cleaned the lake"
    );
    Ok(())
}
