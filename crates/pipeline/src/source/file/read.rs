//! Reading files: one after the other, in chunks, with a position where one can be. The same for every kind of folder.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_core::{Chunk, Compression, Error, PayloadHead, Position, Result};

use super::digest::{Digest, hex};
use super::folder::{Folder, Found, OpenFile};
use super::taken::{Known, Partial, State, look};
use crate::source::{Framing, SourceContext, SplitReader};

/// Bytes read at once, and about the size of a chunk.
const CHUNK_BYTES: usize = 2 << 20;

/// Bytes that tell how a file is compressed.
const START_BYTES: usize = 4;

/// A position costs its size: one is offered when this many bytes have come since the last.
const POSITION_EVERY_BYTES: u64 = 8 << 20;

/// … or this share of the files that it remembers.
const POSITION_EVERY_SHARE: usize = 256;

pub(super) struct Reader {
    context: Arc<SourceContext>,
    folder: Arc<dyn Folder>,
    state: State,
    files: VecDeque<Found>,
    open: Option<Open>,
    ordinal: u64,
    /// Bytes and files since a position was offered.
    unpositioned: (u64, usize),
    /// Whether anything has been learned that the last position does not say.
    moved: bool,
}

/// A file being read.
struct Open {
    file: Box<dyn OpenFile>,
    found: Found,
    head: Arc<PayloadHead>,
    digest: Digest,
    /// Bytes handed on, and bytes read.
    taken: u64,
    read: u64,
    /// Read and not handed on: the begin of a line.
    rest: Vec<u8>,
    /// Whether a chunk may end after a line with a position.
    lines: bool,
    /// Whether a chunk has been handed on in this run.
    begun: bool,
}

impl Reader {
    pub(super) fn new(
        context: Arc<SourceContext>,
        folder: Arc<dyn Folder>,
        state: State,
        files: Vec<Found>,
    ) -> Self {
        let files = VecDeque::from(files);
        Self {
            context,
            folder,
            state,
            files,
            open: None,
            ordinal: 0,
            unpositioned: (0, 0),
            moved: false,
        }
    }

