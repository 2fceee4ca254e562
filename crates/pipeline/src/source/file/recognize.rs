//! Recognising a file of which something was taken: the same, moved, grown, or another by now.
//!
//! Only the content decides: what a record says of a file is compared with the digest of as many bytes. So a file that was
//! rotated, cut or written anew is never taken for one that grew, and nothing of it is left out.

use forebay_core::{Compression, Result};

use super::digest::Digest;
use super::folder::{Found, OpenFile};
use super::read::{CHUNK_BYTES, Reader, START_BYTES, compression, feed};
use super::record::TakenRecord;
use crate::extract::json::detect::is_lines_text;
use crate::source::{FileHeading, Framing, RecordScan};

/// Longest header that is repeated before appended records.
const HEADING_BYTES_MAX: usize = 1 << 20;

/// How far back the start of a line is looked for that was not complete.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of one step back.
const STEP_BYTES: u64 = 64 << 10;

/// Bytes at the beginning of a file that show whether it has a record a line.
const DETECTED_BYTES: usize = 64 << 10;

/// What of a file has to be taken.
pub(super) enum Share {
    Nothing,
    Whole,
    Rest(Box<Tail>),
}

impl Share {
    /// Whether the file is loaded from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Rest(tail) => tail.start == 0,
        }
    }
}

/// The beginning of a file that was taken, and its digest.
struct Prefix {
    record: TakenRecord,
    digest: Digest,
}

/// The part of a file that is loaded now, when it begins with what was loaded before.
pub(super) struct Tail {
    /// Where it begins; 0 when the file is loaded again as a whole.
    pub(super) start: u64,
    /// Of the file up to there, or as far as it was loaded before.
    pub(super) digest: Digest,
    /// What was taken before.
    pub(super) taken: TakenRecord,
    pub(super) compression: Compression,
    /// The header of the file, when records cannot be read without it.
    pub(super) heading: Vec<u8>,
}

impl Reader {
    /// Compares a file with what was taken. `candidates` are in the order of their sizes.
    pub(super) async fn recognize(
        &mut self,
        found: &Found,
        candidates: Vec<TakenRecord>,
    ) -> Result<Share> {
        let Some(mut file) = self.folder.open(found).await? else {
            return Ok(Share::Whole);
        };
        let mut digest = Digest::default();
        let mut longest: Option<Prefix> = None;
        for record in candidates {
            feed(&mut digest, file.as_mut(), record.size()).await?;
            if record.agrees(digest.length(), &digest.value()) {
                longest = Some(Prefix {
                    record,
                    digest: digest.clone(),
                });
            }
        }
        if let Some(prefix) = longest {
            if prefix.digest.length() == found.stat.size {
                self.know(found, &prefix.record, &prefix.digest);
                return Ok(Share::Nothing);
            }
            return self.grown(found, file.as_mut(), prefix).await;
        }
        feed(&mut digest, file.as_mut(), found.stat.size).await?;
        let is_taken = self.state.has_older(found, &digest.value());
        if is_taken {
            let (size, value) = (digest.length(), digest.value());
            let now = self.context.clock.now();
            self.moved |= self.state.add(found, size, &value, now, None);
            return Ok(Share::Nothing);
        }
        Ok(Share::Whole)
    }

    /// Says when a file that is loaded as a whole begins with what was loaded from one that is gone.
    pub(super) async fn warn_if_repeated(&mut self, found: &Found) -> Result<()> {
        let records = self.listing.repeated(found, &self.state.files);
        if records.is_empty() {
            return Ok(());
        }
        let Some(mut file) = self.folder.open(found).await? else {
            return Ok(());
        };
        let mut digest = Digest::default();
        let mut repeated = None;
        for record in records {
            feed(&mut digest, file.as_mut(), record.size()).await?;
            if record.agrees(digest.length(), &digest.value()) {
                repeated = Some(record);
            }
        }
        if let Some(record) = repeated {
            warn_repeated(found, &record);
        }
        Ok(())
    }

    /// Remembers what a file that was taken looks like now, or what its name is.
    fn know(&mut self, found: &Found, record: &TakenRecord, digest: &Digest) {
        let is_moved = !record.is_at(&found.name);
        if is_moved {
            tracing::info!(file = %found.name, "not loaded again: its content was loaded under another name");
        }
        let instead = (is_moved && self.listing.is_gone(record)).then_some(record);
        let now = self.context.clock.now();
        let (size, value) = (digest.length(), digest.value());
        self.moved |= self.state.add(found, size, &value, now, instead);
    }

    /// What is new of a file that begins with what was taken.
    async fn grown(
        &mut self,
        found: &Found,
        file: &mut dyn OpenFile,
        prefix: Prefix,
    ) -> Result<Share> {
        let Prefix {
            record: taken,
            digest,
        } = prefix;
        let mut start = Vec::new();
        file.read(0, START_BYTES, &mut start).await?;
        let mut tail = Tail {
            start: 0,
            digest,
            taken,
            compression: compression(&found.name, &start),
            heading: Vec::new(),
        };
        if taken.size() == 0 {
            return Ok(Share::Rest(Box::new(tail)));
        }
        if self.rules.follow == Some(false) {
            warn_again(found, &taken, "`follow: false` says so");
            return Ok(Share::Rest(Box::new(tail)));
        }
        if tail.compression != Compression::None {
            tail.start = self.start_of_stream(found, file, &tail).await?;
            return Ok(Share::Rest(Box::new(tail)));
        }
        let has_lines =
            self.has_lines(&found.name, tail.compression) || self.detects_lines(file).await?;
        if !has_lines {
            warn_again(
                found,
                &taken,
                "its format has no records that could be loaded alone",
            );
            return Ok(Share::Rest(Box::new(tail)));
        }
        let rest = self.start_of_rest(found, file, taken.size()).await?;
        let rest = rest.min(found.stat.size);
        let mut room = Vec::new();
        let wanted = HEADING_BYTES_MAX.min(usize::try_from(rest).unwrap_or(usize::MAX));
        file.read(0, wanted, &mut room).await?;
        match self.context.heading.length(&room) {
            Some(length) => {
                room.truncate(length);
                tail.heading = room;
                tail.start = rest;
                feed(&mut tail.digest, file, rest).await?;
            }
            // The header itself was not complete.
            None if rest < HEADING_BYTES_MAX as u64 => {}
            None => warn_again(found, &taken, "its header is too long to be repeated"),
        }
        Ok(Share::Rest(Box::new(tail)))
    }

