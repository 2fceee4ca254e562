//! Deletes what no kept state of the lake needs: files of expired states and leftovers of killed writers, in the folders of tables,
//! in the raw zone (see [`raw`]) and among the objects of positions (see [`positions`]).
//!
//! A file is deleted only when it is in the folder of a table of this catalog, no kept state of any branch reaches it, and it
//! is older than the safe age. In this order: the horizon moves, so that deleted states are no longer read; every kept state
//! is followed to its files; then the folders are listed. A concurrent commit names files that a head reached
//! already, or files younger than [`DRAFT_AGE_MAX`](crate::DRAFT_AGE_MAX): an older draft is refused. When the states of a table cannot be read
//! to the end, none of its files goes.

mod positions;
mod raw;
mod reach;
mod sweep;
mod unfinished;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Error, Result, TableName, Timestamp};
use forebay_store::{Forgotten, Horizon};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use uuid::Uuid;

use crate::Lake;
use crate::age::SAFE_AGE_MIN;
use forebay_objects::from_objects;

use self::reach::Reach;

/// Retention of a clean-up.
#[derive(Debug, Clone)]
pub struct CleanRequest {
    /// States from before this instant expire, except for the bases of branches.
    pub keep_from: Timestamp,
    /// Records of commits and runs from before this instant are deleted, unless a kept state needs them.
    pub log_from: Timestamp,
    /// Files younger than this stay, whichever process wrote them; at least [`SAFE_AGE_MIN`].
    pub safe_age: Duration,
    /// Also the folders below `tables/` that are unknown to this catalog. Only for a place that no other catalog uses.
    pub unknown_tables: bool,
    /// Count, and change nothing.
    pub dry_run: bool,
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCount {
    pub files: u64,
    pub bytes: u64,
}

/// Clean-up of the files of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanedTable {
    /// `None`: a folder that is unknown to this catalog.
    pub name: Option<TableName>,
    /// Reached by a kept state.
    pub needed: FileCount,
    /// Not reached, but too young to delete.
    pub young: FileCount,
    /// Deleted, or, in a dry run, to be deleted.
    pub data: FileCount,
    /// … manifests, their lists, metadata files.
    pub metadata: FileCount,
    /// Nothing of this table was deleted, nor would be: it is unknown, or there is a problem.
    pub left_alone: bool,
    /// Why not all of its states could be read.
    pub problem: Option<String>,
}

/// Clean-up of the raw zone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CleanedRaw {
    /// Not named by a commit, but too young to delete.
    pub young: FileCount,
    /// Left by runs that failed before they committed. Deleted, or, in a dry run, to be deleted.
    pub orphaned: FileCount,
}

/// Clean-up of the objects that positions name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanedPositions {
    /// Named by a position that is needed.
    pub needed: FileCount,
    /// Not named, but too young to delete.
    pub young: FileCount,
    /// Deleted, or, in a dry run, to be deleted.
    pub unneeded: FileCount,
    /// Of runs that are unknown to this catalog.
    pub unknown: FileCount,
    /// Why nothing was deleted: a position cannot be read.
    pub problem: Option<String>,
}

/// The result of [`Lake::clean`].
#[derive(Debug)]
pub struct Cleaned {
    pub horizon: Horizon,
    pub tables: BTreeMap<Uuid, CleanedTable>,
    pub raw: CleanedRaw,
    pub positions: CleanedPositions,
    /// Temporary files of killed processes on a local disk. Deleted, or, in a dry run, to be deleted.
    pub unfinished: FileCount,
    /// Rows of the store; none in a dry run.
    pub forgotten: Forgotten,
}

/// Allowed difference between this machine's clock and that of the storage, which dates the files.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_secs(60);

impl Lake {
    /// Compares this machine's clock with that of the storage, by an object that is made and deleted: deleting files by
    /// their age must not believe a clock that is wrong.
    ///
    /// Errors: `Config` `clock_differs`, and those of the storage.
    pub async fn check_clock(&self) -> Result<()> {
        let path = Path::from(format!("locks/clock-{}", Uuid::new_v4()));
        self.storage()
            .write(&path, Bytes::from_static(b"clock"))
            .await?;
        let now = self.clock().now();
        let failed = |e| from_objects("read the storage's clock", &path, e);
        let made = self.objects().head(&path).await.map_err(failed)?;
        self.objects().delete(&path).await.map_err(failed)?;
        let made = Timestamp(made.last_modified.timestamp_micros());
        let difference = now.since(made).max(made.since(now));
        if difference <= CLOCK_DIFFERENCE_MAX {
            return Ok(());
        }
        let message = format!(
            "this machine's clock is at {now}, the storage's at {made}: they differ by more than {} s",
            CLOCK_DIFFERENCE_MAX.as_secs()
        );
        Err(Error::config("clock_differs", message)
            .with_hint("set the clock of this machine (NTP); nothing was deleted"))
    }

    /// Deletes files and rows that no kept state needs; with `dry_run` only counts them. Holds some 16 bytes in memory for
    /// every file of every kept state. Several may run at once, also beside runs.
    ///
    /// Errors: `Config` `unsafe_age`. An unreadable table is not an error: its files stay and its `problem` has the reason.
    pub async fn clean(&self, request: &CleanRequest) -> Result<Cleaned> {
        if request.safe_age < SAFE_AGE_MIN {
            let message = format!(
                "files must be at least {} hours old to be deleted",
                SAFE_AGE_MIN.as_secs() / 3_600
            );
            return Err(Error::config("unsafe_age", message)
                .with_hint("younger ones may belong to a run that has not committed yet"));
        }
        let store = self.store();
        let horizon = match request.dry_run {
            true => store.horizon_at(request.keep_from).await?,
            false => store.expire(request.keep_from).await?,
        };
        let reach = Reach::of(self, horizon).await?;
        let tables = sweep::sweep(self, request, &reach).await?;
        let raw = raw::sweep(self, request, &reach).await?;
        let positions = positions::sweep(self, request, horizon).await?;
        let unfinished = unfinished::sweep(self, request, &reach).await?;
        let mut forgotten = Forgotten::default();
        if !request.dry_run {
            forgotten = store.forget(request.log_from).await?;
        }
        Ok(Cleaned {
            horizon,
            tables,
            raw,
            positions,
            unfinished,
            forgotten,
        })
    }
}

impl Cleaned {
    /// Totals over tables, raw zone, positions and unfinished files; in a dry run, to be deleted.
    pub fn deleted(&self) -> FileCount {
        let mut gone = FileCount::default();
        let tables = self.tables.values().filter(|table| !table.left_alone);
        let of_tables = tables.flat_map(|table| [table.data, table.metadata]);
        let others = [self.raw.orphaned, self.positions.unneeded, self.unfinished];
        for count in of_tables.chain(others) {
            gone.files += count.files;
            gone.bytes += count.bytes;
        }
        gone
    }
}

impl FileCount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}
