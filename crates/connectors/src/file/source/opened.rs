//! A file that is being read, and where it may be cut.

use std::sync::Arc;

use forebay_core::{Compression, PayloadHead, Result};

use super::digest::Digest;
use super::folder::{Found, OpenFile};
use super::followed::Followed;
use super::record::TakenRecord;
use super::streams::StreamCheck;

/// Bytes at the end of a file that show whether it may be truncated.
const ENDING_BYTES: u64 = 64;

/// A file being read.
pub(super) struct Open {
    pub(super) file: Box<dyn OpenFile>,
    pub(super) found: Found,
    pub(super) head: Arc<PayloadHead>,
    pub(super) digest: Digest,
    /// Bytes passed on, and bytes read.
    pub(super) taken: u64,
    pub(super) read: u64,
    /// Read but not passed on: the beginning of a line.
    pub(super) rest: Vec<u8>,
    /// Whether a chunk may end after a line with a position.
    pub(super) lines: bool,
    /// Whether an incomplete last line is left for later, and the file may grow while it is read.
    pub(super) follow: bool,
    /// The complete records of the bytes read, when it is followed.
    pub(super) followed: Followed,
    /// Prefix of the first chunk: the header of a file of which only the rest is loaded.
    pub(super) heading: Vec<u8>,
    /// The record of the part of the file loaded before.
    pub(super) instead: Option<TakenRecord>,
    /// Record of the part that stays loaded when what is read now is refused.
    pub(super) base: Option<TakenRecord>,
    /// Checks the appended part of a compressed file.
    pub(super) check: Option<StreamCheck>,
    /// Whether a chunk has been passed on in this run.
    pub(super) begun: bool,
}

impl Open {
    /// Whether all bytes read belong to one version of the file. A followed file may have grown since.
    pub(super) async fn is_intact(&mut self) -> Result<bool> {
        Ok(self.file.unchanged().await? || (self.follow && self.file.has_only_grown().await?))
    }

    /// Takes note of bytes that were read.
    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        if self.follow {
            self.followed.push(bytes);
        }
    }

    /// Where the next chunk ends in the bytes held; `None` when it has all of them. A followed file is cut where only
    /// complete records have been passed on.
    pub(super) fn cut(&self, bytes: &[u8], lines_end: Option<usize>, last: bool) -> Option<usize> {
        let last_line = || memchr::memrchr(b'\n', bytes).map(|at| at + 1);
        match (self.lines, self.follow) {
            (true, true) => lines_end.or_else(|| Some(self.followed.complete(bytes, self.taken))),
            (true, false) if !last => lines_end.or_else(last_line),
            _ => None,
        }
    }

    /// Checks compressed bytes that are passed on. With the last ones, a base that is no longer needed is dropped.
    pub(super) async fn check(&mut self, bytes: &[u8], last: bool) -> Result<()> {
        let Some(mut check) = self.check.take() else {
            return Ok(());
        };
        check.push(bytes.to_vec()).await?;
        if !last {
            self.check = Some(check);
        } else if check.finish()? {
            self.base = None;
        }
        Ok(())
    }
}

/// Whether a file ends like a complete one: with a line end, or the end of a document or a Parquet file. `false` for a
/// compressed file.
pub(super) async fn ends_whole(open: &mut Open) -> Result<bool> {
    let size = open.found.stat.size;
    let length = size.min(ENDING_BYTES);
    if length == 0 {
        return Ok(true);
    }
    if open.head.compression != Compression::None {
        return Ok(false);
    }
    let mut ending = Vec::new();
    let wanted = usize::try_from(length).unwrap_or(0);
    open.file.read(size - length, wanted, &mut ending).await?;
    if open.lines {
        return Ok(ending.ends_with(b"\n"));
    }
    let text = ending.trim_ascii_end();
    Ok([&b"}"[..], b"]", b">", b"\n", b"PAR1"]
        .iter()
        .any(|end| text.ends_with(end))
        || ending.ends_with(b"\n"))
}
