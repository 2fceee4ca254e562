//! Reads files one after the other, in chunks, with a position where one is possible. The same for every kind of folder.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_core::{Chunk, Compression, Error, PayloadHead, Position, Result};

use super::digest::Digest;
use super::folder::{Folder, Found, OpenFile};
use super::followed::{Followed, warn_if_open};
use super::listing::{Listing, Recognition};
use super::opened::{Open, ends_whole};
use super::recognize::{Share, Tail};
use super::record::{TakenRecord, look, place_hash};
use super::streams::StreamCheck;
use super::taken::{Known, Partial, State};
use crate::source::{SourceContext, SplitReader};
use forebay_formats::framing::Framing;
use forebay_formats::json::detect::is_lines_name;

/// Bytes read at once, and about the size of a chunk.
pub(super) const CHUNK_BYTES: usize = 2 << 20;

/// Bytes that show how a file is compressed.
pub(super) const START_BYTES: usize = 4;

/// Wait for a file that has just changed and looks truncated to change again. Once per run, for all files.
const COPY_PAUSE: Duration = Duration::from_millis(300);

/// Most files that are searched for the content of one that was renamed while it was being loaded.
const RENAMED_MAX: usize = 16;

/// A position costs its size: one is offered when this many bytes have been read since the last.
const POSITION_EVERY_BYTES: u64 = 8 << 20;

/// … or this share of the files that it lists itself.
const POSITION_EVERY_SHARE: usize = 64;

pub(super) struct Reader {
    pub(super) context: Arc<SourceContext>,
    pub(super) folder: Arc<dyn Folder>,
    pub(super) state: State,
    pub(super) rules: Rules,
    pub(super) listing: Listing,
    files: VecDeque<Found>,
    open: Option<Open>,
    ordinal: u64,
    /// Bytes and files since a position was offered.
    unpositioned: (u64, usize),
    /// Whether the state has changed since the last position.
    pub(super) moved: bool,
    /// The position at the end, when it differs from the last one that was offered.
    end: Option<Position>,
    /// Whether files that changed just now have had time to change again.
    paused: bool,
}

/// How files are recognized.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// `follow`, if the pipeline file sets it.
    pub(super) follow: Option<bool>,
    pub(super) recognition: Recognition,
}

/// The files to check, in order, and the listing that identifies loaded files among them.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) files: Vec<Found>,
    pub(super) listing: Listing,
    /// Whether the listing has changed the state since the position.
    pub(super) has_news: bool,
}

impl Reader {
    pub(super) fn new(
        context: Arc<SourceContext>,
        folder: Arc<dyn Folder>,
        state: State,
        rules: Rules,
        selected: Selected,
    ) -> Self {
        Self {
            context,
            folder,
            state,
            rules,
            listing: selected.listing,
            files: VecDeque::from(selected.files),
            open: None,
            ordinal: 0,
            unpositioned: (0, 0),
            moved: selected.has_news,
            end: None,
            paused: false,
        }
    }

    /// Opens the next file to load; `false` when there is none.
    async fn advance(&mut self) -> Result<bool> {
        if let Some(partial) = self.state.partial.clone() {
            self.open = Some(self.go_on(partial).await?);
            return Ok(true);
        }
        while let Some(found) = self.files.pop_front() {
            let share = match self
                .state
                .known(&found, &self.listing, self.rules.recognition)
            {
                Known::Same => continue,
                Known::New => Share::Whole,
                Known::Perhaps(candidates) => self.recognize(&found, candidates).await?,
            };
            if share.is_whole() && self.was_taken_uncompressed(&found).await? {
                continue;
            }
            if matches!(share, Share::Whole) {
                self.warn_if_repeated(&found).await?;
            }
            let open = match share {
                Share::Nothing => continue,
                Share::Whole => self.begin(found).await?,
                Share::Rest(tail) => self.begin_rest(found, *tail).await?,
            };
            if let Some(open) = open {
                self.open = Some(open);
                return Ok(true);
            }
        }
        self.moved |= self.listing.settle_absent(&mut self.state.files);
        Ok(false)
    }

