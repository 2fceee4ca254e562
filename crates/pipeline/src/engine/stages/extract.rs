//! The second stage: keeps the raw bytes, decompresses a copy, extracts rows, and marks commit boundaries.
//!
//! Works on a blocking thread of its own. It commits nothing: at a boundary it seals the raw objects and hands
//! everything before it to [`crate::engine::stages::load`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_core::{Batch, Chunk, PayloadHead, Position, Rejected, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::buffer::Buffer;
use crate::engine::attempts;
use crate::engine::audit::Requests;
use crate::engine::payload::pour::Pour;
use crate::engine::payload::spill::SpilledPayload;
use crate::engine::payload::stored::{HeldPayload, ObjectPayload, StoredPayload};
use crate::engine::payload::verify::{Verification, Verified};
use crate::engine::stages::Job;
use crate::engine::stages::read::Read;
use crate::engine::stages::stage_gone;
use crate::engine::{CommitStep, Figures};
use crate::raw::{RawEntry, RawObject, RawOptions, RawWriter};
use forebay_formats::contract::Contract;
use forebay_formats::{Extracted, Extraction, ObjectInput, Outlet, REFUSALS_MAX};

/// Messages between this stage and the next. A batch may have 8 MiB; three keep both stages busy, and more were not faster.
pub(in crate::engine) const WORK_MAX: usize = 3;

/// The output of the worker, in order.
#[derive(Debug)]
pub(in crate::engine) enum Work {
    Payload(Arc<PayloadHead>),
    Rows(Batch),
    Rejected(Vec<Rejected>),
    /// A part of the raw index, and its target file.
    Index(Path, Vec<RawEntry>),
    Boundary(Boundary),
    /// There are many requests, and no boundary since the last one that could commit them.
    Requests,
    /// Everything before it has to be processed; then this is answered.
    Settle(std::sync::mpsc::Sender<()>),
    /// The source has been read to its end, and all of its data has been handed on.
    End,
}

/// Everything since the last boundary can be committed.
#[derive(Debug)]
pub(in crate::engine) struct Boundary {
    pub(in crate::engine) position: Position,
    pub(in crate::engine) raw: Vec<RawObject>,
    pub(in crate::engine) contract: Contract,
}

pub(in crate::engine) struct Worker {
    job: Job,
    runtime: Handle,
    extraction: Box<dyn Extraction>,
    raw: RawWriter,
    buffer: Buffer,
    requests: Arc<Requests>,
    passage: Arc<Passage>,
    /// Head of the newest payload.
    head: Option<Arc<PayloadHead>>,
    /// The payload that is being received.
    current: Option<Pour>,
    /// The verification of that payload, when it is compressed; nothing of it is extracted before.
    verification: Option<Verification>,
    /// The last chunk's position, if a commit may be made right after it.
    resumable: Option<Position>,
    /// The payload whose chunks are kept and not extracted, as it was rejected whole.
    refused: Option<u64>,
}

/// Passes rows and rejected records to the next stage: in bounded pieces, and counted.
#[derive(Debug)]
struct Passage {
    out: mpsc::Sender<Work>,
    figures: Arc<Figures>,
    /// Rows of all tables and rejected records since the buffer was last updated.
    passed: AtomicU64,
}

impl Passage {
    fn send(&self, work: Work) -> Result<()> {
        self.out.blocking_send(work).map_err(|_| stage_gone())
    }

    fn count(&self, records: usize) {
        self.passed.fetch_add(records as u64, Ordering::Relaxed);
    }
}

impl Outlet for Passage {
    fn take(&self, mut piece: Extracted) -> Result<()> {
        let figures = &self.figures;
        figures.extract.add(piece.rows() as u64, 0);
        Figures::count(&figures.quarantined, piece.rejected.len() as u64);
        for batch in std::mem::take(&mut piece.batches) {
            self.count(batch.records.num_rows());
            self.send(Work::Rows(batch))?;
        }
        self.count(piece.rejected.len());
        while !piece.rejected.is_empty() {
            let rest = piece.rejected.len().saturating_sub(REFUSALS_MAX);
            // The last ones go first; their order does not matter.
            self.send(Work::Rejected(piece.rejected.split_off(rest)))?;
        }
        Ok(())
    }
}

