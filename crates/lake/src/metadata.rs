//! Metadata files of tables: read through a bounded cache, written under names that were never used.

use std::collections::{HashMap, VecDeque};
use std::io::Read;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use forebay_core::{Context, Error, ErrorKind, Result, Timestamp, json};
use iceberg::MetadataLocation;
use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataBuilder, TableMetadataRef};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::error::from_iceberg;
use crate::field_count::{FIELD_BYTES, fields_of};
use crate::storage::LakeStorage;
use forebay_objects::GONE;

/// Nesting that the usual reader reads. Types were not bounded before, so older tables may be deeper.
pub(crate) const NESTING_USUAL: usize = 127;

/// Characters of a UUID with its hyphens.
const UUID_CHARS: usize = 36;
/// Old metadata files that a table's metadata names; the catalog's log knows them all.
pub(crate) const METADATA_LOG_MAX: usize = 20;
/// The table property with a smaller number.
pub(crate) const METADATA_LOG_PROPERTY: &str = "write.metadata.previous-versions-max";
/// Metadata files kept parsed, and the memory that they may take, roughly: those of a wide table take some MiB each.
const CACHED_MAX: usize = 256;
const CACHED_BYTES_MAX: usize = 64 << 20;
/// Bytes of a compressed metadata file, decompressed.
const GZIP_EXPANDED_MAX: u64 = 128 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
/// Memory of a snapshot of parsed metadata, and of the rest.
const SNAPSHOT_BYTES: usize = 1_500;
const REST_BYTES: usize = 8 << 10;

#[derive(Debug)]
pub(crate) struct MetadataFiles {
    storage: Arc<LakeStorage>,
    cache: Mutex<Cache>,
}

/// Oldest out first. A location is written once, so an entry never goes stale.
#[derive(Debug, Default)]
struct Cache {
    parsed: HashMap<String, TableMetadataRef>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Cache {
    fn insert(&mut self, location: String, metadata: TableMetadataRef) {
        let bytes = parsed_bytes(&metadata);
        if bytes > CACHED_BYTES_MAX / 2 || self.parsed.contains_key(&location) {
            return;
        }
        self.bytes += bytes;
        self.parsed.insert(location.clone(), metadata);
        self.order.push_back(location);
        while self.order.len() > CACHED_MAX || self.bytes > CACHED_BYTES_MAX {
            let oldest = self.order.pop_front();
            let dropped = oldest.and_then(|oldest| self.parsed.remove(&oldest));
            let freed = dropped.map_or(self.bytes, |dropped| parsed_bytes(&dropped));
            self.bytes = self.bytes.saturating_sub(freed);
        }
    }
}

/// Memory that parsed metadata takes, roughly, when it shares no schema with others.
fn parsed_bytes(metadata: &TableMetadata) -> usize {
    let fields: usize = metadata
        .schemas_iter()
        .map(|schema| fields_of(schema))
        .sum();
    fields * FIELD_BYTES + metadata.snapshots().len() * SNAPSHOT_BYTES + REST_BYTES
}

impl MetadataFiles {
    pub(crate) fn new(storage: Arc<LakeStorage>) -> Self {
        Self {
            storage,
            cache: Mutex::default(),
        }
    }

    pub(crate) async fn read(&self, location: &str) -> Result<TableMetadataRef> {
        let cached = self.cache.lock().parsed.get(location).cloned();
        if let Some(metadata) = cached {
            return Ok(metadata);
        }
        let metadata = Arc::new(self.read_file(location).await.context("file", location)?);
        self.remember(location.to_owned(), Arc::clone(&metadata));
        Ok(metadata)
    }

