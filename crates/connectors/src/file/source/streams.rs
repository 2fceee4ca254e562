//! Compressed files to which streams (gzip members, zstd frames) are appended.
//!
//! Nothing is loaded of a payload that is corrupt or incomplete. So when an appended part is read too early, the record
//! of the part loaded before it is kept as the base of the file: the next run begins there again, not at the beginning.
//!
//! A stream may end inside of a record, where a program writes through a buffer. Then the beginning of that record is
//! put before the appended streams once more, as a stream of its own, so that the record is loaded as a whole.

use forebay_core::{Compression, Result};
use forebay_formats::csv::RecordScan;
use forebay_formats::decode::{Decoder, stream_of};
use forebay_formats::framing::{FileHeading, Framing};
use forebay_formats::json::detect::is_lines_text;
use serde::de::IgnoredAny;

use super::blocking;
use super::folder::{Found, OpenFile};
use super::read::{CHUNK_BYTES, Reader};
use super::recognize::{DETECTED_BYTES, Tail, warn_again, warn_incomplete};
use super::record::{PLACE, Presence, TakenRecord};
use super::taken::State;

/// Longest beginning of a record that is repeated; the rest of a longer one is loaded alone.
const OPEN_RECORD_BYTES_MAX: usize = 16 << 20;

/// Checks whether compressed bytes are complete streams, as a run does before it loads them.
#[derive(Debug)]
pub(super) struct StreamCheck(Option<Decoder>);

impl StreamCheck {
    pub(super) fn new(compression: Compression) -> Result<Self> {
        Ok(Self(Some(Decoder::new(compression)?)))
    }

    /// Takes the next bytes.
    pub(super) async fn push(&mut self, bytes: Vec<u8>) -> Result<()> {
        let Some(mut decoder) = self.0.take() else {
            return Ok(());
        };
        self.0 = blocking(move || {
            let pushed = decoder.push(&bytes, &mut |_| Ok(()));
            Ok(is_sound(pushed)?.then_some(decoder))
        })
        .await?;
        Ok(())
    }

    /// Whether all bytes are complete streams.
    pub(super) fn finish(self) -> Result<bool> {
        match self.0 {
            Some(decoder) => is_sound(decoder.finish(&mut |_| Ok(()))),
            None => Ok(false),
        }
    }
}

