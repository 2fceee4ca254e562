//! Recognizes a file that was loaded before, at least in part: unchanged, moved, grown or replaced.
//!
//! Only the content decides: the recorded digest is compared with the digest of as many bytes of the file. So a file
//! that was rotated, truncated or rewritten is never mistaken for one that grew, and nothing of it is skipped.

use forebay_core::{Compression, Result};
use forebay_formats::csv::heading_length;

use super::digest::Digest;
use super::folder::{Found, OpenFile};
use super::growth::rest;
use super::read::{Reader, START_BYTES, compression, feed};
use super::record::{TakenRecord, place_hash};
use super::streams::is_padding;
use forebay_formats::framing::Framing;
use forebay_formats::json::detect::is_lines_text;

/// Longest header that is repeated before appended records.
const HEADING_BYTES_MAX: usize = 1 << 20;

/// Bytes at the beginning of a file that show whether it has a record a line.
pub(super) const DETECTED_BYTES: usize = 64 << 10;

/// The part of a file that has to be loaded.
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

/// The loaded beginning of a file, and its digest.
struct Prefix {
    record: TakenRecord,
    digest: Digest,
}

/// The part of a file to load now, when the file begins with the content loaded before.
pub(super) struct Tail {
    /// Where it begins; 0 when the file is loaded again as a whole.
    pub(super) start: u64,
    /// Digest of the file up to there.
    pub(super) digest: Digest,
    /// Record of the part loaded before.
    pub(super) taken: TakenRecord,
    pub(super) compression: Compression,
    /// The header of the file, when records cannot be read without it.
    pub(super) heading: Vec<u8>,
    /// Record of the part of a compressed file that is loaded.
    pub(super) base: Option<TakenRecord>,
}

impl Tail {
    /// Makes the digest that of the file up to the start, unless the file is loaded as a whole.
    async fn rewind(&mut self, file: &mut dyn OpenFile) -> Result<()> {
        if self.start < self.digest.length() {
            self.digest = Digest::default();
        }
        feed(&mut self.digest, file, self.start).await
    }
}

