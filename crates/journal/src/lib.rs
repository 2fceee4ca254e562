//! The journal: pushes, made durable before they are acknowledged.
//!
//! A push is acknowledged when its record, and everything before it, is durable: on the local disk (`fdatasync` of the
//! file, `fsync` of the folder for a new file), or in the storage of the lake (a PUT). Many pushes share one flush. The
//! pipeline reads the journal from its position like any other source, keeps the bytes in the raw zone, and commits;
//! records before the committed position are deleted. Positions are logical offsets, the bytes ever written, so the offset
//! of a record never changes.
//!
//! Layout of the folder on disk: `id` (the journal's name, made once), `<offset>.segment` (records, see `frame.rs`; the
//! name is the offset of its first byte), `<offset>.keys` (idempotency keys of a full segment, see `keys.rs`), `lock`, and
//! `<start>-<end>.lost` or `.passed` (missing ranges, see `gap.rs`). `<pipeline>.mark` is stored beside the folder (the
//! acknowledged offset, see `mark.rs`). For the layout in the storage see `storage/`.
//!
//! The journal never reads a body, and never deletes a record that is not released.

mod adopted;
mod ages;
mod append;
mod config;
mod figures;
mod frame;
mod gap;
mod keys;
mod mark;
mod open;
mod opened;
mod scan;
mod segment;
mod storage;
mod tail;
mod verify;
mod writer;

#[cfg(test)]
mod damaged_tests;
#[cfg(test)]
mod missing_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Clock, Error, Ident, Result, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use config::{Limits, Place, Taken};
pub use figures::Figures;
pub use frame::{BODY_BYTES_MAX, HEAD_BYTES_MAX, Head};
pub use opened::Journals;
pub use storage::WRITERS;
pub use tail::{Pushed, Tail};
pub use verify::JournalFinding;

use ages::Ages;
use append::Append;
use keys::{Key, Keys, Reservation};
use segment::Folder;
use storage::Objects;

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");

/// Appends that wait to be durable; more are refused, so that a slow disk causes back-pressure instead of memory growth.
const QUEUE_MAX: usize = 4096;

/// Bytes that wait to be durable.
const QUEUE_BYTES_MAX: usize = 96 << 20;

/// One pushed body with its metadata.
#[derive(Debug, Clone)]
pub struct Record {
    pub head: Head,
    pub body: Bytes,
}

/// The acknowledgement: the record is durable, at this offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub offset: u64,
    /// The same push (by its idempotency key) had been accepted before, at that offset.
    pub duplicate: bool,
}

/// An open journal. Cheap to clone; the last clone to go stops its writer.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: Ident,
    files: Files,
    backlog_bytes: AtomicU64,
    clock: Arc<dyn Clock>,
    appends: mpsc::Sender<Append>,
    /// Bytes that may still be queued.
    room: Arc<Semaphore>,
    /// Everything before this offset is durable.
    durable: watch::Receiver<u64>,
    /// Everything before this offset has been committed by the pipeline.
    released: watch::Sender<u64>,
    tracks: Tracks,
}

/// Where a journal stores its records.
#[derive(Debug, Clone)]
enum Files {
    Disk {
        folder: Folder,
        /// Start offset of each segment, oldest first.
        bases: Arc<Mutex<Vec<u64>>>,
        /// Records of the journal itself that were behind the last push when it was opened.
        own: Range<u64>,
    },
    Storage(Arc<Objects>),
}

/// State shared by a journal and its writer.
#[derive(Debug, Clone)]
struct Tracks {
    keys: Arc<Mutex<Keys>>,
    ages: Arc<Mutex<Ages>>,
    figures: Arc<Figures>,
}

impl Tracks {
    fn new(keys: Arc<Mutex<Keys>>) -> Self {
        Self {
            keys,
            ages: Arc::default(),
            figures: Arc::default(),
        }
    }
}

impl Journal {
    /// The journal's name: the split that reads it.
    pub fn id(&self) -> &Ident {
        &self.0.id
    }

    /// Makes records durable, all of them or (on an error) none that a receipt names. They are consecutive, and a crash
    /// leaves all of them or none.
    ///
    /// Errors: `Unavailable` `journal_backlog` when the pipeline is too far behind, `journal_busy` when the disk is,
    /// `disk_full` and `journal_failed` when it fails; the caller may retry. Of a journal in the storage also `Unavailable`
    /// `journal_slow` on a timeout, `Conflict` `journal_taken` when another process has taken it over; then, and after
    /// `journal_failed`, the records may still become durable.
    pub async fn append(&self, mut records: Vec<Record>) -> Result<Vec<Receipt>> {
        tie(&mut records);
        let sent = self.send(&records)?;
        // The bytes are in the queue now: a second copy would double the memory while the disk is slow.
        drop(records);
        self.answer(sent).await.map(receipts)
    }

