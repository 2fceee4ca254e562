//! Sends quarantined records through the pipeline again, after a fix.
//!
//! A record is found by its place: its payload is extracted again from the raw zone, and of the rows only those at the
//! places of open quarantine events are kept. Rows and `replayed` events are one commit, fenced by a lease of its own,
//! so each record lands once however often and from wherever replay is called. Into a target that keeps positions of its
//! own rows go with an outbox, as in a run (see [`super::deliver`]).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use forebay_core::{Batch, CommitId, Error, Ident, Position, Rejected, Result, Timestamp};
use forebay_lake::{CommitRequest, WriterOptions};
use forebay_store::{Lease, PositionMove};
use futures::TryStreamExt;
use tokio::runtime::Handle;

use super::again::{self, Again};
use super::deliver;
use super::outbox::Outbox;
use super::steps::{Steps, Wanted};
use super::tables::{self, Tables};
use super::{RunContext, random, scan, split};
use crate::extract::Extracted;
use crate::extract::contract::Contract;
use crate::file::PipelineSpec;
use crate::load::iceberg::IcebergTarget;
use crate::load::{Delivered, Sink};
use crate::quarantine::{self, Event, EventKind, OpenEvents};
use crate::raw::{Parts, RawEntry};

/// The split whose lease and position keep two replays apart.
pub(super) const SPLIT: &str = "replay";

/// What a replay did.
#[derive(Debug, Clone, Default)]
pub struct Replayed {
    /// Records that landed now.
    pub landed: u64,
    /// Records that were refused again, with the newest reason of each; at most `REASONS_MAX`.
    pub refused: u64,
    pub reasons: Vec<String>,
    /// Records whose place is not known: refused after an SQL transform that is not row-wise. They need a rebuild.
    pub without_place: u64,
}

/// Reasons that are reported.
const REASONS_MAX: usize = 10;

/// Replays every open record of the pipeline's quarantine.
///
/// Errors: `Unsupported` for a pipeline that loads neither into the lake nor into a target that keeps positions.
pub async fn replay(spec: Arc<PipelineSpec>, context: RunContext) -> Result<Replayed> {
    let request = split::request(&spec, &context, &SPLIT.parse()?);
    if spec.load.lake().is_none() && !spec.load.is_transactional() {
        return Err(again::not_in_the_lake(&spec));
    }
    let work = async |lease| leased(spec, context.clone(), &request.split, lease).await;
    split::held(&request, &context, work).await
}

async fn leased(
    spec: Arc<PipelineSpec>,
    context: RunContext,
    split: &Ident,
    mut lease: Lease,
) -> Result<Replayed> {
    let sink = deliver::open(&spec, &context, split, &mut lease, true).await?;
    let runtime = Handle::current();
    let target = match (spec.load.lake().cloned(), sink) {
        (Some(table), _) => Target::Lake(table),
        (None, Some(sink)) => {
            let lake = context.lake.clone();
            let outbox = Outbox::new(lake, runtime.clone(), &spec.name, split);
            Target::Sink(sink, outbox)
        }
        (None, None) => return Err(again::not_in_the_lake(&spec)),
    };
    let blocking = tokio::task::spawn_blocking(move || {
        Replay::new(spec, context, runtime, lease, target)?.run()
    });
    blocking.await.unwrap_or_else(|error| {
        Err(Error::bug("replay_panicked", "the replay panicked").with_source(error))
    })
}

/// Where rows land.
enum Target {
    Lake(IcebergTarget),
    Sink(Box<dyn Sink>, Outbox),
}

struct Replay {
    spec: Arc<PipelineSpec>,
    target: Target,
    context: RunContext,
    runtime: Handle,
    lease: Lease,
    tables: Tables,
    contract: Option<Contract>,
    done: Replayed,
    landed: Vec<Event>,
}

/// Identifies a payload: its name and when it was received.
type PayloadKey = (String, Timestamp);

impl Replay {
    fn new(
        spec: Arc<PipelineSpec>,
        context: RunContext,
        runtime: Handle,
        lease: Lease,
        target: Target,
    ) -> Result<Self> {
        let tables = Tables::new(
            context.lake.clone(),
            context.branch.clone(),
            runtime.clone(),
        );
        let raw = runtime.block_on(super::raw_table(&context, &spec.name))?;
        let kept = super::kept_contract(raw.as_ref());
        let contract = super::read_contract(&spec.name, kept.as_deref())?;
        Ok(Self {
            spec,
            target,
            context,
            runtime,
            lease,
            tables,
            contract,
            done: Replayed::default(),
            landed: Vec::new(),
        })
    }

