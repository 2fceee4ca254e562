//! The third stage: transforms, writes files, and makes the commit that moves the position.
//!
//! Works on a blocking thread of its own. Rows, raw index, quarantine, requests, contract and position of one boundary
//! are one commit: all of it is visible afterwards or none.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use forebay_core::{
    Batch, CommitId, Error, ErrorKind, Origins, Position, Rejected, Result, TableName,
};
use forebay_lake::{CommitRequest, WriterOptions};
use forebay_store::PositionMove;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::admit;
use super::audit::{self, Requests};
use super::discard::open_events;
use super::outbox::Outbox;
use super::pieces::Pieces;
use super::steps::Steps;
use super::tables::{self, Tables};
use super::work::{Boundary, Work};
use super::{CONTRACT_PROPERTY, Figures, Job, KnownContract, contract_text, random};
use crate::position_objects::{self, object_paths};
use crate::quarantine::{self, Event, EventKind, PayloadKey};
use crate::raw::{self, RawEntry};
use forebay_connectors::sink::{Delivered, Sink};
use forebay_formats::contract::Contract;

pub(super) struct Loader {
    job: Job,
    runtime: Handle,
    requests: Arc<Requests>,
    tables: Tables,
    steps: Steps,
    /// The sink of a pipeline that does not load into the lake.
    sink: Option<Box<dyn Sink>>,
    /// The lake's part of the next commit of a sink that keeps its own positions.
    outbox: Option<Outbox>,
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
    commits: u64,
    sequence: i64,
    /// Paths of the objects that the last position references.
    position_objects: HashSet<String>,
    /// The contract as stored in the raw table.
    contract: Option<String>,
}

impl Loader {
    pub(super) fn new(
        job: Job,
        runtime: Handle,
        requests: Arc<Requests>,
        sink: Option<Box<dyn Sink>>,
        known: KnownContract,
    ) -> Result<Self> {
        let context = &job.context;
        let tables = Tables::new(
            context.lake.clone(),
            context.branch.clone(),
            job.spec.name.clone(),
            runtime.clone(),
        );
        let sequence = job.lease.sequence;
        let position_objects = match &job.lease.position {
            Some(position) => object_paths(position)?,
            None => HashSet::new(),
        };
        let heads = BTreeMap::new();
        let lake = context.lake.clone();
        let outbox = job.spec.load.is_transactional().then(|| {
            let pipeline = &job.spec.name;
            let split = &job.split;
            Outbox::new(lake, runtime.clone(), pipeline, split)
        });
        let mut steps = Steps::new(job.spec.clone(), &job.context.engine);
        steps.watch_columns(known.begins_with)?;
        steps.widen_columns(&context.lake, &context.branch);
        Ok(Self {
            job,
            runtime,
            requests,
            tables,
            steps,
            sink,
            outbox,
            heads,
            events: 0,
            payloads: 0,
            loaded: 0,
            rows: 0,
            child_rows: 0,
            commits: 0,
            sequence,
            position_objects,
            contract: known.kept,
        })
    }

    pub(super) fn run(mut self, mut work: mpsc::Receiver<Work>) -> Result<()> {
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
        let figures = self.job.context.figures.clone();
        let mut pieces = Pieces::new(batch);
        while let Some(batch) = figures.transform.time(|| self.transform(&mut pieces))? {
            batch.map_or(Ok(()), |batch| self.load(batch))?;
        }
        Ok(())
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
        if let Some(sink) = &mut self.sink {
            let refused = self.runtime.block_on(sink.write(batch))?;
            return self.refused(refused);
        }
        if batch.records.num_rows() == 0 {
            return Ok(());
        }
        let spec = self.job.spec.clone();
        let target = spec
            .load
            .lake()
            .ok_or_else(|| Error::bug("no_target", "a sink that is neither"))?;
        let refused = admit::write_rows(&mut self.tables, &mut self.steps, target, batch)?;
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

    fn end(&mut self) -> Result<()> {
        if let Some(reason) = self.reason_to_keep() {
            let target = self.job.spec.load.describe();
            tracing::warn!(%target, "{reason}: the rows of the target are not replaced");
            return Ok(());
        }
        match &mut self.sink {
            Some(sink) => self.runtime.block_on(sink.end())?,
            None => self.create_declared()?,
        }
        if self.job.spec.load.replaces() {
            self.supersede()?;
        }
        Ok(())
    }

    /// Why a run must not replace the rows of its target: it has none, and not because its source is empty.
    fn reason_to_keep(&self) -> Option<&'static str> {
        if !self.job.spec.load.replaces() || self.loaded > 0 {
            return None;
        }
        let has_files = self.job.spec.source.capabilities().file_rules.is_some();
        match (self.events, self.payloads) {
            (1.., _) => Some("every record was refused"),
            (0, 0) if has_files => Some("no file was read"),
            _ => None,
        }
    }

