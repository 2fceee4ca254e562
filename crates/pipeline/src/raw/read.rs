//! Reading payloads back.
//!
//! A reader starts at the frame that holds the payload's first byte, holds one piece of bounded size at a time, and
//! checks the payload against its sha256 at the end.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use forebay_core::{Compression, Error, Result};
use forebay_objects::from_objects;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use sha2::{Digest, Sha256};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::raw::{RawEntry, index};

/// Bytes fetched at once: a request has a time limit, however long the payload is.
const WINDOW_BYTES: u64 = 8 << 20;
const WINDOW_BYTES_MIN: u64 = 4 << 10;

/// Largest piece that [`RawPayload::next`] returns.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// Reads payloads of the raw zone; checks each against its sha256.
#[derive(Debug, Clone)]
pub struct RawReader {
    objects: Arc<dyn ObjectStore>,
}

/// A payload being read, in chunks of bounded size.
pub struct RawPayload {
    entry: RawEntry,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    /// `None` for a payload that is stored unchanged.
    decoder: Option<Decoder<'static>>,
    /// Bytes of the object that are not decoded yet.
    input: Bytes,
    /// Decoded bytes before the payload, still to be skipped.
    skip: u64,
    left: u64,
    digest: Sha256,
    /// Whether the current frame has not ended, with its checksum.
    is_in_frame: bool,
    /// Frames that have ended.
    frames: u64,
    done: bool,
}

impl fmt::Debug for RawPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPayload")
            .field("entry", &self.entry)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl RawReader {
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects }
    }

    /// Index rows (as `raw.<pipeline>` holds them) to entries.
    pub fn entries(&self, index: &RecordBatch) -> Result<Vec<RawEntry>> {
        index::from_batch(index)
    }

    /// The whole payload, if it is at most `bytes_max` long.
    ///
    /// Errors: `Data` `raw_too_large` when it is longer, and those of [`RawPayload::next`].
    pub async fn read(&self, entry: &RawEntry, bytes_max: u64) -> Result<Bytes> {
        if entry.length > bytes_max {
            let what = format!(
                "the payload is {} bytes, more than the {bytes_max} that may be read at once",
                entry.length
            );
            return Err(Error::data("raw_too_large", what).with_context("payload", &entry.id));
        }
        let mut payload = self.open(entry).await?;
        let mut whole = Vec::new();
        while let Some(piece) = payload.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// The payload piece by piece.
    ///
    /// Errors: `NotFound` `raw_missing` when the object is gone, `Unavailable` when it cannot be reached.
    pub async fn open(&self, entry: &RawEntry) -> Result<RawPayload> {
        let packed = entry.object.ends_with(".zst") && entry.compression != Compression::Zstd;
        let skip = entry
            .offset
            .checked_sub(entry.frame_offset)
            .ok_or_else(|| corrupt(entry, "its index is inconsistent"))?;
        let path = Path::parse(&entry.object)
            .map_err(|error| corrupt(entry, "its path is not valid").with_source(error))?;
        let stream = match entry.length {
            // The payload may start at the very end of the object, where no range can begin.
            0 => futures::stream::empty().boxed(),
            _ => self.stream(entry, &path).await?,
        };
        Ok(RawPayload {
            entry: entry.clone(),
            stream,
            decoder: packed
                .then(Decoder::new)
                .transpose()
                .map_err(|error| corrupt(entry, "no decoder").with_source(error))?,
            input: Bytes::new(),
            skip,
            left: entry.length,
            digest: Sha256::new(),
            is_in_frame: false,
            frames: 0,
            done: false,
        })
    }

    /// The object from the frame that holds the payload's first byte, window by window.
    async fn stream(
        &self,
        entry: &RawEntry,
        path: &Path,
    ) -> Result<BoxStream<'static, object_store::Result<Bytes>>> {
        let mut windows = Windows {
            objects: Arc::clone(&self.objects),
            path: path.clone(),
            next: entry.frame,
            size: u64::MAX,
            window: window_bytes(entry),
        };
        let first = windows
            .get()
            .await
            .map_err(|error| unreachable_object(entry, error))?;
        let rest = futures::stream::try_unfold(windows, |mut windows| async move {
            if windows.next >= windows.size {
                return Ok(None);
            }
            let bytes = windows.get().await?;
            Ok(Some((bytes, windows)))
        });
        Ok(futures::stream::once(async { Ok(first) })
            .chain(rest)
            .boxed())
    }
}

/// Reads an object from an offset on. It never changes, so windows of it belong together.
struct Windows {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    next: u64,
    /// Of the object, once a response has returned it.
    size: u64,
    window: u64,
}

/// Limits the first request to the payload's largest possible size in the object, so that a small one costs a small
/// request.
fn window_bytes(entry: &RawEntry) -> u64 {
    let decoded = entry
        .offset
        .saturating_sub(entry.frame_offset)
        .saturating_add(entry.length);
    (decoded + decoded / 128).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES)
}

impl Windows {
    async fn get(&mut self) -> object_store::Result<Bytes> {
        let end = self.size.min(self.next.saturating_add(self.window));
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.next..end)),
            ..GetOptions::default()
        };
        let got = self.objects.get_opts(&self.path, options).await?;
        self.size = got.meta.size;
        let bytes = got.bytes().await?;
        self.next += bytes.len() as u64;
        Ok(bytes)
    }
}

