//! Metadata files of tables: read through a bounded cache, written under names that were never used.

use std::collections::{HashMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::{Context, Error, ErrorKind, Result, Timestamp, json};
use iceberg::MetadataLocation;
use iceberg::spec::{TableMetadata, TableMetadataRef};

use crate::error::{GONE, from_iceberg};
use crate::storage::LakeStorage;

/// Nesting that the usual reader reads. Types were not bounded before, so older tables may be deeper.
pub(crate) const NESTING_USUAL: usize = 127;

/// Metadata files kept parsed; one takes from a few KiB to a few MiB.
const CACHED_MAX: usize = 256;

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
}

impl MetadataFiles {
    pub(crate) fn new(storage: Arc<LakeStorage>) -> Self {
        Self {
            storage,
            cache: Mutex::default(),
        }
    }

    pub(crate) async fn read(&self, location: &str) -> Result<TableMetadataRef> {
        let cached = self
            .cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .parsed
            .get(location)
            .cloned();
        if let Some(metadata) = cached {
            return Ok(metadata);
        }
        let metadata = Arc::new(self.read_file(location).await.context("file", location)?);
        self.remember(location.to_owned(), Arc::clone(&metadata));
        Ok(metadata)
    }

    /// Reads a file past the cache.
    ///
    /// Errors: `NotFound` when it is gone, `Data` `metadata_corrupt`, `Unsupported` `format_version`.
    pub(crate) async fn read_file(&self, location: &str) -> Result<TableMetadata> {
        let failed = |e| from_iceberg("read the table's metadata", e);
        let read = TableMetadata::read_from(&self.storage.file_io(), location).await;
        let error = match read {
            Ok(metadata) => return Ok(metadata),
            Err(error) => failed(error),
        };
        if error.kind() != ErrorKind::Data {
            return Err(error);
        }
        let bytes = self.storage.read(&self.storage.path(location)?).await?;
        if json::nesting(&bytes) > NESTING_USUAL
            && let Ok(metadata) = json::from_deep(&bytes)
        {
            return Ok(metadata);
        }
        Err(unreadable(&bytes, error))
    }

    /// Writes metadata beside `previous` under a fresh name; durable on return. The answer is its location.
    pub(crate) async fn write(
        &self,
        previous: Option<&str>,
        metadata: &TableMetadata,
    ) -> Result<String> {
        let location = next_location(previous, metadata)?;
        let written = metadata.write_to(&self.storage.file_io(), &location).await;
        written.map_err(|e| {
            from_iceberg("write the table's metadata", e).with_context("file", &location)
        })?;
        Ok(location.to_string())
    }

    pub(crate) fn remember(&self, location: String, metadata: TableMetadataRef) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.parsed.insert(location.clone(), metadata).is_none() {
            cache.order.push_back(location);
        }
        while cache.order.len() > CACHED_MAX {
            if let Some(oldest) = cache.order.pop_front() {
                cache.parsed.remove(&oldest);
            }
        }
    }
}

/// The newest version of the format that is read.
const FORMAT_VERSION_MAX: u64 = 3;

/// Why these bytes are no metadata.
fn unreadable(bytes: &[u8], error: Error) -> Error {
    let version = serde_json::from_slice::<serde_json::Value>(bytes)
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
