//! A run: one pipeline from its position to the current end of its source.
//!
//! Three stages work concurrently, joined by bounded channels: `read` polls the source, `work` keeps the raw bytes and
//! extracts rows, `load` transforms, writes files and commits. When a later stage is slow the earlier ones wait, up to the
//! source. The commit in `load` moves the position; uncommitted output of an interrupted run is invisible.

mod admit;
mod adopt;
mod again;
mod attempts;
mod audit;
mod deliver;
mod discard;
mod evidence;
mod figures;
mod ledger;
mod load;
mod loaders;
mod outbox;
mod pieces;
mod pour;
mod read;
mod rearrange;
mod rebuild;
mod replay;
mod reset;
mod scan;
mod share;
mod spill;
mod split;
mod steps;
mod stored;
mod tables;
mod verify;
mod widen;
mod work;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use forebay_core::{
    Clock, Context, Error, Ident, Position, RefName, Result, RunId, SqlEngine, json, panic_message,
};
use forebay_lake::{Lake, Table, position_property};
use forebay_objects::AwsVariables;
use forebay_store::{AsOf, Lease, RunRecord, RunStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use adopt::adopt;
pub use audit::{requests_schema, requests_table};
pub use discard::{DiscardFilter, DiscardPlan, discard, plan_discard};
pub use figures::{Figures, Stage};
pub use loaders::find_other_loaders;
pub use rebuild::{Rebuilt, rebuild};
pub use replay::{Replayed, replay};
pub use reset::{ResetPlan, plan_reset, reset};
pub use tables::{is_owned, owner};

use crate::spec::PipelineSpec;
use forebay_connectors::sink::Sink;
use forebay_formats::contract::{Contract, TakenTables};
use forebay_journal::Journals;

/// Property of `raw.<pipeline>` that holds the contract.
const CONTRACT_PROPERTY: &str = "forebay.contract";

/// The environment of a run.
#[derive(Debug, Clone)]
pub struct RunContext {
    pub lake: Lake,
    pub engine: Arc<dyn SqlEngine>,
    pub clock: Arc<dyn Clock>,
    /// Seeds ids and jitter.
    pub seed: u64,
    /// The folder of the project: relative paths in pipeline files are relative to it.
    pub project: PathBuf,
    /// Where payloads are decompressed, see [`forebay_lake::SpillFolder`].
    pub spill: PathBuf,
    pub branch: RefName,
    /// Identifies this process in leases.
    pub owner: String,
    /// How long a lease lasts without renewal: the splits of a dead process stay unavailable for this long.
    pub lease: Duration,
    /// The author in the log.
    pub author: String,
    pub cancel: CancellationToken,
    pub figures: Arc<Figures>,
    /// Read everything again, whatever the position.
    pub full: bool,
    /// Wait for more data at the end of a source that can be followed.
    pub follow: bool,
    /// The journals of pushes.
    pub journals: Arc<Journals>,
    /// The caller guarantees that no other process runs this pipeline, so leases that are still held belong to dead
    /// processes.
    pub exclusive: bool,
    /// The process's `AWS_*` variables.
    pub aws: AwsVariables,
    /// Processes that may die while working on one payload alone before it is quarantined; 0: any number.
    pub payload_attempts: u32,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub struct RunReport {
    pub id: RunId,
    pub record: RunRecord,
    /// Whether it was cancelled before the source was exhausted.
    pub interrupted: bool,
}

/// Runs a pipeline until its source has nothing more. The run record is written also when this fails.
pub async fn run(spec: Arc<PipelineSpec>, context: RunContext) -> Result<RunReport> {
    let started_at = context.clock.now();
    let id = RunId::new(started_at, random(context.seed, 0));
    let store = context.lake.store().clone();
    context.figures.begin_run();
    let mut record = RunRecord {
        id,
        pipeline: spec.name.clone(),
        branch: context.branch.clone(),
        status: RunStatus::Running,
        started_at,
        ended_at: None,
        error: None,
        steps: Vec::new(),
    };
    store.record_run(&record).await?;
    if context.exclusive {
        store.mark_lost(&context.branch, &spec.name, id).await?;
    }
    // Everything logged from here on carries the run's fields, whatever the level.
    let span = tracing::error_span!("run", pipeline = %spec.name, run = %id);
    let outcome = all_splits(&spec, &context, &record).instrument(span).await;
    record.ended_at = Some(context.clock.now());
    record.steps = context.figures.steps();
    record.status = if outcome.is_ok() {
        RunStatus::Succeeded
    } else {
        RunStatus::Failed
    };
    record.error = outcome.as_ref().err().map(ToString::to_string);
    let recorded = store.record_run(&record).await;
    outcome.context("pipeline", &spec.name).context("run", id)?;
    recorded?;
    Ok(RunReport {
        id,
        record,
        interrupted: context.cancel.is_cancelled(),
    })
}

async fn all_splits(
    spec: &Arc<PipelineSpec>,
    context: &RunContext,
    record: &RunRecord,
) -> Result<()> {
    let replaces = spec.load.replaces();
    let context = &RunContext {
        full: context.full || replaces,
        follow: context.follow && spec.is_continuous(),
        ..context.clone()
    };
    let requests = Arc::new(audit::Requests::default());
    let source_context = read::source_context(spec, context, &requests);
    let splits = spec.source.splits(&source_context).await?;
    if replaces && splits.len() != 1 {
        let message = format!(
            "`mode: replace` needs a source that is read in one piece, this one has {}",
            splits.len()
        );
        return Err(Error::unsupported("replace_in_parts", message));
    }
    let run = split::Run {
        spec: spec.clone(),
        context: context.clone(),
        record: record.clone(),
        requests,
        attempts: Arc::default(),
    };
    rearrange::rearrange(&run).await?;
    share::work(&run, splits).await
}

/// One split of one run, as seen by its stages.
#[derive(Debug, Clone)]
struct Job {
    spec: Arc<PipelineSpec>,
    context: RunContext,
    run: RunRecord,
    split: Ident,
    lease: Lease,
    /// Sent to the source after each commit.
    committed: Arc<watch::Sender<Option<Position>>>,
    /// Commits of this split in this run.
    commits: Arc<AtomicU64>,
    /// Payloads at which the split failed before.
    attempt: Arc<attempts::Attempt>,
    /// The state of all splits of the run, for its record.
    attempts: Arc<attempts::Attempts>,
}

/// Runs the three stages and waits for all of them. The first error in flow order is returned: the errors of the other
/// stages only report that their neighbour is gone.
async fn stages(
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
    let (work_in, work_out) = tokio::sync::mpsc::channel(work::WORK_MAX);
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
            work::Worker::new(job, runtime, extraction, requests, work_in).run(chunks_out)
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

fn panicked(error: tokio::task::JoinError) -> Error {
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
const STAGE_GONE: &str = "stage_gone";

fn stage_gone() -> Error {
    Error::unavailable(STAGE_GONE, "the next stage of the run has stopped")
}

async fn raw_table(context: &RunContext, pipeline: &Ident) -> Result<Option<Table>> {
    let branch = AsOf::Head(context.branch.clone());
    context.lake.table(&branch, &tables::raw(pipeline)?).await
}

/// Tables of other pipelines with the name of a child table of this pipeline.
async fn taken_tables(
    context: &RunContext,
    spec: &PipelineSpec,
) -> Result<Option<Arc<TakenTables>>> {
    let Some(target) = spec.load.lake() else {
        return Ok(None);
    };
    let branch = AsOf::Head(context.branch.clone());
    let mut names = BTreeSet::new();
    for name in context.lake.tables(&branch).await? {
        if !tables::may_be_child(&name, &target.table) {
            continue;
        }
        if let Some(table) = context.lake.table(&branch, &name).await?
            && !is_owned(&table, &target.table)
        {
            names.insert(name);
        }
    }
    let taken = TakenTables::new(target.table.clone(), names);
    Ok((!taken.is_empty()).then(|| Arc::new(taken)))
}

/// When the store has lost the position of a split, or its position differs from that of its tables, nothing may be loaded
/// again or skipped.
///
/// Errors: `Data` `position_lost`, `position_mismatch`.
fn check_position(job: &Job, raw: Option<&Table>) -> Result<()> {
    if job.context.full {
        return Ok(());
    }
    let key = position_property(&job.spec.name, &job.split);
    let Some((raw, noted)) = raw.and_then(|raw| Some((raw, raw.properties().remove(&key)?))) else {
        return Ok(());
    };
    if let Some(position) = &job.lease.position {
        let noted: NotedPosition = match serde_json::from_str(&noted) {
            Ok(noted) => noted,
            Err(_) => return Ok(()),
        };
        return noted.compare(job, position, raw);
    }
    let message = format!(
        "the catalog has no position for split {}, but {} was loaded up to {noted}",
        job.split,
        raw.name()
    );
    Err(Error::data("position_lost", message)
        .with_hint("stop every other process of this pipeline, then restore the catalog from a backup that has the position")
        .with_context("table", raw.name())
        .with_context("file", raw.metadata_location()))
}

/// The position of a split according to a table: see [`position_property`].
#[derive(serde::Deserialize)]
struct NotedPosition {
    epoch: i64,
    sequence: i64,
    position: Position,
}

impl NotedPosition {
    /// A commit moves table and catalog together. A table untouched by the last commit is behind, never ahead.
    fn compare(&self, job: &Job, position: &Position, raw: &Table) -> Result<()> {
        let lease = &job.lease;
        // A later epoch is that of a process that took the split since; nobody else has committed with ours yet.
        let is_ahead = self.sequence > lease.sequence && self.epoch <= lease.epoch;
        let differs = self.sequence == lease.sequence && self.position != *position;
        if !is_ahead && !differs {
            return Ok(());
        }
        let message = format!(
            "the catalog has position {position} (commit {}) for split {}, but {} has {} (commit {})",
            lease.sequence,
            job.split,
            raw.name(),
            self.position,
            self.sequence
        );
        Err(Error::data("position_mismatch", message)
            .with_hint("the catalog is damaged or older than its tables: restore it from a backup; `forebay verify` compares everything")
            .with_context("table", raw.name()))
    }
}

/// The contract at the start of a run.
struct KnownContract {
    /// The contract as stored in the raw table.
    kept: Option<String>,
    /// The same as the extraction reads it, with the declared columns.
    begins_with: Contract,
}

/// The contract of earlier runs, as stored in the raw table of the pipeline.
fn kept_contract(raw: Option<&Table>) -> Option<String> {
    raw?.properties().remove(CONTRACT_PROPERTY)
}

/// Errors: `Data` `bad_contract`.
fn read_contract(pipeline: &Ident, kept: Option<&str>) -> Result<Option<Contract>> {
    let read = kept.map(parse_contract).transpose();
    read.map_err(|error| {
        let what =
            format!("the property `{CONTRACT_PROPERTY}` of raw.{pipeline} is not a contract");
        Error::data("bad_contract", what).with_source(error)
    })
}

/// Contracts had no depth limit before, so one may be deeper than the default reader accepts.
fn parse_contract(text: &str) -> Result<Contract> {
    let usual = serde_json::from_str(text);
    usual.or_else(|error| match json::nesting(text.as_bytes()) {
        0..=NESTING_USUAL => {
            Err(Error::data("bad_json", "failed to read a contract").with_source(error))
        }
        _ => json::from_deep(text.as_bytes()),
    })
}

/// Nesting of JSON that the default reader accepts.
const NESTING_USUAL: usize = 127;

/// The text of a contract, read back as a check: a contract that no later run could read is not committed.
///
/// Errors: `Bug` `contract_json`.
fn contract_text(contract: &Contract) -> Result<String> {
    let written = || {
        let text = serde_json::to_string(contract)?;
        serde_json::from_str::<Contract>(&text).map(|_| text)
    };
    let text: serde_json::Result<String> = written();
    match text {
        // It was as deep before.
        Err(_) if is_deep(contract) => serde_json::to_string(contract).map_err(unwritable),
        other => other.map_err(unwritable),
    }
}

fn is_deep(contract: &Contract) -> bool {
    let text = serde_json::to_vec(contract).unwrap_or_default();
    json::nesting(&text) > NESTING_USUAL && json::from_deep::<Contract>(&text).is_ok()
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::bug("contract_json", "failed to write the contract").with_source(error)
}

/// A 128-bit number that depends on the seed and a counter only (splitmix64, Steele et al. 2014).
fn random(seed: u64, counter: u64) -> u128 {
    let mix = |n: u64| {
        let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (u128::from(mix(counter * 2)) << 64) | u128::from(mix(counter * 2 + 1))
}

#[cfg(test)]
mod tests;
