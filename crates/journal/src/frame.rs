//! Records as bytes.
//!
//! Layout, little endian: magic `u32` · crc `u32` · durable `u64` · head length `u32` · body length `u32` · head (JSON) · body.
//! The crc is CRC-32 (ISO-HDLC, as in zlib) over the record's own logical offset and everything after the crc, so stale
//! bytes in reused space do not parse as a record. `durable` is the offset up to which the journal was known to be on disk
//! when the record was written: a damaged record before the `durable` of a later one was acknowledged, and is corruption;
//! one that no later record covers is the torn end of an unacknowledged write.

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_core::{Compression, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::Record;
use super::keys::Key;

pub(super) const HEADER_BYTES: usize = 24;

const MAGIC: u32 = 0x4A42_4601;

/// Largest head of a record, as JSON.
pub const HEAD_BYTES_MAX: usize = 64 << 10;

/// Largest body of a record.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// Metadata of a pushed body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    #[serde(rename = "at")]
    pub at: Timestamp,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default)]
    pub compression: Compression,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// Idempotency key and the body's fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<(Key, u64)>,
    /// Number of records, this one and those after it, that were appended atomically: all of them are in the journal, or
    /// none.
    #[serde(rename = "of", default, skip_serializing_if = "Option::is_none")]
    pub(super) together: Option<u32>,
}

impl Head {
    pub fn new(at: Timestamp) -> Self {
        Self {
            at,
            content_type: None,
            compression: Compression::None,
            attributes: BTreeMap::new(),
            key: None,
            together: None,
        }
    }
}

/// Records without an assigned offset: whole frames, one after the other.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Start of each frame in `bytes`.
    starts: Vec<usize>,
    keys: Vec<Option<(Key, u64, Timestamp)>>,
}

/// Errors: `Data` `push_too_large`.
pub(super) fn encode(records: &[Record]) -> Result<Frames> {
    let room = records.iter().map(|record| record.body.len() + 256).sum();
    let mut frames = Frames {
        bytes: Vec::with_capacity(room),
        starts: Vec::with_capacity(records.len()),
        keys: Vec::with_capacity(records.len()),
    };
    for record in records {
        frames.push(record)?;
    }
    Ok(frames)
}

impl Frames {
    fn push(&mut self, record: &Record) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER_BYTES]);
        serde_json::to_writer(&mut self.bytes, &record.head).map_err(|error| {
            Error::bug("journal_head", "failed to write the head of a push").with_source(error)
        })?;
        let head = self.bytes.len() - start - HEADER_BYTES;
        let body = record.body.len();
        let (Ok(head_bytes), Ok(body_bytes)) = (u32::try_from(head), u32::try_from(body)) else {
            return Err(too_large(head, body));
        };
        if head > HEAD_BYTES_MAX || body > BODY_BYTES_MAX {
            return Err(too_large(head, body));
        }
        self.bytes.extend_from_slice(&record.body);
        let header = &mut self.bytes[start..start + HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[16..20].copy_from_slice(&head_bytes.to_le_bytes());
        header[20..24].copy_from_slice(&body_bytes.to_le_bytes());
        self.starts.push(start);
        self.keys.push(
            record
                .head
                .key
                .map(|(key, print)| (key, print, record.head.at)),
        );
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Assigns offsets to the frames: returns the bytes and the offset of each record.
    pub(super) fn place(&mut self, base: u64, durable: u64) -> (&[u8], Vec<u64>) {
        let ends = self
            .starts
            .iter()
            .skip(1)
            .copied()
            .chain([self.bytes.len()]);
        let ends: Vec<usize> = ends.collect();
        let mut offsets = Vec::with_capacity(ends.len());
        for (&start, end) in self.starts.iter().zip(ends) {
            let offset = base + start as u64;
            let frame = &mut self.bytes[start..end];
            frame[8..16].copy_from_slice(&durable.to_le_bytes());
            let crc = checksum(offset, &frame[8..]);
            frame[4..8].copy_from_slice(&crc.to_le_bytes());
            offsets.push(offset);
        }
        (&self.bytes, offsets)
    }

    pub(super) fn keys(&self) -> &[Option<(Key, u64, Timestamp)>] {
        &self.keys
    }
}

/// An empty record at `offset` that records up to where the journal is durable.
pub(super) fn vouch(offset: u64, durable: u64) -> [u8; HEADER_BYTES] {
    let mut frame = [0; HEADER_BYTES];
    frame[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    frame[8..16].copy_from_slice(&durable.to_le_bytes());
    let crc = checksum(offset, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// Bytes of a [`stamp`].
pub(super) const STAMP_BYTES: usize = HEADER_BYTES + 16;

/// A record without a head that names the writer of the records after it.
pub(super) fn stamp(offset: u64, durable: u64, writer: u128) -> [u8; STAMP_BYTES] {
    let mut frame = [0; STAMP_BYTES];
    frame[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    frame[8..16].copy_from_slice(&durable.to_le_bytes());
    frame[20..24].copy_from_slice(&16_u32.to_le_bytes());
    frame[HEADER_BYTES..].copy_from_slice(&writer.to_le_bytes());
    let crc = checksum(offset, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
    frame
}

fn checksum(offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn too_large(head: usize, body: usize) -> Error {
    let what = format!(
        "the push is too large: body {body} bytes (limit {BODY_BYTES_MAX}), head {head} bytes (limit {HEAD_BYTES_MAX})"
    );
    Error::data("push_too_large", what).with_hint("split the push into smaller ones")
}

/// A record in a buffer.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) head: Bytes,
    pub(super) body: Bytes,
    /// Up to where the journal was durable when this was written.
    pub(super) durable: u64,
    pub(super) bytes: usize,
}

/// The content at a position of a buffer.
#[derive(Debug)]
pub(super) enum Place {
    Record(Parsed),
    /// The record continues after the buffer: this many bytes are needed from its start.
    Needs(usize),
    Damaged,
}

/// Reads the record at the start of `bytes`, which has this logical offset.
pub(super) fn parse(bytes: &Bytes, offset: u64) -> Place {
    let Some(header) = bytes.get(..HEADER_BYTES) else {
        return Place::Needs(HEADER_BYTES);
    };
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let head = word(16) as usize;
    let body = word(20) as usize;
    if word(0) != MAGIC || head > HEAD_BYTES_MAX || body > BODY_BYTES_MAX {
        return Place::Damaged;
    }
    let end = HEADER_BYTES + head + body;
    if bytes.len() < end {
        return Place::Needs(end);
    }
    if checksum(offset, &bytes[8..end]) != word(4) {
        return Place::Damaged;
    }
    Place::Record(Parsed {
        head: bytes.slice(HEADER_BYTES..HEADER_BYTES + head),
        body: bytes.slice(HEADER_BYTES + head..end),
        durable: u64::from(word(8)) | (u64::from(word(12)) << 32),
        bytes: end,
    })
}

/// Whether a head may hold this field: most heads need not be read for it.
pub(super) fn may_hold(head: &[u8], field: &[u8]) -> bool {
    memchr::memmem::find(head, field).is_some()
}

/// Where the next frame might begin, after the first byte.
pub(super) fn next_candidate(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes.get(1..)?, &MAGIC.to_le_bytes()).map(|at| at + 1)
}

pub(super) fn head(bytes: &[u8]) -> Result<Head> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::data("journal_corrupt", "corrupt record header in the journal").with_source(error)
    })
}
