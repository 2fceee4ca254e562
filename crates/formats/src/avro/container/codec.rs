//! Codecs of blocks.

use std::io::Read;

use flate2::read::DeflateDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

use crate::decode::ZSTD_WINDOW_LOG_MAX;
use crate::wire::Unreadable;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Null,
    Deflate,
    /// With a CRC-32 of the content after it.
    Snappy,
    Zstandard,
}

const CRC_BYTES: usize = 4;

impl Codec {
    pub(super) fn find(name: &[u8]) -> Result<Self, Unreadable> {
        match name {
            b"null" | b"" => Ok(Self::Null),
            b"deflate" => Ok(Self::Deflate),
            b"snappy" => Ok(Self::Snappy),
            b"zstandard" => Ok(Self::Zstandard),
            other => Err(Unreadable::new(
                "unsupported_avro",
                format!(
                    "the file is compressed with the codec `{}`: write it with deflate, snappy or zstandard",
                    String::from_utf8_lossy(other)
                ),
            )),
        }
    }

    /// The content of a block, of `max` bytes at most.
    pub(super) fn decode(self, block: &[u8], max: usize) -> Result<Vec<u8>, Unreadable> {
        match self {
            Self::Null => Ok(block.to_vec()),
            Self::Deflate => read_all(DeflateDecoder::new(block), max),
            Self::Snappy => unsnap(block, max),
            Self::Zstandard => {
                let mut decoder = ZstdDecoder::with_buffer(block).map_err(|e| corrupt(&e))?;
                let window = decoder.window_log_max(ZSTD_WINDOW_LOG_MAX);
                window.map_err(|error| corrupt(&error))?;
                read_all(decoder, max)
            }
        }
    }
}

fn read_all(reader: impl Read, max: usize) -> Result<Vec<u8>, Unreadable> {
    let mut content = Vec::new();
    let read = reader.take(max as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| corrupt(&error))?;
    match content.len() > max {
        true => Err(too_large(max)),
        false => Ok(content),
    }
}

fn unsnap(block: &[u8], max: usize) -> Result<Vec<u8>, Unreadable> {
    let content = block.len().checked_sub(CRC_BYTES);
    let (content, crc) = block.split_at(content.ok_or_else(|| corrupt(&"it is truncated"))?);
    if snap::raw::decompress_len(content).map_err(|error| corrupt(&error))? > max {
        return Err(too_large(max));
    }
    let content = snap::raw::Decoder::new().decompress_vec(content);
    let content = content.map_err(|error| corrupt(&error))?;
    match crc32fast::hash(&content).to_be_bytes() == crc {
        true => Ok(content),
        false => Err(corrupt(&"its checksum does not match")),
    }
}

fn corrupt(why: &dyn std::fmt::Display) -> Unreadable {
    let what = format!("failed to decompress a block: {why}");
    Unreadable::new("corrupt_avro", what)
}

fn too_large(max: usize) -> Unreadable {
    let what = format!("a block expands to more than {} MiB", max >> 20);
    Unreadable::new("too_large", what)
}
