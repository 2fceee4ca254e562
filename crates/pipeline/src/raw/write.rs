//! Writing payloads: packed into objects, compressed once, durable when sealed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_core::{Chunk, Clock, Error, Ident, Kept, PayloadHead, Position, Result, Timestamp};
use forebay_lake::check_age;
use forebay_objects::Medium;
use object_store::ObjectStore;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::raw::RawEntry;
use crate::raw::format::{self, Format};
use crate::raw::frames::{Frames, Start};
use crate::raw::parts;
use crate::raw::pointers::Pointers;
use crate::raw::upload::{Destination, Upload, flush};

/// Messages whose position, time and key wait for the next seal: some 50 bytes each and the key.
const MESSAGES_HELD_MAX: usize = 1 << 18;

#[derive(Debug, Clone)]
pub struct RawOptions {
    pub pipeline: Ident,
    pub split: Ident,
    /// A packed object is closed at the end of the payload that makes it this large, as stored.
    pub object_bytes: u64,
    pub level: i32,
    /// Seeds the object names.
    pub seed: u64,
}

/// A sealed object with its index.
#[derive(Debug, Clone)]
pub struct RawObject {
    /// `None` when the entries reference existing bytes of the raw zone.
    pub path: Option<Path>,
    /// Path of its index, beside it.
    pub index: Path,
    /// Without those that [`RawWriter::take_index`] has given already.
    pub entries: Vec<RawEntry>,
    /// Bytes of the object as stored.
    pub bytes: u64,
}

/// Packs the payloads of one commit after another. CPU work happens on the calling thread, which also waits for
/// uploads: call it from a blocking thread of `runtime` or from a plain thread.
///
/// Dropping a writer leaves nothing visible except objects that were full already; no index references them.
pub struct RawWriter {
    destination: Destination,
    clock: Arc<dyn Clock>,
    options: RawOptions,
    rng: StdRng,
    open: Option<OpenObject>,
    payload: Option<OpenPayload>,
    /// Ordinal of a payload that the last seal cut, and how many parts of it are sealed.
    cut: Option<(u64, u32)>,
    sealed: Vec<RawObject>,
    /// When the first of them was complete.
    sealed_since: Option<Timestamp>,
    /// Entries for payloads that are stored already.
    pointers: Option<Pointers>,
    /// Messages in the entries held here.
    messages: usize,
    local_root: Option<PathBuf>,
}

/// An object that takes payloads.
struct OpenObject {
    ulid: Ulid,
    format: Format,
    path: Path,
    /// `None` for a kept payload.
    frames: Option<Frames>,
    upload: Upload,
    entries: Vec<RawEntry>,
    /// Entries that were taken before these.
    taken: usize,
}

/// A payload that has begun and not ended.
struct OpenPayload {
    head: Arc<PayloadHead>,
    start: Start,
    length: u64,
    digest: Sha256,
    /// Where the source could resume after the bytes so far.
    position: Option<Position>,
    part: u32,
}

impl fmt::Debug for RawWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawWriter")
            .field("options", &self.options)
            .field("sealed", &self.sealed.len())
            .finish_non_exhaustive()
    }
}

impl RawWriter {
    /// `runtime` runs the uploads while this thread blocks.
    pub fn new(
        objects: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        runtime: tokio::runtime::Handle,
        options: RawOptions,
    ) -> Self {
        let rng = StdRng::seed_from_u64(options.seed);
        let destination = Destination {
            objects,
            medium: Medium::Remote,
            runtime,
        };
        Self {
            destination,
            clock,
            options,
            rng,
            open: None,
            payload: None,
            cut: None,
            sealed: Vec::new(),
            sealed_since: None,
            pointers: None,
            messages: 0,
            local_root: None,
        }
    }

    /// Sets the root folder of the object store when it is the local disk. `object_store` does not flush there, so only
    /// with it does [`Self::seal`] keep its contract on a disk; a remote store needs nothing.
    #[must_use]
    pub fn on_local_disk(mut self, root: impl Into<PathBuf>) -> Self {
        self.local_root = Some(root.into());
        self.destination.medium = Medium::Disk;
        self
    }

    /// Takes the next chunk. Chunks of one payload must be consecutive.
    ///
    /// Errors: `Unavailable` or `Denied` when the store fails; `Bug` when a payload begins inside another.
    pub fn push(&mut self, chunk: &Chunk) -> Result<()> {
        if let Some(kept) = &chunk.kept {
            return self.point(chunk, kept);
        }
        match &self.payload {
            None => self.begin(chunk)?,
            Some(open) if open.head.ordinal == chunk.head.ordinal => {}
            Some(_) => {
                return Err(Error::bug(
                    "raw_interleaved",
                    "a payload began before the one before it ended",
                ));
            }
        }
        let (Some(object), Some(payload)) = (&mut self.open, &mut self.payload) else {
            return Err(Error::bug(
                "raw_no_object",
                "a payload is open without an object",
            ));
        };
        payload.digest.update(&chunk.bytes);
        payload.length += chunk.bytes.len() as u64;
        payload.position.clone_from(&chunk.position);
        object.push(&chunk.bytes)?;
        if chunk.last {
            self.end(false)?;
        }
        Ok(())
    }

