//! Reconciles a run with a sink that keeps its own positions.
//!
//! Before anything is read the target is asked for its position. If it equals the catalog's, the run continues. If it is
//! one commit ahead, a process died between the two commits, so the lake's part is made from the outbox first. Anything
//! else means that one of the two was restored, recreated or written by somebody else; then rows would be lost or land
//! twice, and the run fails.

pub(crate) mod position;

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Error, ErrorKind, Ident, Result, RunId};
use forebay_store::{Lease, RunStatus};
use tokio::runtime::Handle;

use crate::engine::RunContext;
use crate::engine::commit::{CommitNote, CommitUnit, commit, move_position, outbox};
use crate::engine::split::lease;
use crate::spec::PipelineSpec;
use forebay_connectors::sink::{Delivered, Sink, SinkContext, Standing, TARGET_GONE};

/// How long a run retries while its target does not answer and no commit is made.
const GONE_MAX: Duration = Duration::from_secs(300);

const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Runs that are looked at for rows of a commit that was not made. Each run removes those of the runs before it, so a few would do.
const UNFINISHED_RUNS_MAX: u32 = 100;

/// Opens the sink of a split, and reconciles catalog and target. `lease` is moved to their common position. A replay is no
/// `run`.
pub(in crate::engine) async fn open(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    split: &Ident,
    lease: &mut Lease,
    run: Option<RunId>,
) -> Result<Option<Box<dyn Sink>>> {
    let replay = run.is_none();
    let asked = SinkContext {
        project: context.project.clone(),
        pipeline: spec.name.clone(),
        branch: context.branch.clone(),
        split: split.clone(),
        epoch: lease.epoch,
        sequence: lease.sequence,
        run: run.unwrap_or_else(|| context.ids.make_run(context.clock.as_ref())),
        unfinished_runs: find_unfinished_runs(spec, context).await?,
        full: context.full,
        replay,
        cancel: context.cancel.clone(),
        clock: context.clock.clone(),
    };
    let Some(mut sink) = spec.load.open(asked).await? else {
        return Ok(None);
    };
    let Some(standing) = sink.standing() else {
        return Ok(Some(sink));
    };
    if replay && standing.sequence.is_none() {
        // The quarantine records which refusals were replayed; the target only counts from here.
        sink.adopt(lease.sequence).await?;
        return Ok(Some(sink));
    }
    agree(spec, context, split, lease, (sink.as_mut(), standing)).await?;
    Ok(Some(sink))
}

/// The newest runs of the pipeline on this branch that have not succeeded. Needed by sinks without a position of their own only.
async fn find_unfinished_runs(spec: &PipelineSpec, context: &RunContext) -> Result<Vec<RunId>> {
    if spec.load.lake().is_some() || spec.load.is_transactional() {
        return Ok(Vec::new());
    }
    let store = context.lake.store();
    let runs = store.runs(Some(&spec.name), UNFINISHED_RUNS_MAX).await?;
    let unfinished = runs
        .into_iter()
        .filter(|run| run.branch == context.branch && run.status != RunStatus::Succeeded);
    Ok(unfinished.map(|run| run.id).collect())
}

async fn agree(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    split: &Ident,
    lease: &mut Lease,
    (sink, standing): (&mut dyn Sink, Standing),
) -> Result<()> {
    let division = spec.source.division();
    let position = lease.position.as_ref();
    let is_rearranged = division
        .zip(position)
        .is_some_and(|(division, position)| division.is_rearranged(position));
    if is_rearranged
        && standing
            .sequence
            .is_none_or(|sequence| sequence + 1 == lease.sequence)
    {
        // Only the catalog has moved since the last commit to the target.
        return sink.adopt(lease.sequence).await;
    }
    let Some(sequence) = standing.sequence else {
        if lease.sequence == 0 || context.full {
            return sink.adopt(lease.sequence).await;
        }
        let what =
            "the target has no committed position for this pipeline, but the catalog has one";
        return Err(disagree(spec, what.to_owned()));
    };
    if sequence == lease.sequence {
        return check_workspace(context, lease, standing.last).await;
    }
    match standing.last {
        Some(last) if sequence == lease.sequence + 1 => {
            return finish(spec, context, split, lease, last).await;
        }
        // To empty it would be the wrong advice.
        Some(last) if !context.full => {
            outbox::check_raw_objects(&context.lake, last.outbox).await?;
        }
        _ => {}
    }
    if context.full {
        return sink.adopt(lease.sequence).await;
    }
    let what = format!(
        "the target holds {sequence} commits of split `{split}`, the catalog {}: one of them was restored or recreated",
        lease.sequence
    );
    Err(disagree(spec, what))
}

