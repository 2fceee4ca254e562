//! What a run and a sink with positions of its own owe each other.
//!
//! Before anything is read the target is asked where it stands. As far as the catalog: go on. One commit further: a
//! process died between the two commits, so the lake's part is made from the outbox first. Anything else means that one of
//! the two was restored, made anew or written by somebody else; then rows would be lost or land twice, and the run stops.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{CommitId, Error, ErrorKind, Ident, Result};
use forebay_lake::CommitRequest;
use forebay_store::{Lease, PositionMove};
use tokio::runtime::Handle;

use super::tables::Tables;
use super::{RunContext, outbox, random, split};
use crate::file::PipelineSpec;
use crate::load::{Delivered, Sink, SinkContext, Standing, TARGET_GONE};

/// How long a run goes on trying while its target does not answer and no commit is made.
const GONE_MAX: Duration = Duration::from_secs(300);

const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Opens the sink of a split, and makes catalog and target agree. `lease` is moved to where both stand.
pub(super) async fn open(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    split: &Ident,
    lease: &mut Lease,
    replay: bool,
) -> Result<Option<Box<dyn Sink>>> {
    if spec.load.lake().is_some() {
        return Ok(None);
    }
    let asked = SinkContext {
        project: context.project.clone(),
        pipeline: spec.name.clone(),
        branch: context.branch.clone(),
        split: split.clone(),
        epoch: lease.epoch,
        full: context.full,
        replay,
        cancel: context.cancel.clone(),
        clock: context.clock.clone(),
    };
    let mut sink = spec.load.open(asked).await?;
    let Some(standing) = sink.standing() else {
        return Ok(Some(sink));
    };
    if replay && standing.sequence.is_none() {
        // What has been replayed is known by the quarantine; the target need only count from here.
        sink.adopt(lease.sequence).await?;
        return Ok(Some(sink));
    }
    agree(spec, context, split, lease, (sink.as_mut(), standing)).await?;
    Ok(Some(sink))
}

async fn agree(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    split: &Ident,
    lease: &mut Lease,
    (sink, standing): (&mut dyn Sink, Standing),
) -> Result<()> {
    let (division, position) = (spec.source.division(), lease.position.as_ref());
    let is_rearranged = division
        .zip(position)
        .is_some_and(|(division, position)| division.is_rearranged(position));
    if is_rearranged
        && standing
            .sequence
            .is_none_or(|sequence| sequence + 1 == lease.sequence)
    {
        // The catalog alone has moved since the target was asked last.
        return sink.adopt(lease.sequence).await;
    }
    let Some(sequence) = standing.sequence else {
        if lease.sequence == 0 || context.full {
            return sink.adopt(lease.sequence).await;
        }
        let what = "the catalog says that this pipeline has loaded before, and the target has never heard of it";
        return Err(disagree(spec, what.to_owned()));
    };
    if sequence == lease.sequence {
        return Ok(());
    }
    if sequence == lease.sequence + 1
        && let Some(last) = standing.last
    {
        return finish(spec, context, split, lease, last).await;
    }
    if context.full {
        return sink.adopt(lease.sequence).await;
    }
    let what = format!(
        "the target holds {sequence} commits of split `{split}`, the catalog {}: one of them was restored or made anew",
        lease.sequence
    );
    Err(disagree(spec, what))
}

fn disagree(spec: &PipelineSpec, what: String) -> Error {
    Error::data("target_disagrees", what)
        .with_context("target", spec.load.describe())
        .with_hint(format!(
            "empty the target if its rows are to be loaded again, then `forebay run {} --full`",
            spec.name
        ))
}

/// Makes the lake's part of a commit that the target has.
async fn finish(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    split: &Ident,
    lease: &mut Lease,
    last: Delivered,
) -> Result<()> {
    tracing::warn!(pipeline = %spec.name, %split, "the target is one commit ahead; its part of the lake is made now");
    let mut restarts = 0;
    loop {
        let made = finish_once(spec, context, split, lease, last.clone()).await;
        match made {
            Err(error) if split::may_restart(&error) && restarts < split::RESTARTS_MAX => {
                restarts += 1;
                tracing::info!(%error, attempt = restarts, "commit conflict, retrying");
                context.clock.sleep(split::RESTART_PAUSE * restarts).await;
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
    let (lake, branch, epoch) = (context.lake.clone(), context.branch.clone(), lease.epoch);
    let runtime = Handle::current();
    let written = tokio::task::spawn_blocking(move || {
        let mut tables = Tables::new(lake.clone(), branch, runtime.clone());
        let redone = outbox::redo(&lake, &runtime, last, epoch, &mut tables)?;
        Ok((tables.finish()?, redone))
    });
    let (drafts, redone) = written.await.unwrap_or_else(|error| {
        Err(Error::bug("outbox", "reading an outbox panicked").with_source(error))
    })?;
    let salt = random(context.seed ^ context.clock.now().micros() as u64, 7);
    let request = CommitRequest {
        id: CommitId::new(context.clock.now(), salt),
        branch: context.branch.clone(),
        author: context.author.clone(),
        message: redone.message,
        run: None,
        drafts,
        positions: vec![PositionMove {
            pipeline: spec.name.clone(),
            split: split.clone(),
            epoch: lease.epoch,
            sequence: lease.sequence,
            position: redone.position.clone(),
        }],
    };
    context.lake.commit(request).await?;
    lease.sequence += 1;
    lease.position = Some(redone.position);
    Ok(())
}

/// Waits between tries while a target is gone, for a limited time without a commit.
#[derive(Debug)]
pub(super) struct Patience {
    pause: Duration,
    since: Option<Duration>,
    commits: u64,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            pause: PAUSE_FIRST,
            since: None,
            commits: 0,
        }
    }

    /// Whether to try again after `error`; then the pause is over. `commits` counts what was made so far.
    pub(super) async fn again(
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
        tracing::warn!(%error, pause = ?self.pause, "connection lost; resuming from last commit");
        tokio::select! {
            () = context.clock.sleep(self.pause) => {}
            () = context.cancel.cancelled() => return false,
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}
