//! Compressed files to which streams (gzip members, zstd frames) are appended.
//!
//! Nothing is loaded of a payload that is corrupt or incomplete. So when an appended part is read too early, the record
//! of the part loaded before it is kept as the base of the file: the next run begins there again, not at the beginning.

use forebay_core::{Compression, Result};
use forebay_formats::decode::Decoder;

use super::blocking;
use super::folder::{Found, OpenFile};
use super::read::{CHUNK_BYTES, Reader};
use super::recognize::{Tail, warn_again};
use super::record::{PLACE, Presence, TakenRecord};
use super::taken::State;

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