/// Two workspaces may have made as many commits each: then the positions differ, and the raw objects of the target's last commit are
/// in the other one.
async fn check_workspace(
    context: &RunContext,
    lease: &Lease,
    last: Option<Delivered>,
) -> Result<()> {
    match last {
        Some(last) if lease.position.as_ref() != Some(&last.position) => {
            outbox::check_raw_objects(&context.lake, last.outbox).await
        }
        _ => Ok(()),
    }
}

fn disagree(spec: &PipelineSpec, what: String) -> Error {
    Error::data("target_disagrees", what)
        .with_context("target", spec.load.describe())
        .with_hint(format!(
            "empty the target to load its rows again, then run `forebay run {} --full`",
            spec.name
        ))
}

/// Makes the lake's part of a commit that the target already has.
async fn finish(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    split: &Ident,
    lease: &mut Lease,
    last: Delivered,
) -> Result<()> {
    tracing::warn!(pipeline = %spec.name, %split, "target is one commit ahead, applying its outbox to the lake");
    let mut restarts = 0;
    loop {
        let made = finish_once(spec, context, split, lease, last.clone()).await;
        match made {
            Err(error) if lease::may_restart(&error) && restarts < lease::RESTARTS_MAX => {
                restarts += 1;
                tracing::info!(%error, attempt = restarts, "commit conflict, retrying");
                context.clock.sleep(lease::RESTART_PAUSE * restarts).await;
            }
            made => return made,
        }
    }
}

async fn finish_once(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    split: &Ident,
    lease: &mut Lease,
    last: Delivered,
) -> Result<()> {
    let lake = context.lake.clone();
    let epoch = lease.epoch;
    let runtime = Handle::current();
    let mut unit = CommitUnit::new(context, &spec.name, &runtime);
    let written = tokio::task::spawn_blocking(move || {
        let redone = outbox::redo(&lake, &runtime, last, epoch, &mut unit.tables)?;
        Ok((unit.seal()?, redone))
    });
    let (sealed, redone) = written.await.unwrap_or_else(|error| {
        Err(Error::bug("outbox", "reading an outbox panicked").with_source(error))
    })?;
    let moved = move_position(&spec.name, split, lease, redone.position.clone());
    let note = CommitNote {
        message: redone.message,
        run: None,
        positions: vec![moved],
    };
    commit(context, sealed, note).await?;
    lease.sequence += 1;
    lease.position = Some(redone.position);
    Ok(())
}

/// Waits between retries while a target is unavailable, for a limited time without a commit.
#[derive(Debug)]
pub(in crate::engine) struct Patience {
    pause: Duration,
    since: Option<Duration>,
    commits: u64,
}

impl Patience {
    pub(in crate::engine) fn new() -> Self {
        Self {
            pause: PAUSE_FIRST,
            since: None,
            commits: 0,
        }
    }

    /// Whether to retry after `error`; returns after the pause. `commits` is the number of commits so far.
    pub(in crate::engine) async fn again(
        &mut self,
        error: &Error,
        commits: u64,
        context: &RunContext,
    ) -> bool {
        if error.kind() != ErrorKind::Unavailable || error.code() != TARGET_GONE {
            return false;
        }
        let now = context.clock.monotonic();
        if commits > self.commits {
            (self.commits, self.since, self.pause) = (commits, None, PAUSE_FIRST);
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) > GONE_MAX || context.cancel.is_cancelled() {
            return false;
        }
        tracing::warn!(%error, pause = ?self.pause, "the target does not answer; trying again from the last commit");
        tokio::select! {
            () = context.clock.sleep(self.pause) => {}
            () = context.cancel.cancelled() => return false,
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}
