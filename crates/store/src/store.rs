//! The store as its callers see it: a queue to the one writer of this handle, and connections that read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use forebay_core::{
    Clock, CommitId, Error, Ident, Position, RefName, Result, RunId, TableName, Timestamp,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::database::{
    CatalogMark, CatalogProgress, Reader, Readers, StoredMark, explain, is_read_only,
};
#[cfg(test)]
use crate::sql::faults::Faults;
use crate::sql::forget::{ForgetBranches, ForgetCommits, ForgetPage, ForgetRuns, Log};
use crate::sql::namespaces::{ChangeNamespace, CreateNamespace, DropNamespace};
use crate::sql::operation::{Job, Operation, Pending};
use crate::sql::writer::Writer;
use crate::sql::{
    commit, horizon, lease, listing, log, logged, member, merge, namespaces, refs, runs, verify,
    writer,
};
use crate::{
    AsOf, Branch, Commit, CommitRecord, Committed, Forgotten, Head, Horizon, Lease, LeaseRequest,
    LoggedPositions, Member, MergeSides, MergedStates, NamespaceRecord, PlaceCursor, Places,
    PropertyChange, RunRecord, StoreUrl,
};

/// Child tables that are listed at once.
const CHILDREN_PAGE: usize = 64;

/// A handle of the store; clones share one writer. Several processes, and several handles, may open one store.
///
/// A queued request is carried out even if its future is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    queue: mpsc::Sender<Job>,
    pub(crate) readers: Readers,
    mark: Option<CatalogMark>,
    closing: Arc<Notify>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    #[cfg(test)]
    pub(crate) faults: Arc<Faults>,
}

