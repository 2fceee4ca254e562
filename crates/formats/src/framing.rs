//! How a source may cut a payload where its extractor would, and the heading before the first record.

use crate::dialect::Dialect;

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

/// The heading before the records of a file of lines, and the dialect that tells where records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileHeading {
    /// Lines that are skipped.
    pub skipped_lines: u64,
    /// Whether a record with the names of the columns follows.
    pub has_header: bool,
    /// Whether a byte order mark at the beginning is skipped.
    pub may_have_mark: bool,
    /// `None`: every `\n` ends a record, and nothing else does.
    pub dialect: Option<Dialect>,
}

impl FileHeading {
    /// Whether records cannot be read without it.
    pub fn is_needed(&self) -> bool {
        self.has_header || self.skipped_lines > 0
    }
}
