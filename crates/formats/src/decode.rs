//! Decompression of payloads as they stream by, with bounded expansion.
//!
//! Returns pieces of bounded size, never a whole payload. Rejects payloads that expand more than plausible data
//! ([`RATIO_MAX`] over a floor, [`OUTPUT_BYTES_MAX`] in all), so that a bomb costs no more memory than one piece. Nested
//! compression is not undone: the inner bytes are the payload.

use std::fmt;
use std::io::Write;

use flate2::{Decompress, FlushDecompress, Status};
use forebay_core::{Compression, Error, Result};
use zstd::stream::raw::{Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

/// Most output bytes for one input byte, once [`RATIO_FLOOR_BYTES`] have come out.
pub const RATIO_MAX: u64 = 1_000;

/// Output below which the ratio is not checked: small and empty inputs compress without limit.
pub const RATIO_FLOOR_BYTES: u64 = 16 << 20;

/// Most bytes that one payload may expand to.
pub const OUTPUT_BYTES_MAX: u64 = 64 << 30;

/// Largest piece handed on.
const PIECE_BYTES: usize = 256 << 10;

/// Largest window of a zstd frame: 128 MiB, the limit of `zstd` itself without `--long`.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Largest window of a zstd frame in an HTTP message: 8 MiB (RFC 9659, section 3).
pub const ZSTD_WINDOW_LOG_HTTP: u32 = 23;

/// Receives decoded pieces.
pub type Take<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// Decompresses one payload.
pub struct Decoder {
    format: Format,
    room: Vec<u8>,
    read: u64,
    written: u64,
    state: State,
    /// Largest window of a zstd frame, as a power of two.
    window_log: u32,
}

enum Format {
    Plain,
    Gzip(Decompress),
    Zstd(ZstdDecoder<'static>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a gzip member or a zstd frame. A payload may end here.
    Between,
    Inside,
    /// After the last gzip member: only zero bytes may follow, as tape blocks and block devices leave them.
    Padding,
}

/// The result of one step.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            read,
            written,
            state,
            ..
        } = self;
        f.debug_struct("Decoder")
            .field("read", read)
            .field("written", written)
            .field("state", state)
            .finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder for this compression; uncompressed payloads pass unchanged.
    pub fn new(compression: Compression) -> Result<Self> {
        Self::with_window(compression, ZSTD_WINDOW_LOG_MAX)
    }

    /// As [`Self::new`]; a zstd frame that needs a window of more than `2^window_log` bytes is corrupt.
    pub fn with_window(compression: Compression, window_log: u32) -> Result<Self> {
        let format = match compression {
            Compression::None => Format::Plain,
            Compression::Gzip => Format::Gzip(Decompress::new_gzip(15)),
            Compression::Zstd => Format::Zstd(zstd_decoder(window_log)?),
        };
        let room = vec![0; PIECE_BYTES];
        let state = State::Between;
        Ok(Self {
            format,
            room,
            read: 0,
            written: 0,
            state,
            window_log,
        })
    }

    /// Whether the payload is corrupt, rather than `take` failed.
    pub fn is_payload_error(error: &Error) -> bool {
        [
            "corrupt_gzip",
            "corrupt_zstd",
            "ratio_exceeded",
            "too_large",
        ]
        .contains(&error.code())
    }

    /// Takes compressed bytes and hands decompressed pieces on.
    ///
    /// Errors: `Data` `corrupt_gzip`, `corrupt_zstd`, `ratio_exceeded`, `too_large`; and whatever `take` returns. After an
    /// error the decoder must not be used again.
    pub fn push(&mut self, mut bytes: &[u8], take: &mut Take<'_>) -> Result<()> {
        if matches!(self.format, Format::Plain) {
            return take(bytes);
        }
        loop {
            if self.begins_padding(bytes) {
                self.state = State::Padding;
            }
            if self.state == State::Padding {
                return self.padding(bytes);
            }
            if bytes.is_empty() && self.state == State::Between {
                return Ok(());
            }
            let step = self.step(bytes)?;
            bytes = &bytes[step.read..];
            self.read += step.read as u64;
            self.written += step.written as u64;
            self.check_expansion()?;
            if step.written > 0 {
                take(&self.room[..step.written])?;
            }
            if step.ended {
                self.end_of_part()?;
            } else if bytes.is_empty() && step.written < self.room.len() {
                return Ok(());
            } else if step.read == 0 && step.written == 0 {
                return Err(self.corrupt("no progress"));
            }
        }
    }

    /// The payload is complete; one of no bytes at all is empty, not corrupt.
    ///
    /// Errors: `Data` `corrupt_gzip` or `corrupt_zstd` when it is truncated.
    pub fn finish(mut self, take: &mut Take<'_>) -> Result<()> {
        if self.state == State::Inside {
            self.push(&[], take)?;
        }
        if self.state == State::Inside {
            Err(self.corrupt("it is truncated"))
        } else {
            Ok(())
        }
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Step> {
        self.state = State::Inside;
        let step = match &mut self.format {
            Format::Plain => Err("it is not compressed".to_owned()),
            Format::Gzip(decoder) => gzip_step(decoder, bytes, &mut self.room),
            Format::Zstd(decoder) => zstd_step(decoder, bytes, &mut self.room),
        };
        step.map_err(|why| self.corrupt(&why))
    }

    /// Whether zero bytes follow a gzip member, which none begins with.
    fn begins_padding(&self, bytes: &[u8]) -> bool {
        let is_after_member = self.state == State::Between && self.read > 0;
        is_after_member && matches!(self.format, Format::Gzip(_)) && bytes.first() == Some(&0)
    }

    fn end_of_part(&mut self) -> Result<()> {
        self.state = State::Between;
        match &mut self.format {
            Format::Plain => {}
            Format::Gzip(decoder) => *decoder = Decompress::new_gzip(15),
            Format::Zstd(decoder) => *decoder = zstd_decoder(self.window_log)?,
        }
        Ok(())
    }

    fn padding(&self, bytes: &[u8]) -> Result<()> {
        if bytes.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(self.corrupt("trailing bytes after its end"))
        }
    }

    fn check_expansion(&self) -> Result<()> {
        let Self { read, written, .. } = *self;
        if written > OUTPUT_BYTES_MAX {
            let what = format!(
                "the payload expands to more than {} GiB",
                OUTPUT_BYTES_MAX >> 30
            );
            return Err(
                Error::data("too_large", what).with_hint("split the file into smaller ones")
            );
        }
        if written > RATIO_FLOOR_BYTES && written / RATIO_MAX > read {
            let what = format!(
                "the payload expands more than {RATIO_MAX} times: {read} bytes gave {written}"
            );
            return Err(Error::data("ratio_exceeded", what)
                .with_hint("if it is not a decompression bomb, decompress it before loading"));
        }
        Ok(())
    }

    fn corrupt(&self, why: &str) -> Error {
        let (code, name) = match self.format {
            Format::Plain | Format::Gzip(_) => ("corrupt_gzip", "gzip"),
            Format::Zstd(_) => ("corrupt_zstd", "zstd"),
        };
        Error::data(
            code,
            format!(
                "failed to decompress the payload as {name}: {why}, near compressed byte {}",
                self.read
            ),
        )
    }
}