    /// Reads a file past the cache.
    ///
    /// Errors: `NotFound` when it is missing, `Data` `metadata_corrupt`, `Unsupported` `format_version`.
    pub(crate) async fn read_file(&self, location: &str) -> Result<TableMetadata> {
        let path = self.storage.path(location)?;
        let text = self.storage.read(&path).await.and_then(plain_json);
        let error = match text.and_then(|text| parse_metadata(&text)) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        let says_all = matches!(error.code(), "not_a_file" | "metadata_too_large");
        if error.kind() != ErrorKind::Data || says_all {
            return Err(error);
        }
        // Whatever its checksum: its content explains more.
        let bytes = self.storage.read_unverified(&path).await?;
        Err(unreadable(&bytes, error))
    }

    /// Writes metadata beside `previous` under a fresh name; durable on return. The answer is its location.
    pub(crate) async fn write(
        &self,
        previous: Option<&str>,
        metadata: &TableMetadata,
    ) -> Result<String> {
        let location = next_location(previous, metadata)?;
        let failed =
            |e| from_iceberg("write the table's metadata", e).with_context("file", &location);
        let memory = FileIO::new_with_memory();
        let written = metadata.write_to(&memory, &location).await;
        written.map_err(failed)?;
        let location_text = location.to_string();
        let input = memory.new_input(&location_text).map_err(failed)?;
        let bytes = input.read().await.map_err(failed)?;
        let (folder, file) = location_text
            .rsplit_once('/')
            .ok_or_else(|| Error::bug("bad_metadata", "a metadata file has no folder"))?;
        // `<version>-<uuid>.metadata.json`: another UUID, with the checksum of the file.
        let (version, rest) = file.split_once('-').unwrap_or(("00000", file));
        let suffix = rest.get(UUID_CHARS..).unwrap_or(".metadata.json");
        self.storage
            .write_named(folder, bytes, |uuid| format!("{version}-{uuid}{suffix}"))
            .await
    }

    pub(crate) fn remember(&self, location: String, metadata: TableMetadataRef) {
        let mut cache = self.cache.lock();
        cache.insert(location, metadata);
    }
}

/// Metadata whose types may lie deeper than the usual reader of JSON goes.
fn parse_metadata(text: &[u8]) -> Result<TableMetadata> {
    let error = match serde_json::from_slice(text) {
        Ok(metadata) => return Ok(metadata),
        Err(error) => from_iceberg("read the table's metadata", error.into()),
    };
    match json::nesting(text) > NESTING_USUAL {
        true => json::from_deep(text).map_err(|_| error),
        false => Err(error),
    }
}

/// The JSON of a metadata file, which may be compressed.
///
/// Errors: `Data` `metadata_too_large`, `metadata_corrupt`.
fn plain_json(bytes: Bytes) -> Result<Bytes> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    let mut limited = GzDecoder::new(&bytes[..]).take(GZIP_EXPANDED_MAX + 1);
    let read = limited.read_to_end(&mut text).map_err(|error| {
        Error::data(
            "metadata_corrupt",
            "failed to decompress the table's metadata",
        )
        .with_source(error)
    })?;
    if read as u64 > GZIP_EXPANDED_MAX {
        let most = GZIP_EXPANDED_MAX >> 20;
        let what = format!("the table's metadata file expands to more than {most} MiB");
        return Err(Error::data("metadata_too_large", what));
    }
    Ok(text.into())
}

/// The newest version of the format that is read.
const FORMAT_VERSION_MAX: u64 = 3;

/// The reason why these bytes are not valid metadata.
fn unreadable(bytes: &[u8], error: Error) -> Error {
    let version = serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|value| value["format-version"].as_u64());
    if let Some(version) = version.filter(|version| *version > FORMAT_VERSION_MAX) {
        let message = format!(
            "the table has version {version} of the Iceberg format, {FORMAT_VERSION_MAX} is the newest that is read"
        );
        return Error::unsupported("format_version", message).with_hint(
            "read it with a newer Forebay, or with the engine that wrote it; nothing was changed",
        );
    }
    let message = format!(
        "the table's metadata file is damaged ({} bytes)",
        bytes.len()
    );
    Error::data("metadata_corrupt", message)
        .with_source(error)
        .with_hint(GONE)
}

