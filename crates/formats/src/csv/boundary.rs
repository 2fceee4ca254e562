//! Where the records of a CSV text end, for a source that cuts a growing file.
//!
//! The splitter that reads the records decides, so that both always agree: also on stray quotes, skipped lines and lone
//! carriage returns.

use super::dialect::Dialect;
use super::split::{Field, Scan, Splitter};
use crate::framing::FileHeading;

const BOM: &[u8] = "\u{feff}".as_bytes();

/// A record, or a piece that is refused as none, without its line end. In bytes from the beginning of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub start: u64,
    pub end: u64,
    pub is_refused: bool,
}

/// Finds the records of a text that is pushed.
#[derive(Debug)]
pub struct RecordScan {
    splitter: Splitter,
    /// How the text begins, until that is clear.
    opening: Option<FileHeading>,
    /// The part of the text that is still needed, and the bytes before it.
    room: Vec<u8>,
    before: u64,
    fields: Vec<Field>,
    complete: u64,
}

impl RecordScan {
    /// From the beginning of a file.
    pub fn of_file(dialect: Dialect, heading: FileHeading) -> Self {
        Self {
            opening: Some(heading),
            ..Self::of_records(dialect, 0)
        }
    }

    /// From the beginning of a record, which is this many bytes after the beginning of the file.
    pub fn of_records(dialect: Dialect, offset: u64) -> Self {
        Self {
            splitter: Splitter::new(dialect, 0, 0),
            opening: None,
            room: Vec::new(),
            before: offset,
            fields: Vec::new(),
            complete: offset,
        }
    }

    /// Adds bytes; [`Self::next`] finds the records in them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room.extend_from_slice(bytes);
    }

    /// Adds bytes and passes over the records in them.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.push(bytes);
        while self.next(false).is_some() {}
    }

    /// The next record; `None` when more bytes are needed. `last`: none follow.
    pub fn next(&mut self, last: bool) -> Option<Piece> {
        if !self.opens(last) {
            return None;
        }
        let scan = self.splitter.next(&self.room, &mut self.fields, last);
        self.fields.truncate(self.splitter.first_field());
        let (start, end, is_refused) = match scan {
            Scan::Record { start, end, .. } => (start, end, false),
            Scan::Bad { start, end, .. } => (start, end, true),
            Scan::More => {
                self.release();
                return None;
            }
        };
        Some(Piece {
            start: self.before + start as u64,
            end: self.before + end as u64,
            is_refused,
        })
    }

    /// End of the last complete record with its line end, in bytes from the beginning of the file. Known once
    /// [`Self::next`] has returned `None`.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// Whether it is clear how the text begins: a byte order mark is no part of the first record.
    fn opens(&mut self, last: bool) -> bool {
        let Some(heading) = self.opening else {
            return true;
        };
        let is_short = self.room.len() < BOM.len() && BOM.starts_with(&self.room);
        if is_short && !last && heading.may_have_mark {
            return false;
        }
        let is_marked = heading.may_have_mark && self.room.starts_with(BOM);
        let begin = if is_marked { BOM.len() } else { 0 };
        self.splitter = Splitter::new(self.splitter.dialect(), heading.skipped_lines, begin);
        self.opening = None;
        true
    }

    /// Drops the bytes of complete records.
    fn release(&mut self) {
        let boundary = self.splitter.boundary();
        // The beginning of a comment in progress may have been dropped before: then nothing is complete since.
        if boundary > 0 {
            self.complete = self.before + boundary as u64;
        }
        let settled = self.splitter.settled_fields(self.fields.len());
        self.fields.drain(..settled);
        let keep = self.splitter.keep_from();
        self.room.drain(..keep);
        self.before += keep as u64;
        self.splitter.shift(keep);
    }

    fn is_between_records(&self) -> bool {
        self.opening.is_none() && self.splitter.is_between_records(self.room.len())
    }
}

/// Length in bytes of the skipped lines and the header in a file that begins with `start`; `None` when they do not end there.
pub fn heading_length(heading: FileHeading, start: &[u8]) -> Option<usize> {
    let Some(dialect) = heading.dialect.filter(|_| heading.is_needed()) else {
        return Some(0);
    };
    let mut scan = RecordScan::of_file(dialect, heading);
    if !heading.has_header {
        let end = start.iter().position(|byte| {
            scan.pass(&[*byte]);
            scan.is_between_records()
        })? + 1;
        let is_half = start[end - 1] == b'\r' && start.get(end) == Some(&b'\n');
        return Some(end + usize::from(is_half));
    }
    scan.push(start);
    loop {
        let piece = scan.next(false)?;
        if piece.start < piece.end {
            let end = usize::try_from(piece.end).ok()?;
            let line_end = line_end_length(&start[end..]);
            return (line_end > 0).then_some(end + line_end);
        }
    }
}

/// Length of the line end at the beginning of `text`: 0 when there is none.
pub fn line_end_length(text: &[u8]) -> usize {
    match text {
        [b'\r', b'\n', ..] => 2,
        [b'\r' | b'\n', ..] => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAS: Dialect = Dialect {
        comment: Some(b'#'),
        ..Dialect::COMMAS
    };

    const CSV: FileHeading = FileHeading {
        skipped_lines: 1,
        has_header: true,
        may_have_mark: true,
        dialect: Some(COMMAS),
    };

    #[test]
    fn a_heading_ends_where_the_header_does() {
        for (text, length) in [
            ("title\na,b\n1,2\n", Some(10)),
            ("title\r\na,b\r\n1,2\n", Some(12)),
            ("title\ra,b\r1,2\n", Some(10)),
            ("\"title\na,b\n1,2\n", Some(11)),
            ("\u{feff}title\n\"a\nb\"\n1\n", Some(15)),
            ("title\n\n# note \"\n\"a\nx\",b\n1,2\n", Some(24)),
            ("title\na,b", None),
            ("title", None),
        ] {
            assert_eq!(heading_length(CSV, text.as_bytes()), length, "{text:?}");
        }
        let skips = FileHeading {
            has_header: false,
            ..CSV
        };
        assert_eq!(heading_length(skips, b"\"title\r\n1,2\n"), Some(8));
        assert_eq!(heading_length(skips, b"title"), None);
        assert_eq!(heading_length(FileHeading::default(), b"{}\n"), Some(0));
    }

    #[test]
    fn complete_records_end_where_the_reader_ends_them() {
        for (text, complete) in [
            ("1,2\n3,4", 4),
            ("1,\"a\n", 0),
            ("1,\"a\"\"\n\"\n2", 9),
            ("5\" pipe\n2", 8),
            ("1\n# a \"\n", 8),
            ("1\n# a", 2),
            ("1\r2\r3", 4),
            // The second quote shows that the first was a stray one.
            ("1,\"a\n2\n3,\"b\"\n4", 13),
        ] {
            for piece in 1..4 {
                let mut scan = RecordScan::of_records(COMMAS, 0);
                text.as_bytes().chunks(piece).for_each(|c| scan.pass(c));
                assert_eq!(scan.complete(), complete, "{text:?} by {piece}");
            }
        }
    }
}