    /// Makes everything durable and returns the objects since the last seal.
    ///
    /// A commit ends between payloads or at a position inside one; then the part so far becomes an entry of its own (see
    /// [`super::PART_ATTRIBUTE`]). Errors: `Bug` `raw_payload_open` when a payload is open where its source could not
    /// resume; `Conflict` `draft_too_old` when an object has waited for the seal for so long that cleaning may take it for
    /// a leftover.
    pub fn seal(&mut self) -> Result<Vec<RawObject>> {
        if let Some(payload) = &self.payload {
            if payload.position.is_none() {
                return Err(Error::bug(
                    "raw_payload_open",
                    "a commit inside a payload needs a position",
                )
                .with_context("payload", &payload.head.name));
            }
            self.end(true)?;
        }
        self.close()?;
        if let Some(since) = self.sealed_since.take() {
            check_age(since, self.clock.now())?;
        }
        if let Some(root) = &self.local_root {
            flush(
                root,
                self.sealed.iter().filter_map(|object| object.path.as_ref()),
            )?;
        }
        if let Some(pointers) = self.pointers.take() {
            self.sealed.push(pointers.seal()?);
        }
        self.messages = 0;
        Ok(std::mem::take(&mut self.sealed))
    }

    /// The index so far, once it is too large to be held until the next seal: the path of each part of it, and its entries,
    /// which are returned only here.
    pub fn take_index(&mut self) -> Vec<(Path, Vec<RawEntry>)> {
        if self.messages < MESSAGES_HELD_MAX {
            return Vec::new();
        }
        self.messages = 0;
        let sealed = self.sealed.iter_mut();
        let sealed =
            sealed.map(|object| (object.index.clone(), std::mem::take(&mut object.entries)));
        let open = self.open.iter_mut();
        let open = open.map(|object| (object.index(), object.take()));
        let pointers = self.pointers.iter_mut();
        let pointers = pointers.map(|pointers| (pointers.index(), pointers.take()));
        let all = sealed.chain(open).chain(pointers);
        all.filter(|(_, entries)| !entries.is_empty()).collect()
    }

    /// Closes the object of the last complete payload, so that an extractor can read it at random, and returns its path.
    /// [`Self::seal`] still returns the object.
    pub fn seal_for_reading(&mut self) -> Result<Path> {
        if self.payload.is_some() {
            return Err(Error::bug(
                "raw_payload_open",
                "a payload can be read when it is complete",
            ));
        }
        if let Some(pointers) = &self.pointers {
            return pointers.last_path().ok_or_else(no_payload);
        }
        self.close()?;
        let last = self.sealed.last().and_then(|object| object.path.clone());
        last.ok_or_else(no_payload)
    }

    /// References an existing payload in the index.
    fn point(&mut self, chunk: &Chunk, kept: &Arc<Kept>) -> Result<()> {
        let mut pointers = match self.pointers.take() {
            Some(pointers) => pointers,
            None => Pointers::new(self.ulid(), self.folder(chunk.head.received_at)?),
        };
        self.messages += pointers.push(&self.options.split, chunk, kept);
        self.pointers = Some(pointers);
        Ok(())
    }

    fn begin(&mut self, chunk: &Chunk) -> Result<()> {
        let format = format::of(&chunk.head, &chunk.bytes);
        let fits = self
            .open
            .as_ref()
            .is_some_and(|open| open.takes(&format, chunk, self.options.object_bytes));
        if !fits {
            self.close()?;
            let object = self.object(format, chunk.head.received_at)?;
            self.open = Some(object);
        }
        let object = self
            .open
            .as_mut()
            .ok_or_else(|| Error::bug("raw_no_object", "an object was just opened"))?;
        let start = object.start()?;
        let part = match self.cut.take() {
            Some((ordinal, parts)) if ordinal == chunk.head.ordinal => parts + 1,
            _ => 1,
        };
        let head = Arc::clone(&chunk.head);
        self.messages += messages_of(&head);
        self.payload = Some(OpenPayload {
            head,
            start,
            length: 0,
            digest: Sha256::new(),
            position: None,
            part,
        });
        Ok(())
    }

