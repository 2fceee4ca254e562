//! Opening a journal on the local disk.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use forebay_core::{Clock, Error, Ident, Result};
use tokio::sync::{Semaphore, mpsc, watch};

use super::append::Append;
use super::keys::Keys;
use super::segment::{Folder, Segment};
use super::writer::{Parts, Writer};
use super::{Files, Journal, Limits, QUEUE_BYTES_MAX, QUEUE_MAX, Shared, Tracks, lock_of};

/// The ends of a writer: where appends come out, and where it says what is durable.
pub(super) struct Ends {
    pub(super) queue: mpsc::Receiver<Append>,
    pub(super) durable: watch::Sender<u64>,
}

impl Journal {
    /// Opens the journal in `folder`, making it when it is not there. A torn end of the newest segment, which nobody
    /// was told of, is cut off.
    ///
    /// Errors: `Conflict` `journal_open` when another process has it open; `Data` `journal_corrupt` when bytes that had
    /// been acknowledged are damaged: nothing is cut then. `Unavailable` when the disk fails.
    pub fn open(folder: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Result<Self> {
        let keys = Arc::new(Mutex::new(Keys::new(limits.keep_keys)));
        Self::open_with(folder, limits, clock, keys)
    }

    /// The same, with the keys of other journals.
    pub(super) fn open_with(
        folder: &Path,
        limits: Limits,
        clock: Arc<dyn Clock>,
        keys: Arc<Mutex<Keys>>,
    ) -> Result<Self> {
        let folder = Folder::open(folder)?;
        let lock = folder.lock()?;
        let id = folder.id(clock.as_ref())?;
        let mut segments = folder.segments()?;
        let last = match segments.pop() {
            Some(newest) => newest,
            None => Segment { base: 0, end: 0 },
        };
        let now = clock.now();
        folder.load_keys(&segments, &mut lock_of(&keys), now)?;
        let recovered = folder.recover(last.base)?;
        for keyed in &recovered.keyed {
            lock_of(&keys).remember(keyed.key, keyed.seen, now);
        }
        let tracks = Tracks::new(keys);
        let first = segments.first().map_or(last.base, |segment| segment.base);
        if let Some(at) = folder.time_of(first)? {
            lock_of(&tracks.ages).note(recovered.end, at);
        }
        let bases = segments.iter().map(|segment| segment.base);
        let bases = Arc::new(Mutex::new(bases.chain([last.base]).collect()));
        let files = Files::Disk {
            folder: folder.clone(),
            bases: bases.clone(),
        };
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
            lock,
        };
        let writer = Writer::open(parts, last.base, recovered)?;
        spawn(move || writer.run(ends.queue))?;
        Ok(journal)
    }

    /// A journal that holds `range`, and what its writer needs.
    pub(super) fn new(
        (id, files): (Ident, Files),
        range: std::ops::Range<u64>,
        limits: Limits,
        clock: Arc<dyn Clock>,
        tracks: Tracks,
    ) -> (Self, Ends) {
        let (appends, queue) = mpsc::channel(QUEUE_MAX);
        let (told, durable) = watch::channel(range.end);
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
        let durable = told;
        (journal, Ends { queue, durable })
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name("journal".to_owned());
    thread.spawn(work).map(drop).map_err(|error| {
        Error::unavailable("no_thread", "failed to start the journal's writer").with_source(error)
    })
}
