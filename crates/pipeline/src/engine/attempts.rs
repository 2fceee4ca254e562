//! Detects payloads that crash the process or panic a stage, and quarantines each as a whole.
//!
//! A split whose stage has panicked, or whose process has died twice at the same position, restarts at its last commit and
//! works *carefully*: one payload at a time, each recorded before it is started and committed when it is done. So the
//! payload at which the process died is known. A panic rejects that payload at once; dead processes do when
//! [`RunContext::payload_attempts`] of them in a row were working on it. When enough payloads have passed the split works
//! as usual again. As long as nothing fails this module does nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_core::quarantine::Extent;
use forebay_core::{Error, ErrorKind, Ident, PayloadHead, Rejected, Result};
use forebay_store::{RunRecord, RunStatus, StepRecord};
use parking_lot::{Mutex, MutexGuard};

use crate::engine::RunContext;

/// Deaths at one position after which a split works carefully.
const DEATHS_CAREFUL: usize = 2;

/// Payloads that pass carefully before the split works as usual again.
const CAREFUL_PAYLOADS: u32 = 64;

/// Payloads rejected in a row, none between them landing, until the run fails: the cause is then hardly the payloads.
const REFUSED_MAX: u32 = 32;

/// Earlier runs that are read.
const RUNS_MAX: u32 = 32;

/// Name of the step in a run's record that holds the state of its splits.
const STEP: &str = "attempt";

/// Code of the error that ends careful work.
const CAREFULLY_DONE: &str = "carefully_done";

/// Largest part of a refused payload that is kept in the quarantine table.
const EXCERPT_BYTES: usize = 64 << 10;

/// The state of the splits of a run, for its record.
#[derive(Debug, Default)]
pub(in crate::engine) struct Attempts(Mutex<BTreeMap<Ident, Note>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    /// Commits of the split before the one in progress.
    sequence: i64,
    /// The payload in progress, in careful mode.
    payload: Option<String>,
}

impl Attempts {
    /// Steps to keep with those of the run.
    pub(in crate::engine) fn steps(&self) -> Vec<StepRecord> {
        let notes = lock(&self.0);
        let step = |(split, note): (&Ident, &Note)| StepRecord {
            step: STEP.to_owned(),
            detail: serde_json::json!({
                "split": split.as_str(), "sequence": note.sequence, "payload": note.payload,
            }),
            ..StepRecord::default()
        };
        notes.iter().map(step).collect()
    }

    fn set(&self, split: &Ident, sequence: i64, payload: Option<String>) {
        lock(&self.0).insert(split.clone(), Note { sequence, payload });
    }
}

/// The attempts of one split in this run.
#[derive(Debug)]
pub(in crate::engine) struct Attempt {
    split: Ident,
    all: Arc<Attempts>,
    careful: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether earlier runs have been read.
    looked: bool,
    sequence: i64,
    current: Option<String>,
    /// Payloads to reject, with the reasons.
    refused: BTreeMap<String, String>,
    /// Payloads rejected since the last one that landed.
    in_row: u32,
    passed: u32,
    /// The error of a stage after the source, if a payload may have caused it.
    failure: Option<String>,
}

