//! Looks into compressed bodies, piece by piece, so that a bomb costs a piece of memory and a moment.

use std::io::Read;

use bytes::Bytes;
use forebay_core::{Compression, Error, Result};
use forebay_formats::decode::{Decoder, RATIO_MAX, ZSTD_WINDOW_LOG_HTTP};
use forebay_journal::BODY_BYTES_MAX;

use super::room::Held;
use super::too_large;

/// Most bytes that one body may expand to.
const EXPANDED_BYTES_MAX: u64 = 1 << 30;

/// Expansion below which the ratio is not checked: small inputs compress without limit.
const RATIO_FLOOR_BYTES: u64 = 1 << 20;

/// Bytes of a body that are expanded between two checks of the ratio.
const PIECE_BYTES: usize = 64 << 10;

/// Errors: `Data` `corrupt_gzip`, `corrupt_zstd`, `ratio_exceeded`, `push_too_large`.
pub(super) fn check(compression: Compression, bytes: &[u8]) -> Result<()> {
    let mut decoder = Decoder::with_window(compression, ZSTD_WINDOW_LOG_HTTP)?;
    let mut read = 0;
    let mut expanded = 0;
    for piece in bytes.chunks(PIECE_BYTES) {
        read += piece.len() as u64;
        decoder.push(piece, &mut |plain| within(read, plain.len(), &mut expanded))?;
    }
    decoder.finish(&mut |plain| within(read, plain.len(), &mut expanded))
}

/// Counts the expanded bytes.
fn within(read: u64, more: usize, expanded: &mut u64) -> Result<()> {
    *expanded += more as u64;
    if *expanded > EXPANDED_BYTES_MAX {
        let what = format!("the body expands to more than {EXPANDED_BYTES_MAX} bytes");
        return Err(Error::data("push_too_large", what).with_hint("send it in parts"));
    }
    if *expanded > RATIO_FLOOR_BYTES && *expanded / RATIO_MAX > read {
        let what = format!("the body expands more than {RATIO_MAX} times");
        let hint =
            "this looks like a decompression bomb; if it is not, send it with less compression";
        return Err(Error::data("ratio_exceeded", what).with_hint(hint));
    }
    Ok(())
}

/// Undoes brotli, which the raw zone does not know.
///
/// Errors: `Data` `corrupt_brotli`, `ratio_exceeded`, `push_too_large`; `Unavailable` `server_busy`.
pub(super) fn brotli(sent: &[u8], held: &mut Held) -> Result<Bytes> {
    let corrupt = |error: std::io::Error| {
        Error::data(
            "corrupt_brotli",
            "the body is not valid brotli, or is truncated",
        )
        .with_source(error)
    };
    let mut decoder = brotli::Decompressor::new(sent, 4096);
    let mut kept = Vec::new();
    let mut expanded = 0;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let got = decoder.read(&mut piece).map_err(corrupt)?;
        if got == 0 {
            // One more read shows whether anything follows the end.
            decoder.read(&mut piece).map_err(corrupt)?;
            return Ok(kept.into());
        }
        within(sent.len() as u64, got, &mut expanded)?;
        if kept.len() + got > BODY_BYTES_MAX {
            return Err(too_large(BODY_BYTES_MAX as u64));
        }
        held.grow(got)?;
        kept.extend_from_slice(&piece[..got]);
    }
}