impl Store {
    /// Opens or creates the store in this SQLite file. The folder must exist; else as [`Store::open_url`].
    pub async fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_url(&path.into(), clock).await
    }

    /// Opens or creates the store at this place, and migrates it. Several processes may do so at once. A file where nothing can
    /// be written is opened all the same: it can be read, and every change fails with `Unavailable` `store_read_only`.
    ///
    /// Errors: `Config` `not_a_store`, `store_too_new` or `store_denied`, `Unavailable` when the file cannot be opened
    /// or the server not be reached, `Bug` `store_corrupt` when the file is damaged or older than its mark.
    pub async fn open_url(url: &StoreUrl, clock: Arc<dyn Clock>) -> Result<Self> {
        let there = |error: Error| error.with_context("store", url);
        let database = url.database();
        let mut connection = database.open(clock.as_ref()).await.map_err(there)?;
        let mut sql = connection.sql();
        match sql.prune().execute(&mut sql).await {
            // Reading needs no writable folder.
            Err(error) if is_read_only(&error) => {}
            pruned => drop(pruned.map_err(explain).map_err(there)?),
        }
        let readers = database.readers();
        let mark = database.mark();
        let (queue, jobs) = mpsc::channel(writer::QUEUE_MAX);
        let closing = Arc::new(Notify::new());
        let writer = Writer::new(database, clock, connection);
        #[cfg(test)]
        let faults = Arc::clone(&writer.faults);
        let task = tokio::spawn(writer.run(jobs, Arc::clone(&closing)));
        Ok(Self {
            queue,
            readers,
            mark,
            closing,
            writer: Arc::new(Mutex::new(Some(task))),
            #[cfg(test)]
            faults,
        })
    }

    /// Accepts that a SQLite catalog is older than its mark, or has none: afterwards the mark matches the catalog. Returns the
    /// problem found; `None` without one. Lost transactions stay lost.
    ///
    /// Errors: as [`Store::open_url`], but for a catalog that is older than its mark.
    pub async fn accept_loss(url: &StoreUrl, clock: Arc<dyn Clock>) -> Result<Option<String>> {
        let accepted = url.database().accept_loss(clock.as_ref()).await;
        accepted.map_err(|error| error.with_context("store", url))
    }

    /// Applies the queued requests, then closes the file; every later call fails with `Unavailable` `store_closed`. Not
    /// needed for durability: it leaves a file without its write-ahead log beside it.
    pub async fn close(&self) {
        self.readers.close().await;
        let task = self.writer.lock().take();
        if let Some(task) = task {
            self.closing.notify_one();
            if let Err(error) = task.await {
                tracing::error!(%error, "store writer task panicked");
            }
        }
    }

    /// Makes one change of the lake. After an unknown result the store itself looks for the commit id, so the
    /// result is definite: Ok, or an error after which nothing of the commit is stored. A commit whose id is in the
    /// log already returns its earlier result, and changes nothing.
    ///
    /// Errors: `Conflict` `stale_head` (a table moved: reload and try again), `Conflict` `stale_epoch` (another
    /// process took the split: stop), `NotFound` `no_such_branch`, `Unavailable` when the database cannot be
    /// written. Of these only `commit_unknown` is not definite: the store cannot even be read any more, so look with
    /// [`Store::find_commit`] once it can.
    pub async fn commit(&self, commit: Commit) -> Result<Committed> {
        commit::validate(&commit)?;
        let (pending, answer) = Pending::with_reply(commit);
        self.ask(Job::Commit(Box::new(pending)), answer).await
    }

    /// The time of the newest commit of all branches.
    pub async fn newest_time(&self) -> Result<Option<Timestamp>> {
        Ok(log::newest_time(&mut self.reader().await?.sql()).await?)
    }

    pub async fn find_commit(&self, id: CommitId) -> Result<Option<CommitRecord>> {
        Ok(log::find(&mut self.reader().await?.sql(), id).await?)
    }

    /// One table in a state; `None` when it has no such table.
    ///
    /// Errors: `NotFound` `no_such_branch`, `no_such_commit` or `expired`, as for every question about a state.
    pub async fn head(&self, as_of: &AsOf, table: &TableName) -> Result<Option<Head>> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let lineage = log::resolve(sql, as_of).await?;
        let place = log::place(sql, &lineage, table).await?;
        horizon::check(sql, as_of).await?;
        Ok(place.map(|(uuid, metadata_location)| Head {
            table: table.clone(),
            uuid,
            metadata_location,
        }))
    }

    /// Whether a table that a branch lacks was dropped there after a commit.
    pub async fn is_dropped_since(
        &self,
        branch: &RefName,
        table: &TableName,
        since: CommitId,
    ) -> Result<bool> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let lineage = log::resolve(sql, &AsOf::Head(branch.clone())).await?;
        Ok(log::is_dropped_since(sql, &lineage, table, since).await?)
    }

    /// All tables of a state, ordered by name.
    pub async fn heads(&self, as_of: &AsOf) -> Result<Vec<Head>> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let lineage = log::resolve(sql, as_of).await?;
        let heads = log::heads(sql, &lineage).await?;
        horizon::check(sql, as_of).await?;
        Ok(heads)
    }

    /// Tables of a state whose names begin with the name of `table` and two underscores, ordered by name: its child tables, and others
    /// that are only called so.
    pub async fn child_heads(&self, as_of: &AsOf, table: &TableName) -> Result<Vec<Head>> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let lineage = log::resolve(sql, as_of).await?;
        let prefix = format!("{}__", table.name);
        let mut found: Vec<Head> = Vec::new();
        loop {
            let last = found.last().map(|head| head.table.name.as_str());
            let after = last.unwrap_or(&prefix);
            let page = listing::tables_in(sql, &lineage, &table.namespace, after, CHILDREN_PAGE);
            let page = page.await?.into_iter();
            let is_child = |head: &Head| head.table.name.as_str().starts_with(&prefix);
            let children: Vec<Head> = page.take_while(is_child).collect();
            let is_last = children.len() < CHILDREN_PAGE;
            found.extend(children);
            if is_last {
                break;
            }
        }
        horizon::check(sql, as_of).await?;
        Ok(found)
    }

    /// Tables of one namespace whose names are after `after`, by name, `limit` at most.
    pub async fn tables_in(
        &self,
        as_of: &AsOf,
        namespace: &Ident,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Head>> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let lineage = log::resolve(sql, as_of).await?;
        let tables = listing::tables_in(sql, &lineage, namespace, after, limit).await?;
        horizon::check(sql, as_of).await?;
        Ok(tables)
    }

    /// The namespaces that have tables in a state, by name.
    pub async fn namespaces_with_tables(&self, as_of: &AsOf) -> Result<Vec<Ident>> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let lineage = log::resolve(sql, as_of).await?;
        let namespaces = listing::namespaces(sql, &lineage).await?;
        horizon::check(sql, as_of).await?;
        Ok(namespaces)
    }

    /// The newest commits of a branch, newest first, with those of its base behind them.
    pub async fn log(&self, branch: &RefName, limit: u32) -> Result<Vec<CommitRecord>> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let lineage = log::resolve(sql, &AsOf::Head(branch.clone())).await?;
        Ok(log::log(sql, &lineage, limit).await?)
    }

    /// A branch of the current state of `from`; nothing is copied.
    ///
    /// Errors: `Conflict` `branch_exists`, `NotFound` `no_such_branch` for `from`.
    pub async fn create_branch(&self, name: &RefName, from: &RefName) -> Result<Branch> {
        self.create_branch_at(name, &AsOf::Head(from.clone())).await
    }

    /// A branch of any kept state; nothing is copied, and the state is kept as long as the branch is.
    ///
    /// Errors: `Conflict` `branch_exists`, `Config` `ref_name_is_id` for a name that reads as a commit id, `NotFound` as for every question about a
    /// state.
    pub async fn create_branch_at(&self, name: &RefName, from: &AsOf) -> Result<Branch> {
        self.write(refs::CreateBranch {
            name: name.clone(),
            from: from.clone(),
            is_tag: false,
        })
        .await
    }

    /// A name for one kept state, which never moves and is read like a branch; the state is kept as long as the tag is.
    ///
    /// Errors: as for [`Store::create_branch_at`]; branches and tags share their names.
    pub async fn create_tag(&self, name: &RefName, at: &AsOf) -> Result<Branch> {
        self.write(refs::CreateBranch {
            name: name.clone(),
            from: at.clone(),
            is_tag: true,
        })
        .await
    }

    /// Every branch and tag that is not dropped, by name.
    pub async fn branches(&self) -> Result<Vec<Branch>> {
        Ok(refs::list(&mut self.reader().await?.sql()).await?)
    }

    /// The branch or tag of this name.
    ///
    /// Errors: `NotFound` `no_such_branch`.
    pub async fn branch(&self, name: &RefName) -> Result<Branch> {
        let found = refs::find(&mut self.reader().await?.sql(), name).await?;
        found.ok_or_else(|| refs::no_such_branch(name))
    }

    /// Says early what every commit says too.
    ///
    /// Errors: `NotFound` `no_such_branch`, `Unsupported` `tag_is_fixed`.
    pub async fn check_writable(&self, name: &RefName) -> Result<()> {
        match self.branch(name).await?.is_tag {
            true => Err(refs::tag_is_fixed(name)),
            false => Ok(()),
        }
    }

    /// Its name is free again; its commits can still be read by id, and branches based on it stay as they are.
    ///
    /// Errors: `NotFound` `no_such_branch`, `Config` `main_stays`.
    pub async fn drop_branch(&self, name: &RefName) -> Result<()> {
        self.write(refs::DropBranch {
            name: name.clone(),
            is_tag: false,
        })
        .await
    }

    /// Its name is free again. The state that it named is kept only as long as any other.
    ///
    /// Errors: `NotFound` `no_such_tag`.
    pub async fn drop_tag(&self, name: &RefName) -> Result<()> {
        self.write(refs::DropBranch {
            name: name.clone(),
            is_tag: true,
        })
        .await
    }

    /// What to merge of one branch into another, from one pinned state of each.
    ///
    /// Errors: `NotFound` `no_such_branch`, `merge_base_expired`; `Config` `same_branch`.
    pub async fn merge_sides(&self, source: &RefName, target: &RefName) -> Result<MergeSides> {
        let mut reader = self.reader().await?;
        Ok(merge::sides(&mut reader.sql(), source, target).await?)
    }

    /// Makes one change of the target as [`Store::commit`] does, and records in the same transaction that it has all that the
    /// source had.
    ///
    /// Errors: as for [`Store::commit`].
    pub async fn commit_merge(&self, commit: Commit, merged: MergedStates) -> Result<Committed> {
        commit::validate(&commit)?;
        self.write(merge::CommitMerge { commit, merged }).await
    }

    /// Records a namespace, so that it is there before its first table.
    ///
    /// Errors: `Conflict` `namespace_exists` when it is recorded, `Data` `too_many_namespaces`, `properties_too_long`.
    pub async fn create_namespace(&self, namespace: NamespaceRecord) -> Result<()> {
        self.write(CreateNamespace(namespace)).await
    }

    /// The recorded namespaces, by name. Others are there by their tables alone.
    pub async fn namespaces(&self) -> Result<Vec<NamespaceRecord>> {
        Ok(namespaces::list(&mut self.reader().await?.sql()).await?)
    }

    pub async fn namespace(&self, name: &Ident) -> Result<Option<NamespaceRecord>> {
        Ok(namespaces::find(&mut self.reader().await?.sql(), name).await?)
    }

    /// Removes the record of a namespace, whatever tables it has; `false` when there is none.
    pub async fn drop_namespace(&self, name: &Ident) -> Result<bool> {
        self.write(DropNamespace(name.clone())).await
    }

    /// Changes properties of a namespace, which is recorded if it was not; gives those from before.
    ///
    /// Errors: `Data` `too_many_namespaces`, `properties_too_long`.
    pub async fn change_namespace(
        &self,
        name: &Ident,
        change: PropertyChange,
    ) -> Result<BTreeMap<String, String>> {
        let name = name.clone();
        self.write(ChangeNamespace { name, change }).await
    }

    /// Takes the split: the epoch goes up, so every earlier holder is fenced. With `steal` also from a live owner.
    /// A split that is new on the branch starts at the position of the base when the branch was made.
    ///
    /// Errors: `Conflict` `leased` when another owner holds it and has not expired.
    pub async fn take_lease(&self, request: &LeaseRequest, steal: bool) -> Result<Lease> {
        self.write(lease::Take {
            request: request.clone(),
            steal,
        })
        .await
    }

    /// Errors: `Conflict` `stale_epoch` when another process has taken the split.
    pub async fn renew_lease(&self, request: &LeaseRequest, epoch: i64) -> Result<()> {
        self.write(lease::Renew {
            request: request.clone(),
            epoch,
        })
        .await
    }

    /// Lets the next taker in at once; a lease that is released already stays so.
    ///
    /// Errors: `Conflict` `stale_epoch` when another process has taken the split.
    pub async fn release_lease(&self, request: &LeaseRequest, epoch: i64) -> Result<()> {
        self.write(lease::Release {
            request: request.clone(),
            epoch,
        })
        .await
    }

    /// When the lease on the split expires; `None` without a lease, or when it expired before `now`.
    pub async fn held_until(
        &self,
        branch: &RefName,
        pipeline: &Ident,
        split: &Ident,
        now: Timestamp,
    ) -> Result<Option<Timestamp>> {
        let split = (branch, pipeline, split);
        Ok(lease::held_until(&mut self.reader().await?.sql(), split, now).await?)
    }

    /// Counts this process among those that share the splits of a pipeline, for a while; gives all of them, by owner.
    pub async fn attend(&self, member: &Member) -> Result<Vec<String>> {
        self.write(member::Attend(member.clone())).await
    }

    /// Deregisters a member. One that dies without deregistering is counted until its heartbeat expires.
    pub async fn leave(&self, member: &Member) -> Result<()> {
        self.write(member::Leave(member.clone())).await
    }

    /// Every split of the pipeline with its sequence and position on this branch, by name; splits that no commit
    /// has moved are left out.
    pub async fn positions(
        &self,
        branch: &RefName,
        pipeline: &Ident,
    ) -> Result<Vec<(Ident, i64, Position)>> {
        Ok(lease::positions(&mut self.reader().await?.sql(), branch, pipeline).await?)
    }

    /// Inserts or replaces the record of a run and its steps.
    pub async fn record_run(&self, run: &RunRecord) -> Result<()> {
        self.write(runs::Record(run.clone())).await
    }

    /// Marks as `Lost` the runs of a pipeline on a branch with status running, except the one that has just
    /// taken the lease. Gives those it marked.
    pub async fn mark_lost(
        &self,
        branch: &RefName,
        pipeline: &Ident,
        except: RunId,
    ) -> Result<Vec<RunId>> {
        self.write(runs::MarkLost {
            branch: branch.clone(),
            pipeline: pipeline.clone(),
            except,
            unless_held: None,
        })
        .await
    }

    /// The same, but marks none while another owner holds a split of the pipeline: its run may be one of them.
    pub async fn mark_lost_unless_held(
        &self,
        taken: &LeaseRequest,
        except: RunId,
    ) -> Result<Vec<RunId>> {
        self.write(runs::MarkLost {
            branch: taken.branch.clone(),
            pipeline: taken.pipeline.clone(),
            except,
            unless_held: Some(taken.owner.clone()),
        })
        .await
    }

    /// Newest first.
    pub async fn runs(&self, pipeline: Option<&Ident>, limit: u32) -> Result<Vec<RunRecord>> {
        Ok(runs::list(&mut self.reader().await?.sql(), pipeline, limit).await?)
    }

    pub async fn run(&self, id: RunId) -> Result<Option<RunRecord>> {
        Ok(runs::find(&mut self.reader().await?.sql(), id).await?)
    }

    /// How far back states are kept; `None` as long as all of them are.
    pub async fn horizon(&self) -> Result<Option<Horizon>> {
        let horizon = horizon::current(&mut self.reader().await?.sql()).await;
        horizon.map_err(explain)
    }

    /// The horizon that [`Store::expire`] would return.
    pub async fn horizon_at(&self, before: Timestamp) -> Result<Horizon> {
        let horizon = horizon::at(&mut self.reader().await?.sql(), before).await;
        horizon.map_err(explain)
    }

    /// Expires states from before an instant: they can no longer be read, and data that only they need may
    /// be deleted. Kept are the state at that instant, all later ones, and the bases of branches. A horizon never
    /// goes back.
    pub async fn expire(&self, before: Timestamp) -> Result<Horizon> {
        self.write(horizon::Expire(before)).await
    }

    /// Where tables are in the states that are kept from a horizon on, a part at a time; the first without a cursor.
    /// Tables of concurrent commits may or may not be included.
    pub async fn places(&self, horizon: Horizon, from: Option<&PlaceCursor>) -> Result<Places> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let kept = horizon::Kept::read(sql, horizon).await.map_err(explain)?;
        let start = PlaceCursor::start();
        Ok(horizon::places(sql, &kept, from.unwrap_or(&start)).await?)
    }

    /// Positions that name objects of the storage, needed from a horizon on or not, a part at a time; the first without a cursor.
    /// Positions of concurrent commits may or may not be included.
    pub async fn logged_positions(
        &self,
        horizon: Horizon,
        from: Option<&PlaceCursor>,
    ) -> Result<LoggedPositions> {
        let mut reader = self.reader().await?;
        let sql = &mut reader.sql();
        let kept = horizon::Kept::read(sql, horizon).await.map_err(explain)?;
        let start = PlaceCursor::start();
        let mut found = logged::moves(sql, &kept, from.unwrap_or(&start)).await?;
        if from.is_none() {
            found.positions.extend(logged::current(sql, &kept).await?);
        }
        Ok(found)
    }

    /// Every table that is still in the log or on a branch, dropped ones too, with a name that it had.
    pub async fn tables_ever(&self) -> Result<Vec<(Uuid, TableName)>> {
        Ok(horizon::tables_ever(&mut self.reader().await?.sql()).await?)
    }

    /// Deletes rows that no state from the horizon on needs, and records of commits and runs older than `log_before`. Uses many
    /// short transactions: concurrent commits are not blocked, and after an error the next call does the rest.
    pub async fn forget(&self, log_before: Timestamp) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        for log in [Log::Changes, Log::Moves] {
            let mut from = Some(PlaceCursor::start());
            while let Some(cursor) = from {
                let (rows, next) = self.write(ForgetPage { log, from: cursor }).await?;
                forgotten.log_rows += rows;
                from = next;
            }
        }
        self.write(ForgetBranches).await?;
        loop {
            let commits = self.write(ForgetCommits(log_before)).await?;
            let runs = self.write(ForgetRuns(log_before)).await?;
            forgotten.commits += commits;
            forgotten.runs += runs;
            if commits + runs == 0 {
                return Ok(forgotten);
            }
        }
    }

    /// Compares the catalog with its mark and with itself: pages, log, heads, positions, and the checksum of each row. Returns
    /// the faults found; changes nothing. Reads everything, some thousand rows at once.
    pub async fn verify(&self) -> Result<Vec<String>> {
        let mut found = self.verify_mark().await?;
        let mut reader = self.reader().await?;
        let rows = verify::findings(&mut reader.sql()).await;
        found.extend(rows.map_err(explain)?);
        Ok(found)
    }

    async fn verify_mark(&self) -> Result<Vec<String>> {
        let Some(mark) = &self.mark else {
            return Ok(Vec::new());
        };
        // Before the catalog: a commit in between must not look like a loss.
        let stored = mark.read();
        let mut reader = self.reader().await?;
        let progress = CatalogProgress::read(&mut reader.sql()).await;
        let progress = progress.map_err(explain)?;
        let problem = match &stored {
            Err(error) => Some(format!("failed to read {}: {error}", mark.path().display())),
            Ok(StoredMark::Whole(marked)) => progress
                .is_behind(marked)
                .then(|| progress.loss(marked, mark.path())),
            Ok(stored) => progress.mark_problem(stored, mark.path()),
        };
        Ok(problem.into_iter().collect())
    }

    async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer> {
        let (pending, answer) = Pending::with_reply(operation);
        self.ask(Job::Other(Box::new(pending)), answer).await
    }

    async fn ask<A>(&self, job: Job, answer: oneshot::Receiver<Result<A>>) -> Result<A> {
        self.queue.send(job).await.map_err(|_| closed())?;
        // No answer at all: the runtime is being shut down around the writer.
        answer.await.map_err(|_| writer::unknown())?
    }

    async fn reader(&self) -> Result<Reader> {
        match self.readers.acquire().await {
            Err(sqlx::Error::PoolClosed) => Err(closed()),
            acquired => acquired.map_err(explain),
        }
    }
}

fn closed() -> Error {
    Error::unavailable("store_closed", "the store is closed")
}
