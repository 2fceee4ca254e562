//! Sends quarantined records through the pipeline again, after a fix.
//!
//! A refusal names a part of a payload. The payload is extracted again from the raw zone, twice: first to find the outcome
//! of each refusal (see [`crate::engine::reprocess::ledger`]), then to write the rows of those that land. Rows and `replayed` events are one
//! commit, fenced by a lease of its own, so each record lands once however often and from wherever replay is called. Into a
//! target that keeps its own positions rows go with an outbox, as in a run (see [`crate::engine::reconcile`]). A target that is
//! recreated by each run is not replayed into: the next run has the record.

use std::collections::HashMap;
use std::sync::Arc;

use forebay_core::{Error, Ident, Position, Rejected, Result};
use forebay_store::Lease;
use futures::TryStreamExt;
use tokio::runtime::Handle;

use crate::engine::commit::{CommitNote, CommitUnit, move_position, tables};
use crate::engine::contract::CONTRACT_PROPERTY;
use crate::engine::publish;
use crate::engine::reconcile;
use crate::engine::refusals::open_events;
use crate::engine::refused::without_replay;
use crate::engine::reprocess::ledger::Ledger;
use crate::engine::reprocess::passes::{Landing, Pass, Survey};
use crate::engine::reprocess::reextraction::Reextraction;
use crate::engine::row_target::{RowTarget, row_target};
use crate::engine::scan;
use crate::engine::split::lease;
use crate::engine::steps::{Steps, Wanted};
use crate::engine::{CommitStep, RunContext};
use crate::quarantine::{self, Event, EventKind, PayloadKey};
use crate::raw::{Parts, RawEntry};
use crate::spec::PipelineSpec;
use forebay_connectors::sink::Delivered;
use forebay_formats::contract::{Contract, TakenTables};

/// The split whose lease and position keep concurrent replays apart.
pub(in crate::engine) const SPLIT: &str = "replay";

/// The result of a replay.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// Refusals whose rows landed now.
    pub landed: u64,
    /// Rows that landed with them, without those of child tables.
    pub rows: u64,
    /// Refusals of records inside those that landed: they are open under ids of their own.
    pub inner: u64,
    /// Refusals that stay open, with the newest reason of each and of the inner ones; at most `REASONS_MAX`.
    pub refused: u64,
    pub reasons: Vec<String>,
    /// Records without a known position: rejected after an SQL transform that is not row-wise. They need a rebuild.
    pub without_place: u64,
}

/// Rows of a replay belong beside those of the run, which only a target that keeps positions knows.
fn no_replay(spec: &PipelineSpec) -> Error {
    let what = format!(
        "{} loads into {}, and a replay into such a target is not supported: it could not tell which rows are there",
        spec.name,
        spec.load.describe()
    );
    Error::unsupported("not_in_the_lake", what).with_hint(without_replay(spec))
}

/// Reasons that are reported.
const REASONS_MAX: usize = 10;

/// Replays every open record of the pipeline's quarantine.
///
/// Errors: `Unsupported` for a pipeline that loads neither into the lake nor into a target that keeps positions, and for
/// one whose target is recreated by each run.
pub async fn replay(spec: Arc<PipelineSpec>, context: RunContext) -> Result<Replayed> {
    if !spec.takes_replay() {
        return Err(no_replay(&spec));
    }
    if spec.load.replaces() {
        let what = format!(
            "each run of {} recreates {}, including the records rejected before",
            spec.name,
            spec.load.describe()
        );
        return Err(Error::unsupported("replay_into_replace", what)
            .with_hint(format!("run the pipeline again: forebay run {}", spec.name)));
    }
    check_order(&spec)?;
    let work = async |context: &RunContext| replay_open(&spec, context).await;
    publish::publish_checked(&spec, &context, work, &mut Vec::new()).await
}

