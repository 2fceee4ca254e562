//! The end of the complete records of a file that is followed: what is behind it is left until it is complete.

use forebay_formats::csv::RecordScan;
use forebay_formats::framing::FileHeading;

/// Finds the end of the last complete record while a file is read.
#[derive(Debug)]
pub(super) enum Followed {
    /// Every `\n` ends a record.
    Lines,
    /// As the reader of the format finds them.
    Records(Box<RecordScan>),
}

impl Followed {
    /// From byte `offset` of the file, where a record begins.
    pub(super) fn from(heading: FileHeading, offset: u64) -> Self {
        let scan = heading.dialect.map(|dialect| match offset {
            0 => RecordScan::of_file(dialect, heading),
            _ => RecordScan::of_records(dialect, offset),
        });
        scan.map_or(Self::Lines, |scan| Self::Records(Box::new(scan)))
    }

    /// Takes the next bytes of the file.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Self::Records(scan) = self {
            scan.pass(bytes);
        }
    }

    /// Length of the complete records in `bytes`, which begin at byte `offset` of the file and end where it was read to;
    /// 0 when there is none.
    pub(super) fn complete(&self, bytes: &[u8], offset: u64) -> usize {
        match self {
            Self::Lines => memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1),
            Self::Records(scan) => {
                let complete = scan.complete().saturating_sub(offset);
                usize::try_from(complete).map_or(bytes.len(), |end| end.min(bytes.len()))
            }
        }
    }
}

/// Logs that more than an incomplete line is left.
pub(super) fn warn_if_open(name: &str, rest: &[u8]) {
    if memchr::memchr2(b'\n', b'\r', rest).is_some() {
        tracing::warn!(
            file = %name,
            left_bytes = rest.len(),
            "the last record has an open quote and is left, with the lines after it, until the quote is closed: `follow: true` is set"
        );
    }
}
