//! The life of one pipeline in a process: run, wait, run again, and go over to a new version when there is one.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, Ident, Result, Timestamp};
use forebay_pipeline::engine::Figures;
use forebay_pipeline::spec::PipelineSpec;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{LastRun, Phase, Registry, Site};

/// The pause after a first failure; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// A run that worked this long before it failed resets the back-off.
const HEALTHY: Duration = Duration::from_secs(600);

pub(super) struct Pipeline<S> {
    pub(super) name: Ident,
    pub(super) site: Arc<S>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) registry: Registry,
    pub(super) figures: Arc<Figures>,
    /// The version that is wanted.
    pub(super) wanted: watch::Receiver<Arc<PipelineSpec>>,
    pub(super) stop: CancellationToken,
    /// The message of the last failure, until a run ends well.
    pub(super) failed_with: Option<String>,
}

/// Counters over the runs of a pipeline.
#[derive(Debug, Clone, Copy)]
struct Counts {
    rows: u64,
    commits: u64,
    quarantined: u64,
}

impl Counts {
    fn of(figures: &Figures) -> Self {
        Self {
            rows: Figures::get(&figures.committed),
            commits: Figures::get(&figures.commits),
            quarantined: Figures::get(&figures.quarantined),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(before.rows),
            commits: self.commits.saturating_sub(before.commits),
            quarantined: self.quarantined.saturating_sub(before.quarantined),
        }
    }
}

/// Why a pause ended.
enum Woken {
    Due,
    Changed,
    Stopped,
}

impl<S: Site> Pipeline<S> {
    /// Lives until it is stopped.
    pub(super) async fn live(mut self) {
        let mut pause = PAUSE_FIRST;
        if matches!(self.first().await, Woken::Stopped) {
            return self.phase(Phase::Stopped, None);
        }
        while !self.stop.is_cancelled() {
            let spec = self.wanted.borrow_and_update().clone();
            if !runs_by_itself(&spec) {
                self.phase(Phase::Manual, None);
                if matches!(self.pause(None).await, Woken::Stopped) {
                    break;
                }
                continue;
            }
            let began = self.clock.now();
            tracing::info!(pipeline = %self.name, "run started");
            let before = Counts::of(&self.figures);
            let outcome = self.run(spec.clone()).await;
            self.report(&outcome, before);
            let worked = self.clock.now().since(began);
            let wait = match &outcome {
                Ok(()) => {
                    pause = PAUSE_FIRST;
                    Some(until_next(&spec, worked))
                }
                Err(_) if worked >= HEALTHY => Some(PAUSE_FIRST),
                Err(_) => {
                    let wait = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    Some(wait)
                }
            };
            self.ended(&outcome, wait);
            if self.stop.is_cancelled() || self.wanted.has_changed().unwrap_or(true) {
                continue;
            }
            if matches!(self.pause(wait).await, Woken::Stopped) {
                break;
            }
        }
        self.phase(Phase::Stopped, None);
    }

    /// Waits until the first run is due: a process that starts again does not run a daily pipeline once more.
    async fn first(&mut self) -> Woken {
        let spec = self.wanted.borrow().clone();
        if spec.schedule.is_none() {
            return Woken::Due;
        }
        let last = self.site.last_run(&self.name).await;
        let last = last.unwrap_or_else(|error| {
            tracing::warn!(pipeline = %self.name, %error, "failed to read the time of the last run, running now");
            None
        });
        // A file that was changed meanwhile is applied at once, as it is while the process runs.
        let is_same = |last: &LastRun| {
            last.digest
                .as_ref()
                .is_none_or(|digest| *digest == spec.digest)
        };
        let last = last.filter(is_same);
        let Some(last) = last else {
            return Woken::Due;
        };
        let wait = until_next(&spec, self.clock.now().since(last.begun));
        if wait.is_zero() {
            return Woken::Due;
        }
        self.phase(Phase::Waiting, Some(self.clock.now().plus(wait)));
        self.pause(Some(wait)).await
    }