impl Worker {
    pub(in crate::engine) fn new(
        job: Job,
        runtime: Handle,
        extraction: Box<dyn Extraction>,
        requests: Arc<Requests>,
        out: mpsc::Sender<Work>,
    ) -> Self {
        let context = &job.context;
        let options = RawOptions {
            pipeline: job.spec.name.clone(),
            split: job.split.clone(),
            object_bytes: job.spec.raw.object_bytes.0,
            level: job.spec.raw.level,
            seed: context.ids.make_seed(),
        };
        let mut raw = RawWriter::new(
            context.lake.objects().clone(),
            context.clock.clone(),
            runtime.clone(),
            options,
        );
        if let Some(folder) = context.lake.root().strip_prefix("file://") {
            raw = raw.on_local_disk(folder);
        }
        let buffer = Buffer::new(job.spec.buffer.clone());
        let passage = Arc::new(Passage {
            out,
            figures: context.figures.clone(),
            passed: AtomicU64::new(0),
        });
        Self {
            passage,
            refused: None,
            job,
            runtime,
            extraction,
            raw,
            buffer,
            requests,
            head: None,
            current: None,
            verification: None,
            resumable: None,
        }
    }

    pub(in crate::engine) fn run(mut self, mut chunks: mpsc::Receiver<Read>) -> Result<()> {
        loop {
            match self.receive(&mut chunks) {
                Received::Read(Read::Chunk(chunk)) => self.chunk(chunk)?,
                Received::Read(Read::End(position)) => {
                    self.end(position)?;
                    return self.send(Work::End);
                }
                Received::Closed => return self.end(None),
                Received::Late => {}
            }
            let is_crowded = self.requests.is_crowded();
            if is_crowded && self.buffer.is_empty() {
                self.requests.expect_commit();
                self.send(Work::Requests)?;
            } else if is_crowded || self.buffer.is_due(self.job.context.clock.monotonic()) {
                self.boundary()?;
            }
        }
    }