async fn replay_open(spec: &Arc<PipelineSpec>, context: &RunContext) -> Result<Replayed> {
    let request = lease::request(spec, context, &SPLIT.parse()?);
    let mut restarts = 0;
    loop {
        let spec = spec.clone();
        let again = context.clone();
        let work = async |lease| leased(spec, again, &request.split, lease).await;
        match lease::held(&request, context, work).await {
            Err(error) if lease::may_restart(&error) && restarts < lease::RESTARTS_MAX => {
                restarts += 1;
                tracing::info!(%error, attempt = restarts, "commit conflict, replaying again");
                context.clock.sleep(lease::RESTART_PAUSE * restarts).await;
            }
            done => return done,
        }
    }
}

/// A record that was refused may be older than the row that its key has by now.
fn check_order(spec: &PipelineSpec) -> Result<()> {
    let Some(target) = spec.load.lake() else {
        return Ok(());
    };
    if target.bitemporal().is_some() {
        let what = format!(
            "{} is bitemporal: a record that comes again would be newer than what came after it",
            target.table
        );
        return Err(Error::unsupported("replay_without_order", what)
            .with_hint("send a corrected record, with the period in which it is true"));
    }
    if target.knows_the_newer_row() {
        return Ok(());
    }
    let what = format!(
        "{} keeps the row that came last of each key: a record that comes again could replace a newer row",
        target.table
    );
    Err(
        Error::unsupported("replay_without_order", what).with_hint(format!(
            "set `order`, or load everything again in its order: forebay rebuild {} --adopt",
            target.table
        )),
    )
}

async fn leased(
    spec: Arc<PipelineSpec>,
    context: RunContext,
    split: &Ident,
    mut lease: Lease,
) -> Result<Replayed> {
    let sink = reconcile::open(&spec, &context, split, &mut lease, None).await?;
    let runtime = Handle::current();
    let target = row_target(&spec, sink, &runtime)?;
    let mut unit = CommitUnit::new(&context, &spec.name, &runtime);
    if spec.load.is_transactional() {
        unit = unit.with_outbox(&spec.name, split);
    }
    let taken = crate::engine::contract::taken_tables(&context, &spec).await?;
    let blocking = tokio::task::spawn_blocking(move || {
        let mut replay = Replay::new(spec, context, runtime, (lease, target, unit))?;
        replay.taken = taken;
        replay.run()
    });
    blocking.await.unwrap_or_else(|error| {
        Err(Error::bug("replay_panicked", "the replay panicked").with_source(error))
    })
}

struct Replay {
    spec: Arc<PipelineSpec>,
    target: Box<dyn RowTarget>,
    context: RunContext,
    runtime: Handle,
    lease: Lease,
    unit: CommitUnit,
    taken: Option<Arc<TakenTables>>,
    /// The contract as stored in the raw table.
    kept: Option<String>,
    contract: Option<Contract>,
    done: Replayed,
    landed: Vec<Event>,
    /// Records rejected inside a landing refusal.
    inner: Vec<Event>,
}

impl Replay {
    fn new(
        spec: Arc<PipelineSpec>,
        context: RunContext,
        runtime: Handle,
        (lease, target, unit): (Lease, Box<dyn RowTarget>, CommitUnit),
    ) -> Result<Self> {
        let raw = runtime.block_on(crate::engine::contract::raw_table(&context, &spec.name))?;
        let kept = crate::engine::contract::kept_contract(raw.as_ref());
        let contract = crate::engine::contract::read_contract(&spec.name, kept.as_deref())?;
        Ok(Self {
            spec,
            target,
            context,
            runtime,
            lease,
            unit,
            taken: None,
            kept,
            contract,
            done: Replayed::default(),
            landed: Vec::new(),
            inner: Vec::new(),
        })
    }