    /// Opens the next file that has to be taken; `false` when there is none.
    async fn advance(&mut self) -> Result<bool> {
        if let Some(partial) = self.state.partial.clone() {
            let found = self
                .files
                .pop_front()
                .filter(|found| found.name == partial.file);
            let found =
                found.ok_or_else(|| changed(&partial.file, partial.offset).with_hint(RESTORE))?;
            self.open = Some(self.resume(found, partial).await?);
            return Ok(true);
        }
        while let Some(found) = self.files.pop_front() {
            match self.state.known(&found) {
                Known::Same => continue,
                Known::New => {}
                Known::Touched => {
                    if self.was_taken(&found).await? {
                        continue;
                    }
                }
            }
            if let Some(open) = self.begin(found).await? {
                self.open = Some(open);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a touched file still has a content that was taken.
    async fn was_taken(&mut self, found: &Found) -> Result<bool> {
        let Some(mut file) = self.folder.open(found).await? else {
            return Ok(false);
        };
        let mut digest = Digest::default();
        feed(&mut digest, file.as_mut(), found.stat.size).await?;
        let taken = self.state.has_content(found, &digest.value());
        if taken {
            let now = self.context.clock.now();
            self.moved |= self.state.add(found, &digest.value(), now)?;
        }
        Ok(taken)
    }

    /// Opens a file, unless it is gone or another by now.
    async fn begin(&mut self, found: Found) -> Result<Option<Open>> {
        let Some(mut file) = self.folder.open(&found).await? else {
            tracing::warn!(file = %found.name, "left out: it was removed before it was read");
            return Ok(None);
        };
        let mut start = Vec::new();
        file.read(0, START_BYTES, &mut start).await?;
        if *file.stat() != found.stat || !file.unchanged().await? {
            left(&found.name);
            return Ok(None);
        }
        let compression = compression(&found.name, &start);
        Ok(Some(self.opened(file, found, compression)))
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
        let lines = self.context.framing == Framing::Lines && compression == Compression::None;
        let (head, digest) = (Arc::new(head), Digest::default());
        Open {
            file,
            found,
            head,
            digest,
            taken: 0,
            read: 0,
            rest: Vec::new(),
            lines,
            begun: false,
        }
    }

    /// Opens a file where an earlier run left it, if what was taken is still the same. A file that looks as it did then
    /// is believed but for its last block; another is read again from its begin.
    async fn resume(&mut self, found: Found, partial: Partial) -> Result<Open> {
        let offset = partial.offset;
        let gone = || changed(&found.name, offset).with_hint(RESTORE);
        let mut file = self.folder.open(&found).await?.ok_or_else(gone)?;
        let known = partial.look.as_ref() == Some(&look(file.stat()));
        let resumed = known
            .then(|| Digest::resume(&partial.chain, offset))
            .flatten();
        let mut digest = resumed.unwrap_or_default();
        feed(&mut digest, file.as_mut(), offset).await?;
        if digest.length() != offset || hex(&digest.value()) != partial.sha256 {
            return Err(gone());
        }
        let stat = file.stat().clone();
        let mut open = self.opened(file, Found { stat, ..found }, Compression::None);
        let mut head = PayloadHead::clone(&open.head);
        head.attributes
            .insert("offset".to_owned(), offset.to_string());
        open.head = Arc::new(head);
        (open.digest, open.taken, open.read) = (digest, offset, offset);
        Ok(open)
    }

    /// Reads a piece and cuts it; `None` when the file changed before anything of it was handed on.
    async fn piece(&mut self, mut open: Open) -> Result<Option<Chunk>> {
        let wanted = usize::try_from(open.found.stat.size - open.read)
            .unwrap_or(usize::MAX)
            .min(CHUNK_BYTES);
        let mut bytes = std::mem::take(&mut open.rest);
        let got = open.file.read(open.read, wanted, &mut bytes).await?;
        open.read += got as u64;
        let last = open.read == open.found.stat.size;
        if got < wanted || (last && !open.file.unchanged().await?) {
            return self.abandon(&open);
        }
        let cut = if open.lines && !last {
            memchr::memrchr(b'\n', &bytes).map(|at| at + 1)
        } else {
            None
        };
        if let Some(cut) = cut {
            open.rest = bytes.split_off(cut);
        }
        open.taken += bytes.len() as u64;
        open.digest.update(&bytes);
        self.unpositioned.0 += bytes.len() as u64;
        let position = if last {
            self.finish(&open)?
        } else {
            self.middle(&open, cut.is_some())?
        };
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

    /// The file is taken as a whole.
    fn finish(&mut self, open: &Open) -> Result<Option<Position>> {
        let was_partial = self.state.partial.take().is_some();
        let now = self.context.clock.now();
        self.state.add(&open.found, &open.digest.value(), now)?;
        self.moved = true;
        self.unpositioned.1 += 1;
        let (bytes, files) = self.unpositioned;
        let due = was_partial
            || bytes >= POSITION_EVERY_BYTES
            || files * POSITION_EVERY_SHARE >= self.state.count();
        if due {
            self.position().map(Some)
        } else {
            Ok(None)
        }
    }

    /// The file is taken up to the end of a line.
    fn middle(&mut self, open: &Open, at_line: bool) -> Result<Option<Position>> {
        if !at_line || self.unpositioned.0 < POSITION_EVERY_BYTES {
            return Ok(None);
        }
        let stat = &open.found.stat;
        let settled = !stat.is_fresh(self.context.clock.now());
        self.state.partial = Some(Partial {
            file: open.found.name.clone(),
            offset: open.taken,
            sha256: hex(&open.digest.value()),
            chain: open.digest.chain(),
            look: settled.then(|| look(stat)),
        });
        self.position().map(Some)
    }

    fn position(&mut self) -> Result<Position> {
        self.unpositioned = (0, 0);
        self.moved = false;
        self.state.position()
    }

    fn abandon(&mut self, open: &Open) -> Result<Option<Chunk>> {
        if open.begun {
            return Err(changed(&open.found.name, open.taken)
                .with_hint("run again when nobody writes it any more; `settle: 1m` leaves files alone that are still being written"));
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
        // A position was written before, so it can be written now.
        if self.moved {
            self.state.position().ok()
        } else {
            None
        }
    }
}

const RESTORE: &str = "put the file back as it was; its first part is in the table already, so it cannot be begun again";

fn changed(name: &str, offset: u64) -> Error {
    Error::data(
        "file_changed",
        format!("{name} changed, or is gone, after its first {offset} bytes were taken"),
    )
}

fn left(name: &str) {
    tracing::warn!(file = %name, "left for the next run: it changed while it was read");
}

/// Reads on until `end`; fewer bytes when the file is shorter or has become another.
async fn feed(digest: &mut Digest, file: &mut dyn OpenFile, end: u64) -> Result<()> {
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

/// By the first bytes; by the name where they say nothing.
fn compression(name: &str, start: &[u8]) -> Compression {
    let name = name.to_ascii_lowercase();
    match start {
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ if name.ends_with(".gz") => Compression::Gzip,
        _ if name.ends_with(".zst") => Compression::Zstd,
        _ => Compression::None,
    }
}
