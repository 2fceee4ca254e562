//! Rebuilds the tables of a pipeline from its raw zone, on a branch of their own.
//!
//! The branch has the same base as the branch it is compared with, its tables start empty, and nothing existing is touched:
//! the result can be compared, queried and [adopted](crate::engine::adopt()). The rebuild's rejected records and its contract are
//! on its branch too. The pipeline may run at the same time: its later commits are after the base.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::{
    Batch, CommitId, Error, Ident, RefName, Rejected, Result, RunId, TableName, Timestamp,
};
use forebay_store::{AsOf, Head};
use futures::TryStreamExt;
use tokio::runtime::Handle;

use crate::engine::RunContext;
use crate::engine::commit::heads::commit_heads;
use crate::engine::commit::{CommitNote, CommitUnit, tables};
use crate::engine::refusals::{close_events, open_events};
use crate::engine::reprocess::commit_times::CommitTimes;
use crate::engine::reprocess::reextraction::Reextraction;
use crate::engine::row_target::{lake_target, misfits};
use crate::engine::scan;
use crate::engine::steps::Steps;
use crate::engine::steps::pieces::Pieces;
use crate::platform::iceberg::IcebergTarget;
use crate::quarantine::{self, Event, EventKind, PayloadKey};
use crate::raw::{Parts, RawEntry};
use crate::spec::PipelineSpec;
use forebay_formats::contract::{Contract, TakenTables};
use forebay_formats::{Extracted, Extraction, learned};

/// The result of a rebuild.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    pub branch: RefName,
    /// The commit whose raw zone was read, the base of the comparison. `None` when there was none.
    pub base: Option<CommitId>,
    /// The main table and its children, as they are on both branches together.
    pub tables: Vec<TableName>,
    pub payloads: u64,
    pub rows: u64,
    pub rejected: u64,
    /// Everything that the rebuild has recreated, as it was on the branch that it is compared with.
    pub(in crate::engine) before: Vec<Head>,
}

/// Rebuilds the tables of `spec` from the raw zone as it is on `context.branch`.
///
/// Errors: `Unsupported` for a pipeline that does not load into the lake; `NotFound` when its raw zone is empty.
pub async fn rebuild(spec: Arc<PipelineSpec>, context: RunContext) -> Result<Rebuilt> {
    let runtime = Handle::current();
    let blocking = tokio::task::spawn_blocking(move || Rebuild::new(spec, context, runtime)?.run());
    blocking.await.unwrap_or_else(|error| {
        Err(Error::bug("rebuild_panicked", "the rebuild panicked").with_source(error))
    })
}

/// Bytes of rows of a bitemporal table that wait in memory, before they are committed at the end of one of its commits.
const STAGED_BYTES_MAX: usize = 128 << 20;

/// The raw zone as it is read.
struct Reading {
    again: Reextraction,
    extraction: Box<dyn Extraction>,
    parts: Parts,
    /// For a bitemporal table.
    times: Option<CommitTimes>,
    /// Sequence number of the commit that is being read.
    commit: Option<i64>,
}

impl Reading {
    /// The time of the next commit, if an entry is the first of it.
    ///
    /// Errors: `Unsupported` `rebuild_unsupported`.
    fn next_commit(&mut self, entry: &RawEntry, sequence: i64) -> Result<Option<Timestamp>> {
        let Some(times) = self
            .times
            .as_ref()
            .filter(|_| self.commit != Some(sequence))
        else {
            return Ok(None);
        };
        if self.parts.continues(entry) {
            let what = format!(
                "the payload {:?} was loaded in several commits, and the raw zone does not say which of its rows came with which",
                entry.name
            );
            return Err(Error::unsupported("rebuild_unsupported", what)
                .with_hint("the history is in the table itself: FOR SYSTEM_TIME AS OF 'time'"));
        }
        self.commit = Some(sequence);
        times.of(sequence).map(Some)
    }
}

struct Rebuild {
    spec: Arc<PipelineSpec>,
    target: IcebergTarget,
    context: RunContext,
    runtime: Handle,
    branch: RefName,
    unit: CommitUnit,
    steps: Steps,
    refusals: Refusals,
    payloads: u64,
    rows: u64,
}

