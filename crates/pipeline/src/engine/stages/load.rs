//! The third stage: transforms, writes files, and makes the commit that moves the position.
//!
//! Works on a blocking thread of its own. Rows, raw index, quarantine, requests, contract and position of one boundary
//! are one commit: all of it is visible afterwards or none.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use forebay_core::{Batch, Error, ErrorKind, Position, Rejected, Result};
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::Job;
use super::extract::{Boundary, Work};
use crate::engine::audit::{self, Requests};
use crate::engine::commit::{CommitNote, CommitUnit, SealedCommit, move_position, tables};
use crate::engine::contract::{CONTRACT_PROPERTY, KnownContract, contract_text};
use crate::engine::refusals::{close_events, open_events};
use crate::engine::row_target::{RowTarget, row_target};
use crate::engine::steps::Steps;
use crate::engine::steps::pieces::Pieces;
use crate::engine::{CommitStep, Figures};
use crate::position_objects::{self, object_paths};
use crate::quarantine::{self, Event, EventKind, PayloadKey};
use crate::raw::{self, RawEntry};
use forebay_connectors::sink::{Delivered, Sink};
use forebay_connectors::source::RequestRecord;
use forebay_formats::contract::Contract;

pub(in crate::engine) struct Loader {
    job: Job,
    runtime: Handle,
    requests: Arc<Requests>,
    unit: CommitUnit,
    steps: Steps,
    target: Box<dyn RowTarget>,
    /// Names and receive times of the payloads since the last boundary, for quarantined records.
    heads: BTreeMap<u64, PayloadKey>,
    events: u64,
    /// Payloads that were read.
    payloads: u64,
    /// Rows of earlier commits.
    loaded: u64,
    rows: u64,
    /// Those of them that are in child tables.
    child_rows: u64,
    /// Paths of the objects that the last position references.
    position_objects: HashSet<String>,
    /// The contract as stored in the raw table.
    contract: Option<String>,
    /// The end of a pass that replaces the target: its position moves with the replacement.
    pass_end: Option<Position>,
    /// Whether the next commit ends a pass of a sink, whose rows are delivered first.
    ends_sink: bool,
}

impl Loader {
    pub(in crate::engine) fn new(
        job: Job,
        runtime: Handle,
        requests: Arc<Requests>,
        sink: Option<Box<dyn Sink>>,
        known: KnownContract,
    ) -> Result<Self> {
        let context = &job.context;
        let mut unit = CommitUnit::new(context, &job.spec.name, &runtime);
        if job.spec.load.is_transactional() {
            unit = unit.with_outbox(&job.spec.name, &job.split);
        }
        if let Some(tables) = job.spec.source.tables() {
            unit.tables.read_from(tables);
        }
        let target = row_target(&job.spec, sink, &runtime)?;
        let position_objects = match &job.lease.position {
            Some(position) => object_paths(position)?,
            None => HashSet::new(),
        };
        let mut steps = Steps::new(job.spec.clone(), &job.context.engine);
        steps.watch_columns(known.begins_with)?;
        steps.widen_columns(&context.lake, &context.branch);
        Ok(Self {
            job,
            runtime,
            requests,
            unit,
            steps,
            target,
            heads: BTreeMap::new(),
            events: 0,
            payloads: 0,
            loaded: 0,
            rows: 0,
            child_rows: 0,
            position_objects,
            contract: known.kept,
            pass_end: None,
            ends_sink: false,
        })
    }

    pub(in crate::engine) fn run(mut self, mut work: mpsc::Receiver<Work>) -> Result<()> {
        let done = self.take_all(&mut work);
        // No stage may wait for this one any more, whatever happened.
        drop(work);
        // Requests are evidence also when the run fails; the error that ended the run takes precedence.
        let requests = self.commit_requests();
        done.and(requests)
    }

    fn take_all(&mut self, work: &mut mpsc::Receiver<Work>) -> Result<()> {
        while let Some(work) = work.blocking_recv() {
            match work {
                Work::Payload(head) => {
                    let key = PayloadKey {
                        name: head.name.clone(),
                        received_at: head.received_at,
                    };
                    self.payloads += 1;
                    self.heads.insert(head.ordinal, key);
                }
                Work::Rows(batch) => self.rows(batch)?,
                Work::Rejected(rejected) => self.quarantine(rejected)?,
                Work::Index(path, entries) => self.index(&path, &entries)?,
                Work::Boundary(boundary) => self.boundary(boundary)?,
                Work::Requests => self.requests_alone()?,
                Work::Settle(done) => {
                    // The receiver may have failed in between.
                    let _ = done.send(());
                }
                Work::End => self.end()?,
            }
        }
        Ok(())
    }