impl Attempt {
    pub(in crate::engine) fn new(split: &Ident, all: Arc<Attempts>) -> Arc<Self> {
        Arc::new(Self {
            split: split.clone(),
            all,
            careful: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    /// The split starts at the commit that `sequence` counts. Reads earlier runs, once.
    pub(in crate::engine) async fn begin_split(
        &self,
        context: &RunContext,
        run: &RunRecord,
        sequence: i64,
    ) -> Result<()> {
        let is_first = {
            let mut state = lock(&self.state);
            state.sequence = sequence;
            !std::mem::replace(&mut state.looked, true)
        };
        self.all.set(&self.split, sequence, None);
        if !is_first {
            return Ok(());
        }
        let store = context.lake.store();
        // Usually the previous run has ended normally, and no more is read.
        let newest = store.runs(Some(&run.pipeline), 2).await?;
        if !newest.iter().any(|before| is_lost(before, run)) {
            return Ok(());
        }
        let runs = store.runs(Some(&run.pipeline), RUNS_MAX).await?;
        self.learn(&runs, run, context.payload_attempts);
        Ok(())
    }

    /// `runs` are the newest first; `attempts_max` 0 rejects no payload.
    fn learn(&self, runs: &[RunRecord], run: &RunRecord, attempts_max: u32) {
        let mut state = lock(&self.state);
        let others = runs
            .iter()
            .filter(|other| other.id != run.id && other.status != RunStatus::Running);
        let dead: Vec<&RunRecord> = others
            .take_while(|other| is_lost(other, run) && self.ended_at(other, state.sequence))
            .collect();
        if dead.len() < DEATHS_CAREFUL {
            return;
        }
        self.careful.store(true, Ordering::Relaxed);
        tracing::warn!(
            split = %self.split,
            deaths = dead.len(),
            "a payload may have made a stage fail: the process has died more than once since the last commit, continuing one payload at a time"
        );
        let Some(payload) = self.payload_of(dead[0]) else {
            return;
        };
        let attempts = dead
            .iter()
            .take_while(|run| self.payload_of(run).as_ref() == Some(&payload))
            .count();
        if attempts_max > 0 && attempts >= attempts_max as usize {
            let reason = format!("the process died {attempts} times at this payload");
            state.refused.insert(payload, reason);
        }
    }

    /// The payload that a run had started carefully when it ended.
    fn payload_of(&self, run: &RunRecord) -> Option<String> {
        self.note_of(run)?.payload
    }

    /// Whether a dead run has died before it could commit anything after `sequence`.
    fn ended_at(&self, run: &RunRecord, sequence: i64) -> bool {
        match self.note_of(run) {
            Some(note) => note.sequence == sequence,
            // Nothing is recorded before the first commit.
            None => run.steps.is_empty(),
        }
    }

    fn note_of(&self, run: &RunRecord) -> Option<Note> {
        let steps = run.steps.iter().filter(|step| step.step == STEP);
        let mut details = steps.map(|step| &step.detail);
        let detail = details.find(|detail| detail["split"] == self.split.as_str())?;
        Some(Note {
            sequence: detail["sequence"].as_i64()?,
            payload: detail["payload"].as_str().map(str::to_owned),
        })
    }

    /// Whether payloads are processed one at a time.
    pub(in crate::engine) fn is_careful(&self) -> bool {
        self.careful.load(Ordering::Relaxed)
    }

    /// Starts a payload carefully; `Some` is the reason to reject it. The caller writes the run's record before continuing.
    pub(in crate::engine) fn begin(&self, head: &PayloadHead) -> Option<String> {
        let mut state = lock(&self.state);
        let name = identity(head);
        self.all
            .set(&self.split, state.sequence, Some(name.clone()));
        let refused = state.refused.get(&name).cloned();
        state.current = Some(name);
        refused
    }

    /// The started payload is done. Errors: `Conflict` when the split has to restart, to work as usual.
    pub(in crate::engine) fn end(&self, refused: bool) -> Result<()> {
        let mut state = lock(&self.state);
        state.current = None;
        state.passed += 1;
        if !refused {
            state.in_row = 0;
        }
        self.all.set(&self.split, state.sequence, None);
        if state.passed < CAREFUL_PAYLOADS {
            return Ok(());
        }
        state.passed = 0;
        self.careful.store(false, Ordering::Relaxed);
        Err(Error::conflict(
            CAREFULLY_DONE,
            "the payloads at which the split had failed are processed",
        ))
    }

    /// The split has committed.
    pub(in crate::engine) fn committed(&self, sequence: i64) {
        let mut state = lock(&self.state);
        state.sequence = sequence;
        let payload = state.current.clone();
        self.all.set(&self.split, sequence, payload);
    }

    /// A stage after the source has failed.
    pub(in crate::engine) fn note_failure(&self, error: &Error) {
        if error.kind() == ErrorKind::Bug {
            lock(&self.state).failure.get_or_insert(error.to_string());
        }
    }

    /// Whether the failed split has to restart because a payload may have caused the failure.
    pub(in crate::engine) fn may_restart(&self) -> bool {
        let mut state = lock(&self.state);
        let Some(failure) = state.failure.take() else {
            return false;
        };
        if !self.careful.swap(true, Ordering::Relaxed) {
            state.passed = 0;
            return true;
        }
        let Some(current) = state.current.take() else {
            return false;
        };
        state.in_row += 1;
        let reason = format!("a stage failed at this payload: {failure}");
        let is_new = state.refused.insert(current, reason).is_none();
        is_new && state.in_row <= REFUSED_MAX
    }
}

fn is_lost(other: &RunRecord, run: &RunRecord) -> bool {
    other.id != run.id && other.status == RunStatus::Lost && other.branch == run.branch
}

/// The identity of a payload across attempts.
fn identity(head: &PayloadHead) -> String {
    match head.attributes.get(PayloadHead::OFFSET_ATTRIBUTE) {
        Some(offset) => format!("{}@{offset}", head.name),
        None => head.name.clone(),
    }
}

/// Rejects a payload as a whole: a replay takes all of it.
pub(in crate::engine) fn refuse_whole(
    head: &PayloadHead,
    reason: String,
    begin: &[u8],
) -> Rejected {
    Rejected {
        payload: Some(head.ordinal),
        extent: Some(Extent::PAYLOAD),
        offset: None,
        line: None,
        stage: "extract".to_owned(),
        code: "payload_fatal".to_owned(),
        reason,
        record: begin[..begin.len().min(EXCERPT_BYTES)].to_vec(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests {
    use forebay_core::{RefName, RunId, Timestamp};

    use super::*;

    fn record(n: u128, status: RunStatus, steps: Vec<StepRecord>) -> RunRecord {
        RunRecord {
            id: RunId::new(Timestamp(1_000_000), n),
            pipeline: "p".parse().unwrap(),
            branch: RefName::main(),
            status,
            started_at: Timestamp(0),
            ended_at: None,
            error: None,
            steps,
        }
    }

    /// The steps of a run that died at `payload` after `sequence` commits.
    fn dead(n: u128, sequence: i64, payload: Option<&str>) -> RunRecord {
        let all = Attempts::default();
        all.set(&"s".parse().unwrap(), sequence, payload.map(str::to_owned));
        record(n, RunStatus::Lost, all.steps())
    }

    fn learned(runs: &[RunRecord], sequence: i64) -> Arc<Attempt> {
        let attempt = Attempt::new(&"s".parse().unwrap(), Arc::default());
        lock(&attempt.state).sequence = sequence;
        attempt.learn(runs, &record(99, RunStatus::Running, Vec::new()), 3);
        attempt
    }

    fn refused(attempt: &Attempt) -> Vec<String> {
        lock(&attempt.state).refused.keys().cloned().collect()
    }

    #[test]
    fn a_payload_begun_three_times_without_an_end_is_refused() {
        let early = || record(1, RunStatus::Lost, Vec::new());
        assert!(!learned(&[dead(1, 7, None)], 7).is_careful());
        let twice = learned(&[early(), dead(1, 7, None)], 7);
        assert!(twice.is_careful() && refused(&twice).is_empty());
        let runs = |names: &[Option<&str>]| {
            let carefully = names.iter().map(|name| dead(3, 7, *name));
            carefully
                .chain([early(), dead(1, 7, None)])
                .collect::<Vec<_>>()
        };
        for not_yet in [&[Some("a"); 2][..], &[Some("a"), Some("a"), Some("b")]] {
            assert_eq!(refused(&learned(&runs(not_yet), 7)), [""; 0]);
        }
        let third = learned(&runs(&[Some("a"); 3]), 7);
        assert_eq!(refused(&third), ["a"]);
    }

    #[test]
    fn deaths_behind_a_commit_or_a_run_that_ended_do_not_count() {
        let moved = learned(
            &[dead(3, 7, None), dead(2, 6, Some("a")), dead(1, 6, None)],
            7,
        );
        assert!(!moved.is_careful());
        let ended = record(2, RunStatus::Failed, Vec::new());
        assert!(!learned(&[dead(3, 7, Some("a")), ended, dead(1, 7, None)], 7).is_careful());
        let live = record(4, RunStatus::Running, Vec::new());
        assert!(learned(&[live, dead(3, 7, None), dead(1, 7, None)], 7).is_careful());
    }

    #[test]
    fn a_failure_without_a_payload_is_nobodys() {
        let attempt = learned(&[], 0);
        attempt.note_failure(&Error::bug("stage_panicked", "a stage panicked"));
        assert!(
            attempt.may_restart(),
            "the first failure is not attributed to a payload"
        );
        attempt.note_failure(&Error::bug("stage_panicked", "a stage panicked"));
        assert!(!attempt.may_restart());
        attempt.note_failure(&Error::unavailable("gone", "the storage is gone"));
        assert!(!attempt.may_restart());
    }
}