    /// The next chunk, or `Late` when the buffer interval has passed, or there are many requests, before one arrives.
    fn receive(&self, chunks: &mut mpsc::Receiver<Read>) -> Received {
        let clock = &self.job.context.clock;
        let wait = self
            .buffer
            .remaining(clock.monotonic())
            .filter(|_| self.resumable.is_some());
        let time_up = async {
            match wait {
                Some(wait) => clock.sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                read = chunks.recv() => read.map_or(Received::Closed, Received::Read),
                () = self.requests.crowded() => Received::Late,
                () = time_up => Received::Late,
            }
        })
    }

    /// The source is exhausted, or stopped. Data up to a position is committed; a torn payload is not.
    fn end(&mut self, position: Option<Position>) -> Result<()> {
        if position.is_some() {
            self.resumable = position;
            // A pass that moved only the position still has to be committed.
            self.buffer.add(0, 0, self.job.context.clock.monotonic());
        }
        self.boundary()
    }

    fn chunk(&mut self, mut chunk: Chunk) -> Result<()> {
        let figures = self.job.context.figures.clone();
        let begins = self
            .head
            .as_ref()
            .is_none_or(|head| head.ordinal != chunk.head.ordinal);
        let careful = self.job.attempt.is_careful();
        let refused = match begins && careful {
            true => self.begin_carefully(&chunk.head)?,
            false => None,
        };
        chunk.head = self.whole_head(chunk.head);
        figures.raw.time(|| self.raw.push(&chunk))?;
        figures.raw.add(0, chunk.bytes.len() as u64);
        for (path, entries) in self.raw.take_index() {
            self.send(Work::Index(path, entries))?;
        }
        if let Some(reason) = refused {
            self.refuse_whole(&chunk, reason)?;
        }
        if self.refused == Some(chunk.head.ordinal) {
            let known = std::mem::take(&mut chunk.refused);
            self.passage.take(Extracted::of(Vec::new(), known))?;
        } else {
            self.extract(&mut chunk)?;
        }
        self.buffer.add(
            self.passage.passed.swap(0, Ordering::Relaxed),
            chunk.bytes.len() as u64,
            self.job.context.clock.monotonic(),
        );
        if begins {
            self.buffer.add_payload();
        }
        self.buffer.set_pending(self.extraction.pending_rows());
        let may_end = self.extraction.is_between_records();
        self.resumable = chunk.position.filter(|_| may_end);
        if chunk.last && careful {
            self.end_carefully(chunk.head.ordinal)?;
        }
        Ok(())
    }

    /// Records which payload is started; returns the reason to reject it, if any.
    fn begin_carefully(&self, head: &PayloadHead) -> Result<Option<String>> {
        let refused = self.job.attempt.begin(head);
        let mut record = self.job.run.clone();
        record.steps = self.job.context.figures.steps();
        record.steps.extend(self.job.attempts.steps());
        let store = self.job.context.lake.store();
        self.runtime.block_on(store.record_run(&record))?;
        Ok(refused)
    }

    /// Rejects a payload, which is kept in the raw zone, without reading it.
    fn refuse_whole(&mut self, chunk: &Chunk, reason: String) -> Result<()> {
        let head = &chunk.head;
        tracing::warn!(payload = %head.name, %reason, "payload rejected whole");
        self.refused = Some(head.ordinal);
        self.send(Work::Payload(head.clone()))?;
        let refused = attempts::refuse_whole(head, reason, &chunk.bytes);
        self.passage.take(Extracted::of(Vec::new(), vec![refused]))
    }

    /// Commits pending data, if the source can resume here, and waits until all of it is done.
    fn end_carefully(&mut self, payload: u64) -> Result<()> {
        self.boundary()?;
        self.give_up_held()?;
        let (done, settled) = std::sync::mpsc::channel();
        self.send(Work::Settle(done))?;
        settled.recv().map_err(|_| stage_gone())?;
        self.job.attempt.end(self.refused == Some(payload))
    }

    /// The head with the state that the extractor carries over from an earlier part of the same file.
    fn whole_head(&mut self, head: Arc<PayloadHead>) -> Arc<PayloadHead> {
        if let Some(known) = &self.head
            && known.ordinal == head.ordinal
        {
            return known.clone();
        }
        let head = match self.extraction.carried(&head) {
            Some((key, value)) => {
                let mut head = PayloadHead::clone(&head);
                head.attributes.insert(key, value);
                Arc::new(head)
            }
            None => head,
        };
        self.head.insert(head).clone()
    }

    /// Extracts a chunk and hands its rows on.
    fn extract(&mut self, chunk: &mut Chunk) -> Result<()> {
        let mut pour = match self.current.take() {
            Some(pour) if pour.head.ordinal == chunk.head.ordinal => pour,
            _ => self.begin(chunk)?,
        };
        if self.verification.is_some() {
            return self.extract_verified(pour, chunk);
        }
        if self.extraction.wants_object() {
            if chunk.last {
                let path = self.raw.seal_for_reading()?;
                let objects = self.job.context.lake.objects().clone();
                return self.read_object(&pour.head, &objects, &path);
            }
            self.current = Some(pour);
            return Ok(());
        }
        let figures = self.job.context.figures.clone();
        let mut out = Extracted::into_outlet(self.passage.clone());
        out.rejected.append(&mut chunk.refused);
        figures
            .extract
            .time(|| pour.push(self.extraction.as_mut(), &chunk.bytes, &mut out))?;
        if chunk.last {
            figures
                .extract
                .time(|| pour.finish(self.extraction.as_mut(), &mut out))?;
        } else {
            self.current = Some(pour);
        }
        self.passage.take(out)
    }

    fn begin(&mut self, chunk: &Chunk) -> Result<Pour> {
        let pour = Pour::new(&chunk.head)?;
        self.verification = Verification::begin(&chunk.head)?;
        self.send(Work::Payload(pour.head.clone()))?;
        Ok(pour)
    }

    /// Takes a chunk of a compressed payload, which is extracted once its last chunk has verified it.
    fn extract_verified(&mut self, pour: Pour, chunk: &mut Chunk) -> Result<()> {
        let refused = std::mem::take(&mut chunk.refused);
        self.passage.take(Extracted::of(Vec::new(), refused))?;
        let Some(mut verification) = self.verification.take() else {
            return Ok(());
        };
        let figures = self.job.context.figures.clone();
        figures.extract.time(|| verification.push(&chunk.bytes))?;
        if !chunk.last {
            self.current = Some(pour);
            self.verification = Some(verification);
            return Ok(());
        }
        match figures.extract.time(|| verification.finish())? {
            Verified::Whole(held) => self.extract_stored(pour, held),
            Verified::Refused(refused) => {
                let payload = &pour.head.name;
                let reason = refused.shown_reason();
                tracing::warn!(%payload, %reason, "compressed payload rejected whole");
                self.passage.take(Extracted::of(Vec::new(), vec![refused]))
            }
        }
    }

    /// Extracts a verified compressed payload.
    fn extract_stored(&mut self, mut pour: Pour, held: Option<Vec<u8>>) -> Result<()> {
        let stored: Box<dyn StoredPayload> = match held {
            Some(bytes) => Box::new(HeldPayload(bytes)),
            None => Box::new(ObjectPayload {
                objects: self.job.context.lake.objects().clone(),
                path: self.raw.seal_for_reading()?,
                runtime: self.runtime.clone(),
            }),
        };
        if self.extraction.wants_object() {
            let folder = &self.job.context.spill;
            let compression = pour.head.compression;
            let spilled = SpilledPayload::write(folder, compression, stored.as_ref())?;
            return self.read_object(&pour.head, &spilled.objects, &spilled.path);
        }
        let figures = self.job.context.figures.clone();
        let extraction = self.extraction.as_mut();
        let mut out = Extracted::into_outlet(self.passage.clone());
        figures.extract.time(|| {
            stored.read(&mut |bytes| pour.push(extraction, bytes, &mut out))?;
            pour.finish(extraction, &mut out)
        })?;
        self.passage.take(out)
    }

    /// Formats with a footer are read at random once the payload is complete.
    fn read_object(
        &mut self,
        head: &Arc<PayloadHead>,
        objects: &Arc<dyn ObjectStore>,
        path: &Path,
    ) -> Result<()> {
        let figures = self.job.context.figures.clone();
        let input = ObjectInput {
            objects,
            path,
            runtime: &self.runtime,
        };
        let mut out = Extracted::default();
        figures
            .extract
            .time(|| self.extraction.object(head, input, &mut out))?;
        while figures.extract.time(|| self.extraction.more(&mut out))? {
            self.passage.take(out.take_held())?;
        }
        self.passage.take(out)
    }

    /// Hands on rows that the extractor holds back.
    fn give_up_held(&mut self) -> Result<()> {
        let figures = self.job.context.figures.clone();
        let mut out = Extracted::into_outlet(self.passage.clone());
        figures.extract.time(|| self.extraction.flush(&mut out))?;
        self.passage.take(out)
    }

    /// Ends a commit here, if the source can resume here.
    fn boundary(&mut self) -> Result<()> {
        let Some(position) = self.resumable.take().filter(|_| !self.buffer.is_empty()) else {
            return Ok(());
        };
        let figures = self.job.context.figures.clone();
        self.give_up_held()?;
        self.passage.passed.store(0, Ordering::Relaxed);
        let raw = figures.raw.time(|| self.raw.seal())?;
        let stored = self.job.context.reach(CommitStep::RawStored);
        self.runtime.block_on(stored)?;
        let objects = raw.iter().filter(|object| object.path.is_some());
        Figures::count(&figures.raw_objects, objects.count() as u64);
        self.buffer.clear();
        self.requests.expect_commit();
        self.send(Work::Boundary(Boundary {
            position,
            raw,
            contract: self.extraction.contract(),
        }))
    }

    fn send(&self, work: Work) -> Result<()> {
        self.passage.send(work)
    }
}

enum Received {
    Read(Read),
    Late,
    Closed,
}