    fn run(mut self) -> Result<Replayed> {
        let mut waiting = self.open_events()?;
        let raw = tables::raw(&self.spec.name)?;
        let mut index =
            self.runtime
                .block_on(scan::rows(&self.context.lake, &self.context.branch, &raw))?;
        let again = Again::new(self.context.lake.objects().clone(), self.runtime.clone());
        let runtime = self.runtime.clone();
        let mut parts = Parts::default();
        let mut payload = |replay: &mut Self, parts: Option<Vec<RawEntry>>| -> Result<()> {
            let key = |entry: &RawEntry| (entry.name.clone(), entry.received_at);
            let Some(parts) = parts else { return Ok(()) };
            match waiting.remove(&key(&parts[0])) {
                Some(events) => replay.payload(&again, &parts, events),
                None => Ok(()),
            }
        };
        while let Some(batch) = runtime.block_on(index.try_next())? {
            for entry in again.reader().entries(&batch)? {
                payload(&mut self, parts.push(entry))?;
            }
        }
        payload(&mut self, parts.finish())?;
        self.commit()?;
        Ok(self.done)
    }

    /// Open events by payload.
    fn open_events(&mut self) -> Result<HashMap<PayloadKey, Vec<Event>>> {
        let table = quarantine::table(&self.spec.name)?;
        let mut rows =
            self.runtime
                .block_on(scan::rows(&self.context.lake, &self.context.branch, &table))?;
        let mut open = OpenEvents::default();
        while let Some(batch) = self.runtime.block_on(rows.try_next())? {
            open.add(&batch)?;
        }
        let mut waiting: HashMap<PayloadKey, Vec<Event>> = HashMap::new();
        for event in open.finish() {
            if event.rejected.stage != "extract" && event.rejected.offset.is_none() {
                self.done.without_place += 1;
            } else {
                waiting
                    .entry((event.payload.clone(), event.received_at))
                    .or_default()
                    .push(event);
            }
        }
        Ok(waiting)
    }

    /// Extracts one payload again and keeps what was refused then and passes now.
    fn payload(&mut self, again: &Again, parts: &[RawEntry], events: Vec<Event>) -> Result<()> {
        let whole = events.iter().any(|event| event.rejected.offset.is_none());
        let offsets = (!whole).then(|| {
            events
                .iter()
                .filter_map(|event| event.rejected.offset)
                .collect::<HashSet<_>>()
        });
        let mut extraction = self.spec.extraction(self.contract.clone())?;
        let mut pass = Pass::new(Steps::new(self.spec.clone(), &self.context.engine), offsets);
        let runtime = self.runtime.clone();
        again.extract(extraction.as_mut(), parts, 0, &mut |out| {
            pass.take(out, &runtime)
        })?;
        let mut out = Extracted::default();
        extraction.flush(&mut out)?;
        pass.take(out, &runtime)?;
        self.contract = Some(extraction.contract());
        self.land(pass, events)
    }

    fn land(&mut self, mut pass: Pass, events: Vec<Event>) -> Result<()> {
        self.send(&mut pass)?;
        let (landed, refused) = pass.divide(events);
        self.done.refused += refused.len() as u64;
        let room = REASONS_MAX.saturating_sub(self.done.reasons.len());
        self.done.reasons.extend(refused.into_iter().take(room));
        if landed.is_empty() {
            return self.undo();
        }
        self.write(pass.batches)?;
        self.done.landed += landed.len() as u64;
        let at = self.context.clock.now();
        self.landed.extend(landed.into_iter().map(|event| Event {
            kind: EventKind::Replayed,
            at,
            ..event
        }));
        Ok(())
    }

    /// Sends rows to a target that is not the lake, and learns what it refuses.
    fn send(&mut self, pass: &mut Pass) -> Result<()> {
        let Target::Sink(sink, _) = &mut self.target else {
            return Ok(());
        };
        let refused = self.runtime.block_on(async {
            sink.mark().await?;
            let mut refused = Vec::new();
            for batch in std::mem::take(&mut pass.batches) {
                refused.extend(sink.write(batch).await?);
            }
            refused.extend(sink.flush().await?);
            Ok::<_, Error>(refused)
        })?;
        pass.refuse(refused);
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        match &mut self.target {
            Target::Sink(sink, _) => self.runtime.block_on(sink.undo()),
            Target::Lake(_) => Ok(()),
        }
    }

    /// Writes rows to the table of the lake.
    fn write(&mut self, batches: Vec<Batch>) -> Result<()> {
        let Target::Lake(target) = &self.target else {
            return Ok(());
        };
        for batch in batches {
            let (name, partition) = target.place(&batch.child)?;
            let options = WriterOptions {
                file_bytes_target: target.file_bytes.0,
                ..WriterOptions::default()
            };
            self.tables
                .write(&name, &batch.records, partition, &options)?;
        }
        Ok(())
    }

