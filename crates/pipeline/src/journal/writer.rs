//! The one thread that writes a journal: whatever waits is written and flushed together, then everybody is told.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use forebay_core::{Clock, Error, Result, Timestamp};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};

use super::ages::Ages;
use super::append::{self, Append, BATCH_BYTES};
use super::figures::Figures;
use super::frame::vouch;
use super::keys::{Keyed, Keys};
use super::mark::MarkFile;
use super::segment::{Folder, Recovered, failed};

/// Frames up to this size are gathered in memory so that many share one write; larger ones are written from where they are.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// Bytes that are gathered before they are written.
const GATHER_BYTES: usize = 1 << 20;

/// A journal that nobody writes to for this long notes what is durable, so that later damage of it shows.
const IDLE: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    folder: Folder,
    segment_bytes: u64,
    clock: Arc<dyn Clock>,
    keys: Arc<Mutex<Keys>>,
    ages: Arc<Mutex<Ages>>,
    /// Where each segment begins, oldest first.
    bases: Arc<Mutex<Vec<u64>>>,
    figures: Arc<Figures>,
    durable: watch::Sender<u64>,
    mark: MarkFile,
    /// Held until the last byte is written, which may be after the last handle is gone.
    _lock: File,
    file: File,
    base: u64,
    /// Where the next record begins.
    end: u64,
    /// Keys of the segment.
    keyed: Vec<Keyed>,
    /// Where the callers run.
    callers: Option<Handle>,
    /// Frames on their way to the file.
    gathered: Vec<u8>,
    /// Whether a write or flush failed: what the file holds after `end` is not known, so nothing may follow it there.
    spoiled: bool,
    /// Whether the last records were refused.
    refuses: bool,
}

/// What a writer is made of.
pub(super) struct Parts {
    pub(super) folder: Folder,
    pub(super) segment_bytes: u64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keys: Arc<Mutex<Keys>>,
    pub(super) ages: Arc<Mutex<Ages>>,
    pub(super) bases: Arc<Mutex<Vec<u64>>>,
    pub(super) figures: Arc<Figures>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) mark: MarkFile,
    pub(super) lock: File,
}

impl Writer {
    pub(super) fn open(parts: Parts, base: u64, recovered: Recovered) -> Result<Self> {
        let file = parts.folder.writable(base)?;
        // What was recovered is told to readers, so it must stay.
        file.sync_all()
            .map_err(|error| failed(error, &parts.folder.file(base)))?;
        let mut mark = parts.mark;
        mark.set(recovered.end);
        mark.sync();
        Ok(Self {
            folder: parts.folder,
            segment_bytes: parts.segment_bytes,
            clock: parts.clock,
            keys: parts.keys,
            ages: parts.ages,
            bases: parts.bases,
            figures: parts.figures,
            durable: parts.durable,
            mark,
            _lock: parts.lock,
            file,
            base,
            end: recovered.end,
            keyed: recovered.keyed,
            callers: Handle::try_current().ok(),
            gathered: Vec::new(),
            spoiled: false,
            refuses: false,
        })
    }

