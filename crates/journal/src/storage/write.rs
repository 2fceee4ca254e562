//! The one task that writes a journal in the storage: waiting records are put together, in one object, then acknowledged.
//!
//! One PUT is in progress at a time, so objects are written in order; during a PUT the next batch gathers in the queue. A
//! PUT with an unknown outcome is retried, the same bytes under the same nonce, until it is known whether the object
//! exists; nothing is written before that.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Clock, Error, Result, Timestamp};
use forebay_objects::Created;
use tokio::sync::{mpsc, watch};

use super::super::append::{self, Append, BATCH_BYTES};
use super::super::frame;
use super::super::keys::Keyed;
use super::super::open::Ends;
use super::super::{Tracks, lock_of};
use super::index::Object;
use super::{Objects, nonce, taken};

/// Retry interval of a PUT with an unknown outcome.
const AGAIN: Duration = Duration::from_secs(1);

/// A writer that has been idle for this long reopens the journal first, as another may have opened and released it.
pub(super) const PROVED_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Writer {
    objects: Arc<Objects>,
    clock: Arc<dyn Clock>,
    tracks: Tracks,
    durable: watch::Sender<u64>,
    queue: mpsc::Receiver<Append>,
    /// The stamp of this opening of the journal.
    stamp: u128,
    /// Offset of the next object.
    end: u64,
    /// When the journal was last known to be this writer's.
    proved_at: Timestamp,
    unsure: Option<Batch>,
}

/// One object in progress.
struct Batch {
    base: u64,
    bytes: Bytes,
    nonce: String,
    keyed: Vec<Keyed>,
    records: usize,
    /// When it was put together.
    at: Timestamp,
}

impl Writer {
    pub(super) fn new(
        objects: Arc<Objects>,
        clock: Arc<dyn Clock>,
        tracks: Tracks,
        ends: Ends,
        stamp: u128,
    ) -> Self {
        let end = *ends.durable.borrow();
        Self {
            objects,
            proved_at: clock.now(),
            clock,
            tracks,
            durable: ends.durable,
            queue: ends.queue,
            stamp,
            end,
            unsure: None,
        }
    }

    /// Works until every sender is gone, or until another process takes the journal.
    pub(super) async fn run(mut self) {
        let Err(error) = self.work().await else {
            return self.objects.give_up().await;
        };
        tracing::error!(%error, "lost the journal to another process; pushes go to another journal");
        self.queue.close();
        let mut left = VecDeque::new();
        while let Ok(append) = self.queue.try_recv() {
            left.push_back(append);
        }
        self.refuse(left, &error);
        // Keys are shared by the journals of a process: those of the last object must not stay reserved for ever.
        while self.try_again().await.is_err() && self.unsure.is_some() {
            self.clock.sleep(AGAIN).await;
        }
    }

    async fn work(&mut self) -> Result<()> {
        let objects = self.objects.clone();
        loop {
            let first = tokio::select! {
                first = self.queue.recv() => first,
                () = self.clock.sleep(AGAIN), if self.unsure.is_some() => {
                    self.try_again().await?;
                    continue;
                }
                () = objects.claim.lost() => return Err(taken(objects.folder())),
            };
            let Some(first) = first else { return Ok(()) };
            let appends = self.gather(first).await;
            self.batch(appends).await?;
        }
    }

    /// The queued appends, and those that arrive while the first one may wait.
    async fn gather(&mut self, first: Append) -> VecDeque<Append> {
        let waited = self.clock.monotonic().saturating_sub(first.sent_at);
        let left = self.objects.linger().saturating_sub(waited);
        let clock = self.clock.clone();
        let due = clock.sleep(left);
        tokio::pin!(due);
        let mut bytes = first.frames.len();
        let mut appends = VecDeque::from([first]);
        while bytes < BATCH_BYTES {
            let next = match self.queue.try_recv() {
                Ok(next) => Some(next),
                Err(_) if left.is_zero() => None,
                Err(_) => tokio::select! {
                    next = self.queue.recv() => next,
                    () = &mut due => None,
                },
            };
            let Some(next) = next else { break };
            bytes += next.frames.len();
            appends.push_back(next);
        }
        appends
    }

