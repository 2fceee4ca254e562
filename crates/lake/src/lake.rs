//! The lake: a store, an object store, and the tables in them.

use std::sync::Arc;

use forebay_core::{Clock, Result, TableName};
use forebay_store::{AsOf, Store};
use object_store::ObjectStore;

use crate::{CommitRequest, Draft, LakeCommit, Table};

#[derive(Debug, Clone)]
pub struct Lake;

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(clippy::unused_async, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl Lake {
    /// `root` is the absolute URL of the workspace, `file:///…/.forebay`; `objects` is rooted at the same place. Tables lie
    /// at `<root>/tables/<uuid>/{data,metadata}`; files elsewhere below the root (`raw/…`) may belong to tables too.
    pub fn new(store: Store, objects: Arc<dyn ObjectStore>, root: String, clock: Arc<dyn Clock>) -> Self {
        unimplemented!()
    }

    pub fn store(&self) -> &Store {
        unimplemented!()
    }

    /// The object store that table files are read from, and the URL it is rooted at.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        unimplemented!()
    }

    pub fn root(&self) -> &str {
        unimplemented!()
    }

    pub async fn table(&self, as_of: &AsOf, name: &TableName) -> Result<Option<Table>> {
        unimplemented!()
    }

    /// Names of all tables in a state, ordered.
    pub async fn tables(&self, as_of: &AsOf) -> Result<Vec<TableName>> {
        unimplemented!()
    }

    /// Starts a change of one table on a branch, from its head there or from nothing.
    pub async fn draft(&self, branch: &forebay_core::RefName, name: &TableName) -> Result<Draft> {
        unimplemented!()
    }

    /// Writes manifests and metadata of every draft, then makes one commit in the store.
    ///
    /// A table that moved meanwhile is rebased (appends commute); a draft that changes a schema which also moved
    /// gives `Conflict` `schema_moved`. `Conflict` `stale_epoch` from the store is passed on.
    pub async fn commit(&self, request: CommitRequest) -> Result<LakeCommit> {
        unimplemented!()
    }
}
