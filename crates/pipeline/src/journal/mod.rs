//! The journal: what was pushed, durable on the local disk before anybody is told that it was taken.
//!
//! A push is acknowledged when its record, and everything before it, is on disk (`fdatasync` of the file, `fsync` of the
//! folder for a new file). Many pushes share one flush. The pipeline reads the journal from its position like any
//! other source, keeps the bytes in the raw zone, and commits; segments that the committed position has passed are
//! deleted. Places are logical offsets: bytes ever written, so a record has one place for ever.
//!
//! Layout of the folder: `id` (the journal's name, made once), `<offset>.segment` (records, see `frame.rs`; the name is the
//! offset of its first byte), `<offset>.keys` (idempotency keys of a full segment, see `keys.rs`), `lock`.
//!
//! The journal never looks into a body, and never deletes what has not been released.

mod ages;
mod figures;
mod frame;
mod keys;
mod opened;
mod scan;
mod segment;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Clock, Error, Ident, Result, Timestamp};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use figures::Figures;
pub use frame::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Head};
pub use opened::Journals;
pub use tail::{Pushed, Tail};

use ages::Ages;
use keys::{Key, Keys, Reservation};
use segment::{Folder, Segment};
use writer::{Append, Parts, Writer};

/// Appends that wait for the disk; more are refused, so that a slow disk shows as back-pressure and not as memory.
const QUEUE_MAX: usize = 4096;

/// Bytes that wait for the disk.
const QUEUE_BYTES_MAX: usize = 96 << 20;

/// Limits of one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A segment is full at this size; only full segments can be deleted.
    pub segment_bytes: u64,
    /// Bytes that may wait for the pipeline before pushes are refused.
    pub backlog_bytes: u64,
    /// How long an idempotency key is remembered.
    pub keep_keys: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            backlog_bytes: 4 << 30,
            keep_keys: Duration::from_secs(900),
        }
    }
}

/// One thing that was pushed.
#[derive(Debug, Clone)]
pub struct Record {
    pub head: Head,
    pub body: Bytes,
}

/// What a caller is told: the record is durable, at this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub offset: u64,
    /// The same push (by its idempotency key) had been taken before, at that place.
    pub duplicate: bool,
}

/// An open journal. Cheap to clone; the last clone to go stops its writer.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: Ident,
    folder: Folder,
    backlog_bytes: AtomicU64,
    clock: Arc<dyn Clock>,
    appends: mpsc::Sender<Append>,
    /// Bytes that may still be queued.
    room: Arc<Semaphore>,
    /// Everything before this offset is durable.
    durable: watch::Receiver<u64>,
    /// Everything before this offset has been committed by the pipeline.
    released: watch::Sender<u64>,
    keys: Arc<Mutex<Keys>>,
    ages: Arc<Mutex<Ages>>,
    /// Where each segment begins, oldest first.
    bases: Arc<Mutex<Vec<u64>>>,
    figures: Arc<Figures>,
}