/// The branch of a rebuild before anything is written to it.
struct StartedBranch {
    base: Option<CommitId>,
    /// Everything that is recreated, as it was: the branch lacks the pipeline's tables.
    before: Vec<Head>,
}

impl Rebuild {
    fn new(spec: Arc<PipelineSpec>, context: RunContext, runtime: Handle) -> Result<Self> {
        let target = lake_target(&spec)?;
        if target.replaces() {
            let what = format!("each run of {} replaces {}", spec.name, target.table);
            return Err(Error::unsupported("rebuild_unsupported", what)
                .with_hint(format!("run the pipeline again: forebay run {}", spec.name)));
        }
        let id = context.ids.make_commit(context.clock.as_ref());
        let branch: RefName = format!("rebuild/{}-{id}", spec.name).parse()?;
        let unit = CommitUnit::on_branch(&context, &branch, &spec.name, &runtime);
        let steps = Steps::new(spec.clone(), &context.engine);
        let run = context.ids.make_run(context.clock.as_ref());
        let refusals = Refusals::new(run, context.clock.now())?;
        Ok(Self {
            refusals,
            spec,
            target,
            context,
            runtime,
            branch,
            unit,
            steps,
            payloads: 0,
            rows: 0,
        })
    }

    /// Rebuilds; a rebuild that fails leaves no branch behind.
    fn run(self) -> Result<Rebuilt> {
        let lake = self.context.lake.clone();
        let runtime = self.runtime.clone();
        let branch = self.branch.clone();
        let rebuilt = self.rebuilt();
        if rebuilt.is_err() {
            let dropped = runtime.block_on(lake.store().drop_branch(&branch));
            if let Err(error) = dropped {
                tracing::debug!(%error, %branch, "failed to drop the branch of a failed rebuild");
            }
        }
        rebuilt
    }

    fn rebuilt(mut self) -> Result<Rebuilt> {
        let started = self.start_branch()?;
        // As of the branch: data loaded from here on is not rebuilt.
        let raw = tables::raw(&self.spec.name)?;
        let index = scan::sequenced_rows(&self.context.lake, &self.branch, &raw);
        let mut index = self.runtime.block_on(index)?;
        let taken = crate::engine::contract::taken_tables(&self.context, &self.spec);
        let taken = self.runtime.block_on(taken)?;
        let mut reading = Reading {
            again: Reextraction::new(&self.context, self.runtime.clone()),
            extraction: self.extraction(taken)?,
            parts: Parts::default(),
            times: self.commit_times(&raw)?,
            commit: None,
        };
        self.steps.watch_columns(reading.extraction.contract())?;
        self.steps.widen_columns(&self.context.lake, &self.branch);
        while let Some(batch) = self.runtime.clone().block_on(index.try_next())? {
            for entry in reading.again.reader().entries(&batch.rows)? {
                self.entry(&mut reading, entry, batch.sequence)?;
            }
        }
        let last = std::mem::take(&mut reading.parts).finish();
        self.payload(&mut reading, last)?;
        self.flush(&mut reading)?;
        if self.payloads == 0 {
            return Err(Error::not_found(
                "raw_empty",
                format!("the raw zone of {} is empty", self.spec.name),
            )
            .with_hint(format!("forebay run {}", self.spec.name)));
        }
        let contract = self.steps.learned(reading.extraction.contract())?;
        self.finish(started, contract)
    }

    /// The times of the commits, for a table whose rows name them.
    fn commit_times(&self, raw: &TableName) -> Result<Option<CommitTimes>> {
        if self.target.bitemporal().is_none() {
            return Ok(None);
        }
        let times = CommitTimes::read(&self.context, raw);
        self.runtime.block_on(times).map(Some)
    }

    /// Takes the next entry of the raw index, which came with the snapshot of this sequence number.
    fn entry(&mut self, reading: &mut Reading, entry: RawEntry, sequence: i64) -> Result<()> {
        let next = reading.next_commit(&entry, sequence)?;
        let before = reading.parts.push(entry);
        self.payload(reading, before)?;
        match next {
            Some(at) => {
                self.flush(reading)?;
                self.begin_commit(at)
            }
            None => Ok(()),
        }
    }

