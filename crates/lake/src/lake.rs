//! The lake: a store, an object store, and the tables in them.

use std::sync::Arc;

use bytes::Bytes;
use forebay_core::{Clock, Context, Error, ErrorKind, RefName, Result, TableName};
use forebay_store::{AsOf, Head, Store};
use object_store::ObjectStore;
use object_store::path::Path;
use uuid::Uuid;

use crate::metadata::MetadataFiles;
use crate::storage::LakeStorage;
use crate::turn::Turns;
use crate::{CommitRequest, Draft, LakeCommit, Table};
use forebay_objects::Created;
use forebay_objects::GONE;

/// Tables over a catalog and an object store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    storage: Arc<LakeStorage>,
    clock: Arc<dyn Clock>,
    metadata: MetadataFiles,
    turns: Turns,
}

impl Lake {
    /// `root` is the absolute URL of the workspace, `file:///…/.forebay` (the plain path, nothing percent-encoded);
    /// `objects` is rooted at the same place. Tables lie at `<root>/tables/<uuid>/{data,metadata}`; files elsewhere
    /// below the root (`raw/…`) may belong to tables too.
    pub fn new(
        store: Store,
        objects: Arc<dyn ObjectStore>,
        root: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::with_storage(store, LakeStorage::new(objects, &root), clock)
    }

    /// The same for a workspace in one folder, which holds the files of `store` too: when it was copied or moved, the
    /// locations of before are found in it.
    ///
    /// The catalog must not be shared with processes that have the folder elsewhere: locations in it
    /// would mean other files to them.
    pub fn in_one_folder(
        store: Store,
        objects: Arc<dyn ObjectStore>,
        root: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let storage = LakeStorage::new(objects, &root).with_its_catalog();
        Self::with_storage(store, storage, clock)
    }

    fn with_storage(store: Store, storage: LakeStorage, clock: Arc<dyn Clock>) -> Self {
        let storage = Arc::new(storage);
        let metadata = MetadataFiles::new(Arc::clone(&storage));
        Self(Arc::new(Inner {
            store,
            storage,
            clock,
            metadata,
            turns: Turns::default(),
        }))
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The object store that table files are read from, and the URL it is rooted at.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        self.0.storage.objects()
    }

    pub fn root(&self) -> &str {
        self.0.storage.root()
    }

    /// Creates an object that is not a file of a table; durable on return, never overwrites. After an error it is unknown
    /// whether it exists: repeat the call with the same `nonce` and bytes to find out. On a local disk two writers are
    /// distinguished by their bytes, so these must identify the writer.
    ///
    /// Errors: `Denied`, `Unavailable` and the others of [`forebay_objects::from_objects`]; all of them leave it open.
    pub async fn create(&self, path: &Path, bytes: Bytes, nonce: &str) -> Result<Created> {
        self.0.storage.create(path, bytes, nonce).await
    }

    pub async fn table(&self, as_of: &AsOf, name: &TableName) -> Result<Option<Table>> {
        match self.0.store.head(as_of, name).await? {
            Some(head) => self.load(head).await.map(Some),
            None => Ok(None),
        }
    }

    /// The table as it was `versions` metadata files before, or as in the oldest file that the metadata still names;
    /// `None` for the first of all.
    ///
    /// Errors: `NotFound` when that file has been cleaned away.
    pub async fn earlier(&self, table: &Table, versions: usize) -> Result<Option<Table>> {
        let log = table.metadata().metadata_log();
        let Some(file) = log.get(log.len().saturating_sub(versions)) else {
            return Ok(None);
        };
        let head = Head {
            table: table.name().clone(),
            uuid: table.uuid(),
            metadata_location: file.metadata_file.clone(),
        };
        self.load(head).await.map(Some)
    }

    /// The table with the snapshots before the `steps` newest ones that its metadata names; `None` when they are no longer known.
    pub async fn older(&self, table: &Table, steps: usize) -> Result<Option<Table>> {
        // Every file adds at most two snapshots, so none in between is skipped.
        match self.earlier(table, steps.div_ceil(2)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            older => older,
        }
    }

    /// The table as it was at one of its snapshots, in whichever of its metadata files that is; `None` when it is no longer known.
    pub async fn at_snapshot(&self, table: &Table, snapshot: Option<i64>) -> Result<Option<Table>> {
        let Some(id) = snapshot.filter(|_| table.snapshot_id() != snapshot) else {
            return Ok(Some(table.clone()));
        };
        let mut table = table.clone();
        loop {
            if let Some(found) = table.at_snapshot(id)? {
                return Ok(Some(found));
            }
            let steps = table.snapshots().len().max(1);
            match self.older(&table, steps).await? {
                Some(older) => table = older,
                None => return Ok(None),
            }
        }
    }

    /// Names of all tables in a state, ordered.
    pub async fn tables(&self, as_of: &AsOf) -> Result<Vec<TableName>> {
        let heads = self.0.store.heads(as_of).await?;
        Ok(heads.into_iter().map(|head| head.table).collect())
    }

    /// Starts a change of one table on a branch, from its head there or from nothing.
    pub async fn draft(&self, branch: &RefName, name: &TableName) -> Result<Draft> {
        let now = self.0.clock.now();
        let table = self.table(&AsOf::Head(branch.clone()), name).await?;
        Ok(match table {
            Some(table) => Draft::of(table, now),
            None => Draft::new(name.clone(), Arc::clone(&self.0.storage), now),
        })
    }

    /// Starts a change of a table as it was read: rows that are deleted by position are those of this state.
    pub fn draft_of(&self, table: &Table) -> Draft {
        Draft::of(table.clone(), self.0.clock.now())
    }

    /// Writes manifests and metadata of every draft, then makes one commit in the store.
    ///
    /// A table that moved since is rebased (appends commute); a draft that changes a schema which also moved
    /// gives `Conflict` `schema_moved`, a draft of more than a day `draft_too_old`. `Conflict` `stale_epoch` from the store is passed on. Nothing is visible
    /// before the store's commit, and after an error nothing is; files written for it are left to orphan cleanup.
    pub async fn commit(&self, request: CommitRequest) -> Result<LakeCommit> {
        crate::commit::commit(self, request).await
    }

    pub(crate) async fn load(&self, head: Head) -> Result<Table> {
        let metadata = self.0.metadata.read(&head.metadata_location).await;
        let metadata = metadata.context("table", &head.table)?;
        if metadata.uuid() != head.uuid {
            return Err(another_table(&head, metadata.uuid()));
        }
        Table::new(
            head.table,
            head.metadata_location,
            metadata,
            Arc::clone(&self.0.storage),
        )
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    pub(crate) fn storage(&self) -> &Arc<LakeStorage> {
        &self.0.storage
    }

    pub(crate) fn metadata(&self) -> &MetadataFiles {
        &self.0.metadata
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
    }
}

/// Somebody put the metadata of one table where that of another was.
fn another_table(head: &Head, found: Uuid) -> Error {
    let message = format!(
        "the table's metadata is that of table {found}, not of {}",
        head.uuid
    );
    Error::data("wrong_metadata", message)
        .with_hint(GONE)
        .with_context("file", &head.metadata_location)
        .with_context("table", &head.table)
}
