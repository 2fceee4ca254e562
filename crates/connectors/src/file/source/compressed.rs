//! A file that was compressed after it was loaded: `app.log.1` that became `app.log.1.gz`.
//!
//! Programs that compress a file in place keep its modification time and remove the original. So the decompressed
//! content of a compressed file is compared with that of removed files with the same time, and with that of the file of
//! its own name without the extension. Nothing is read without such a file, and no more than the size of the largest
//! one.

use forebay_core::{Compression, Error, Result};

use super::blocking;
use super::digest::Digest;
use super::folder::{Found, OpenFile};
use super::read::{CHUNK_BYTES, Reader, START_BYTES, compression};
use super::record::TakenRecord;
use forebay_formats::decode::Decoder;

/// Extensions of compressed files.
const ENDINGS: [&str; 2] = [".gz", ".zst"];

/// Error code that ends the decompression of content larger than every candidate.
const LARGER: &str = "larger_than_taken";

/// Digests of a compressed file and its content.
struct Contents {
    compressed: Digest,
    plain: Digest,
}

impl Reader {
    /// Whether the content of a compressed file was loaded before it was compressed; if so, the file is recorded as loaded.
    pub(super) async fn was_taken_uncompressed(&mut self, found: &Found) -> Result<bool> {
        let candidates = self.uncompressed(found);
        let sizes = candidates.iter().map(TakenRecord::size);
        let larger = self.listing.largest(self.rules.recognition);
        let Some(size_max) = sizes.chain(larger).max() else {
            return Ok(false);
        };
        let Some(mut file) = self.folder.open(found).await? else {
            return Ok(false);
        };
        let mut start = Vec::new();
        file.read(0, START_BYTES, &mut start).await?;
        let compression = compression(&found.name, &start);
        if compression == Compression::None {
            return Ok(false);
        }
        let read = decompress(file.as_mut(), compression, size_max).await?;
        let Some(contents) =
            read.filter(|contents| contents.compressed.length() == found.stat.size)
        else {
            return Ok(false);
        };
        let size = contents.plain.length();
        let digest = contents.plain.value();
        let copies = self.listing.copies(size, self.rules.recognition);
        let is_taken = candidates
            .iter()
            .chain(copies)
            .any(|record| record.agrees(size, &digest));
        if is_taken {
            tracing::info!(file = %found.name, "not loaded again: its content was loaded before it was compressed");
            let size = found.stat.size;
            let digest = contents.compressed.value();
            let now = self.context.clock.now();
            self.moved |= self.state.add(found, size, &digest, now, None);
        }
        Ok(is_taken)
    }

    /// Records under which the content of a compressed file may have been loaded.
    fn uncompressed(&self, found: &Found) -> Vec<TakenRecord> {
        if !self.rules.recognition.moved {
            return Vec::new();
        }
        let mut candidates = self.listing.gone_of_time(found).to_vec();
        let plain = ENDINGS.iter().find_map(|end| found.name.strip_suffix(end));
        if let Some(plain) = plain {
            candidates.extend(self.state.of_time(plain, &found.stat));
        }
        candidates
    }
}

/// The digests of a compressed file and its content; `None` when it is corrupt, or holds more than `size_max` bytes.
async fn decompress(
    file: &mut dyn OpenFile,
    compression: Compression,
    size_max: u64,
) -> Result<Option<Contents>> {
    let mut decoder = Decoder::new(compression)?;
    let mut contents = Contents {
        compressed: Digest::default(),
        plain: Digest::default(),
    };
    loop {
        let mut room = Vec::new();
        let at = contents.compressed.length();
        if file.read(at, CHUNK_BYTES, &mut room).await? == 0 {
            break;
        }
        let pushed = blocking(move || {
            contents.compressed.update(&room);
            let mut take = |piece: &[u8]| contents.take(piece, size_max);
            let pushed = decoder.push(&room, &mut take);
            Ok((pushed, decoder, contents))
        });
        let (pushed, next_decoder, next_contents) = pushed.await?;
        if is_other(pushed)? {
            return Ok(None);
        }
        decoder = next_decoder;
        contents = next_contents;
    }
    let finished = decoder.finish(&mut |piece| contents.take(piece, size_max));
    Ok((!is_other(finished)?).then_some(contents))
}

impl Contents {
    fn take(&mut self, piece: &[u8], size_max: u64) -> Result<()> {
        self.plain.update(piece);
        if self.plain.length() <= size_max {
            return Ok(());
        }
        let what = "the content is larger than that of any loaded file";
        Err(Error::data(LARGER, what))
    }
}

/// Whether an outcome shows that the content was not loaded before.
fn is_other(outcome: Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(false),
        Err(error) if error.code() == LARGER || Decoder::is_payload_error(&error) => Ok(true),
        Err(error) => Err(error),
    }
}
