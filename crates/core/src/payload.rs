//! The output of a source: payloads, in chunks, unchanged.
//!
//! A payload is one thing that arrived: a response body, a file, a message. It travels as [`Chunk`]s so that no
//! payload needs to fit in memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, Messages, Position, Rejected, Result, Timestamp};

/// How the bytes of a payload are compressed, as they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Zstd,
}

/// Metadata of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadHead {
    /// Counts the payloads of a run from 0; unique within the run and split.
    pub ordinal: u64,
    /// Display name: a URL without secrets, a file name.
    pub name: String,
    pub received_at: Timestamp,
    pub content_type: Option<String>,
    pub compression: Compression,
    /// Request or response headers, message keys: small, never secret.
    pub attributes: BTreeMap<String, String>,
    /// Set when the payload packs many messages; it is then one chunk, not compressed, and its bytes are their values.
    pub messages: Option<Arc<Messages>>,
}

impl PayloadHead {
    /// The attribute that [`Self::set_skips`] writes: `0-3,7`.
    ///
    /// It is an attribute so that it is kept with the payload in the raw zone: a table made again from raw leaves out
    /// the same records.
    pub const SKIP_ATTRIBUTE: &str = "skip_records";

    /// The attribute with the byte of its source at which a payload begins that resumes after an earlier run.
    pub const OFFSET_ATTRIBUTE: &str = "offset";

    /// Records of this payload that an earlier payload has already brought, as half-open ranges of ordinals (from 0, in
    /// the order of the payload's records), ascending. An extractor makes neither a row nor a rejection of them.
    ///
    /// # Errors
    /// `bad_skip_records` when the attribute was not written by [`Self::set_skips`].
    pub fn skips(&self) -> Result<Vec<Range<u64>>> {
        let Some(text) = self.attributes.get(Self::SKIP_ATTRIBUTE) else {
            return Ok(Vec::new());
        };
        let bad = || {
            Error::data(
                "bad_skip_records",
                format!("{text:?} is not a list of records to skip"),
            )
        };
        let ranges: Option<Vec<Range<u64>>> = text.split(',').map(parse_range).collect();
        let ranges = ranges.ok_or_else(bad)?;
        if ranges.windows(2).any(|pair| pair[1].start <= pair[0].end) {
            return Err(bad());
        }
        Ok(ranges)
    }

    /// Says which records to leave out; `ordinals` ascend.
    pub fn set_skips(&mut self, ordinals: &[u64]) {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for &ordinal in ordinals {
            match ranges.last_mut() {
                Some(range) if range.end == ordinal => range.end += 1,
                _ => ranges.push(ordinal..ordinal + 1),
            }
        }
        if ranges.is_empty() {
            self.attributes.remove(Self::SKIP_ATTRIBUTE);
            return;
        }
        let shown: Vec<String> = ranges.iter().map(show_range).collect();
        self.attributes
            .insert(Self::SKIP_ATTRIBUTE.to_owned(), shown.join(","));
    }
}

fn show_range(range: &Range<u64>) -> String {
    if range.end == range.start + 1 {
        range.start.to_string()
    } else {
        format!("{}-{}", range.start, range.end - 1)
    }
}

fn parse_range(text: &str) -> Option<Range<u64>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u64::MAX).then(|| first..last + 1)
}

/// A piece of a payload, in source order. The chunks of one payload are consecutive and share their head.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub head: Arc<PayloadHead>,
    pub bytes: Bytes,
    /// Whether the payload ends with this chunk.
    pub last: bool,
    /// Set when the source could resume right after this chunk; a commit may only end here.
    pub position: Option<Position>,
    /// Data that the source itself reports as missing or unreadable at this place, for quarantine.
    pub refused: Vec<Rejected>,
    /// Set when the bytes were read from the raw zone: they are not kept a second time.
    pub kept: Option<Arc<Kept>>,
}

/// The location of a payload, or a part of one, that is already in the raw zone. All its chunks share one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Path of the object below the workspace.
    pub object: String,
    /// Where it begins in the decompressed object, and how many bytes it has.
    pub offset: u64,
    pub length: u64,
    /// Where the frame that holds its first byte begins in the object file, and in the decompressed object.
    pub frame: u64,
    pub frame_offset: u64,
    /// Lower-case hex.
    pub sha256: String,
    /// Which part of its payload it is, when it is one.
    pub part: Option<String>,
}

impl Chunk {
    /// A payload that came in one piece.
    pub fn whole(head: PayloadHead, bytes: Bytes, position: Option<Position>) -> Self {
        Self {
            head: Arc::new(head),
            bytes,
            last: true,
            position,
            refused: Vec::new(),
            kept: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> PayloadHead {
        PayloadHead {
            ordinal: 0,
            name: "page".to_owned(),
            received_at: Timestamp(0),
            content_type: None,
            compression: Compression::None,
            attributes: BTreeMap::new(),
            messages: None,
        }
    }

    #[test]
    fn records_to_skip_come_back_as_ranges() {
        let mut head = head();
        assert!(head.skips().unwrap().is_empty());
        head.set_skips(&[0, 1, 2, 7, 9, 10]);
        assert_eq!(head.attributes[PayloadHead::SKIP_ATTRIBUTE], "0-2,7,9-10");
        assert_eq!(head.skips().unwrap(), [0..3, 7..8, 9..11]);
        head.set_skips(&[]);
        assert!(head.attributes.is_empty());
    }

    #[test]
    fn a_list_that_nobody_wrote_is_refused() {
        for bad in [
            "",
            "x",
            "3-1",
            "5,2",
            "0-3,2",
            "1,,2",
            "18446744073709551615",
        ] {
            let mut head = head();
            head.attributes
                .insert(PayloadHead::SKIP_ATTRIBUTE.to_owned(), bad.to_owned());
            assert_eq!(
                head.skips().map_err(|e| e.code()),
                Err("bad_skip_records"),
                "{bad:?}"
            );
        }
    }
}
