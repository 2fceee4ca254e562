//! One split of a run: acquires its lease, works until its source has nothing more, and restarts after a conflict.
//!
//! The splits of this process are assigned by [`crate::engine::split::assignment`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_core::{Context, Error, ErrorKind, Ident, Result};
use forebay_store::{Lease, LeaseRequest, RunRecord};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::engine::attempts::{Attempt, Attempts};
use crate::engine::audit::Requests;
use crate::engine::reconcile;
use crate::engine::stages::Job;
use crate::engine::stages::stages;
use crate::engine::{CommitStep, RunContext};
use crate::spec::PipelineSpec;

/// Restarts after a commit conflict without a commit in between, until the run fails. Each time another writer has made a
/// commit, so this is also how many writers may start on a table at once.
pub(in crate::engine) const RESTARTS_MAX: u32 = 32;

/// The pause before a restart, times the number of restarts.
pub(in crate::engine) const RESTART_PAUSE: Duration = Duration::from_millis(20);

/// The shared state of the splits of a run.
#[derive(Clone)]
pub(in crate::engine) struct Run {
    pub(in crate::engine) spec: Arc<PipelineSpec>,
    pub(in crate::engine) context: RunContext,
    pub(in crate::engine) record: RunRecord,
    pub(in crate::engine) requests: Arc<Requests>,
    pub(in crate::engine) attempts: Arc<Attempts>,
}

impl Run {
    /// Works on a split to its end, or until `stop`.
    pub(in crate::engine) async fn split(
        self,
        split: Ident,
        stop: CancellationToken,
    ) -> Result<()> {
        let span = tracing::error_span!("split", %split);
        let outcome = self.again(&split, stop).instrument(span).await;
        outcome
            .map_err(|error| self.spec.secrets.cover_error(error))
            .context("split", &split)
    }

    async fn again(&self, split: &Ident, stop: CancellationToken) -> Result<()> {
        let commits = Arc::new(AtomicU64::new(0));
        let mut context = RunContext {
            cancel: stop,
            // They must differ from those of other splits.
            ids: self.context.ids.of_split(split),
            ..self.context.clone()
        };
        let mut restarts = 0;
        let mut seen = 0;
        let mut patience = reconcile::Patience::new();
        let attempt = Attempt::new(split, self.attempts.clone());
        loop {
            let outcome = self.once(split, &context, &commits, &attempt).await;
            let done = commits.load(Ordering::Relaxed);
            if done > seen {
                (restarts, seen) = (0, done);
            }
            match outcome {
                Err(error) if may_restart(&error) && restarts < RESTARTS_MAX => {
                    restarts += 1;
                    tracing::info!(%split, %error, "commit conflict, retrying split from the last commit");
                    context.clock.sleep(RESTART_PAUSE * restarts).await;
                }
                Err(error) if !context.cancel.is_cancelled() && attempt.may_restart() => {
                    tracing::error!(%split, %error, "a payload may have made a stage fail, retrying split from the last commit, one payload at a time");
                }
                Err(error) if patience.again(&error, done, &context).await => {}
                other => return other,
            }
            // Data committed by this run is not read again.
            context.full &= done == 0 || self.spec.load.replaces();
        }
    }

    async fn once(
        &self,
        split: &Ident,
        context: &RunContext,
        commits: &Arc<AtomicU64>,
        attempt: &Arc<Attempt>,
    ) -> Result<()> {
        let request = request(&self.spec, context, split);
        let work = async |mut lease| {
            if !context.exclusive {
                let store = context.lake.store();
                let taken = store.mark_lost_unless_held(&request, self.record.id);
                taken.await?;
            }
            context.reach(CommitStep::LeaseTaken).await?;
            let _at_work = context.figures.at_work();
            let sink =
                reconcile::open(&self.spec, context, split, &mut lease, Some(self.record.id))
                    .await?;
            context.reach(CommitStep::Reconciled).await?;
            let begun = attempt.begin_split(context, &self.record, lease.sequence);
            begun.await?;
            let job = Job {
                spec: self.spec.clone(),
                context: context.clone(),
                run: self.record.clone(),
                split: split.clone(),
                lease,
                committed: Arc::new(watch::channel(None).0),
                commits: commits.clone(),
                attempt: attempt.clone(),
                attempts: self.attempts.clone(),
            };
            stages(job, self.requests.clone(), sink).await
        };
        held(&request, context, work).await
    }
}

/// Acquires a split, works on it while its lease is renewed, and releases it.
pub(in crate::engine) async fn held<T>(
    request: &LeaseRequest,
    context: &RunContext,
    work: impl AsyncFnOnce(Lease) -> Result<T>,
) -> Result<T> {
    let store = context.lake.store();
    let lease = store.take_lease(request, context.exclusive).await?;
    let epoch = lease.epoch;
    let outcome = tokio::select! {
        outcome = work(lease) => outcome,
        error = renew(request, epoch, context) => Err(error),
    };
    let released = store.release_lease(request, epoch).await;
    let done = outcome?;
    released.map(|()| done)
}

pub(in crate::engine) fn request(
    spec: &PipelineSpec,
    context: &RunContext,
    split: &Ident,
) -> LeaseRequest {
    LeaseRequest {
        branch: context.branch.clone(),
        pipeline: spec.name.clone(),
        split: split.clone(),
        owner: context.owner.clone(),
        duration: context.lease,
    }
}

/// A fenced writer must stop; any other conflict is resolved by loading the tables again.
pub(in crate::engine) fn may_restart(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict
        && !is_anothers(error)
        && error.code() != forebay_connectors::source::REARRANGED
}

/// Whether another process holds the split.
pub(in crate::engine) fn is_anothers(error: &Error) -> bool {
    error.kind() == ErrorKind::Conflict && ["stale_epoch", "leased"].contains(&error.code())
}

/// Renews the lease until that fails; dropped when the split is done.
async fn renew(request: &LeaseRequest, epoch: i64, context: &RunContext) -> Error {
    loop {
        context.clock.sleep(context.lease / 3).await;
        match context.lake.store().renew_lease(request, epoch).await {
            Err(error) if error.kind() == ErrorKind::Conflict => return error,
            Err(error) => {
                tracing::warn!(%error, "failed to renew the lease; the next commit fails if it was taken over");
            }
            Ok(()) => {}
        }
    }
}
