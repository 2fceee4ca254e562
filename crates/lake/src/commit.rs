//! One commit over any number of tables and positions.
//!
//! Data files and their manifests are written once. Then, until the store accepts: read the heads, put each draft on
//! top of its head, write the metadata, compare-and-set all heads at once. Only the store's answer makes anything visible.

mod notes;
mod own_change;
mod stack;
mod system_time;

use std::time::Duration;

use forebay_core::{
    CommitId, Context, Error, ErrorKind, RefName, Result, RunId, TableName, Timestamp,
};
use forebay_store::{Change as HeadMove, Commit, Committed, HeadChange, PositionMove, TIME_PASSED};

use crate::{Draft, Lake};

use self::notes::Notes;
pub use self::notes::position_property;
pub(crate) use self::notes::{COMMIT_PROPERTY, POSITION_PREFIX};
use self::stack::{Prepared, Top, prepared, stacked};
use self::system_time::SystemTime;

/// How often a commit is retried on newer heads before it fails.
const ATTEMPTS_MAX: u32 = 40;
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct CommitRequest {
    pub id: CommitId,
    pub branch: RefName,
    pub author: String,
    pub message: String,
    pub run: Option<RunId>,
    pub drafts: Vec<Draft>,
    pub positions: Vec<PositionMove>,
}

#[derive(Debug, Clone)]
pub struct LakeCommit {
    pub committed: Committed,
    /// Rows added over all tables.
    pub rows: u64,
    /// How often a table had moved and was rebased.
    pub rebases: u32,
}

/// Drafts on top of the heads as they are now, with files that nobody names yet.
pub(crate) struct StackedHeads {
    tops: Vec<Top>,
}

impl StackedHeads {
    /// One attempt for a commit that also makes other changes. `request` has no drafts.
    pub(crate) async fn of(
        lake: &Lake,
        request: &CommitRequest,
        drafts: Vec<Draft>,
    ) -> Result<Self> {
        check_distinct(&drafts)?;
        let changes = prepared(lake, drafts).await?;
        let notes = Notes::of(request);
        let at = lake.clock().now();
        let tops = stacked(lake, request, &changes, &notes, at).await?;
        Ok(Self { tops })
    }

    pub(crate) fn heads(&self) -> impl Iterator<Item = &HeadChange> {
        self.tops.iter().map(|top| &top.head)
    }

    /// After the commit.
    pub(crate) fn remember(self, lake: &Lake) {
        remember(lake, self.tops);
    }

    /// After a commit that was refused.
    pub(crate) async fn discard(self, lake: &Lake) {
        discard(lake, self.tops).await;
    }
}

pub(crate) async fn commit(lake: &Lake, mut request: CommitRequest) -> Result<LakeCommit> {
    let drafts = std::mem::take(&mut request.drafts);
    check_distinct(&drafts)?;
    let changes = prepared(lake, drafts).await?;
    let rows = changes.iter().map(Prepared::row_count).sum();
    let notes = Notes::of(&request);
    let tables = changes.iter().map(|change| &change.draft).collect();
    let _turn = lake
        .turns()
        .take(&request.branch, tables, lake.clock())
        .await;
    let mut pause = PAUSE_FIRST;
    let mut rebases = 0;
    let mut system_time = SystemTime::of(&changes);
    for _ in 0..ATTEMPTS_MAX {
        let now = lake.clock().now();
        changes
            .iter()
            .try_for_each(|change| change.draft.check_age(now))?;
        let at = system_time.choose(lake).await?;
        let tops = stacked(lake, &request, &changes, &notes, at).await?;
        rebases += tops.iter().map(|top| u32::from(top.rebased)).sum::<u32>();
        system_time.wait(lake).await;
        let commit = store_commit(&request, &tops, system_time.of_commit());
        match lake.store().commit(commit).await {
            Ok(committed) => {
                remember(lake, tops);
                return Ok(LakeCommit {
                    committed,
                    rows,
                    rebases,
                });
            }
            Err(error) if is_conflict(&error, "stale_head") => {
                discard(lake, tops).await;
                lake.clock().sleep(pause).await;
            }
            Err(error) if is_conflict(&error, TIME_PASSED) => {
                discard(lake, tops).await;
                system_time.was_passed(lake);
            }
            Err(error) => return Err(error),
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let message = format!(
        "commit failed after {ATTEMPTS_MAX} attempts: other writers committed first each time"
    );
    Err(Error::conflict("commit_contended", message).with_context("commit", request.id))
}

fn is_conflict(error: &Error, code: &str) -> bool {
    error.kind() == ErrorKind::Conflict && error.code() == code
}

/// Deletes the files of an attempt that was refused.
async fn discard(lake: &Lake, tops: Vec<Top>) {
    for path in tops.into_iter().flat_map(|top| top.own_files) {
        lake.storage().delete_unnamed(&path).await;
    }
}

fn check_distinct(drafts: &[Draft]) -> Result<()> {
    let mut names: Vec<&TableName> = drafts.iter().map(Draft::name).collect();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(Error::bug(
            "table_twice",
            "one commit changes a table twice",
        ))
        .context("table", pair[0]),
    }
}

fn store_commit(request: &CommitRequest, tops: &[Top], at: Option<Timestamp>) -> Commit {
    Commit {
        id: request.id,
        branch: request.branch.clone(),
        author: request.author.clone(),
        message: request.message.clone(),
        run: request.run,
        at,
        heads: tops.iter().map(|top| top.head.clone()).collect(),
        positions: request.positions.clone(),
    }
}

fn remember(lake: &Lake, tops: Vec<Top>) {
    for top in tops {
        for (location, manifest) in &top.fresh {
            lake.storage().manifests().put(location, manifest);
        }
        if let HeadMove::Set(location) = top.head.change {
            lake.metadata().remember(location, top.metadata);
        }
    }
}
