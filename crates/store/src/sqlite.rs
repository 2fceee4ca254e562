//! The store on SQLite: one writer task with its own connection, readers on others.

use std::path::Path;
use std::sync::Arc;

use forebay_core::{Clock, CommitId, Ident, Position, RefName, Result, RunId, TableName};

use crate::{AsOf, Branch, Commit, CommitRecord, Committed, Head, Lease, LeaseRequest, RunRecord};

#[derive(Debug, Clone)]
pub struct Store;

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(clippy::unused_async, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl Store {
    /// Opens or creates the store in this SQLite file, and migrates it.
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        unimplemented!()
    }

    /// Makes one change of the lake. After an unknown result the store itself looks for the commit id, so the
    /// answer is definite: Ok, or an error after which nothing of the commit is there.
    ///
    /// Errors: `Conflict` `stale_head` (a table moved: reload and try again), `Conflict` `stale_epoch` (another
    /// process took the split: stop), `Unavailable` when the database cannot be written.
    pub async fn commit(&self, commit: Commit) -> Result<Committed> {
        unimplemented!()
    }

    pub async fn find_commit(&self, id: CommitId) -> Result<Option<CommitRecord>> {
        unimplemented!()
    }

    pub async fn head(&self, as_of: &AsOf, table: &TableName) -> Result<Option<Head>> {
        unimplemented!()
    }

    /// All tables of a state, ordered by name.
    pub async fn heads(&self, as_of: &AsOf) -> Result<Vec<Head>> {
        unimplemented!()
    }

    /// The newest commits of a branch, newest first, with those of its base behind them.
    pub async fn log(&self, branch: &RefName, limit: u32) -> Result<Vec<CommitRecord>> {
        unimplemented!()
    }

    pub async fn create_branch(&self, name: &RefName, from: &RefName) -> Result<Branch> {
        unimplemented!()
    }

    pub async fn branches(&self) -> Result<Vec<Branch>> {
        unimplemented!()
    }

    pub async fn drop_branch(&self, name: &RefName) -> Result<()> {
        unimplemented!()
    }

    /// Takes the split: the epoch goes up, so every earlier holder is fenced. With `steal` also from a live owner.
    ///
    /// Errors: `Conflict` `leased` when another owner holds it and has not expired.
    pub async fn take_lease(&self, request: &LeaseRequest, steal: bool) -> Result<Lease> {
        unimplemented!()
    }

    /// Errors: `Conflict` `stale_epoch` when another process has taken the split.
    pub async fn renew_lease(&self, request: &LeaseRequest, epoch: i64) -> Result<()> {
        unimplemented!()
    }

    pub async fn release_lease(&self, request: &LeaseRequest, epoch: i64) -> Result<()> {
        unimplemented!()
    }

    /// Every split of the pipeline with its sequence and position on this branch.
    pub async fn positions(&self, branch: &RefName, pipeline: &Ident) -> Result<Vec<(Ident, i64, Position)>> {
        unimplemented!()
    }

    /// Inserts or replaces the record of a run and its steps.
    pub async fn record_run(&self, run: &RunRecord) -> Result<()> {
        unimplemented!()
    }

    /// Newest first.
    pub async fn runs(&self, pipeline: Option<&Ident>, limit: u32) -> Result<Vec<RunRecord>> {
        unimplemented!()
    }

    pub async fn run(&self, id: RunId) -> Result<Option<RunRecord>> {
        unimplemented!()
    }
}
