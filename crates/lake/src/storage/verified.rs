//! The lake's object store, which verifies the checksums of the files that it reads.
//!
//! Everything that reads files of the lake goes through here: the `iceberg` crate, DataFusion, the raw zone. Only bytes that a
//! caller asked for are compared, in whole blocks, see `checksum.rs`. Files of other writers pass as they are. It never repairs.

use forebay_objects::MISMATCH;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;

use super::checksum::{FileChecksums, NamedChecksum, TailChecksums, named_checksum, parse_tail};

/// Bytes of a file's end that are read to find its checksums: those of most files, and their footers.
const TAIL_BYTES: u64 = 64 << 10;
/// Bytes read and compared at once of a long range.
const WINDOW_BYTES: u64 = 8 << 20;
/// Memory for checksums of files that were read before.
const CACHE_BYTES_MAX: usize = 32 << 20;

/// Bytes at rest that differ from those written.
#[derive(Debug)]
pub(crate) struct ChecksumMismatch {
    object: String,
    /// Where the damaged block begins; `None`: somewhere in the file.
    offset: Option<u64>,
}

impl fmt::Display for ChecksumMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MISMATCH}{}", self.object)?;
        match self.offset {
            Some(offset) => write!(f, " at byte {offset}: the file is damaged"),
            None => write!(f, ": the file is damaged"),
        }
    }
}

impl std::error::Error for ChecksumMismatch {}

fn mismatch(path: &Path, offset: Option<u64>) -> Error {
    Error::Generic {
        store: "lake",
        source: Box::new(ChecksumMismatch {
            object: path.to_string(),
            offset,
        }),
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct VerifiedStore(Arc<Verifier>);

#[derive(Debug)]
struct Verifier {
    objects: Arc<dyn ObjectStore>,
    cache: Mutex<ChecksumCache>,
}

/// Oldest out first. A file is written once, so an entry never goes stale.
#[derive(Debug, Default)]
struct ChecksumCache {
    known: HashMap<Path, Option<Arc<FileChecksums>>>,
    order: VecDeque<Path>,
    bytes: usize,
}

/// Memory of an entry beside its checksums, about.
const ENTRY_BYTES: usize = 200;

fn entry_bytes(sums: Option<&Arc<FileChecksums>>) -> usize {
    ENTRY_BYTES + sums.map_or(0, |sums| sums.memory_bytes())
}

impl ChecksumCache {
    fn put(&mut self, path: &Path, sums: Option<Arc<FileChecksums>>) {
        let bytes = entry_bytes(sums.as_ref());
        if self.known.insert(path.clone(), sums).is_none() {
            self.order.push_back(path.clone());
            self.bytes += bytes;
        }
        while self.bytes > CACHE_BYTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if let Some(gone) = self.known.remove(&oldest) {
                self.bytes -= entry_bytes(gone.as_ref());
            }
        }
    }

    fn forget(&mut self, path: &Path) {
        if let Some(gone) = self.known.remove(path) {
            self.bytes -= entry_bytes(gone.as_ref());
            self.order.retain(|known| known != path);
        }
    }
}

impl VerifiedStore {
    pub(super) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self(Arc::new(Verifier {
            objects,
            cache: Mutex::default(),
        }))
    }
}

impl Verifier {
    /// The checksums that a Parquet file carries; `None` when it has none.
    async fn checksums(&self, path: &Path, must: bool) -> Result<Option<Arc<FileChecksums>>> {
        let known = {
            let cache = self.cache.lock();
            cache.known.get(path).cloned()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let mut wanted = TAIL_BYTES;
        let found = loop {
            let options = GetOptions {
                range: Some(GetRange::Suffix(wanted)),
                ..GetOptions::default()
            };
            let got = self.objects.get_opts(path, options).await?;
            let size = got.meta.size;
            let tail = got.bytes().await?;
            match parse_tail(&tail, size) {
                TailChecksums::Needs(more) if more > wanted => wanted = more,
                TailChecksums::Found(sums) => break Some(Arc::new(sums)),
                TailChecksums::Absent if !must => break None,
                _ => return Err(mismatch(path, None)),
            }
        };
        let mut cache = self.cache.lock();
        cache.put(path, found.clone());
        Ok(found)
    }

    fn forget(&self, path: &Path) {
        let mut cache = self.cache.lock();
        cache.forget(path);
    }

    /// Reads a range and verifies the blocks that it overlaps.
    async fn read(&self, path: &Path, sums: &FileChecksums, range: Range<u64>) -> Result<Bytes> {
        let wide = sums.widen(&range);
        let bytes = self.objects.get_range(path, wide.clone()).await?;
        checked(path, sums, &wide, bytes, &range)
    }

    /// A range in pieces of bounded size.
    fn stream(
        self: &Arc<Self>,
        path: &Path,
        sums: &Arc<FileChecksums>,
        range: Range<u64>,
    ) -> BoxStream<'static, Result<Bytes>> {
        let verifier = Arc::clone(self);
        let path = path.clone();
        let sums = Arc::clone(sums);
        let begin = range.start;
        let pieces = futures::stream::try_unfold(begin, move |at| {
            let verifier = Arc::clone(&verifier);
            let path = path.clone();
            let sums = Arc::clone(&sums);
            let end = range.end;
            async move {
                if at >= end {
                    return Ok(None);
                }
                let next = (at - at % WINDOW_BYTES + WINDOW_BYTES).min(end);
                let bytes = verifier.read(&path, &sums, at..next).await?;
                Ok(Some((bytes, next)))
            }
        });
        pieces.boxed()
    }