fn is_sound(outcome: Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if Decoder::is_payload_error(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Reader {
    /// The record of the part of a grown compressed file that is loaded; `None` when all of it was refused.
    pub(super) async fn loaded_streams(
        &mut self,
        file: &mut dyn OpenFile,
        tail: &Tail,
    ) -> Result<Option<TakenRecord>> {
        let taken = tail.taken;
        match self.state.base(taken.place) {
            Some(base) => Ok(Some(base)),
            None if is_complete(file, tail.compression, taken.size()).await? => Ok(Some(taken)),
            None => Ok(None),
        }
    }

    /// Where the part of a grown compressed file begins that is not loaded.
    pub(super) fn start_of_stream(
        &self,
        found: &Found,
        tail: &Tail,
        loaded: Option<TakenRecord>,
    ) -> u64 {
        let Some(loaded) = loaded else {
            return 0;
        };
        if self.context.heading.is_needed() {
            let why = "each of its compressed streams may have a header or not";
            warn_again(found, &tail.taken, why);
            return 0;
        }
        loaded.size()
    }

    /// The beginning of the record in which the loaded streams end, as a stream; empty where they end between two records.
    pub(super) async fn open_record(
        &mut self,
        found: &Found,
        file: &mut dyn OpenFile,
        tail: &Tail,
    ) -> Result<Vec<u8>> {
        let is_named = self.has_lines(&found.name, Compression::None);
        if !is_named && self.context.framing != Framing::Detected {
            return Ok(Vec::new());
        }
        let loaded = LoadedText::new(self.context.heading);
        let loaded = decode(file, tail.compression, (0, tail.start), loaded).await?;
        let is_lines = is_named || is_lines_text(&loaded.start);
        if !is_lines || loaded.is_complete() {
            return Ok(Vec::new());
        }
        let size = found.stat.size;
        let next = LoadedText::first_piece();
        let next = decode(file, tail.compression, (tail.start, size), next).await?;
        if matches!(next.start.first(), None | Some(b'\n' | b'\r')) {
            return Ok(Vec::new());
        }
        warn_incomplete(found, tail.start);
        stream_of(tail.compression, &loaded.open)
    }
}

/// The decompressed text of streams: its beginning, and the record that is open at its end.
struct LoadedText {
    start: Vec<u8>,
    open: Vec<u8>,
    /// Bytes before `open`.
    before: u64,
    /// Finds the records where lines do not.
    scan: Option<RecordScan>,
    is_too_long: bool,
    /// Whether the first piece is enough.
    is_first_only: bool,
}

impl LoadedText {
    fn new(heading: FileHeading) -> Self {
        Self {
            start: Vec::new(),
            open: Vec::new(),
            before: 0,
            scan: heading
                .dialect
                .map(|dialect| RecordScan::of_file(dialect, heading)),
            is_too_long: false,
            is_first_only: false,
        }
    }

    fn first_piece() -> Self {
        Self {
            is_first_only: true,
            ..Self::new(FileHeading::default())
        }
    }

    fn take(&mut self, piece: &[u8]) {
        let wanted = DETECTED_BYTES.saturating_sub(self.start.len());
        self.start
            .extend_from_slice(&piece[..piece.len().min(wanted)]);
        let complete = match &mut self.scan {
            Some(scan) => {
                scan.pass(piece);
                scan.complete().saturating_sub(self.before)
            }
            None => {
                let line_end = memchr::memrchr(b'\n', piece);
                line_end.map_or(0, |at| self.open.len() as u64 + at as u64 + 1)
            }
        };
        self.open.extend_from_slice(piece);
        let complete = usize::try_from(complete).unwrap_or(usize::MAX);
        let complete = complete.min(self.open.len());
        self.open.drain(..complete);
        self.before += complete as u64;
        self.is_too_long |= self.open.len() > OPEN_RECORD_BYTES_MAX;
        if self.is_too_long {
            self.open.clear();
        }
    }

    /// Whether it ends between two records, or with a JSON value that lacks only its line end.
    fn is_complete(&self) -> bool {
        let is_value = || {
            let is_json = self.scan.is_none() && self.open.trim_ascii_start().starts_with(b"{");
            is_json && serde_json::from_slice::<IgnoredAny>(&self.open).is_ok()
        };
        self.is_too_long || self.open.trim_ascii().is_empty() || is_value()
    }

    fn is_enough(&self) -> bool {
        self.is_first_only && !self.start.is_empty()
    }
}

/// Decompresses a part of a file into `text`, as far as it can be decompressed.
async fn decode(
    file: &mut dyn OpenFile,
    compression: Compression,
    (from, to): (u64, u64),
    mut text: LoadedText,
) -> Result<LoadedText> {
    let mut decoder = Decoder::new(compression)?;
    let mut at = from;
    while at < to && !text.is_enough() {
        let wanted = usize::try_from(to - at).unwrap_or(usize::MAX);
        let mut room = Vec::new();
        let got = file.read(at, wanted.min(CHUNK_BYTES), &mut room).await?;
        if got == 0 {
            break;
        }
        at += got as u64;
        let pushed = blocking(move || {
            let pushed = decoder.push(&room, &mut |piece| {
                text.take(piece);
                Ok(())
            });
            Ok((is_sound(pushed)?.then_some(decoder), text))
        });
        let (next_decoder, next_text) = pushed.await?;
        text = next_text;
        let Some(next_decoder) = next_decoder else {
            break;
        };
        decoder = next_decoder;
    }
    Ok(text)
}

/// Whether the bytes of a file from `from` on are zeros, which are ignored after the last gzip member.
pub(super) async fn is_padding(
    file: &mut dyn OpenFile,
    compression: Compression,
    from: u64,
    size: u64,
) -> Result<bool> {
    let mut at = from;
    while compression == Compression::Gzip && at < size {
        let wanted = usize::try_from(size - at).unwrap_or(usize::MAX);
        let mut room = Vec::new();
        let got = file.read(at, wanted.min(CHUNK_BYTES), &mut room).await?;
        if got == 0 || room.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += got as u64;
    }
    Ok(compression == Compression::Gzip && from < size)
}

/// Whether the first `size` bytes of a file are complete streams.
async fn is_complete(file: &mut dyn OpenFile, compression: Compression, size: u64) -> Result<bool> {
    let mut check = StreamCheck::new(compression)?;
    let mut at = 0;
    while at < size {
        let wanted = usize::try_from(size - at).unwrap_or(usize::MAX);
        let mut room = Vec::new();
        let got = file.read(at, wanted.min(CHUNK_BYTES), &mut room).await?;
        if got == 0 {
            return Ok(false);
        }
        at += got as u64;
        check.push(room).await?;
    }
    check.finish()
}

impl State {
    fn bases(&self, place: [u8; PLACE]) -> Vec<TakenRecord> {
        let is_base = |record: &&TakenRecord| record.presence() == Presence::Base;
        self.files.at(place).filter(is_base).copied().collect()
    }

    /// The part of a file that was loaded before its last part was refused.
    pub(super) fn base(&self, place: [u8; PLACE]) -> Option<TakenRecord> {
        self.bases(place).pop()
    }

    /// Makes this record the base of a path, and no other.
    pub(super) fn set_base(&mut self, place: [u8; PLACE], base: Option<TakenRecord>) {
        for record in self.bases(place) {
            self.files.remove(&record);
        }
        if let Some(base) = base {
            self.files.insert(base.as_base(place));
        }
    }
}