    /// Commits the rows in a target that is not the lake, with what the lake has to learn of it.
    fn deliver(
        &mut self,
        message: &str,
        position: &Position,
        contract: Option<&str>,
    ) -> Result<()> {
        let Target::Sink(sink, outbox) = &mut self.target else {
            return Ok(());
        };
        let table = quarantine::table(&self.spec.name)?;
        outbox.add(&table, &quarantine::to_batch(&self.landed)?, None)?;
        if let Some(contract) = contract {
            let raw = tables::raw(&self.spec.name)?;
            outbox.set_property(&raw, super::CONTRACT_PROPERTY, contract);
        }
        let delivered = Delivered {
            position: position.clone(),
            outbox: outbox.text(message)?,
        };
        let sequence = self.lease.sequence;
        self.runtime.block_on(sink.commit(sequence, delivered))
    }

    fn commit(&mut self) -> Result<()> {
        if self.landed.is_empty() {
            return Ok(());
        }
        let table = quarantine::table(&self.spec.name)?;
        self.tables.write(
            &table,
            &quarantine::to_batch(&self.landed)?,
            &[],
            &WriterOptions::default(),
        )?;
        let contract = self.contract.as_ref().map(serde_json::to_string);
        let contract = contract.transpose().map_err(|error| {
            Error::bug("contract_json", "failed to write the contract").with_source(error)
        })?;
        if let Some(text) = &contract {
            let raw = tables::raw(&self.spec.name)?;
            self.tables
                .set_property(&raw, super::CONTRACT_PROPERTY, text)?;
        }
        let split: Ident = SPLIT.parse()?;
        let last = self.landed.last().map(|event| event.id.clone());
        let position = Position(serde_json::json!({ "last": last }));
        let message = format!(
            "{}: {} records from quarantine",
            self.spec.name,
            self.landed.len()
        );
        let drafts = self.tables.finish()?;
        self.deliver(&message, &position, contract.as_deref())?;
        let request = CommitRequest {
            id: CommitId::new(self.context.clock.now(), random(self.context.seed, 5)),
            branch: self.context.branch.clone(),
            author: self.context.author.clone(),
            message,
            run: None,
            drafts,
            positions: vec![PositionMove {
                pipeline: self.spec.name.clone(),
                split,
                epoch: self.lease.epoch,
                sequence: self.lease.sequence,
                position,
            }],
        };
        self.runtime.block_on(self.context.lake.commit(request))?;
        if let Target::Sink(_, outbox) = &mut self.target {
            outbox.clear();
        }
        Ok(())
    }
}

/// One payload on its way through.
struct Pass {
    wanted: Wanted,
    steps: Steps,
    batches: Vec<Batch>,
    /// Places whose rows passed extraction.
    passed: HashSet<u64>,
    /// Reasons by place of what was refused again; `None` is the payload as a whole.
    refused: BTreeMap<Option<u64>, String>,
}

impl Pass {
    fn new(steps: Steps, offsets: Option<HashSet<u64>>) -> Self {
        let wanted = Wanted::new(offsets);
        Self {
            wanted,
            steps,
            batches: Vec::new(),
            passed: HashSet::new(),
            refused: BTreeMap::new(),
        }
    }

    fn take(&mut self, out: Extracted, runtime: &Handle) -> Result<()> {
        self.refuse(out.rejected);
        for batch in out.batches {
            let batch = self.wanted.keep(batch)?;
            if batch.child.is_empty() {
                self.passed
                    .extend(batch.origins.iter().flat_map(|origins| &origins.offsets));
            }
            if batch.records.num_rows() > 0 || !batch.child.is_empty() {
                let (batch, rejected) = runtime.block_on(self.steps.apply(batch))?;
                self.refuse(rejected);
                if batch.records.num_rows() > 0 {
                    self.batches.push(batch);
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, rejected: Vec<Rejected>) {
        for rejected in rejected {
            self.refused.insert(rejected.offset, rejected.reason);
        }
    }

    /// Which events land now, and why the others do not. A refusal that cannot be told from the others (no place, after
    /// an SQL transform that is not row-wise) keeps the whole payload back: a row may land once, never twice.
    fn divide(&self, events: Vec<Event>) -> (Vec<Event>, Vec<String>) {
        let all = self.refused.get(&None);
        let (mut landed, mut refused) = (Vec::new(), Vec::new());
        for event in events {
            let reason = match event.rejected.offset {
                Some(offset) => self.refused.get(&Some(offset)).or(all),
                None => all.or_else(|| self.refused.values().next()),
            };
            match reason {
                Some(reason) => refused.push(reason.clone()),
                None if event.rejected.offset.is_none_or(|offset| self.passed.contains(&offset)) => landed.push(event),
                None => refused.push("the record is not at its place any more: the extractor's settings have changed".to_owned()),
            }
        }
        if refused.is_empty() || all.is_none() {
            (landed, refused)
        } else {
            (Vec::new(), refused)
        }
    }
}