    /// Opens the file that an earlier run loaded in part, by its name or, if it was renamed since, by its content.
    async fn go_on(&mut self, partial: Partial) -> Result<Open> {
        let gone = changed(&partial.file, partial.offset).with_hint(RESTORE);
        let named = self.files.pop_front_if(|found| found.name == partial.file);
        if let Some(found) = named
            && let Some(open) = self.resume(found, &partial).await?
        {
            return Ok(open);
        }
        if self.rules.recognition.moved {
            let large = |found: &&Found| found.stat.size >= partial.offset;
            let others: Vec<Found> = self
                .files
                .iter()
                .filter(large)
                .take(RENAMED_MAX)
                .cloned()
                .collect();
            for found in others {
                let name = found.name.clone();
                if let Some(open) = self.resume(found, &partial).await? {
                    tracing::info!(file = %name, was = %partial.file, "the file was renamed while it was being loaded");
                    self.files.retain(|found| found.name != name);
                    return Ok(open);
                }
            }
        }
        Err(gone)
    }

    /// Opens a file, unless it was removed or replaced.
    async fn begin(&mut self, found: Found) -> Result<Option<Open>> {
        let Some(mut file) = self.folder.open(&found).await? else {
            tracing::warn!(file = %found.name, "skipped: it was removed before it was read");
            return Ok(None);
        };
        let mut start = Vec::new();
        file.read(0, START_BYTES, &mut start).await?;
        if *file.stat() != found.stat || !file.unchanged().await? {
            left(&found.name);
            return Ok(None);
        }
        let compression = compression(&found.name, &start);
        let open = self.opened(file, found, compression);
        self.settled(open).await
    }

    /// Opens the appended part of a file.
    async fn begin_rest(&mut self, found: Found, tail: Tail) -> Result<Option<Open>> {
        let Some(mut file) = self.folder.open(&found).await? else {
            return Ok(None);
        };
        if *file.stat() != found.stat || !file.unchanged().await? {
            left(&found.name);
            return Ok(None);
        }
        let mut open = self.opened(file, found, tail.compression);
        if tail.start > 0 {
            tracing::info!(file = %open.found.name, from = tail.start, "the file has grown, loading the appended part");
            let mut head = PayloadHead::clone(&open.head);
            let from = tail.start.to_string();
            head.attributes.insert(APPENDED_ATTRIBUTE.to_owned(), from);
            open.head = Arc::new(head);
        }
        if tail.start > 0 {
            open.digest = tail.digest;
        }
        (open.taken, open.read) = (tail.start, tail.start);
        open.followed = Followed::from(self.context.heading, tail.start);
        open.heading = tail.heading;
        open.instead = Some(tail.taken);
        open.base = tail.base;
        if tail.base.is_some() {
            open.check = Some(StreamCheck::new(tail.compression)?);
        }
        self.settled(open).await
    }

    /// Leaves a file for the next run if it seems to be still written.
    async fn settled(&mut self, mut open: Open) -> Result<Option<Open>> {
        let is_fresh = open.found.stat.is_fresh(self.context.clock.now());
        if open.follow || !is_fresh || ends_whole(&mut open).await? {
            return Ok(Some(open));
        }
        if !self.paused {
            self.context.clock.sleep(COPY_PAUSE).await;
            self.paused = true;
        }
        if open.file.unchanged().await? {
            return Ok(Some(open));
        }
        left(&open.found.name);
        Ok(None)
    }

    fn opened(&mut self, file: Box<dyn OpenFile>, found: Found, compression: Compression) -> Open {
        let attributes = BTreeMap::from([
            ("size".to_owned(), found.stat.size.to_string()),
            ("modified".to_owned(), found.stat.modified.to_string()),
        ]);
        let head = PayloadHead {
            ordinal: self.ordinal,
            name: found.name.clone(),
            received_at: self.context.clock.now(),
            content_type: None,
            compression,
            attributes,
            messages: None,
        };
        self.ordinal += 1;
        let lines = self.has_lines(&found.name, compression);
        let head = Arc::new(head);
        let digest = Digest::default();
        Open {
            file,
            found,
            head,
            digest,
            taken: 0,
            read: 0,
            rest: Vec::new(),
            lines,
            follow: lines && self.rules.follow == Some(true),
            followed: Followed::from(self.context.heading, 0),
            heading: Vec::new(),
            instead: None,
            base: None,
            check: None,
            begun: false,
        }
    }

    /// Whether a file can be split after each line.
    pub(super) fn has_lines(&self, name: &str, compression: Compression) -> bool {
        let has_lines = match self.context.framing {
            Framing::Lines => true,
            Framing::Whole => false,
            Framing::Detected => is_lines_name(name),
        };
        has_lines && compression == Compression::None
    }