    /// Ends the open payload, or (`cut`) its part so far.
    fn end(&mut self, cut: bool) -> Result<()> {
        let (Some(object), Some(payload)) = (&mut self.open, self.payload.take()) else {
            return Ok(());
        };
        self.cut = cut.then_some((payload.head.ordinal, payload.part));
        let entry = object.entry(&self.options.split, payload, cut);
        object.entries.push(entry);
        if object.is_full(self.options.object_bytes) {
            self.close()
        } else {
            Ok(())
        }
    }

    fn close(&mut self) -> Result<()> {
        if let Some(object) = self.open.take() {
            self.sealed.push(object.finish()?);
            self.sealed_since.get_or_insert(self.clock.now());
        }
        Ok(())
    }

    fn object(&mut self, format: Format, received_at: Timestamp) -> Result<OpenObject> {
        let ulid = self.ulid();
        let folder = self.folder(received_at)?;
        let end = if format.kept { "" } else { ".zst" };
        let path = Path::from(format!("{folder}/{ulid}.{}{end}", format.extension));
        let frames = (!format.kept)
            .then(|| Frames::new(self.options.level))
            .transpose()?;
        let upload = Upload::new(self.destination.clone(), path.clone());
        Ok(OpenObject {
            ulid,
            format,
            path,
            frames,
            upload,
            entries: Vec::new(),
            taken: 0,
        })
    }

    fn ulid(&mut self) -> Ulid {
        let now = self.clock.now();
        Ulid::from_parts(u64::try_from(now.millis()).unwrap_or(0), self.rng.random())
    }

    fn folder(&self, at: Timestamp) -> Result<String> {
        let at = at.to_utc().ok_or_else(|| {
            Error::data("bad_time", "a payload was received outside of the calendar")
        })?;
        let RawOptions {
            pipeline, split, ..
        } = &self.options;
        Ok(format!(
            "raw/{pipeline}/{split}/dt={}/hour={}",
            at.format("%Y-%m-%d"),
            at.format("%H")
        ))
    }
}

impl OpenObject {
    /// Whether a payload that begins with `chunk` can go into this object.
    fn takes(&self, format: &Format, chunk: &Chunk, object_bytes: u64) -> bool {
        let stored = self.frames.as_ref().map_or(u64::MAX, Frames::stored_bytes);
        !self.format.kept
            && self.format == *format
            && stored.saturating_add(chunk.bytes.len() as u64) <= object_bytes
    }

    fn is_full(&self, object_bytes: u64) -> bool {
        self.frames
            .as_ref()
            .is_none_or(|frames| frames.stored_bytes() >= object_bytes)
    }

    fn start(&mut self) -> Result<Start> {
        match &mut self.frames {
            Some(frames) => frames.start(&mut self.upload.buffer),
            None => Ok(Start {
                offset: 0,
                frame: 0,
                frame_offset: 0,
            }),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.frames {
            Some(frames) => frames.push(bytes, &mut self.upload.buffer)?,
            None => self.upload.buffer.extend_from_slice(bytes),
        }
        self.upload.advance()
    }

    fn entry(&self, split: &Ident, payload: OpenPayload, cut: bool) -> RawEntry {
        let OpenPayload {
            head,
            start,
            length,
            digest,
            position,
            part,
        } = payload;
        let kept = Kept {
            object: self.path.to_string(),
            offset: start.offset,
            length,
            frame: start.frame,
            frame_offset: start.frame_offset,
            sha256: format!("{:x}", digest.finalize()),
            part: (cut || part > 1).then(|| parts::label(part, !cut)),
        };
        let id = format!("{}-{}", self.ulid, self.taken + self.entries.len());
        RawEntry {
            position,
            ..RawEntry::new(id, split, &head, kept)
        }
    }

    /// Path of its index.
    fn index(&self) -> Path {
        let folder = self.path.as_ref().rsplit_once('/');
        RawEntry::index_path(folder.map_or("", |(folder, _)| folder), self.ulid)
    }

    fn take(&mut self) -> Vec<RawEntry> {
        self.taken += self.entries.len();
        std::mem::take(&mut self.entries)
    }

    fn finish(mut self) -> Result<RawObject> {
        if let Some(frames) = &mut self.frames {
            frames.finish(&mut self.upload.buffer)?;
        }
        let index = self.index();
        let bytes = self.upload.finish()?;
        Ok(RawObject {
            path: Some(self.path),
            index,
            entries: self.entries,
            bytes,
        })
    }
}

/// Number of messages in a payload.
pub(super) fn messages_of(head: &PayloadHead) -> usize {
    head.messages.as_ref().map_or(0, |messages| messages.len())
}

fn no_payload() -> Error {
    Error::bug("raw_no_object", "no payload has been written")
}