    /// Puts the gathered records and answers the callers. Fails when another process has the journal.
    async fn batch(&mut self, mut appends: VecDeque<Append>) -> Result<()> {
        if let Err(error) = self.ready().await {
            self.refuse(appends, &error);
            return if is_taken(&error) { Err(error) } else { Ok(()) };
        }
        let (batch, offsets) = self.pack(&mut appends);
        match self.put(&batch).await {
            Ok(()) => {
                self.landed(batch);
                append::answer(appends, offsets, None);
                Ok(())
            }
            Err(error) if is_taken(&error) => {
                self.refuse(appends, &error);
                Err(error)
            }
            Err(error) => {
                // The keys stay reserved until the outcome of the PUT is known.
                self.failed(&error, appends.len());
                append::refuse(appends, || failed(&error));
                self.unsure = Some(batch);
                Ok(())
            }
        }
    }

    /// Makes sure that the previous PUT succeeded, and that this writer still owns the journal.
    async fn ready(&mut self) -> Result<()> {
        if self.clock.now().since(self.proved_at) > PROVED_MAX {
            return Err(taken(self.objects.folder()));
        }
        self.try_again().await
    }

    async fn try_again(&mut self) -> Result<()> {
        let Some(batch) = self.unsure.take() else {
            return Ok(());
        };
        match self.put(&batch).await {
            Ok(()) => {
                self.landed(batch);
                Ok(())
            }
            Err(error) if is_taken(&error) => {
                let now = self.clock.now();
                let mut keys = lock_of(&self.tracks.keys);
                batch
                    .keyed
                    .iter()
                    .for_each(|keyed| keys.settle(keyed.key, None, now));
                Err(error)
            }
            Err(error) => {
                self.unsure = Some(batch);
                Err(error)
            }
        }
    }

    /// A stamp and the records after it as one object, and the offset of each record.
    fn pack(&self, appends: &mut VecDeque<Append>) -> (Batch, Vec<Vec<u64>>) {
        let base = self.end;
        let length = appends
            .iter()
            .map(|append| append.frames.len())
            .sum::<usize>();
        let mut bytes = Vec::with_capacity(frame::STAMP_BYTES + length);
        bytes.extend_from_slice(&frame::stamp(base, base, self.stamp));
        let mut offsets = Vec::with_capacity(appends.len());
        for append in appends.iter_mut() {
            let (frames, places) = append.frames.place(base + bytes.len() as u64, base);
            bytes.extend_from_slice(frames);
            offsets.push(places);
        }
        let batch = Batch {
            base,
            bytes: bytes.into(),
            nonce: nonce(),
            keyed: append::keyed(appends, &offsets),
            records: offsets.iter().map(Vec::len).sum(),
            at: self.clock.now(),
        };
        (batch, offsets)
    }

    /// Errors: `Conflict` `journal_taken`; after any other the outcome is unknown.
    async fn put(&mut self, batch: &Batch) -> Result<()> {
        let begun = self.clock.monotonic();
        let created = self
            .objects
            .put(batch.base, batch.bytes.clone(), &batch.nonce)
            .await?;
        if created == Created::Another {
            return Err(taken(self.objects.folder()));
        }
        let took = self.clock.monotonic().saturating_sub(begun);
        self.tracks.figures.flush.add(took);
        self.proved_at = self.clock.now();
        Ok(())
    }

    fn landed(&mut self, batch: Batch) {
        let bytes = batch.bytes.len() as u64;
        self.end = batch.base + bytes;
        self.tracks.figures.took(batch.records, bytes);
        append::settle(&batch.keyed, &self.tracks.keys, self.clock.now());
        self.objects.index().push(Object {
            base: batch.base,
            end: self.end,
            at: batch.at,
            is_stamp: false,
            keyed: batch.keyed,
            bytes: Some(batch.bytes),
        });
        // A record must not become visible before its age.
        lock_of(&self.tracks.ages).note(self.end, batch.at);
        self.durable.send_replace(self.end);
    }

    fn failed(&self, error: &Error, refused: usize) {
        self.tracks.figures.failed();
        tracing::error!(%error, refused, "failed to write the journal");
    }

    /// Fails the callers whose records are not in the journal.
    fn refuse(&self, appends: VecDeque<Append>, error: &Error) {
        self.failed(error, appends.len());
        append::free(&appends, &self.tracks.keys, self.clock.now());
        append::refuse(appends, || match is_taken(error) {
            true => taken(self.objects.folder()),
            false => failed(error),
        });
    }
}

fn is_taken(error: &Error) -> bool {
    error.code() == "journal_taken"
}

fn failed(error: &Error) -> Error {
    Error::unavailable("journal_failed", error.message())
        .with_hint("retry the push under the same idempotency key: it may have been stored")
}
