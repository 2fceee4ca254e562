//! The third stage: transforms, writes files, and makes the commit that moves the position.
//!
//! Works on a blocking thread of its own. Rows, raw index, quarantine, requests, contract and position of one boundary
//! are one commit: all of it is visible afterwards or none.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use forebay_core::{Batch, CommitId, Error, Origins, Position, Rejected, Result, TableName};
use forebay_lake::{CommitRequest, WriterOptions};
use forebay_store::PositionMove;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::admit;
use super::audit::{self, Requests};
use super::discard::open_events;
use super::outbox::Outbox;
use super::steps::Steps;
use super::tables::{self, Tables};
use super::work::{Boundary, Work};
use super::{CONTRACT_PROPERTY, Figures, Job, KnownContract, contract_text, random};
use crate::extract::contract::Contract;
use crate::load::{Delivered, Sink};
use crate::position_objects::{self, object_paths};
use crate::quarantine::{self, Event, EventKind, PayloadKey};
use crate::raw::{self, RawEntry};

pub(super) struct Loader {
    job: Job,
    runtime: Handle,
    requests: Arc<Requests>,
    tables: Tables,
    steps: Steps,
    /// The sink of a pipeline that does not load into the lake.
    sink: Option<Box<dyn Sink>>,
    /// What the lake has to learn of the next commit of a sink that has one of its own.
    outbox: Option<Outbox>,
    /// Names of the payloads since the last boundary and when they came, for what is quarantined.
    heads: BTreeMap<u64, PayloadKey>,
    events: u64,
    rows: u64,
    /// Those of them that are in child tables.
    child_rows: u64,
    commits: u64,
    sequence: i64,
    /// Paths of the objects that the last position names.
    position_objects: HashSet<String>,
    /// The contract as the raw table keeps it.
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
            let (pipeline, split) = (&job.spec.name, &job.split);
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
        // Nothing may wait for this stage any more, whatever happened.
        drop(work);
        // Requests are evidence also when the run fails; the error that ended it is the one that counts.
        let told = self.commit_requests();
        done.and(told)
    }

    fn take_all(&mut self, work: &mut mpsc::Receiver<Work>) -> Result<()> {
        while let Some(work) = work.blocking_recv() {
            match work {
                Work::Payload(head) => {
                    let key = PayloadKey {
                        name: head.name.clone(),
                        received_at: head.received_at,
                    };
                    self.heads.insert(head.ordinal, key);
                }
                Work::Rows(batch) => self.rows(batch)?,
                Work::Rejected(rejected) => self.quarantine(rejected)?,
                Work::Index(path, entries) => self.index(&path, &entries)?,
                Work::Boundary(boundary) => self.boundary(boundary)?,
                Work::Requests => self.requests_alone()?,
                Work::Settle(done) => {
                    // Who waits for it may have failed meanwhile.
                    let _ = done.send(());
                }
                Work::End => self.end()?,
            }
        }
        Ok(())
    }

    fn rows(&mut self, batch: Batch) -> Result<()> {
        let figures = self.job.context.figures.clone();
        let batch = figures.transform.time(|| self.transform(batch))?;
        let rows = batch.records.num_rows() as u64;
        figures.load.add(rows, 0);
        if !batch.child.is_empty() {
            self.child_rows += rows;
        }
        self.rows += rows;
        figures.load.time(|| self.write(batch))
    }

    fn transform(&mut self, batch: Batch) -> Result<Batch> {
        let (batch, refused) = self.runtime.block_on(self.steps.apply(batch))?;
        Figures::count(&self.job.context.figures.quarantined, refused.len() as u64);
        self.quarantine(refused)?;
        if batch.child.is_empty() {
            self.job
                .context
                .figures
                .transform
                .add(batch.records.num_rows() as u64, 0);
        }
        Ok(batch)
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

    /// Records that the target has refused.
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
        match &mut self.sink {
            Some(sink) => self.runtime.block_on(sink.end())?,
            None => self.create_declared()?,
        }
        if self.job.spec.load.replaces() {
            self.supersede()?;
        }
        Ok(())
    }

    /// Columns that the file declares make the table also when no record has come.
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

    /// The target holds what this attempt has read, and nothing else: what earlier ones refused is no longer of it.
    fn supersede(&mut self) -> Result<()> {
        let context = &self.job.context;
        let pipeline = &self.job.spec.name;
        let table = quarantine::table(pipeline)?;
        let open = open_events(&context.lake, &context.branch, pipeline);
        let older = self.runtime.block_on(open)?.into_iter();
        let (own, at) = (self.own_events(), context.clock.now());
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
        // The lake's alone: the target has been committed, and a run that dies here leaves them to the next.
        self.outbox = None;
        let rows = quarantine::to_batch(&closed)?;
        self.tables
            .write(&table, &rows, &[], &WriterOptions::default())?;
        self.commit(None)
    }

    fn quarantine(&mut self, rejected: Vec<Rejected>) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
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

    /// A run that starts again at its last commit has another epoch then, so no id comes twice.
    fn event_id(&self) -> String {
        format!("{}{:010}", self.own_events(), self.events)
    }

    /// What the ids of this attempt's events begin with.
    fn own_events(&self) -> String {
        let (run, split, epoch) = (self.job.run.id, &self.job.split, self.job.lease.epoch);
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
        // What is in an outbox may still be committed by a later run.
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

    /// Keeps a contract that is not what the raw table keeps; gives it when it goes into the commit. Another writer of the
    /// pipeline may have learned something meanwhile: then nothing is committed, and this one begins again with that.
    fn learned(&mut self, contract: &Contract) -> Result<Option<String>> {
        let contract = contract_text(contract)?;
        if self.contract.as_ref() == Some(&contract) {
            return Ok(None);
        }
        let (table, key) = (tables::raw(&self.job.spec.name)?, CONTRACT_PROPERTY);
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

    /// Commits requests right after a boundary, while a source asks again and again and nothing comes.
    fn requests_alone(&mut self) -> Result<()> {
        // They are the lake's alone: the target has nothing to commit with them.
        let outbox = self.outbox.take();
        let committed = self.commit(None);
        self.outbox = outbox;
        committed
    }

    /// What no boundary has taken: requests after the last one, and all of them when nothing came.
    fn commit_requests(&mut self) -> Result<()> {
        // Rows since the last boundary are not committed: their position is not known.
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
        requests: &[crate::source::RequestRecord],
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
        self.runtime.block_on(job.context.lake.commit(request))?;
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

    /// Refuses objects that may have been deleted before a commit names them. A target that commits before the lake carries
    /// their content along: until the lake's part is made no position of the catalog names them.
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

    /// Commits the rows in a target that is not the lake, with all that the lake has to learn of it.
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
        // A payload may go on after the boundary.
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