impl Reader {
    /// Compares a file with records of loaded files. `candidates` are ordered by size.
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
            let size = digest.length();
            let value = digest.value();
            let now = self.context.clock.now();
            self.moved |= self.state.add(found, size, &value, now, None);
            return Ok(Share::Nothing);
        }
        Ok(Share::Whole)
    }

    /// Records the size of a loaded file that has grown by bytes that mean nothing.
    async fn know_padded(
        &mut self,
        found: &Found,
        file: &mut dyn OpenFile,
        mut tail: Tail,
    ) -> Result<()> {
        feed(&mut tail.digest, file, found.stat.size).await?;
        let taken = tail.taken;
        let is_there = taken.is_at(&found.name) || self.listing.is_gone(&taken);
        let instead = is_there.then_some(&taken);
        let now = self.context.clock.now();
        let size = tail.digest.length();
        let value = tail.digest.value();
        self.moved |= self.state.add(found, size, &value, now, instead);
        Ok(())
    }

    /// Logs when a file that is loaded as a whole begins with the content loaded from a removed file.
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

    /// Records the current stat or name of a loaded file.
    fn know(&mut self, found: &Found, record: &TakenRecord, digest: &Digest) {
        let is_moved = !record.is_at(&found.name);
        if is_moved {
            tracing::info!(file = %found.name, "not loaded again: its content was loaded under another name");
        }
        let instead = (is_moved && self.listing.is_gone(record)).then_some(record);
        let now = self.context.clock.now();
        let size = digest.length();
        let value = digest.value();
        self.moved |= self.state.add(found, size, &value, now, instead);
        if is_moved {
            let base = self.state.base(record.place);
            self.state.set_base(place_hash(&found.name), base);
        }
    }

    /// The new part of a file that begins with the content loaded before.
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
            base: None,
        };
        if taken.size() == 0 {
            return Ok(Share::Rest(Box::new(tail)));
        }
        if self.rules.follow == Some(false) {
            warn_again(found, &taken, "`follow: false` is set");
            return Ok(Share::Rest(Box::new(tail)));
        }
        if tail.compression != Compression::None {
            let loaded = self.loaded_streams(file, &tail).await?;
            if let Some(loaded) = &loaded
                && is_padding(file, tail.compression, loaded.size(), found.stat.size).await?
            {
                self.know_padded(found, file, tail).await?;
                return Ok(Share::Nothing);
            }
            tail.start = self.start_of_stream(found, &tail, loaded);
            tail.base = loaded;
            if tail.start > 0 {
                tail.heading = self.open_record(found, file, &tail).await?;
            }
            tail.rewind(file).await?;
            return Ok(Share::Rest(Box::new(tail)));
        }
        let has_lines =
            self.has_lines(&found.name, tail.compression) || self.detects_lines(file).await?;
        if !has_lines {
            warn_again(
                found,
                &taken,
                "its format has no records that can be loaded separately",
            );
            return Ok(Share::Rest(Box::new(tail)));
        }
        let rest = self.start_of_rest(found, file, taken.size()).await?;
        let rest = rest.min(found.stat.size);
        let mut room = Vec::new();
        let wanted = HEADING_BYTES_MAX.min(usize::try_from(rest).unwrap_or(usize::MAX));
        file.read(0, wanted, &mut room).await?;
        match heading_length(self.context.heading, &room) {
            Some(length) => {
                room.truncate(length);
                tail.heading = room;
                tail.start = rest;
                tail.rewind(file).await?;
            }
            // The header was incomplete.
            None if rest < HEADING_BYTES_MAX as u64 => {}
            None => warn_again(found, &taken, "its header is too long to be repeated"),
        }
        Ok(Share::Rest(Box::new(tail)))
    }

    /// Whether a file with an unknown extension holds one JSON object per line, where the extractor would detect that itself.
    async fn detects_lines(&mut self, file: &mut dyn OpenFile) -> Result<bool> {
        if self.context.framing != Framing::Detected {
            return Ok(false);
        }
        let mut start = Vec::new();
        file.read(0, DETECTED_BYTES, &mut start).await?;
        Ok(is_lines_text(&start))
    }

    /// Start of the first record that is incomplete or differs in the first `taken` bytes, which may end anywhere.
    async fn start_of_rest(
        &mut self,
        found: &Found,
        file: &mut dyn OpenFile,
        taken: u64,
    ) -> Result<u64> {
        let rest = rest(self.context.heading, file, taken, found.stat.size).await?;
        if rest.is_repeated {
            warn_incomplete(found, taken);
        }
        Ok(rest.start)
    }
}

/// Warns that the last record loaded before was only a part of one.
pub(super) fn warn_incomplete(found: &Found, loaded_bytes: u64) {
    tracing::warn!(
        file = %found.name,
        loaded_bytes,
        "the file was loaded while its last record was incomplete; that record is loaded again: compare it, and set `settle` or `follow: true`"
    );
}

/// Logs that a file to be loaded as a whole begins with content loaded before.
fn warn_repeated(found: &Found, record: &TakenRecord) {
    let loaded_bytes = record.size();
    if !record.is_at(&found.name) {
        tracing::warn!(
            file = %found.name,
            loaded_bytes,
            "the file begins with the content of a removed file and is loaded as a whole, so rows may be duplicated: it is a copy, or was renamed; set `follow: true` to follow renamed files and copied logs"
        );
    } else if loaded_bytes < found.stat.size {
        tracing::warn!(
            file = %found.name,
            loaded_bytes,
            "the file was removed, came back larger and is loaded as a whole, so rows may be duplicated"
        );
    } else {
        tracing::info!(file = %found.name, "the file was removed, came back with the same content and is loaded again");
    }
}

/// Warns that the file is loaded a second time, which may duplicate rows.
pub(super) fn warn_again(found: &Found, taken: &TakenRecord, why: &str) {
    tracing::warn!(
        file = %found.name,
        loaded_bytes = taken.size(),
        "the file has grown and is loaded again as a whole, so rows may be duplicated: {why}"
    );
}
