//! Opening a journal on the local disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use forebay_core::{Clock, Error, Ident, Result};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};

use super::append::Append;
use super::gap::{self, JournalGap};
use super::keys::Keys;
use super::mark::{MarkFile, StoredMark, read_mark};
use super::segment::{Folder, Recovered, Segment};
use super::writer::{Parts, Writer};
use super::{Files, Journal, Limits, QUEUE_BYTES_MAX, QUEUE_MAX, Shared, Tracks, lock_of};

/// The two ends of a writer: the queue of appends, and the channel of the durable offset.
pub(super) struct Ends {
    pub(super) queue: mpsc::Receiver<Append>,
    pub(super) durable: watch::Sender<u64>,
}

/// The location of a journal on disk.
#[derive(Debug, Clone)]
pub(super) struct DiskSite {
    pub(super) folder: PathBuf,
    /// The file with the acknowledged offset; outside the folder, so that it outlives it.
    pub(super) mark: PathBuf,
}

/// A journal that no other process can open; nothing of it has been changed.
#[derive(Debug)]
pub(super) struct LockedJournal {
    folder: Folder,
    mark: PathBuf,
    lock: File,
    pub(super) id: Ident,
    /// `None` when unknown.
    acknowledged: Option<u64>,
}

impl LockedJournal {
    /// Errors: `Conflict` `journal_open` when another process has it open, `Unavailable` when the disk fails.
    pub(super) fn lock(site: &DiskSite, clock: &dyn Clock) -> Result<Self> {
        let folder = Folder::open(&site.folder)?;
        let lock = folder.lock()?;
        let mark = read_mark(&site.mark)?;
        let id = folder.id(mark.whole().map(|mark| &mark.journal), clock)?;
        let acknowledged = mark.acknowledged(Some(&id));
        if acknowledged.is_none() && !folder.segments()?.is_empty() {
            let path = site.mark.display();
            let is_missing = mark == StoredMark::Missing;
            tracing::error!(
                journal = %id, mark = %path, is_missing,
                "the journal's mark is damaged or missing: cannot check whether acknowledged pushes are missing from its end"
            );
        }
        if let Some(other) = mark.whole().filter(|mark| mark.journal != id) {
            tracing::error!(
                journal = %id, missing = %other.journal, acknowledged = other.offset,
                "the journal's folder was replaced: the uncommitted records of journal {} are missing", other.journal
            );
        }
        Ok(Self {
            folder,
            mark: site.mark.clone(),
            lock,
            id,
            acknowledged,
        })
    }
}