    /// One run; a new version or the end of the process ends it at its last complete commit.
    async fn run(&mut self, spec: Arc<PipelineSpec>) -> Result<()> {
        self.phase(Phase::Running, None);
        let cancel = self.stop.child_token();
        let site = self.site.clone();
        let figures = self.figures.clone();
        let run = tokio::spawn({
            let cancel = cancel.clone();
            async move { site.run(spec, figures, cancel).await }
        });
        tokio::pin!(run);
        let joined = tokio::select! {
            joined = &mut run => joined,
            _ = self.wanted.changed() => {
                cancel.cancel();
                // The change is seen again by the loop.
                self.wanted.mark_changed();
                run.await
            }
        };
        joined.unwrap_or_else(|error| {
            let bug = Error::bug("run_panicked", "the run panicked");
            Err(bug.with_source(error))
        })
    }

    /// One line for a run that ended well, and one more when the one before it had failed.
    fn report(&mut self, outcome: &Result<()>, before: Counts) {
        if outcome.is_err() {
            return;
        }
        let Counts {
            rows,
            commits,
            quarantined,
        } = Counts::of(&self.figures).since(before);
        if self.failed_with.take().is_some() {
            tracing::info!(pipeline = %self.name, "pipeline recovered");
        }
        tracing::info!(pipeline = %self.name, rows, commits, quarantined, "run finished");
    }

    /// A failure is an error when it is new; while it stays the same it is one line at `debug` for each retry.
    fn report_failure(&mut self, error: &Error, next_at: Option<Timestamp>) {
        let text = error.to_string();
        let next_at = next_at.map(tracing::field::display);
        if self.failed_with.as_ref() == Some(&text) {
            tracing::debug!(pipeline = %self.name, %error, next_at, "run failed again, retrying");
            return;
        }
        tracing::error!(pipeline = %self.name, %error, hint = error.hint(), next_at, "run failed, retrying");
        self.failed_with = Some(text);
    }

    fn ended(&mut self, outcome: &Result<()>, wait: Option<Duration>) {
        let next_at = wait.map(|wait| self.clock.now().plus(wait));
        if let Err(error) = outcome {
            self.report_failure(error, next_at);
        }
        let phase = if outcome.is_ok() {
            Phase::Waiting
        } else {
            Phase::Failed
        };
        self.phase(phase, next_at);
        let now = self.clock.now();
        self.registry.change(&self.name, |status| {
            if outcome.is_ok() {
                status.succeeded_at = Some(now);
            }
            status.runs += 1;
            status.failures += u64::from(outcome.is_err());
            status.error = outcome.as_ref().err().map(ToString::to_string);
        });
    }

    fn phase(&self, phase: Phase, next_at: Option<Timestamp>) {
        let now = self.clock.now();
        self.registry.change(&self.name, |status| {
            if status.phase != phase {
                status.since = now;
            }
            status.phase = phase;
            status.next_at = next_at;
        });
    }

    /// Sleeps; without a time until something changes.
    async fn pause(&mut self, wait: Option<Duration>) -> Woken {
        let clock = self.clock.clone();
        let due = async {
            match wait {
                Some(wait) => clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => Woken::Stopped,
            changed = self.wanted.changed() => {
                if changed.is_err() {
                    return Woken::Stopped;
                }
                self.wanted.mark_changed();
                Woken::Changed
            }
            () = due => Woken::Due,
        }
    }
}

fn runs_by_itself(spec: &PipelineSpec) -> bool {
    spec.schedule.is_some() || spec.is_continuous()
}

/// How long after a run that began `ago` the next one begins.
fn until_next(spec: &PipelineSpec, ago: Duration) -> Duration {
    match &spec.schedule {
        Some(schedule) => schedule.every.0.saturating_sub(ago),
        // A continuous source that ended has lost its footing: it gets a moment.
        None => PAUSE_FIRST,
    }
}
