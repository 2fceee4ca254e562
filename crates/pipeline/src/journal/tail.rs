//! Reading a journal while it grows: never past what is durable.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use forebay_core::Result;
use tokio::sync::watch;

use super::frame::{self, Head, Parsed};
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
        }
    }

    /// Where the next record to read begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Records that are durable and not read yet, some at a time; none when there are none now.
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
                let (folder, taken) = (folder.clone(), scan.take());
                let work = move || read(&folder, taken, offset, durable);
                let (records, read) = blocking(work).await?;
                self.offset = read.offset;
                *scan = Some(read);
                Ok(records)
            }
            // Objects without a record of anybody's are passed over.
            From::Objects(objects) => loop {
                let (records, end) = objects.read_on(self.offset, durable, BYTES_MAX).await?;
                self.offset = end;
                if !records.is_empty() || end >= durable {
                    return Ok(records);
                }
            },
        }
    }

    /// Waits until there is more; the error says that the journal is closed.
    pub async fn grown(&mut self) -> Result<()> {
        let offset = self.offset;
        let grown = self.durable.wait_for(|durable| *durable > offset).await;
        grown.map(drop).map_err(|_| closed())
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
            Found::Record(offset, parsed) => {
                bytes += parsed.bytes;
                records.extend(pushed(offset, parsed)?);
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

/// What a record holds; `None` when it is only the journal's own.
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

/// The segment that holds `offset`, there.
fn open(folder: &Folder, offset: u64) -> Result<Scan> {
    let segments = folder.segments()?;
    let holds = segments.iter().rev().find(|segment| segment.base <= offset);
    let base = holds.map_or(offset, |segment| segment.base);
    let path = folder.file(base);
    let file = File::open(&path).map_err(|error| failed(error, &path))?;
    Ok(Scan::new(file, base, offset))
}