impl Journal {
    /// Opens the journal in `folder`, making it when it is not there. An unacknowledged torn end of the newest segment is
    /// cut off; without a mark it may have been acknowledged, and counts as a loss. Missing acknowledged records make a
    /// gap, see `gap.rs`.
    ///
    /// Errors: `Conflict` `journal_open` when another process has it open; `Data` `journal_corrupt` when bytes that had
    /// been acknowledged are damaged: nothing is cut then. `Unavailable` when the disk fails.
    pub fn open(folder: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Result<Self> {
        let keys = Arc::new(Mutex::new(Keys::new(limits.keep_keys)));
        let site = DiskSite {
            folder: folder.to_owned(),
            mark: folder.join("mark"),
        };
        let locked = LockedJournal::lock(&site, clock.as_ref())?;
        Self::open_locked(locked, 0, limits, clock, keys)
    }

    /// The same, with the keys of other journals. Everything before `committed` has been committed by some branch: no new
    /// record gets an offset there.
    pub(super) fn open_locked(
        locked: LockedJournal,
        committed: u64,
        limits: Limits,
        clock: Arc<dyn Clock>,
        keys: Arc<Mutex<Keys>>,
    ) -> Result<Self> {
        let LockedJournal {
            folder,
            mark,
            lock,
            id,
            acknowledged,
        } = locked;
        let mut floor = acknowledged.unwrap_or(0).max(committed);
        let mut segments = folder.segments()?;
        let last = match segments.pop() {
            Some(newest) => newest,
            None => Segment {
                base: floor,
                end: floor,
            },
        };
        let now = clock.now();
        folder.load_keys(&segments, &mut lock_of(&keys), now)?;
        let was_missing = !folder.file(last.base).exists();
        let mut recovered = folder.recover(last.base, acknowledged)?;
        let acknowledged = acknowledged.unwrap_or(recovered.torn_end);
        floor = floor.max(acknowledged);
        for keyed in &recovered.keyed {
            lock_of(&keys).remember(keyed.key, keyed.seen, now);
        }
        let tracks = Tracks::new(keys);
        let first = segments.first().map_or(last.base, |segment| segment.base);
        let mut bases: Vec<u64> = segments.iter().map(|segment| segment.base).collect();
        bases.push(last.base);
        let held = if was_missing { 0 } else { recovered.end };
        let found = EndOfJournal {
            held,
            committed,
            acknowledged,
        };
        let mut base = last.base;
        if found.held < floor {
            found.record_gaps(&folder, &id)?;
            if recovered.end < floor {
                // The keys of the old segment are in its records.
                base = floor;
                bases.push(base);
                recovered = Recovered {
                    end: base,
                    pushed_end: base,
                    torn_end: base,
                    keyed: Vec::new(),
                };
            }
        }
        note_ages(&folder, &bases, &recovered, &tracks)?;
        let bases = Arc::new(Mutex::new(bases));
        let files = Files::Disk {
            folder: folder.clone(),
            bases: bases.clone(),
            own: recovered.pushed_end..recovered.end,
        };
        let mark = MarkFile::open(&mark, &id)?;
        let (journal, ends) = Self::new(
            (id, files),
            first..recovered.end,
            limits,
            clock.clone(),
            tracks.clone(),
        );
        let parts = Parts {
            folder,
            segment_bytes: limits.segment_bytes,
            clock,
            keys: tracks.keys,
            ages: tracks.ages,
            bases,
            figures: tracks.figures,
            durable: ends.durable,
            mark,
            lock,
        };
        let writer = Writer::open(parts, base, recovered)?;
        spawn(move || writer.run(ends.queue))?;
        Ok(journal)
    }

    /// A journal that holds `range`, and the channel ends for its writer.
    pub(super) fn new(
        (id, files): (Ident, Files),
        range: std::ops::Range<u64>,
        limits: Limits,
        clock: Arc<dyn Clock>,
        tracks: Tracks,
    ) -> (Self, Ends) {
        let (appends, queue) = mpsc::channel(QUEUE_MAX);
        let (sender, durable) = watch::channel(range.end);
        let (released, _) = watch::channel(range.start);
        let journal = Self(Arc::new(Shared {
            id,
            files,
            backlog_bytes: AtomicU64::new(limits.backlog_bytes),
            clock,
            appends,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            durable,
            released,
            tracks,
        }));
        let durable = sender;
        (journal, Ends { queue, durable })
    }
}

/// Notes the receive time of the first push of each segment: the backlog gets younger segment by segment.
fn note_ages(folder: &Folder, bases: &[u64], recovered: &Recovered, tracks: &Tracks) -> Result<()> {
    let ends = bases.iter().skip(1).copied().chain([recovered.end]);
    for (base, end) in bases.iter().zip(ends) {
        if folder.file(*base).exists()
            && let Some(at) = folder.first_time(*base, *base)?
        {
            lock_of(&tracks.ages).note(end, at);
        }
    }
    Ok(())
}

/// A journal that ends before its acknowledged or committed offset.
struct EndOfJournal {
    /// End of its records.
    held: u64,
    committed: u64,
    acknowledged: u64,
}

impl EndOfJournal {
    /// Records and logs the missing ranges.
    fn record_gaps(&self, folder: &Folder, id: &Ident) -> Result<()> {
        let passed = JournalGap {
            start: self.held,
            end: self.committed,
            is_lost: false,
        };
        let lost = JournalGap {
            start: self.held.max(self.committed),
            end: self.acknowledged,
            is_lost: true,
        };
        gap::record_gap(&folder.path, passed)?;
        gap::record_gap(&folder.path, lost)?;
        let journal = id.as_str();
        let path = folder.path.display();
        if passed.start < passed.end {
            tracing::error!(
                journal, folder = %path, end = self.held, committed = self.committed,
                "the journal ends before the committed position: it is older than the catalog, new pushes start after that position"
            );
        }
        if lost.start < lost.end {
            tracing::error!(
                journal, folder = %path, from = lost.start, to = lost.end,
                "acknowledged pushes are missing from the journal"
            );
        }
        Ok(())
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name("journal".to_owned());
    thread.spawn(work).map(drop).map_err(|error| {
        Error::unavailable("no_thread", "failed to start the journal's writer").with_source(error)
    })
}
