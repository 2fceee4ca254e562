//! Parsed manifests, kept while they are used: a manifest never changes once it is written.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::{ManifestEntryRef, SchemaRef};
use parking_lot::Mutex;

use crate::field_count::{FIELD_BYTES, fields_of};

/// Memory that parsed manifests may hold, roughly.
const BYTES_MAX: usize = 64 << 20;
/// A parsed entry without its statistics, and each of its statistics.
const ENTRY_BYTES: usize = 700;
const STATISTIC_BYTES: usize = 64;

/// The live files of one manifest, complete also where its engine omitted what the table's metadata contains.
#[derive(Debug, Clone)]
pub(crate) struct LiveManifest {
    /// The schema that the manifest was written by.
    pub(crate) schema: SchemaRef,
    pub(crate) entries: Arc<[ManifestEntryRef]>,
}

/// Entries of manifests by the manifest's location; the ones unused for longest go first.
#[derive(Debug, Default)]
pub(crate) struct ManifestCache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    manifests: HashMap<String, Cached>,
    bytes: usize,
    tick: u64,
}

#[derive(Debug)]
struct Cached {
    manifest: LiveManifest,
    bytes: usize,
    used: u64,
}

impl ManifestCache {
    pub(crate) fn get(&self, location: &str) -> Option<LiveManifest> {
        let mut inner = self.0.lock();
        inner.tick += 1;
        let tick = inner.tick;
        let cached = inner.manifests.get_mut(location)?;
        cached.used = tick;
        Some(cached.manifest.clone())
    }

    /// Keeps the manifest unless it alone is too big.
    pub(crate) fn put(&self, location: &str, manifest: &LiveManifest) {
        let bytes = size(manifest);
        if bytes > BYTES_MAX / 2 {
            return;
        }
        let mut inner = self.0.lock();
        inner.tick += 1;
        let cached = Cached {
            manifest: manifest.clone(),
            bytes,
            used: inner.tick,
        };
        inner.bytes += bytes;
        if let Some(old) = inner.manifests.insert(location.to_owned(), cached) {
            inner.bytes -= old.bytes;
        }
        inner.evict();
    }
}

impl Inner {
    /// Drops the older half once there is too much, so that a full cache is sorted rarely.
    fn evict(&mut self) {
        if self.bytes <= BYTES_MAX {
            return;
        }
        let mut order: Vec<(u64, String)> = self
            .manifests
            .iter()
            .map(|(key, m)| (m.used, key.clone()))
            .collect();
        order.sort_unstable();
        for (_, key) in order {
            if self.bytes <= BYTES_MAX / 2 {
                break;
            }
            self.bytes -= self.manifests.remove(&key).map_or(0, |old| old.bytes);
        }
    }
}

fn size(manifest: &LiveManifest) -> usize {
    let statistics = |entry: &ManifestEntryRef| {
        let file = entry.data_file();
        file.column_sizes().len() * 4 + file.lower_bounds().len() * 2
    };
    manifest
        .entries
        .iter()
        .map(|entry| ENTRY_BYTES + statistics(entry) * STATISTIC_BYTES)
        .sum::<usize>()
        + ENTRY_BYTES
        + fields_of(&manifest.schema) * FIELD_BYTES
}