    /// Works until every sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Append>) {
        let runtime = Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else {
            tracing::error!(journal = %self.folder.path.display(), "failed to start the journal's writer");
            return;
        };
        let mut vouched = self.end;
        loop {
            let idle = self.end != vouched;
            let next = runtime.block_on(async {
                if idle {
                    tokio::time::timeout(IDLE, queue.recv()).await.ok()
                } else {
                    Some(queue.recv().await)
                }
            });
            match next {
                Some(Some(first)) => self.batch(first, &mut queue),
                Some(None) => return,
                None => {
                    self.vouch();
                    vouched = self.end;
                }
            }
        }
    }

    /// Writes what waits, up to a bound, flushes once, and tells everybody.
    fn batch(&mut self, first: Append, queue: &mut mpsc::Receiver<Append>) {
        let mut appends = VecDeque::from([first]);
        let mut bytes = appends[0].frames.len();
        while bytes < BATCH_BYTES
            && let Ok(append) = queue.try_recv()
        {
            bytes += append.frames.len();
            appends.push_back(append);
        }
        let mut offsets = Vec::with_capacity(appends.len());
        let outcome = self
            .ready()
            .and_then(|()| self.write(&mut appends, &mut offsets));
        match outcome {
            Ok(()) => {
                if std::mem::replace(&mut self.refuses, false) {
                    tracing::info!(journal = %self.folder.path.display(), "the journal can be written again");
                }
                self.taken(appends, offsets);
            }
            Err(error) => self.refuse(appends, &error),
        }
    }

    fn write(&mut self, appends: &mut VecDeque<Append>, offsets: &mut Vec<Vec<u64>>) -> Result<()> {
        let durable = *self.durable.borrow();
        let at = self.clock.now();
        // Where the gathered bytes go, and where the file ends with them.
        let (mut from, mut end) = (self.end, self.end);
        self.spoiled = true;
        self.gathered.clear();
        for append in appends {
            let (bytes, places) = append.frames.place(end, durable);
            offsets.push(places);
            end += bytes.len() as u64;
            if bytes.len() <= GATHERED_BYTES_MAX {
                self.gathered.extend_from_slice(bytes);
            }
            if bytes.len() > GATHERED_BYTES_MAX || self.gathered.len() >= GATHER_BYTES {
                self.put(&self.gathered, from)?;
                from += self.gathered.len() as u64;
                self.gathered.clear();
            }
            if bytes.len() > GATHERED_BYTES_MAX {
                self.put(bytes, from)?;
                from = end;
            }
        }
        self.put(&self.gathered, from)?;
        self.flush()?;
        let records = offsets.iter().map(Vec::len).sum();
        self.figures.took(records, end - self.end);
        self.spoiled = false;
        self.end = end;
        // An age must not be missing when what it is of is there.
        self.note(end, at);
        // Before anybody is answered: what was acknowledged is never more than the mark says.
        self.mark.set(end);
        self.durable.send_replace(end);
        Ok(())
    }

    fn put(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file
            .write_all_at(bytes, offset - self.base)
            .map_err(|error| failed(error, &self.folder.file(self.base)))
    }

    fn flush(&self) -> Result<()> {
        let begun = self.clock.monotonic();
        self.file
            .sync_data()
            .map_err(|error| failed(error, &self.folder.file(self.base)))?;
        let took = self.clock.monotonic().saturating_sub(begun);
        self.figures.flush.add(took);
        Ok(())
    }

    fn note(&self, end: u64, at: Timestamp) {
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        ages.note(end, at);
    }

    fn taken(&mut self, appends: VecDeque<Append>, offsets: Vec<Vec<u64>>) {
        let keyed = append::keyed(&appends, &offsets);
        append::settle(&keyed, &self.keys, self.clock.now());
        self.keyed.extend(keyed);
        append::answer(appends, offsets, self.callers.as_ref());
    }

    /// Tells callers that their records were not taken, and cuts off what reached the file, so that it stays true.
    fn refuse(&mut self, appends: VecDeque<Append>, error: &Error) {
        self.figures.failed();
        // A full disk refuses every push until there is room again: one line says so.
        let is_new = !std::mem::replace(&mut self.refuses, true);
        let count = appends.len();
        match is_new {
            true => tracing::error!(%error, refused = count, "the journal could not be written"),
            false => tracing::debug!(%error, refused = count, "the journal could not be written"),
        }
        if self.spoiled
            && let Err(error) = self.repair()
        {
            match is_new {
                true => {
                    tracing::error!(%error, "the journal could not be cut back either; it is tried again");
                }
                false => tracing::debug!(%error, "the journal could not be cut back either"),
            }
        }
        append::free(&appends, &self.keys, self.clock.now());
        append::refuse(appends, || refused(error));
    }

    /// Makes sure that the segment can take more.
    fn ready(&mut self) -> Result<()> {
        if self.spoiled {
            self.repair()?;
        }
        if self.end - self.base >= self.segment_bytes {
            self.next_segment()?;
        }
        Ok(())
    }

    /// After a failed flush the system may have dropped pages and called them clean: the durable part is kept, the rest
    /// cut off, and the file is opened anew. The rest may begin with a note of [`Self::vouch`], which no flush has covered.
    fn repair(&mut self) -> Result<()> {
        let path = self.folder.file(self.base);
        let end = *self.durable.borrow();
        let file = self.folder.writable(self.base)?;
        file.set_len(end - self.base)
            .and_then(|()| file.sync_all())
            .map_err(|error| failed(error, &path))?;
        self.file = file;
        self.end = end;
        self.spoiled = false;
        Ok(())
    }

    fn next_segment(&mut self) -> Result<()> {
        // Nothing may stand after the last record of a full segment, and what cannot be cut off now is not called durable by a second
        // try with the same file.
        self.repair()?;
        self.folder.save_keys(self.base, &self.keyed)?;
        self.mark.sync();
        self.file = self.folder.writable(self.end)?;
        self.base = self.end;
        self.keyed.clear();
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        bases.push(self.base);
        Ok(())
    }

    /// Notes what is durable in an empty record. It need not be durable itself.
    fn vouch(&mut self) {
        if self.spoiled {
            return;
        }
        let frame = vouch(self.end, *self.durable.borrow());
        if self.file.write_all_at(&frame, self.end - self.base).is_ok() {
            self.end += frame.len() as u64;
        }
    }
}

/// What each caller is told: not where the journal lies.
fn refused(error: &Error) -> Error {
    let refused = Error::unavailable(error.code(), error.message());
    match error.hint() {
        Some(hint) => refused.with_hint(hint),
        None => refused,
    }
}
