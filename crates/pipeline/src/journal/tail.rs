//! Reading a journal while it grows: never past what is durable.

use std::fs::File;

use bytes::Bytes;
use forebay_core::{Error, Result};
use tokio::sync::watch;

use super::frame::{self, Head};
use super::scan::{Found, Scan};
use super::segment::{Folder, corrupt, failed};

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
    folder: Folder,
    durable: watch::Receiver<u64>,
    offset: u64,
    scan: Option<Scan>,
}

impl Tail {
    pub(super) fn new(folder: Folder, durable: watch::Receiver<u64>, offset: u64) -> Self {
        Self {
            folder,
            durable,
            offset,
            scan: None,
        }
    }

    /// Where the next record to read begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Records that are durable and not read yet, some at a time; none when there are none now.
    ///
    /// Errors: `Data` `journal_corrupt`, `Unavailable` when the disk fails.
    pub async fn next(&mut self) -> Result<Vec<Pushed>> {
        let durable = *self.durable.borrow_and_update();
        if self.offset >= durable {
            return Ok(Vec::new());
        }
        let (folder, offset, scan) = (self.folder.clone(), self.offset, self.scan.take());
        let work = move || read(&folder, scan, offset, durable);
        let (records, scan) = tokio::task::spawn_blocking(work).await.map_err(|error| {
            Error::bug("journal_task", "reading the journal panicked").with_source(error)
        })??;
        self.offset = scan.offset;
        self.scan = Some(scan);
        Ok(records)
    }

    /// Waits until there is more; the error says that the journal is closed.
    pub async fn grown(&mut self) -> Result<()> {
        let offset = self.offset;
        let grown = self.durable.wait_for(|durable| *durable > offset).await;
        grown
            .map(drop)
            .map_err(|_| Error::unavailable("journal_closed", "the journal has been closed"))
    }
}

fn read(
    folder: &Folder,
    scan: Option<Scan>,
    offset: u64,
    durable: u64,
) -> Result<(Vec<Pushed>, Scan)> {
    let mut scan = match scan {
        Some(scan) => scan,
        None => open(folder, offset)?,
    };
    let (mut records, mut bytes) = (Vec::new(), 0);
    while scan.offset < durable && records.len() < RECORDS_MAX && bytes < BYTES_MAX {
        scan.set_limit(durable);
        let path = folder.file(scan.base());
        match scan.next().map_err(|error| failed(error, &path))? {
            Found::Record(_, parsed) if parsed.head.is_empty() => {}
            Found::Record(offset, parsed) => {
                bytes += parsed.bytes;
                records.push(Pushed {
                    offset,
                    end: scan.offset,
                    head: frame::head(&parsed.head)?,
                    body: parsed.body,
                });
            }
            Found::End if folder.file(scan.offset).exists() && scan.base() != scan.offset => {
                scan = open(folder, scan.offset)?;
            }
            Found::End => return Err(corrupt(&path, scan.offset)),
            Found::Damaged(offset) => return Err(corrupt(&path, offset)),
        }
    }
    Ok((records, scan))
}

/// The segment that holds `offset`, there.
fn open(folder: &Folder, offset: u64) -> Result<Scan> {
    let segments = folder.segments()?;
    let holds = segments.iter().rev().find(|segment| segment.base <= offset);
    let base = holds.map_or(offset, |segment| segment.base);
    let path = folder.file(base);
    let file = File::open(&path).map_err(|error| failed(error, &path))?;
    Ok(Scan::new(file, base, offset))
}