/// A stream of its own with these bytes: a gzip member or a zstd frame, to be put before others.
///
/// Errors: `Bug` `zstd_failed`.
pub fn stream_of(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>> {
    let compressed = match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        Compression::Zstd => zstd::bulk::compress(bytes, 1),
    };
    compressed.map_err(|error| {
        Error::bug("zstd_failed", "failed to compress a part of a file").with_source(error)
    })
}

fn zstd_decoder(window_log: u32) -> Result<ZstdDecoder<'static>> {
    let failed =
        |error| Error::bug("zstd_failed", "failed to make a zstd decoder").with_source(error);
    let mut decoder = ZstdDecoder::new().map_err(failed)?;
    decoder
        .set_parameter(DParameter::WindowLogMax(window_log))
        .map_err(failed)?;
    Ok(decoder)
}

fn gzip_step(decoder: &mut Decompress, bytes: &[u8], room: &mut [u8]) -> Result<Step, String> {
    let read = decoder.total_in();
    let written = decoder.total_out();
    let status = decoder
        .decompress(bytes, room, FlushDecompress::None)
        .map_err(|error| error.to_string())?;
    let taken = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
    Ok(Step {
        read: taken(decoder.total_in(), read),
        written: taken(decoder.total_out(), written),
        ended: status == Status::StreamEnd,
    })
}