/// Fails for metadata that no reader could read again. Only a schema decides that: call it where one has changed.
///
/// Errors: `Bug` `metadata_unreadable`.
pub(crate) fn check_readable(metadata: &TableMetadata) -> Result<()> {
    let read = || {
        let text = serde_json::to_vec(metadata)?;
        serde_json::from_slice(&text)
    };
    let read: serde_json::Result<TableMetadata> = read();
    read.map(drop).map_err(|error| {
        Error::bug(
            "metadata_unreadable",
            "the changed table could not be read again",
        )
        .with_source(error)
        .with_hint("report the schema of the table; nothing was committed")
    })
}

fn next_location(previous: Option<&str>, metadata: &TableMetadata) -> Result<MetadataLocation> {
    let Some(previous) = previous else {
        return Ok(MetadataLocation::new_with_metadata(
            metadata.location(),
            metadata,
        ));
    };
    // A name that another writer chose may not carry a version.
    Ok(match MetadataLocation::from_str(previous) {
        Ok(location) => location.with_next_version().with_new_metadata(metadata),
        Err(_) => MetadataLocation::new_with_metadata(metadata.location(), metadata),
    })
}

/// Changes metadata independently of the machine's clock, which the builder of `iceberg` reads: it refuses a change dated a
/// minute before the newest entry of a log, so the logs are removed during the change. The time of the last change never goes back.
/// `previous` is the file that the metadata was read from. For changes without a snapshot, which dates its metadata itself.
pub(crate) fn rebuilt(
    metadata: &TableMetadata,
    previous: Option<&str>,
    at: Timestamp,
    change: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>,
) -> Result<TableMetadata> {
    let broken = |e: serde_json::Error| {
        Error::bug("bad_metadata", "failed to change the table's metadata").with_source(e)
    };
    let mut before = serde_json::to_value(metadata).map_err(broken)?;
    // An empty log may be left out.
    let logs = ["snapshot-log", "metadata-log"].map(|key| {
        let log = before[key].take();
        before[key] = Value::Array(Vec::new());
        match log {
            Value::Array(log) => (key, log),
            _ => (key, Vec::new()),
        }
    });
    let base: TableMetadata = serde_json::from_value(before).map_err(broken)?;
    let built = change(base.into_builder(None)).and_then(TableMetadataBuilder::build);
    let built = built.map_err(|e| from_iceberg("change the table's metadata", e))?;
    let mut after = serde_json::to_value(built.metadata).map_err(broken)?;
    for (key, log) in logs {
        after[key] = Value::Array(log);
    }
    if let (Some(file), Value::Array(log)) = (previous, &mut after["metadata-log"]) {
        log.push(json!({"metadata-file": file, "timestamp-ms": metadata.last_updated_ms()}));
        let kept = metadata.properties().get(METADATA_LOG_PROPERTY);
        let kept = kept.and_then(|kept| kept.parse().ok());
        let kept = kept.unwrap_or(METADATA_LOG_MAX).clamp(1, METADATA_LOG_MAX);
        let surplus = log.len().saturating_sub(kept);
        log.drain(..surplus);
    }
    after["last-updated-ms"] = at.millis().max(metadata.last_updated_ms()).into();
    serde_json::from_value(after).map_err(broken)
}

/// The same metadata with another time of its last change: the builder of `iceberg` reads the machine's clock.
pub(crate) fn stamped(metadata: &TableMetadata, at: Timestamp) -> Result<TableMetadata> {
    let stamp = || {
        let mut value = serde_json::to_value(metadata)?;
        value["last-updated-ms"] = at.millis().into();
        serde_json::from_value(value)
    };
    stamp().map_err(|e: serde_json::Error| {
        Error::bug("bad_metadata", "failed to date the table's metadata").with_source(e)
    })
}