    /// What comes from here on was committed at `at`.
    fn begin_commit(&mut self, at: Timestamp) -> Result<()> {
        if self.unit.tables.staged_bytes() > STAGED_BYTES_MAX {
            let sealed = self.unit.seal()?;
            self.unit.commit(sealed, self.note())?;
        }
        self.unit.tables.set_system_time(at);
        Ok(())
    }

    fn payload(&mut self, reading: &mut Reading, parts: Option<Vec<RawEntry>>) -> Result<()> {
        let Some(parts) = parts else { return Ok(()) };
        let ordinal = self.payloads;
        self.payloads += 1;
        if reading.extraction.pending_rows() == 0 {
            self.refusals.forget_payloads();
        }
        self.refusals.note_payload(ordinal, &parts);
        let mut take = |out| self.take(out);
        let extraction = reading.extraction.as_mut();
        reading
            .again
            .extract(extraction, &parts, ordinal, &mut take)
    }

    fn flush(&mut self, reading: &mut Reading) -> Result<()> {
        let mut out = Extracted::default();
        reading.extraction.flush(&mut out)?;
        self.take(out)
    }

    /// An extraction that learns everything from scratch, and makes the keys of rows as the tables have them.
    fn extraction(&self, taken: Option<Arc<TakenTables>>) -> Result<Box<dyn Extraction>> {
        let fresh = self.spec.extraction_beside(None, taken.clone())?;
        let raw = crate::engine::contract::raw_table(&self.context, &self.spec.name);
        let raw = self.runtime.block_on(raw)?;
        let kept = crate::engine::contract::kept_contract(raw.as_ref());
        let kept = crate::engine::contract::read_contract(&self.spec.name, kept.as_deref())?;
        let extractor = fresh.contract().extractor;
        match kept.filter(|kept| kept.extractor == extractor) {
            Some(kept) => match learned::without_columns(kept)? {
                Some(keys) => self.spec.extraction_beside(Some(keys), taken),
                None => Ok(fresh),
            },
            None => Ok(fresh),
        }
    }

    /// Makes the branch and drops the pipeline's tables on it.
    fn start_branch(&self) -> Result<StartedBranch> {
        let store = self.context.lake.store();
        self.runtime.block_on(async {
            let branch = store
                .create_branch(&self.branch, &self.context.branch)
                .await?;
            let lake = &self.context.lake;
            let main = &self.target.table;
            let mut before = tables::owned_heads(lake, &self.branch, main).await?;
            if !before.is_empty() {
                let heads = before.iter().cloned().map(Head::into_drop).collect();
                let message = format!("{}: start again from the raw zone", self.spec.name);
                commit_heads(&self.context, &self.branch, message, heads, Vec::new()).await?;
            }
            let as_of = AsOf::Head(self.branch.clone());
            for own in [
                tables::raw(&self.spec.name)?,
                quarantine::table(&self.spec.name)?,
            ] {
                before.extend(store.head(&as_of, &own).await?);
            }
            Ok(StartedBranch {
                base: branch.base.and_then(|(_, commit)| commit),
                before,
            })
        })
    }

    fn note(&self) -> CommitNote {
        CommitNote {
            message: format!("{}: {} rows from the raw zone", self.spec.name, self.rows),
            ..CommitNote::default()
        }
    }