fn zstd_step(
    decoder: &mut ZstdDecoder<'static>,
    bytes: &[u8],
    room: &mut [u8],
) -> Result<Step, String> {
    let mut source = InBuffer::around(bytes);
    let mut target = OutBuffer::around(room);
    let hint = decoder
        .run(&mut source, &mut target)
        .map_err(|error| error.to_string())?;
    Ok(Step {
        read: source.pos(),
        written: target.pos(),
        ended: hint == 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).unwrap()
    }

    fn decode(compression: Compression, bytes: &[u8], cut: usize) -> Result<Vec<u8>> {
        let mut decoder = Decoder::new(compression)?;
        let mut out = Vec::new();
        let mut take = |piece: &[u8]| {
            assert!(piece.len() <= PIECE_BYTES);
            out.extend_from_slice(piece);
            Ok(())
        };
        for piece in bytes.chunks(cut) {
            decoder.push(piece, &mut take)?;
        }
        decoder.finish(&mut take)?;
        Ok(out)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn every_cut_of_every_member_list_decodes(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3_000), 1..4),
            repeat in 1_usize..300,
            cut in 1_usize..5_000,
        ) {
            let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.repeat(repeat)).collect();
            for (compression, encode) in [(Compression::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Compression::Zstd, zstd)] {
                let bytes: Vec<u8> = parts.iter().flat_map(|part| encode(part)).collect();
                prop_assert!(decode(compression, &bytes, cut).unwrap() == parts.concat());
                let torn = &bytes[..bytes.len() - 1];
                prop_assert!(decode(compression, torn, cut).unwrap_err().code().starts_with("corrupt_"));
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_early() {
        let zeros = vec![0; 64 << 20];
        for (compression, bytes) in [
            (Compression::Gzip, gzip(&zeros)),
            (Compression::Zstd, zstd(&zeros)),
        ] {
            let ratio = zeros.len() / bytes.len();
            match decode(compression, &bytes, 1 << 16) {
                Err(error) => assert_eq!(error.code(), "ratio_exceeded"),
                Ok(_) => assert!(ratio <= 1_000, "a ratio of {ratio} went through"),
            }
        }
    }

    #[test]
    fn zeros_after_a_gzip_payload_are_ignored_however_it_is_cut() {
        let two = [gzip(b"hel"), gzip(b"lo")].concat();
        let padded = [two, vec![0; 512]].concat();
        let junk = [padded.clone(), b"x".to_vec()].concat();
        let resumed = [padded.clone(), gzip(b"more")].concat();
        for cut in 1..=padded.len() {
            assert_eq!(decode(Compression::Gzip, &padded, cut).unwrap(), b"hello");
            for broken in [&junk, &resumed] {
                let error = decode(Compression::Gzip, broken, cut).unwrap_err();
                assert_eq!(error.code(), "corrupt_gzip", "{cut}: {error}");
            }
        }
        assert!(decode(Compression::Gzip, &[0; 20], 7).is_err());
    }

    #[test]
    fn skippable_zstd_frames_are_skipped_and_zeros_are_not() {
        let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"note"].concat();
        let frames = [
            skippable.clone(),
            zstd(b"hel"),
            skippable.clone(),
            zstd(b"lo"),
            skippable,
        ];
        let framed = frames.concat();
        for cut in 1..=framed.len() {
            assert_eq!(decode(Compression::Zstd, &framed, cut).unwrap(), b"hello");
        }
        let padded = [zstd(b"hello"), vec![0; 512]].concat();
        let error = decode(Compression::Zstd, &padded, 7).unwrap_err();
        assert_eq!(error.code(), "corrupt_zstd");
    }

    #[test]
    fn what_is_broken_is_said() {
        let good = gzip(b"hello");
        let junk = [good.clone(), b"junk".to_vec()].concat();
        assert_eq!(decode(Compression::Gzip, b"", 7).unwrap(), b"");
        assert_eq!(decode(Compression::None, b"plain", 2).unwrap(), b"plain");
        for (compression, bytes, code) in [
            (Compression::Gzip, &junk[..], "corrupt_gzip"),
            (Compression::Gzip, b"{\"a\": 1}", "corrupt_gzip"),
            (Compression::Zstd, b"{\"a\": 1}", "corrupt_zstd"),
        ] {
            let error = decode(compression, bytes, 3).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        }
        let mut flipped = good;
        let checksum = flipped.len() - 6;
        flipped[checksum] ^= 1;
        assert_eq!(
            decode(Compression::Gzip, &flipped, 1).unwrap_err().code(),
            "corrupt_gzip"
        );
    }
}
