//! Reading files: one after the other, in chunks, with a position where one can be.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_core::{Chunk, Compression, Error, PayloadHead, Position, Result};
use sha2::{Digest, Sha256};

use super::blocking;
use super::list::{Found, Stat, failed};
use super::taken::{Known, Partial, State};
use crate::source::{Framing, SourceContext, SplitReader};

/// Bytes read at once, and about the size of a chunk.
const CHUNK_BYTES: usize = 2 << 20;

/// A position costs its size: one is offered when this many bytes have come since the last.
const POSITION_EVERY_BYTES: u64 = 8 << 20;

/// … or this share of the files that it remembers.
const POSITION_EVERY_SHARE: usize = 256;

pub(super) struct Reader {
    context: Arc<SourceContext>,
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
    file: File,
    found: Found,
    head: Arc<PayloadHead>,
    digest: Sha256,
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
    pub(super) fn new(context: Arc<SourceContext>, state: State, files: Vec<Found>) -> Self {
        let files = VecDeque::from(files);
        Self {
            context,
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
        let (path, limit) = (found.path.clone(), found.stat.size);
        let digest = blocking(move || {
            let file = File::open(&path).map_err(|error| failed(error, &path))?;
            digest_of(file, limit)
                .map(|(digest, _)| digest)
                .map_err(|error| failed(error, &path))
        });
        let digest = digest.await?.finalize();
        let taken = self.state.has_content(found, &digest);
        if taken {
            let now = self.context.clock.now();
            self.moved |= self.state.add(found, &digest, now)?;
        }
        Ok(taken)
    }

    /// Opens a file, unless it is gone or another by now.
    async fn begin(&mut self, found: Found) -> Result<Option<Open>> {
        let path = found.path.clone();
        let opened = blocking(move || Ok(open_regular(&path))).await?;
        let (file, stat, start) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %found.name, "left out: it was removed before it was read");
                return Ok(None);
            }
            Err(error) => return Err(failed(error, &found.path)),
        };
        if stat != found.stat {
            left(&found.name);
            return Ok(None);
        }
        let compression = compression(&found.name, &start);
        let open = self.opened(file, found, compression);
        Ok(Some(open))
    }

    fn opened(&mut self, file: File, found: Found, compression: Compression) -> Open {
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
        };
        self.ordinal += 1;
        let lines = self.context.framing == Framing::Lines && compression == Compression::None;
        let (head, digest) = (Arc::new(head), Sha256::new());
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

    /// Opens a file where an earlier run left it, if what was taken is still the same.
    async fn resume(&mut self, found: Found, partial: Partial) -> Result<Open> {
        let path = found.path.clone();
        let offset = partial.offset;
        let opened = blocking(move || {
            let (file, stat, _) = open_regular(&path).map_err(|error| failed(error, &path))?;
            let read = digest_of(&file, offset).map_err(|error| failed(error, &path))?;
            Ok((file, stat, read))
        });
        let (file, stat, (digest, read)) = opened.await?;
        let same = read == offset && format!("{:x}", digest.clone().finalize()) == partial.sha256;
        if !same {
            return Err(changed(&found.name, offset).with_hint(RESTORE));
        }
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
        let (file, mut bytes, got) = blocking({
            let (file, mut bytes) = (open.file, std::mem::take(&mut open.rest));
            let path = open.found.path.clone();
            move || {
                let before = bytes.len();
                bytes.resize(before + wanted, 0);
                let got =
                    read_full(&file, &mut bytes[before..]).map_err(|error| failed(error, &path))?;
                bytes.truncate(before + got);
                Ok((file, bytes, got))
            }
        })
        .await?;
        open.file = file;
        open.read += got as u64;
        let last = open.read == open.found.stat.size;
        if (last || got < wanted) && !unchanged(&open).await? {
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
        let (digest, now) = (open.digest.clone().finalize(), self.context.clock.now());
        self.state.add(&open.found, &digest, now)?;
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
        let sha256 = format!("{:x}", open.digest.clone().finalize());
        self.state.partial = Some(Partial {
            file: open.found.name.clone(),
            offset: open.taken,
            sha256,
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

/// Opens a regular file without ever waiting for a pipe; returns what it is and its first bytes.
fn open_regular(path: &std::path::Path) -> std::io::Result<(File, Stat, Vec<u8>)> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file any more"));
    }
    let mut start = vec![0; 4];
    let got = std::os::unix::fs::FileExt::read_at(&file, &mut start, 0)?;
    start.truncate(got);
    Ok((file, Stat::of(&metadata), start))
}

/// Whether the open file, and the file at its path, are still what was found.
async fn unchanged(open: &Open) -> Result<bool> {
    let (path, expected) = (open.found.path.clone(), open.found.stat);
    let complete = open.read == expected.size;
    blocking(move || {
        Ok(complete
            && std::fs::metadata(&path).is_ok_and(|metadata| Stat::of(&metadata) == expected))
    })
    .await
}

fn read_full(mut file: &File, mut room: &mut [u8]) -> std::io::Result<usize> {
    let mut total = 0;
    while !room.is_empty() {
        match file.read(room) {
            Ok(0) => break,
            Ok(got) => {
                total += got;
                room = &mut room[got..];
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// The digest of the first `limit` bytes, and how many there were.
fn digest_of(file: impl Read, limit: u64) -> std::io::Result<(Sha256, u64)> {
    let mut file = file.take(limit);
    let (mut digest, mut room, mut total) = (Sha256::new(), vec![0; 256 << 10], 0);
    loop {
        match file.read(&mut room) {
            Ok(0) => return Ok((digest, total)),
            Ok(got) => {
                digest.update(&room[..got]);
                total += got as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
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
