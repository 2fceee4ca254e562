//! `clean_every` of `[lake]`: what no kept state of the lake needs goes by itself while the server runs.
//!
//! When it was last done is told by the horizon, so that servers that share a store, and one that starts again, do it once.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::Result;
use tokio_util::sync::CancellationToken;

use crate::wire::Workspace;

/// How often it is asked whether it is time.
const ASK_EVERY: Duration = Duration::from_secs(600);

/// Cleans whenever it is time, until `stop`. What fails is logged and tried again.
pub(super) async fn regularly(workspace: Arc<Workspace>, stop: CancellationToken) {
    let Some(every) = workspace.settings().lake.clean_every else {
        return;
    };
    let clock = workspace.clock();
    while !stop.is_cancelled() {
        if let Err(error) = when_due(&workspace, every.0).await {
            tracing::error!(%error, "failed to clean the lake; it is tried again");
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
            tracing::error!(table = table.name.as_ref().map(tracing::field::display), %uuid, %problem, "nothing of the table was cleaned");
        }
    }
    if let Some(problem) = &cleaned.positions.problem {
        tracing::error!(%problem, "no object of a position was cleaned");
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