    fn rows(&mut self, batch: Batch) -> Result<()> {
        if batch.records.num_rows() == 0 {
            return self.create_target(batch);
        }
        let figures = self.job.context.figures.clone();
        let mut pieces = Pieces::new(batch);
        while let Some(batch) = figures.transform.time(|| self.transform(&mut pieces))? {
            batch.map_or(Ok(()), |batch| self.load(batch))?;
        }
        Ok(())
    }

    /// A result without rows has columns all the same: readers of the target may start.
    fn create_target(&mut self, none: Batch) -> Result<()> {
        let (none, _) = self.runtime.block_on(self.steps.apply(none))?;
        self.target.create(&mut self.unit, &none.records)
    }

    fn load(&mut self, batch: Batch) -> Result<()> {
        let figures = self.job.context.figures.clone();
        let rows = batch.records.num_rows() as u64;
        figures.load.add(rows, 0);
        if !batch.child.is_empty() {
            self.child_rows += rows;
        }
        self.rows += rows;
        figures.load.time(|| self.write(batch))
    }

    /// The next piece of a batch, if it gives rows; `None` at its end.
    fn transform(&mut self, pieces: &mut Pieces) -> Result<Option<Option<Batch>>> {
        let next = self.runtime.block_on(pieces.next(&mut self.steps))?;
        let Some((batch, refused)) = next else {
            return Ok(None);
        };
        let figures = self.job.context.figures.clone();
        Figures::count(&figures.quarantined, refused.len() as u64);
        self.quarantine(refused)?;
        if let Some(batch) = batch.as_ref().filter(|batch| batch.child.is_empty()) {
            figures.transform.add(batch.records.num_rows() as u64, 0);
        }
        Ok(Some(batch))
    }

    fn write(&mut self, batch: Batch) -> Result<()> {
        let refused = self.target.write(&mut self.unit, &mut self.steps, batch)?;
        self.refused(refused)
    }