    /// Opens a file where an earlier run stopped, if the loaded part is unchanged. If its stat is unchanged, only the
    /// last block is verified; otherwise the loaded part is read again from the beginning. `None` when the content
    /// differs.
    async fn resume(&mut self, found: Found, partial: &Partial) -> Result<Option<Open>> {
        let offset = partial.offset;
        let Some(mut file) = self.folder.open(&found).await? else {
            return Ok(None);
        };
        let known = partial.look.as_ref() == Some(&look(file.stat()));
        let resumed = known
            .then(|| Digest::resume(&partial.chain, offset))
            .flatten();
        let mut digest = resumed.unwrap_or_default();
        feed(&mut digest, file.as_mut(), offset).await?;
        if digest.length() != offset || hex::encode(digest.value()) != partial.sha256 {
            return Ok(None);
        }
        let stat = file.stat().clone();
        let mut open = self.opened(file, Found { stat, ..found }, Compression::None);
        let mut head = PayloadHead::clone(&open.head);
        // The name of its first part, which may no longer be its name.
        head.name.clone_from(&partial.file);
        let attribute = PayloadHead::OFFSET_ATTRIBUTE.to_owned();
        head.attributes.insert(attribute, offset.to_string());
        open.head = Arc::new(head);
        (open.digest, open.taken, open.read) = (digest, offset, offset);
        open.followed = Followed::from(self.context.heading, offset);
        let before = partial.grown_from;
        open.instead = before.and_then(|size| self.state.taken_at(&partial.file, size));
        Ok(Some(open))
    }

    /// Reads a piece and splits it; `None` when the file changed before anything of it was passed on.
    async fn piece(&mut self, mut open: Open) -> Result<Option<Chunk>> {
        let wanted = usize::try_from(open.found.stat.size - open.read)
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES);
        let wanted = match self.lines_end(&open, &open.rest) {
            Some(_) => 0,
            None => wanted,
        };
        let mut bytes = std::mem::take(&mut open.rest);
        let held = bytes.len();
        let got = open.file.read(open.read, wanted, &mut bytes).await?;
        open.read += got as u64;
        open.take_in(&bytes[held..]);
        let lines_end = self.lines_end(&open, &bytes);
        let last = open.read == open.found.stat.size && lines_end.is_none();
        if got < wanted || (last && !open.is_intact().await?) {
            return self.abandon(&open);
        }
        let cut = open.cut(&bytes, lines_end, last);
        if let Some(cut) = cut {
            open.rest = bytes.split_off(cut);
        }
        if open.follow && last {
            warn_if_open(&open.found.name, &open.rest);
        } else if bytes.is_empty() && !last {
            // A followed record that is longer than what was read.
            self.open = Some(open);
            return Ok(None);
        }
        let is_grown = open.instead.is_some() && open.taken > 0;
        if last && bytes.is_empty() && (is_grown || open.follow) && !open.begun {
            self.finish(&open);
            return Ok(None);
        }
        open.check(&bytes, last).await?;
        let seen = open.digest.length().saturating_sub(open.taken);
        let seen = usize::try_from(seen).unwrap_or(usize::MAX).min(bytes.len());
        open.digest.update(&bytes[seen..]);
        open.taken += bytes.len() as u64;
        self.unpositioned.0 += bytes.len() as u64;
        let is_due = match last {
            true => self.finish(&open),
            // A line feed may follow a carriage return.
            false => self.middle(&open, cut.is_some() && bytes.ends_with(b"\n")),
        };
        let position = match is_due {
            true => Some(self.position().await?),
            false => None,
        };
        if !open.heading.is_empty() {
            let mut whole = std::mem::take(&mut open.heading);
            whole.append(&mut bytes);
            bytes = whole;
        }
        let chunk = Chunk {
            bytes: Bytes::from(bytes),
            last,
            position,
            ..Chunk::whole(PayloadHead::clone(&open.head), Bytes::new(), None)
        };
        let chunk = Chunk {
            head: Arc::clone(&open.head),
            ..chunk
        };
        open.begun = true;
        if !last {
            self.open = Some(open);
        }
        Ok(Some(chunk))
    }

    /// The end of the lines that a chunk should have, when more follows.
    fn lines_end(&self, open: &Open, bytes: &[u8]) -> Option<usize> {
        let lines = self.context.chunk_records.filter(|_| open.lines)?;
        let end = memchr::memchr_iter(b'\n', bytes).nth(lines - 1)? + 1;
        if open.follow && end > open.followed.complete(bytes, open.taken) {
            return None;
        }
        let is_end = end == bytes.len() && open.read == open.found.stat.size;
        (!is_end).then_some(end)
    }

    /// Records the file as completely loaded. Returns whether a position is due.
    fn finish(&mut self, open: &Open) -> bool {
        let was_partial = self.state.partial.take().is_some();
        let now = self.context.clock.now();
        let size = open.digest.length();
        let digest = open.digest.value();
        // The copy of a log that is not truncated yet replaces no record.
        let is_there =
            |record: &&TakenRecord| record.is_at(&open.found.name) || self.listing.is_gone(record);
        let instead = open.instead.as_ref().filter(is_there);
        self.state.add(&open.found, size, &digest, now, instead);
        if let Some(instead) = instead {
            self.state.set_base(instead.place, None);
        }
        self.state.set_base(place_hash(&open.found.name), open.base);
        if self.files.is_empty() {
            // Done now, so that the position of this file includes it and no other has to follow.
            self.listing.settle_absent(&mut self.state.files);
        }
        self.moved = true;
        self.unpositioned.1 += 1;
        let (bytes, files) = self.unpositioned;
        was_partial
            || self.context.chunk_records.is_some()
            || bytes >= POSITION_EVERY_BYTES
            || files * POSITION_EVERY_SHARE >= self.state.files.listed()
    }

    /// Records the file as loaded up to the end of a line. Returns whether a position is due.
    fn middle(&mut self, open: &Open, at_line: bool) -> bool {
        // A record that is loaded again precedes the end of the digest.
        let is_seen = open.digest.length() == open.taken;
        let is_due =
            self.unpositioned.0 >= POSITION_EVERY_BYTES || self.context.chunk_records.is_some();
        if !at_line || !is_seen || !is_due {
            return false;
        }
        let stat = &open.found.stat;
        let settled = !stat.is_fresh(self.context.clock.now());
        self.state.partial = Some(Partial {
            file: open.found.name.clone(),
            offset: open.taken,
            sha256: hex::encode(open.digest.value()),
            chain: open.digest.chain(),
            look: settled.then(|| look(stat)),
            grown_from: open.instead.map(|record| record.size()),
        });
        true
    }

    async fn position(&mut self) -> Result<Position> {
        self.unpositioned = (0, 0);
        self.moved = false;
        if let Some(storage) = &self.context.position_storage {
            self.state.settle(storage.as_ref()).await?;
        }
        self.state.position()
    }

    fn abandon(&mut self, open: &Open) -> Result<Option<Chunk>> {
        if open.begun {
            return Err(changed(&open.found.name, open.taken)
                .with_hint("run again once the file is no longer written; set `settle: 1m` to skip files that are still being written"));
        }
        left(&open.found.name);
        Ok(None)
    }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if self.open.is_none() && !self.advance().await? {
                if self.moved {
                    self.end = Some(self.position().await?);
                }
                return Ok(None);
            }
            if let Some(open) = self.open.take()
                && let Some(chunk) = self.piece(open).await?
            {
                return Ok(Some(chunk));
            }
        }
    }

    fn end_position(&self) -> Option<Position> {
        self.end.clone()
    }
}