    /// Declared columns create the table even before the first record.
    fn create_declared(&mut self) -> Result<()> {
        let policy = &self.job.spec.schema;
        // A name with the separator may lead into a list or an object.
        let columns = policy
            .declared_columns()
            .filter(|(name, _)| !name.contains("__"));
        let fields: Vec<Field> = columns
            .map(|(name, kind)| Field::new(name, kind.arrow(), true))
            .collect();
        let spec = self.job.spec.clone();
        let Some(target) = spec.load.lake().filter(|_| !fields.is_empty()) else {
            return Ok(());
        };
        let origins = Some(Origins::default());
        let none = RecordBatch::new_empty(Arc::new(Schema::new(fields)));
        let applied = self.steps.apply(Batch::main(none, origins));
        // A transform may need a column that only records bring.
        let Ok((none, _)) = self.runtime.block_on(applied) else {
            return Ok(());
        };
        match self.tables.create(target, &none.records.schema())? {
            true => self.commit(None),
            false => Ok(()),
        }
    }

    /// The target holds only the output of this attempt: open refusals of earlier ones no longer concern it.
    fn supersede(&mut self) -> Result<()> {
        let context = &self.job.context;
        let pipeline = &self.job.spec.name;
        let table = quarantine::table(pipeline)?;
        let open = open_events(&context.lake, &context.branch, pipeline);
        let older = self.runtime.block_on(open)?.into_iter();
        let own = self.own_events();
        let at = context.clock.now();
        let closed: Vec<Event> = older
            .filter(|event| !event.id.starts_with(&own))
            .map(|event| Event {
                kind: EventKind::Superseded,
                at,
                ..event
            })
            .collect();
        if closed.is_empty() {
            return Ok(());
        }
        // Only for the lake: the target has been committed, and a run that dies here leaves them to the next.
        self.outbox = None;
        let rows = quarantine::to_batch(&closed)?;
        self.tables
            .write(&table, &rows, &[], &WriterOptions::default())?;
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
        self.note(&table, &quarantine::to_batch(&events)?)
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

    /// Writes rows to a table of the pipeline's own in the lake.
    fn note(&mut self, table: &TableName, rows: &RecordBatch) -> Result<()> {
        if let Some(outbox) = &mut self.outbox {
            outbox.add(table, rows, None)?;
        }
        self.tables
            .write(table, rows, &[], &WriterOptions::default())
    }

    /// Adds to the raw index.
    fn index(&mut self, path: &Path, entries: &[RawEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let table = tables::raw(&self.job.spec.name)?;
        let rows = raw::to_batch(entries)?;
        if let Some(outbox) = &mut self.outbox {
            outbox.add(&table, &rows, Some(path))?;
        }
        // Files referenced by an outbox may still be committed by a later run.
        let has_table_id = self.outbox.is_none();
        self.tables.write_at(&table, &rows, path, has_table_id)
    }

    fn boundary(&mut self, boundary: Boundary) -> Result<()> {
        let figures = self.job.context.figures.clone();
        figures.load.time(|| {
            if let Some(sink) = &mut self.sink {
                let refused = self.runtime.block_on(sink.flush())?;
                self.refused(refused)?;
            }
            for object in &boundary.raw {
                self.index(&object.index, &object.entries)?;
            }
            let contract = self.steps.learned(boundary.contract)?;
            let learned = self.learned(&contract)?;
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
        let key = CONTRACT_PROPERTY;
        if !self.tables.set_property(&table, key, &contract)? {
            return Ok(None);
        }
        self.tables
            .expect_property(&table, key, self.contract.as_deref())?;
        if let Some(outbox) = &mut self.outbox {
            outbox.set_property(&table, key, &contract, self.contract.as_deref());
        }
        Ok(Some(contract))
    }

    /// Commits requests right after a boundary, while a source polls without new data.
    fn requests_alone(&mut self) -> Result<()> {
        // They go to the lake only: the target has nothing to commit with them.
        let outbox = self.outbox.take();
        let committed = self.commit(None);
        self.outbox = outbox;
        committed
    }

    /// Commits requests after the last boundary, and all of them when there was none.
    fn commit_requests(&mut self) -> Result<()> {
        // Rows since the last boundary are not committed: their position is unknown.
        self.outbox = None;
        self.tables.discard();
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

    fn try_commit(
        &mut self,
        position: Option<Position>,
        requests: &[forebay_connectors::source::RequestRecord],
    ) -> Result<()> {
        let job = self.job.clone();
        if !requests.is_empty() {
            let rows = audit::to_batch(requests, &job.spec.name, &job.split, job.run.id)?;
            self.note(&audit::requests_table()?, &rows)?;
        }
        let drafts = self.tables.finish()?;
        if drafts.is_empty() && position.is_none() {
            return Ok(());
        }
        if let Some(position) = &position {
            self.check_objects(position)?;
            self.deliver(position)?;
        }
        let moved = position.is_some();
        let reached = position.clone();
        let positions = position.map(|position| PositionMove {
            pipeline: job.spec.name.clone(),
            split: job.split.clone(),
            epoch: job.lease.epoch,
            sequence: self.sequence,
            position,
        });
        self.commits += 1;
        let salt = random(
            job.context.seed ^ job.run.started_at.micros() as u64,
            16 + self.commits,
        );
        let request = CommitRequest {
            id: CommitId::new(job.context.clock.now(), salt),
            branch: job.context.branch.clone(),
            author: job.context.author.clone(),
            message: self.message(moved),
            run: Some(job.run.id),
            drafts,
            positions: positions.into_iter().collect(),
        };
        let span = tracing::error_span!(
            "commit",
            commit = %request.id,
            pipeline = %job.spec.name,
            run = %job.run.id,
            rows = self.rows,
            linked = tracing::field::Empty,
        );
        let _in_commit = span.enter();
        let begun = job.context.clock.monotonic();
        let committed = self.runtime.block_on(job.context.lake.commit(request));
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
        if let Some(position) = reached {
            self.position_objects = object_paths(&position)?;
            job.committed.send_replace(Some(position));
        }
        self.committed(moved)
    }

    /// Takes back the rows of the commit that the catalog has refused just now: it is made again, maybe by another process that has the
    /// split by now. After any other error the catalog may have it.
    fn withdraw_refused(&mut self, refused: &Error) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        if refused.kind() != ErrorKind::Conflict {
            return;
        }
        if let Err(error) = self.runtime.block_on(sink.withdraw()) {
            tracing::warn!(%error, "failed to remove the rows of a refused commit from the target");
        }
    }

    /// Refuses objects that may have been deleted before a commit references them. A target that commits before the lake
    /// carries their content along: until the lake's part is made no position of the catalog references them.
    fn check_objects(&mut self, position: &Position) -> Result<()> {
        let objects = position_objects::new_objects(position, &self.position_objects)?;
        position_objects::check_age(&objects, self.job.context.clock.now())?;
        let Some(outbox) = &mut self.outbox else {
            return Ok(());
        };
        objects
            .into_iter()
            .try_for_each(|object| outbox.keep_object(object))
    }

    /// Commits the rows in a target other than the lake, with the lake's part of the commit.
    fn deliver(&mut self, position: &Position) -> Result<()> {
        let message = self.message(true);
        let Some(sink) = &mut self.sink else {
            return Ok(());
        };
        let outbox = self.outbox.as_ref().map(|outbox| outbox.text(&message));
        let delivered = Delivered {
            position: position.clone(),
            outbox: outbox.transpose()?.unwrap_or_default(),
        };
        self.runtime.block_on(sink.commit(self.sequence, delivered))
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
            self.sequence += 1;
            self.job.attempt.committed(self.sequence);
            if let Some(outbox) = &mut self.outbox {
                outbox.clear();
            }
            figures.set_committed_at(self.job.context.clock.now());
            Figures::count(&figures.commits, 1);
            Figures::count(&self.job.commits, 1);
            self.loaded += self.rows;
            Figures::count(&figures.committed, self.rows);
            Figures::count(&figures.committed_children, self.child_rows);
        }
        let changes = std::mem::take(&mut self.tables.changes);
        figures
            .changes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .extend(changes);
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
            .block_on(self.job.context.lake.store().record_run(&record))
    }
}
