//! Codecs of blocks.

use std::io::Read;

use flate2::read::DeflateDecoder;
use forebay_core::{Error, Result};
use zstd::stream::read::Decoder as ZstdDecoder;

use super::EXPANDED_BYTES_MAX;

/// Memory that a zstd frame may ask for: 2^27 bytes, as its command line does.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// A checksum after a block of snappy.
const CRC_BYTES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockCodec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

impl BlockCodec {
    pub(super) fn find(name: &[u8]) -> Result<Self> {
        match name {
            b"null" | b"" => Ok(Self::Null),
            b"deflate" => Ok(Self::Deflate),
            b"snappy" => Ok(Self::Snappy),
            b"zstandard" => Ok(Self::Zstandard),
            other => Err(Error::data(
                "bad_manifest",
                format!(
                    "an Avro file has the codec `{}`, which is not read",
                    String::from_utf8_lossy(&other[..other.len().min(40)])
                ),
            )),
        }
    }

    /// Appends the content of a block to `expanded`, up to the limit of a file.
    pub(super) fn decode(self, block: &[u8], expanded: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Null => {
                expanded.extend_from_slice(block);
                Ok(())
            }
            Self::Deflate => read_all(DeflateDecoder::new(block), expanded),
            Self::Snappy => unsnap(block, expanded),
            Self::Zstandard => {
                let mut decoder = ZstdDecoder::with_buffer(block).map_err(damaged)?;
                let limited = decoder.window_log_max(ZSTD_WINDOW_LOG_MAX);
                limited.map_err(damaged)?;
                read_all(decoder, expanded)
            }
        }
    }
}

fn read_all(reader: impl Read, expanded: &mut Vec<u8>) -> Result<()> {
    let left = EXPANDED_BYTES_MAX.saturating_sub(expanded.len());
    let read = reader.take(left as u64 + 1).read_to_end(expanded);
    match read.map_err(damaged)? > left {
        true => Err(too_large()),
        false => Ok(()),
    }
}

fn unsnap(block: &[u8], expanded: &mut Vec<u8>) -> Result<()> {
    let length = block.len().checked_sub(CRC_BYTES);
    let (content, crc) = block.split_at(length.ok_or_else(|| damaged("a block is too short"))?);
    let claimed = snap::raw::decompress_len(content).map_err(damaged)?;
    if claimed > EXPANDED_BYTES_MAX.saturating_sub(expanded.len()) {
        return Err(too_large());
    }
    let content = snap::raw::Decoder::new().decompress_vec(content);
    let content = content.map_err(damaged)?;
    if crc32fast::hash(&content).to_be_bytes() != crc {
        return Err(damaged("the checksum of a block does not match"));
    }
    expanded.extend_from_slice(&content);
    Ok(())
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::data("bad_manifest", format!("an Avro file is damaged: {why}"))
}

pub(super) fn too_large() -> Error {
    let most = EXPANDED_BYTES_MAX >> 20;
    let what = format!("an Avro file expands to more than {most} MiB");
    Error::data("bad_manifest", what)
}