    fn run(mut self) -> Result<Replayed> {
        let mut waiting = self.open_events()?;
        let raw = tables::raw(&self.spec.name)?;
        let mut index =
            self.runtime
                .block_on(scan::rows(&self.context.lake, &self.context.branch, &raw))?;
        let again = Reextraction::new(&self.context, self.runtime.clone());
        let runtime = self.runtime.clone();
        let mut parts = Parts::default();
        while let Some(batch) = runtime.block_on(index.try_next())? {
            for entry in again.reader().entries(&batch)? {
                if let Some(payload) = parts.push(entry) {
                    self.known_payload(&again, &payload, &mut waiting)?;
                }
            }
        }
        if let Some(payload) = parts.finish() {
            self.known_payload(&again, &payload, &mut waiting)?;
        }
        self.commit()?;
        Ok(self.done)
    }

    /// Open events by payload.
    fn open_events(&mut self) -> Result<HashMap<PayloadKey, Vec<Event>>> {
        let context = &self.context;
        let open = open_events(&context.lake, &context.branch, &self.spec.name);
        let mut waiting: HashMap<PayloadKey, Vec<Event>> = HashMap::new();
        for event in self.runtime.block_on(open)? {
            let extent = event.rejected.extent;
            match event.payload.clone().filter(|_| extent.is_some()) {
                Some(payload) => waiting.entry(payload).or_default().push(event),
                None => self.done.without_place += 1,
            }
        }
        Ok(waiting)
    }

    /// A payload of the raw zone, when it has refusals.
    fn known_payload(
        &mut self,
        again: &Reextraction,
        parts: &[RawEntry],
        waiting: &mut HashMap<PayloadKey, Vec<Event>>,
    ) -> Result<()> {
        let Some(first) = parts.first() else {
            return Ok(());
        };
        let key = PayloadKey {
            name: first.name.clone(),
            received_at: first.received_at,
        };
        match waiting.remove(&key) {
            Some(events) => self.payload(again, parts, events),
            None => Ok(()),
        }
    }

    /// Extracts one payload again and lands the refusals that pass now.
    fn payload(
        &mut self,
        again: &Reextraction,
        parts: &[RawEntry],
        events: Vec<Event>,
    ) -> Result<()> {
        let is_csv = self
            .contract
            .as_ref()
            .is_some_and(|contract| contract.extractor == "csv");
        let mut survey = Survey {
            ledger: Ledger::new(events, is_csv),
            wanted: Wanted::default(),
            steps: Steps::new(self.spec.clone(), &self.context.engine),
        };
        let pass = Pass {
            spec: self.spec.clone(),
            contract: self.contract.clone(),
            taken: self.taken.clone(),
            again,
            parts,
        };
        let runtime = self.runtime.clone();
        pass.extract(&mut |out| survey.take(out, &runtime))?;
        let mut ledger = survey.ledger;
        if ledger.lands_any()
            && let Some(contract) = self.land(&pass, &mut ledger)?
        {
            self.contract = Some(contract);
        }
        self.settle(ledger);
        Ok(())
    }

    /// Writes the landing rows; returns the contract with them, unless the target has accepted none of them.
    fn land(&mut self, pass: &Pass<'_>, ledger: &mut Ledger) -> Result<Option<Contract>> {
        self.target.mark()?;
        let mut steps = Steps::new(self.spec.clone(), &self.context.engine);
        steps.watch_columns(pass.extraction()?.contract())?;
        steps.widen_columns(&self.context.lake, &self.context.branch);
        let mut landing = Landing {
            wanted: Wanted::default(),
            steps,
            rejected: Vec::new(),
            record_bytes: 0,
            rows: 0,
        };
        let target = &mut self.target;
        let unit = &mut self.unit;
        let runtime = self.runtime.clone();
        let mut refused = Vec::new();
        let contract = pass.extract(&mut |out| {
            landing.refuse(out.rejected);
            for batch in out.batches {
                let mut pieces = landing.pieces(batch, ledger)?;
                while let Some(batch) = landing.take(&mut pieces, &runtime)? {
                    refused.extend(target.write(unit, &mut landing.steps, batch)?);
                }
            }
            Ok(())
        })?;
        refused.extend(self.target.flush()?);
        let taken = landing.rows.saturating_sub(refused.len() as u64);
        for rejected in refused {
            ledger.refuse(&rejected);
            landing.keep(rejected);
        }
        if !ledger.lands_any() {
            self.target.undo()?;
            return Ok(None);
        }
        self.done.rows += taken;
        let contract = landing.steps.learned(contract)?;
        self.note_inner(landing.rejected, ledger);
        Ok(Some(contract))
    }

