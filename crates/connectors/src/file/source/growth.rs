//! Where the part of a grown file begins that was not loaded yet.
//!
//! The reader's own scan of the records decides. What was loaded is what it finds in the loaded bytes alone, where their
//! end closes an open record or shows a stray quote; what is right is what it finds in the file as it is now. The part to
//! load begins where the two first differ: so no record is loaded twice that is the same in both, and none is left out.

use forebay_core::Result;
use forebay_formats::csv::{Dialect, Piece, RecordScan, line_end_length};
use forebay_formats::framing::FileHeading;

use super::folder::OpenFile;
use super::read::CHUNK_BYTES;

/// How far back to search for the start of an incomplete line.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one step back.
const STEP_BYTES: u64 = 64 << 10;

/// The part of a grown file to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Where it begins, in bytes.
    pub(super) start: u64,
    /// Whether it begins with a record of which a part was loaded as a record.
    pub(super) is_repeated: bool,
}

/// The rest of a file of `size` bytes of which the first `taken` were loaded.
pub(super) async fn rest(
    heading: FileHeading,
    file: &mut dyn OpenFile,
    taken: u64,
    size: u64,
) -> Result<Rest> {
    match heading.dialect {
        Some(dialect) => rest_of_records(dialect, heading, file, taken, size).await,
        None => rest_of_lines(file, taken).await,
    }
}

async fn rest_of_records(
    dialect: Dialect,
    heading: FileHeading,
    file: &mut dyn OpenFile,
    taken: u64,
    size: u64,
) -> Result<Rest> {
    let complete = complete_records(RecordScan::of_file(dialect, heading), file, taken).await?;
    if complete == taken {
        let start = taken + second_half(file, taken).await?;
        let is_repeated = false;
        return Ok(Rest { start, is_repeated });
    }
    // The heading itself is incomplete or behind.
    let at_heading = heading.is_needed() && complete == 0;
    let begin = |offset| match at_heading {
        true => RecordScan::of_file(dialect, heading),
        false => RecordScan::of_records(dialect, offset),
    };
    let mut loaded = Pieces::new(begin(complete), complete, taken);
    let mut whole = Pieces::new(begin(complete), complete, size);
    let mut agreed = None;
    while let Some(piece) = loaded.next(file).await? {
        if whole.next(file).await? != Some(piece) {
            let start = start_after(agreed, complete, file).await?;
            let is_repeated = true;
            return Ok(Rest { start, is_repeated });
        }
        agreed = Some(piece);
    }
    let start = start_after(agreed, complete, file).await?;
    let is_repeated = false;
    Ok(Rest { start, is_repeated })
}

/// Where the line after the last record that was loaded as it is begins.
async fn start_after(agreed: Option<Piece>, complete: u64, file: &mut dyn OpenFile) -> Result<u64> {
    let Some(piece) = agreed else {
        return Ok(complete);
    };
    let mut next = Vec::new();
    file.read(piece.end, 2, &mut next).await?;
    Ok(piece.end + line_end_length(&next) as u64)
}

/// 1 when the loaded bytes end between the two bytes of a line end.
async fn second_half(file: &mut dyn OpenFile, taken: u64) -> Result<u64> {
    let mut around = Vec::new();
    file.read(taken.saturating_sub(1), 2, &mut around).await?;
    Ok(u64::from(around == b"\r\n"))
}

/// End of the last complete record in the first `end` bytes of a file.
async fn complete_records(mut scan: RecordScan, file: &mut dyn OpenFile, end: u64) -> Result<u64> {
    let mut at = 0;
    let mut room = Vec::new();
    while read_on(file, &mut at, end, &mut room).await? {
        scan.pass(&room);
    }
    Ok(scan.complete())
}

/// Reads the next bytes before `end`; `false` when there are none.
async fn read_on(
    file: &mut dyn OpenFile,
    at: &mut u64,
    end: u64,
    room: &mut Vec<u8>,
) -> Result<bool> {
    let left = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX);
    room.clear();
    *at += file.read(*at, left.min(CHUNK_BYTES), room).await? as u64;
    Ok(!room.is_empty())
}

/// The records between two places of a file.
struct Pieces {
    scan: RecordScan,
    at: u64,
    end: u64,
    room: Vec<u8>,
    is_read: bool,
}

impl Pieces {
    fn new(scan: RecordScan, at: u64, end: u64) -> Self {
        Self {
            scan,
            at,
            end,
            room: Vec::new(),
            is_read: false,
        }
    }

    /// The next record; the end of the bytes ends the last one.
    async fn next(&mut self, file: &mut dyn OpenFile) -> Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.scan.next(self.is_read) {
                return Ok(Some(piece));
            }
            if self.is_read {
                return Ok(None);
            }
            self.is_read = !read_on(file, &mut self.at, self.end, &mut self.room).await?;
            self.scan.push(&self.room);
        }
    }
}

/// The rest of a file of lines without quotes.
async fn rest_of_lines(file: &mut dyn OpenFile, taken: u64) -> Result<Rest> {
    let complete = line_start(file, taken).await?;
    let mut next = Vec::new();
    file.read(taken, 2, &mut next).await?;
    let line_end = match next.as_slice() {
        _ if complete == taken => Some(0),
        // The last record lacked only its line end.
        [b'\n', ..] => Some(1),
        b"\r\n" => Some(2),
        _ => None,
    };
    Ok(Rest {
        start: line_end.map_or(complete, |bytes| taken + bytes),
        is_repeated: line_end.is_none(),
    })
}

/// The end of the last complete line before `end`.
async fn line_start(file: &mut dyn OpenFile, end: u64) -> Result<u64> {
    let mut to = end;
    while to > 0 && end - to < LINE_BYTES_MAX {
        let from = to.saturating_sub(STEP_BYTES);
        let wanted = usize::try_from(to - from).unwrap_or(usize::MAX);
        let mut step = Vec::new();
        file.read(from, wanted, &mut step).await?;
        if let Some(at) = memchr::memrchr(b'\n', &step) {
            return Ok(from + at as u64 + 1);
        }
        to = from;
    }
    Ok(to)
}