    /// Whether a file of an unknown ending holds a JSON object a line, where the extractor would find that out itself.
    async fn detects_lines(&mut self, file: &mut dyn OpenFile) -> Result<bool> {
        if self.context.framing != Framing::Detected {
            return Ok(false);
        }
        let mut start = Vec::new();
        file.read(0, DETECTED_BYTES, &mut start).await?;
        Ok(is_lines_text(&start))
    }

    /// Where the first record begins that is not complete in the first `taken` bytes, which may have ended anywhere.
    async fn start_of_rest(
        &mut self,
        found: &Found,
        file: &mut dyn OpenFile,
        taken: u64,
    ) -> Result<u64> {
        let complete = match self.context.heading.quote {
            Some(_) => complete_records(self.context.heading, file, taken).await?,
            None => CompleteRecords {
                bytes: line_start(file, taken).await?,
                may_end: true,
            },
        };
        if complete.bytes == taken {
            return Ok(taken);
        }
        let mut next = Vec::new();
        file.read(taken, 2, &mut next).await?;
        match next.as_slice() {
            // Its last record was complete but for the line end.
            [b'\n', ..] if complete.may_end => return Ok(taken + 1),
            b"\r\n" if complete.may_end => return Ok(taken + 2),
            _ => {}
        }
        tracing::warn!(
            file = %found.name,
            loaded_bytes = taken,
            "the file was loaded while its last record was incomplete; that record is loaded again: compare it, and set `settle` or `follow: true`"
        );
        Ok(complete.bytes)
    }

    /// A compressed file that was complete may be followed by another stream; the rest of one that was cut begins with
    /// anything. Of a cut file nothing was loaded.
    async fn start_of_stream(
        &mut self,
        found: &Found,
        file: &mut dyn OpenFile,
        tail: &Tail,
    ) -> Result<u64> {
        let mut next = Vec::new();
        file.read(tail.taken.size(), START_BYTES, &mut next).await?;
        if compression("", &next) != tail.compression {
            return Ok(0);
        }
        if self.context.heading.is_needed() {
            let why = "each of its compressed streams may have a header or not";
            warn_again(found, &tail.taken, why);
            return Ok(0);
        }
        Ok(tail.taken.size())
    }
}

/// What a file that is loaded as a whole begins with was loaded before.
fn warn_repeated(found: &Found, record: &TakenRecord) {
    let loaded_bytes = record.size();
    if !record.is_at(&found.name) {
        tracing::warn!(
            file = %found.name,
            loaded_bytes,
            "the file begins with what was loaded from one that is gone and is loaded as a whole, so that rows may be there twice: a copy, or renamed; `follow: true` follows a renamed file"
        );
    } else if loaded_bytes < found.stat.size {
        tracing::warn!(
            file = %found.name,
            loaded_bytes,
            "the file was gone, has come back larger and is loaded as a whole, so that rows may be there twice"
        );
    } else {
        tracing::info!(file = %found.name, "the file was gone, has come back with the same content and is loaded again");
    }
}

/// The file is loaded a second time; nobody shall wonder where its rows come from.
fn warn_again(found: &Found, taken: &TakenRecord, why: &str) {
    tracing::warn!(
        file = %found.name,
        loaded_bytes = taken.size(),
        "the file has grown and is loaded again as a whole, so that rows may be there twice: {why}"
    );
}

/// The complete records at the beginning of a file.
struct CompleteRecords {
    bytes: u64,
    /// Whether a line end would complete the next.
    may_end: bool,
}

/// Line ends may stand inside quotes, so the file is read from its beginning.
async fn complete_records(
    heading: FileHeading,
    file: &mut dyn OpenFile,
    end: u64,
) -> Result<CompleteRecords> {
    let mut scan = RecordScan::new(heading);
    let (mut at, mut room) = (0, Vec::new());
    while at < end {
        let wanted = usize::try_from(end - at)
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES);
        room.clear();
        let got = file.read(at, wanted, &mut room).await?;
        if got == 0 {
            break;
        }
        scan.push(&room);
        at += got as u64;
    }
    Ok(CompleteRecords {
        bytes: scan.complete(),
        may_end: scan.may_end_here(),
    })
}

/// The end of the last complete line before `end`.
async fn line_start(file: &mut dyn OpenFile, end: u64) -> Result<u64> {
    let mut to = end;
    while to > 0 && end - to < LINE_BYTES_MAX {
        let from = to.saturating_sub(STEP_BYTES);
        let wanted = usize::try_from(to - from).unwrap_or(usize::MAX);
        let mut step = Vec::new();
        file.read(from, wanted, &mut step).await?;
        if let Some(at) = memchr::memrchr(b'\n', &step) {
            return Ok(from + at as u64 + 1);
        }
        to = from;
    }
    Ok(to)
}