    /// [`Self::append`], once for each idempotency key: a later caller, also a concurrent one, gets the receipts of the
    /// first. A caller that disconnects half-way changes nothing. Of several records only the first receipt of a duplicate
    /// is the old one; the others are offsets after it.
    ///
    /// Errors: besides those of `append`, `Data` `key_reused` when the key was used with other bodies, `Unavailable`
    /// `keys_full` when no more keys can be remembered.
    pub async fn append_once(&self, mut records: Vec<Record>, key: &str) -> Result<Vec<Receipt>> {
        let bodies = records.iter().map(|record| &record.body[..]);
        let key = Key::of(key);
        let print = keys::fingerprint(bodies);
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
                // It is closed when the other push is durable or has failed: check again.
                Reservation::UnderWay(mut other) => {
                    let settled = async { while other.changed().await.is_ok() {} };
                    self.in_time(settled).await?;
                }
                Reservation::Mine => {
                    // Once it is sent the writer settles the key, whether or not the caller still waits.
                    let sent = self.send(&records).inspect_err(|_| {
                        self.keys().settle(key, None, self.0.clock.now());
                    })?;
                    drop(records);
                    return self.answer(sent).await.map(receipts);
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
            sent_at: self.0.clock.monotonic(),
            reply,
            _room: room.map_err(|_| busy())?,
        };
        let sent = self.0.appends.try_send(append);
        sent.map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => busy(),
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        Ok(answer)
    }

    async fn answer(&self, sent: Answer) -> Result<Vec<u64>> {
        self.in_time(sent)
            .await?
            .map_err(|_| Error::unavailable("journal_failed", "the journal's writer has stopped"))?
    }

    /// A remote storage may take long to answer: callers get an error before their own timeout.
    async fn in_time<T>(&self, wait: impl Future<Output = T>) -> Result<T> {
        match &self.0.files {
            Files::Disk { .. } => Ok(wait.await),
            Files::Storage(_) => tokio::select! {
                done = wait => Ok(done),
                () = self.0.clock.sleep(storage::ANSWER_TIME_MAX) => Err(storage::slow()),
            },
        }
    }

    /// Whether its writer is gone: nothing can be appended any more.
    pub fn is_closed(&self) -> bool {
        self.0.appends.is_closed()
    }

    /// Bytes that are durable and not committed.
    pub fn backlog(&self) -> u64 {
        self.durable().saturating_sub(*self.0.released.borrow())
    }

    /// The first offset at or after `offset` that may hold a pushed record: the journal's own records are skipped.
    pub fn after_own(&self, offset: u64) -> u64 {
        match &self.0.files {
            Files::Disk { own, .. } if own.contains(&offset) => own.end,
            Files::Disk { .. } => offset,
            Files::Storage(objects) => objects.after_stamps(offset),
        }
    }

    /// Everything before this offset is durable.
    pub fn durable(&self) -> u64 {
        *self.0.durable.borrow()
    }

    /// The first offset that the journal still has.
    pub fn first(&self) -> Result<u64> {
        match &self.0.files {
            Files::Disk { folder, .. } => {
                let segments = folder.segments()?;
                Ok(segments.first().map_or(0, |segment| segment.base))
            }
            Files::Storage(objects) => Ok(objects.first()),
        }
    }

    /// A reader from `offset` on.
    ///
    /// Errors: `Data` `journal_lost` when the journal no longer has, or never had, that offset.
    pub fn tail(&self, offset: u64) -> Result<Tail> {
        let first = *self.0.released.borrow();
        let end = self.durable();
        let has = match &self.0.files {
            Files::Disk { folder, .. } => offset >= first || folder.has(offset)?,
            Files::Storage(objects) => offset >= objects.first(),
        };
        if offset > end || !has {
            return Err(lost(&self.0.files, offset, first, end));
        }
        let durable = self.0.durable.clone();
        Ok(match &self.0.files {
            Files::Disk { folder, .. } => Tail::of_folder(folder.clone(), durable, offset),
            Files::Storage(objects) => Tail::of_objects(objects.clone(), durable, offset),
        })
    }

