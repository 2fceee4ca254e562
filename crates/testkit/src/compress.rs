//! Compressed bodies, good and hostile.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// `bytes` as one gzip member.
///
/// # Panics
/// Never: writing to memory cannot fail.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes every byte");
    encoder.finish().expect("memory takes every byte")
}

/// `bytes` as one zstd frame.
///
/// # Panics
/// Never: writing to memory cannot fail.
pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).expect("memory takes every byte")
}

/// A small gzip body that expands to `bytes` spaces inside a JSON list.
///
/// # Panics
/// Never: writing to memory cannot fail.
pub fn gzip_bomb(bytes: usize) -> Vec<u8> {
    static PIECE: [u8; 1 << 16] = [b' '; 1 << 16];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(b"[").expect("memory takes every byte");
    for _ in 0..bytes / PIECE.len() {
        encoder.write_all(&PIECE).expect("memory takes every byte");
    }
    encoder.write_all(b"]").expect("memory takes every byte");
    encoder.finish().expect("memory takes every byte")
}
