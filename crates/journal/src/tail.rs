//! Reads a journal while it grows: never past the durable offset.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{Error, Result};
use tokio::sync::watch;

use super::frame::{self, Head, Parsed};
use super::gap;
use super::scan::{Found, Scan};
use super::segment::{Folder, corrupt, failed};
use super::storage::Objects;
use super::{blocking, closed};

/// Records of one [`Tail::next`], and bytes of their bodies, about.
const RECORDS_MAX: usize = 4096;
const BYTES_MAX: usize = 4 << 20;

/// A record and its place.
#[derive(Debug)]
pub struct Pushed {
    pub offset: u64,
    /// Where the next record begins: the position after this one.
    pub end: u64,
    pub head: Head,
    pub body: Bytes,
}

/// A reader of a journal.
#[derive(Debug)]
pub struct Tail {
    from: From,
    durable: watch::Receiver<u64>,
    offset: u64,
    /// A record has been read; the records after a lost range are left to another reader.
    has_read: bool,
    is_at_gap: bool,
}

#[derive(Debug)]
enum From {
    Folder(Folder, Option<Scan>),
    Objects(Arc<Objects>),
}

impl Tail {
    pub(super) fn of_folder(folder: Folder, durable: watch::Receiver<u64>, offset: u64) -> Self {
        Self {
            from: From::Folder(folder, None),
            durable,
            offset,
            has_read: false,
            is_at_gap: false,
        }
    }

    pub(super) fn of_objects(
        objects: Arc<Objects>,
        durable: watch::Receiver<u64>,
        offset: u64,
    ) -> Self {
        Self {
            from: From::Objects(objects),
            durable,
            offset,
            has_read: false,
            is_at_gap: false,
        }
    }

    /// Where the next record to read begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the next records had been acknowledged and are missing. The records read before them can be committed; a
    /// reader that starts here gets the error.
    pub fn is_at_gap(&self) -> bool {
        self.is_at_gap
    }

    /// Records that are durable and not read yet, some at a time; none when there are none now, or when the next ones are
    /// missing ([`Self::is_at_gap`]).
    ///
    /// Errors: `Data` `journal_corrupt` and `journal_lost`, `Unavailable` when the disk or the storage fails.
    pub async fn next(&mut self) -> Result<Vec<Pushed>> {
        let durable = *self.durable.borrow_and_update();
        if self.offset >= durable {
            return Ok(Vec::new());
        }
        let offset = self.offset;
        match &mut self.from {
            From::Folder(folder, scan) => {
                let folder = folder.clone();
                let taken = scan.take();
                let work = move || read(&folder, taken, offset, durable);
                match blocking(work).await? {
                    Stretch::Records(records, read) => {
                        self.offset = read.offset;
                        *scan = Some(read);
                        self.has_read = true;
                        Ok(records)
                    }
                    Stretch::Missing(_) if self.has_read => {
                        self.is_at_gap = true;
                        Ok(Vec::new())
                    }
                    Stretch::Missing(error) => Err(error),
                }
            }
            // Objects without pushed records are skipped.
            From::Objects(objects) => loop {
                let (records, end) = objects.read_on(self.offset, durable, BYTES_MAX).await?;
                self.offset = end;
                if !records.is_empty() || end >= durable {
                    return Ok(records);
                }
            },
        }
    }

    /// Waits until there is more; fails when the journal is closed.
    pub async fn grown(&mut self) -> Result<()> {
        let offset = self.offset;
        let grown = self.durable.wait_for(|durable| *durable > offset).await;
        grown.map(drop).map_err(|_| closed())
    }
}

/// The result of reading from a segment.
enum Stretch {
    Records(Vec<Pushed>, Scan),
    /// The next record had been acknowledged and is missing.
    Missing(Error),
}

fn read(folder: &Folder, scan: Option<Scan>, offset: u64, durable: u64) -> Result<Stretch> {
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut scan = match scan {
        Some(scan) => scan,
        None => match open(folder, offset)? {
            Opening::Scan(scan) => scan,
            Opening::Missing(error) => return Ok(Stretch::Missing(error)),
        },
    };
    while scan.offset < durable && records.len() < RECORDS_MAX && bytes < BYTES_MAX {
        scan.set_limit(durable);
        let path = folder.file(scan.base());
        let found = scan.next().map_err(|error| failed(error, &path))?;
        if let Found::Record(offset, parsed) = found {
            bytes += parsed.bytes;
            records.extend(pushed(offset, parsed)?);
            continue;
        }
        let is_end = matches!(found, Found::End);
        let has_next = folder.file(scan.offset).exists() && scan.base() != scan.offset;
        let is_gap = folder.gap_at(scan.offset)?.is_some();
        let may_continue = is_gap || (is_end && has_next);
        if !may_continue {
            return Err(corrupt(&path, scan.offset));
        }
        match open(folder, scan.offset)? {
            Opening::Scan(next) => scan = next,
            Opening::Missing(_) if !records.is_empty() => break,
            Opening::Missing(error) => return Ok(Stretch::Missing(error)),
        }
    }
    Ok(Stretch::Records(records, scan))
}

/// The content of a record; `None` for the journal's own.
pub(super) fn pushed(offset: u64, parsed: Parsed) -> Result<Option<Pushed>> {
    if parsed.head.is_empty() {
        return Ok(None);
    }
    Ok(Some(Pushed {
        offset,
        end: offset + parsed.bytes as u64,
        head: frame::head(&parsed.head)?,
        body: parsed.body,
    }))
}

enum Opening {
    Scan(Scan),
    Missing(Error),
}

/// The segment that holds `offset`, at that offset; past a gap around `offset`, when it may be skipped.
fn open(folder: &Folder, mut offset: u64) -> Result<Opening> {
    while let Some(found) = folder.gap_at(offset)? {
        if found.is_lost {
            return Ok(Opening::Missing(gap::lost_records(&folder.path, found)));
        }
        offset = found.end;
    }
    let segments = folder.segments()?;
    let holds = segments.iter().rev().find(|segment| segment.base <= offset);
    let base = holds.map_or(offset, |segment| segment.base);
    let path = folder.file(base);
    let file = File::open(&path).map_err(|error| failed(error, &path))?;
    Ok(Opening::Scan(Scan::new(file, base, offset)))
}
