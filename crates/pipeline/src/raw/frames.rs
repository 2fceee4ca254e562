//! Compresses bytes into zstd frames.
//!
//! Frames are cut about every [`FRAME_BYTES`] of input and, once a frame is large enough, where a payload begins, so that a
//! reader of one payload decompresses little more than that payload. A frame carries its length and a checksum.

use forebay_core::{Error, Result};

/// Most input of one frame.
pub(super) const FRAME_BYTES: usize = 1 << 20;

/// A payload that begins after this much of a frame begins a new one.
const FRAME_BYTES_MIN: usize = 256 << 10;

/// Collects input and returns compressed frames.
pub(super) struct Frames {
    compressor: zstd::bulk::Compressor<'static>,
    /// Input of the frame that is open.
    pending: Vec<u8>,
    /// Input taken so far, without `pending`.
    taken: u64,
    /// Bytes of frames returned so far.
    written: u64,
}

/// The start of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// In the decompressed object.
    pub(super) offset: u64,
    /// Of the frame that holds it, in the file.
    pub(super) frame: u64,
    /// Of that frame, in the decompressed object.
    pub(super) frame_offset: u64,
}

impl Frames {
    pub(super) fn new(level: i32) -> Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(level).map_err(failed)?;
        compressor.include_checksum(true).map_err(failed)?;
        Ok(Self {
            compressor,
            pending: Vec::new(),
            taken: 0,
            written: 0,
        })
    }

    /// A payload begins here.
    pub(super) fn start(&mut self, out: &mut Vec<u8>) -> Result<Start> {
        if self.pending.len() >= FRAME_BYTES_MIN {
            self.cut(out)?;
        }
        let offset = self.taken + self.pending.len() as u64;
        Ok(Start {
            offset,
            frame: self.written,
            frame_offset: self.taken,
        })
    }

    /// Takes input; complete frames are added to `out`.
    pub(super) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
        while !bytes.is_empty() {
            let room = FRAME_BYTES - self.pending.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if self.pending.is_empty() && now.len() == FRAME_BYTES {
                self.compress(now, out)?;
            } else {
                self.pending.extend_from_slice(now);
                if self.pending.len() == FRAME_BYTES {
                    self.cut(out)?;
                }
            }
            bytes = later;
        }
        Ok(())
    }

    /// Returns the last frame. An object always has one, so that `zstdcat` accepts an empty object too.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if !self.pending.is_empty() || self.written == 0 {
            self.cut(out)
        } else {
            Ok(())
        }
    }

    /// Storage size of this object so far, with the open frame at its full length.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    fn cut(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        self.compress(&pending, out)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn compress(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        out.resize(begin + zstd::zstd_safe::compress_bound(input.len()), 0);
        let length = self
            .compressor
            .compress_to_buffer(input, &mut out[begin..])
            .map_err(failed)?;
        out.truncate(begin + length);
        self.taken += input.len() as u64;
        self.written += length as u64;
        Ok(())
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::bug("zstd_failed", "failed to compress a raw object").with_source(error)
}
