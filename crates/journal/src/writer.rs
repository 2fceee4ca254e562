//! The one thread that writes a journal: waiting records are written and flushed together, then acknowledged.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, Result, Timestamp};
use parking_lot::Mutex;
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

/// An idle journal records its durable offset after this long, so that later damage shows.
const IDLE: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    folder: Folder,
    segment_bytes: u64,
    clock: Arc<dyn Clock>,
    keys: Arc<Mutex<Keys>>,
    ages: Arc<Mutex<Ages>>,
    /// Start offset of each segment, oldest first.
    bases: Arc<Mutex<Vec<u64>>>,
    figures: Arc<Figures>,
    durable: watch::Sender<u64>,
    mark: MarkFile,
    /// Held until the last byte is written, which may be after the last handle is gone.
    _lock: File,
    file: File,
    base: u64,
    /// Offset of the next record.
    end: u64,
    /// Keys of the segment.
    keyed: Vec<Keyed>,
    /// Where the callers run.
    callers: Option<Handle>,
    /// Frames on their way to the file.
    gathered: Vec<u8>,
    /// Whether a write or flush failed: the content of the file after `end` is unknown, so nothing may be appended there.
    spoiled: bool,
    /// Whether the last records were refused.
    refuses: bool,
}

/// The parts of a writer.
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
        // Readers see the recovered records, so they must stay.
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

    /// Writes the waiting records, up to a bound, flushes once, and answers the callers.
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
                    tracing::info!(journal = %self.folder.path.display(), "the journal is writable again");
                }
                self.taken(appends, offsets);
            }
            Err(error) => self.refuse(appends, &error),
        }
    }

    fn write(&mut self, appends: &mut VecDeque<Append>, offsets: &mut Vec<Vec<u64>>) -> Result<()> {
        let durable = *self.durable.borrow();
        let at = self.clock.now();
        // Target of the gathered bytes, and the end of the file with them.
        let mut from = self.end;
        let mut end = self.end;
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
        // A record must not become visible before its age.
        self.note(end, at);
        // Before any answer: the mark never has less than the acknowledged records.
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
        let mut ages = self.ages.lock();
        ages.note(end, at);
    }

    fn taken(&mut self, appends: VecDeque<Append>, offsets: Vec<Vec<u64>>) {
        let keyed = append::keyed(&appends, &offsets);
        append::settle(&keyed, &self.keys, self.clock.now());
        self.keyed.extend(keyed);
        append::answer(appends, offsets, self.callers.as_ref());
    }

    /// Fails the callers, and cuts off the bytes that reached the file, so that it stays correct.
    fn refuse(&mut self, appends: VecDeque<Append>, error: &Error) {
        self.figures.failed();
        // A full disk refuses every push until there is space again: log it once.
        let is_new = !std::mem::replace(&mut self.refuses, true);
        let count = appends.len();
        match is_new {
            true => tracing::error!(%error, refused = count, "failed to write the journal"),
            false => tracing::debug!(%error, refused = count, "failed to write the journal"),
        }
        if self.spoiled
            && let Err(error) = self.repair()
        {
            match is_new {
                true => {
                    tracing::error!(%error, "failed to truncate the journal as well, retrying");
                }
                false => tracing::debug!(%error, "failed to truncate the journal as well"),
            }
        }
        append::free(&appends, &self.keys, self.clock.now());
        append::refuse(appends, || refused(error));
    }

    /// Makes sure that the segment accepts more records.
    fn ready(&mut self) -> Result<()> {
        if self.spoiled {
            self.repair()?;
        }
        if self.end - self.base >= self.segment_bytes {
            self.next_segment()?;
        }
        Ok(())
    }

    /// After a failed flush the system may have dropped pages and marked them clean: the durable part is kept, the rest cut
    /// off, and the file is reopened. The rest may start with a record of [`Self::vouch`], which no flush has covered.
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
        // Nothing may follow the last record of a full segment, and bytes that cannot be cut off now do not become durable
        // by a second try with the same file.
        self.repair()?;
        self.folder.save_keys(self.base, &self.keyed)?;
        self.mark.sync();
        self.file = self.folder.writable(self.end)?;
        self.base = self.end;
        self.keyed.clear();
        let mut bases = self.bases.lock();
        bases.push(self.base);
        Ok(())
    }

    /// Records the durable offset in an empty record, which need not be durable itself.
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

/// The error for callers, without the journal's location.
fn refused(error: &Error) -> Error {
    let refused = Error::unavailable(error.code(), error.message());
    match error.hint() {
        Some(hint) => refused.with_hint(hint),
        None => refused,
    }
}
