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

mod frame;
mod keys;
mod scan;
mod segment;
mod tail;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Clock, Error, Ident, Result};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use frame::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Head};
pub use tail::{Pushed, Tail};

use keys::{Key, Keys, Reservation};
use segment::{Folder, Segment};
use writer::{Append, Parts, Writer};

/// Appends that wait for the disk; more are refused, so that a slow disk shows as back-pressure and not as memory.
const QUEUE_MAX: usize = 4096;

/// Bytes that wait for the disk.
const QUEUE_BYTES_MAX: usize = 128 << 20;

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
            keep_keys: Duration::from_secs(3600),
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
        let parts = Parts {
            folder: folder.clone(),
            segment_bytes: limits.segment_bytes,
            clock: clock.clone(),
            keys: keys.clone(),
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
        })))
    }

    /// The journal's name: the split that reads it.
    pub fn id(&self) -> &Ident {
        &self.0.id
    }

    /// Makes records durable, all of them or (on an error) none that a receipt names. They are consecutive.
    ///
    /// Errors: `Unavailable` `journal_backlog` when the pipeline is too far behind, `journal_busy` when the disk is,
    /// `journal_failed` when it refuses; the caller may try again.
    pub async fn append(&self, records: Vec<Record>) -> Result<Vec<Receipt>> {
        let offsets = answer(self.send(&records)?).await?;
        let receipt = |offset| Receipt {
            offset,
            duplicate: false,
        };
        Ok(offsets.into_iter().map(receipt).collect())
    }

    /// [`Self::append`] of one record, once for each idempotency key: who comes second, also at the same moment, gets the
    /// first one's receipt. A caller that goes away half-way changes nothing.
    ///
    /// Errors: besides those of `append`, `Data` `key_reused` when the key was used with another body, `Unavailable`
    /// `keys_full` when no more keys can be remembered.
    pub async fn append_once(&self, mut record: Record, key: &str) -> Result<Receipt> {
        let (key, print) = (Key::of(key), keys::fingerprint(&record.body));
        record.head.key = Some((key, print));
        let records = [record];
        loop {
            let reservation = self.keys().reserve(key, print, self.0.clock.now())?;
            match reservation {
                Reservation::Taken(offset) => {
                    let duplicate = true;
                    return Ok(Receipt { offset, duplicate });
                }
                // It is closed when the other one is durable or has failed: look again.
                Reservation::UnderWay(mut other) => while other.changed().await.is_ok() {},
                Reservation::Mine => {
                    // Once it is sent the writer settles the key, whoever still listens.
                    let sent = self.send(&records).inspect_err(|_| {
                        self.keys().settle(key, None, self.0.clock.now());
                    });
                    let offset = answer(sent?).await?[0];
                    let duplicate = false;
                    return Ok(Receipt { offset, duplicate });
                }
            }
        }
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
    pub fn release(&self, offset: u64) -> Result<()> {
        self.0.released.send_if_modified(|released| {
            let forward = offset > *released;
            *released = offset.max(*released);
            forward
        });
        self.0.folder.delete_before(offset)?;
        let (keep, now) = (self.keys().keep(), self.0.clock.now());
        self.0.folder.delete_keys(offset, keep, now)
    }

    fn set_limits(&self, limits: Limits) {
        self.0
            .backlog_bytes
            .store(limits.backlog_bytes, Ordering::Relaxed);
        self.keys().set_keep(limits.keep_keys);
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// The journals of a process, one a pipeline, opened when first asked for.
#[derive(Debug)]
pub struct Journals {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    open: Mutex<HashMap<Ident, Journal>>,
}

impl Journals {
    /// Journals live below `folder`, in a folder of the pipeline's name.
    pub fn new(folder: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            folder,
            clock,
            open: Mutex::default(),
        }
    }

    /// The journal of this pipeline, when it is open.
    pub fn find(&self, pipeline: &Ident) -> Option<Journal> {
        self.lock().get(pipeline).cloned()
    }

    /// The journal of this pipeline, opened when it is not; from here on it has these limits. Blocks on the disk.
    ///
    /// Errors: as [`Journal::open`].
    pub fn of(&self, pipeline: &Ident, limits: Limits) -> Result<Journal> {
        let mut open = self.lock();
        if let Some(journal) = open.get(pipeline) {
            journal.set_limits(limits);
            return Ok(journal.clone());
        }
        let folder = self.folder.join(pipeline.as_str());
        let journal = Journal::open(&folder, limits, self.clock.clone())
            .map_err(|error| error.with_context("pipeline", pipeline))?;
        open.insert(pipeline.clone(), journal.clone());
        Ok(journal)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ident, Journal>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