impl Journal {
    /// Opens the journal in `folder`, making it when it is not there. A torn end of the newest segment, which nobody
    /// was told of, is cut off.
    ///
    /// Errors: `Conflict` `journal_open` when another process has it open; `Data` `journal_corrupt` when bytes that had
    /// been acknowledged are damaged: nothing is cut then. `Unavailable` when the disk fails.
    pub fn open(folder: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Result<Self> {
        let folder = Folder::open(folder)?;
        let lock = folder.lock()?;
        let id = folder.id(clock.as_ref())?;
        let mut segments = folder.segments()?;
        let mut keys = Keys::new(limits.keep_keys);
        let last = match segments.pop() {
            Some(newest) => newest,
            None => Segment { base: 0, end: 0 },
        };
        let now = clock.now();
        folder.load_keys(&segments, &mut keys, now)?;
        let recovered = folder.recover(last.base)?;
        for keyed in &recovered.keyed {
            keys.remember(keyed.key, keyed.seen, now);
        }
        let keys = Arc::new(Mutex::new(keys));
        let (appends, queue) = mpsc::channel(QUEUE_MAX);
        let (told, durable) = watch::channel(recovered.end);
        let first = segments.first().map_or(last.base, |segment| segment.base);
        let (released, _) = watch::channel(first);
        let ages = Arc::new(Mutex::new(Ages::default()));
        if let Some(at) = folder.time_of(first)? {
            lock_of(&ages).note(recovered.end, at);
        }
        let bases = segments.iter().map(|segment| segment.base);
        let bases = Arc::new(Mutex::new(bases.chain([last.base]).collect()));
        let figures = Arc::new(Figures::default());
        let parts = Parts {
            folder: folder.clone(),
            segment_bytes: limits.segment_bytes,
            clock: clock.clone(),
            keys: keys.clone(),
            ages: ages.clone(),
            bases: bases.clone(),
            figures: figures.clone(),
            durable: told,
            lock,
        };
        let writer = Writer::open(parts, last.base, recovered)?;
        spawn(move || writer.run(queue))?;
        Ok(Self(Arc::new(Shared {
            id,
            folder,
            backlog_bytes: AtomicU64::new(limits.backlog_bytes),
            clock,
            appends,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            durable,
            released,
            keys,
            ages,
            bases,
            figures,
        })))
    }

    /// The journal's name: the split that reads it.
    pub fn id(&self) -> &Ident {
        &self.0.id
    }

    /// Makes records durable, all of them or (on an error) none that a receipt names. They are consecutive, and a crash
    /// leaves all of them or none.
    ///
    /// Errors: `Unavailable` `journal_backlog` when the pipeline is too far behind, `journal_busy` when the disk is,
    /// `journal_failed` when it refuses; the caller may try again.
    pub async fn append(&self, mut records: Vec<Record>) -> Result<Vec<Receipt>> {
        tie(&mut records);
        let sent = self.send(&records)?;
        // Its bytes are in the queue now: twice in memory is twice too much while the disk is slow.
        drop(records);
        answer(sent).await.map(receipts)
    }

    /// [`Self::append`], once for each idempotency key: who comes second, also at the same moment, gets the first one's
    /// receipts. A caller that goes away half-way changes nothing. Of several records only the first receipt of a duplicate is
    /// the old one; the others are places after it.
    ///
    /// Errors: besides those of `append`, `Data` `key_reused` when the key was used with other bodies, `Unavailable`
    /// `keys_full` when no more keys can be remembered.
    pub async fn append_once(&self, mut records: Vec<Record>, key: &str) -> Result<Vec<Receipt>> {
        let bodies = records.iter().map(|record| &record.body[..]);
        let (key, print) = (Key::of(key), keys::fingerprint(bodies));
        tie(&mut records);
        if let Some(first) = records.first_mut() {
            first.head.key = Some((key, print));
        }
        loop {
            let reservation = self.keys().reserve(key, print, self.0.clock.now())?;
            match reservation {
                Reservation::Taken(offset) => {
                    let places = (offset..).take(records.len());
                    let duplicate = true;
                    return Ok(places.map(|offset| Receipt { offset, duplicate }).collect());
                }
                // It is closed when the other one is durable or has failed: look again.
                Reservation::UnderWay(mut other) => while other.changed().await.is_ok() {},
                Reservation::Mine => {
                    // Once it is sent the writer settles the key, whoever still listens.
                    let sent = self.send(&records).inspect_err(|_| {
                        self.keys().settle(key, None, self.0.clock.now());
                    })?;
                    drop(records);
                    return answer(sent).await.map(receipts);
                }
            }
        }
    }

    /// Whether one more idempotency key can be remembered.
    pub fn has_room_for_keys(&self) -> bool {
        let mut keys = self.keys();
        keys.forget(self.0.clock.now());
        !keys.is_full()
    }

    /// Hands records to the writer.
    fn send(&self, records: &[Record]) -> Result<Answer> {
        let waiting = self.backlog();
        if waiting >= self.0.backlog_bytes.load(Ordering::Relaxed) {
            return Err(backlog(waiting));
        }
        let frames = frame::encode(records)?;
        let bytes = u32::try_from(frames.len().min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = self.0.room.clone().try_acquire_many_owned(bytes);
        let (reply, answer) = oneshot::channel();
        let append = Append {
            frames,
            reply,
            _room: room.map_err(|_| busy())?,
        };
        self.0.appends.try_send(append).map_err(|_| busy())?;
        Ok(answer)
    }

    /// Bytes that are durable and not committed yet.
    pub fn backlog(&self) -> u64 {
        self.durable().saturating_sub(*self.0.released.borrow())
    }

    /// Everything before this offset is durable.
    pub fn durable(&self) -> u64 {
        *self.0.durable.borrow()
    }

    /// The first offset that the journal still has.
    pub fn first(&self) -> Result<u64> {
        let segments = self.0.folder.segments()?;
        Ok(segments.first().map_or(0, |segment| segment.base))
    }

    /// A reader from `offset` on.
    ///
    /// Errors: `Data` `journal_lost` when the journal no longer has, or never had, that place.
    pub fn tail(&self, offset: u64) -> Result<Tail> {
        let first = *self.0.released.borrow();
        if offset > self.durable() || (offset < first && !self.0.folder.has(offset)?) {
            return Err(lost(&self.0.folder.path, offset, first, self.durable()));
        }
        Ok(Tail::new(
            self.0.folder.clone(),
            self.0.durable.clone(),
            offset,
        ))
    }

    /// Says that everything before `offset` is committed: whole segments before it are deleted.
    pub async fn release(&self, offset: u64) -> Result<()> {
        self.0.released.send_if_modified(|released| {
            let forward = offset > *released;
            *released = offset.max(*released);
            forward
        });
        lock_of(&self.0.ages).release(offset);
        let passed: Vec<u64> = {
            let bases = lock_of(&self.0.bases);
            let pairs = bases.windows(2).filter(|pair| pair[1] <= offset);
            pairs.map(|pair| pair[0]).collect()
        };
        if passed.is_empty() {
            return Ok(());
        }
        let (journal, folder) = (self.0.clone(), self.0.folder.clone());
        blocking(move || {
            folder.delete(&passed)?;
            lock_of(&journal.bases).retain(|base| !passed.contains(base));
            let (keep, now) = (lock_of(&journal.keys).keep(), journal.clock.now());
            folder.delete_keys(offset, keep, now)
        })
        .await
    }

    /// As [`Self::release`], by who reads on from `offset` after a restart: from here on the age of what waits is exact.
    pub async fn resume(&self, offset: u64) -> Result<()> {
        self.release(offset).await?;
        let folder = self.0.folder.clone();
        if let Some(at) = blocking(move || folder.time_of(offset)).await? {
            lock_of(&self.0.ages).correct(at);
        }
        Ok(())
    }

    /// How long the oldest record that is not committed has been waiting.
    pub fn lag(&self, now: Timestamp) -> Duration {
        let oldest = lock_of(&self.0.ages).oldest();
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }

    /// What the writer has done since the journal was opened.
    pub fn figures(&self) -> &Figures {
        &self.0.figures
    }

    fn set_limits(&self, limits: Limits) {
        self.0
            .backlog_bytes
            .store(limits.backlog_bytes, Ordering::Relaxed);
        self.keys().set_keep(limits.keep_keys);
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        lock_of(&self.0.keys)
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disk may be slow: other tasks go on meanwhile.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::bug("journal_task", "work on the journal panicked").with_source(error)
    })?
}

/// Says in the first of several records how many they are.
fn tie(records: &mut [Record]) {
    let together = u32::try_from(records.len()).unwrap_or(u32::MAX);
    if let [first, _, ..] = records {
        first.head.together = Some(together);
    }
}

fn receipts(offsets: Vec<u64>) -> Vec<Receipt> {
    let duplicate = false;
    let receipt = |offset| Receipt { offset, duplicate };
    offsets.into_iter().map(receipt).collect()
}

type Answer = oneshot::Receiver<Result<Vec<u64>>>;

async fn answer(sent: Answer) -> Result<Vec<u64>> {
    sent.await
        .map_err(|_| Error::unavailable("journal_failed", "the journal's writer has stopped"))?
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name("journal".to_owned());
    thread.spawn(work).map(drop).map_err(|error| {
        Error::unavailable("no_thread", "failed to start the journal's writer").with_source(error)
    })
}

fn busy() -> Error {
    Error::unavailable("journal_busy", "too many pushes wait for the disk")
        .with_hint("send it again a little later")
}

fn backlog(waiting: u64) -> Error {
    let what = format!("{waiting} bytes wait for the pipeline, which is as many as may");
    Error::unavailable("journal_backlog", what)
        .with_hint("send it again later; the pipeline's last run says why it is behind")
}

fn lost(folder: &Path, offset: u64, first: u64, end: u64) -> Error {
    let what = format!("the pipeline stands at {offset}, but the journal holds {first} to {end}");
    Error::data("journal_lost", what)
        .with_context("journal", folder.display())
        .with_hint("the folder was replaced or deleted; put it back, or start the pipeline on a new journal")
}
