//! Record boundaries in a file of lines, and the heading before the first record: the part of a dialect that a source needs
//! to cut a file where its extractor would. It reads no values.

/// How an extractor wants a payload cut, so that a source may offer positions inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Records are lines: a chunk may end after any `\n`.
    Lines,
    /// Only the end of the payload is a boundary.
    Whole,
    /// JSON that has lines if the payload's name, media type or first line indicates it.
    Detected,
}

/// The heading before the records of a file of lines, and the quoting that may hide a line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileHeading {
    /// Lines that are skipped.
    pub skipped_lines: u64,
    /// Whether a record with the names of the columns follows.
    pub has_header: bool,
    pub delimiter: u8,
    /// Character around fields that may hold line ends.
    pub quote: Option<u8>,
    /// Character that makes the next one ordinary inside quotes.
    pub escape: Option<u8>,
    /// Lines that begin with it are not records.
    pub comment: Option<u8>,
    /// Blanks around a field are not part of it.
    pub trims: bool,
}

impl FileHeading {
    /// Whether records cannot be read without it.
    pub fn is_needed(&self) -> bool {
        self.has_header || self.skipped_lines > 0
    }

    /// Its length in bytes in a file that begins with `start`; `None` when it does not end there.
    pub fn length(&self, start: &[u8]) -> Option<usize> {
        let mut at = 0;
        for _ in 0..self.skipped_lines {
            at += memchr::memchr(b'\n', &start[at..])? + 1;
        }
        if !self.has_header {
            return Some(at);
        }
        loop {
            let record = self.record(&start[at..])?;
            let line = &start[at..at + record];
            at += record;
            let is_comment = self.comment.is_some() && line.first().copied() == self.comment;
            if !is_comment && !line.trim_ascii().is_empty() {
                return Some(at);
            }
        }
    }

    /// The length of the record at the start of `text`.
    fn record(&self, text: &[u8]) -> Option<usize> {
        let mut scan = RecordScan::new(*self);
        (0..text.len()).find_map(|at| scan.step(text[at]).then_some(at + 1))
    }
}

/// Scans a text of records, byte by byte.
#[derive(Debug)]
pub struct RecordScan {
    heading: FileHeading,
    state: ScanState,
    /// Bytes seen, and how many of them are complete records.
    seen: u64,
    complete: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanState {
    LineStart,
    FieldStart,
    Plain,
    Comment,
    Quoted,
    /// After the escape character.
    Escaped,
    /// After a quote inside quotes: it ends the field, or is doubled.
    Closed,
}

impl RecordScan {
    /// From the beginning of a record.
    pub fn new(heading: FileHeading) -> Self {
        Self {
            heading,
            state: ScanState::LineStart,
            seen: 0,
            complete: 0,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    /// Bytes of complete records so far.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// Whether the record that is not complete would end with a line end.
    pub fn may_end_here(&self) -> bool {
        !matches!(self.state, ScanState::Quoted | ScanState::Escaped)
    }

    /// Takes a byte; returns whether a record ends with it.
    fn step(&mut self, byte: u8) -> bool {
        self.seen += 1;
        if byte == b'\n' && self.may_end_here() {
            self.state = ScanState::LineStart;
            self.complete = self.seen;
            return true;
        }
        self.state = self.next(byte);
        false
    }

    fn next(&self, byte: u8) -> ScanState {
        let is = |character: Option<u8>| character == Some(byte);
        match self.state {
            ScanState::Comment => ScanState::Comment,
            ScanState::LineStart if is(self.heading.comment) => ScanState::Comment,
            ScanState::LineStart | ScanState::FieldStart if is(self.heading.quote) => {
                ScanState::Quoted
            }
            ScanState::LineStart | ScanState::FieldStart
                if self.heading.trims && byte.is_ascii_whitespace() =>
            {
                ScanState::FieldStart
            }
            ScanState::Quoted if is(self.heading.escape) => ScanState::Escaped,
            ScanState::Quoted if is(self.heading.quote) => ScanState::Closed,
            ScanState::Quoted | ScanState::Escaped => ScanState::Quoted,
            ScanState::Closed if is(self.heading.quote) && self.heading.escape.is_none() => {
                ScanState::Quoted
            }
            _ if byte == self.heading.delimiter && self.heading.quote.is_some() => {
                ScanState::FieldStart
            }
            ScanState::LineStart | ScanState::FieldStart | ScanState::Plain | ScanState::Closed => {
                ScanState::Plain
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: FileHeading = FileHeading {
        skipped_lines: 1,
        has_header: true,
        delimiter: b',',
        quote: Some(b'"'),
        escape: None,
        comment: Some(b'#'),
        trims: false,
    };

    #[test]
    fn a_heading_ends_where_the_header_does() {
        for (text, length) in [
            ("title\na,b\n1,2\n", Some(10)),
            ("title\n\n# note \"\n\"a\nx\",b\n1,2\n", Some(24)),
            ("title\na,b", None),
            ("title", None),
        ] {
            assert_eq!(CSV.length(text.as_bytes()), length, "{text:?}");
        }
        assert_eq!(FileHeading::default().length(b"{}\n"), Some(0));
    }

    #[test]
    fn a_line_end_inside_quotes_ends_no_record() {
        for (text, complete, may_end) in [
            ("1,2\n3,4", 4, true),
            ("1,\"a\n", 0, false),
            ("1,\"a\"\"\n\"\n2", 9, true),
            ("5\" pipe\n2", 8, true),
            ("# a \"\n1\n", 8, true),
        ] {
            let mut scan = RecordScan::new(CSV);
            scan.push(text.as_bytes());
            assert_eq!(
                (scan.complete(), scan.may_end_here()),
                (complete, may_end),
                "{text:?}"
            );
        }
    }
}