    fn take(&mut self, out: Extracted) -> Result<()> {
        self.refuse(out.rejected)?;
        for batch in out.batches {
            let mut pieces = Pieces::new(batch);
            while let Some((batch, refused)) =
                self.runtime.block_on(pieces.next(&mut self.steps))?
            {
                self.refuse(refused)?;
                batch.map_or(Ok(()), |batch| self.write(batch))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: Batch) -> Result<()> {
        let rows = batch.records.num_rows() as u64;
        if rows == 0 {
            return Ok(());
        }
        let refused =
            misfits::write_rows(&mut self.unit.tables, &mut self.steps, &self.target, batch)?;
        self.rows += rows.saturating_sub(refused.len() as u64);
        self.refuse(refused)
    }

    fn refuse(&mut self, mut rejected: Vec<Rejected>) -> Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        self.spec.secrets.cover_reasons(&mut rejected);
        let events = self.refusals.events(rejected);
        self.quarantine(&events)
    }

    fn quarantine(&mut self, events: &[Event]) -> Result<()> {
        let table = quarantine::table(&self.spec.name)?;
        self.unit.add(&table, &quarantine::to_batch(events)?)
    }

    /// Records rejected before are rejected again by now, or have a row.
    fn supersede(&mut self) -> Result<()> {
        let open = open_events(&self.context.lake, &self.branch, &self.spec.name);
        let open = self.runtime.block_on(open)?;
        let closed = close_events(open, EventKind::Superseded, self.context.clock.now());
        match closed.is_empty() {
            true => Ok(()),
            false => self.quarantine(&closed),
        }
    }

    /// Stores the contract, for the following runs if the rebuild is adopted.
    fn keep_contract(&mut self, contract: Contract) -> Result<()> {
        let raw = tables::raw(&self.spec.name)?;
        let kept = self
            .unit
            .tables
            .property(&raw, crate::engine::contract::CONTRACT_PROPERTY)?
            .map(|kept| crate::engine::contract::read_contract(&self.spec.name, Some(&kept)))
            .transpose()?
            .flatten();
        let contract = match kept {
            Some(kept) => learned::with_open_file(contract, &kept),
            None => contract,
        };
        let text = crate::engine::contract::contract_text(&contract)?;
        self.unit
            .tables
            .set_property(&raw, crate::engine::contract::CONTRACT_PROPERTY, &text)
            .map(drop)
    }

    fn finish(mut self, started: StartedBranch, contract: Contract) -> Result<Rebuilt> {
        self.supersede()?;
        self.keep_contract(contract)?;
        let sealed = self.unit.seal()?;
        let own = [
            tables::raw(&self.spec.name)?,
            quarantine::table(&self.spec.name)?,
        ];
        let written = sealed.tables().cloned();
        let mut tables = written
            .chain(started.before.iter().map(|head| head.table.clone()))
            .filter(|table| !own.contains(table))
            .collect::<Vec<_>>();
        tables.sort();
        tables.dedup();
        let note = self.note();
        self.unit.commit(sealed, note)?;
        Ok(Rebuilt {
            branch: self.branch,
            base: started.base,
            tables,
            payloads: self.payloads,
            rows: self.rows,
            rejected: self.refusals.count,
            before: started.before,
        })
    }
}

/// The rejected records of a rebuild, as events of the quarantine.
struct Refusals {
    run: RunId,
    at: Timestamp,
    split: Ident,
    /// Payloads of which records may still be held back.
    payloads: BTreeMap<u64, PayloadKey>,
    count: u64,
}

impl Refusals {
    fn new(run: RunId, at: Timestamp) -> Result<Self> {
        Ok(Self {
            run,
            at,
            split: "rebuild".parse()?,
            payloads: BTreeMap::new(),
            count: 0,
        })
    }

    fn forget_payloads(&mut self) {
        self.payloads.clear();
    }

    fn note_payload(&mut self, ordinal: u64, parts: &[RawEntry]) {
        if let Some(first) = parts.first() {
            let key = PayloadKey {
                name: first.name.clone(),
                received_at: first.received_at,
            };
            self.payloads.insert(ordinal, key);
        }
    }

    fn events(&mut self, rejected: Vec<Rejected>) -> Vec<Event> {
        let rejected = rejected.into_iter();
        let event = |rejected: Rejected| {
            self.count += 1;
            let payload = rejected.payload;
            Event {
                id: format!("{}-{}-{:010}", self.run, self.split, self.count),
                kind: EventKind::Rejected,
                at: self.at,
                run: self.run,
                split: self.split.clone(),
                payload: payload.and_then(|payload| self.payloads.get(&payload).cloned()),
                rejected,
            }
        };
        rejected.map(event).collect()
    }
}