    async fn get_parquet(
        self: &Arc<Self>,
        path: &Path,
        options: GetOptions,
        must: bool,
    ) -> Result<GetResult> {
        let Some(sums) = self.checksums(path, must).await? else {
            return self.objects.get_opts(path, options).await;
        };
        let range = match &options.range {
            None => 0..sums.size,
            Some(range) => range.as_range(sums.size).map_err(|error| Error::Generic {
                store: "lake",
                source: Box::new(error),
            })?,
        };
        if range.is_empty() {
            return self.objects.get_opts(path, options).await;
        }
        // The first piece at once: an error is returned by this request, not while the body is read.
        let first = range.start..range.end.min(range.start.saturating_add(WINDOW_BYTES));
        let wide = sums.widen(&first);
        let options = GetOptions {
            range: Some(GetRange::Bounded(wide.clone())),
            ..options
        };
        let result = self.objects.get_opts(path, options).await?;
        let meta = result.meta.clone();
        let attributes = result.attributes.clone();
        if meta.size != sums.size {
            self.forget(path);
            return Err(mismatch(path, None));
        }
        let bytes = checked(path, &sums, &wide, result.bytes().await?, &first)?;
        let rest = self.stream(path, &sums, first.end..range.end);
        let first = futures::stream::once(async move { Ok(bytes) });
        Ok(GetResult {
            payload: GetResultPayload::Stream(first.chain(rest).boxed()),
            meta,
            range,
            attributes,
        })
    }

    async fn get_whole(&self, path: &Path, options: GetOptions, crc: u32) -> Result<GetResult> {
        let result = self.objects.get_opts(path, options).await?;
        let meta = result.meta.clone();
        let range = result.range.clone();
        let attributes = result.attributes.clone();
        let bytes = result.bytes().await?;
        if crc32fast::hash(&bytes) != crc {
            return Err(mismatch(path, None));
        }
        let once = futures::stream::once(async move { Ok(bytes) });
        Ok(GetResult {
            payload: GetResultPayload::Stream(once.boxed()),
            meta,
            range,
            attributes,
        })
    }
}

/// The wanted part of bytes that were read from a widened range.
fn checked(
    path: &Path,
    sums: &FileChecksums,
    wide: &Range<u64>,
    bytes: Bytes,
    range: &Range<u64>,
) -> Result<Bytes> {
    let is_short = bytes.len() as u64 != wide.end - wide.start;
    if is_short {
        return Err(mismatch(path, Some(wide.start)));
    }
    if let Some(offset) = sums.find_damage(wide.start, &bytes) {
        return Err(mismatch(path, Some(offset)));
    }
    let from = usize::try_from(range.start - wide.start).unwrap_or(usize::MAX);
    let to = usize::try_from(range.end - wide.start).unwrap_or(usize::MAX);
    Ok(bytes.slice(from..to))
}

/// Widened ranges, those that touch or overlap as one, in order.
fn merged(sums: &FileChecksums, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut wide: Vec<Range<u64>> = ranges.iter().map(|range| sums.widen(range)).collect();
    wide.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(wide.len());
    for range in wide {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

fn name_of(path: &Path) -> NamedChecksum {
    path.filename().map_or(NamedChecksum::None, named_checksum)
}

fn is_parquet(path: &Path) -> bool {
    path.filename()
        .is_some_and(|name| name.ends_with(".parquet"))
}

#[async_trait]
impl ObjectStore for VerifiedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        self.0.forget(location);
        self.0.objects.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.forget(location);
        self.0.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let named = name_of(location);
        if options.head {
            return self.0.objects.get_opts(location, options).await;
        }
        match named {
            NamedChecksum::Whole(crc) if options.range.is_none() => {
                self.0.get_whole(location, options, crc).await
            }
            NamedChecksum::InFile => self.0.get_parquet(location, options, true).await,
            NamedChecksum::None if is_parquet(location) => {
                self.0.get_parquet(location, options, false).await
            }
            _ => self.0.objects.get_opts(location, options).await,
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if !is_parquet(location) {
            return self.0.objects.get_ranges(location, ranges).await;
        }
        let must = name_of(location) == NamedChecksum::InFile;
        let sums = self.0.checksums(location, must).await?;
        let is_inside =
            |sums: &FileChecksums| ranges.iter().all(|r| r.start < r.end && r.end <= sums.size);
        let Some(sums) = sums.filter(|sums| is_inside(sums)) else {
            return self.0.objects.get_ranges(location, ranges).await;
        };
        let wide = merged(&sums, ranges);
        let read = self.0.objects.get_ranges(location, &wide).await?;
        for (range, bytes) in wide.iter().zip(&read) {
            checked(location, &sums, range, bytes.clone(), range)?;
        }
        let wanted = ranges.iter().map(|range| {
            let at = wide.partition_point(|wide| wide.start <= range.start) - 1;
            let start = wide[at].start;
            let from = usize::try_from(range.start - start).unwrap_or(usize::MAX);
            let to = usize::try_from(range.end - start).unwrap_or(usize::MAX);
            read[at].slice(from..to)
        });
        Ok(wanted.collect())
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.objects.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.objects.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.forget(to);
        self.0.objects.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.0.forget(to);
        self.0.objects.rename_opts(from, to, options).await
    }
}

impl fmt::Display for VerifiedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "verified {}", self.0.objects)
    }
}
