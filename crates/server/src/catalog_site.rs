//! The lake behind the Iceberg REST catalog, and how its clients reach the files.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_lake::Lake;
use tokio::sync::Semaphore;

/// Changes that are made at once: each may read manifests.
const CHANGES_AT_ONCE_MAX: usize = 16;

/// The catalog of a server; cheap to clone.
#[derive(Debug, Clone)]
pub struct CatalogSite(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lake: Lake,
    file_properties: BTreeMap<String, String>,
    changes: Semaphore,
}

impl CatalogSite {
    /// `file_properties` are given to every client with each table, so that it can reach the files; no credentials belong there.
    pub fn new(lake: Lake, file_properties: BTreeMap<String, String>) -> Self {
        let changes = Semaphore::new(CHANGES_AT_ONCE_MAX);
        Self(Arc::new(Inner {
            lake,
            file_properties,
            changes,
        }))
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.0.lake
    }

    pub(crate) fn file_properties(&self) -> &BTreeMap<String, String> {
        &self.0.file_properties
    }

    pub(crate) fn changes(&self) -> &Semaphore {
        &self.0.changes
    }
}
