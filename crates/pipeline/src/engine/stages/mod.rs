//! The three stages of a split: `read` polls the source, `extract` keeps the raw bytes and extracts rows, `load` transforms,
//! writes and commits. They work concurrently, joined by bounded channels: when a later stage is slow the earlier ones wait,
//! up to the source.

pub(crate) mod extract;
pub(crate) mod load;
pub(crate) mod read;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use forebay_core::{Error, Ident, Position, Result, panic_message};
use forebay_store::{Lease, RunRecord};
use tokio::sync::watch;
use tracing::Instrument;

use super::contract::{KnownContract, kept_contract, raw_table, read_contract, taken_tables};
use super::reconcile::position::check_position;
use super::{RunContext, attempts, audit};
use crate::spec::PipelineSpec;
use forebay_connectors::sink::Sink;

/// One split of one run, as seen by its stages.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Job {
    pub(in crate::engine) spec: Arc<PipelineSpec>,
    pub(in crate::engine) context: RunContext,
    pub(in crate::engine) run: RunRecord,
    pub(in crate::engine) split: Ident,
    pub(in crate::engine) lease: Lease,
    /// Sent to the source after each commit.
    pub(in crate::engine) committed: Arc<watch::Sender<Option<Position>>>,
    /// Commits of this split in this run.
    pub(in crate::engine) commits: Arc<AtomicU64>,
    /// Payloads at which the split failed before.
    pub(in crate::engine) attempt: Arc<attempts::Attempt>,
    /// The state of all splits of the run, for its record.
    pub(in crate::engine) attempts: Arc<attempts::Attempts>,
}

/// Runs the three stages and waits for all of them. The first error in flow order is returned: the errors of the other
/// stages only report that their neighbour is gone.
pub(in crate::engine) async fn stages(
    job: Job,
    requests: Arc<audit::Requests>,
    sink: Option<Box<dyn Sink>>,
) -> Result<()> {
    let raw = raw_table(&job.context, &job.spec.name).await?;
    check_position(&job, raw.as_ref())?;
    let kept = kept_contract(raw.as_ref());
    let contract = read_contract(&job.spec.name, kept.as_deref())?;
    let taken = taken_tables(&job.context, &job.spec).await?;
    let extraction = job.spec.extraction_beside(contract, taken)?;
    let known = KnownContract {
        kept,
        begins_with: extraction.contract(),
    };
    let (chunks_in, chunks_out) = tokio::sync::mpsc::channel(read::CHUNKS_MAX);
    let (work_in, work_out) = tokio::sync::mpsc::channel(extract::WORK_MAX);
    let runtime = tokio::runtime::Handle::current();
    let stop = job.context.cancel.child_token();
    let attempt = job.attempt.clone();

    let span = tracing::Span::current();
    let read = read::read(job.clone(), requests.clone(), chunks_in, stop.clone());
    let reader = tokio::spawn(read.instrument(span.clone()));
    let worker = {
        let job = job.clone();
        let runtime = runtime.clone();
        let span = span.clone();
        let requests = requests.clone();
        tokio::task::spawn_blocking(move || {
            let _in_run = span.enter();
            extract::Worker::new(job, runtime, extraction, requests, work_in).run(chunks_out)
        })
    };
    let loader = tokio::task::spawn_blocking(move || {
        let _in_run = span.enter();
        load::Loader::new(job, runtime, requests, sink, known)?.run(work_out)
    });

    // A failed stage ends the others, also one that waits for an idle source.
    let watched = |handle: tokio::task::JoinHandle<Result<()>>| {
        let stop = stop.clone();
        async move {
            let outcome = handle.await.unwrap_or_else(|error| Err(panicked(error)));
            if outcome.is_err() {
                stop.cancel();
            }
            outcome
        }
    };
    let guard = stop.clone().drop_guard();
    let (read, worked, loaded) = tokio::join!(watched(reader), watched(worker), watched(loader));
    drop(guard);
    let behind_source = [&worked, &loaded].into_iter();
    for error in behind_source.filter_map(|outcome| outcome.as_ref().err()) {
        attempt.note_failure(error);
    }
    let outcomes = [read, worked, loaded];
    let mut errors = outcomes
        .into_iter()
        .filter_map(Result::err)
        .collect::<Vec<_>>();
    match errors.iter().position(|error| error.code() != STAGE_GONE) {
        Some(first) => Err(errors.swap_remove(first)),
        None => errors.pop().map_or(Ok(()), Err),
    }
}

pub(in crate::engine) fn panicked(error: tokio::task::JoinError) -> Error {
    let text = match error.try_into_panic() {
        Ok(panic) => panic_message(panic.as_ref()),
        Err(error) => error.to_string(),
    };
    Error::bug(
        "stage_panicked",
        format!("a stage of the run panicked: {text}"),
    )
}

/// Code of the error that a stage gives when the next one has stopped.
pub(in crate::engine) const STAGE_GONE: &str = "stage_gone";

pub(in crate::engine) fn stage_gone() -> Error {
    Error::unavailable(STAGE_GONE, "the next stage of the run has stopped")
}