    /// Records rejected by the target.
    fn refused(&mut self, rejected: Vec<Rejected>) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let figures = &self.job.context.figures;
        Figures::count(&figures.quarantined, rejected.len() as u64);
        self.rows = self.rows.saturating_sub(rejected.len() as u64);
        self.quarantine(rejected)
    }

    /// Whether the source reads the whole content of the target in one pass, whose position says that it is there.
    fn replaces_by_pass(&self) -> bool {
        let spec = &self.job.spec;
        spec.load.replaces() && spec.source.capabilities().is_by_pass
    }

    fn end(&mut self) -> Result<()> {
        if self.replaces_by_pass() {
            let end = self.pass_end.take();
            return end.map_or(Ok(()), |position| self.end_pass(position));
        }
        if let Some(reason) = self.reason_to_keep() {
            let target = self.job.spec.load.describe();
            tracing::warn!(%target, "{reason}: the rows of the target are not replaced");
            return Ok(());
        }
        if self.target.end(&mut self.unit, &mut self.steps)? {
            self.commit(None)?;
        }
        if self.job.spec.load.replaces() {
            self.supersede()?;
        }
        Ok(())
    }

    /// Replaces the rows of the target and moves the position, in one commit of the lake; with a sink the position moves last.
    fn end_pass(&mut self, position: Position) -> Result<()> {
        if let Some(reason) = self.reason_to_keep() {
            let target = self.job.spec.load.describe();
            tracing::warn!(%target, "{reason}: the rows of the target are not replaced");
            self.note_read(&position)?;
            return self.commit(Some(position));
        }
        self.target.note_read(&mut self.unit, &position);
        self.ends_sink = self.job.spec.load.lake().is_none();
        if !self.ends_sink {
            self.target.end(&mut self.unit, &mut self.steps)?;
        }
        self.commit(Some(position))?;
        self.supersede()
    }

    /// The target tells from now on what was read for its rows, so that a reader can go back with it.
    fn note_read(&mut self, position: &Position) -> Result<()> {
        if !self.job.spec.source.capabilities().is_by_pass {
            return Ok(());
        }
        self.target.note_read(&mut self.unit, position);
        self.target.set_noted(&mut self.unit)
    }

    /// Why a run must not replace the rows of its target: it has none, and not because its source is empty.
    fn reason_to_keep(&self) -> Option<&'static str> {
        if !self.job.spec.load.replaces() || self.loaded + self.rows > 0 {
            return None;
        }
        let has_files = self.job.spec.source.capabilities().file_rules.is_some();
        match (self.events, self.payloads) {
            (1.., _) => Some("every record was refused"),
            (0, 0) if has_files => Some("no file was read"),
            _ => None,
        }
    }

    /// The target holds only the output of this attempt: open refusals of earlier ones no longer concern it.
    fn supersede(&mut self) -> Result<()> {
        let context = &self.job.context;
        let pipeline = &self.job.spec.name;
        let open = open_events(&context.lake, &context.branch, pipeline);
        let mut older = self.runtime.block_on(open)?;
        let own = self.own_events();
        older.retain(|event| !event.id.starts_with(&own));
        if older.is_empty() {
            return Ok(());
        }
        let closed = close_events(older, EventKind::Superseded, context.clock.now());
        let table = quarantine::table(pipeline)?;
        // Only for the lake: the target has been committed, and a run that dies here leaves them to the next.
        self.unit.take_outbox();
        self.unit.add(&table, &quarantine::to_batch(&closed)?)?;
        self.commit(None)
    }

    fn quarantine(&mut self, mut rejected: Vec<Rejected>) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        self.job.spec.secrets.cover_reasons(&mut rejected);
        self.job.context.figures.note_refusal(&rejected[0]);
        let at = self.job.context.clock.now();
        let mut events = Vec::with_capacity(rejected.len());
        for rejected in rejected {
            let head = rejected
                .payload
                .and_then(|payload| self.heads.get(&payload));
            let payload = head.cloned();
            self.events += 1;
            events.push(Event {
                id: self.event_id(),
                kind: EventKind::Rejected,
                at,
                run: self.job.run.id,
                split: self.job.split.clone(),
                payload,
                rejected,
            });
        }
        let table = quarantine::table(&self.job.spec.name)?;
        self.unit.add(&table, &quarantine::to_batch(&events)?)
    }

    /// A run that restarts at its last commit then has another epoch, so ids stay unique.
    fn event_id(&self) -> String {
        format!("{}{:010}", self.own_events(), self.events)
    }

    /// The prefix of the ids of this attempt's events.
    fn own_events(&self) -> String {
        let run = self.job.run.id;
        let split = &self.job.split;
        let epoch = self.job.lease.epoch;
        format!("{run}-{split}-{epoch:06}-")
    }

    /// Adds to the raw index.
    fn index(&mut self, path: &Path, entries: &[RawEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let table = tables::raw(&self.job.spec.name)?;
        let rows = raw::to_batch(entries)?;
        self.unit.add_index(&table, &rows, path)
    }

    fn boundary(&mut self, boundary: Boundary) -> Result<()> {
        let figures = self.job.context.figures.clone();
        figures.load.time(|| {
            let refused = self.target.flush()?;
            self.refused(refused)?;
            for object in &boundary.raw {
                self.index(&object.index, &object.entries)?;
            }
            let contract = self.steps.learned(boundary.contract)?;
            let learned = self.learned(&contract)?;
            if self.replaces_by_pass() {
                self.pass_end = Some(boundary.position);
                return Ok(());
            }
            self.note_read(&boundary.position)?;
            self.commit(Some(boundary.position))?;
            if learned.is_some() {
                self.contract = learned;
            }
            Ok(())
        })
    }

    /// Keeps a contract that differs from the one in the raw table; returns it when it goes into the commit. If another
    /// writer of the pipeline has extended the contract in the meantime, nothing is committed, and this one restarts with
    /// that contract.
    fn learned(&mut self, contract: &Contract) -> Result<Option<String>> {
        let contract = contract_text(contract)?;
        if self.contract.as_ref() == Some(&contract) {
            return Ok(None);
        }
        let table = tables::raw(&self.job.spec.name)?;
        let known = self.contract.as_deref();
        let is_set = self
            .unit
            .replace_property(&table, CONTRACT_PROPERTY, &contract, known)?;
        Ok(is_set.then_some(contract))
    }

    /// Commits requests right after a boundary, while a source polls without new data.
    fn requests_alone(&mut self) -> Result<()> {
        // They go to the lake only: the target has nothing to commit with them.
        let outbox = self.unit.take_outbox();
        let committed = self.commit(None);
        self.unit.restore_outbox(outbox);
        committed
    }

    /// Commits requests after the last boundary, and all of them when there was none.
    fn commit_requests(&mut self) -> Result<()> {
        // Rows since the last boundary are not committed: their position is unknown.
        self.unit.discard();
        self.rows = 0;
        self.child_rows = 0;
        self.commit(None)
    }

    fn commit(&mut self, position: Option<Position>) -> Result<()> {
        let requests = self.requests.take();
        let result = self.try_commit(position, &requests);
        if result.is_err() {
            self.requests.put_back(requests);
        }
        result
    }

    fn try_commit(&mut self, position: Option<Position>, requests: &[RequestRecord]) -> Result<()> {
        let job = self.job.clone();
        if !requests.is_empty() {
            let rows = audit::to_batch(requests, &job.spec.name, &job.split, job.run.id)?;
            self.unit.add(&audit::requests_table()?, &rows)?;
        }
        let sealed = self.unit.seal()?;
        if sealed.is_empty() && position.is_none() {
            return Ok(());
        }
        self.unit.reach(CommitStep::FilesSealed)?;
        let message = self.message(position.is_some());
        if let Some(position) = &position {
            self.keep_objects(position)?;
            self.target.deliver(
                self.job.lease.sequence,
                Delivered {
                    position: position.clone(),
                    outbox: self.unit.outbox_text(&message)?,
                },
            )?;
            if std::mem::take(&mut self.ends_sink) {
                self.target.end(&mut self.unit, &mut self.steps)?;
            }
            self.unit.reach(CommitStep::TargetCommitted)?;
        }
        let moves = position
            .clone()
            .map(|position| move_position(&job.spec.name, &job.split, &self.job.lease, position));
        let note = CommitNote {
            message,
            run: Some(job.run.id),
            positions: moves.into_iter().collect(),
        };
        self.commit_sealed(sealed, note)?;
        self.unit.reach(CommitStep::CatalogCommitted)?;
        let moved = position.is_some();
        if let Some(position) = position {
            self.position_objects = object_paths(&position)?;
            job.committed.send_replace(Some(position));
        }
        self.committed(moved)
    }

    fn commit_sealed(&mut self, sealed: SealedCommit, note: CommitNote) -> Result<()> {
        let job = self.job.clone();
        let moved = !note.positions.is_empty();
        let span = tracing::error_span!(
            "commit",
            commit = tracing::field::Empty,
            pipeline = %job.spec.name,
            run = %job.run.id,
            rows = self.rows,
            linked = tracing::field::Empty,
        );
        let _in_commit = span.enter();
        let begun = job.context.clock.monotonic();
        let committed = self.unit.commit(sealed, note);
        if moved && let Err(error) = &committed {
            self.withdraw_refused(error);
        }
        committed?;
        let took = job.context.clock.monotonic().saturating_sub(begun);
        job.context.figures.commit.add(took);
        let quarantined_total = Figures::get(&job.context.figures.quarantined);
        tracing::info!(
            took_ms = took.as_millis() as u64,
            quarantined_total,
            "committed"
        );
        Ok(())
    }

    /// Takes back the rows of the commit that the catalog has refused just now: it is made again, maybe by another process that has the
    /// split by now. After any other error the catalog may have it.
    fn withdraw_refused(&mut self, refused: &Error) {
        if refused.kind() != ErrorKind::Conflict {
            return;
        }
        if let Err(error) = self.target.withdraw() {
            tracing::warn!(%error, "failed to remove the rows of a refused commit from the target");
        }
    }

    /// Refuses objects that may have been deleted before a commit references them.
    fn keep_objects(&mut self, position: &Position) -> Result<()> {
        let objects = position_objects::new_objects(position, &self.position_objects)?;
        position_objects::check_age(&objects, self.job.context.clock.now())?;
        self.unit.keep_objects(objects)
    }

    fn message(&self, moved: bool) -> String {
        let name = &self.job.spec.name;
        if moved {
            format!(
                "{name}: {} rows into {}",
                self.rows,
                self.job.spec.load.describe()
            )
        } else {
            format!("{name}: requests and quarantine")
        }
    }

    fn committed(&mut self, moved: bool) -> Result<()> {
        let figures = self.job.context.figures.clone();
        if moved {
            self.job.lease.sequence += 1;
            self.job.attempt.committed(self.job.lease.sequence);
            self.unit.clear_outbox();
            figures.set_committed_at(self.job.context.clock.now());
            Figures::count(&figures.commits, 1);
            Figures::count(&self.job.commits, 1);
            self.loaded += self.rows;
            Figures::count(&figures.committed, self.rows);
            Figures::count(&figures.committed_children, self.child_rows);
        }
        let changes = std::mem::take(&mut self.unit.tables.changes);
        figures.changes.lock().extend(changes);
        self.rows = 0;
        self.child_rows = 0;
        // A payload may continue after the boundary.
        if let Some(last) = self.heads.pop_last() {
            self.heads = BTreeMap::from([last]);
        }
        let mut record = self.job.run.clone();
        record.steps = figures.steps();
        record.steps.extend(self.job.attempts.steps());
        self.runtime
            .block_on(self.job.context.lake.store().record_run(&record))?;
        self.unit.reach(CommitStep::RunRecorded)
    }
}