    /// Records rejected inside a landing refusal stay open, under an id of their own.
    fn note_inner(&mut self, mut rejected: Vec<Rejected>, ledger: &mut Ledger) {
        self.spec.secrets.cover_reasons(&mut rejected);
        let at = self.context.clock.now();
        let epoch = self.lease.epoch;
        for rejected in rejected {
            let Some((outer, n)) = rejected.extent.and_then(|extent| ledger.inner(&extent)) else {
                continue;
            };
            self.done.inner += 1;
            if self.done.reasons.len() < REASONS_MAX {
                self.done.reasons.push(rejected.reason.clone());
            }
            self.inner.push(Event {
                id: format!("{}-r{epoch:06}-{n:06}", outer.id),
                at,
                rejected,
                ..outer
            });
        }
    }

    fn settle(&mut self, ledger: Ledger) {
        let (landed, refused) = ledger.finish();
        self.done.refused += refused.len() as u64;
        let room = REASONS_MAX.saturating_sub(self.done.reasons.len());
        let reasons = refused.iter().take(room);
        let secrets = &self.spec.secrets;
        self.done
            .reasons
            .extend(reasons.map(|reason| secrets.cover(reason)));
        self.done.landed += landed.len() as u64;
        let at = self.context.clock.now();
        self.landed.extend(landed.into_iter().map(|event| Event {
            kind: EventKind::Replayed,
            at,
            ..event
        }));
    }

    /// The contract, when it differs from the one in the raw table.
    fn learned(&self) -> Result<Option<String>> {
        let contract = self.contract.as_ref().map(serde_json::to_string);
        let contract = contract.transpose().map_err(|error| {
            Error::bug("contract_json", "failed to write the contract").with_source(error)
        })?;
        Ok(contract.filter(|contract| self.kept.as_ref() != Some(contract)))
    }

    fn commit(&mut self) -> Result<()> {
        if self.landed.is_empty() {
            return Ok(());
        }
        let mut events = std::mem::take(&mut self.landed);
        let count = events.len();
        let last = events.last().map(|event| event.id.clone());
        events.append(&mut self.inner);
        let table = quarantine::table(&self.spec.name)?;
        self.unit.add(&table, &quarantine::to_batch(&events)?)?;
        if let Some(text) = &self.learned()? {
            // If a run has extended the contract in the meantime, nothing is committed, and the replay restarts with that
            // contract.
            let raw = tables::raw(&self.spec.name)?;
            self.unit
                .replace_property(&raw, CONTRACT_PROPERTY, text, self.kept.as_deref())?;
        }
        let split: Ident = SPLIT.parse()?;
        let position = Position(serde_json::json!({ "last": last }));
        let message = format!("{}: {count} records from quarantine", self.spec.name);
        let sealed = self.unit.seal()?;
        self.unit.reach(CommitStep::FilesSealed)?;
        let delivered = Delivered {
            position: position.clone(),
            outbox: self.unit.outbox_text(&message)?,
        };
        self.target.deliver(self.lease.sequence, delivered)?;
        self.unit.reach(CommitStep::TargetCommitted)?;
        let note = CommitNote {
            message,
            run: None,
            positions: vec![move_position(
                &self.spec.name,
                &split,
                &self.lease,
                position,
            )],
        };
        self.unit.commit(sealed, note)?;
        self.unit.clear_outbox();
        self.unit.reach(CommitStep::CatalogCommitted)
    }
}