    /// Marks everything before `offset` as committed: whole segments before it are deleted.
    pub async fn release(&self, offset: u64) -> Result<()> {
        let next = self.after_own(offset);
        self.0.released.send_if_modified(|released| {
            let forward = next > *released;
            *released = next.max(*released);
            forward
        });
        lock_of(&self.0.tracks.ages).release(next);
        let keep = self.keys().keep();
        let now = self.0.clock.now();
        match &self.0.files {
            Files::Storage(objects) => objects.release(next, keep, now).await,
            // The segment of the position stays, also when only the journal's own records follow in it.
            Files::Disk { folder, bases, .. } => {
                let folder = folder.clone();
                let bases = bases.clone();
                let passed: Vec<u64> = {
                    let bases = lock_of(&bases);
                    let pairs = bases.windows(2).filter(|pair| pair[1] <= offset);
                    pairs.map(|pair| pair[0]).collect()
                };
                if passed.is_empty() {
                    return Ok(());
                }
                let delete = move || {
                    folder.delete(&passed)?;
                    lock_of(&bases).retain(|base| !passed.contains(base));
                    gap::forget_gaps(&folder.path, offset)?;
                    folder.delete_keys(offset, keep, now)
                };
                blocking(delete).await
            }
        }
    }

    /// As [`Self::release`], by a reader that resumes at `offset` after a restart: from here on the age of the backlog is
    /// exact.
    pub async fn resume(&self, offset: u64) -> Result<()> {
        self.release(offset).await?;
        let oldest = match &self.0.files {
            Files::Disk { folder, .. } => {
                let folder = folder.clone();
                blocking(move || folder.time_of(offset)).await?
            }
            Files::Storage(objects) => objects.time_of(offset).await?,
        };
        if let Some(at) = oldest {
            lock_of(&self.0.tracks.ages).correct(at);
        }
        Ok(())
    }

    /// How long the oldest record that is not committed has been waiting.
    pub fn lag(&self, now: Timestamp) -> Duration {
        let oldest = lock_of(&self.0.tracks.ages).oldest();
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }

    /// Bytes of acknowledged records that are missing, until the loss is accepted. Reads the folder.
    pub fn lost_bytes(&self) -> u64 {
        let Files::Disk { folder, .. } = &self.0.files else {
            return 0;
        };
        let gaps = gap::list_gaps(&folder.path).unwrap_or_default().into_iter();
        let lost = gaps.filter(|gap| gap.is_lost);
        lost.map(|gap| gap.end - gap.start).sum()
    }

    /// Counters of the writer since the journal was opened.
    pub fn figures(&self) -> &Figures {
        &self.0.tracks.figures
    }

    fn set_limits(&self, limits: Limits) {
        self.0
            .backlog_bytes
            .store(limits.backlog_bytes, Ordering::Relaxed);
        self.keys().set_keep(limits.keep_keys);
        if let Files::Storage(objects) = &self.0.files {
            objects.set_linger(limits.linger);
        }
    }

    pub fn place(&self) -> Place {
        match self.0.files {
            Files::Disk { .. } => Place::Disk,
            Files::Storage(_) => Place::Storage,
        }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        lock_of(&self.0.tracks.keys)
    }
}

fn lock_of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// Keeps slow disk calls off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::bug("journal_task", "work on the journal panicked").with_source(error)
    })?
}

/// Stores the number of records in the first of an atomic group.
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

fn closed() -> Error {
    Error::unavailable("journal_closed", "the journal has been closed")
        .with_hint("retry the push: it goes to another journal")
}

fn busy() -> Error {
    Error::unavailable(
        "journal_busy",
        "too many pushes are waiting to become durable",
    )
    .with_hint("retry the push in a moment")
}

fn backlog(waiting: u64) -> Error {
    let what = format!("the journal's backlog is full: {waiting} bytes are not committed yet");
    Error::unavailable("journal_backlog", what)
        .with_hint("retry the push later; check the pipeline's last run with `forebay runs ls`")
}

fn lost(files: &Files, offset: u64, first: u64, end: u64) -> Error {
    let what = format!(
        "the pipeline's position is {offset}, but the journal holds offsets {first} to {end}"
    );
    let place = match files {
        Files::Disk { folder, .. } => folder.path.display().to_string(),
        Files::Storage(objects) => objects.folder().to_string(),
    };
    Error::data("journal_lost", what)
        .with_context("journal", place)
        .with_hint("restore the journal's folder, or start the pipeline on a new journal")
}