/// Attribute of a payload that holds only the appended part of a file: the byte offset in the file at which it begins.
/// A header precedes it.
const APPENDED_ATTRIBUTE: &str = "appended_from";

const RESTORE: &str = "put the file back as it was; its first part is already in the table, so it cannot be loaded from the beginning";

fn changed(name: &str, offset: u64) -> Error {
    Error::data(
        "file_changed",
        format!("{name} changed or was removed after its first {offset} bytes were loaded"),
    )
}

fn left(name: &str) {
    tracing::warn!(file = %name, "left for the next run: it changed while it was read");
}

/// Reads on until `end`; fewer bytes when the file is shorter or was replaced.
pub(super) async fn feed(digest: &mut Digest, file: &mut dyn OpenFile, end: u64) -> Result<()> {
    let mut room = Vec::new();
    while digest.length() < end {
        let wanted = usize::try_from(end - digest.length())
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES);
        room.clear();
        let got = file.read(digest.length(), wanted, &mut room).await?;
        if got == 0 {
            break;
        }
        digest.update(&room);
    }
    Ok(())
}

/// Detects the compression by the first bytes, else by the name.
pub(super) fn compression(name: &str, start: &[u8]) -> Compression {
    let name = name.to_ascii_lowercase();
    match start {
        // Without the method behind it too: then the file is corrupt, and certainly no text.
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ if name.ends_with(".gz") => Compression::Gzip,
        _ if name.ends_with(".zst") => Compression::Zstd,
        _ => Compression::None,
    }
}
