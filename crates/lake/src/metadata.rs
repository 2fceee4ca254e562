//! Metadata files of tables: read through a bounded cache, written under names that were never used.

use std::collections::{HashMap, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::{Result, Timestamp};
use iceberg::MetadataLocation;
use iceberg::spec::{TableMetadata, TableMetadataRef};

use crate::error::from_iceberg;
use crate::storage::LakeStorage;

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
        let read = TableMetadata::read_from(&self.storage.file_io(), location).await;
        let metadata = read.map_err(|e| {
            from_iceberg("read the table's metadata", e).with_context("file", location)
        })?;
        let metadata = Arc::new(metadata);
        self.remember(location.to_owned(), Arc::clone(&metadata));
        Ok(metadata)
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
        forebay_core::Error::bug("bad_metadata", "failed to date the table's metadata")
            .with_source(e)
    })
}
