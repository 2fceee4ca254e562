//! Reading the records of one segment, in order, with one buffer.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::frame::{self, Parsed, Place};

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Scan {
    pub(super) file: File,
    /// Logical offset of the file's first byte.
    base: u64,
    /// Logical offset of the next record.
    pub(super) offset: u64,
    /// Read and not parsed, from `offset` on.
    buffer: Bytes,
    /// Nothing at or after this offset is read.
    limit: u64,
}

#[derive(Debug)]
pub(super) enum Found {
    /// A record and its offset.
    Record(u64, Parsed),
    /// The file, or its readable range, ends after the last record.
    End,
    /// The bytes at this offset are not a whole record.
    Damaged(u64),
}

impl Scan {
    pub(super) fn new(file: File, base: u64, offset: u64) -> Self {
        Self {
            file,
            base,
            offset,
            buffer: Bytes::new(),
            limit: u64::MAX,
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    pub(super) fn next(&mut self) -> std::io::Result<Found> {
        loop {
            match frame::parse(&self.buffer, self.offset) {
                Place::Record(parsed) => {
                    let offset = self.offset;
                    self.offset += parsed.bytes as u64;
                    self.buffer = self.buffer.slice(parsed.bytes..);
                    return Ok(Found::Record(offset, parsed));
                }
                Place::Damaged => return Ok(Found::Damaged(self.offset)),
                Place::Needs(bytes) => {
                    if self.fill(bytes)? == 0 {
                        return Ok(if self.buffer.is_empty() {
                            Found::End
                        } else {
                            Found::Damaged(self.offset)
                        });
                    }
                }
            }
        }
    }

    /// Everything from the next record to the end of the file.
    pub(super) fn rest(&mut self) -> std::io::Result<Bytes> {
        while self.fill(self.buffer.len() + READ_BYTES)? > 0 {}
        Ok(self.buffer.clone())
    }

    /// Reads on until the buffer holds `wanted` bytes, if there are that many; returns the number of bytes read.
    fn fill(&mut self, wanted: usize) -> std::io::Result<usize> {
        let begun = self.buffer.len();
        let from = self.offset + begun as u64;
        let may = usize::try_from(self.limit.saturating_sub(from)).unwrap_or(usize::MAX);
        let room = wanted.saturating_sub(begun).max(READ_BYTES).min(may);
        let mut bytes = Vec::with_capacity(begun + room);
        bytes.extend_from_slice(&self.buffer);
        bytes.resize(begun + room, 0);
        let mut got = 0;
        while got < room {
            match self
                .file
                .read_at(&mut bytes[begun + got..], from - self.base + got as u64)
            {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(begun + got);
        self.buffer = bytes.into();
        Ok(got)
    }
}