impl RawPayload {
    /// The next piece; `None` after the last, when the sha256 has been checked.
    ///
    /// Errors: `Data` `raw_corrupt` naming the object and the payload; `Unavailable` when the store stops answering.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.done {
            return Ok(None);
        }
        while self.left > 0 {
            let piece = self.piece().await?;
            if !piece.is_empty() {
                self.left -= piece.len() as u64;
                self.digest.update(&piece);
                return Ok(Some(piece));
            }
        }
        self.done = true;
        let sha256 = format!("{:x}", std::mem::take(&mut self.digest).finalize());
        if sha256 == self.entry.sha256 {
            Ok(None)
        } else {
            Err(corrupt(&self.entry, "its sha256 differs"))
        }
    }

    /// Reads on after the payload to the end of the frame with its last byte, whose checksum comes last. Bytes read there
    /// belong to other payloads.
    ///
    /// Errors: as [`Self::next`].
    pub async fn finish_frame(&mut self) -> Result<()> {
        while self.is_in_frame {
            if self.input.is_empty() {
                self.input = match self.stream.next().await {
                    Some(Ok(bytes)) => bytes,
                    Some(Err(error)) => return Err(unreachable_object(&self.entry, error)),
                    None => Bytes::new(),
                };
            }
            let is_at_end = self.input.is_empty();
            let decoded = self.decode()?;
            if is_at_end && decoded.is_empty() && self.is_in_frame {
                let why = "the object ends before its last zstd frame does";
                return Err(corrupt(&self.entry, why));
            }
        }
        Ok(())
    }

    /// Whether all bytes read so far are in the frame that the entry names.
    pub fn is_in_first_frame(&self) -> bool {
        self.frames == 0
    }

    /// Some bytes of the payload; empty when the decoded bytes are before it.
    async fn piece(&mut self) -> Result<Bytes> {
        if self.input.is_empty() {
            self.input = match self.stream.next().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Err(unreachable_object(&self.entry, error)),
                None => return self.drain(),
            };
        }
        let decoded = self.decode()?;
        Ok(self.trim(decoded))
    }

    /// The store has no more bytes: only the decoder may still hold some.
    fn drain(&mut self) -> Result<Bytes> {
        let decoded = if self.decoder.is_some() {
            self.decode()?
        } else {
            Bytes::new()
        };
        if decoded.is_empty() {
            return Err(corrupt(
                &self.entry,
                "the object ends before the payload does",
            ));
        }
        Ok(self.trim(decoded))
    }

    fn decode(&mut self) -> Result<Bytes> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(self.input.split_to(self.input.len().min(PIECE_BYTES_MAX)));
        };
        // After the payload only the frame's checksum counts.
        let wanted = match self.left {
            0 => PIECE_BYTES_MAX as u64,
            left => self.skip.saturating_add(left).min(PIECE_BYTES_MAX as u64),
        };
        let mut room = vec![0; usize::try_from(wanted).unwrap_or(PIECE_BYTES_MAX)];
        let mut source = InBuffer::around(&self.input);
        let mut target = OutBuffer::around(room.as_mut_slice());
        let broken = |error| corrupt(&self.entry, "corrupt zstd frame").with_source(error);
        let hint = decoder.run(&mut source, &mut target).map_err(broken)?;
        let read = source.pos();
        let written = target.pos();
        self.is_in_frame = hint > 0;
        if hint == 0 {
            self.frames += 1;
            decoder.reinit().map_err(broken)?;
        }
        let _ = self.input.split_to(read);
        room.truncate(written);
        Ok(room.into())
    }

    /// Cuts off the bytes before and after the payload.
    fn trim(&mut self, mut bytes: Bytes) -> Bytes {
        let before = self.skip.min(bytes.len() as u64);
        self.skip -= before;
        let _ = bytes.split_to(usize::try_from(before).unwrap_or(bytes.len()));
        bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        bytes
    }
}

fn corrupt(entry: &RawEntry, why: &str) -> Error {
    Error::data(
        "raw_corrupt",
        format!("failed to read a payload back from the raw zone: {why}"),
    )
    .with_context("payload", &entry.id)
    .with_context("object", &entry.object)
    .with_hint("restore the object from a copy; the tables made from it are not affected")
}

fn unreachable_object(entry: &RawEntry, error: object_store::Error) -> Error {
    if is_beyond_end(&error) {
        return corrupt(entry, "the object is shorter than its index says").with_source(error);
    }
    match error {
        object_store::Error::NotFound { .. } => {
            Error::not_found("raw_missing", "the raw object is gone")
                .with_source(error)
                .with_context("object", &entry.object)
        }
        error => from_objects("read a raw object", &entry.object, error),
    }
}

/// Whether the requested range is past the end: stores have no error kind for it, only messages.
fn is_beyond_end(error: &object_store::Error) -> bool {
    let text = error.to_string();
    [
        "Requested range was invalid",
        "Wanted range starting at",
        "InvalidRange",
        "status code: 416",
    ]
    .iter()
    .any(|words| text.contains(words))
}
